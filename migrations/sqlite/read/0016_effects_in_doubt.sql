-- Effects that were started and are not settled, so that people are called for one as soon as only a person can say how it
-- came out. Made from the ledger, so nothing is carried over.
CREATE TABLE intervention_effect (
    ledger           BLOB NOT NULL,
    call             BLOB NOT NULL,
    turn             BLOB,
    side_effect      TEXT NOT NULL,
    -- The record that says that nobody knows its outcome, and what it gives as the cause.
    unknown_position INTEGER,
    unknown_cause    TEXT,
    PRIMARY KEY (ledger, call)
) STRICT, WITHOUT ROWID;

-- Without statistics an index is used before the primary key, which is the whole ledger, only where it covers what a statement
-- asks for. So each has all the columns of those statements.
CREATE INDEX intervention_effect_turn
    ON intervention_effect (ledger, turn, side_effect, unknown_position, unknown_cause);
DROP INDEX intervention_call;
CREATE INDEX intervention_call ON intervention (ledger, call, settled_position, kind);
CREATE INDEX intervention_turn ON intervention (ledger, turn, call, settled_position, session);
