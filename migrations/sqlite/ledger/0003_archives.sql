-- Payloads that were taken out of the table `payload` and are in an archive, a folder elsewhere (docs/operations/archive.md).
-- Written in the transaction that takes a piece of them out, so a payload that is not there and that stands here is told apart
-- from one that was erased. first and behind: index of the first record, and of the one behind the last that was taken out.
-- A payload of the range that is there all the same counts: it stayed, or it was put back.
CREATE TABLE archived_range (
    epoch_no INTEGER NOT NULL,
    first    INTEGER NOT NULL CHECK (first >= 0),
    behind   INTEGER NOT NULL CHECK (behind > first),
    archive  TEXT    NOT NULL,
    digest   BLOB    NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (epoch_no, first)
) STRICT, WITHOUT ROWID;
