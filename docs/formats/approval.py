#!/usr/bin/env python3
"""approval.py EXPORT APPROVAL-ID VKEY...: who decided on a request for approval, on exactly what, and what became of it.

It proves that the request stands in the ledger and shows the call that was proposed; that a key, registered and not revoked before,
signed exactly this request; and that one start of exactly this used the approval up, or that nothing started. It does not prove whose
a key or a credential is: the ledger says so, compare it. View and turn are for ruche-verify; records.py reads and looks things up.
"""
import json
from records import action_digest, digest, happened, opened, proposed, records, reviewer_key, run, starts, stream, user, uuid

FROM = {"requested": [None], "voted": ["requested"], "resolved": ["voted"], "consumed": ["approved"], "cancelled": ["requested"],
        "voided": ["approved"], "expired": ["requested", "approved"], "stale": ["requested", "approved"]}
BOUND = ("action_digest", "view_digest", "policy_digest", "config_digest", "nonce", "expires_at")
OLD = ("tenant_id", "call_id", "business_key", "channel", "interlocutor_id")    # the first requests do not say these
RULE = {"approvals_required": 1, "excluded": ["requester"], "groups": []}

def check_request(it, before, tenant):                      # it shows the call that was proposed, and who asked
    said = it.said | {"session": it.session, "turn": it.turn}
    facts = proposed(before, it.call) | {"tenant_id": tenant, "requested_by": user(it.actor, before, said.get("requested_by"))}
    for name, fact in facts.items():
        assert said.get(name, fact if name in OLD else None) == fact, f"another {name} than the ledger says"
    assert said["action_digest"] == action_digest(it, tenant), "the digest is not that of the action"
    assert RULE | said["rule"] == RULE, "a rule that one vote does not meet"

def check_vote(it, before, tenant, request):                # who has the key signed exactly this request, and did not ask for it
    key = reviewer_key(before, it.said["key_id"], tenant)
    vote = opened(it.said["signature"], "approval", key.said)
    told = (key.said["reviewer"], key.said["key_id"], it.said["decision"])
    assert (vote["reviewer"], vote["key_id"], vote["decision"]) == told, "another person or decision than is signed"
    bound = {name: request.said[name] for name in BOUND if name in request.said}
    bound |= {"ledger": request.origin, "approval_id": uuid(request.stream.removeprefix("approval-"))}
    bound |= {"position": f"{request.epoch}:{request.index}", "leaf_hash": request.leaf_hash}
    assert vote["request"] == bound, "the vote is about something else"
    givers = {it.actor, key.actor, vote["reviewer"], user(key.actor, before, key.said.get("registered_by"))} - {None}
    askers = {request.actor, request.said.get("requested_by", request.actor)}
    assert request.actor and not askers & (givers | {user(it.actor, before, None)}), "whoever asked also decided"
    return vote, givers, it.append

def main(export, approval, *vkeys):
    everything, state, vote, used = list(records(export, vkeys)), None, None, []
    tenant = uuid(everything[0].stream.removeprefix("ledger-"))     # a ledger has the id of its tenant
    for it, before in stream(everything, f"approval-{approval.replace('-', '')}"):
        step = it.type.removeprefix("approval.")
        assert state in FROM.get(step, [state]), f"{it.type} when it is {state}"
        state = step if step in FROM else state
        if step == "requested":
            check_request(it, before, tenant)
            request = it
        elif step == "voted":
            vote, givers, voted_in = check_vote(it, before, tenant, request)
        elif step == "resolved":
            state = it.said["outcome"]
            told = (it.append, "approve" if state == "approved" else "reject")
            assert told == (voted_in, vote["decision"]), "decided otherwise than signed"
        elif step == "consumed":
            reviewer_key(before, vote["key_id"], tenant)            # not revoked since
            assert (it.call, it.said["action_digest"]) == (request.call, request.said["action_digest"]), "used for another action"
            assert it.actor and not {it.actor, user(it.actor, before, None)} & givers, "whoever used it also gave it"
            used = [(it.append, request.said["tool_name"], digest(request.said["arguments"]))]
        if step in ("voted", "consumed"):
            in_time = happened(it) < request.said["expires_at"] and it.epoch == request.epoch
            assert in_time, "too late, or in an epoch that is over"
    assert starts(everything, request.call) == used, "it started otherwise than was approved, or more than once"
    print(json.dumps({"outcome": "used" if used else state, "reviewer": vote and vote["reviewer"], "key": vote and vote["key_id"],
                      "arguments": request.said["arguments"]}))

if __name__ == "__main__":
    run(main)
