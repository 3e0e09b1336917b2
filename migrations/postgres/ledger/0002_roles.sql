-- Who may do what. Nobody here owns a table, and nobody may log in: a session that writes becomes `ruche_append`, a
-- transaction that reads becomes `ruche_app` (ledger/adapters/postgres/src/schema.rs makes the roles).
--
--   ruche_append   writes for all ledgers; reads only heads, epochs, versions of streams, keys, tiles and tree heads,
--                  never a record or a payload
--   ruche_app      reads everything of the one ledger that `ruche.ledger` names for the transaction, and writes nothing
--   ruche_eraser   deletes payloads of that one ledger; sees which there are, never what is in them
--
-- Records are updated and deleted by nobody.
--
-- The ledger of a policy stands in a sub-select, so that it is computed once for a statement and not for each row. Where
-- it is not set, or was set by an earlier transaction of the session, it is null, and nothing is visible.

GRANT USAGE ON SCHEMA ruche TO ruche_append, ruche_app, ruche_eraser;
GRANT SELECT ON migration TO ruche_append, ruche_app;

GRANT SELECT, INSERT, UPDATE ON head, stream_head, tile, tree_head TO ruche_append;
GRANT SELECT, INSERT ON epoch, idempotency TO ruche_append;
GRANT INSERT ON record, payload TO ruche_append;

GRANT SELECT ON head, epoch, record, payload, stream_head, idempotency, tile, tree_head TO ruche_app;

GRANT SELECT (ledger, epoch, index, fragment), DELETE ON payload TO ruche_eraser;

ALTER TABLE head ENABLE ROW LEVEL SECURITY;
ALTER TABLE epoch ENABLE ROW LEVEL SECURITY;
ALTER TABLE record ENABLE ROW LEVEL SECURITY;
ALTER TABLE payload ENABLE ROW LEVEL SECURITY;
ALTER TABLE stream_head ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency ENABLE ROW LEVEL SECURITY;
ALTER TABLE tile ENABLE ROW LEVEL SECURITY;
ALTER TABLE tree_head ENABLE ROW LEVEL SECURITY;

CREATE POLICY every_ledger ON head TO ruche_append USING (true) WITH CHECK (true);
CREATE POLICY every_ledger ON epoch TO ruche_append USING (true) WITH CHECK (true);
CREATE POLICY every_ledger ON record TO ruche_append USING (true) WITH CHECK (true);
CREATE POLICY every_ledger ON payload TO ruche_append USING (true) WITH CHECK (true);
CREATE POLICY every_ledger ON stream_head TO ruche_append USING (true) WITH CHECK (true);
CREATE POLICY every_ledger ON idempotency TO ruche_append USING (true) WITH CHECK (true);
CREATE POLICY every_ledger ON tile TO ruche_append USING (true) WITH CHECK (true);
CREATE POLICY every_ledger ON tree_head TO ruche_append USING (true) WITH CHECK (true);

CREATE POLICY one_ledger ON head FOR SELECT TO ruche_app
    USING (ledger = (SELECT nullif(current_setting('ruche.ledger', true), '')::uuid));
CREATE POLICY one_ledger ON epoch FOR SELECT TO ruche_app
    USING (ledger = (SELECT nullif(current_setting('ruche.ledger', true), '')::uuid));
CREATE POLICY one_ledger ON record FOR SELECT TO ruche_app
    USING (ledger = (SELECT nullif(current_setting('ruche.ledger', true), '')::uuid));
CREATE POLICY one_ledger ON payload FOR SELECT TO ruche_app
    USING (ledger = (SELECT nullif(current_setting('ruche.ledger', true), '')::uuid));
CREATE POLICY one_ledger ON stream_head FOR SELECT TO ruche_app
    USING (ledger = (SELECT nullif(current_setting('ruche.ledger', true), '')::uuid));
CREATE POLICY one_ledger ON idempotency FOR SELECT TO ruche_app
    USING (ledger = (SELECT nullif(current_setting('ruche.ledger', true), '')::uuid));
CREATE POLICY one_ledger ON tile FOR SELECT TO ruche_app
    USING (ledger = (SELECT nullif(current_setting('ruche.ledger', true), '')::uuid));
CREATE POLICY one_ledger ON tree_head FOR SELECT TO ruche_app
    USING (ledger = (SELECT nullif(current_setting('ruche.ledger', true), '')::uuid));

CREATE POLICY see_payload ON payload FOR SELECT TO ruche_eraser
    USING (ledger = (SELECT nullif(current_setting('ruche.ledger', true), '')::uuid));
CREATE POLICY erase_payload ON payload FOR DELETE TO ruche_eraser
    USING (ledger = (SELECT nullif(current_setting('ruche.ledger', true), '')::uuid));
