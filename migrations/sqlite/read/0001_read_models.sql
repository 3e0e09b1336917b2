-- Read models of the embedded engine: `read-<generation>.db`. Everything here is made from the ledger and can be made
-- again, so the file needs no backup.
--
-- Every table is keyed by ledger first: rows of one tenant stand together and are never found without its key. Tables
-- are clustered by their primary keys (WITHOUT ROWID), because rows are nearly always found by them.
-- Types map to those of PostgreSQL: INTEGER is BIGINT, BLOB is BYTEA. Ids are 16 bytes. Times are microseconds since
-- 1970 UTC. Positions are packed: epoch << 40 | index. Flags are 0 and 1. Lists and free fields are JSON text.

-- Where each projection stands in each ledger. Moves in the transaction that writes the rows.
CREATE TABLE checkpoint (
    ledger      BLOB NOT NULL,
    projection  TEXT NOT NULL,
    version     INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    applied     INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (ledger, projection)
) STRICT, WITHOUT ROWID;

-- Events that a projection could not apply. state: 'parked' or 'discarded'.
CREATE TABLE dead_letter (
    ledger      BLOB NOT NULL,
    projection  TEXT NOT NULL,
    position    INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    event_type  TEXT NOT NULL,
    leaf        BLOB NOT NULL,
    error       TEXT NOT NULL,
    attempts    INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    state       TEXT NOT NULL,
    PRIMARY KEY (ledger, projection, position)
) STRICT, WITHOUT ROWID;

-- sessions

CREATE TABLE session (
    ledger         BLOB NOT NULL,
    session        BLOB NOT NULL,
    external_id    TEXT,
    app            TEXT,
    agent          TEXT,
    agent_version  TEXT,
    interlocutor   TEXT,
    channel        TEXT,
    scenario       TEXT,
    trial          INTEGER,
    attributes     TEXT,
    provenance     TEXT NOT NULL,
    status         TEXT NOT NULL DEFAULT 'open',
    started_at     INTEGER NOT NULL,
    ended_at       INTEGER,
    end_reason     TEXT,
    end_detail     TEXT,
    first_position INTEGER NOT NULL,
    last_position  INTEGER NOT NULL,
    last_at        INTEGER NOT NULL,
    events                INTEGER NOT NULL DEFAULT 0,
    messages              INTEGER NOT NULL DEFAULT 0,
    user_messages         INTEGER NOT NULL DEFAULT 0,
    turns                 INTEGER NOT NULL DEFAULT 0,
    turns_committed       INTEGER NOT NULL DEFAULT 0,
    turns_failed          INTEGER NOT NULL DEFAULT 0,
    turns_superseded      INTEGER NOT NULL DEFAULT 0,
    turns_cancelled       INTEGER NOT NULL DEFAULT 0,
    turn_duration_us      INTEGER NOT NULL DEFAULT 0,
    turn_durations        INTEGER NOT NULL DEFAULT 0,
    tool_calls            INTEGER NOT NULL DEFAULT 0,
    write_calls           INTEGER NOT NULL DEFAULT 0,
    tool_results          INTEGER NOT NULL DEFAULT 0,
    tool_errors           INTEGER NOT NULL DEFAULT 0,
    tool_unknowns         INTEGER NOT NULL DEFAULT 0,
    tool_duration_us      INTEGER NOT NULL DEFAULT 0,
    tool_durations        INTEGER NOT NULL DEFAULT 0,
    llm_calls             INTEGER NOT NULL DEFAULT 0,
    llm_errors            INTEGER NOT NULL DEFAULT 0,
    llm_duration_us       INTEGER NOT NULL DEFAULT 0,
    llm_durations         INTEGER NOT NULL DEFAULT 0,
    input_tokens          INTEGER NOT NULL DEFAULT 0,
    input_known           INTEGER NOT NULL DEFAULT 0,
    output_tokens         INTEGER NOT NULL DEFAULT 0,
    output_known          INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens     INTEGER NOT NULL DEFAULT 0,
    cache_read_known      INTEGER NOT NULL DEFAULT 0,
    cache_creation_tokens INTEGER NOT NULL DEFAULT 0,
    cache_creation_known  INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens      INTEGER NOT NULL DEFAULT 0,
    reasoning_known       INTEGER NOT NULL DEFAULT 0,
    costs_known           INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (ledger, session)
) STRICT, WITHOUT ROWID;

