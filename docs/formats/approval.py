#!/usr/bin/env python3
"""approval.py EXPORT APPROVAL-ID: who decided on one request for approval, on exactly what, and what became of it.

It believes nothing that a record says of another. That the export is whole says verify.py; the view and what turns may
do are checked by ruche-verify. Needs `cryptography` for Ed25519; all else is the standard library.
"""
import base64, hashlib, hmac, io, json, pathlib, sys, uuid
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FROM = {"approval.requested": [None], "approval.voted": ["requested"], "approval.resolved": ["requested"],
        "approval.consumed": ["approved"], "approval.cancelled": ["requested"], "approval.voided": ["approved"],
        "approval.expired": ["requested", "approved"], "approval.stale": ["requested", "approved"]}

def cbor(f):                                                # the deterministic CBOR of leaves
    kind, n = divmod(f.read(1)[0], 32)
    n = n if n < 24 else int.from_bytes(f.read(1 << (n - 24)), "big")
    return n if kind == 0 else [cbor(f) for _ in range(n)] if kind == 4 else f.read(n) if kind == 2 else f.read(n).decode()

def records(export):                                        # (epoch, leaf bytes, leaf, payload or None) in order
    for epoch in sorted(pathlib.Path(export).glob("e*"), key=lambda path: int(path.name[1:])):
        for path in sorted(path for path in (epoch / "tile/entries").rglob("*") if path.is_file()):
            leaves = io.BytesIO(path.read_bytes())
            stored = io.BytesIO((epoch / "payload" / path.relative_to(epoch / "tile/entries")).read_bytes())
            while size := leaves.read(2):
                raw, payload = leaves.read(int.from_bytes(size, "big")), None
                leaf = cbor(io.BytesIO(raw))
                for number, fragment in enumerate(leaf[26]):
                    if stored.read(1) == b"\1":
                        opening, data = stored.read(32), stored.read(int.from_bytes(stored.read(4), "big"))
                        assert hmac.digest(opening, data, "sha256") == fragment[3], "a payload that was not committed to"
                        payload = json.loads(data) if number == 0 else payload
                yield int(epoch.name[1:]), raw, leaf, payload

def sha(data):
    return hashlib.sha256(data).hexdigest()

def signed(envelope, form, key):                            # what a DSSE envelope holds: verified first, read then
    envelope, public, form = json.loads(envelope), bytes.fromhex(key["public_key"]), f"application/vnd.ruche.{form}.v1+json"
    body = base64.b64decode(envelope["payload"])
    assert sha(bytes.fromhex("302a300506032b6570032100") + public) == key["key_id"], "an id of another key"
    assert envelope["payloadType"] == form, "another kind of document"
    Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(envelope["signatures"][0]["sig"]),
                                                      b"DSSEv1 %d %s %d %s" % (len(form), form.encode(), len(body), body))
    return json.loads(body)

def main(export, approval):
    stream, keys, revoked, state, vote, call, used_in = "approval-" + uuid.UUID(approval).hex, {}, set(), None, None, None, None
    for epoch, raw, leaf, said in records(export):
        kind, actor, append = leaf[8], leaf[12][1], (epoch, leaf[4])
        if kind == "infra.ledger.opened":
            tenant = str(uuid.UUID(leaf[6][7:]))            # a ledger has the id of its tenant
        elif kind == "infra.key.registered" and said:
            keys[said["key_id"]] = (said, actor, leaf[6])
        elif kind == "infra.key.revoked":
            revoked.add(leaf[6])
        elif kind == "tool.started" and call and leaf[18] == call:
            ran = (used_in, said["name"], said["args_digest"])
            assert ran == (append, tool, sha(arguments)), "it started otherwise than was approved"
        if leaf[6] != stream or kind not in FROM:
            continue
        assert state in FROM[kind], f"{kind} when it is {state}"
        if kind == "approval.requested":
            requester, call, tool, arguments = actor, leaf[18], said["tool_name"], said["arguments"].encode()
            action = {"agent": said["agent_id"], "arguments_sha256": sha(arguments), "session": str(uuid.UUID(bytes=leaf[16])),
                      "side_effect": said["side_effect"], "tenant": tenant, "tool": tool,
                      "turn": str(uuid.UUID(bytes=leaf[17])), "type": "ruche.action.v1"}
            action |= {"schema_sha256": said["schema_digest"]} if "schema_digest" in said else {}
            text = json.dumps(action, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
            assert sha(text) == said["action_digest"], "the digest is not that of the action"
            names = ("action_digest", "view_digest", "policy_digest", "config_digest", "nonce", "expires_at")
            request = {name: said[name] for name in names if name in said} | {
                "ledger": leaf[1], "approval_id": approval, "position": f"{epoch}:{leaf[2]}", "leaf_hash": sha(b"\0" + raw)}
        elif kind == "approval.voted":
            key, registrar, key_stream = keys[said["key_id"]]
            proof, vote = signed(key["proof_of_possession"], "reviewer-key", key), signed(said["signature"], "approval", key)
            assert (proof["tenant"], proof["public_key"]) == (tenant, key["public_key"]), "a key of another tenant"
            assert vote["request"] == request, "the vote is about something else"
            told, known = (vote["reviewer"], vote["key_id"], vote["decision"]), (key["reviewer"], key["key_id"], said["decision"])
            assert told == known, "another person's key, or another decision than is signed"
            assert requester and requester not in (actor, registrar), "whoever asked also decided"
            assert leaf[11] < request["expires_at"] and key_stream not in revoked, "too late, or a revoked key"
            voted_in = append
        elif kind == "approval.resolved":
            approves = vote and voted_in == append and vote["decision"] == "approve"
            assert approves == (said["outcome"] == "approved"), "decided otherwise than signed"
        elif kind == "approval.consumed":
            assert leaf[11] < request["expires_at"] and key_stream not in revoked, "lapsed, or a revoked key"
            assert said["action_digest"] == request["action_digest"] and leaf[18] == call, "used for another action"
            used_in = append
        state = {"consumed": "used", "voted": state, "resolved": (said or {}).get("outcome")}.get(kind[9:], kind[9:])
    assert state, "there is no such request"
    print(json.dumps({"outcome": state, "reviewer": vote and vote["reviewer"], "arguments": arguments.decode()}))

if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except Exception as error:                              # whatever is wrong with it, it does not verify
        sys.exit(f"DOES NOT VERIFY: {type(error).__name__}: {error}")
