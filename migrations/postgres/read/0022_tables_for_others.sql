-- Views under names and columns that stay, for the tools of others (docs/sql.md): made of what
-- `projections/src/bi/tables.rs` declares. Nobody but their owner reads these: the views of the schema ruche_bi are made of them,
-- and choose by the ledger.

-- A row is a session.
CREATE VIEW bi_sessions AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    encode(t.session, 'hex')::uuid::text AS session_id,
    t.external_id AS external_id,
    t.app AS app,
    t.agent AS agent,
    t.agent_version AS agent_version,
    t.interlocutor AS interlocutor,
    t.channel AS channel,
    t.scenario AS scenario,
    t.trial AS trial,
    t.provenance AS provenance,
    t.status AS status,
    TIMESTAMPTZ 'epoch' + t.started_at / 3600000000 * INTERVAL '1 hour'
        + t.started_at % 3600000000 * INTERVAL '1 microsecond' AS started_at,
    TIMESTAMPTZ 'epoch' + t.ended_at / 3600000000 * INTERVAL '1 hour'
        + t.ended_at % 3600000000 * INTERVAL '1 microsecond' AS ended_at,
    t.end_reason AS end_reason,
    TIMESTAMPTZ 'epoch' + t.last_at / 3600000000 * INTERVAL '1 hour'
        + t.last_at % 3600000000 * INTERVAL '1 microsecond' AS last_at,
    CAST(t.first_position >> 40 AS TEXT) || ':' || CAST(t.first_position & 1099511627775 AS TEXT) AS first_position,
    CAST(t.last_position >> 40 AS TEXT) || ':' || CAST(t.last_position & 1099511627775 AS TEXT) AS last_position,
    t.events AS events,
    t.messages AS messages,
    t.user_messages AS user_messages,
    t.turns AS turns,
    t.turns_committed AS turns_committed,
    t.turns_failed AS turns_failed,
    t.turns_superseded AS turns_superseded,
    t.turns_cancelled AS turns_cancelled,
    t.tool_calls AS tool_calls,
    t.write_calls AS write_calls,
    t.tool_errors AS tool_errors,
    t.tool_unknowns AS tool_unknowns,
    t.llm_calls AS llm_calls,
    t.llm_errors AS llm_errors,
    CASE WHEN t.input_known > 0 THEN t.input_tokens END AS input_tokens,
    t.input_known AS input_known,
    CASE WHEN t.output_known > 0 THEN t.output_tokens END AS output_tokens,
    t.output_known AS output_known,
    t.costs_known AS costs_known
FROM session t;

-- A row is what the model calls of a session cost in one currency.
CREATE VIEW bi_session_costs AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    encode(t.session, 'hex')::uuid::text AS session_id,
    t.currency AS currency,
    trim_scale(t.cost_units::numeric + t.cost_nanos * 0.000000001
        + t.cost_rest * 0.000000000000000000000000001) AS cost,
    t.costs AS costs
FROM session_cost t;

-- A row is a turn.
CREATE VIEW bi_turns AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    encode(t.turn, 'hex')::uuid::text AS turn_id,
    encode(t.session, 'hex')::uuid::text AS session_id,
    encode(t.lane, 'hex')::uuid::text AS lane_id,
    t.ordinal AS ordinal,
    t.external_id AS external_id,
    t.agent AS agent,
    t.opened_by AS opened_by,
    CASE t.status WHEN 'gathering' THEN 'accumulating' WHEN 'draining' THEN 'cancelling' ELSE t.status END AS status,
    t.outcome AS outcome,
    t.error_type AS error_type,
    t.attempts AS attempts,
    TIMESTAMPTZ 'epoch' + t.first_at / 3600000000 * INTERVAL '1 hour'
        + t.first_at % 3600000000 * INTERVAL '1 microsecond' AS first_at,
    TIMESTAMPTZ 'epoch' + t.opened_at / 3600000000 * INTERVAL '1 hour'
        + t.opened_at % 3600000000 * INTERVAL '1 microsecond' AS opened_at,
    TIMESTAMPTZ 'epoch' + t.sealed_at / 3600000000 * INTERVAL '1 hour'
        + t.sealed_at % 3600000000 * INTERVAL '1 microsecond' AS sealed_at,
    TIMESTAMPTZ 'epoch' + t.started_at / 3600000000 * INTERVAL '1 hour'
        + t.started_at % 3600000000 * INTERVAL '1 microsecond' AS started_at,
    TIMESTAMPTZ 'epoch' + t.ended_at / 3600000000 * INTERVAL '1 hour'
        + t.ended_at % 3600000000 * INTERVAL '1 microsecond' AS ended_at,
    t.duration_us AS duration_us,
    CAST(t.first_position >> 40 AS TEXT) || ':' || CAST(t.first_position & 1099511627775 AS TEXT) AS first_position,
    CAST(t.last_position >> 40 AS TEXT) || ':' || CAST(t.last_position & 1099511627775 AS TEXT) AS last_position,
    t.events AS events,
    t.messages AS messages,
    t.tool_calls AS tool_calls,
    t.tool_errors AS tool_errors,
    t.llm_calls AS llm_calls,
    t.llm_errors AS llm_errors,
    CASE WHEN t.input_known > 0 THEN t.input_tokens END AS input_tokens,
    t.input_known AS input_known,
    CASE WHEN t.output_known > 0 THEN t.output_tokens END AS output_tokens,
    t.output_known AS output_known,
    t.costs_known AS costs_known
