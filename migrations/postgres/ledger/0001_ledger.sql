-- The ledger on PostgreSQL 15 or newer, for any number of nodes.
--
-- Rules of this schema:
--   * The head row is the only lock. A position exists only if the head moved to it in the same transaction, so positions
--     are dense and visible in order: n+1 is never seen before n.
--   * Constraints alone make a fork impossible: one record for each position, one for each version of a stream, one row
--     for each idempotency key. Whatever a node does, a second one is an error and its statement changes nothing.
--   * Appending writes at the right edge wherever it can. No foreign keys, triggers, sequences, defaults or jsonb; one
--     secondary index on the append path.
--   * Every statement names the ledger.

-- Open end of each ledger. Updated by every append, only from where the writer believed it to be. Most of a page is
-- left free, so that the new version of a row fits beside the old one and no index changes (HOT).
CREATE TABLE head (
    ledger           uuid   PRIMARY KEY,
    epoch            bigint NOT NULL CHECK (epoch > 0),
    origin           text   NOT NULL,
    size             bigint NOT NULL CHECK (size > 0),
    last_leaf_hash   bytea  NOT NULL CHECK (length(last_leaf_hash) = 32),
    last_recorded_at bigint NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Epochs of each ledger. Never updated: the size of a closed epoch is that of its records.
CREATE TABLE epoch (
    ledger uuid   NOT NULL,
    epoch  bigint NOT NULL CHECK (epoch > 0),
    origin text   NOT NULL UNIQUE,
    PRIMARY KEY (ledger, epoch)
);

-- Leaves, as hashed (docs/formats/record.md). Never updated, never deleted.
CREATE TABLE record (
    ledger         uuid   NOT NULL,
    epoch          bigint NOT NULL,
    index          bigint NOT NULL CHECK (index >= 0),
    stream         text   COLLATE "C" NOT NULL,
    stream_version bigint NOT NULL CHECK (stream_version >= 0),
    leaf           bytea  NOT NULL,
    PRIMARY KEY (ledger, epoch, index)
);
CREATE UNIQUE INDEX record_stream ON record (ledger, stream, stream_version);

-- Payload fragments with their openings. The only table that an eraser may delete from.
CREATE TABLE payload (
    ledger   uuid     NOT NULL,
    epoch    bigint   NOT NULL,
    index    bigint   NOT NULL,
    fragment smallint NOT NULL,
    opening  bytea    NOT NULL CHECK (length(opening) = 32),
    bytes    bytea    NOT NULL,
    PRIMARY KEY (ledger, epoch, index, fragment)
);

-- Version of the last event of each stream, moved in the same statement as the head.
CREATE TABLE stream_head (
    ledger  uuid   NOT NULL,
    stream  text   COLLATE "C" NOT NULL,
    version bigint NOT NULL CHECK (version >= 0),
    PRIMARY KEY (ledger, stream)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Idempotency keys, and the append that each stands for.
CREATE TABLE idempotency (
    ledger   uuid     NOT NULL,
    layer    smallint NOT NULL,
    key_hash bytea    NOT NULL CHECK (length(key_hash) = 32),
    request  bytea    NOT NULL CHECK (length(request) = 32),
    epoch    bigint   NOT NULL,
    first    bigint   NOT NULL,
    count    integer  NOT NULL CHECK (count > 0),
    PRIMARY KEY (ledger, layer, key_hash)
);

-- Derived: hash tiles (C2SP tlog-tiles), widest form only. May be deleted; the sealer makes them again.
CREATE TABLE tile (
    ledger uuid     NOT NULL,
    epoch  bigint   NOT NULL,
    level  smallint NOT NULL,
    n      bigint   NOT NULL,
    hashes bytea    NOT NULL CHECK (length(hashes) % 32 = 0 AND length(hashes) BETWEEN 32 AND 8192),
    PRIMARY KEY (ledger, epoch, level, n)
);

-- Derived: a copy of the last signed tree head of each epoch. What was promised stands in the tree head store.
CREATE TABLE tree_head (
    ledger uuid   NOT NULL,
    epoch  bigint NOT NULL,
    size   bigint NOT NULL,
    note   bytea  NOT NULL,
    PRIMARY KEY (ledger, epoch)
);
