-- Where each ledger ends in a backup that was put in the place of the store, from the transaction that loads it until
-- every ledger is in its next epoch. While a row stands here, whoever may write opens the next epochs before anything
-- else, and whoever only reads refuses.
CREATE TABLE restore (
    ledger uuid   PRIMARY KEY,
    epoch  bigint NOT NULL CHECK (epoch > 0),
    index  bigint NOT NULL CHECK (index >= 0)
);

GRANT SELECT, DELETE ON restore TO ruche_append;

ALTER TABLE restore ENABLE ROW LEVEL SECURITY;
CREATE POLICY every_ledger ON restore TO ruche_append USING (true) WITH CHECK (true);
