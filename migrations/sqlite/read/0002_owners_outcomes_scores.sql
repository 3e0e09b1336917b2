-- A call belongs to the session that proposed it, outcomes are told by model and tool too, and scores stand with their
-- session. The projections that fill these tables have new versions, so a start makes them anew from the ledger; nothing
-- is carried over.

DROP TABLE usage_call;
CREATE TABLE usage_call (
    ledger  BLOB NOT NULL,
    session BLOB NOT NULL,
    call    BLOB NOT NULL,
    tool    TEXT NOT NULL,
    PRIMARY KEY (ledger, session, call)
) STRICT, WITHOUT ROWID;

DROP TABLE outcome_day;
-- How each turn came out; a turn is told apart by its session, too.
CREATE TABLE turn_outcome (
    ledger      BLOB NOT NULL,
    session     BLOB NOT NULL,
    turn        BLOB NOT NULL,
    day         INTEGER NOT NULL,
    agent       TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    duration_us INTEGER,
    PRIMARY KEY (ledger, session, turn)
) STRICT, WITHOUT ROWID;

CREATE INDEX turn_outcome_day ON turn_outcome (ledger, day);

-- What turns used. kind: 'model' or 'tool'.
CREATE TABLE turn_use (
    ledger  BLOB NOT NULL,
    session BLOB NOT NULL,
    turn    BLOB NOT NULL,
    kind    TEXT NOT NULL,
    name    TEXT NOT NULL,
    PRIMARY KEY (ledger, session, turn, kind, name)
) STRICT, WITHOUT ROWID;

-- Scores of sessions. value is the decimal text of a floating-point number.
CREATE TABLE session_score (
    ledger            BLOB NOT NULL,
    session           BLOB NOT NULL,
    position          INTEGER NOT NULL,
    name              TEXT NOT NULL,
    value             TEXT,
    label             TEXT,
    explanation       TEXT,
    evaluator         TEXT,
    evaluator_version TEXT,
    target            TEXT NOT NULL,
    turn              BLOB,
    message           BLOB,
    call              BLOB,
    attributes        TEXT,
    occurred_at       INTEGER NOT NULL,
    PRIMARY KEY (ledger, session, position)
) STRICT, WITHOUT ROWID;
