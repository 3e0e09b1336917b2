-- Read model for analysts: sums at three grains, from which every figure is added up. grain: 0 is a minute, 1 an hour, 2 a
-- day, all UTC; bucket is its start. What has no agent, channel, scenario, configuration, model or tool has empty text there.
-- Tables of sums are keyed by time behind the grain, so a question about a time reads one range of the key.
-- The projection that fills them is new, so a start makes them from the ledger.

-- What later events need to know of a session, a turn of a lane, a call and a request for approval.
CREATE TABLE analytics_session (
    ledger   BYTEA NOT NULL,
    session  BYTEA NOT NULL,
    agent    TEXT COLLATE "C" NOT NULL,
    channel  TEXT COLLATE "C" NOT NULL,
    scenario TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (ledger, session)
);

CREATE TABLE analytics_turn_mark (
    ledger    BYTEA NOT NULL,
    turn      BYTEA NOT NULL,
    config    TEXT COLLATE "C",
    opened_at BIGINT,
    sealed_at BIGINT,
    PRIMARY KEY (ledger, turn)
);

CREATE TABLE analytics_call (
    ledger     BYTEA NOT NULL,
    session    BYTEA NOT NULL,
    call       BYTEA NOT NULL,
    tool       TEXT COLLATE "C" NOT NULL,
    started_at BIGINT,
    PRIMARY KEY (ledger, session, call)
);

CREATE TABLE analytics_request (
    ledger       BYTEA NOT NULL,
    approval     BYTEA NOT NULL,
    tool         TEXT COLLATE "C" NOT NULL,
    requested_at BIGINT NOT NULL,
    PRIMARY KEY (ledger, approval)
);

-- Tables of prices, as they were told: JSON text. position is the record that brought one; it holds for calls that are recorded
-- behind it and happened at effective_from or later.
CREATE TABLE analytics_price (
    ledger         BYTEA NOT NULL,
    position       BIGINT NOT NULL,
    effective_from BIGINT NOT NULL,
    prices         TEXT COLLATE "C",
    PRIMARY KEY (ledger, position)
);

-- Model calls. price is the position of the table of prices that held, 0 where none did. The columns that begin with
-- priced_ are of the calls that told all that a price needs.
CREATE TABLE analytics_model (
    ledger                BYTEA NOT NULL,
    grain                 BIGINT NOT NULL,
    bucket                BIGINT NOT NULL,
    agent                 TEXT COLLATE "C" NOT NULL,
    channel               TEXT COLLATE "C" NOT NULL,
    scenario              TEXT COLLATE "C" NOT NULL,
    config                TEXT COLLATE "C" NOT NULL,
    model                 TEXT COLLATE "C" NOT NULL,
    price                 BIGINT NOT NULL,
    calls                 BIGINT NOT NULL,
    errors                BIGINT NOT NULL,
    input_tokens          BIGINT NOT NULL,
    input_known           BIGINT NOT NULL,
    output_tokens         BIGINT NOT NULL,
    output_known          BIGINT NOT NULL,
    cache_read_tokens     BIGINT NOT NULL,
    cache_read_known      BIGINT NOT NULL,
    cache_creation_tokens BIGINT NOT NULL,
    cache_creation_known  BIGINT NOT NULL,
    reasoning_tokens      BIGINT NOT NULL,
    reasoning_known       BIGINT NOT NULL,
    costs_known           BIGINT NOT NULL,
    priced                BIGINT NOT NULL,
    priced_input          BIGINT NOT NULL,
    priced_output         BIGINT NOT NULL,
    priced_cache_read     BIGINT NOT NULL,
    priced_cache_creation BIGINT NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, agent, channel, scenario, config, model, price)
) WITH (fillfactor = 70);

-- What model calls cost, as their sources say.
CREATE TABLE analytics_cost (
    ledger     BYTEA NOT NULL,
    grain      BIGINT NOT NULL,
    bucket     BIGINT NOT NULL,
    agent      TEXT COLLATE "C" NOT NULL,
    channel    TEXT COLLATE "C" NOT NULL,
    scenario   TEXT COLLATE "C" NOT NULL,
    config     TEXT COLLATE "C" NOT NULL,
    model      TEXT COLLATE "C" NOT NULL,
    currency   TEXT COLLATE "C" NOT NULL,
    costs      BIGINT NOT NULL,
    cost_units BIGINT NOT NULL,
    cost_nanos BIGINT NOT NULL,
    cost_rest  BIGINT NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, agent, channel, scenario, config, model, currency)
) WITH (fillfactor = 70);

-- Tool calls.
CREATE TABLE analytics_tool (
    ledger       BYTEA NOT NULL,
    grain        BIGINT NOT NULL,
    bucket       BIGINT NOT NULL,
    agent        TEXT COLLATE "C" NOT NULL,
    channel      TEXT COLLATE "C" NOT NULL,
    scenario     TEXT COLLATE "C" NOT NULL,
    config       TEXT COLLATE "C" NOT NULL,
    tool         TEXT COLLATE "C" NOT NULL,
    calls        BIGINT NOT NULL,
    unclassified BIGINT NOT NULL,
    starts       BIGINT NOT NULL,
    retries      BIGINT NOT NULL,
    results      BIGINT NOT NULL,
    errors       BIGINT NOT NULL,
    unknowns     BIGINT NOT NULL,
    not_executed BIGINT NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, agent, channel, scenario, config, tool)
) WITH (fillfactor = 70);

