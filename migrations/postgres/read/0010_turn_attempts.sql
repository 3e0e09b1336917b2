-- The attempts at turns: the row of a turn has the end of the turn, and says nothing of the tries before. position is the
-- record with which the attempt began. The projection that fills it has a new version, so a start makes it from the ledger.
CREATE TABLE turn_attempt (
    ledger      BYTEA NOT NULL,
    turn        BYTEA NOT NULL,
    position    BIGINT NOT NULL,
    number      BIGINT,
    lease_epoch BIGINT,
    worker      BYTEA,
    brain_build TEXT COLLATE "C",
    started_at  BIGINT NOT NULL,
    ended_at    BIGINT,
    outcome     TEXT COLLATE "C",
    error_type  TEXT COLLATE "C",
    error       TEXT COLLATE "C",
    retry_at    BIGINT,
    PRIMARY KEY (ledger, turn, position)
);

-- As for the tables of the first migration.
ALTER TABLE turn_attempt ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON turn_attempt TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON turn_attempt TO ruche_app;
