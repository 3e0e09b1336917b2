#!/usr/bin/env python3
"""records.py EXPORT VKEY...: the records of an export, one JSON object a line, in the order of the ledger.

Rests on the keys of the ledger that the auditor was given, one for each epoch: the leaves are those under the tree head that the
key signed, and payloads are those that the leaves commit to. Nothing else is checked (verify.py does), and no record is believed
more than that it stands there. `for record in records(export, vkeys)` is a beginning for questions of your own.
"""
import base64, hashlib, json, os, sys
from collections import namedtuple
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

# Ids are uuids as text or None, hashes hex, times µs since 1970. `said` is the JSON of the payload, None where there is none.
Record = namedtuple("Record", "epoch index leaf_hash origin append stream type recorded_at occurred_at actor session turn call said")

# What comes of a call that ran.
OUTCOMES = ("tool.completed", "tool.failed", "tool.outcome_unknown")


def sha256(data):
    return hashlib.sha256(data).digest()


def digest(text):
    """The SHA-256 of a text, as records say it."""
    return sha256(text.encode()).hex()


def uuid(digits):
    """An id as it is written; None where a leaf has none."""
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])) if digits else None


def cbor(b, at=0):
    """A value in the deterministic CBOR of leaves (numbers, bytes, texts, arrays), and where it ends."""
    kind, n, at = b[at] >> 5, b[at] & 31, at + 1
    if n > 23:
        width = 1 << n - 24
        n, at = int.from_bytes(b[at:at + width], "big"), at + width
    if kind == 0:
        return n, at
    if kind == 4:
        items = []
        for _ in range(n):
            item, at = cbor(b, at)
            items.append(item)
        return items, at
    return b[at:at + n] if kind == 2 else b[at:at + n].decode(), at + n


def root(hashes):
    """The root of an RFC 6962 tree over leaf hashes."""
    half = 1 << (len(hashes) - 1).bit_length() >> 1
    return hashes[0] if len(hashes) == 1 else sha256(b"\1" + root(hashes[:half]) + root(hashes[half:]))


def tree_head(folder, vkey):
    """Origin, size and root of the tree head, whose signature verifies under the key."""
    origin, _, key = vkey.split("+", 2)
    with open(f"{folder}/checkpoint", encoding="utf-8") as file:
        head, _, notes = file.read().partition("\n\n")
    signature = [line for line in notes.splitlines() if line.startswith(f"— {origin} ")][0].rpartition(" ")[2]
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:])
    public.verify(base64.b64decode(signature)[4:], f"{head}\n".encode())
    name, size, signed = head.split("\n")
    assert name == origin, "a tree head of another log"
    return origin, int(size), base64.b64decode(signed)


def stored(folder, size):
    """Leaves with the payload bytes that are there: (opening, bytes) or None for each fragment."""
    for first in range(0, size, 256):
        tile, width = first // 256, min(256, size - first)
        path = f"{tile % 1000:03}"
        while tile := tile // 1000:
            path = f"x{tile % 1000:03}/{path}"
        path += "" if width == 256 else f".p/{width}"
        with open(f"{folder}/tile/entries/{path}", "rb") as leaves, open(f"{folder}/payload/{path}", "rb") as payloads:
            for _ in range(width):
                leaf, fragments = leaves.read(int.from_bytes(leaves.read(2), "big")), []
                for _ in cbor(leaf)[0][26]:
                    is_there = payloads.read(1) == b"\1"
                    fragments.append((payloads.read(32), payloads.read(int.from_bytes(payloads.read(4), "big"))) if is_there else None)
                yield leaf, fragments


def records_of_epoch(export, epoch, vkey):
    folder, found, hashes = f"{export}/e{epoch}", [], []
    origin, size, signed = tree_head(folder, vkey)
    for index, (encoded, fragments) in enumerate(stored(folder, size)):
        leaf = cbor(encoded)[0]
        hashes.append(sha256(b"\0" + encoded))
        assert (leaf[1], leaf[2]) == (origin, index), "a leaf of another place"
        for fragment, commitment in zip(fragments, leaf[26]):
            if fragment:
                opening = HMAC(fragment[0], SHA256())
                opening.update(fragment[1])
                assert opening.finalize() == commitment[3], "a payload that was not committed to"
        said = json.loads(fragments[0][1]) if fragments and fragments[0] else None
        actor, session, turn, call = (uuid(id and id.hex()) for id in (leaf[12][1], *leaf[16:19]))
        place = (epoch, index, hashes[-1].hex(), origin, (epoch, leaf[4][0]), leaf[6], leaf[8])
        found.append(Record(*place, leaf[10], leaf[11], actor, session, turn, call, said))
    assert root(hashes) == signed, "not the records under the tree head"
    return found


