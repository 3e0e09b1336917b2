#!/usr/bin/env python3
"""approval.py EXPORT APPROVAL-ID: who decided on one request for approval, on exactly what, and was it used.

It reads one request, its vote, the key of the reviewer and the start of the action from an export, and believes none of
them: commitments, digests and the signature are checked here. That the export itself is whole says verify.py; the view
and the order of appends are checked by ruche-verify. Needs `cryptography` for Ed25519; all else is the standard library.
"""
import base64, hashlib, hmac, json, pathlib, struct, sys, uuid
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

def cbor(b, i=0):                                           # (value, next) of the deterministic CBOR of leaves
    kind, n, i = b[i] >> 5, b[i] & 31, i + 1
    if n > 23:
        size = 1 << (n - 24)
        n, i = int.from_bytes(b[i:i + size], "big"), i + size
    if kind == 0:
        return n, i
    if kind in (2, 3):
        return (b[i:i + n] if kind == 2 else b[i:i + n].decode()), i + n
    items = []
    for _ in range(n):
        item, i = cbor(b, i)
        items.append(item)
    return items, i

def records(export):                                        # (epoch, leaf bytes, leaf, payload) in order
    for epoch in sorted(pathlib.Path(export).glob("e*"), key=lambda path: int(path.name[1:])):
        bundles = sorted(path for path in (epoch / "tile/entries").rglob("*") if path.is_file())
        for bundle in bundles:
            leaves, stored = bundle.read_bytes(), (epoch / "payload" / bundle.relative_to(epoch / "tile/entries")).read_bytes()
            while leaves:
                size = struct.unpack(">H", leaves[:2])[0]
                raw, leaves, payload = leaves[2:2 + size], leaves[2 + size:], None
                leaf = cbor(raw)[0]
                for number, fragment in enumerate(leaf[26]):
                    if stored[0] == 0:
                        stored = stored[1:]
                        continue
                    opening, length = stored[1:33], struct.unpack(">I", stored[33:37])[0]
                    data, stored = stored[37:37 + length], stored[37 + length:]
                    assert hmac.digest(opening, data, "sha256") == fragment[3], "a payload that was not committed to"
                    payload = json.loads(data) if number == 0 else payload
                yield int(epoch.name[1:]), raw, leaf, payload

def sha(data):
    return hashlib.sha256(data).hexdigest()

def main(export, approval):
    stream, keys, revoked, request, vote, outcome = "approval-" + uuid.UUID(approval).hex, {}, set(), None, None, "open"
    for epoch, raw, leaf, said in records(export):
        kind, actor = leaf[8], leaf[12][1]
        if kind == "infra.key.registered":
            keys[said["key_id"]] = (said, actor)
        elif kind == "infra.key.revoked":
            revoked.add(said["key_id"])
        elif leaf[6] == stream and kind == "approval.requested":
            action = {"agent": said["agent_id"], "arguments_sha256": sha(said["arguments"].encode()),
                      "session": str(uuid.UUID(bytes=leaf[16])), "side_effect": said["side_effect"],
                      "tenant": said["tenant_id"], "tool": said["tool_name"], "turn": str(uuid.UUID(bytes=leaf[17])),
                      "type": "ruche.action.v1"}
            if "schema_digest" in said:
                action["schema_sha256"] = said["schema_digest"]
            text = json.dumps(action, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            assert sha(text.encode()) == said["action_digest"], "the digest is not that of the action"
            request = {"ledger": leaf[1], "approval_id": approval, "position": f"{epoch}:{leaf[2]}",
                       "leaf_hash": sha(b"\0" + raw), "nonce": said["nonce"], "expires_at": said["expires_at"]}
            request |= {name: said[name] for name in ("action_digest", "view_digest", "policy_digest", "config_digest")
                        if name in said}
            requester, arguments = actor, said["arguments"]
        elif leaf[6] == stream and kind == "approval.voted":
            envelope = json.loads(said["signature"])
            body, form = base64.b64decode(envelope["payload"]), envelope["payloadType"]
            assert form == "application/vnd.ruche.approval.v1+json", "another kind of document"
            assert said["key_id"] in keys and said["key_id"] not in revoked, "no key that counts at this position"
            key, registrar = keys[said["key_id"]]
            public = bytes.fromhex(key["public_key"])
            assert sha(bytes.fromhex("302a300506032b6570032100") + public) == said["key_id"], "an id of another key"
            encoding = b"DSSEv1 %d %s %d %s" % (len(form), form.encode(), len(body), body)
            Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(envelope["signatures"][0]["sig"]), encoding)
            vote = json.loads(body)                         # verified first, read then
            assert vote["request"] == request, "the vote is about something else"
            assert (vote["reviewer"], vote["key_id"]) == (key["reviewer"], key["key_id"]), "another person's key"
            assert requester is not None and requester not in (actor, registrar), "whoever asked also decided"
            assert leaf[11] < request["expires_at"], "too late"
        elif leaf[6] == stream and kind == "approval.resolved":
            assert vote and (said["outcome"] == "approved") == (vote["decision"] == "approve"), "decided otherwise than signed"
            outcome = said["outcome"]
        elif leaf[6] == stream and kind == "approval.consumed":
            assert outcome == "approved" and said["action_digest"] == request["action_digest"], "used and not given"
            outcome = "used"
    assert request, "there is no such request"
    print(json.dumps({"outcome": outcome, "reviewer": vote and vote["reviewer"], "arguments": arguments}))

if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except Exception as error:                              # whatever is wrong with it, it does not verify
        sys.exit(f"DOES NOT VERIFY: {type(error).__name__}: {error}")
