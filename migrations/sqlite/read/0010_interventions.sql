-- Read model of what people are called for. Made from the ledger, so nothing is carried over.

-- list_rank is made of the other columns, so that no statement can forget it: outcomes that turns wait for come first,
-- then effects that could not be undone, then what has no name here, then turns that failed; what is settled is last.
CREATE TABLE intervention (
    ledger           BLOB NOT NULL,
    position         INTEGER NOT NULL,
    kind             TEXT NOT NULL,
    reason           TEXT,
    lane             BLOB NOT NULL,
    session          BLOB,
    turn             BLOB,
    call             BLOB,
    raised_at        INTEGER NOT NULL,
    settled_at       INTEGER,
    settled_position INTEGER,
    list_rank        INTEGER GENERATED ALWAYS AS (CASE
        WHEN settled_position IS NOT NULL THEN 4
        WHEN kind = 'outcome_unknown' THEN 0
        WHEN kind = 'compensation_failed' THEN 1
        WHEN kind = 'attempts_used_up' THEN 3
        ELSE 2 END) STORED,
    PRIMARY KEY (ledger, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX intervention_list ON intervention (ledger, list_rank, position);
CREATE INDEX intervention_session ON intervention (ledger, session, list_rank, position);
CREATE INDEX intervention_call ON intervention (ledger, call);