def opened(envelope, form, key):
    """What a DSSE envelope of a record holds, by the key that `infra.key.registered` says: verified first, read then."""
    envelope, public, form = json.loads(envelope), bytes.fromhex(key["public_key"]), f"application/vnd.ruche.{form}.v1+json"
    assert sha256(bytes.fromhex("302a300506032b6570032100") + public).hex() == key["key_id"], "an id of another key"
    assert envelope["payloadType"] == form, "another kind of document"
    body = base64.b64decode(envelope["payload"])
    text = b"DSSEv1 %d %s %d %s" % (len(form), form.encode(), len(body), body)
    Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(envelope["signatures"][0]["sig"]), text)
    return json.loads(body)


def records(export, vkeys):
    """All records of the export, or an exception with what is wrong with it."""
    keys = {int(vkey.split("+")[0].rpartition("/e")[2]): vkey for vkey in vkeys}
    is_whole = sorted(keys) == list(range(1, len(vkeys) + 1)) and not os.path.exists(f"{export}/e{len(vkeys) + 1}")
    assert is_whole, "bring the key of each epoch, from the first on"
    for epoch, vkey in sorted(keys.items()):
        yield from records_of_epoch(export, epoch, vkey)


def find(among, type, **fields):
    """Those of a type whose fields are so, in order. What they say has to be there: what is kept back may be anything."""
    found = [it for it in among if it.type == type and fields.items() <= it._asdict().items()]
    assert all(it.said is not None for it in found), f"a payload of {type} is not there"
    return found


def stream(everything, name):
    """The records of a stream in order, each with all that stand before it in the ledger."""
    places = [number for number, it in enumerate(everything) if it.stream == name]
    assert places, f"there is no {name}"
    for number in places:
        yield everything[number], everything[:number]


def happened(it):
    """When it happened: as the record says, but at most five minutes before it was recorded. Nobody is in time by their own word."""
    return max(it.occurred_at, it.recorded_at - 300_000_000)


def user(credential, before, told):
    """Whose a credential is, as the record says that made it; as is told, where none of those before does."""
    made = [it.said for it in find(before, "infra.api_key.created") if it.said["key_id"] == credential]
    return made[0].get("user") if made else told


def reviewer_key(before, key_id, tenant):
    """The one record that registers a key, in a stream of keys: made for this tenant by the person whom it names, who has it, and not
    revoked by those before."""
    registered, = [it for it in find(before, "infra.key.registered") if it.said["key_id"] == key_id]
    key = registered.said
    proof = opened(key["proof_of_possession"], "reviewer-key", key)
    assert registered.stream.startswith("key-"), "registered in another kind of stream"
    proven = (proof["tenant"], proof["reviewer"], proof["public_key"])
    assert proven == (tenant, key["reviewer"], key["public_key"]), "another's key"
    assert not any((it.type, it.stream) == ("infra.key.revoked", registered.stream) for it in before), "a key that was revoked"
    return registered


def proposed(before, call):
    """What the ledger says of a call that was proposed, and of its lane, by the names that a request for approval has for it."""
    it = [it for it in find(before, "tool.proposed", call=call) if it.stream.startswith("lane-")][-1]
    turns = [turn.said for turn in find(before, "turn.opened", stream=it.stream) if "agent_id" in turn.said]
    lane = turns[-1] if turns else {}
    facts = {"call_id": call, "session": it.session, "turn": it.turn, "tool_name": it.said["name"]}
    facts |= {name: it.said.get(name) for name in ("arguments", "schema_digest", "action_digest", "business_key")}
    return facts | {name: lane[name] for name in ("agent_id", "channel", "interlocutor_id") if name in lane}


def action_digest(request, tenant):
    """The digest of the action that a request for approval shows (action.md)."""
    said = request.said
    action = {"agent": said["agent_id"], "arguments_sha256": digest(said["arguments"]), "session": request.session,
              "side_effect": said["side_effect"], "tenant": tenant, "tool": said["tool_name"], "turn": request.turn,
              "type": "ruche.action.v1"}
    if "schema_digest" in said:
        action["schema_sha256"] = said["schema_digest"]
    return digest(json.dumps(action, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def starts(everything, call):
    """The starts of a call in order: append, tool, digest of the arguments. They stand in its one lane, and nothing ran without."""
    lane, = {it.stream for it in find(everything, "tool.proposed", call=call) if it.stream.startswith("lane-")}
    started = find(everything, "tool.started", call=call)
    assert all(it.stream == lane for it in started), "it started outside of its lane"
    ran = [it for it in everything if it.call == call and it.type in OUTCOMES]
    assert started or not ran, "it ran, and its start is not there"
    return [(it.append, it.said["name"], it.said["args_digest"]) for it in started]


def run(main):
    """Runs a program on the arguments of the command line: whatever is wrong with the export, it does not verify."""
    if not __debug__:
        sys.exit("run it without -O: the checks are assertions")
    try:
        main(*sys.argv[1:])
    except Exception as error:
        sys.exit(f"DOES NOT VERIFY: {type(error).__name__}: {error}")


def main(export, *vkeys):
    for record in records(export, vkeys):
        print(json.dumps(record._asdict()))


if __name__ == "__main__":
    run(main)
