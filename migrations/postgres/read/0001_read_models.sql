-- Read models on PostgreSQL 15 or newer: the tables of one generation, made in whatever schema comes first in
-- search_path. Everything here is made from the ledger and can be made again, so it needs no backup.
--
-- The tables are those of the SQLite engine after its third migration (migrations/sqlite/read), because both engines run
-- the same statements and a test compares them row by row. Every table is keyed by ledger first.
-- Ids are 16 bytes. Times are microseconds since 1970 UTC. Positions are packed: epoch << 40 | index. Flags are 0 and 1.
-- Lists and free fields are JSON text. Text is compared byte by byte (collation "C"), whatever the database does.
-- Tables whose rows are counted up leave room in their pages, so that a new version of a row fits beside the old one and
-- no index changes.

-- Where each projection stands in each ledger. Moves in the transaction that writes the rows.
CREATE TABLE checkpoint (
    ledger      BYTEA NOT NULL,
    projection  TEXT COLLATE "C" NOT NULL,
    version     BIGINT NOT NULL,
    position    BIGINT NOT NULL,
    applied     BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (ledger, projection)
) WITH (fillfactor = 70);

-- Events that a projection could not apply. state: 'parked' or 'discarded'.
CREATE TABLE dead_letter (
    ledger      BYTEA NOT NULL,
    projection  TEXT COLLATE "C" NOT NULL,
    position    BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    event_type  TEXT COLLATE "C" NOT NULL,
    leaf        BYTEA NOT NULL,
    error       TEXT COLLATE "C" NOT NULL,
    attempts    BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    state       TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (ledger, projection, position)
);

-- sessions

CREATE TABLE session (
    ledger         BYTEA NOT NULL,
    session        BYTEA NOT NULL,
    external_id    TEXT COLLATE "C",
    app            TEXT COLLATE "C",
    agent          TEXT COLLATE "C",
    agent_version  TEXT COLLATE "C",
    interlocutor   TEXT COLLATE "C",
    channel        TEXT COLLATE "C",
    scenario       TEXT COLLATE "C",
    trial          BIGINT,
    attributes     TEXT COLLATE "C",
    provenance     TEXT COLLATE "C" NOT NULL,
    status         TEXT COLLATE "C" NOT NULL DEFAULT 'open',
    started_at     BIGINT NOT NULL,
    ended_at       BIGINT,
    end_reason     TEXT COLLATE "C",
    end_detail     TEXT COLLATE "C",
    first_position BIGINT NOT NULL,
    last_position  BIGINT NOT NULL,
    last_at        BIGINT NOT NULL,
    events                BIGINT NOT NULL DEFAULT 0,
    messages              BIGINT NOT NULL DEFAULT 0,
    user_messages         BIGINT NOT NULL DEFAULT 0,
    turns                 BIGINT NOT NULL DEFAULT 0,
    turns_committed       BIGINT NOT NULL DEFAULT 0,
    turns_failed          BIGINT NOT NULL DEFAULT 0,
    turns_superseded      BIGINT NOT NULL DEFAULT 0,
    turns_cancelled       BIGINT NOT NULL DEFAULT 0,
    turn_duration_us      BIGINT NOT NULL DEFAULT 0,
    turn_durations        BIGINT NOT NULL DEFAULT 0,
    tool_calls            BIGINT NOT NULL DEFAULT 0,
    write_calls           BIGINT NOT NULL DEFAULT 0,
    tool_results          BIGINT NOT NULL DEFAULT 0,
    tool_errors           BIGINT NOT NULL DEFAULT 0,
    tool_unknowns         BIGINT NOT NULL DEFAULT 0,
    tool_duration_us      BIGINT NOT NULL DEFAULT 0,
    tool_durations        BIGINT NOT NULL DEFAULT 0,
    llm_calls             BIGINT NOT NULL DEFAULT 0,
    llm_errors            BIGINT NOT NULL DEFAULT 0,
    llm_duration_us       BIGINT NOT NULL DEFAULT 0,
    llm_durations         BIGINT NOT NULL DEFAULT 0,
    input_tokens          BIGINT NOT NULL DEFAULT 0,
    input_known           BIGINT NOT NULL DEFAULT 0,
    output_tokens         BIGINT NOT NULL DEFAULT 0,
    output_known          BIGINT NOT NULL DEFAULT 0,
    cache_read_tokens     BIGINT NOT NULL DEFAULT 0,
    cache_read_known      BIGINT NOT NULL DEFAULT 0,
    cache_creation_tokens BIGINT NOT NULL DEFAULT 0,
    cache_creation_known  BIGINT NOT NULL DEFAULT 0,
    reasoning_tokens      BIGINT NOT NULL DEFAULT 0,
    reasoning_known       BIGINT NOT NULL DEFAULT 0,
    costs_known           BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (ledger, session)
) WITH (fillfactor = 70);

