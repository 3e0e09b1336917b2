-- Whether a person has paused a projection, by the last decision about it: no step of one that is paused is taken. A decision
-- that was recorded earlier changes nothing, whichever node carries it out last.
CREATE TABLE projection_paused (
    ledger     BYTEA NOT NULL,
    projection TEXT COLLATE "C" NOT NULL,
    paused     BIGINT NOT NULL,
    decided    BIGINT NOT NULL,
    PRIMARY KEY (ledger, projection)
);

-- As for the tables of the first migration.
ALTER TABLE projection_paused ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON projection_paused TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON projection_paused TO ruche_app;
