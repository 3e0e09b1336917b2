-- Read model for analysts: sums at three grains, from which every figure is added up. grain: 0 is a minute, 1 an hour, 2 a
-- day, all UTC; bucket is its start. What has no agent, channel, scenario, configuration, model or tool has empty text there.
-- Tables of sums are keyed by time behind the grain, so a question about a time reads one range of the key.
-- The projection that fills them is new, so a start makes them from the ledger.

-- What later events need to know of a session, a turn of a lane, a call and a request for approval.
CREATE TABLE analytics_session (
    ledger   BLOB NOT NULL,
    session  BLOB NOT NULL,
    agent    TEXT NOT NULL,
    channel  TEXT NOT NULL,
    scenario TEXT NOT NULL,
    PRIMARY KEY (ledger, session)
) STRICT, WITHOUT ROWID;

CREATE TABLE analytics_turn_mark (
    ledger    BLOB NOT NULL,
    turn      BLOB NOT NULL,
    config    TEXT,
    opened_at INTEGER,
    sealed_at INTEGER,
    PRIMARY KEY (ledger, turn)
) STRICT, WITHOUT ROWID;

CREATE TABLE analytics_call (
    ledger     BLOB NOT NULL,
    session    BLOB NOT NULL,
    call       BLOB NOT NULL,
    tool       TEXT NOT NULL,
    started_at INTEGER,
    PRIMARY KEY (ledger, session, call)
) STRICT, WITHOUT ROWID;

CREATE TABLE analytics_request (
    ledger       BLOB NOT NULL,
    approval     BLOB NOT NULL,
    tool         TEXT NOT NULL,
    requested_at INTEGER NOT NULL,
    PRIMARY KEY (ledger, approval)
) STRICT, WITHOUT ROWID;

-- Tables of prices, as they were told: JSON text. position is the record that brought one; it holds for calls that are recorded
-- behind it and happened at effective_from or later.
CREATE TABLE analytics_price (
    ledger         BLOB NOT NULL,
    position       INTEGER NOT NULL,
    effective_from INTEGER NOT NULL,
    prices         TEXT,
    PRIMARY KEY (ledger, position)
) STRICT, WITHOUT ROWID;

-- Model calls. price is the position of the table of prices that held, 0 where none did. The columns that begin with
-- priced_ are of the calls that told all that a price needs.
CREATE TABLE analytics_model (
    ledger                BLOB NOT NULL,
    grain                 INTEGER NOT NULL,
    bucket                INTEGER NOT NULL,
    agent                 TEXT NOT NULL,
    channel               TEXT NOT NULL,
    scenario              TEXT NOT NULL,
    config                TEXT NOT NULL,
    model                 TEXT NOT NULL,
    price                 INTEGER NOT NULL,
    calls                 INTEGER NOT NULL,
    errors                INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    input_known           INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    output_known          INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    cache_read_known      INTEGER NOT NULL,
    cache_creation_tokens INTEGER NOT NULL,
    cache_creation_known  INTEGER NOT NULL,
    reasoning_tokens      INTEGER NOT NULL,
    reasoning_known       INTEGER NOT NULL,
    costs_known           INTEGER NOT NULL,
    priced                INTEGER NOT NULL,
    priced_input          INTEGER NOT NULL,
    priced_output         INTEGER NOT NULL,
    priced_cache_read     INTEGER NOT NULL,
    priced_cache_creation INTEGER NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, agent, channel, scenario, config, model, price)
) STRICT, WITHOUT ROWID;

-- What model calls cost, as their sources say.
CREATE TABLE analytics_cost (
    ledger     BLOB NOT NULL,
    grain      INTEGER NOT NULL,
    bucket     INTEGER NOT NULL,
    agent      TEXT NOT NULL,
    channel    TEXT NOT NULL,
    scenario   TEXT NOT NULL,
    config     TEXT NOT NULL,
    model      TEXT NOT NULL,
    currency   TEXT NOT NULL,
    costs      INTEGER NOT NULL,
    cost_units INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    cost_rest  INTEGER NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, agent, channel, scenario, config, model, currency)
) STRICT, WITHOUT ROWID;