-- Neither index holds a counter, so counting does not touch them.
CREATE INDEX session_started ON session (ledger, started_at, session);
CREATE INDEX session_agent ON session (ledger, agent, started_at, session);

-- Money is kept in three columns that add up exactly: whole units, billionths below one unit, and the rest in units of
-- 10^-27 below one billionth.
CREATE TABLE session_cost (
    ledger     BYTEA NOT NULL,
    session    BYTEA NOT NULL,
    currency   TEXT COLLATE "C" NOT NULL,
    costs      BIGINT NOT NULL,
    cost_units BIGINT NOT NULL,
    cost_nanos BIGINT NOT NULL,
    cost_rest  BIGINT NOT NULL,
    PRIMARY KEY (ledger, session, currency)
) WITH (fillfactor = 70);

-- Scores of sessions. value is the decimal text of a floating-point number.
CREATE TABLE session_score (
    ledger            BYTEA NOT NULL,
    session           BYTEA NOT NULL,
    position          BIGINT NOT NULL,
    name              TEXT COLLATE "C" NOT NULL,
    value             TEXT COLLATE "C",
    label             TEXT COLLATE "C",
    explanation       TEXT COLLATE "C",
    evaluator         TEXT COLLATE "C",
    evaluator_version TEXT COLLATE "C",
    target            TEXT COLLATE "C" NOT NULL,
    turn              BYTEA,
    message           BYTEA,
    call              BYTEA,
    attributes        TEXT COLLATE "C",
    occurred_at       BIGINT NOT NULL,
    PRIMARY KEY (ledger, session, position)
);

-- turns

CREATE TABLE turn (
    ledger         BYTEA NOT NULL,
    turn           BYTEA NOT NULL,
    session        BYTEA,
    ordinal        BIGINT,
    external_id    TEXT COLLATE "C",
    agent          TEXT COLLATE "C",
    opened_by      TEXT COLLATE "C",
    status         TEXT COLLATE "C" NOT NULL DEFAULT 'gathering',
    outcome        TEXT COLLATE "C",
    error_type     TEXT COLLATE "C",
    error          TEXT COLLATE "C",
    attempts       BIGINT NOT NULL DEFAULT 0,
    opened_at      BIGINT,
    started_at     BIGINT,
    ended_at       BIGINT,
    duration_us    BIGINT,
    usage_total    TEXT COLLATE "C",
    cost_total     TEXT COLLATE "C",
    first_at       BIGINT NOT NULL,
    first_position BIGINT NOT NULL,
    last_position  BIGINT NOT NULL,
    events                BIGINT NOT NULL DEFAULT 0,
    messages              BIGINT NOT NULL DEFAULT 0,
    user_messages         BIGINT NOT NULL DEFAULT 0,
    turns                 BIGINT NOT NULL DEFAULT 0,
    turns_committed       BIGINT NOT NULL DEFAULT 0,
    turns_failed          BIGINT NOT NULL DEFAULT 0,
    turns_superseded      BIGINT NOT NULL DEFAULT 0,
    turns_cancelled       BIGINT NOT NULL DEFAULT 0,
    turn_duration_us      BIGINT NOT NULL DEFAULT 0,
    turn_durations        BIGINT NOT NULL DEFAULT 0,
    tool_calls            BIGINT NOT NULL DEFAULT 0,
    write_calls           BIGINT NOT NULL DEFAULT 0,
    tool_results          BIGINT NOT NULL DEFAULT 0,
    tool_errors           BIGINT NOT NULL DEFAULT 0,
    tool_unknowns         BIGINT NOT NULL DEFAULT 0,
    tool_duration_us      BIGINT NOT NULL DEFAULT 0,
    tool_durations        BIGINT NOT NULL DEFAULT 0,
    llm_calls             BIGINT NOT NULL DEFAULT 0,
    llm_errors            BIGINT NOT NULL DEFAULT 0,
    llm_duration_us       BIGINT NOT NULL DEFAULT 0,
    llm_durations         BIGINT NOT NULL DEFAULT 0,
    input_tokens          BIGINT NOT NULL DEFAULT 0,
    input_known           BIGINT NOT NULL DEFAULT 0,
    output_tokens         BIGINT NOT NULL DEFAULT 0,
    output_known          BIGINT NOT NULL DEFAULT 0,
    cache_read_tokens     BIGINT NOT NULL DEFAULT 0,
    cache_read_known      BIGINT NOT NULL DEFAULT 0,
    cache_creation_tokens BIGINT NOT NULL DEFAULT 0,
    cache_creation_known  BIGINT NOT NULL DEFAULT 0,
    reasoning_tokens      BIGINT NOT NULL DEFAULT 0,
    reasoning_known       BIGINT NOT NULL DEFAULT 0,
    costs_known           BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (ledger, turn)
) WITH (fillfactor = 70);

