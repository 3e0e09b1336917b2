#!/usr/bin/env python3
"""Tests of verify.py: exports built here from record.md and bundle.md (own CBOR, tree and signer), and broken ones."""
import base64
import contextlib
import hashlib
import hmac
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import verify  # noqa: E402  (the unit tests at the end; the exports are checked by running the program)

LEDGER = "0123456789abcdef0123456789abcdef"
LEDGER_UUID = "01234567-89ab-cdef-0123-456789abcdef"
Q = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493


# ---------------------------------------------------------------- Ed25519 signer, affine and slow

def inv(x):
    return pow(x, -1, Q)


DD = -121665 * inv(121666) % Q
BASE = (15112221349535400772501151409588531511454012693041857206046113283949847762202,
        46316835694926478169428394003475163141307993866256225615783033603165251855960)


def add(p, q):
    k = DD * p[0] * q[0] * p[1] * q[1]
    return (p[0] * q[1] + q[0] * p[1]) * inv(1 + k) % Q, (p[1] * q[1] + p[0] * q[0]) * inv(1 - k) % Q


def mul(n, p):
    q = (0, 1)
    while n:
        q, p, n = (add(q, p) if n & 1 else q), add(p, p), n >> 1
    return q


def enc(p):
    return (p[1] | (p[0] & 1) << 255).to_bytes(32, "little")


