-- What was promised: the last signed tree head of each log. A database of its own, which is NOT restored together with
-- the ledger's: it is what shows that a restored ledger lost something. Rows are never deleted and never go back.
CREATE TABLE tree_head (
    origin text   COLLATE "C" PRIMARY KEY,
    size   bigint NOT NULL CHECK (size > 0),
    note   bytea  NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