CREATE INDEX turn_first ON turn (ledger, first_position, turn);
CREATE INDEX turn_session ON turn (ledger, session, first_position, turn);

CREATE TABLE turn_cost (
    ledger     BYTEA NOT NULL,
    turn       BYTEA NOT NULL,
    currency   TEXT COLLATE "C" NOT NULL,
    costs      BIGINT NOT NULL,
    cost_units BIGINT NOT NULL,
    cost_nanos BIGINT NOT NULL,
    cost_rest  BIGINT NOT NULL,
    PRIMARY KEY (ledger, turn, currency)
) WITH (fillfactor = 70);

-- timeline

CREATE TABLE timeline (
    ledger        BYTEA NOT NULL,
    session       BYTEA NOT NULL,
    position      BIGINT NOT NULL,
    event_id      BYTEA NOT NULL,
    event_type    TEXT COLLATE "C" NOT NULL,
    actor_kind    TEXT COLLATE "C" NOT NULL,
    actor         BYTEA,
    turn          BYTEA,
    call          BYTEA,
    summary       TEXT COLLATE "C",
    payload_bytes BIGINT,
    payload_state TEXT COLLATE "C" NOT NULL,
    provenance    TEXT COLLATE "C" NOT NULL,
    occurred_at   BIGINT NOT NULL,
    recorded_at   BIGINT NOT NULL,
    PRIMARY KEY (ledger, session, position)
);

-- messages

-- place is the number of the message in its session where the source gave one, else its position, which is greater
-- than any such number.
CREATE TABLE message (
    ledger           BYTEA NOT NULL,
    session          BYTEA NOT NULL,
    place            BIGINT NOT NULL,
    position         BIGINT NOT NULL,
    ordinal          BIGINT,
    event_type       TEXT COLLATE "C" NOT NULL,
    role             TEXT COLLATE "C",
    turn             BYTEA,
    call             BYTEA,
    text             TEXT COLLATE "C",
    text_form        TEXT COLLATE "C",
    tool_calls       TEXT COLLATE "C",
    parts            TEXT COLLATE "C",
    name             TEXT COLLATE "C",
    tool             TEXT COLLATE "C",
    provider_call_id TEXT COLLATE "C",
    requestor        TEXT COLLATE "C",
    is_error         BIGINT NOT NULL,
    error            TEXT COLLATE "C",
    message_id       BYTEA,
    external_id      TEXT COLLATE "C",
    channel          TEXT COLLATE "C",
    ext              TEXT COLLATE "C",
    erased           BIGINT NOT NULL,
    occurred_at      BIGINT NOT NULL,
    PRIMARY KEY (ledger, session, place, position)
);

-- tool_effects

CREATE TABLE tool (
    ledger            BYTEA NOT NULL,
    name              TEXT COLLATE "C" NOT NULL,
    side_effect       TEXT COLLATE "C" NOT NULL,
    tool_kind         TEXT COLLATE "C",
    description       TEXT COLLATE "C",
    version           TEXT COLLATE "C",
    schema_digest     TEXT COLLATE "C",
    argument_schema   TEXT COLLATE "C",
    compensation_tool TEXT COLLATE "C",
    position          BIGINT NOT NULL,
    registered_at     BIGINT NOT NULL,
    PRIMARY KEY (ledger, name)
);

