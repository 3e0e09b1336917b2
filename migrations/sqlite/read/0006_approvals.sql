-- Read model of requests that people decide on, and of the keys that they decide with. Made from the ledger, so nothing is
-- carried over.

-- is_settled is made of the status, so that no statement can forget it: those that are open come first in every list.
CREATE TABLE approval (
    ledger            BLOB NOT NULL,
    approval          BLOB NOT NULL,
    position          INTEGER NOT NULL,
    session           BLOB,
    turn              BLOB,
    call              BLOB,
    agent             TEXT,
    tool              TEXT,
    side_effect       TEXT,
    business_key      TEXT,
    requested_by      BLOB,
    requested_at      INTEGER NOT NULL,
    expires_at        INTEGER,
    status            TEXT NOT NULL DEFAULT 'requested',
    decision          TEXT,
    decided_by        TEXT,
    decided_under     TEXT,
    decided_at        INTEGER,
    consumed_at       INTEGER,
    consumed_position INTEGER,
    is_settled        INTEGER GENERATED ALWAYS AS (CASE status WHEN 'requested' THEN 0 ELSE 1 END) STORED,
    PRIMARY KEY (ledger, approval)
) STRICT, WITHOUT ROWID;

CREATE INDEX approval_list ON approval (ledger, is_settled, position);
CREATE INDEX approval_session ON approval (ledger, session, is_settled, position);

-- A key has a stream of its own.
CREATE TABLE reviewer_key (
    ledger              BLOB NOT NULL,
    stream              BLOB NOT NULL,
    key_id              TEXT NOT NULL,
    reviewer            TEXT NOT NULL,
    public_key          TEXT NOT NULL,
    label               TEXT,
    registered_position INTEGER NOT NULL,
    registered_at       INTEGER NOT NULL,
    revoked_position    INTEGER,
    revoked_at          INTEGER,
    PRIMARY KEY (ledger, stream)
) STRICT, WITHOUT ROWID;

CREATE INDEX reviewer_key_list ON reviewer_key (ledger, registered_position, stream);
