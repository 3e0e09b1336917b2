-- What decides of a fact is sought in an index, whatever the number of ends and versions.

-- 1: a step of its turn was completed behind it, so it outlives the attempt that wrote it.
ALTER TABLE memory_fact ADD COLUMN kept INTEGER;
ALTER TABLE memory_end ADD COLUMN kept INTEGER;
-- Stands for the record's id, whatever its store.
ALTER TABLE memory_fact ADD COLUMN named BLOB;
-- The time at which what was asked for holds.
ALTER TABLE memory_use ADD COLUMN valid_at INTEGER;

DROP INDEX memory_fact_record;
CREATE INDEX memory_fact_record ON memory_fact (ledger, record, known, position);
CREATE INDEX memory_fact_named ON memory_fact (ledger, named, position);
CREATE INDEX memory_fact_attribute ON memory_fact (ledger, attribute, position);
CREATE INDEX memory_fact_holder ON memory_fact (ledger, holder, position);
CREATE INDEX memory_fact_unknown ON memory_fact (ledger, known, dropped, position) WHERE known IS NULL;
CREATE INDEX memory_end_known ON memory_end (ledger, record, ends, known, position);