CREATE TABLE tool_effect (
    ledger           BYTEA NOT NULL,
    call             BYTEA NOT NULL,
    session          BYTEA,
    turn             BYTEA,
    status           TEXT COLLATE "C" NOT NULL,
    tool             TEXT COLLATE "C",
    side_effect      TEXT COLLATE "C",
    tool_kind        TEXT COLLATE "C",
    arguments        TEXT COLLATE "C",
    arguments_form   TEXT COLLATE "C",
    ordinal          BIGINT,
    message_ordinal  BIGINT,
    provider_call_id TEXT COLLATE "C",
    requestor        TEXT COLLATE "C",
    business_key     TEXT COLLATE "C",
    action_digest    TEXT COLLATE "C",
    result           TEXT COLLATE "C",
    result_form      TEXT COLLATE "C",
    error_type       TEXT COLLATE "C",
    error            TEXT COLLATE "C",
    external_ref     TEXT COLLATE "C",
    attempts         BIGINT NOT NULL DEFAULT 0,
    proposed_at      BIGINT,
    started_at       BIGINT,
    ended_at         BIGINT,
    duration_us      BIGINT,
    intent_position  BIGINT,
    started_position BIGINT,
    outcome_position BIGINT,
    first_position   BIGINT NOT NULL,
    last_position    BIGINT NOT NULL,
    erased           BIGINT NOT NULL,
    PRIMARY KEY (ledger, call)
);

CREATE INDEX tool_effect_first ON tool_effect (ledger, first_position, call);
CREATE INDEX tool_effect_session ON tool_effect (ledger, session, first_position, call);
-- Calls that nobody knows the end of; few at any time.
CREATE INDEX tool_effect_open ON tool_effect (ledger, status, first_position, call)
    WHERE status IN ('proposed', 'deferred', 'started', 'outcome_unknown');

-- configuration; scope_id is empty for the whole tenant

CREATE TABLE config_version (
    ledger       BYTEA NOT NULL,
    scope        TEXT COLLATE "C" NOT NULL,
    scope_id     TEXT COLLATE "C" NOT NULL,
    position     BIGINT NOT NULL,
    version      BIGINT NOT NULL,
    digest       TEXT COLLATE "C",
    author       TEXT COLLATE "C",
    actor        BYTEA,
    reason       TEXT COLLATE "C",
    published_at BIGINT NOT NULL,
    PRIMARY KEY (ledger, scope, scope_id, position)
);

CREATE TABLE config_value (
    ledger   BYTEA NOT NULL,
    scope    TEXT COLLATE "C" NOT NULL,
    scope_id TEXT COLLATE "C" NOT NULL,
    key      TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    version  BIGINT NOT NULL,
    value    TEXT COLLATE "C",
    PRIMARY KEY (ledger, scope, scope_id, key, position)
);

CREATE TABLE config_active (
    ledger      BYTEA NOT NULL,
    scope       TEXT COLLATE "C" NOT NULL,
    scope_id    TEXT COLLATE "C" NOT NULL,
    version     BIGINT NOT NULL,
    position    BIGINT NOT NULL,
    active_from BIGINT NOT NULL,
    PRIMARY KEY (ledger, scope, scope_id)
);

-- usage

-- Which agent a session has and which tool a call: looked up when events are counted.
CREATE TABLE usage_session (
    ledger  BYTEA NOT NULL,
    session BYTEA NOT NULL,
    agent   TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (ledger, session)
);

CREATE TABLE usage_call (
    ledger  BYTEA NOT NULL,
    session BYTEA NOT NULL,
    call    BYTEA NOT NULL,
    tool    TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (ledger, session, call)
);

