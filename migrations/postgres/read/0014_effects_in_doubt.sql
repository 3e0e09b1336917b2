-- Effects that were started and are not settled, so that people are called for one as soon as only a person can say how it
-- came out. Made from the ledger, so nothing is carried over.
CREATE TABLE intervention_effect (
    ledger           BYTEA NOT NULL,
    call             BYTEA NOT NULL,
    turn             BYTEA,
    side_effect      TEXT COLLATE "C" NOT NULL,
    -- The record that says that nobody knows its outcome, and what it gives as the cause.
    unknown_position BIGINT,
    unknown_cause    TEXT COLLATE "C",
    PRIMARY KEY (ledger, call)
);

CREATE INDEX intervention_effect_turn ON intervention_effect (ledger, turn);

-- As for the tables of the first migration.
ALTER TABLE intervention_effect ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON intervention_effect TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON intervention_effect TO ruche_app;
