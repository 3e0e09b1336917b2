#!/usr/bin/env python3
"""approval.py EXPORT APPROVAL-ID VKEY...: who decided on a request for approval, on exactly what, and what became of it.

It believes nothing that a record says of another. records.py, beside it, checks that the records stand under the signed tree heads,
and that who registered a key has it. Whose a key or a credential is the ledger says: compare it. View and turns: ruche-verify.
"""
import json
from records import digest, find, opened, records, reviewer_key, run, user, uuid

FROM = {"requested": [None], "voted": ["requested"], "resolved": ["requested"], "consumed": ["approved"], "cancelled": ["requested"],
        "voided": ["approved"], "expired": ["requested", "approved"], "stale": ["requested", "approved"]}
OUTCOMES = ("tool.completed", "tool.failed", "tool.outcome_unknown")

def check_request(it, before, tenant):                      # it shows the call that was proposed, and what would run
    said, call = it.said, [call for call in find(before, "tool.proposed", call=it.call) if call.stream.startswith("lane-")][-1]
    turns = [turn.said for turn in find(before, "turn.opened", stream=call.stream) if "agent_id" in turn.said]
    assert (said.get("call_id", it.call), it.session, it.turn) == (it.call, call.session, call.turn), "of another call or turn"
    assert said.get("business_key") in (None, call.said.get("business_key")), "another business key than was proposed"
    names = ("schema_digest", "action_digest")
    asked = (call.said["name"], call.said["arguments"], *(call.said.get(name) for name in names))
    assert (said["tool_name"], said["arguments"], *(said.get(name) for name in names)) == asked, "another action than was proposed"
    for name, is_so in (turns or [{}])[-1].items():         # of the lane
        assert name not in ("agent_id", "channel", "interlocutor_id") or said.get(name, is_so) == is_so, f"another {name}"
    assert user(it.actor, before, said.get("requested_by")) == said.get("requested_by"), "who asked is not whose credential it is"
    rule = {"approvals_required": 1, "excluded": ["requester"]}
    assert rule | said["rule"] in (rule, rule | {"groups": []}), "a rule that one vote does not meet"
    action = {"agent": said["agent_id"], "arguments_sha256": digest(said["arguments"]), "session": it.session, "tenant": tenant,
              "side_effect": said["side_effect"], "tool": said["tool_name"], "turn": it.turn, "type": "ruche.action.v1"}
    action |= {"schema_sha256": said["schema_digest"]} if "schema_digest" in said else {}
    canonical = json.dumps(action, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert digest(canonical) == said["action_digest"], "the digest is not that of the action"
    return call.stream

def check_vote(it, before, tenant, request):                # signed by a registered key of this person, on exactly this request
    registered = reviewer_key(before, it.said["key_id"], tenant)
    key, vote = registered.said, opened(it.said["signature"], "approval", registered.said)
    told, known = (vote["reviewer"], vote["key_id"], vote["decision"]), (key["reviewer"], key["key_id"], it.said["decision"])
    assert told == known, "another person's key, or another decision than is signed"
    names = ("action_digest", "view_digest", "policy_digest", "config_digest", "nonce", "expires_at")
    assert vote["request"] == {name: request.said[name] for name in names if name in request.said} | {
        "ledger": request.origin, "approval_id": uuid(request.stream[9:]), "position": f"{request.epoch}:{request.index}",
        "leaf_hash": request.leaf_hash}, "the vote is about something else"
    assert request.actor and request.actor not in (it.actor, registered.actor), "whoever asked also decided"
    people = (key["reviewer"], user(it.actor, before, None), user(registered.actor, before, key.get("registered_by")))
    assert request.said.get("requested_by", "") not in people, "whoever asked also decided, under another credential"
    return vote, registered, {it.actor, registered.actor, people[0], people[2]} - {None}

def main(export, approval, *vkeys):
    everything, state, vote, used_in = list(records(export, vkeys)), None, None, None
    tenant = uuid(everything[0].stream.removeprefix("ledger-"))     # a ledger has the id of its tenant
    for number, it in enumerate(everything):
        step = it.type.removeprefix("approval.")
        if it.stream != "approval-" + approval.replace("-", "") or step not in FROM:
            continue
        before = everything[:number]
        assert state in FROM[step], f"{it.type} when it is {state}"
        if step == "requested":
            request, arguments = it, it.said["arguments"]
            lane = check_request(it, before, tenant)
        elif step == "voted":
            assert vote is None, "it was voted on before"
            (vote, key, givers), voted_in = check_vote(it, before, tenant, request), it.append
        elif step == "resolved":
            signed = vote["decision"] if vote and voted_in == it.append else None
            assert signed == ("approve" if it.said["outcome"] == "approved" else "reject"), "decided otherwise than signed"
        elif step == "consumed":
            used, used_in = (it.said["action_digest"], it.call), it.append
            assert used == (request.said["action_digest"], request.call), "used for another action"
            assert it.actor and not {it.actor, user(it.actor, before, None)} & givers, "whoever used it also gave it"
        if step in ("voted", "consumed"):                   # nobody is in time by their own word
            is_revoked = any(other.stream == key.stream and other.type == "infra.key.revoked" for other in before)
            in_time = max(it.occurred_at, it.recorded_at - 300_000_000) < request.said["expires_at"]
            assert in_time and not is_revoked, "too late, or under a key that was revoked before"
        state = {"consumed": "used", "voted": state, "resolved": (it.said or {}).get("outcome")}.get(step, step)
    assert state, "there is no such request"
    starts = [(it.append, it.stream, it.said["name"], it.said["args_digest"])
              for it in find(everything, "tool.started", call=request.call)]
    once = [(used_in, lane, request.said["tool_name"], digest(arguments))] if used_in else []
    assert starts == once, "it started otherwise than was approved, or more than once"
    ran = [it for name in OUTCOMES for it in find(everything, name, call=request.call, stream=lane)]
    assert starts or not ran, "it ran, and its start is not there"
    print(json.dumps({"outcome": state, "reviewer": vote and vote["reviewer"], "key": vote and vote["key_id"], "arguments": arguments}))

if __name__ == "__main__":
    run(main)
