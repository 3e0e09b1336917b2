-- Read model of what people are called for. Made from the ledger, so nothing is carried over.

-- list_rank is made of the other columns, so that no statement can forget it: outcomes that turns wait for come first,
-- then effects that could not be undone, then what has no name here, then turns that failed; what is settled is last.
CREATE TABLE intervention (
    ledger           BYTEA NOT NULL,
    position         BIGINT NOT NULL,
    kind             TEXT COLLATE "C" NOT NULL,
    reason           TEXT COLLATE "C",
    lane             BYTEA NOT NULL,
    session          BYTEA,
    turn             BYTEA,
    call             BYTEA,
    raised_at        BIGINT NOT NULL,
    settled_at       BIGINT,
    settled_position BIGINT,
    list_rank        BIGINT GENERATED ALWAYS AS (CASE
        WHEN settled_position IS NOT NULL THEN 4
        WHEN kind = 'outcome_unknown' THEN 0
        WHEN kind = 'compensation_failed' THEN 1
        WHEN kind = 'attempts_used_up' THEN 3
        ELSE 2 END) STORED,
    PRIMARY KEY (ledger, position)
);

CREATE INDEX intervention_list ON intervention (ledger, list_rank, position);
CREATE INDEX intervention_session ON intervention (ledger, session, list_rank, position);
CREATE INDEX intervention_call ON intervention (ledger, call);

-- As for the tables of the first migration.
ALTER TABLE intervention ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON intervention TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON intervention TO ruche_app;
