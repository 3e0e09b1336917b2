-- The attempts at turns: the row of a turn has the end of the turn, and says nothing of the tries before. position is the
-- record with which the attempt began. The projection that fills it has a new version, so a start makes it from the ledger.
CREATE TABLE turn_attempt (
    ledger      BLOB NOT NULL,
    turn        BLOB NOT NULL,
    position    INTEGER NOT NULL,
    number      INTEGER,
    lease_epoch INTEGER,
    worker      BLOB,
    brain_build TEXT,
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    outcome     TEXT,
    error_type  TEXT,
    error       TEXT,
    retry_at    INTEGER,
    PRIMARY KEY (ledger, turn, position)
) STRICT, WITHOUT ROWID;
