#!/usr/bin/env python3
"""Independent verifier for Ruche exports, written from record.md and bundle.md alone.

    verify.py DIR [--key VKEY]... [--since FILE] [--at-least N] [--archive DIR]... [--json]

Exit codes: 0 VERIFIED, 1 COULD_NOT_RUN, 2 TAMPERED, 3 PAYLOADS_MISSING, 4 SELF_CONSISTENT, 5 PAYLOADS_ARCHIVED. Python
3.11, standard library only; the PyPI package `cryptography` checks Ed25519 where it is installed, else the few lines below do.
Lines marked READING are places where the documents leave a choice; the comment says which one was taken.
"""
import argparse
import base64
import hashlib
import hmac
import json
import os
import re
import stat
import sys
from bisect import bisect_left, bisect_right
from collections import Counter, namedtuple

NOTE_LIMIT = 1 << 18        # bytes of a signed note or a key file that we are ready to read
JSON_LIMIT = 1 << 24        # the same of manifest.json and of the payload of an opening record
ENTRIES_LIMIT = 256 * (2 + 0xFFFF)
MISSING_LIMIT = 16          # missing files of one kind after which we stop looking for more
FINDING_LIMIT = 100         # findings of one name in one epoch that are written out; the rest is counted


class CouldNotRun(Exception):
    pass


class Malformed(Exception):
    pass


# ---------------------------------------------------------------- files

