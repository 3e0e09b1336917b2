-- Payloads that were taken out of the table `payload` and are in an archive, a folder elsewhere (docs/operations/archive.md).
-- Written in the transaction that takes a piece of them out, so a payload that is not there and that stands here is told apart
-- from one that was erased. first and behind: index of the first record, and of the one behind the last that was taken out.
-- A payload of the range that is there all the same counts: it stayed, or it was put back.
CREATE TABLE archived_range (
    ledger  uuid   NOT NULL,
    epoch   bigint NOT NULL,
    first   bigint NOT NULL CHECK (first >= 0),
    behind  bigint NOT NULL CHECK (behind > first),
    archive text   NOT NULL,
    digest  bytea  NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (ledger, epoch, first)
);

-- Who takes payloads out notes where they are, for the one ledger that the transaction names. Nobody else writes here, and
-- nobody makes an archive out of another: what is noted is made longer or taken away.
GRANT SELECT ON archived_range TO ruche_app;
GRANT SELECT, INSERT, DELETE, UPDATE (behind) ON archived_range TO ruche_eraser;

ALTER TABLE archived_range ENABLE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON archived_range FOR SELECT TO ruche_app
    USING (ledger = (SELECT nullif(current_setting('ruche.ledger', true), '')::uuid));
CREATE POLICY note_archive ON archived_range TO ruche_eraser
    USING (ledger = (SELECT nullif(current_setting('ruche.ledger', true), '')::uuid))
    WITH CHECK (ledger = (SELECT nullif(current_setting('ruche.ledger', true), '')::uuid));
