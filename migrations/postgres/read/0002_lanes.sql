-- Read model of lanes: who waits, who has a turn, and what happens next by itself. Made from the ledger, so nothing is
-- carried over.

-- Conversation lanes as clients name them.
CREATE TABLE lane (
    ledger         BYTEA NOT NULL,
    lane           BYTEA NOT NULL,
    agent          TEXT COLLATE "C",
    interlocutor   TEXT COLLATE "C",
    channel        TEXT COLLATE "C",
    thread         TEXT COLLATE "C",
    first_position BIGINT NOT NULL,
    PRIMARY KEY (ledger, lane)
) WITH (fillfactor = 70);

CREATE INDEX lane_agent ON lane (ledger, agent, first_position, lane);

-- Turns of lanes that are not over; the row goes when the turn ends. due_at is when the next thing happens to the turn by
-- itself, made of the columns that decide it, so that no statement can forget it.
CREATE TABLE lane_turn (
    ledger           BYTEA NOT NULL,
    turn             BYTEA NOT NULL,
    lane             BYTEA NOT NULL,
    session          BYTEA,
    state            TEXT COLLATE "C" NOT NULL DEFAULT 'gathering',
    opened_at        BIGINT NOT NULL,
    position         BIGINT NOT NULL,
    deadline         BIGINT,
    not_before       BIGINT,
    attempts         BIGINT NOT NULL DEFAULT 0,
    started_at       BIGINT,
    lease_expires_at BIGINT,
    awaits_decision  BIGINT NOT NULL DEFAULT 0,
    winding_since    BIGINT,
    in_flight        BIGINT NOT NULL DEFAULT 0,
    turn_us_max      BIGINT,
    drain_us         BIGINT,
    compensation_us  BIGINT,
    due_at           BIGINT GENERATED ALWAYS AS (CASE state
        WHEN 'gathering' THEN deadline
        WHEN 'processing' THEN CASE
            WHEN lease_expires_at IS NULL OR started_at + turn_us_max < lease_expires_at THEN started_at + turn_us_max
            ELSE lease_expires_at END
        WHEN 'draining' THEN CASE WHEN in_flight > 0 THEN winding_since + drain_us END
        WHEN 'compensating' THEN winding_since + compensation_us
        END) STORED,
    PRIMARY KEY (ledger, turn)
) WITH (fillfactor = 70);

CREATE INDEX lane_turn_lane ON lane_turn (ledger, lane, position);
CREATE INDEX lane_turn_due ON lane_turn (ledger, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX lane_turn_ready ON lane_turn (ledger, not_before, position) WHERE not_before IS NOT NULL;

-- Calls that run now.
CREATE TABLE lane_call (
    ledger BYTEA NOT NULL,
    call   BYTEA NOT NULL,
    PRIMARY KEY (ledger, call)
);

-- Approvals that people are asked for, by the call that they are about.
CREATE TABLE lane_approval (
    ledger BYTEA NOT NULL,
    call   BYTEA NOT NULL,
    lane   BYTEA NOT NULL,
    due_at BIGINT NOT NULL,
    PRIMARY KEY (ledger, call)
);

CREATE INDEX lane_approval_due ON lane_approval (ledger, due_at);

-- As for the tables of the first migration.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['lane', 'lane_turn', 'lane_call', 'lane_approval'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_ledger ON %I TO ruche_app '
            'USING (ledger = (SELECT decode(current_setting(''ruche.ledger'', true), ''hex'')))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO ruche_app', name);
    END LOOP;
END
$$;