-- Tool calls.
CREATE TABLE analytics_tool (
    ledger       BLOB NOT NULL,
    grain        INTEGER NOT NULL,
    bucket       INTEGER NOT NULL,
    agent        TEXT NOT NULL,
    channel      TEXT NOT NULL,
    scenario     TEXT NOT NULL,
    config       TEXT NOT NULL,
    tool         TEXT NOT NULL,
    calls        INTEGER NOT NULL,
    unclassified INTEGER NOT NULL,
    starts       INTEGER NOT NULL,
    retries      INTEGER NOT NULL,
    results      INTEGER NOT NULL,
    errors       INTEGER NOT NULL,
    unknowns     INTEGER NOT NULL,
    not_executed INTEGER NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, agent, channel, scenario, config, tool)
) STRICT, WITHOUT ROWID;

-- Turns. outcome and stop are empty where the row is not about the ends of turns.
CREATE TABLE analytics_turn (
    ledger          BLOB NOT NULL,
    grain           INTEGER NOT NULL,
    bucket          INTEGER NOT NULL,
    agent           TEXT NOT NULL,
    channel         TEXT NOT NULL,
    scenario        TEXT NOT NULL,
    config          TEXT NOT NULL,
    outcome         TEXT NOT NULL,
    stop            TEXT NOT NULL,
    opened          INTEGER NOT NULL,
    sealed          INTEGER NOT NULL,
    sealed_messages INTEGER NOT NULL,
    ended           INTEGER NOT NULL,
    attempts_failed INTEGER NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, agent, channel, scenario, config, outcome, stop)
) STRICT, WITHOUT ROWID;

-- Durations and waits. measure says of what; bin is the number of a log-linear bin, -1 where the duration is not known.
CREATE TABLE analytics_latency (
    ledger   BLOB NOT NULL,
    grain    INTEGER NOT NULL,
    bucket   INTEGER NOT NULL,
    agent    TEXT NOT NULL,
    channel  TEXT NOT NULL,
    scenario TEXT NOT NULL,
    config   TEXT NOT NULL,
    measure  TEXT NOT NULL,
    model    TEXT NOT NULL,
    tool     TEXT NOT NULL,
    bin      INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, agent, channel, scenario, config, measure, model, tool, bin)
) STRICT, WITHOUT ROWID;

-- Requests for approval.
CREATE TABLE analytics_approval (
    ledger    BLOB NOT NULL,
    grain     INTEGER NOT NULL,
    bucket    INTEGER NOT NULL,
    agent     TEXT NOT NULL,
    channel   TEXT NOT NULL,
    scenario  TEXT NOT NULL,
    config    TEXT NOT NULL,
    tool      TEXT NOT NULL,
    requested INTEGER NOT NULL,
    approved  INTEGER NOT NULL,
    rejected  INTEGER NOT NULL,
    expired   INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL,
    consumed  INTEGER NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, agent, channel, scenario, config, tool)
) STRICT, WITHOUT ROWID;

-- Scores. The sum of their values is kept as money is, which is exact.
CREATE TABLE analytics_score (
    ledger     BLOB NOT NULL,
    grain      INTEGER NOT NULL,
    bucket     INTEGER NOT NULL,
    agent      TEXT NOT NULL,
    channel    TEXT NOT NULL,
    scenario   TEXT NOT NULL,
    config     TEXT NOT NULL,
    name       TEXT NOT NULL,
    scores     INTEGER NOT NULL,
    told       INTEGER NOT NULL,
    cost_units INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    cost_rest  INTEGER NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, agent, channel, scenario, config, name)
) STRICT, WITHOUT ROWID;

-- How events came in, by when the ledger took them.
CREATE TABLE analytics_ingest (
    ledger       BLOB NOT NULL,
    grain        INTEGER NOT NULL,
    bucket       INTEGER NOT NULL,
    provenance   TEXT NOT NULL,
    events       INTEGER NOT NULL,
    late         INTEGER NOT NULL,
    gaps         INTEGER NOT NULL,
    missing      INTEGER NOT NULL,
    unclassified INTEGER NOT NULL,
    erased       INTEGER NOT NULL,
    PRIMARY KEY (ledger, grain, bucket, provenance)
) STRICT, WITHOUT ROWID;

-- What was done in vain is read from the turns themselves, of which few are superseded.
CREATE INDEX turn_superseded ON turn (ledger, ended_at) WHERE status = 'superseded';
