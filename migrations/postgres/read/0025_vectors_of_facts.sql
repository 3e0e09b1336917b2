-- Vectors that stand for facts. A search compares those of one model, in the order of the key. Whose version one is, is worked out
-- by queries.
CREATE TABLE memory_vector (
    ledger      BYTEA NOT NULL,
    model       TEXT COLLATE "C" NOT NULL,
    -- Stands for the record's id in its store.
    record      BYTEA NOT NULL,
    position    BIGINT NOT NULL,
    turn        BYTEA,
    known       BIGINT,
    known_at    BIGINT,
    dropped     TEXT COLLATE "C",
    kept        BIGINT,
    recorded_at BIGINT NOT NULL,
    -- How many there are.
    numbers     BIGINT NOT NULL,
    -- 32-bit floats, the lowest byte first.
    vector      BYTEA NOT NULL,
    PRIMARY KEY (ledger, model, record, position)
);

-- Nothing is gained by trying to compress them.
ALTER TABLE memory_vector ALTER COLUMN vector SET STORAGE EXTERNAL;

CREATE INDEX memory_vector_turn ON memory_vector (ledger, turn, known, dropped);

-- As for the tables of the first migration.
ALTER TABLE memory_vector ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON memory_vector TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON memory_vector TO ruche_app;
