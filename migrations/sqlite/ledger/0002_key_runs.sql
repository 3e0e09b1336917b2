-- Idempotency keys are found in sorted runs of blocks instead of a B-tree with a row for each key. A key is a random
-- number: in a B-tree it dirties a page of its own once there are millions; in a run it is 16 bytes, written in order
-- and written again a few times while runs are merged (docs/decisions/0005, engine, module `runs`).

DROP TABLE idempotency;
-- No key is in a run yet: the next start reads all of them from their leaves.
DELETE FROM key_index;

-- Blocks of runs. id = key_run.no << 24 | number of the block in its run.
-- entries: up to 240 times the first 8 bytes of a key and the record.id of the first record of its append, both
-- big-endian, sorted. What a key stands for is what the leaf of that record says. A block whose run has no row below
-- belongs to a run that is being written or was replaced; later commits delete it, a few with each.
CREATE TABLE key_block (
    id      INTEGER PRIMARY KEY,
    entries BLOB    NOT NULL CHECK (length(entries) % 16 = 0 AND length(entries) BETWEEN 16 AND 3840)
) STRICT;

-- Runs that are whole. Written with the last block of the run; deleted when a larger run replaces it.
-- filter: Bloom filter of the run's entries; firsts: 8 bytes for each block, where its entries begin.
CREATE TABLE key_run (
    no      INTEGER PRIMARY KEY,
    entries INTEGER NOT NULL CHECK (entries > 0),
    filter  BLOB    NOT NULL CHECK (length(filter) % 64 = 0),
    firsts  BLOB    NOT NULL CHECK (length(firsts) % 8 = 0)
) STRICT;