CREATE TABLE usage_day (
    ledger BYTEA NOT NULL,
    day    BIGINT NOT NULL,
    agent  TEXT COLLATE "C" NOT NULL,
    model  TEXT COLLATE "C" NOT NULL,
    tool   TEXT COLLATE "C" NOT NULL,
    events                BIGINT NOT NULL DEFAULT 0,
    messages              BIGINT NOT NULL DEFAULT 0,
    user_messages         BIGINT NOT NULL DEFAULT 0,
    turns                 BIGINT NOT NULL DEFAULT 0,
    turns_committed       BIGINT NOT NULL DEFAULT 0,
    turns_failed          BIGINT NOT NULL DEFAULT 0,
    turns_superseded      BIGINT NOT NULL DEFAULT 0,
    turns_cancelled       BIGINT NOT NULL DEFAULT 0,
    turn_duration_us      BIGINT NOT NULL DEFAULT 0,
    turn_durations        BIGINT NOT NULL DEFAULT 0,
    tool_calls            BIGINT NOT NULL DEFAULT 0,
    write_calls           BIGINT NOT NULL DEFAULT 0,
    tool_results          BIGINT NOT NULL DEFAULT 0,
    tool_errors           BIGINT NOT NULL DEFAULT 0,
    tool_unknowns         BIGINT NOT NULL DEFAULT 0,
    tool_duration_us      BIGINT NOT NULL DEFAULT 0,
    tool_durations        BIGINT NOT NULL DEFAULT 0,
    llm_calls             BIGINT NOT NULL DEFAULT 0,
    llm_errors            BIGINT NOT NULL DEFAULT 0,
    llm_duration_us       BIGINT NOT NULL DEFAULT 0,
    llm_durations         BIGINT NOT NULL DEFAULT 0,
    input_tokens          BIGINT NOT NULL DEFAULT 0,
    input_known           BIGINT NOT NULL DEFAULT 0,
    output_tokens         BIGINT NOT NULL DEFAULT 0,
    output_known          BIGINT NOT NULL DEFAULT 0,
    cache_read_tokens     BIGINT NOT NULL DEFAULT 0,
    cache_read_known      BIGINT NOT NULL DEFAULT 0,
    cache_creation_tokens BIGINT NOT NULL DEFAULT 0,
    cache_creation_known  BIGINT NOT NULL DEFAULT 0,
    reasoning_tokens      BIGINT NOT NULL DEFAULT 0,
    reasoning_known       BIGINT NOT NULL DEFAULT 0,
    costs_known           BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (ledger, day, agent, model, tool)
) WITH (fillfactor = 70);

CREATE TABLE usage_cost (
    ledger     BYTEA NOT NULL,
    day        BIGINT NOT NULL,
    agent      TEXT COLLATE "C" NOT NULL,
    model      TEXT COLLATE "C" NOT NULL,
    currency   TEXT COLLATE "C" NOT NULL,
    costs      BIGINT NOT NULL,
    cost_units BIGINT NOT NULL,
    cost_nanos BIGINT NOT NULL,
    cost_rest  BIGINT NOT NULL,
    PRIMARY KEY (ledger, day, agent, model, currency)
) WITH (fillfactor = 70);

-- How each turn came out; a turn is told apart by its session, too.
CREATE TABLE turn_outcome (
    ledger      BYTEA NOT NULL,
    session     BYTEA NOT NULL,
    turn        BYTEA NOT NULL,
    day         BIGINT NOT NULL,
    agent       TEXT COLLATE "C" NOT NULL,
    outcome     TEXT COLLATE "C" NOT NULL,
    duration_us BIGINT,
    PRIMARY KEY (ledger, session, turn)
);

CREATE INDEX turn_outcome_day ON turn_outcome (ledger, day);

-- What turns used. kind: 'model' or 'tool'.
CREATE TABLE turn_use (
    ledger  BYTEA NOT NULL,
    session BYTEA NOT NULL,
    turn    BYTEA NOT NULL,
    kind    TEXT COLLATE "C" NOT NULL,
    name    TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (ledger, session, turn, kind, name)
);

-- ledger_health

CREATE TABLE ledger_health (
    ledger            BYTEA NOT NULL,
    records           BIGINT NOT NULL,
    leaf_bytes        BIGINT NOT NULL,
    payload_bytes     BIGINT NOT NULL,
    payloads_missing  BIGINT NOT NULL,
    first_recorded_at BIGINT NOT NULL,
    last_position     BIGINT NOT NULL,
    last_recorded_at  BIGINT NOT NULL,
    PRIMARY KEY (ledger)
) WITH (fillfactor = 70);

CREATE TABLE ledger_type (
    ledger            BYTEA NOT NULL,
    event_type        TEXT COLLATE "C" NOT NULL,
    records           BIGINT NOT NULL,
    leaf_bytes        BIGINT NOT NULL,
    payload_bytes     BIGINT NOT NULL,
    payloads_missing  BIGINT NOT NULL,
    first_recorded_at BIGINT NOT NULL,
    last_position     BIGINT NOT NULL,
    last_recorded_at  BIGINT NOT NULL,
    PRIMARY KEY (ledger, event_type)
) WITH (fillfactor = 70);

-- Programs read and write as the role ruche_app, which owns nothing. It sees the rows of the ledger that the setting
-- `ruche.ledger` names (32 hexadecimal digits), and without the setting none. The SELECT around it is evaluated once for
-- each statement, not once for each row.
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema() LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_ledger ON %I TO ruche_app '
            'USING (ledger = (SELECT decode(current_setting(''ruche.ledger'', true), ''hex'')))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO ruche_app', name);
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO ruche_app', current_schema());
END
$$;