FROM turn t;

-- A row is what the model calls of a turn cost in one currency.
CREATE VIEW bi_turn_costs AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    encode(t.turn, 'hex')::uuid::text AS turn_id,
    t.currency AS currency,
    trim_scale(t.cost_units::numeric + t.cost_nanos * 0.000000001
        + t.cost_rest * 0.000000000000000000000000001) AS cost,
    t.costs AS costs
FROM turn_cost t;

-- A row is a model call that was answered or failed.
CREATE VIEW bi_model_calls AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    encode(t.session, 'hex')::uuid::text AS session_id,
    encode(t.turn, 'hex')::uuid::text AS turn_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    t.event_type AS event_type,
    t.provenance AS provenance,
    TIMESTAMPTZ 'epoch' + t.occurred_at / 3600000000 * INTERVAL '1 hour'
        + t.occurred_at % 3600000000 * INTERVAL '1 microsecond' AS occurred_at,
    TIMESTAMPTZ 'epoch' + t.recorded_at / 3600000000 * INTERVAL '1 hour'
        + t.recorded_at % 3600000000 * INTERVAL '1 microsecond' AS recorded_at,
    trim_scale(t.cost_units::numeric + t.cost_nanos * 0.000000001
        + t.cost_rest * 0.000000000000000000000000001) AS cost,
    t.currency AS currency,
    t.payload_state AS payload_state
FROM timeline t WHERE t.event_type IN ('llm.responded', 'llm.embedded', 'llm.failed');

-- A row is a tool call and what became of it.
CREATE VIEW bi_tool_calls AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    encode(t.call, 'hex')::uuid::text AS call_id,
    encode(t.session, 'hex')::uuid::text AS session_id,
    encode(t.turn, 'hex')::uuid::text AS turn_id,
    encode(t.lane, 'hex')::uuid::text AS lane_id,
    t.tool AS tool,
    t.tool_kind AS tool_kind,
    t.side_effect AS side_effect,
    t.status AS status,
    t.not_executed_cause AS not_executed_cause,
    t.error_type AS error_type,
    t.requestor AS requestor,
    t.business_key AS business_key,
    t.ordinal AS ordinal,
    t.attempts AS attempts,
    TIMESTAMPTZ 'epoch' + t.proposed_at / 3600000000 * INTERVAL '1 hour'
        + t.proposed_at % 3600000000 * INTERVAL '1 microsecond' AS proposed_at,
    TIMESTAMPTZ 'epoch' + t.started_at / 3600000000 * INTERVAL '1 hour'
        + t.started_at % 3600000000 * INTERVAL '1 microsecond' AS started_at,
    TIMESTAMPTZ 'epoch' + t.ended_at / 3600000000 * INTERVAL '1 hour'
        + t.ended_at % 3600000000 * INTERVAL '1 microsecond' AS ended_at,
    t.duration_us AS duration_us,
    CAST(t.intent_position >> 40 AS TEXT) || ':' || CAST(t.intent_position & 1099511627775 AS TEXT) AS intent_position,
    CAST(t.outcome_position >> 40 AS TEXT) || ':' || CAST(t.outcome_position & 1099511627775 AS TEXT) AS outcome_position,
    t.erased <> 0 AS erased
FROM tool_effect t;

-- A row is what a tool was asked and what it answered.
CREATE VIEW bi_tool_call_texts AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    encode(t.call, 'hex')::uuid::text AS call_id,
    encode(t.session, 'hex')::uuid::text AS session_id,
    t.tool AS tool,
    t.arguments AS arguments,
    t.result AS result,
    t.error AS error,
    t.not_executed_reason AS not_executed_reason,
    t.erased <> 0 AS erased