-- Neither index holds a counter, so counting does not touch them.
CREATE INDEX session_started ON session (ledger, started_at, session);
CREATE INDEX session_agent ON session (ledger, agent, started_at, session);

-- Money is kept in two columns that add up exactly: billionths, and the rest in units of 10^-27, always below 10^18.
CREATE TABLE session_cost (
    ledger     BLOB NOT NULL,
    session    BLOB NOT NULL,
    currency   TEXT NOT NULL,
    costs      INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    cost_rest  INTEGER NOT NULL,
    PRIMARY KEY (ledger, session, currency)
) STRICT, WITHOUT ROWID;

-- turns

CREATE TABLE turn (
    ledger         BLOB NOT NULL,
    turn           BLOB NOT NULL,
    session        BLOB,
    ordinal        INTEGER,
    external_id    TEXT,
    agent          TEXT,
    opened_by      TEXT,
    status         TEXT NOT NULL DEFAULT 'gathering',
    outcome        TEXT,
    error_type     TEXT,
    error          TEXT,
    attempts       INTEGER NOT NULL DEFAULT 0,
    opened_at      INTEGER,
    started_at     INTEGER,
    ended_at       INTEGER,
    duration_us    INTEGER,
    usage_total    TEXT,
    cost_total     TEXT,
    first_at       INTEGER NOT NULL,
    first_position INTEGER NOT NULL,
    last_position  INTEGER NOT NULL,
    events                INTEGER NOT NULL DEFAULT 0,
    messages              INTEGER NOT NULL DEFAULT 0,
    user_messages         INTEGER NOT NULL DEFAULT 0,
    turns                 INTEGER NOT NULL DEFAULT 0,
    turns_committed       INTEGER NOT NULL DEFAULT 0,
    turns_failed          INTEGER NOT NULL DEFAULT 0,
    turns_superseded      INTEGER NOT NULL DEFAULT 0,
    turns_cancelled       INTEGER NOT NULL DEFAULT 0,
    turn_duration_us      INTEGER NOT NULL DEFAULT 0,
    turn_durations        INTEGER NOT NULL DEFAULT 0,
    tool_calls            INTEGER NOT NULL DEFAULT 0,
    write_calls           INTEGER NOT NULL DEFAULT 0,
    tool_results          INTEGER NOT NULL DEFAULT 0,
    tool_errors           INTEGER NOT NULL DEFAULT 0,
    tool_unknowns         INTEGER NOT NULL DEFAULT 0,
    tool_duration_us      INTEGER NOT NULL DEFAULT 0,
    tool_durations        INTEGER NOT NULL DEFAULT 0,
    llm_calls             INTEGER NOT NULL DEFAULT 0,
    llm_errors            INTEGER NOT NULL DEFAULT 0,
    llm_duration_us       INTEGER NOT NULL DEFAULT 0,
    llm_durations         INTEGER NOT NULL DEFAULT 0,
    input_tokens          INTEGER NOT NULL DEFAULT 0,
    input_known           INTEGER NOT NULL DEFAULT 0,
    output_tokens         INTEGER NOT NULL DEFAULT 0,
    output_known          INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens     INTEGER NOT NULL DEFAULT 0,
    cache_read_known      INTEGER NOT NULL DEFAULT 0,
    cache_creation_tokens INTEGER NOT NULL DEFAULT 0,
    cache_creation_known  INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens      INTEGER NOT NULL DEFAULT 0,
    reasoning_known       INTEGER NOT NULL DEFAULT 0,
    costs_known           INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (ledger, turn)
) STRICT, WITHOUT ROWID;

CREATE INDEX turn_first ON turn (ledger, first_position, turn);
CREATE INDEX turn_session ON turn (ledger, session, first_position, turn);

CREATE TABLE turn_cost (
    ledger     BLOB NOT NULL,
    turn       BLOB NOT NULL,
    currency   TEXT NOT NULL,
    costs      INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    cost_rest  INTEGER NOT NULL,
    PRIMARY KEY (ledger, turn, currency)
) STRICT, WITHOUT ROWID;

-- timeline

CREATE TABLE timeline (
    ledger        BLOB NOT NULL,
    session       BLOB NOT NULL,
    position      INTEGER NOT NULL,
    event_id      BLOB NOT NULL,
    event_type    TEXT NOT NULL,
    actor_kind    TEXT NOT NULL,
    actor         BLOB,
    turn          BLOB,
    call          BLOB,
    summary       TEXT,
    payload_bytes INTEGER,
    payload_state TEXT NOT NULL,
    provenance    TEXT NOT NULL,
    occurred_at   INTEGER NOT NULL,
    recorded_at   INTEGER NOT NULL,
    PRIMARY KEY (ledger, session, position)
) STRICT, WITHOUT ROWID;

