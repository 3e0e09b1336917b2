-- Questions of analytics that stand saved: the words of each as JSON text, and the record that saved it.
-- The projection that fills it is new, so a start makes it from the ledger.
CREATE TABLE saved_query (
    ledger   BLOB NOT NULL,
    name     TEXT NOT NULL,
    position INTEGER NOT NULL,
    query    TEXT NOT NULL,
    saved_at INTEGER NOT NULL,
    PRIMARY KEY (ledger, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX saved_query_position ON saved_query (ledger, position);
