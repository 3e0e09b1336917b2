-- Questions of analytics that stand saved: the words of each as JSON text, and the record that saved it.
-- The projection that fills it is new, so a start makes it from the ledger.
CREATE TABLE saved_query (
    ledger   BYTEA NOT NULL,
    name     TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    query    TEXT COLLATE "C" NOT NULL,
    saved_at BIGINT NOT NULL,
    PRIMARY KEY (ledger, name)
);

CREATE INDEX saved_query_position ON saved_query (ledger, position);

-- As for the tables of the first migration.
ALTER TABLE saved_query ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON saved_query TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON saved_query TO ruche_app;