def open_file(path):
    """An open regular file, or None if there is none. A pipe, a device or a symbolic link is not read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise CouldNotRun(f"{path!r}: {e.strerror}")
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise CouldNotRun(f"{path!r}: not a regular file")
    return os.fdopen(fd, "rb")


def read_file(path, limit):
    """The bytes of a file, at most limit + 1 of them; None if it is not there."""
    f = open_file(path)
    if f is None:
        return None
    with f:
        return f.read(limit + 1)


def parse_json(data):
    def unique(pairs):
        if len({k for k, _ in pairs}) != len(pairs):
            raise ValueError("a member stands twice")
        return dict(pairs)
    if len(data) > JSON_LIMIT:
        raise Malformed("too long")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as e:
        raise Malformed(f"not JSON: {e}")


# ---------------------------------------------------------------- Ed25519, strict

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
BASE_Y = 4 * pow(5, P - 2, P) % P
# the y coordinates of the eight points of small order
SMALL_Y = {0, 1, P - 1} | {int.from_bytes(bytes.fromhex(h), "little") for h in (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")}


def ed_point(y, sign):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def ed_add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]), (p[1] + p[0]) * (q[1] + q[0])
    c, d = 2 * p[3] * q[3] * D, 2 * p[2] * q[2]
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def ed_mul(k, p):
    q = (0, 1, 1, 0)
    while k:
        q, p, k = (ed_add(q, p) if k & 1 else q), ed_add(p, p), k >> 1
    return q


def ed_verify_plain(key, sig, text):
    """RFC 8032 §5.1.7 without the cofactor: the encoding of [S]B - [h]A is R, byte for byte."""
    y = int.from_bytes(key, "little")
    a = ed_point(y & (2**255 - 1), y >> 255)
    if a is None:
        return False
    h = int.from_bytes(hashlib.sha512(sig[:32] + key + text).digest(), "little") % L
    minus_a = (P - a[0], a[1], 1, P - a[3])
    x, y, z, _ = ed_add(ed_mul(int.from_bytes(sig[32:], "little"), ed_point(BASE_Y, 0)), ed_mul(h, minus_a))
    x, y = x * pow(z, P - 2, P) % P, y * pow(z, P - 2, P) % P
    return (y | (x & 1) << 255).to_bytes(32, "little") == sig[:32]


def ed_verify(key, sig, text):
    if len(key) != 32 or len(sig) != 64 or int.from_bytes(sig[32:], "little") >= L:
        return False
    for encoding in (key, sig[:32]):
        y = int.from_bytes(encoding, "little") & (2**255 - 1)
        if y >= P or y in SMALL_Y:
            return False
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return ed_verify_plain(key, sig, text)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(sig, text)
        return True
    except (InvalidSignature, ValueError):
        return False


# ---------------------------------------------------------------- signed notes, keys, tree heads

Key = namedtuple("Key", "name id public text")
Head = namedtuple("Head", "origin size root text signatures")


def b64(text):
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        raise Malformed("not base64")
    if base64.b64encode(data).decode() != text:
        raise Malformed("not canonical base64")
    return data


def name_is_fine(name):
    return name != "" and "+" not in name and not any(c.isspace() for c in name)


def parse_vkey(line):
    """READING: <name>+<key id, 8 hex digits>+<base64 of 01 and the public key>, as golang.org/x/mod/sumdb/note."""
    parts = line.split("+", 2)
    if len(parts) != 3 or not name_is_fine(parts[0]) or not re.fullmatch("[0-9a-f]{8}", parts[1]):
        raise Malformed("not a verifier key")
    data = b64(parts[2])
    if len(data) != 33 or data[0] != 1:
        raise Malformed("not an Ed25519 verifier key")
    if hashlib.sha256(parts[0].encode() + b"\n" + data).digest()[:4].hex() != parts[1]:
        raise Malformed("the key id is not the hash of the verifier key")
    return Key(parts[0], bytes.fromhex(parts[1]), data[1:], line)


def parse_head(data):
    """A signed note whose text is exactly origin, size and root. READING: extension lines are refused."""
    if len(data) > NOTE_LIMIT:
        raise Malformed("too long")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("not UTF-8")
    if any(c < " " and c != "\n" for c in note):
        raise Malformed("control characters")
    text, blank, tail = note.rpartition("\n\n")
    lines = text.split("\n")
    if not blank or not tail.endswith("\n") or len(lines) != 3:
        raise Malformed("not a signed note over three lines")
    if lines[0] == "" or not re.fullmatch("0|[1-9][0-9]{0,18}", lines[1]) or len(b64(lines[2])) != 32:
        raise Malformed("not an origin, a size and a root")
    signatures = []
    for line in tail[:-1].split("\n"):
        words = line.split(" ")
        if len(words) != 3 or words[0] != "\u2014" or not name_is_fine(words[1]) or len(b64(words[2])) < 5:
            raise Malformed("not a signature line")
        signatures.append((words[1], b64(words[2])))
    if len(signatures) > 100:
        raise Malformed("too many signatures")
    return Head(lines[0], int(lines[1]), b64(lines[2]), (text + "\n").encode(), signatures)


def check_signatures(head, keys):
    """The keys whose signature holds, and those whose signature does not; a key that did not sign is in neither."""
    good, bad = [], []
    for key in keys:
        sigs = [s[4:] for name, s in head.signatures if name == key.name and s[:4] == key.id]
        if sigs:
            (good if all(ed_verify(key.public, s, head.text) for s in sigs) else bad).append(key)
    return good, bad


# ---------------------------------------------------------------- CBOR and the leaf

def cbor_encode(item):
    def head(major, n):
        if n < 24:
            return bytes([major << 5 | n])
        size = next(s for s in range(4) if n < 1 << (8 << s))
        return bytes([major << 5 | 24 + size]) + n.to_bytes(1 << size, "big")
    if isinstance(item, int):
        return head(0, item)
    if isinstance(item, bytes):
        return head(2, len(item)) + item
    if isinstance(item, str):
        return head(3, len(item.encode())) + item.encode()
    return head(4, len(item)) + b"".join(map(cbor_encode, item))


def cbor_decode(data, at=0, depth=0):
    if at >= len(data):
        raise Malformed("ends early")
    major, n = data[at] >> 5, data[at] & 31
    at += 1
    if n >= 24:
        if n > 27:
            raise Malformed("indefinite or reserved length")
        size = 1 << (n - 24)
        if at + size > len(data):
            raise Malformed("ends early")
        n, at = int.from_bytes(data[at:at + size], "big"), at + size
    if major == 0:
        return n, at
    if major not in (2, 3, 4) or n > len(data) - at or depth > 3:
        raise Malformed("a kind of item or a length that cannot be")
    if major == 4:
        items = []
        for _ in range(n):
            item, at = cbor_decode(data, at, depth + 1)
            items.append(item)
        return items, at
    body = data[at:at + n]
    try:
        return (body if major == 2 else body.decode("utf-8")), at + n
    except UnicodeDecodeError:
        raise Malformed("text that is not UTF-8")


CATEGORIES = ("ledger session lane observed tool config memory goal plan schedule scenario artifact approval policy key "
              "access subject projection state").split()
STREAM = re.compile("(%s)-([0-9a-f]{32})" % "|".join(CATEGORIES))
Leaf = namedtuple("Leaf", "version origin index previous append event_id stream stream_version event_type schema recorded "
                  "occurred actor behalf provenance classification session turn call subject correlation causation "
                  "trace config policy idempotency payload extensions")


def uint(limit):
    return lambda v: isinstance(v, int) and v < limit


def raw(n):
    return lambda v: isinstance(v, bytes) and len(v) == n


def string(low, high):
    return lambda v: isinstance(v, str) and low <= len(v.encode()) <= high


def optional(check):
    return lambda v: v == [] or check(v)


def items(*checks):
    return lambda v: isinstance(v, list) and len(v) == len(checks) and all(c(i) for c, i in zip(checks, v))


def listing(most, check):
    return lambda v: isinstance(v, list) and len(v) <= most and all(check(i) for i in v)


def fragment(v):
    start = uint(2), string(1, 64), uint(2**64), raw(32)
    if isinstance(v, list) and v[:1] == [1]:
        return items(*start, raw(16), raw(32), raw(32))(v)
    return items(*start, *[lambda i: i == []] * 3)(v)


ANY, ID, HASH = uint(2**64), raw(16), raw(32)
ACTOR = items(uint(6), optional(ID))
LEAF = items(
    lambda v: v == 1, string(1, 128), ANY, optional(HASH), items(ANY, uint(2**32)), ID,
    lambda v: isinstance(v, str) and STREAM.fullmatch(v), ANY, string(1, 64), uint(2**32), ANY, ANY, ACTOR, optional(ACTOR),
    uint(5), uint(4), optional(ID), optional(ID), optional(ID), optional(ID), optional(ID), optional(ID),
    optional(items(lambda v: raw(16)(v) and any(v), lambda v: raw(8)(v) and any(v))), optional(HASH), optional(HASH),
    listing(3, items(uint(3), HASH, HASH)), listing(4, fragment), lambda v: v == [])


def parse_leaf(data):
    """What one leaf alone must satisfy. Where a finding of its own exists (chain, append), it is left to that check."""
    if len(data) > 1024:
        raise Malformed("longer than 1024 bytes")
    value, end = cbor_decode(data)
    if end != len(data) or cbor_encode(value) != data:
        raise Malformed("not in deterministic encoding")
    if not LEAF(value):
        raise Malformed("not the 28 items of a leaf")
    leaf = Leaf(*value)
    if leaf.idempotency and leaf.index != leaf.append[0]:
        raise Malformed("idempotency on a record that does not begin its append")
    return leaf


# ---------------------------------------------------------------- Merkle tree and paths

def leaf_hash(data):
    return hashlib.sha256(b"\0" + data).digest()


def tree_root(hashes):
    """RFC 6962 §2.1; None if a hash is not known."""
    stack = []                                          # (leaves below, hash), widest first
    for h in hashes:
        if h is None:
            return None
        width = 1
        while stack and stack[-1][0] == width:
            h, width = hashlib.sha256(b"\1" + stack.pop()[1] + h).digest(), width * 2
        stack.append((width, h))
    if not stack:
        return hashlib.sha256(b"").digest()
    h = stack.pop()[1]
    while stack:
        h = hashlib.sha256(b"\1" + stack.pop()[1] + h).digest()
    return h


def tile_of(n, count):
    """Path and width of tile n of a level with count hashes."""
    width = min(256, count - 256 * n)
    groups, rest = f"{n % 1000:03}", n // 1000
    while rest:
        groups, rest = f"x{rest % 1000:03}/{groups}", rest // 1000
    return groups + ("" if width == 256 else f".p/{width}"), width


# ---------------------------------------------------------------- one epoch

class Epoch:
    """An epoch's tree head, its records as they come by, and what the next epoch needs of it."""

    def __init__(self, ledger, number):
        self.ledger, self.number = ledger, number
        self.dir = os.path.join(ledger.dir, f"e{number}")
        self.head, self.keys, self.signed = None, [], []   # signed: the keys whose signature holds
        self.hashes, self.indexes = [], []              # per place: leaf hash, index in the leaf; None where unknown
        self.opening = self.opening_payload = None      # record 0, and its first fragment once it opened
        self.opening_missing = False
        self.before = None                              # the leaf in the place before

    def finding(self, name, index=None, detail=""):
        self.ledger.finding(name, self.number, index, detail)

    def verify(self, before):
        """before: number of the last epoch that is there before this one; 0 if there is none."""
        data = read_file(os.path.join(self.dir, "checkpoint"), NOTE_LIMIT)
        try:
            self.head = parse_head(data if data is not None else b"")
        except Malformed as e:                          # READING: an epoch without a checkpoint is this, too
            self.finding("TREE_HEAD_MALFORMED", detail=str(e) if data is not None else "no checkpoint")
            self.ledger.gap = True
        self.check_missing(before, self.declared_loss() if self.head else None)
        if self.head is None:
            return
        self.check_head()
        self.read_records()
        self.check_places()
        self.check_tree()
        self.check_surplus_files()
        self.check_opening()

    # -- epochs that are not there

    def declared_loss(self):
        """lost_from and lost_to of record 0, before the records are read: what is lost bears on all of them."""
        path, _ = tile_of(0, self.head.size)
        try:
            entries = read_file(os.path.join(self.dir, "tile/entries", path), ENTRIES_LIMIT) or b""
            payload = read_file(os.path.join(self.dir, "payload", path), 37 + JSON_LIMIT) or b""
            leaf = parse_leaf(entries[2:2 + int.from_bytes(entries[:2], "big")])
            body = payload[37:37 + leaf.payload[0][2]]
            if leaf.index == 0 and hmac.digest(payload[1:33], body, "sha256") == leaf.payload[0][3]:
                return lost_range(parse_json(body)["previous"])
        except (Malformed, LookupError, TypeError):     # all of this is judged when record 0 is
            pass
        return None

    def check_missing(self, before, loss):
        missing = before + 1
        if loss:
            self.ledger.gap = True
            if loss[0] <= (missing, 0):
                missing = max(missing, loss[1][0] + 1)
        if missing < self.number:
            self.ledger.finding("EPOCH_MISSING", missing, detail=f"not there, before epoch {self.number}")
            self.ledger.gap = True

    # -- the tree head

    def check_head(self):
        brought = self.ledger.keys
        self.keys = brought or self.key_from_export()
        good, bad = check_signatures(self.head, self.keys)
        self.signed = [k for k in good if k.name == self.head.origin]
        if bad:
            self.finding("TREE_HEAD_SIGNATURE_INVALID", detail=f"key {bad[0].name!r}")
        elif not good and brought:
            self.finding("TREE_HEAD_UNTRUSTED", detail=f"origin {self.head.origin!r}")
        elif not good and self.keys:                    # READING: the key of the export did not sign
            self.finding("TREE_HEAD_SIGNATURE_INVALID", detail="not signed by key.vkey")
        names = good if brought else self.keys
        if names and not any(k.name == self.head.origin for k in names):
            self.finding("ORIGIN_MISMATCH", detail=f"tree head {self.head.origin!r}, key {names[0].name!r}")

    def key_from_export(self):
        data = read_file(os.path.join(self.dir, "key.vkey"), NOTE_LIMIT)
        if data is None:                                # READING: without --key a key.vkey must be there and be a key
            self.finding("FILE_MISSING", detail="key.vkey")
            return []
        try:
            return [parse_vkey(data.decode("utf-8").removesuffix("\n"))]
        except (Malformed, UnicodeDecodeError) as e:
            self.finding("FILE_MALFORMED", detail=f"key.vkey: {e}")
            return []

    # -- records, in order of their places

    def read_records(self):
        size, n, missing, last = self.head.size, 0, 0, 0
        while 256 * n < size and missing < MISSING_LIMIT:
            path, width = tile_of(n, size)
            start, final = 256 * n, 256 * n + width == size
            entries = self.read_entries(path, start, width, final)
            if entries is None:
                missing += 1
                entries = []
            else:
                last = start + len(entries[:width])     # records end here, as far as we know
            if len(entries) > width:
                self.finding("SURPLUS_RECORDS" if final else "FILE_MALFORMED", start + width, "entries " + path)
            leaves = [self.read_leaf(start + i, e) for i, e in enumerate(entries[:width])]
            short = width - len(leaves)
            if short:
                self.hashes += [None] * short
                self.indexes += [None] * short
                self.before = None
                self.ledger.gap = True
            self.read_payloads(path, start, leaves, short == 0)
            n += 1
        del self.hashes[last:], self.indexes[last:]

    def read_entries(self, path, start, width, final):
        data = read_file(os.path.join(self.dir, "tile/entries", path), ENTRIES_LIMIT)
        if data is None:
            self.finding("FILE_MISSING", start, "tile/entries/" + path)
            return None
        entries, at = [], 0
        while at < len(data):
            end = at + 2 + int.from_bytes(data[at:at + 2], "big")
            if at + 2 > len(data) or end > len(data) or len(data) > ENTRIES_LIMIT:
                self.finding("FILE_MALFORMED", start + len(entries), f"tile/entries/{path} does not end with an entry")
                break
            entries.append(data[at + 2:end])
            at = end
        if len(entries) < width and at == len(data) and not final:      # the end of the last one is TAIL_MISSING
            self.finding("FILE_MALFORMED", start + len(entries), f"tile/entries/{path} has too few entries")
        return entries

    def read_leaf(self, place, data):
        """All checks of one record against what came before it. Returns the leaf, or None if it is none."""
        self.hashes.append(leaf_hash(data))
        self.indexes.append(None)
        before, self.before = self.before, None
        try:
            leaf = parse_leaf(data)
        except Malformed as e:
            self.finding("LEAF_MALFORMED", place, str(e))
            self.ledger.gap = True
            return None
        if leaf.origin != self.head.origin:             # READING: of a foreign record only payloads are checked
            self.finding("FOREIGN_RECORD", place, f"origin {leaf.origin!r}")
            return leaf
        self.before, self.indexes[place], ledger = leaf, leaf.index, self.ledger
        # chain: READING: compared where the record before claims the place before; else its place is the finding
        first, count = leaf.append
        if leaf.index == 0 or leaf.previous == []:
            if leaf.index != 0 or leaf.previous != []:
                self.finding("CHAIN_BROKEN", place, "previous is absent in record 0 and only there")
        elif place and self.hashes[place - 1] and self.indexes[place - 1] in (None, leaf.index - 1):
            if leaf.previous != self.hashes[place - 1]:
                self.finding("CHAIN_BROKEN", place)
        # append
        if not first <= leaf.index < first + count:
            self.finding("APPEND_BROKEN", place, f"range {first}+{count} without its own record {leaf.index}")
        elif first + count > self.head.size and (leaf.index == first or before is None):
            self.finding("APPEND_BROKEN", place, f"range {first}+{count} ends behind the epoch")
        elif before and before.index + 1 == leaf.index and leaf.append != before.append:
            if leaf.index != first or sum(before.append) != first:
                self.finding("APPEND_BROKEN", place, f"range {first}+{count} behind {before.append[0]}+{before.append[1]}")
        # time, event id, stream
        if leaf.recorded < ledger.time:
            self.finding("TIME_REVERSED", place)
        ledger.time = leaf.recorded
        if leaf.event_id in ledger.event_ids:
            self.finding("EVENT_ID_REPEATED", place, leaf.event_id.hex())
        ledger.event_ids.add(leaf.event_id)
        expected = ledger.streams.get(leaf.stream, 0)   # versions may stand in what is lost or cannot be read
        if leaf.stream_version < expected or leaf.stream_version > expected and not ledger.gap:
            self.finding("STREAM_BROKEN", place, f"{leaf.stream} has version {leaf.stream_version}, not {expected}")
        ledger.streams[leaf.stream] = leaf.stream_version + 1
        # opening record: READING: "record 0" is the record that says so, in the place where it says so
        if (leaf.event_type == "infra.ledger.opened") != (leaf.index == 0):
            self.finding("OPENING_RECORD_WRONG", place, f"{leaf.event_type!r} as record {leaf.index}")
        if place == leaf.index == 0:
            self.opening = leaf
        # tool calls
        lane = leaf.stream if leaf.stream.startswith("lane-") else None
        if leaf.event_type == "tool.started" and leaf.call:
            ledger.started[leaf.call] = lane or ledger.started.get(leaf.call)
        elif leaf.event_type in ("tool.completed", "tool.failed", "tool.outcome_unknown"):
            started = leaf.call and leaf.call in ledger.started and lane in (None, ledger.started[leaf.call])
            if not leaf.call or not started and not ledger.gap:
                self.finding("EFFECT_WITHOUT_INTENT", place, leaf.event_type)
        return leaf

    # -- payloads

    def read_payloads(self, path, start, leaves, complete):
        f = open_file(os.path.join(self.dir, "payload", path))
        if f is None:                                   # READING: a bundle of no bytes must be there, too
            self.finding("FILE_MISSING", start, "payload/" + path)
            return
        with f:
            left = os.fstat(f.fileno()).st_size

            def take(n):
                nonlocal left
                data = f.read(n) if n <= left else b""
                if len(data) != n:
                    raise Malformed("ends early")
                left -= n
                return data

            place = start
            try:
                for place, leaf in enumerate(leaves, start):
                    if leaf is None:                    # how many fragments it has is not known: the rest is unreadable
                        return
                    for number, fragment in enumerate(leaf.payload):
                        self.read_fragment(place, number, leaf, take)
                if complete and left:
                    raise Malformed("bytes behind the last fragment")
            except Malformed as e:
                self.finding("PAYLOAD_MALFORMED", place, f"payload/{path}: {e}")

    def read_fragment(self, place, number, leaf, take):
        algorithm, _, stored_length, commitment = leaf.payload[number][:4]
        category = leaf.stream.partition("-")[0]
        opening_record = place == 0 and number == 0
        tells = number == 0 and category == "ledger" and leaf.event_type == "infra.payloads_archived"
        tag = take(1)
        if tag == b"\0" and category in MAY_LEAVE:      # the whole ledger says whether an archive explains it
            self.ledger.absent.append(((self.number, place), number, algorithm, stored_length, commitment))
            return
        if tag == b"\0":
            self.opening_missing |= opening_record
            self.finding("PAYLOAD_MISSING", place, f"fragment {number}")
            return
        if tag != b"\1":
            raise Malformed(f"a fragment begins with {tag.hex()}")
        mac = hmac.new(take(32), digestmod=hashlib.sha256)
        length = left = int.from_bytes(take(4), "big")
        kept = bytearray()
        while left:
            part = take(min(left, 1 << 16))
            mac.update(part)
            left -= len(part)
            if (opening_record or tells) and len(kept) <= JSON_LIMIT:
                kept += part
        if algorithm == 1:                              # READING: framed like the others in the bundle
            self.finding("PAYLOAD_NOT_CHECKED", place, f"fragment {number} has algorithm 1")
        elif length != stored_length or not hmac.compare_digest(mac.digest(), commitment):
            self.finding("PAYLOAD_MISMATCH", place, f"fragment {number}")
        elif opening_record:
            self.opening_payload = bytes(kept)
        elif tells and (told := parse_told(bytes(kept))):
            self.ledger.told.append(told)

    # -- places: which record stands where

    def check_places(self):
        indexes, size, expected = self.indexes, self.head.size, 0
        present = sorted(i for i in indexes if i is not None)
        first = indexes[0] if indexes else None
        if first and all(i is None or i == first + place for place, i in enumerate(indexes)):
            self.finding("FIRST_RECORD_MISSING", 0, f"record {first} stands there")
            expected = first + len(indexes)
        else:
            for place, index in enumerate(indexes):
                after = indexes[place + 1] if place + 1 < len(indexes) else None
                if index is None or index == expected:
                    expected += 1
                elif expected == place and index < len(indexes) and indexes[index] == place:
                    self.finding("RECORDS_SWAPPED", place, f"with {index}")
                    expected += 1
                elif (index > expected and after in (None, index + 1)
                        and bisect_left(present, expected) == bisect_left(present, index)):
                    self.finding("RECORD_MISSING", expected, f"up to {index - 1}; record {index} stands in its place")
                    expected = index + 1
                else:
                    self.finding("RECORD_OUT_OF_PLACE", place, f"record {index} stands there")
                    expected += after != expected       # put in before the expected one, or instead of it
        if len(indexes) < size and expected < size:
            self.finding("TAIL_MISSING", expected)

    # -- tree and tiles

    def check_tree(self):
        size, level, number = self.head.size, self.hashes, 0
        if len(level) == size and None not in level:    # READING: with records missing there is no root to compare
            if tree_root(level) != self.head.root:
                self.finding("ROOT_MISMATCH")
        count = size
        while count:
            n = missing = 0
            while 256 * n < count and missing < MISSING_LIMIT:
                path, width = tile_of(n, count)
                data = read_file(os.path.join(self.dir, "tile", str(number), path), 32 * 256)
                start = 256 * n * 256**number
                if data is None:
                    self.finding("FILE_MISSING", start, f"tile/{number}/{path}")
                    missing += 1
                elif len(data) != 32 * width:
                    self.finding("FILE_MALFORMED", start, f"tile/{number}/{path} has not {width} hashes")
                else:
                    for i, h in enumerate(level[256 * n:256 * n + width]):
                        if h is not None and h != data[32 * i:32 * i + 32]:
                            self.finding("TILE_MISMATCH", start + i * 256**number, f"tile/{number}/{path}, hash {i}")
                            break
                n += 1
            level = [tree_root(level[i:i + 256]) for i in range(0, len(level) - 255, 256)]
            count, number = count // 256, number + 1

    def check_surplus_files(self):
        """Only tiles of the size are in an export. READING: files whose names are no tile's are not looked at."""
        surplus, folders = 0, [("tile", 0), ("payload", 0)]
        pattern = re.compile(r"(tile/(?:entries|[0-9]{1,2})|payload)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([0-9]{1,3}))?")
        while folders and surplus < MISSING_LIMIT:
            folder, depth = folders.pop()
            try:
                entries = sorted(os.scandir(os.path.join(self.dir, folder)), key=lambda e: e.name)
            except (FileNotFoundError, NotADirectoryError):
                continue
            for entry in entries:
                path = f"{folder}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    folders += [(path, depth + 1)] if depth < 12 else []
                elif match := pattern.fullmatch(path):
                    kind, groups, width = match.groups()
                    n = int(re.sub("[x/]", "", groups))
                    number = kind.removeprefix("tile/")
                    count = self.head.size // 256**int(number) if number.isdigit() else self.head.size
                    if 256 * n < count and path == f"{kind}/{tile_of(n, count)[0]}":
                        continue
                    beyond = kind == "tile/entries" and 256 * n + int(width or 256) > self.head.size
                    self.finding("SURPLUS_RECORDS" if beyond else "FILE_MALFORMED", None, f"{path} is not of this size")
                    surplus += 1

    # -- record 0 and the epoch before

    def check_opening(self):
        leaf, ledger, wrong = self.opening, self.ledger, "OPENING_RECORD_WRONG"
        if self.head.size == 0:                         # READING: every epoch has a record 0
            self.finding(wrong, 0, "the epoch is empty")
        if leaf is None or leaf.event_type != "infra.ledger.opened":
            return
        category, _, ledger_id = leaf.stream.partition("-")
        if category != "ledger" or ledger_id != (ledger.id or ledger_id):
            self.finding(wrong, 0, f"stream {leaf.stream}")
        ledger.id = ledger.id or ledger_id
        if not leaf.payload:
            self.finding(wrong, 0, "no payload")
        before = ledger.epochs.get(self.number - 1)
        if self.opening_payload is None:
            if self.opening_missing and before:         # READING: the link must be shown, so it is not "all else"
                self.finding("EPOCH_LINK_BROKEN", 0, "the payload that names the epoch before is missing")
            return
        try:
            payload = parse_json(self.opening_payload)
            if not isinstance(payload, dict) or leaf.payload[0][1] != "application/json":
                raise Malformed("the payload is not a JSON object")
            for name, right in (("origin", [self.head.origin]), ("epoch", [self.number]),
                                ("verifier_key", [k.text for k in self.signed])):
                value = payload.get(name)
                if type(value) is not (int if name == "epoch" else str):
                    raise Malformed(f"no `{name}`")
                if right and value not in right:
                    self.finding(wrong, 0, f"it opens {name} {value!r}")
            previous = payload.get("previous")
            if previous is not None and self.number == 1:
                raise Malformed("`previous` is there only from the second epoch on")
            if previous is not None:
                self.check_link(previous, before)
            elif before:
                self.finding("EPOCH_LINK_BROKEN", 0, "record 0 does not name the epoch before")
        except Malformed as e:
            self.finding(wrong, 0, str(e))

    def check_link(self, link, before):
        """before: the epoch of the number before, if it is there."""
        loss = lost_range(link)
        origin, size, root, note = (link.get(k) for k in ("origin", "tree_size", "root", "tree_head"))
        if (type(origin), type(size), type(root), type(note)) != (str, int, str, str) or size < 0:
            raise Malformed("`previous` lacks origin, tree_size, root or tree_head")
        if not re.fullmatch("[0-9a-f]{64}", root):
            self.finding("EPOCH_LINK_BROKEN", 0, "`root` is not 64 hex digits")
            return
        if loss:
            self.ledger.finding("RECORDS_LOST", *loss[0], f"up to {loss[1][0]}:{loss[1][1]}")
            self.check_loss(*loss)
        elif before is None:                            # nothing to compare it with: EPOCH_MISSING is said
            return
        if before and before.head is None:
            return
        problem = None
        try:                                            # the note must say the same and carry that epoch's key
            head = parse_head(note.encode())
            good, bad = check_signatures(head, before.keys if before else [k for k in self.ledger.keys if k.name == origin])
            if (head.origin, head.size, head.root.hex()) != (origin, size, root):
                problem = "tree_head says otherwise than origin, tree_size and root"
            elif bad or not good and (before.signed if before else any(k.name == origin for k in self.ledger.keys)):
                problem = "tree_head is not signed by the key of the epoch before"
        except (Malformed, UnicodeEncodeError) as e:
            problem = f"tree_head: {e}"
        if before and origin != before.head.origin:
            problem = f"previous origin {origin!r}"
        elif before and not loss and size != before.head.size:
            problem = f"tree_size {size}, but the epoch before has {before.head.size}"
        elif before and not loss and len(before.hashes) == size and tree_root(before.hashes) not in (None, bytes.fromhex(root)):
            problem = f"another root over {size} records"
        if problem:
            self.finding("EPOCH_LINK_BROKEN", 0, problem)

    def check_loss(self, start, end):
        """A lost range begins right behind what is there and ends in the epoch before this one."""
        there = [n for n in self.ledger.epochs if n < self.number]
        head = self.ledger.epochs[there[-1]].head if there else None
        if head and start > (there[-1], head.size):
            self.finding("EPOCH_LINK_BROKEN", 0, f"records {there[-1]}:{head.size} to before {start[0]}:{start[1]} are neither here nor declared lost")
        if start > end or end[0] != self.number - 1 or head and start < (there[-1], head.size):
            self.finding("EPOCH_LINK_BROKEN", 0, f"records {start[0]}:{start[1]} to {end[0]}:{end[1]} cannot be lost")