FROM tool_effect t;

-- A row is a message of a conversation, without what it says.
CREATE VIEW bi_messages AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    encode(t.session, 'hex')::uuid::text AS session_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    t.ordinal AS ordinal,
    t.event_type AS event_type,
    t.role AS role,
    encode(t.turn, 'hex')::uuid::text AS turn_id,
    encode(t.call, 'hex')::uuid::text AS call_id,
    t.tool AS tool,
    t.is_error <> 0 AS is_error,
    encode(t.message_id, 'hex')::uuid::text AS message_id,
    t.external_id AS external_id,
    t.channel AS channel,
    t.erased <> 0 AS erased,
    TIMESTAMPTZ 'epoch' + t.occurred_at / 3600000000 * INTERVAL '1 hour'
        + t.occurred_at % 3600000000 * INTERVAL '1 microsecond' AS occurred_at
FROM message t;

-- A row is what a message says.
CREATE VIEW bi_message_texts AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    encode(t.session, 'hex')::uuid::text AS session_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    t.role AS role,
    t.name AS name,
    t.text AS text,
    t.tool_calls AS tool_calls,
    t.parts AS parts,
    t.erased <> 0 AS erased,
    TIMESTAMPTZ 'epoch' + t.occurred_at / 3600000000 * INTERVAL '1 hour'
        + t.occurred_at % 3600000000 * INTERVAL '1 microsecond' AS occurred_at
FROM message t;

-- A row is a version of a fact that an agent remembers.
CREATE VIEW bi_memory_facts AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    t.store AS store,
    t.record_id AS record_id,
    encode(t.session, 'hex')::uuid::text AS session_id,
    encode(t.turn, 'hex')::uuid::text AS turn_id,
    t.event_type AS event_type,
    t.about AS about,
    t.attribute AS attribute,
    t.content AS content,
    CAST(t.confidence AS DOUBLE PRECISION) AS confidence,
    TIMESTAMPTZ 'epoch' + t.valid_from / 3600000000 * INTERVAL '1 hour'
        + t.valid_from % 3600000000 * INTERVAL '1 microsecond' AS valid_from,
    TIMESTAMPTZ 'epoch' + t.valid_to / 3600000000 * INTERVAL '1 hour'
        + t.valid_to % 3600000000 * INTERVAL '1 microsecond' AS valid_to,
    t.extractor AS extractor,
    CAST(t.known >> 40 AS TEXT) || ':' || CAST(t.known & 1099511627775 AS TEXT) AS known,
    TIMESTAMPTZ 'epoch' + t.known_at / 3600000000 * INTERVAL '1 hour'
        + t.known_at % 3600000000 * INTERVAL '1 microsecond' AS known_at,
    t.dropped AS dropped,
    TIMESTAMPTZ 'epoch' + t.occurred_at / 3600000000 * INTERVAL '1 hour'
        + t.occurred_at % 3600000000 * INTERVAL '1 microsecond' AS occurred_at,
    TIMESTAMPTZ 'epoch' + t.recorded_at / 3600000000 * INTERVAL '1 hour'
        + t.recorded_at % 3600000000 * INTERVAL '1 microsecond' AS recorded_at
FROM memory_fact t;

-- A row is a scenario of a session, from its entry to its end.
CREATE VIEW bi_scenarios AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    encode(t.session, 'hex')::uuid::text AS session_id,
    t.scenario AS scenario,
    CAST(t.first_position >> 40 AS TEXT) || ':' || CAST(t.first_position & 1099511627775 AS TEXT) AS first_position,
    t.version AS version,
    t.status AS status,
    t.step AS step,
    TIMESTAMPTZ 'epoch' + t.entered_at / 3600000000 * INTERVAL '1 hour'
        + t.entered_at % 3600000000 * INTERVAL '1 microsecond' AS entered_at,
    TIMESTAMPTZ 'epoch' + t.ended_at / 3600000000 * INTERVAL '1 hour'
        + t.ended_at % 3600000000 * INTERVAL '1 microsecond' AS ended_at,
    t.outcome AS outcome,
    CAST(t.last_position >> 40 AS TEXT) || ':' || CAST(t.last_position & 1099511627775 AS TEXT) AS last_position
FROM scenario t;

