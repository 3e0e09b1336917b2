-- Ledgers that take no appends in this epoch, because what was promised of them does not hold (ledger/src/halts.rs). The
-- statement that appends looks here, so no node has to be told. A row of an epoch that is not open any more says nothing.
CREATE TABLE halt (
    ledger uuid   PRIMARY KEY,
    epoch  bigint NOT NULL CHECK (epoch > 0),
    reason text   NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON halt TO ruche_append;

ALTER TABLE halt ENABLE ROW LEVEL SECURITY;
CREATE POLICY every_ledger ON halt TO ruche_append USING (true) WITH CHECK (true);
