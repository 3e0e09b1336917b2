-- Read model of requests that people decide on, and of the keys that they decide with. Made from the ledger, so nothing is
-- carried over.

-- is_settled is made of the status, so that no statement can forget it: those that are open come first in every list.
CREATE TABLE approval (
    ledger            BYTEA NOT NULL,
    approval          BYTEA NOT NULL,
    position          BIGINT NOT NULL,
    session           BYTEA,
    turn              BYTEA,
    call              BYTEA,
    agent             TEXT COLLATE "C",
    tool              TEXT COLLATE "C",
    side_effect       TEXT COLLATE "C",
    business_key      TEXT COLLATE "C",
    requested_by      BYTEA,
    requested_at      BIGINT NOT NULL,
    expires_at        BIGINT,
    status            TEXT COLLATE "C" NOT NULL DEFAULT 'requested',
    decision          TEXT COLLATE "C",
    decided_by        TEXT COLLATE "C",
    decided_under     TEXT COLLATE "C",
    decided_at        BIGINT,
    consumed_at       BIGINT,
    consumed_position BIGINT,
    is_settled        BIGINT GENERATED ALWAYS AS (CASE status WHEN 'requested' THEN 0 ELSE 1 END) STORED,
    PRIMARY KEY (ledger, approval)
) WITH (fillfactor = 70);

CREATE INDEX approval_list ON approval (ledger, is_settled, position);
CREATE INDEX approval_session ON approval (ledger, session, is_settled, position);

-- A key has a stream of its own.
CREATE TABLE reviewer_key (
    ledger              BYTEA NOT NULL,
    stream              BYTEA NOT NULL,
    key_id              TEXT COLLATE "C" NOT NULL,
    reviewer            TEXT COLLATE "C" NOT NULL,
    public_key          TEXT COLLATE "C" NOT NULL,
    label               TEXT COLLATE "C",
    registered_position BIGINT NOT NULL,
    registered_at       BIGINT NOT NULL,
    revoked_position    BIGINT,
    revoked_at          BIGINT,
    PRIMARY KEY (ledger, stream)
) WITH (fillfactor = 70);

CREATE INDEX reviewer_key_list ON reviewer_key (ledger, registered_position, stream);

-- As for the tables of the first migration.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['approval', 'reviewer_key'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_ledger ON %I TO ruche_app '
            'USING (ledger = (SELECT decode(current_setting(''ruche.ledger'', true), ''hex'')))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO ruche_app', name);
    END LOOP;
END
$$;