-- A row is what a scenario went through: a step, a checkpoint or a migration.
CREATE VIEW bi_scenario_steps AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    encode(t.session, 'hex')::uuid::text AS session_id,
    t.scenario AS scenario,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    CAST(t.instance >> 40 AS TEXT) || ':' || CAST(t.instance & 1099511627775 AS TEXT) AS instance,
    t.kind AS kind,
    t.name AS name,
    t.from_name AS from_name,
    TIMESTAMPTZ 'epoch' + t.at / 3600000000 * INTERVAL '1 hour'
        + t.at % 3600000000 * INTERVAL '1 microsecond' AS entered_at,
    TIMESTAMPTZ 'epoch' + t.left_at / 3600000000 * INTERVAL '1 hour'
        + t.left_at % 3600000000 * INTERVAL '1 microsecond' AS left_at,
    t.outcome AS outcome,
    t.duration_us AS duration_us
FROM scenario_passage t;

-- A row is a request that people decide on.
CREATE VIEW bi_approvals AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    encode(t.approval, 'hex')::uuid::text AS approval_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    encode(t.session, 'hex')::uuid::text AS session_id,
    encode(t.turn, 'hex')::uuid::text AS turn_id,
    encode(t.call, 'hex')::uuid::text AS call_id,
    t.agent AS agent,
    t.tool AS tool,
    t.side_effect AS side_effect,
    t.business_key AS business_key,
    t.status AS status,
    t.decision AS decision,
    t.decided_by AS decided_by,
    TIMESTAMPTZ 'epoch' + t.requested_at / 3600000000 * INTERVAL '1 hour'
        + t.requested_at % 3600000000 * INTERVAL '1 microsecond' AS requested_at,
    TIMESTAMPTZ 'epoch' + t.expires_at / 3600000000 * INTERVAL '1 hour'
        + t.expires_at % 3600000000 * INTERVAL '1 microsecond' AS expires_at,
    TIMESTAMPTZ 'epoch' + t.decided_at / 3600000000 * INTERVAL '1 hour'
        + t.decided_at % 3600000000 * INTERVAL '1 microsecond' AS decided_at,
    TIMESTAMPTZ 'epoch' + t.consumed_at / 3600000000 * INTERVAL '1 hour'
        + t.consumed_at % 3600000000 * INTERVAL '1 microsecond' AS consumed_at
FROM approval t;

-- A row is what people were called for.
CREATE VIEW bi_interventions AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    t.kind AS kind,
    encode(t.lane, 'hex')::uuid::text AS lane_id,
    encode(t.session, 'hex')::uuid::text AS session_id,
    encode(t.turn, 'hex')::uuid::text AS turn_id,
    encode(t.call, 'hex')::uuid::text AS call_id,
    TIMESTAMPTZ 'epoch' + t.raised_at / 3600000000 * INTERVAL '1 hour'
        + t.raised_at % 3600000000 * INTERVAL '1 microsecond' AS raised_at,
    TIMESTAMPTZ 'epoch' + t.settled_at / 3600000000 * INTERVAL '1 hour'
        + t.settled_at % 3600000000 * INTERVAL '1 microsecond' AS settled_at,
    CAST(t.settled_position >> 40 AS TEXT) || ':' || CAST(t.settled_position & 1099511627775 AS TEXT) AS settled_position
FROM intervention t;

-- A row is a score: what a program, a model, a benchmark or a person judged.
CREATE VIEW bi_scores AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    encode(t.session, 'hex')::uuid::text AS session_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    t.name AS name,
    CAST(t.value AS DOUBLE PRECISION) AS value,
    t.label AS label,
    t.evaluator AS evaluator,
    t.evaluator_version AS evaluator_version,
    t.target AS target,
    encode(t.turn, 'hex')::uuid::text AS turn_id,
    encode(t.message, 'hex')::uuid::text AS message_id,
    encode(t.call, 'hex')::uuid::text AS call_id,
    TIMESTAMPTZ 'epoch' + t.occurred_at / 3600000000 * INTERVAL '1 hour'
        + t.occurred_at % 3600000000 * INTERVAL '1 microsecond' AS occurred_at
FROM session_score t;

-- A row is a version of a configuration, without its values.
CREATE VIEW bi_configurations AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    t.scope AS scope,
    NULLIF(t.scope_id, '') AS scope_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    t.version AS version,
    t.digest AS digest,
    t.author AS author,
    TIMESTAMPTZ 'epoch' + t.published_at / 3600000000 * INTERVAL '1 hour'
        + t.published_at % 3600000000 * INTERVAL '1 microsecond' AS published_at,
    CASE WHEN EXISTS (SELECT 1 FROM config_active a WHERE a.ledger = t.ledger AND a.scope = t.scope AND a.scope_id = t.scope_id AND a.version = t.version) THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END <> 0 AS is_active
FROM config_version t;