def lost_range(link):
    """lost_from and lost_to of `previous` as pairs of epoch and index; None if nothing is lost."""
    if not isinstance(link, dict):
        raise Malformed("`previous` is not an object")
    places = []
    for name in ("lost_from", "lost_to"):
        place = link.get(name)
        if place is not None:
            match = re.fullmatch("([1-9][0-9]{0,9}):(0|[1-9][0-9]{0,19})", place) if isinstance(place, str) else None
            if not match:
                raise Malformed(f"{name} is not a place")
            places.append((int(match[1]), int(match[2])))
    if len(places) == 1:
        raise Malformed("lost_from and lost_to stand together or not at all")
    return tuple(places) or None


# ---------------------------------------------------------------- archives

# streams whose payloads may be in an archive: what else is missing, no archive explains
MAY_LEAVE = {"lane", "observed", "memory", "goal", "plan", "scenario", "artifact", "state"}
ARCHIVE_RECORDS_LIMIT = 1 << 20


class Archive:
    """A range of payload bundles. Its index has, for each of them, a SHA-256 and the number of fragments of each record."""

    def __init__(self, directory):
        self.dir = directory
        try:
            manifest = parse_json(read_file(os.path.join(directory, "manifest.json"), 1 << 16) or b"")
            if not isinstance(manifest, dict) or manifest.get("format") != "ruche-archive" or repr(manifest.get("version")) != "1":
                raise Malformed("not an archive of version 1")
            self.epoch, self.origin, self.start, self.end = (manifest.get(k) for k in ("epoch", "origin", "from", "to"))
            if not all(type(n) is int for n in (self.epoch, self.start, self.end)) or self.start % 256 or self.end % 256 \
                    or not 0 <= self.start < self.end <= self.start + ARCHIVE_RECORDS_LIMIT:
                raise Malformed("its range is none")
            size = (self.end - self.start) // 256 * 288
            self.index = read_file(os.path.join(directory, "index"), size) or b""
            self.digest = hashlib.sha256(self.index).hexdigest()
            if len(self.index) != size or self.digest != manifest.get("digest"):
                raise Malformed("its index is not the one of its manifest")
            self.name = f"{str(manifest.get('ledger')).replace('-', '')}-e{self.epoch}-{self.start}-{self.end}"
        except Malformed as e:
            raise CouldNotRun(f"{directory!r}: {e}")

    def bundle(self, n):
        """For each of 256 records a list with (opening, bytes), or None, for each fragment."""
        at = (n - self.start // 256) * 288
        digest, counts = self.index[at:at + 32], self.index[at + 32:at + 288]
        path = os.path.join(self.dir, f"e{self.epoch}", "payload", tile_of(n, 256 * (n + 1))[0])
        f = open_file(path)
        if f is None:
            raise Malformed("a bundle is missing")
        with f:
            data = f.read()
        if hashlib.sha256(data).digest() != digest:
            raise Malformed("the bytes of a bundle are not those that were archived")
        records, at = [], 0
        for count in counts:
            fragments = []
            for _ in range(count):
                mark, at = data[at:at + 1], at + 1
                if mark == b"\1":
                    end = at + 36 + int.from_bytes(data[at + 32:at + 36], "big")
                    fragments.append((data[at:at + 32], data[at + 36:end]))
                    at = end
                elif mark == b"\0":
                    fragments.append(None)
                if mark not in (b"\0", b"\1") or at > len(data):
                    raise Malformed("a fragment cannot be read")
            records.append(fragments)
        if at != len(data):
            raise Malformed("bytes behind the last fragment")
        return records


def archives_in(directory):
    """The archive in a folder, or those in its folders."""
    if os.path.exists(os.path.join(directory, "manifest.json")):
        return [Archive(directory)]
    try:
        names = sorted(e.name for e in os.scandir(directory) if e.is_dir() and "." not in e.name)
    except OSError as e:
        raise CouldNotRun(f"{directory!r}: {e.strerror}")
    found = [os.path.join(directory, n) for n in names if os.path.exists(os.path.join(directory, n, "manifest.json"))]
    if not found:
        raise CouldNotRun(f"{directory!r} is not an archive: no manifest.json")
    return [Archive(path) for path in found]


def parse_told(data):
    """What a record tells of an archive: name, digest, first and last place. None if it cannot be read."""
    try:
        told = parse_json(data)
        places = [re.fullmatch("([1-9][0-9]{0,8}):(0|[1-9][0-9]{0,18})", told[k]) for k in ("from", "to")]
        first, last = ((int(m[1]), int(m[2])) for m in places)
        return (first, last, told["archive"], told["digest"]) if first[0] == last[0] else None
    except (Malformed, TypeError, KeyError):
        return None


# ---------------------------------------------------------------- the whole export

ARCHIVED = {"PAYLOAD_ARCHIVED"}                         # verdict 5
SOFT = ARCHIVED | {"PAYLOAD_MISSING", "PAYLOAD_NOT_CHECKED"}    # verdict 3; every other finding is verdict 2
VERDICTS = ["VERIFIED", "COULD_NOT_RUN", "TAMPERED", "PAYLOADS_MISSING", "SELF_CONSISTENT", "PAYLOADS_ARCHIVED"]


def stem_of(origin):
    """An origin without its epoch, and the epoch."""
    match = re.fullmatch("(.*)/e([0-9]{1,9})", origin)
    return (match[1], int(match[2])) if match else (None, 0)


class Ledger:
    def __init__(self, directory, keys, archives=()):
        self.dir, self.keys = directory, keys
        self.findings, self.counts, self.epochs = [], Counter(), {}
        self.event_ids, self.streams, self.started = set(), {}, {}
        self.time, self.id = 0, None
        self.gap = False        # records before are not known: a new stream or call may have begun among them
        self.brought = [a for path in archives for a in archives_in(path)]
        self.told, self.absent = [], []     # archives that records tell of; fragments that are not there and may be in one
        self.not_told = []      # archives of this ledger that were brought, and that no record tells of

    def finding(self, name, epoch, index=None, detail=""):
        self.counts[name, epoch] += 1
        if self.counts[name, epoch] <= FINDING_LIMIT:
            self.findings.append({"kind": name, "epoch": epoch, "index": index, "detail": detail})

    def verify(self, since, at_least):
        try:
            names = [e.name for e in os.scandir(self.dir) if e.is_dir()]
        except OSError as e:
            raise CouldNotRun(f"{self.dir!r}: {e.strerror}")
        numbers = sorted(int(n[1:]) for n in names if re.fullmatch("e[1-9][0-9]{0,8}", n))
        manifest = read_file(os.path.join(self.dir, "manifest.json"), JSON_LIMIT)
        if manifest is None or not numbers:
            raise CouldNotRun(f"{self.dir!r} is not an export: no manifest.json or no epoch")
        for before, number in zip([0] + numbers, numbers):
            self.epochs[number] = Epoch(self, number)
            self.epochs[number].verify(before)
            if number - 1 in self.epochs and since is None:
                self.epochs[number - 1].hashes = []     # not needed any more
        self.check_archives()
        self.check_manifest(manifest)
        self.check_keys(max(numbers))
        heads = [e for e in self.epochs.values() if e.head]
        if sum(e.head.size for e in heads) < at_least:  # READING: records of all epochs, by their tree heads
            self.finding("SMALLER_THAN_EXPECTED", None, detail=f"{sum(e.head.size for e in heads)} records")
        if since:
            self.check_since(since, [e for e in heads if e.head.origin == since.origin])

    def check_archives(self):
        """Fragments that are not there: those that an archive explains are one finding, each other one is one."""
        found, searched = self.search_archives()        # an archive that was searched does not explain what it lacks
        self.told = sorted((t for t in self.told if t[2:] not in searched), key=lambda told: told[0])
        starts, explained = [told[0] for told in self.told], {}
        for place, number, *_ in (f for i, f in enumerate(self.absent) if i not in found):
            told = next((t for t in self.told[bisect_right(starts, place) - 1::-1] if t[1] >= place), None) \
                if starts and starts[0] <= place else None
            if told:
                explained.setdefault(told, place)
            else:
                self.finding("PAYLOAD_MISSING", *place, f"fragment {number}")
        for told, place in explained.items():
            self.finding("PAYLOAD_ARCHIVED", *place, f"up to {told[1][0]}:{told[1][1]}, in the archive {told[2]}, SHA-256 {told[3]}")

    def search_archives(self):
        """Looks for these fragments in the archives that were brought and that records tell of; others are left aside."""
        epochs, told = {(n, e.head.origin) for n, e in self.epochs.items() if e.head}, {t[2:] for t in self.told}
        found, searched = set(), set()
        for archive in (a for a in self.brought if (a.epoch, a.origin) in epochs):
            if (archive.name, archive.digest) not in told:
                self.not_told.append(archive.name)
                continue
            whole = True
            for start in range(archive.start, archive.end, 256):
                try:
                    bundle = archive.bundle(start // 256)
                except Malformed as e:
                    whole = False
                    self.finding("PAYLOAD_MISMATCH", archive.epoch, start, f"archive {archive.name}: {e}")
                    continue
                first, end = (bisect_left(self.absent, ((archive.epoch, place),)) for place in (start, start + 256))
                for i in (i for i in range(first, end) if i not in found):
                    place, number, algorithm, length, commitment = self.absent[i]
                    for opening, body in filter(None, bundle[place[1] - start][number:number + 1]):
                        found.add(i)
                        if algorithm == 1:
                            self.finding("PAYLOAD_NOT_CHECKED", *place, f"fragment {number} has algorithm 1")
                        elif len(body) != length or not hmac.compare_digest(hmac.digest(opening, body, "sha256"), commitment):
                            self.finding("PAYLOAD_MISMATCH", *place, f"fragment {number}, from an archive")
            if whole:
                searched.add((archive.name, archive.digest))
        return found, searched

    def check_manifest(self, data):
        try:                                            # numbers are compared as written: 1, not true or 1.0
            manifest = parse_json(data)
            if not isinstance(manifest, dict) or (manifest.get("format"), repr(manifest.get("version"))) != ("ruche-export", "1"):
                raise Malformed("not a manifest of version 1")
            rows = manifest.get("epochs")
            if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
                raise Malformed("no list of epochs")
            numbers = [r.get("epoch") for r in rows]
            if not all(type(n) is int for n in numbers) or numbers != sorted(set(numbers)) or min(numbers, default=0) < 1:
                raise Malformed("its epochs are not in order")
            if not set(self.epochs) <= set(numbers) or max(numbers) != max(self.epochs):
                raise Malformed(f"other epochs than {', '.join(map(str, self.epochs))}")
            for number, row in zip(numbers, rows):
                head = self.epochs[number].head if number in self.epochs else None
                if head and (row.get("origin"), repr(row.get("size"))) != (head.origin, repr(head.size)):
                    self.finding("MANIFEST_MISMATCH", number, detail="another origin or size than the checkpoint")
            ledger = manifest.get("ledger")
            if not isinstance(ledger, str) or not re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", ledger):
                raise Malformed("no ledger id")
            if self.id and ledger.replace("-", "") != self.id:
                raise Malformed("another ledger than that of record 0")
        except Malformed as e:
            self.finding("MANIFEST_MISMATCH", None, detail=str(e))

    def check_keys(self, last):
        """The key of an epoch tells that it was opened."""
        stem, here = stem_of(self.epochs[last].head.origin) if self.epochs[last].head else (None, last)
        known = max((n for of, n in (stem_of(k.name) for k in self.keys) if stem and of == stem), default=0)
        if known > here:
            self.finding("EPOCH_MISSING", last + 1, detail=f"there is a key of epoch {known}, the last one here is {last}")

    def check_since(self, since, epochs):
        """READING: without --key the export's own key stands in, as it does for the tree heads."""
        for epoch in epochs:
            good, bad = check_signatures(since, epoch.keys)
            if bad or not any(k.name == since.origin for k in good):
                continue
            known = epoch.hashes[:since.size]
            if since.size > epoch.head.size or len(known) == since.size and tree_root(known) not in (None, since.root):
                self.finding("INCONSISTENT_WITH_KNOWN_HEAD", epoch.number, detail=f"known size {since.size}")
            return
        self.finding("KNOWN_HEAD_UNRELATED", None, detail=f"origin {since.origin!r}, size {since.size}")

    def exit_code(self):
        names = {f["kind"] for f in self.findings}
        return 2 if names - SOFT else 3 if names - ARCHIVED else 5 if names else 0 if self.keys else 4


# ---------------------------------------------------------------- command line

class Arguments(argparse.ArgumentParser):
    def error(self, message):                           # argparse would exit with 2, which means TAMPERED here
        raise CouldNotRun(message)


def arguments(argv):
    parser = Arguments(description="Verify a Ruche export.", allow_abbrev=False)
    parser.add_argument("dir", metavar="DIR")
    parser.add_argument("--key", metavar="VKEY", action="append", default=[], help="trusted verifier key; one per epoch")
    parser.add_argument("--since", metavar="FILE", help="a signed tree head seen before, which the export must extend")
    parser.add_argument("--at-least", metavar="N", type=int, default=0, help="records that must be there")
    parser.add_argument("--archive", metavar="DIR", action="append", default=[], help="an archive, or a folder of archives")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.key and not any(keys.split() for keys in args.key):
        parser.error("--key is empty")
    args.key = [key for keys in args.key for key in keys.split()]   # a file of keys, one in a line, is as good
    if args.at_least < 0:
        parser.error("--at-least below 0")
    return args


def report(code, message, ledger, as_json):
    findings = ledger.findings if ledger else []
    more = {f"{name} in epoch {epoch}": n - FINDING_LIMIT for (name, epoch), n in (ledger.counts.items() if ledger else ())
            if n > FINDING_LIMIT}
    epochs = [{"epoch": n, "origin": e.head.origin, "size": e.head.size}
              for n, e in (ledger.epochs.items() if ledger else ()) if e.head]
    if as_json:
        out = json.dumps({"verdict": VERDICTS[code], "exit_code": code, "message": message, "epochs": epochs,
                          "findings": findings, "not_shown": more,
                          "archives_not_told": ledger.not_told if ledger else []}, indent=1)
    else:
        out = "\n".join([VERDICTS[code] + (f": {message}" if message else "")]
                        + [f"epoch {e['epoch']}: {e['size']} records, {e['origin']!r}" for e in epochs]
                        + [f"archive {name} was not used: no record tells of it" for name in (ledger.not_told if ledger else ())]
                        + [f"{f['kind']} epoch={f['epoch']} index={f['index']} {f['detail']}" for f in findings]
                        + [f"{name}: {n} more" for name, n in more.items()])
    # what an export says never reaches the terminal as anything but printable ASCII
    out = "".join(c if c == "\n" or " " <= c <= "~" else c.encode("ascii", "backslashreplace").decode() for c in out)
    sys.stdout.write(re.sub("[\0-\x09\x0b-\x1f\x7f]", "?", out) + "\n")
    sys.stdout.flush()


def main(argv):
    ledger, message, as_json = None, "", "--json" in argv
    try:
        args = arguments(argv)
        try:
            keys, since = [parse_vkey(k) for k in args.key], None
            if args.since is not None:
                data = read_file(args.since, NOTE_LIMIT)
                if data is None:
                    raise CouldNotRun(f"{args.since!r} is not there")
                since = parse_head(data)
        except (Malformed, UnicodeEncodeError) as e:    # READING: what the auditor brings is part of the call
            raise CouldNotRun(f"--key or --since: {e}")
        ledger = Ledger(args.dir, keys, args.archive)
        ledger.verify(since, args.at_least)
        code = ledger.exit_code()
    except CouldNotRun as e:
        code, message = 1, str(e)
    except (Exception, KeyboardInterrupt) as e:
        code, message = 1, f"unexpected {type(e).__name__}: {e}"
    try:
        report(code, message, ledger, as_json)
    except Exception:
        code = 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