def challenge(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % ORDER


class Signer:
    def __init__(self, name, seed):
        h = hashlib.sha512(seed.encode()).digest()
        self.a = int.from_bytes(h[:32], "little") & (2**254 - 8) | 2**254
        self.prefix, self.name, self.public = h[32:], name, enc(mul(self.a, BASE))

    def sign(self, text):
        r = challenge(self.prefix, text)
        big_r = enc(mul(r, BASE))
        return big_r + ((r + challenge(big_r, self.public, text) * self.a) % ORDER).to_bytes(32, "little")

    @property
    def id(self):
        return hashlib.sha256(self.name.encode() + b"\n\x01" + self.public).digest()[:4]

    @property
    def vkey(self):
        return f"{self.name}+{self.id.hex()}+" + base64.b64encode(b"\x01" + self.public).decode()

    def note(self, text, sig=None):
        line = base64.b64encode(self.id + (sig or self.sign(text.encode()))).decode()
        return f"{text}\n\u2014 {self.name} {line}\n".encode()

    def head(self, origin, size, root):
        return self.note(f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n")


# ---------------------------------------------------------------- CBOR and tree

def cbor(v):
    def head(m, n):
        if n < 24:
            return bytes([(m << 5) + n])
        for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
            if n < 256**size:
                return bytes([(m << 5) + info]) + n.to_bytes(size, "big")
    if isinstance(v, int):
        return head(0, v)
    if isinstance(v, bytes):
        return head(2, len(v)) + v
    if isinstance(v, str):
        return head(3, len(v.encode())) + v.encode()
    return head(4, len(v)) + b"".join(cbor(i) for i in v)


def sha(b):
    return hashlib.sha256(b).digest()


def mth(hashes):
    if len(hashes) < 2:
        return hashes[0] if hashes else sha(b"")
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha(b"\1" + mth(hashes[:k]) + mth(hashes[k:]))


# ---------------------------------------------------------------- exports

NAMES = ("version origin index previous append event_id stream stream_version event_type schema recorded occurred actor "
         "behalf provenance classification session turn call subject correlation causation trace config policy "
         "idempotency payload extensions").split()


class Epoch:
    """Records as dicts; build() seals chain and commitments, write() makes the files."""

    def __init__(self, number, count, before=None, seed=None, versions=None, previous=None):
        self.number, self.origin = number, f"log.example/k3v9/e{number}"
        self.signer = Signer(self.origin, seed or f"seed {number}")
        self.versions = versions if versions is not None else dict(before.versions) if before else {}
        opened = {"origin": self.origin, "epoch": number, "verifier_key": self.signer.vkey}
        if before:
            opened["previous"] = previous or {"origin": before.origin, "tree_size": len(before.leaves),
                                              "root": mth(before.hashes).hex(), "tree_head": before.note().decode()}
        self.records = [self.record(0, "infra.ledger.opened", f"ledger-{LEDGER}", json.dumps(opened).encode())]
        for i in range(1, count):
            body = b"" if i % 5 == 0 else b'{"n":%d}' % i
            self.records.append(self.record(i, "turn.committed", f"session-{i % 3:032x}", *([body] if i % 4 else [])))
        self.appends()
        self.seal()

    def record(self, i, event_type, stream, *bodies, **more):
        version = self.versions.get(stream, 0)
        self.versions[stream] = version + 1
        values = [1, self.origin, i, [], [i, 1], sha(b"id %d %d" % (self.number, i))[:16], stream, version, event_type, 1,
                  1700000000000000 + self.number * 10**9 + i // 2, 5, [4, []], [], 0, 2] + [[]] * 12
        r = dict(zip(NAMES, values), bodies=list(bodies), openings=[sha(b"o%d %d %d" % (self.number, i, n))
                                                                  for n in range(len(bodies))])
        r.update(more)
        return r

    def appends(self):
        for i in range(1, len(self.records) - 2, 4):        # every fourth append has three records
            for r in self.records[i:i + 3]:
                r["append"] = [i, 3]
            self.records[i]["idempotency"] = [[1, bytes(32), bytes(32)]]

    def seal(self, frozen=False):
        """Leaves from records: the chain follows the order of the list."""
        self.leaves, before = [], []
        for r in self.records:
            r["payload"] = [[0, "application/json", len(b), hmac.digest(o, b, "sha256"), [], [], []]
                            for b, o in zip(r["bodies"], r["openings"])] if not r.get("keep") else r["payload"]
            r["previous"] = before if not r.get("keep") else r["previous"]
            self.leaves.append(cbor([r[n] for n in NAMES]))
            before = sha(b"\0" + self.leaves[-1])
        self.measure()

    def measure(self):
        self.hashes, self.size = [sha(b"\0" + leaf) for leaf in self.leaves], len(self.leaves)
        self.payloads = [b"".join(b"\0" if b is None else b"\1" + o + len(b).to_bytes(4, "big") + b
                                  for b, o in zip(r["bodies"], r["openings"])) for r in self.records]

    def note(self):
        return self.signer.head(self.origin, self.size, mth(self.hashes))

    def write(self, top):
        def put(path, data):
            path = os.path.join(top, f"e{self.number}", path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(data)

        def tiles(kind, things):
            for n in range(0, len(things), 256):
                i, name = n // 256, ""
                name = f"{i % 1000:03}"
                part = things[n:n + 256]
                put(f"{kind}/{name}" + (f".p/{len(part)}" if len(part) < 256 else ""), b"".join(part))
        put("checkpoint", self.note())
        put("key.vkey", self.signer.vkey.encode() + b"\n")
        tiles("tile/entries", [len(leaf).to_bytes(2, "big") + leaf for leaf in self.leaves])
        tiles("payload", self.payloads)
        level, n = self.hashes, 0
        while level:
            tiles(f"tile/{n}", level)
            level, n = [mth(level[i:i + 256]) for i in range(0, len(level) // 256 * 256, 256)], n + 1


def write(top, *epochs):
    for e in epochs:
        e.write(top)
    manifest = {"format": "ruche-export", "version": 1, "ledger": LEDGER_UUID,
                "epochs": [{"epoch": e.number, "origin": e.origin, "size": e.size} for e in epochs]}
    with open(os.path.join(top, "manifest.json"), "w") as f:
        json.dump(manifest, f)


class Case(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.top)

    def path(self, name):
        return os.path.join(self.top, name)

    def get(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def put(self, name, data):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "wb") as f:
            f.write(data)

    def run_verifier(self, *args):
        p = subprocess.run([sys.executable, os.path.join(HERE, "verify.py"), self.top, *args, "--json"],
                           capture_output=True, text=True, timeout=120)
        self.assertEqual(p.stderr, "", "stderr must stay empty")
        out = json.loads(p.stdout)
        self.assertEqual(out["exit_code"], p.returncode)
        return p.returncode, out

    def expect(self, code, *names, keys=(), args=(), exact=True):
        """names: NAME or NAME@index or NAME@e<epoch>:<index>; exactly these findings, or at least these."""
        got, out = self.run_verifier(*[a for k in keys for a in ("--key", k.signer.vkey)], *args)
        found = {f["kind"] for f in out["findings"]}
        self.assertEqual(got, code, out)
        wanted = {n.split("@")[0] for n in names}
        if exact:
            self.assertEqual(found, wanted, out)
        self.assertLessEqual(wanted, found, out)
        for n in names:
            if m := re.fullmatch(r"(\w+)@(?:e(\d+):)?(\d+)", n):
                hits = [f for f in out["findings"] if f["kind"] == m[1] and f["index"] == int(m[3])
                        and (m[2] is None or f["epoch"] == int(m[2]))]
                self.assertTrue(hits, (n, out))
        return out


class Good(Case):
    def test_sizes(self):
        for n in (1, 2, 255, 256, 257, 600):
            with self.subTest(n):
                shutil.rmtree(self.top)
                os.mkdir(self.top)
                e = Epoch(1, n)
                write(self.top, e)
                self.expect(0, keys=[e])
                self.expect(4)

    def test_more_than_65536_records(self):
        e = Epoch(1, 1)
        e.records += [e.record(i, "turn.committed", "session-" + "0" * 32) for i in range(1, 65537)]
        e.seal()
        write(self.top, e)
        self.assertTrue(os.path.exists(self.path("e1/tile/2/000.p/1")))
        self.expect(0, keys=[e])

    def test_two_epochs(self):
        a = Epoch(1, 300)
        b = Epoch(2, 20, a)
        write(self.top, a, b)
        self.expect(0, keys=[a, b], args=["--at-least", "320"])
        self.expect(4)

    def test_missing_payloads(self):
        e = Epoch(1, 30)
        e.records[7]["bodies"][0] = e.records[9]["bodies"][0] = None
        e.measure()
        write(self.top, e)
        self.expect(3, "PAYLOAD_MISSING@7", "PAYLOAD_MISSING@9", keys=[e])
        self.expect(3, "PAYLOAD_MISSING")

    def test_algorithm_1(self):
        e = Epoch(1, 3)
        e.records[1].update(keep=True, previous=e.hashes[0], payload=[[1, "text/plain", 1, bytes(32), bytes(16), bytes(32), bytes(32)]])
        e.records[1]["bodies"], e.records[1]["openings"] = [b"x"], [bytes(32)]
        e.seal()
        write(self.top, e)
        self.expect(3, "PAYLOAD_NOT_CHECKED@1", keys=[e])

    def test_tool_call_and_every_optional_item(self):
        e = Epoch(1, 3)
        call, i = sha(b"call")[:16], bytes(range(16))
        e.records.append(e.record(3, "tool.started", "tool-" + "a" * 32, b"x", b"", call=call, behalf=[1, i], session=i, turn=i,
                                  subject=i, correlation=i, causation=i, trace=[i, i[:8]], config=i * 2, policy=i * 2))
        e.records.append(e.record(4, "tool.failed", "tool-" + "a" * 32, call=call))
        e.seal()
        write(self.top, e)
        self.expect(0, keys=[e])

    def test_since(self):
        e = Epoch(1, 300)
        write(self.top, e)
        for n in (0, 1, 255, 256, 300):
            self.put("known", e.signer.head(e.origin, n, mth(e.hashes[:n])))
            self.expect(0, keys=[e], args=["--since", self.path("known")])


class Heads(Case):
    def setUp(self):
        super().setUp()
        self.e = Epoch(1, 10)
        write(self.top, self.e)

    def test_malformed(self):
        good = self.get("e1/checkpoint")
        for bad in (b"", b"x", good[:-1], good.replace(b"\n10\n", b"\n010\n"), good.replace(b"\n\n", b"\nextension\n\n", 1),
                    good.replace(b"\n10\n", b"\n-1\n"), good.replace("\u2014".encode(), b"-"), b"\xff" + good, good + b"\0\n"):
            self.put("e1/checkpoint", bad)
            self.expect(2, "TREE_HEAD_MALFORMED", keys=[self.e])

    def test_no_checkpoint(self):
        os.remove(self.path("e1/checkpoint"))
        self.expect(2, "TREE_HEAD_MALFORMED", keys=[self.e])

    def test_signature(self):
        good = self.get("e1/checkpoint").decode()
        line = good.rstrip("\n").split(" ")[-1]
        sig = bytearray(base64.b64decode(line))
        for flip in (4, 40, 67):
            bad = bytes(b ^ (1 if i == flip else 0) for i, b in enumerate(sig))
            self.put("e1/checkpoint", good.replace(line, base64.b64encode(bad).decode()).encode())
            self.expect(2, "TREE_HEAD_SIGNATURE_INVALID", keys=[self.e])
        s = int.from_bytes(sig[36:], "little") + ORDER              # S not reduced
        self.put("e1/checkpoint", good.replace(line, base64.b64encode(sig[:36] + s.to_bytes(32, "little")).decode()).encode())
        self.expect(2, "TREE_HEAD_SIGNATURE_INVALID", keys=[self.e])

    def test_other_size_signed_by_nobody(self):
        self.put("e1/checkpoint", self.get("e1/checkpoint").replace(b"\n10\n", b"\n9\n"))
        self.expect(2, "TREE_HEAD_SIGNATURE_INVALID", keys=[self.e], exact=False)

    def test_untrusted(self):
        self.expect(2, "TREE_HEAD_UNTRUSTED", keys=[Epoch(1, 1, seed="other")])

    def test_export_key_did_not_sign(self):
        self.put("e1/key.vkey", Signer(self.e.origin, "other").vkey.encode())
        self.expect(2, "TREE_HEAD_SIGNATURE_INVALID")
        self.expect(0, keys=[self.e])

    def test_export_key_missing_or_no_key(self):
        self.put("e1/key.vkey", b"nothing")
        self.expect(2, "FILE_MALFORMED")
        os.remove(self.path("e1/key.vkey"))
        self.expect(2, "FILE_MISSING")
        self.expect(0, keys=[self.e])

    def test_second_signature_by_a_stranger(self):
        stranger = Signer("witness.example", "w")
        note = self.get("e1/checkpoint")
        self.put("e1/checkpoint", note + stranger.note("x\n").split(b"\n\n")[1])
        self.expect(0, keys=[self.e])

    def test_key_of_another_name(self):
        other = Signer("log.example/other", "seed 1")
        self.put("e1/checkpoint", other.head(self.e.origin, 10, mth(self.e.hashes)))
        code, out = self.run_verifier("--key", other.vkey)
        self.assertEqual((code, {f["kind"] for f in out["findings"]}), (2, {"ORIGIN_MISMATCH"}))
        self.put("e1/key.vkey", other.vkey.encode())
        self.expect(2, "ORIGIN_MISMATCH")

    def test_huge_size(self):
        self.put("e1/checkpoint", self.e.signer.head(self.e.origin, 2**59, bytes(32)))
        self.expect(2, "FILE_MISSING", "TAIL_MISSING", "MANIFEST_MISMATCH", "FILE_MALFORMED", keys=[self.e], exact=False)

    def test_manifest(self):
        good = json.loads(self.get("manifest.json"))
        for bad in (dict(good, format="x"), dict(good, version=2), dict(good, version=True), dict(good, ledger="0" * 32), dict(good, epochs=[]),
                    dict(good, epochs=[dict(good["epochs"][0], size=9)]), dict(good, epochs=[dict(good["epochs"][0], origin="x")]),
                    dict(good, epochs=good["epochs"] * 2), [], {"epochs": 5}):
            self.put("manifest.json", json.dumps(bad).encode())
            self.expect(2, "MANIFEST_MISMATCH", keys=[self.e])
        for bad in (b"", b"{", b"[" * 100000, b'{"format":1,"format":2}', b"\xff", b"9" * 10000):
            self.put("manifest.json", bad)
            self.expect(2, "MANIFEST_MISMATCH", keys=[self.e])

    def test_expectations(self):
        self.expect(2, "SMALLER_THAN_EXPECTED", keys=[self.e], args=["--at-least", "11"])
        e, known = self.e, ["--since", self.path("known")]
        self.put("known", e.signer.head(e.origin, 12, bytes(32)))
        self.expect(2, "INCONSISTENT_WITH_KNOWN_HEAD", keys=[e], args=known)
        self.put("known", e.signer.head(e.origin, 5, bytes(32)))
        self.expect(2, "INCONSISTENT_WITH_KNOWN_HEAD", keys=[e], args=known)
        self.put("known", Signer(e.origin, "other").head(e.origin, 5, mth(e.hashes[:5])))
        self.expect(2, "KNOWN_HEAD_UNRELATED", keys=[e], args=known)
        self.put("known", Signer("x", "seed 1").head("x", 5, mth(e.hashes[:5])))
        self.expect(2, "KNOWN_HEAD_UNRELATED", keys=[e], args=known)

    def test_could_not_run(self):
        self.put("known", b"?")
        for args in (["--key", "x"], ["--since", self.path("nowhere")], ["--since", self.path("known")], ["--at-least", "x"],
                     ["--at-least", "-1"], ["--unknown"], ["--key"], ["second"]):
            self.assertEqual(self.run_verifier(*args)[0], 1, args)
        os.remove(self.path("manifest.json"))
        self.expect(1)
        os.mkfifo(self.path("manifest.json"))
        self.expect(1)
        self.top = self.path("nowhere")
        p = subprocess.run([sys.executable, os.path.join(HERE, "verify.py"), self.top], capture_output=True, text=True)
        self.assertEqual((p.returncode, p.stderr, p.stdout[:13]), (1, "", "COULD_NOT_RUN"))


class Files(Case):
    def setUp(self):
        super().setUp()
        self.e = Epoch(1, 600)
        write(self.top, self.e)

    def test_missing(self):
        for name in ("tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2", "payload/001", "tile/entries/001"):
            data = self.get("e1/" + name)
            os.remove(self.path("e1/" + name))
            # with the entries a stretch of stream versions is missing, too
            self.expect(2, "FILE_MISSING", keys=[self.e], exact="entries" not in name)
            self.put("e1/" + name, data)
        os.remove(self.path("e1/tile/entries/002.p/88"))
        self.expect(2, "FILE_MISSING@512", "TAIL_MISSING@512", keys=[self.e])

    def test_malformed(self):
        for name in ("tile/0/000", "tile/1/000.p/2", "tile/entries/000"):
            data = self.get("e1/" + name)
            for bad in (data[:-1], data + b"\0", b""):
                self.put("e1/" + name, bad)
                self.expect(2, "FILE_MALFORMED", keys=[self.e], exact=False)
            self.put("e1/" + name, data)

    def test_tile_mismatch(self):
        for name, at, index in (("tile/0/001", 32 * 4, 260), ("tile/0/002.p/88", 0, 512), ("tile/1/000.p/2", 40, 256)):
            data = bytearray(self.get("e1/" + name))
            data[at] ^= 1
            self.put("e1/" + name, bytes(data))
            self.expect(2, f"TILE_MISMATCH@{index}", keys=[self.e])
            data[at] ^= 1
            self.put("e1/" + name, bytes(data))

    def test_surplus_files(self):
        self.put("e1/tile/entries/003.p/1", b"\0\0")
        self.expect(2, "SURPLUS_RECORDS", keys=[self.e])
        os.remove(self.path("e1/tile/entries/003.p/1"))
        self.put("e1/tile/0/002.p/3", bytes(96))
        self.expect(2, "FILE_MALFORMED", keys=[self.e])

    def test_payload_malformed(self):
        name = "e1/payload/002.p/88"
        data = self.get(name)
        for bad in (data[:-1], data + b"\0", b"\2" + data[1:], b"", b"\1" + bytes(32) + b"\xff" * 4):
            self.put(name, bad)
            self.expect(2, "PAYLOAD_MALFORMED", keys=[self.e])


class Records(Case):
    """Files that an attacker without the key rewrote: the checkpoint stays, the tiles are as told."""

    def rewrite(self, change, count=12):
        e = Epoch(1, count)
        write(self.top, e)
        checkpoint = self.get("e1/checkpoint")
        change(e)
        size = count
        e.hashes = [sha(b"\0" + leaf) for leaf in e.leaves]
        shutil.rmtree(self.path("e1/tile"))
        shutil.rmtree(self.path("e1/payload"))
        e.write(self.top)
        self.put("e1/checkpoint", checkpoint)
        for kind in ("tile/0", "tile/entries", "payload"):          # the names of the files follow the signed size
            if len(e.leaves) != size:
                os.rename(self.path(f"e1/{kind}/000.p/{len(e.leaves)}"), self.path(f"e1/{kind}/000.p/{size}"))
        return e

    def drop(self, *indexes):
        def change(e):
            for i in sorted(indexes, reverse=True):
                del e.leaves[i], e.payloads[i]
        return change

    TILE = "FILE_MALFORMED"                                         # tile/0 has another number of hashes

    def test_first_missing(self):
        e = self.rewrite(self.drop(0))
        self.expect(2, "FIRST_RECORD_MISSING@0", self.TILE, keys=[e], exact=False)

    def test_missing(self):
        for i in (4, 10):
            e = self.rewrite(self.drop(i))
            out = self.expect(2, f"RECORD_MISSING@{i}", self.TILE, keys=[e], exact=False)
            self.assertNotIn("RECORD_OUT_OF_PLACE", str(out))
            self.assertNotIn("TAIL_MISSING", str(out))

    def test_tail(self):
        e = self.rewrite(self.drop(10, 11))
        self.expect(2, "TAIL_MISSING@10", self.TILE, keys=[e])

    def test_tail_and_middle(self):
        e = self.rewrite(self.drop(4, 11))
        self.expect(2, "RECORD_MISSING@4", "TAIL_MISSING@11", keys=[e], exact=False)

    def test_swapped(self):
        def swap(i, j):
            def change(e):
                for things in (e.leaves, e.payloads):
                    things[i], things[j] = things[j], things[i]
            return change
        for i, j in ((3, 8), (5, 6), (0, 11)):
            e = self.rewrite(swap(i, j))
            out = self.expect(2, f"RECORDS_SWAPPED@{i}", f"RECORDS_SWAPPED@{j}", "ROOT_MISMATCH", keys=[e], exact=False)
            self.assertFalse({"RECORD_MISSING", "RECORD_OUT_OF_PLACE"} & {f["kind"] for f in out["findings"]})

    def test_out_of_place(self):
        def change(e):
            e.leaves[6], e.payloads[6] = e.leaves[3], e.payloads[3]
        e = self.rewrite(change)
        out = self.expect(2, "RECORD_OUT_OF_PLACE@6", "EVENT_ID_REPEATED@6", "ROOT_MISMATCH", keys=[e], exact=False)
        self.assertEqual(str(out).count("RECORD_OUT_OF_PLACE"), 1)

    def test_inserted(self):
        def change(e):
            e.leaves.insert(6, e.leaves[3])
            e.payloads.insert(6, e.payloads[3])
        e = self.rewrite(change)
        out = self.expect(2, "RECORD_OUT_OF_PLACE@6", "SURPLUS_RECORDS@12", keys=[e], exact=False)
        self.assertEqual(str(out).count("RECORD_OUT_OF_PLACE"), 1)

    def test_surplus(self):
        def change(e):
            e.records.append(e.record(12, "turn.committed", "session-" + "0" * 32))
            e.seal()
        e = self.rewrite(change)
        self.expect(2, "SURPLUS_RECORDS@12", self.TILE, keys=[e])

    def test_changed_leaf(self):
        def change(e):
            e.leaves[5] = e.leaves[5].replace(b"turn.committed", b"turn.confirmed")
        e = self.rewrite(change)
        self.expect(2, "ROOT_MISMATCH", "CHAIN_BROKEN@6", keys=[e])

    def test_malformed_leaf(self):
        leaf = Epoch(1, 12).leaves[5]
        for bad in (b"", b"\x80", leaf[:-1], leaf + b"\0", b"\x98\x1c\x18\x01" + leaf[3:], b"\xff" * 1025, b"\x9b" + b"\xff" * 8,
                    b"\x81" * 1000, leaf[:-1] + b"\xf6", leaf[:-1] + b"\xa0", b"\x98\x1d" + leaf[2:] + b"\0"):
            def change(e):
                e.leaves[5] = bad
            e = self.rewrite(change)
            self.expect(2, "LEAF_MALFORMED@5", "ROOT_MISMATCH", keys=[e], exact=False)

    def test_payload_mismatch(self):
        def change(e):
            e.payloads[6] = e.payloads[6].replace(b'"n"', b'"m"')
            e.payloads[7] = b"\1" + bytes(36)
            e.payloads[9] = e.payloads[9].replace(b'"n":9', b'"n":99').replace(b"\0\0\0\x07", b"\0\0\0\x08")
        e = self.rewrite(change)
        self.expect(2, "PAYLOAD_MISMATCH@6", "PAYLOAD_MISMATCH@7", "PAYLOAD_MISMATCH@9", keys=[e])

    def test_tampering_wins_over_missing_payloads(self):
        def change(e):
            e.payloads[5], e.payloads[6] = b"\0", b"\1" + bytes(36)
        e = self.rewrite(change)
        self.expect(2, "PAYLOAD_MISMATCH@6", "PAYLOAD_MISSING@5", keys=[e])
        self.expect(2, "PAYLOAD_MISMATCH@6", "PAYLOAD_MISSING@5")


class Operator(Case):
    """Ledgers that the holder of the key wrote wrong: tree and signature are right, the rules are not."""

    def broken(self, change, *names, count=12, exact=True):
        e = Epoch(1, count)
        change(e.records, e)
        e.seal()
        write(self.top, e)
        return self.expect(2, *names, keys=[e], exact=exact)

    def one(self, i, **values):
        return lambda records, _: records[i].update(values)

    def test_rules(self):
        r = Epoch(1, 12).records
        z16, z8 = bytes(16), bytes(8)
        for change, *names in (
            (self.one(5, origin="log.example/other"), "FOREIGN_RECORD@5"),
            (self.one(5, recorded=7), "TIME_REVERSED@5"),
            (self.one(5, event_id=r[3]["event_id"]), "EVENT_ID_REPEATED@5"),
            (self.one(11, stream_version=r[11]["stream_version"] + 1), "STREAM_BROKEN@11"),
            (self.one(11, stream_version=0), "STREAM_BROKEN@11"),
            (self.one(11, stream="plan-" + "1" * 32, stream_version=1), "STREAM_BROKEN@11"),
            (self.one(0, event_type="infra.ledger.closed"), "OPENING_RECORD_WRONG@0"),
            (self.one(4, event_type="infra.ledger.opened"), "OPENING_RECORD_WRONG@4"),
            (self.one(0, stream="plan-" + LEDGER), "OPENING_RECORD_WRONG@0"),
            (self.one(0, bodies=[b"["]), "OPENING_RECORD_WRONG@0"),
            (self.one(0, bodies=[b"[" * 50000]), "OPENING_RECORD_WRONG@0"),
            (self.one(0, bodies=[b'{"previous":{}}']), "OPENING_RECORD_WRONG@0"),
            (self.one(0, bodies=[], openings=[]), "OPENING_RECORD_WRONG@0"),
            (self.one(4, event_type="tool.completed", call=z16), "EFFECT_WITHOUT_INTENT@4"),
            (self.one(4, event_type="tool.outcome_unknown"), "EFFECT_WITHOUT_INTENT@4"),
            (self.one(4, append=[5, 1]), "APPEND_BROKEN@4"),
            (self.one(4, append=[4, 0]), "APPEND_BROKEN@4"),
            (self.one(2, append=[2, 1]), "APPEND_BROKEN@2"),
            (self.one(11, append=[11, 2]), "APPEND_BROKEN@11"),
            (self.one(4, append=[3, 2]), "APPEND_BROKEN@4"),
            (self.one(4, index=2**64 - 1), "RECORD_OUT_OF_PLACE@4", "APPEND_BROKEN@4"),
            (self.one(11, version=2), "LEAF_MALFORMED@11"),
            (self.one(11, stream="unknown-" + "0" * 32), "LEAF_MALFORMED@11"),
            (self.one(11, stream="plan-" + "A" * 32), "LEAF_MALFORMED@11"),
            (self.one(11, event_type=""), "LEAF_MALFORMED@11"),
            (self.one(11, actor=[6, []]), "LEAF_MALFORMED@11"),
            (self.one(11, provenance=5), "LEAF_MALFORMED@11"),
            (self.one(11, classification=4), "LEAF_MALFORMED@11"),
            (self.one(11, session=z8), "LEAF_MALFORMED@11"),
            (self.one(11, trace=[z16, b"12345678"]), "LEAF_MALFORMED@11"),
            (self.one(11, extensions=[1]), "LEAF_MALFORMED@11"),
            (self.one(11, idempotency=[[3, z16 * 2, z16 * 2]]), "LEAF_MALFORMED@11"),
            (self.one(2, idempotency=[[0, z16 * 2, z16 * 2]]), "LEAF_MALFORMED@2"),
            (self.one(11, stream_version=-1 % 2**64 + 0), "STREAM_BROKEN@11"),
        ):
            with self.subTest(names=names):
                shutil.rmtree(self.top)
                os.mkdir(self.top)
                self.broken(change, *names, exact=names[0].split("@")[0] not in ("LEAF_MALFORMED", "FOREIGN_RECORD", "OPENING_RECORD_WRONG",
                                                                  "STREAM_BROKEN"))

    def test_chain(self):
        self.broken(self.one(5, keep=True, previous=bytes(32)), "CHAIN_BROKEN@5")

    def test_chain_absent(self):
        self.broken(self.one(5, keep=True, previous=[]), "CHAIN_BROKEN@5", exact=False)

    def test_skipped_and_signed(self):
        def change(records, e):
            del records[8]
        self.broken(change, "RECORD_MISSING@8", exact=False)

    def test_first_missing_and_signed(self):
        def change(records, e):
            del records[0]
        self.broken(change, "FIRST_RECORD_MISSING@0", exact=False)

    def test_empty_epoch(self):
        e = Epoch(1, 1)
        e.records = []
        e.seal()
        write(self.top, e)
        self.expect(2, "OPENING_RECORD_WRONG@0", keys=[e])

    def test_many_findings_are_counted(self):
        e = Epoch(1, 400)
        for r in e.records:
            r["origin"] = "\x1b[31m\u202e"
        e.seal()
        write(self.top, e)
        out = self.expect(2, "FOREIGN_RECORD", keys=[e])
        self.assertEqual((len(out["findings"]), out["not_shown"]), (100, {"FOREIGN_RECORD in epoch 1": 300}))
        p = subprocess.run([sys.executable, os.path.join(HERE, "verify.py"), self.top], capture_output=True)
        self.assertNotIn(b"\x1b", p.stdout)


class Epochs(Case):
    def link(self, a, size=None, **more):
        size = a.size if size is None else size
        root = mth(a.hashes[:size])
        return {"origin": a.origin, "tree_size": size, "root": root.hex(),
                "tree_head": a.signer.head(a.origin, size, root).decode(), **more}

    def test_links(self):
        a = Epoch(1, 20)
        for change in ({"origin": "x"}, {"root": "0" * 64}, {"root": "zz"}, {"tree_size": 19}, {"tree_head": "x"},
                       {"tree_head": Signer(a.origin, "other").head(a.origin, 20, mth(a.hashes)).decode()},
                       {"root": "0" * 64, "tree_head": a.signer.head(a.origin, 20, bytes(32)).decode()}):
            b = Epoch(2, 5, a, previous=dict(self.link(a), **change))
            write(self.top, a, b)
            self.expect(2, "EPOCH_LINK_BROKEN@e2:0", keys=[a, b])
        c = Epoch(2, 5, a, previous=self.link(a, 19))          # it must end exactly where the link says
        write(self.top, a, c)
        self.expect(2, "EPOCH_LINK_BROKEN@e2:0", keys=[a, c])
        for link in ({"origin": 1}, dict(self.link(a), lost_from=3), dict(self.link(a), lost_from="1:20")):
            b = Epoch(2, 5, a, previous=link)
            write(self.top, a, b)
            self.expect(2, "OPENING_RECORD_WRONG@e2:0", keys=[a, b])

    def test_older_checkpoint_of_the_first_epoch(self):
        a = Epoch(1, 20)
        b = Epoch(2, 5, a)
        a.records = a.records[:12]
        a.seal()
        write(self.top, a, b)
        self.expect(2, "EPOCH_LINK_BROKEN@e2:0", keys=[a, b], exact=False)

    def cut(self, epoch, count):
        """The epoch as a backup holds it: its first records under an older checkpoint."""
        short = Epoch(epoch.number, 1)
        short.records = epoch.records[:count]
        short.versions = {r["stream"]: r["stream_version"] + 1 for r in short.records}
        short.seal()
        return short

    def test_lost(self):
        a = Epoch(1, 21)
        short = self.cut(a, 17)
        b = Epoch(2, 5, short, previous=self.link(a, lost_from="1:17", lost_to="1:20"))
        write(self.top, short, b)
        self.expect(2, "RECORDS_LOST@e1:17", keys=[short, b])
        for lost in ({"lost_from": "1:16"}, {"lost_to": "1:16"}, {"lost_to": "2:20"}):
            b = Epoch(2, 5, short, previous=dict(self.link(a, lost_from="1:17", lost_to="1:20"), **lost))
            write(self.top, short, b)
            self.expect(2, "RECORDS_LOST", "EPOCH_LINK_BROKEN@e2:0", keys=[short, b])

    def test_lost_records_explain_skipped_versions(self):
        a = Epoch(1, 21)
        short = self.cut(a, 17)
        b = Epoch(2, 5, a, previous=self.link(a, lost_from="1:17", lost_to="1:20"))
        write(self.top, short, b)
        self.expect(2, "RECORDS_LOST@e1:17", keys=[short, b])
        b = Epoch(2, 5, short, versions={**short.versions, f"session-{1:032x}": 0},
                  previous=self.link(a, lost_from="1:17", lost_to="1:20"))
        write(self.top, short, b)
        self.expect(2, "RECORDS_LOST@e1:17", "STREAM_BROKEN@e2:1", keys=[short, b])

    def lost_epochs(self, head=None, count=20, **lost):
        """Epoch 1 ends at 20 of 25, 2 and 3 are lost, 4 says so."""
        a = Epoch(1, 25)
        b = Epoch(2, 7, a)
        c = Epoch(3, 9, b)
        short = self.cut(a, count)
        previous = {**self.link(c), "lost_from": f"1:{count}", "lost_to": "3:8", **lost, **(head or {})}
        d = Epoch(4, 5, short, previous=previous)
        shutil.rmtree(self.top)
        write(self.top, short, d)
        return short, c, d

    def test_lost_epochs(self):
        short, c, d = self.lost_epochs()
        for keys in ([short, d], [short, c, d], []):
            self.expect(2, "RECORDS_LOST@e1:20", keys=keys)
        short, c, d = self.lost_epochs(count=25)
        self.expect(2, "RECORDS_LOST@e1:25", keys=[short, d])

    def test_what_is_neither_there_nor_declared_lost(self):
        for lost_from in ("1:21", "2:0"):
            short, c, d = self.lost_epochs(lost_from=lost_from)
            self.expect(2, f"RECORDS_LOST@e{lost_from}", "EPOCH_LINK_BROKEN@e4:0", keys=[short, d])

    def test_lost_epochs_that_are_not_what_is_said(self):
        short, c, d = self.lost_epochs(lost_from="2:3")
        self.expect(2, "RECORDS_LOST@e2:3", "EPOCH_MISSING", "EPOCH_LINK_BROKEN@e4:0", keys=[short, d])
        for lost in ({"lost_to": "2:6"}, {"lost_to": "4:0"}, {"lost_from": "1:19"}, {"lost_from": "3:9"}):
            short, c, d = self.lost_epochs(**lost)
            self.expect(2, "RECORDS_LOST", "EPOCH_LINK_BROKEN@e4:0", keys=[short, d], exact=False)
        short, c, d = self.lost_epochs({"tree_size": 10})
        self.expect(2, "RECORDS_LOST", "EPOCH_LINK_BROKEN@e4:0", keys=[short, d])

    def test_the_last_promise_of_a_lost_epoch_is_checked_with_the_key_that_was_brought(self):
        stranger = Signer(Epoch(3, 1).origin, "other")
        c = Epoch(3, 9, Epoch(2, 7, Epoch(1, 25)))
        note = stranger.head(c.origin, 9, mth(c.hashes)).decode()
        short, c, d = self.lost_epochs({"tree_head": note})
        self.expect(2, "RECORDS_LOST@e1:20", keys=[short, d])
        self.expect(2, "RECORDS_LOST@e1:20", "EPOCH_LINK_BROKEN@e4:0", keys=[short, c, d])

    def test_everything_before_is_lost(self):
        c = Epoch(3, 9)
        d = Epoch(4, 5, previous=self.link(c, lost_from="1:0", lost_to="3:8"), before=c)
        write(self.top, d)
        self.expect(2, "RECORDS_LOST@e1:0", keys=[d])

    def test_opening_of_another_epoch(self):
        for wrong in ({"origin": "x"}, {"origin": None}, {"epoch": 2}, {"epoch": "1"}, {"epoch": True}, {"verifier_key": "x"}):
            a = Epoch(1, 5)
            a.records[0]["bodies"][0] = json.dumps({**json.loads(a.records[0]["bodies"][0]), **wrong}).encode()
            a.seal()
            write(self.top, a)
            self.expect(2, "OPENING_RECORD_WRONG@e1:0", keys=[a])
            self.expect(2, "OPENING_RECORD_WRONG@e1:0")

    def test_one_key_for_two_epochs(self):
        a = Epoch(1, 20)
        b = Epoch(2, 5, a)
        write(self.top, a, b)
        self.expect(2, "TREE_HEAD_UNTRUSTED", keys=[b])

    def test_missing_epochs(self):
        a = Epoch(1, 20)
        b = Epoch(2, 5, a)
        write(self.top, a, b)
        shutil.move(self.path("e1"), self.path("gone"))
        self.expect(2, "EPOCH_MISSING", keys=[a, b])
        shutil.move(self.path("gone"), self.path("e1"))
        shutil.move(self.path("e2"), self.path("e3"))
        self.expect(2, "EPOCH_MISSING", "MANIFEST_MISMATCH", "OPENING_RECORD_WRONG", keys=[a, b])
        shutil.rmtree(self.path("e3"))
        self.expect(2, "MANIFEST_MISMATCH", keys=[a])
        self.expect(2, "EPOCH_MISSING", "MANIFEST_MISMATCH", keys=[a, b])

    def test_a_last_epoch_that_there_is_a_key_of(self):
        a = Epoch(1, 20)
        b = Epoch(2, 5, a)
        write(self.top, a)
        self.expect(0, keys=[a])
        self.expect(2, "EPOCH_MISSING@e2", keys=[a, b])

    def test_streams_times_and_ids_go_on(self):
        a = Epoch(1, 20)
        b = Epoch(2, 5, a, versions={})
        b.records[1]["event_id"], b.records[0]["recorded"] = a.records[3]["event_id"], 5
        b.seal()
        write(self.top, a, b)
        self.expect(2, "STREAM_BROKEN@e2:0", "EVENT_ID_REPEATED@e2:1", "TIME_REVERSED@e2:0", keys=[a, b])

    def test_opening_payload_missing(self):
        a = Epoch(1, 20)
        b = Epoch(2, 5, a)
        b.records[0]["bodies"][0] = None
        b.measure()
        write(self.top, a, b)
        self.expect(2, "PAYLOAD_MISSING@e2:0", "EPOCH_LINK_BROKEN@e2:0", keys=[a, b])

    def test_call_across_epochs(self):
        a = Epoch(1, 5)
        a.records.append(a.record(5, "tool.started", "tool-" + "1" * 32, call=b"c" * 16))
        a.seal()
        b = Epoch(2, 1, a)
        b.records.append(b.record(1, "tool.completed", "tool-" + "1" * 32, call=b"c" * 16))
        b.seal()
        write(self.top, a, b)
        self.expect(0, keys=[a, b])

    def test_call_of_a_lane_starts_in_that_lane(self):
        lane, other = "lane-" + "1" * 32, "lane-" + "2" * 32
        for elsewhere in ("observed-" + "1" * 32, other):
            a = Epoch(1, 5)
            a.records.append(a.record(5, "tool.started", elsewhere, call=b"c" * 16))
            a.records.append(a.record(6, "tool.completed", lane, call=b"c" * 16))
            a.seal()
            write(self.top, a)
            self.expect(2, "EFFECT_WITHOUT_INTENT@6", keys=[a])

    def test_call_of_a_lane_that_others_saw_too(self):
        lane, seen, a = "lane-" + "1" * 32, "observed-" + "1" * 32, Epoch(1, 5)
        for index, (event, stream) in enumerate([("started", lane), ("started", seen), ("failed", lane), ("failed", seen)], 5):
            a.records.append(a.record(index, "tool." + event, stream, call=b"c" * 16))
        a.seal()
        write(self.top, a)
        self.expect(0, keys=[a])


class Flips(Case):
    def test_no_change_of_a_byte_goes_unseen(self):
        """Every file but the key, which is not believed; a thousand flipped bits, cuts and additions."""
        a = Epoch(1, 30)
        b = Epoch(2, 6, a)
        write(self.top, a, b)
        keys = ["--key", a.signer.vkey, "--key", b.signer.vkey]
        names = [os.path.relpath(os.path.join(d, f), self.top) for d, _, files in os.walk(self.top) for f in files]
        names = sorted(n for n in names if not n.endswith("key.vkey"))
        rng = random.Random(1)
        for turn in range(1000):
            name = names[turn % len(names)]
            data = good = self.get(name)
            at = rng.randrange(len(data))
            kind = turn // len(names) % 5
            if kind < 3:
                data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:]
            else:
                data = data[:at] if kind == 3 else data[:at] + rng.randbytes(rng.randrange(1, 40)) + data[at:]
            self.put(name, data)
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                code = verify.main([self.top, *keys])
            if name == "manifest.json":                     # white space and the like change nothing
                self.assertIn(code, (0, 2))
            elif "payload" in name:
                self.assertIn(code, (2, 3), (name, at, kind, out.getvalue()))
            else:
                self.assertEqual(code, 2, (name, at, kind, out.getvalue()))
            self.put(name, good)


class Units(unittest.TestCase):
    def test_worked_example(self):
        with open(os.path.join(HERE, "record.md"), encoding="utf-8") as f:
            page = f.read()
        block = page.split("```leaf\n")[1].split("```")[0]
        leaf = bytes.fromhex("".join(line.split("|")[0].strip() for line in block.splitlines()))
        self.assertEqual(verify.leaf_hash(leaf).hex(), re.search("leaf hash: ([0-9a-f]{64})", page)[1])
        self.assertEqual(verify.parse_leaf(leaf).event_type, "message.received")

    def test_rfc8032_vectors(self):
        for key, text, sig in (
            ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
             "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
            ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
             "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")):
            key, text, sig = map(bytes.fromhex, (key, text, sig))
            for check in (verify.ed_verify, verify.ed_verify_plain):
                self.assertTrue(check(key, sig, text))
                self.assertFalse(check(key, sig, text + b"x"))

    def test_both_checks_agree(self):
        s = Signer("x", "y")
        for i in range(8):
            sig = bytearray(s.sign(b"text"))
            sig[i * 9 % 64] ^= i
            self.assertEqual(verify.ed_verify(s.public, bytes(sig), b"text"), i == 0)
            self.assertEqual(verify.ed_verify_plain(s.public, bytes(sig), b"text"), i == 0)

    def test_small_order(self):
        one = enc((0, 1))
        s = challenge(b"anything")
        forged = enc(mul(s, BASE)) + s.to_bytes(32, "little")
        self.assertTrue(verify.ed_verify_plain(one, forged, b"text"))       # a key of order 1 signs every text
        self.assertFalse(verify.ed_verify(one, forged, b"text"))
        k = Signer("x", "y")
        sig = one + (challenge(one, k.public, b"text") * k.a % ORDER).to_bytes(32, "little")
        self.assertTrue(verify.ed_verify_plain(k.public, sig, b"text"))     # R of order 1
        self.assertFalse(verify.ed_verify(k.public, sig, b"text"))
        # every point of small order, found here by multiplying points with the order of the base point
        seen, y = set(), 2
        while len(seen) < 8:
            y += 1
            x2 = (y * y - 1) * inv(DD * y * y + 1) % Q
            x = pow(x2, (Q + 3) // 8, Q)
            x = x if x * x % Q == x2 else x * pow(2, (Q - 1) // 4, Q) % Q
            if x * x % Q == x2:
                t = mul(ORDER, (x, y))
                seen |= {enc(mul(i, t)) for i in range(8)}
        for e in seen:
            self.assertIn(int.from_bytes(e, "little") & (2**255 - 1), verify.SMALL_Y)
            self.assertFalse(verify.ed_verify(e, forged, b"text"))
        self.assertEqual(len(verify.SMALL_Y), 5)
        for y in (Q, Q + 1, Q + 3):                                         # not reduced
            self.assertFalse(verify.ed_verify(y.to_bytes(32, "little"), forged, b"text"))

    def test_paths(self):
        self.assertEqual(verify.tile_of(5, 2000), ("005", 256))
        self.assertEqual(verify.tile_of(1234067, 2**40), ("x001/x234/067", 256))
        self.assertEqual(verify.tile_of(1000, 256001), ("x001/000.p/1", 1))

    def test_tree(self):
        hashes = [sha(bytes([i])) for i in range(70)]
        for n in range(70):
            self.assertEqual(verify.tree_root(hashes[:n]), mth(hashes[:n]))

    def test_garbage_is_refused_without_a_traceback(self):
        leaf = Epoch(1, 2).leaves[1]
        for i in range(len(leaf)):
            for b in (0, 0x1b, 0x5f, 0x80, 0x9f, 0xbf, 0xff):
                try:
                    verify.parse_leaf(leaf[:i] + bytes([b]) + leaf[i + 1:])
                except verify.Malformed:
                    pass


if __name__ == "__main__":
    unittest.main()