-- A row is what the model calls of a day used, by the columns before `calls`.
CREATE VIEW bi_model_usage_daily AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    TIMESTAMPTZ 'epoch' + t.bucket / 3600000000 * INTERVAL '1 hour'
        + t.bucket % 3600000000 * INTERVAL '1 microsecond' AS day,
    NULLIF(t.agent, '') AS agent,
    NULLIF(t.channel, '') AS channel,
    NULLIF(t.scenario, '') AS scenario,
    NULLIF(t.config, '') AS config,
    NULLIF(t.model, '') AS model,
    CAST(NULLIF(t.price, 0) >> 40 AS TEXT) || ':' || CAST(NULLIF(t.price, 0) & 1099511627775 AS TEXT) AS price_position,
    t.calls AS calls,
    t.errors AS errors,
    CASE WHEN t.input_known > 0 THEN t.input_tokens END AS input_tokens,
    t.input_known AS input_known,
    CASE WHEN t.output_known > 0 THEN t.output_tokens END AS output_tokens,
    t.output_known AS output_known,
    CASE WHEN t.cache_read_known > 0 THEN t.cache_read_tokens END AS cache_read_tokens,
    t.cache_read_known AS cache_read_known,
    t.costs_known AS costs_known
FROM analytics_model t WHERE t.grain = 2;

-- A row is what the model calls of a day cost in one currency.
CREATE VIEW bi_model_costs_daily AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    TIMESTAMPTZ 'epoch' + t.bucket / 3600000000 * INTERVAL '1 hour'
        + t.bucket % 3600000000 * INTERVAL '1 microsecond' AS day,
    NULLIF(t.agent, '') AS agent,
    NULLIF(t.channel, '') AS channel,
    NULLIF(t.scenario, '') AS scenario,
    NULLIF(t.config, '') AS config,
    NULLIF(t.model, '') AS model,
    t.currency AS currency,
    trim_scale(t.cost_units::numeric + t.cost_nanos * 0.000000001
        + t.cost_rest * 0.000000000000000000000000001) AS cost,
    t.costs AS costs
FROM analytics_cost t WHERE t.grain = 2;

-- A row is what became of the tool calls of a day.
CREATE VIEW bi_tool_usage_daily AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    TIMESTAMPTZ 'epoch' + t.bucket / 3600000000 * INTERVAL '1 hour'
        + t.bucket % 3600000000 * INTERVAL '1 microsecond' AS day,
    NULLIF(t.agent, '') AS agent,
    NULLIF(t.channel, '') AS channel,
    NULLIF(t.scenario, '') AS scenario,
    NULLIF(t.config, '') AS config,
    NULLIF(t.tool, '') AS tool,
    t.calls AS calls,
    t.starts AS starts,
    t.retries AS retries,
    t.results AS results,
    t.errors AS errors,
    t.unknowns AS unknowns,
    t.not_executed AS not_executed
FROM analytics_tool t WHERE t.grain = 2;

-- A row is how the turns of a day ended.
CREATE VIEW bi_turn_outcomes_daily AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    TIMESTAMPTZ 'epoch' + t.bucket / 3600000000 * INTERVAL '1 hour'
        + t.bucket % 3600000000 * INTERVAL '1 microsecond' AS day,
    NULLIF(t.agent, '') AS agent,
    NULLIF(t.channel, '') AS channel,
    NULLIF(t.scenario, '') AS scenario,
    NULLIF(t.config, '') AS config,
    NULLIF(t.outcome, '') AS outcome,
    NULLIF(t.stop, '') AS stop_reason,
    t.opened AS opened,
    t.ended AS ended,
    t.attempts_failed AS attempts_failed
FROM analytics_turn t WHERE t.grain = 2;

-- A row is what became of the requests for approval of a day.
CREATE VIEW bi_approvals_daily AS SELECT
    t.ledger AS ledger,
    encode(t.ledger, 'hex')::uuid::text AS ledger_id,
    TIMESTAMPTZ 'epoch' + t.bucket / 3600000000 * INTERVAL '1 hour'
        + t.bucket % 3600000000 * INTERVAL '1 microsecond' AS day,
    NULLIF(t.agent, '') AS agent,
    NULLIF(t.channel, '') AS channel,
    NULLIF(t.scenario, '') AS scenario,
    NULLIF(t.config, '') AS config,
    NULLIF(t.tool, '') AS tool,
    t.requested AS requested,
    t.approved AS approved,
    t.rejected AS rejected,
    t.expired AS expired,
    t.withdrawn AS withdrawn,
    t.consumed AS consumed
FROM analytics_approval t WHERE t.grain = 2;
