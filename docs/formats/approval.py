#!/usr/bin/env python3
"""approval.py EXPORT APPROVAL-ID VKEY...: who decided on a request for approval, on exactly what, and what became of it.

It rests on the keys of the ledger that the auditor was given, one for each epoch, and believes nothing that a record says
of another. Whose a reviewer's key is, the ledger says: compare it. The view and what turns may do: ruche-verify.
"""
import base64, hashlib, json, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FROM = {"requested": [None], "voted": ["requested"], "resolved": ["requested"], "consumed": ["approved"], "cancelled": ["requested"],
        "voided": ["approved"], "expired": ["requested", "approved"], "stale": ["requested", "approved"]}
raw = lambda data: hashlib.sha256(data).digest()
sha = lambda data: hashlib.sha256(data).hexdigest()
uuid = lambda h: "-".join((h[:8], h[8:12], h[12:16], h[16:20], h[20:]))
epoch_of = lambda vkey: int(vkey.split("+")[0].rpartition("/e")[2])
verify = lambda key, signature, text: Ed25519PublicKey.from_public_bytes(key).verify(signature, text)

def cbor(b, at=0):                                          # the deterministic CBOR of leaves: a value, and where it ends
    (kind, n), at, items = divmod(b[at], 32), at + 1, []
    if n > 23:
        n, at = int.from_bytes(b[at:at + (1 << n - 24)], "big"), at + (1 << n - 24)
    for _ in range(n if kind == 4 else 0):
        item, at = cbor(b, at)
        items.append(item)
    text = b[at:at + n]
    return (n, at) if kind == 0 else (items, at) if kind == 4 else (text if kind == 2 else text.decode(), at + n)

def hmac(key, data):                                        # HMAC-SHA-256 under a key of 32 bytes
    pad = lambda byte: bytes(b ^ byte for b in key.ljust(64, b"\0"))
    return raw(pad(0x5C) + raw(pad(0x36) + data))

def root(hashes):                                           # RFC 6962
    half = 1 << (len(hashes) - 1).bit_length() >> 1
    return hashes[0] if len(hashes) == 1 else raw(b"\1" + root(hashes[:half]) + root(hashes[half:]))

def records(export, vkey):                                  # (epoch, leaf hash, leaf, payload or None), under the signed tree head
    (origin, _, key), epoch, hashes, found = vkey.split("+", 2), epoch_of(vkey), [], []
    head, _, notes = open(f"{export}/e{epoch}/checkpoint", encoding="utf-8").read().partition("\n\n")
    signature = [line for line in notes.splitlines() if line.startswith(f"— {origin} ")][0].rpartition(" ")[2]
    verify(base64.b64decode(key)[1:], base64.b64decode(signature)[4:], f"{head}\n".encode())
    name, size, signed = head.split("\n")
    for index in range(0, int(size), 256):
        path, tile, width = f"{index // 256 % 1000:03}", index // 256, min(256, int(size) - index)
        while tile := tile // 1000:
            path = f"x{tile % 1000:03}/{path}"
        path += "" if width == 256 else f".p/{width}"
        leaves, stored = (open(f"{export}/e{epoch}/{kind}/{path}", "rb") for kind in ("tile/entries", "payload"))
        for _ in range(width):
            leaf, payload = leaves.read(int.from_bytes(leaves.read(2), "big")), None
            hashes.append(raw(b"\0" + leaf))
            for number, fragment in enumerate(cbor(leaf)[0][26]):
                if stored.read(1) == b"\1":
                    opening, data = stored.read(32), stored.read(int.from_bytes(stored.read(4), "big"))
                    assert hmac(opening, data) == fragment[3], "a payload that was not committed to"
                    payload = json.loads(data) if number == 0 else payload
            found.append((epoch, hashes[-1].hex(), cbor(leaf)[0], payload))
    assert name == origin and root(hashes) == base64.b64decode(signed), "not the records under the tree head"
    return found

def signed(envelope, form, key):                            # what a DSSE envelope holds: verified first, read then
    envelope, public, form = json.loads(envelope), bytes.fromhex(key["public_key"]), f"application/vnd.ruche.{form}.v1+json"
    body = base64.b64decode(envelope["payload"])
    assert sha(bytes.fromhex("302a300506032b6570032100") + public) == key["key_id"], "an id of another key"
    assert envelope["payloadType"] == form, "another kind of document"
    verify(public, base64.b64decode(envelope["signatures"][0]["sig"]), b"DSSEv1 %d %s %d %s" % (len(form), form.encode(), len(body), body))
    return json.loads(body)

