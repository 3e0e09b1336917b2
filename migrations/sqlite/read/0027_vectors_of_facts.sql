-- Vectors that stand for facts. A search compares those of one model, in the order of the key: they stand side by side. Whose
-- version one is, is worked out by queries.
CREATE TABLE memory_vector (
    ledger      BLOB NOT NULL,
    model       TEXT NOT NULL,
    -- Stands for the record's id in its store.
    record      BLOB NOT NULL,
    position    INTEGER NOT NULL,
    turn        BLOB,
    known       INTEGER,
    known_at    INTEGER,
    dropped     TEXT,
    kept        INTEGER,
    recorded_at INTEGER NOT NULL,
    -- How many there are.
    numbers     INTEGER NOT NULL,
    -- 32-bit floats, the lowest byte first. The last column, so that what does not count is passed over without it.
    vector      BLOB NOT NULL,
    PRIMARY KEY (ledger, model, record, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX memory_vector_turn ON memory_vector (ledger, turn, known, dropped);