-- messages

-- place is the number of the message in its session where the source gave one, else its position, which is greater
-- than any such number.
CREATE TABLE message (
    ledger           BLOB NOT NULL,
    session          BLOB NOT NULL,
    place            INTEGER NOT NULL,
    position         INTEGER NOT NULL,
    ordinal          INTEGER,
    event_type       TEXT NOT NULL,
    role             TEXT,
    turn             BLOB,
    call             BLOB,
    text             TEXT,
    text_form        TEXT,
    tool_calls       TEXT,
    parts            TEXT,
    name             TEXT,
    tool             TEXT,
    provider_call_id TEXT,
    requestor        TEXT,
    is_error         INTEGER NOT NULL,
    error            TEXT,
    message_id       BLOB,
    external_id      TEXT,
    channel          TEXT,
    ext              TEXT,
    erased           INTEGER NOT NULL,
    occurred_at      INTEGER NOT NULL,
    PRIMARY KEY (ledger, session, place, position)
) STRICT, WITHOUT ROWID;

-- tool_effects

CREATE TABLE tool (
    ledger            BLOB NOT NULL,
    name              TEXT NOT NULL,
    side_effect       TEXT NOT NULL,
    tool_kind         TEXT,
    description       TEXT,
    version           TEXT,
    schema_digest     TEXT,
    argument_schema   TEXT,
    compensation_tool TEXT,
    position          INTEGER NOT NULL,
    registered_at     INTEGER NOT NULL,
    PRIMARY KEY (ledger, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE tool_effect (
    ledger           BLOB NOT NULL,
    call             BLOB NOT NULL,
    session          BLOB,
    turn             BLOB,
    status           TEXT NOT NULL,
    tool             TEXT,
    side_effect      TEXT,
    tool_kind        TEXT,
    arguments        TEXT,
    arguments_form   TEXT,
    ordinal          INTEGER,
    message_ordinal  INTEGER,
    provider_call_id TEXT,
    requestor        TEXT,
    business_key     TEXT,
    action_digest    TEXT,
    result           TEXT,
    result_form      TEXT,
    error_type       TEXT,
    error            TEXT,
    external_ref     TEXT,
    attempts         INTEGER NOT NULL DEFAULT 0,
    proposed_at      INTEGER,
    started_at       INTEGER,
    ended_at         INTEGER,
    duration_us      INTEGER,
    intent_position  INTEGER,
    started_position INTEGER,
    outcome_position INTEGER,
    first_position   INTEGER NOT NULL,
    last_position    INTEGER NOT NULL,
    erased           INTEGER NOT NULL,
    PRIMARY KEY (ledger, call)
) STRICT, WITHOUT ROWID;

CREATE INDEX tool_effect_first ON tool_effect (ledger, first_position, call);
CREATE INDEX tool_effect_session ON tool_effect (ledger, session, first_position, call);
-- Calls that nobody knows the end of; few at any time.
CREATE INDEX tool_effect_open ON tool_effect (ledger, status, first_position, call)
    WHERE status IN ('proposed', 'deferred', 'started', 'outcome_unknown');

-- configuration; scope_id is empty for the whole tenant

CREATE TABLE config_version (
    ledger       BLOB NOT NULL,
    scope        TEXT NOT NULL,
    scope_id     TEXT NOT NULL,
    position     INTEGER NOT NULL,
    version      INTEGER NOT NULL,
    digest       TEXT,
    author       TEXT,
    actor        BLOB,
    reason       TEXT,
    published_at INTEGER NOT NULL,
    PRIMARY KEY (ledger, scope, scope_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE config_value (
    ledger   BLOB NOT NULL,
    scope    TEXT NOT NULL,
    scope_id TEXT NOT NULL,
    key      TEXT NOT NULL,
    position INTEGER NOT NULL,
    version  INTEGER NOT NULL,
    value    TEXT,
    PRIMARY KEY (ledger, scope, scope_id, key, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE config_active (
    ledger      BLOB NOT NULL,
    scope       TEXT NOT NULL,
    scope_id    TEXT NOT NULL,
    version     INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    active_from INTEGER NOT NULL,
    PRIMARY KEY (ledger, scope, scope_id)
) STRICT, WITHOUT ROWID;

-- usage

-- Which agent a session has and which tool a call: looked up when events are counted.
CREATE TABLE usage_session (
    ledger  BLOB NOT NULL,
    session BLOB NOT NULL,
    agent   TEXT NOT NULL,
    PRIMARY KEY (ledger, session)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_call (
    ledger BLOB NOT NULL,
    call   BLOB NOT NULL,
    tool   TEXT NOT NULL,
    PRIMARY KEY (ledger, call)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_day (
    ledger BLOB NOT NULL,
    day    INTEGER NOT NULL,
    agent  TEXT NOT NULL,
    model  TEXT NOT NULL,
    tool   TEXT NOT NULL,
    events                INTEGER NOT NULL DEFAULT 0,
    messages              INTEGER NOT NULL DEFAULT 0,
    user_messages         INTEGER NOT NULL DEFAULT 0,
    turns                 INTEGER NOT NULL DEFAULT 0,
    turns_committed       INTEGER NOT NULL DEFAULT 0,
    turns_failed          INTEGER NOT NULL DEFAULT 0,
    turns_superseded      INTEGER NOT NULL DEFAULT 0,
    turns_cancelled       INTEGER NOT NULL DEFAULT 0,
    turn_duration_us      INTEGER NOT NULL DEFAULT 0,
    turn_durations        INTEGER NOT NULL DEFAULT 0,
    tool_calls            INTEGER NOT NULL DEFAULT 0,
    write_calls           INTEGER NOT NULL DEFAULT 0,
    tool_results          INTEGER NOT NULL DEFAULT 0,
    tool_errors           INTEGER NOT NULL DEFAULT 0,
    tool_unknowns         INTEGER NOT NULL DEFAULT 0,
    tool_duration_us      INTEGER NOT NULL DEFAULT 0,
    tool_durations        INTEGER NOT NULL DEFAULT 0,
    llm_calls             INTEGER NOT NULL DEFAULT 0,
    llm_errors            INTEGER NOT NULL DEFAULT 0,
    llm_duration_us       INTEGER NOT NULL DEFAULT 0,
    llm_durations         INTEGER NOT NULL DEFAULT 0,
    input_tokens          INTEGER NOT NULL DEFAULT 0,
    input_known           INTEGER NOT NULL DEFAULT 0,
    output_tokens         INTEGER NOT NULL DEFAULT 0,
    output_known          INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens     INTEGER NOT NULL DEFAULT 0,
    cache_read_known      INTEGER NOT NULL DEFAULT 0,
    cache_creation_tokens INTEGER NOT NULL DEFAULT 0,
    cache_creation_known  INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens      INTEGER NOT NULL DEFAULT 0,
    reasoning_known       INTEGER NOT NULL DEFAULT 0,
    costs_known           INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (ledger, day, agent, model, tool)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_cost (
    ledger     BLOB NOT NULL,
    day        INTEGER NOT NULL,
    agent      TEXT NOT NULL,
    model      TEXT NOT NULL,
    currency   TEXT NOT NULL,
    costs      INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    cost_rest  INTEGER NOT NULL,
    PRIMARY KEY (ledger, day, agent, model, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE outcome_day (
    ledger      BLOB NOT NULL,
    day         INTEGER NOT NULL,
    agent       TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    turns       INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    durations   INTEGER NOT NULL,
    PRIMARY KEY (ledger, day, agent, outcome)
) STRICT, WITHOUT ROWID;

-- ledger_health

CREATE TABLE ledger_health (
    ledger            BLOB NOT NULL,
    records           INTEGER NOT NULL,
    leaf_bytes        INTEGER NOT NULL,
    payload_bytes     INTEGER NOT NULL,
    payloads_missing  INTEGER NOT NULL,
    first_recorded_at INTEGER NOT NULL,
    last_position     INTEGER NOT NULL,
    last_recorded_at  INTEGER NOT NULL,
    PRIMARY KEY (ledger)
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger_type (
    ledger            BLOB NOT NULL,
    event_type        TEXT NOT NULL,
    records           INTEGER NOT NULL,
    leaf_bytes        INTEGER NOT NULL,
    payload_bytes     INTEGER NOT NULL,
    payloads_missing  INTEGER NOT NULL,
    first_recorded_at INTEGER NOT NULL,
    last_position     INTEGER NOT NULL,
    last_recorded_at  INTEGER NOT NULL,
    PRIMARY KEY (ledger, event_type)
) STRICT, WITHOUT ROWID;