def main(export, approval, *vkeys):
    keys, revoked, starts, state, vote, call, used_in = {}, set(), {}, None, None, None, None
    vkeys = sorted(vkeys, key=epoch_of)
    assert [epoch_of(vkey) for vkey in vkeys] == list(range(1, len(vkeys) + 1)), "bring the key of each epoch, from the first on"
    for epoch, leaf_hash, leaf, said in (record for vkey in vkeys for record in records(export, vkey)):
        kind, actor, append = leaf[8], leaf[12][1], (epoch, leaf[4])
        at = max(leaf[11], leaf[10] - 300_000_000)          # nobody is in time by their own word
        if kind == "infra.ledger.opened":
            tenant = uuid(leaf[6][7:])                      # a ledger has the id of its tenant
        elif kind == "infra.key.registered" and said:
            assert said["key_id"] not in keys and leaf[6].startswith("key-"), "a key that is registered twice"
            keys[said["key_id"]] = (said, actor, leaf[6])
        elif kind == "infra.key.revoked":
            revoked.add(leaf[6])
        elif kind == "tool.started" and said:
            starts.setdefault(leaf[18], []).append((append, said["name"], said["args_digest"]))
        step = kind.removeprefix("approval.")
        if leaf[6] != "approval-" + approval.replace("-", "") or step not in FROM:
            continue
        assert state in FROM[step], f"{kind} when it is {state}"
        if step == "requested":
            requester, call, tool, arguments = actor, leaf[18], said["tool_name"], said["arguments"].encode()
            action = {"agent": said["agent_id"], "arguments_sha256": sha(arguments), "session": uuid(leaf[16].hex()),
                      "side_effect": said["side_effect"], "tenant": tenant, "tool": tool, "turn": uuid(leaf[17].hex()),
                      "type": "ruche.action.v1"} | ({"schema_sha256": said["schema_digest"]} if "schema_digest" in said else {})
            text = json.dumps(action, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
            assert sha(text) == said["action_digest"], "the digest is not that of the action"
            names = ("action_digest", "view_digest", "policy_digest", "config_digest", "nonce", "expires_at")
            request = {name: said[name] for name in names if name in said} | {
                "ledger": leaf[1], "approval_id": approval, "position": f"{epoch}:{leaf[2]}", "leaf_hash": leaf_hash}
        elif step == "voted":
            key, registrar, key_stream = keys[said["key_id"]]
            proof, vote = signed(key["proof_of_possession"], "reviewer-key", key), signed(said["signature"], "approval", key)
            assert (proof["tenant"], proof["public_key"]) == (tenant, key["public_key"]), "a key of another tenant"
            assert vote["request"] == request, "the vote is about something else"
            told, known = (vote["reviewer"], vote["key_id"], vote["decision"]), (key["reviewer"], key["key_id"], said["decision"])
            assert told == known, "another person's key, or another decision than is signed"
            assert requester and requester not in (actor, registrar), "whoever asked also decided"
            assert at < request["expires_at"] and key_stream not in revoked, "too late, or a revoked key"
            voted_in = append
        elif step == "resolved":
            approves = vote and voted_in == append and vote["decision"] == "approve"
            assert approves == (said["outcome"] == "approved"), "decided otherwise than signed"
        elif step == "consumed":
            assert at < request["expires_at"] and key_stream not in revoked, "lapsed, or a revoked key"
            assert said["action_digest"] == request["action_digest"] and leaf[18] == call, "used for another action"
            used_in = append
        state = {"consumed": "used", "voted": state, "resolved": (said or {}).get("outcome")}.get(step, step)
    assert state, "there is no such request"
    once = [(used_in, tool, sha(arguments))] if used_in else []
    assert starts.get(call, []) == once, "it started otherwise than was approved, or more than once"
    print(json.dumps({"outcome": state, "reviewer": vote and vote["reviewer"], "key": vote and vote["key_id"],
                      "arguments": arguments.decode()}))

if __name__ == "__main__":
    if not __debug__:
        sys.exit("run it without -O: the checks are assertions")
    try:
        main(*sys.argv[1:])
    except Exception as error:                              # whatever is wrong with it, it does not verify
        sys.exit(f"DOES NOT VERIFY: {type(error).__name__}: {error}")
