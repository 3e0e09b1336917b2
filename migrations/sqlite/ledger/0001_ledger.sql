-- The ledger on SQLite: one file, `ledger.db`, for all ledgers of a node. Written by one thread of one process.
--
-- Rules of this schema, each for a reason that is measured in docs/benchmarks.md:
--   * Appending writes at the right edge of each B-tree wherever it can: records and payloads by rowid.
--   * One secondary index on the append path, record_stream. No foreign keys, triggers, sequences or defaults.
--   * Constraints alone make a fork impossible: one record for each id, one for each version of a stream. Whatever the
--     program does, a second one is an error and the commit is undone.
--   * STRICT: a column holds the type it says.
--
-- Packed ids (the reader of this file needs them, so here they are):
--   record.id  = epoch.no << 37 | index of the record in its epoch     (24 + 37 bits)
--   payload.id = record.id << 2 | number of the fragment, 0 to 3       (63 bits in all, so never negative)
-- 37 bits are enough: a file of 4 KiB pages holds at most 17.6 TB (2^32 - 2 pages), and 2^37 records of the smallest
-- possible leaf (over 150 bytes) would need 20.6 TB.

-- One row for each ledger: its open end. The only row that is updated by an append, from the size that the writer
-- built on; an update that finds another size changes no row and the commit is undone.
CREATE TABLE head (
    ledger_no        INTEGER PRIMARY KEY,
    ledger           BLOB    NOT NULL UNIQUE CHECK (length(ledger) = 16),
    epoch_no         INTEGER NOT NULL,
    size             INTEGER NOT NULL CHECK (size > 0),
    last_leaf_hash   BLOB    NOT NULL CHECK (length(last_leaf_hash) = 32),
    last_recorded_at INTEGER NOT NULL
) STRICT;

-- One row for each epoch of each ledger. Never updated: the size of a closed epoch is that of its records.
CREATE TABLE epoch (
    no        INTEGER PRIMARY KEY CHECK (no BETWEEN 1 AND 16777215),
    ledger_no INTEGER NOT NULL,
    epoch     INTEGER NOT NULL CHECK (epoch > 0),
    origin    TEXT    NOT NULL UNIQUE,
    UNIQUE (ledger_no, epoch)
) STRICT;

-- Leaves, as hashed (docs/formats/record.md). Never updated, never deleted. The version of a stream's last event is
-- the greatest stream_version that the index holds for it, so no row has to be updated to know it.
CREATE TABLE record (
    id             INTEGER PRIMARY KEY,
    stream_no      INTEGER NOT NULL,
    stream_version INTEGER NOT NULL,
    leaf           BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX record_stream ON record (stream_no, stream_version);

-- Payload fragments with their openings. The only table that an eraser may delete from.
CREATE TABLE payload (
    id      INTEGER PRIMARY KEY,
    opening BLOB NOT NULL CHECK (length(opening) = 32),
    bytes   BLOB NOT NULL
) STRICT;

-- Names of streams. Written once for each stream, with its first record.
CREATE TABLE stream (
    ledger_no INTEGER NOT NULL,
    name      TEXT    NOT NULL,
    no        INTEGER NOT NULL,
    PRIMARY KEY (ledger_no, name)
) STRICT, WITHOUT ROWID;

-- Idempotency keys: the first record of the append that a key stands for. The hash of the request stands in that
-- record's leaf, and so does the key: what makes a key durable is its leaf. This table is how it is found; it is filled
-- a little later, in the order of its B-tree, because keys are random numbers (engine, module `recent`).
-- scope = ledger_no << 2 | layer.
CREATE TABLE idempotency (
    scope    INTEGER NOT NULL,
    key_hash BLOB    NOT NULL CHECK (length(key_hash) = 32),
    record   INTEGER NOT NULL,
    PRIMARY KEY (scope, key_hash)
) STRICT, WITHOUT ROWID;

-- Up to where the table above has the keys of an epoch: those of all records with an index below `size`. A start reads
-- the keys of later records from their leaves. No row: from record 0 on.
CREATE TABLE key_index (
    epoch_no INTEGER PRIMARY KEY,
    size     INTEGER NOT NULL
) STRICT;

-- Derived: hash tiles (C2SP tlog-tiles), widest form only. May be deleted; the sealer makes them again.
CREATE TABLE tile (
    epoch_no INTEGER NOT NULL,
    level    INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    hashes   BLOB    NOT NULL CHECK (length(hashes) % 32 = 0 AND length(hashes) BETWEEN 32 AND 8192),
    PRIMARY KEY (epoch_no, level, n)
) STRICT;

-- Derived: a copy of the last signed tree head of each epoch. What was promised stands in the tree head store.
CREATE TABLE tree_head (
    epoch_no INTEGER PRIMARY KEY,
    size     INTEGER NOT NULL,
    note     BLOB    NOT NULL
) STRICT;
