-- Read model of lanes: who waits, who has a turn, and what happens next by itself. Made from the ledger, so nothing is
-- carried over.

-- Conversation lanes as clients name them.
CREATE TABLE lane (
    ledger         BLOB NOT NULL,
    lane           BLOB NOT NULL,
    agent          TEXT,
    interlocutor   TEXT,
    channel        TEXT,
    thread         TEXT,
    first_position INTEGER NOT NULL,
    PRIMARY KEY (ledger, lane)
) STRICT, WITHOUT ROWID;

CREATE INDEX lane_agent ON lane (ledger, agent, first_position, lane);

-- Turns of lanes that are not over; the row goes when the turn ends. due_at is when the next thing happens to the turn by
-- itself, made of the columns that decide it, so that no statement can forget it.
CREATE TABLE lane_turn (
    ledger           BLOB NOT NULL,
    turn             BLOB NOT NULL,
    lane             BLOB NOT NULL,
    session          BLOB,
    state            TEXT NOT NULL DEFAULT 'gathering',
    opened_at        INTEGER NOT NULL,
    position         INTEGER NOT NULL,
    deadline         INTEGER,
    not_before       INTEGER,
    attempts         INTEGER NOT NULL DEFAULT 0,
    started_at       INTEGER,
    lease_expires_at INTEGER,
    awaits_decision  INTEGER NOT NULL DEFAULT 0,
    winding_since    INTEGER,
    in_flight        INTEGER NOT NULL DEFAULT 0,
    turn_us_max      INTEGER,
    drain_us         INTEGER,
    compensation_us  INTEGER,
    due_at           INTEGER GENERATED ALWAYS AS (CASE state
        WHEN 'gathering' THEN deadline
        WHEN 'processing' THEN CASE
            WHEN lease_expires_at IS NULL OR started_at + turn_us_max < lease_expires_at THEN started_at + turn_us_max
            ELSE lease_expires_at END
        WHEN 'draining' THEN CASE WHEN in_flight > 0 THEN winding_since + drain_us END
        WHEN 'compensating' THEN winding_since + compensation_us
        END) STORED,
    PRIMARY KEY (ledger, turn)
) STRICT, WITHOUT ROWID;

CREATE INDEX lane_turn_lane ON lane_turn (ledger, lane, position);
CREATE INDEX lane_turn_due ON lane_turn (ledger, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX lane_turn_ready ON lane_turn (ledger, not_before, position) WHERE not_before IS NOT NULL;

-- Calls that run now.
CREATE TABLE lane_call (
    ledger BLOB NOT NULL,
    call   BLOB NOT NULL,
    PRIMARY KEY (ledger, call)
) STRICT, WITHOUT ROWID;

-- Approvals that people are asked for, by the call that they are about.
CREATE TABLE lane_approval (
    ledger BLOB NOT NULL,
    call   BLOB NOT NULL,
    lane   BLOB NOT NULL,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (ledger, call)
) STRICT, WITHOUT ROWID;

CREATE INDEX lane_approval_due ON lane_approval (ledger, due_at);