-- Turns. outcome and stop are empty where the row is not about the ends of turns.
CREATE TABLE analytics_turn (
    ledger          BYTEA NOT NULL,
    grain           BIGINT NOT NULL,
    bucket          BIGINT NOT NULL,
    agent           TEXT COLLATE "C" NOT NULL,
    channel         TEXT COLLATE "C" NOT NULL,
    scenario        TEXT COLLATE "C" NOT NULL,
    config          TEXT COLLATE "C" NOT NULL,
    outcome         TEXT COLLATE "C" NOT NULL,
    stop            TEXT COLLATE "C" NOT NULL,
    opened          BIGINT NOT NULL,
    sealed          BIGINT NOT NULL,
    sealed_messages BIGINT NOT NULL,
    ended           BIGINT NOT NULL,
    attempts_failed BIGINT NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, agent, channel, scenario, config, outcome, stop)
) WITH (fillfactor = 70);

-- Durations and waits. measure says of what; bin is the number of a log-linear bin, -1 where the duration is not known.
CREATE TABLE analytics_latency (
    ledger   BYTEA NOT NULL,
    grain    BIGINT NOT NULL,
    bucket   BIGINT NOT NULL,
    agent    TEXT COLLATE "C" NOT NULL,
    channel  TEXT COLLATE "C" NOT NULL,
    scenario TEXT COLLATE "C" NOT NULL,
    config   TEXT COLLATE "C" NOT NULL,
    measure  TEXT COLLATE "C" NOT NULL,
    model    TEXT COLLATE "C" NOT NULL,
    tool     TEXT COLLATE "C" NOT NULL,
    bin      BIGINT NOT NULL,
    n        BIGINT NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, agent, channel, scenario, config, measure, model, tool, bin)
) WITH (fillfactor = 70);

-- Requests for approval.
CREATE TABLE analytics_approval (
    ledger    BYTEA NOT NULL,
    grain     BIGINT NOT NULL,
    bucket    BIGINT NOT NULL,
    agent     TEXT COLLATE "C" NOT NULL,
    channel   TEXT COLLATE "C" NOT NULL,
    scenario  TEXT COLLATE "C" NOT NULL,
    config    TEXT COLLATE "C" NOT NULL,
    tool      TEXT COLLATE "C" NOT NULL,
    requested BIGINT NOT NULL,
    approved  BIGINT NOT NULL,
    rejected  BIGINT NOT NULL,
    expired   BIGINT NOT NULL,
    withdrawn BIGINT NOT NULL,
    consumed  BIGINT NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, agent, channel, scenario, config, tool)
) WITH (fillfactor = 70);

-- Scores. The sum of their values is kept as money is, which is exact.
CREATE TABLE analytics_score (
    ledger     BYTEA NOT NULL,
    grain      BIGINT NOT NULL,
    bucket     BIGINT NOT NULL,
    agent      TEXT COLLATE "C" NOT NULL,
    channel    TEXT COLLATE "C" NOT NULL,
    scenario   TEXT COLLATE "C" NOT NULL,
    config     TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    scores     BIGINT NOT NULL,
    told       BIGINT NOT NULL,
    cost_units BIGINT NOT NULL,
    cost_nanos BIGINT NOT NULL,
    cost_rest  BIGINT NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, agent, channel, scenario, config, name)
) WITH (fillfactor = 70);

-- How events came in, by when the ledger took them.
CREATE TABLE analytics_ingest (
    ledger       BYTEA NOT NULL,
    grain        BIGINT NOT NULL,
    bucket       BIGINT NOT NULL,
    provenance   TEXT COLLATE "C" NOT NULL,
    events       BIGINT NOT NULL,
    late         BIGINT NOT NULL,
    gaps         BIGINT NOT NULL,
    missing      BIGINT NOT NULL,
    unclassified BIGINT NOT NULL,
    erased       BIGINT NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, provenance)
) WITH (fillfactor = 70);

-- What was done in vain is read from the turns themselves, of which few are superseded.
CREATE INDEX turn_superseded ON turn (ledger, ended_at) WHERE status = 'superseded';

-- As for the tables of the first migration.
ALTER TABLE analytics_session ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON analytics_session TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON analytics_session TO ruche_app;
ALTER TABLE analytics_turn_mark ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON analytics_turn_mark TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON analytics_turn_mark TO ruche_app;
ALTER TABLE analytics_call ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON analytics_call TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON analytics_call TO ruche_app;
ALTER TABLE analytics_request ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON analytics_request TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON analytics_request TO ruche_app;
ALTER TABLE analytics_price ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON analytics_price TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON analytics_price TO ruche_app;
ALTER TABLE analytics_model ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON analytics_model TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON analytics_model TO ruche_app;
ALTER TABLE analytics_cost ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON analytics_cost TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON analytics_cost TO ruche_app;
ALTER TABLE analytics_tool ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON analytics_tool TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON analytics_tool TO ruche_app;
ALTER TABLE analytics_turn ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON analytics_turn TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON analytics_turn TO ruche_app;
ALTER TABLE analytics_latency ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON analytics_latency TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON analytics_latency TO ruche_app;
ALTER TABLE analytics_approval ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON analytics_approval TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON analytics_approval TO ruche_app;
ALTER TABLE analytics_score ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON analytics_score TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON analytics_score TO ruche_app;
ALTER TABLE analytics_ingest ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON analytics_ingest TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON analytics_ingest TO ruche_app;
