-- Views under names and columns that stay, for the tools of others (docs/sql.md): made of what
-- `projections/src/bi/tables.rs` declares. They show all ledgers: whoever reads the file sees them anyhow.

-- A row is a session.
CREATE VIEW bi_sessions AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CASE WHEN t.session IS NOT NULL THEN lower(substr(hex(t.session), 1, 8)
        || '-' || substr(hex(t.session), 9, 4)
        || '-' || substr(hex(t.session), 13, 4)
        || '-' || substr(hex(t.session), 17, 4)
        || '-' || substr(hex(t.session), 21, 12)) END AS session_id,
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
    strftime('%Y-%m-%dT%H:%M:%S', t.started_at / 1000000, 'unixepoch') || printf('.%06dZ', t.started_at % 1000000) AS started_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.ended_at / 1000000, 'unixepoch') || printf('.%06dZ', t.ended_at % 1000000) AS ended_at,
    t.end_reason AS end_reason,
    strftime('%Y-%m-%dT%H:%M:%S', t.last_at / 1000000, 'unixepoch') || printf('.%06dZ', t.last_at % 1000000) AS last_at,
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
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CASE WHEN t.session IS NOT NULL THEN lower(substr(hex(t.session), 1, 8)
        || '-' || substr(hex(t.session), 9, 4)
        || '-' || substr(hex(t.session), 13, 4)
        || '-' || substr(hex(t.session), 17, 4)
        || '-' || substr(hex(t.session), 21, 12)) END AS session_id,
    t.currency AS currency,
    CASE WHEN t.cost_units IS NULL THEN NULL
        WHEN t.cost_nanos = 0 AND t.cost_rest = 0 THEN CAST(t.cost_units AS TEXT)
        WHEN t.cost_units < 0 AND (t.cost_nanos > 0 OR t.cost_rest > 0) AND t.cost_rest = 0
        THEN '-' || (-1 - t.cost_units) || '.' || rtrim(printf('%09d', 1000000000 - t.cost_nanos), '0')
        WHEN t.cost_units < 0 AND (t.cost_nanos > 0 OR t.cost_rest > 0) THEN '-' || (-1 - t.cost_units) || '.'
        || rtrim(printf('%09d%018d', 999999999 - t.cost_nanos, 1000000000000000000 - t.cost_rest), '0')
        ELSE t.cost_units || '.' || rtrim(printf('%09d%018d', t.cost_nanos, t.cost_rest), '0') END AS cost,
    t.costs AS costs
FROM session_cost t;

-- A row is a turn.
CREATE VIEW bi_turns AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CASE WHEN t.turn IS NOT NULL THEN lower(substr(hex(t.turn), 1, 8)
        || '-' || substr(hex(t.turn), 9, 4)
        || '-' || substr(hex(t.turn), 13, 4)
        || '-' || substr(hex(t.turn), 17, 4)
        || '-' || substr(hex(t.turn), 21, 12)) END AS turn_id,
    CASE WHEN t.session IS NOT NULL THEN lower(substr(hex(t.session), 1, 8)
        || '-' || substr(hex(t.session), 9, 4)
        || '-' || substr(hex(t.session), 13, 4)
        || '-' || substr(hex(t.session), 17, 4)
        || '-' || substr(hex(t.session), 21, 12)) END AS session_id,
    CASE WHEN t.lane IS NOT NULL THEN lower(substr(hex(t.lane), 1, 8)
        || '-' || substr(hex(t.lane), 9, 4)
        || '-' || substr(hex(t.lane), 13, 4)
        || '-' || substr(hex(t.lane), 17, 4)
        || '-' || substr(hex(t.lane), 21, 12)) END AS lane_id,
    t.ordinal AS ordinal,
    t.external_id AS external_id,
    t.agent AS agent,
    t.opened_by AS opened_by,
    CASE t.status WHEN 'gathering' THEN 'accumulating' WHEN 'draining' THEN 'cancelling' ELSE t.status END AS status,
    t.outcome AS outcome,
    t.error_type AS error_type,
    t.attempts AS attempts,
    strftime('%Y-%m-%dT%H:%M:%S', t.first_at / 1000000, 'unixepoch') || printf('.%06dZ', t.first_at % 1000000) AS first_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.opened_at / 1000000, 'unixepoch') || printf('.%06dZ', t.opened_at % 1000000) AS opened_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.sealed_at / 1000000, 'unixepoch') || printf('.%06dZ', t.sealed_at % 1000000) AS sealed_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.started_at / 1000000, 'unixepoch') || printf('.%06dZ', t.started_at % 1000000) AS started_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.ended_at / 1000000, 'unixepoch') || printf('.%06dZ', t.ended_at % 1000000) AS ended_at,
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
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CASE WHEN t.turn IS NOT NULL THEN lower(substr(hex(t.turn), 1, 8)
        || '-' || substr(hex(t.turn), 9, 4)
        || '-' || substr(hex(t.turn), 13, 4)
        || '-' || substr(hex(t.turn), 17, 4)
        || '-' || substr(hex(t.turn), 21, 12)) END AS turn_id,
    t.currency AS currency,
    CASE WHEN t.cost_units IS NULL THEN NULL
        WHEN t.cost_nanos = 0 AND t.cost_rest = 0 THEN CAST(t.cost_units AS TEXT)
        WHEN t.cost_units < 0 AND (t.cost_nanos > 0 OR t.cost_rest > 0) AND t.cost_rest = 0
        THEN '-' || (-1 - t.cost_units) || '.' || rtrim(printf('%09d', 1000000000 - t.cost_nanos), '0')
        WHEN t.cost_units < 0 AND (t.cost_nanos > 0 OR t.cost_rest > 0) THEN '-' || (-1 - t.cost_units) || '.'
        || rtrim(printf('%09d%018d', 999999999 - t.cost_nanos, 1000000000000000000 - t.cost_rest), '0')
        ELSE t.cost_units || '.' || rtrim(printf('%09d%018d', t.cost_nanos, t.cost_rest), '0') END AS cost,
    t.costs AS costs
FROM turn_cost t;

-- A row is a model call that was answered or failed.
CREATE VIEW bi_model_calls AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CASE WHEN t.session IS NOT NULL THEN lower(substr(hex(t.session), 1, 8)
        || '-' || substr(hex(t.session), 9, 4)
        || '-' || substr(hex(t.session), 13, 4)
        || '-' || substr(hex(t.session), 17, 4)
        || '-' || substr(hex(t.session), 21, 12)) END AS session_id,
    CASE WHEN t.turn IS NOT NULL THEN lower(substr(hex(t.turn), 1, 8)
        || '-' || substr(hex(t.turn), 9, 4)
        || '-' || substr(hex(t.turn), 13, 4)
        || '-' || substr(hex(t.turn), 17, 4)
        || '-' || substr(hex(t.turn), 21, 12)) END AS turn_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    t.event_type AS event_type,
    t.provenance AS provenance,
    strftime('%Y-%m-%dT%H:%M:%S', t.occurred_at / 1000000, 'unixepoch') || printf('.%06dZ', t.occurred_at % 1000000) AS occurred_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.recorded_at / 1000000, 'unixepoch') || printf('.%06dZ', t.recorded_at % 1000000) AS recorded_at,
    CASE WHEN t.cost_units IS NULL THEN NULL
        WHEN t.cost_nanos = 0 AND t.cost_rest = 0 THEN CAST(t.cost_units AS TEXT)
        WHEN t.cost_units < 0 AND (t.cost_nanos > 0 OR t.cost_rest > 0) AND t.cost_rest = 0
        THEN '-' || (-1 - t.cost_units) || '.' || rtrim(printf('%09d', 1000000000 - t.cost_nanos), '0')
        WHEN t.cost_units < 0 AND (t.cost_nanos > 0 OR t.cost_rest > 0) THEN '-' || (-1 - t.cost_units) || '.'
        || rtrim(printf('%09d%018d', 999999999 - t.cost_nanos, 1000000000000000000 - t.cost_rest), '0')
        ELSE t.cost_units || '.' || rtrim(printf('%09d%018d', t.cost_nanos, t.cost_rest), '0') END AS cost,
    t.currency AS currency,
    t.payload_state AS payload_state
FROM timeline t WHERE t.event_type IN ('llm.responded', 'llm.embedded', 'llm.failed');

-- A row is a tool call and what became of it.
CREATE VIEW bi_tool_calls AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CASE WHEN t.call IS NOT NULL THEN lower(substr(hex(t.call), 1, 8)
        || '-' || substr(hex(t.call), 9, 4)
        || '-' || substr(hex(t.call), 13, 4)
        || '-' || substr(hex(t.call), 17, 4)
        || '-' || substr(hex(t.call), 21, 12)) END AS call_id,
    CASE WHEN t.session IS NOT NULL THEN lower(substr(hex(t.session), 1, 8)
        || '-' || substr(hex(t.session), 9, 4)
        || '-' || substr(hex(t.session), 13, 4)
        || '-' || substr(hex(t.session), 17, 4)
        || '-' || substr(hex(t.session), 21, 12)) END AS session_id,
    CASE WHEN t.turn IS NOT NULL THEN lower(substr(hex(t.turn), 1, 8)
        || '-' || substr(hex(t.turn), 9, 4)
        || '-' || substr(hex(t.turn), 13, 4)
        || '-' || substr(hex(t.turn), 17, 4)
        || '-' || substr(hex(t.turn), 21, 12)) END AS turn_id,
    CASE WHEN t.lane IS NOT NULL THEN lower(substr(hex(t.lane), 1, 8)
        || '-' || substr(hex(t.lane), 9, 4)
        || '-' || substr(hex(t.lane), 13, 4)
        || '-' || substr(hex(t.lane), 17, 4)
        || '-' || substr(hex(t.lane), 21, 12)) END AS lane_id,
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
    strftime('%Y-%m-%dT%H:%M:%S', t.proposed_at / 1000000, 'unixepoch') || printf('.%06dZ', t.proposed_at % 1000000) AS proposed_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.started_at / 1000000, 'unixepoch') || printf('.%06dZ', t.started_at % 1000000) AS started_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.ended_at / 1000000, 'unixepoch') || printf('.%06dZ', t.ended_at % 1000000) AS ended_at,
    t.duration_us AS duration_us,
    CAST(t.intent_position >> 40 AS TEXT) || ':' || CAST(t.intent_position & 1099511627775 AS TEXT) AS intent_position,
    CAST(t.outcome_position >> 40 AS TEXT) || ':' || CAST(t.outcome_position & 1099511627775 AS TEXT) AS outcome_position,
    t.erased AS erased
FROM tool_effect t;

-- A row is what a tool was asked and what it answered.
CREATE VIEW bi_tool_call_texts AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CASE WHEN t.call IS NOT NULL THEN lower(substr(hex(t.call), 1, 8)
        || '-' || substr(hex(t.call), 9, 4)
        || '-' || substr(hex(t.call), 13, 4)
        || '-' || substr(hex(t.call), 17, 4)
        || '-' || substr(hex(t.call), 21, 12)) END AS call_id,
    CASE WHEN t.session IS NOT NULL THEN lower(substr(hex(t.session), 1, 8)
        || '-' || substr(hex(t.session), 9, 4)
        || '-' || substr(hex(t.session), 13, 4)
        || '-' || substr(hex(t.session), 17, 4)
        || '-' || substr(hex(t.session), 21, 12)) END AS session_id,
    t.tool AS tool,
    t.arguments AS arguments,
    t.result AS result,
    t.error AS error,
    t.not_executed_reason AS not_executed_reason,
    t.erased AS erased
FROM tool_effect t;

-- A row is a message of a conversation, without what it says.
CREATE VIEW bi_messages AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CASE WHEN t.session IS NOT NULL THEN lower(substr(hex(t.session), 1, 8)
        || '-' || substr(hex(t.session), 9, 4)
        || '-' || substr(hex(t.session), 13, 4)
        || '-' || substr(hex(t.session), 17, 4)
        || '-' || substr(hex(t.session), 21, 12)) END AS session_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    t.ordinal AS ordinal,
    t.event_type AS event_type,
    t.role AS role,
    CASE WHEN t.turn IS NOT NULL THEN lower(substr(hex(t.turn), 1, 8)
        || '-' || substr(hex(t.turn), 9, 4)
        || '-' || substr(hex(t.turn), 13, 4)
        || '-' || substr(hex(t.turn), 17, 4)
        || '-' || substr(hex(t.turn), 21, 12)) END AS turn_id,
    CASE WHEN t.call IS NOT NULL THEN lower(substr(hex(t.call), 1, 8)
        || '-' || substr(hex(t.call), 9, 4)
        || '-' || substr(hex(t.call), 13, 4)
        || '-' || substr(hex(t.call), 17, 4)
        || '-' || substr(hex(t.call), 21, 12)) END AS call_id,
    t.tool AS tool,
    t.is_error AS is_error,
    CASE WHEN t.message_id IS NOT NULL THEN lower(substr(hex(t.message_id), 1, 8)
        || '-' || substr(hex(t.message_id), 9, 4)
        || '-' || substr(hex(t.message_id), 13, 4)
        || '-' || substr(hex(t.message_id), 17, 4)
        || '-' || substr(hex(t.message_id), 21, 12)) END AS message_id,
    t.external_id AS external_id,
    t.channel AS channel,
    t.erased AS erased,
    strftime('%Y-%m-%dT%H:%M:%S', t.occurred_at / 1000000, 'unixepoch') || printf('.%06dZ', t.occurred_at % 1000000) AS occurred_at
FROM message t;

-- A row is what a message says.
CREATE VIEW bi_message_texts AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CASE WHEN t.session IS NOT NULL THEN lower(substr(hex(t.session), 1, 8)
        || '-' || substr(hex(t.session), 9, 4)
        || '-' || substr(hex(t.session), 13, 4)
        || '-' || substr(hex(t.session), 17, 4)
        || '-' || substr(hex(t.session), 21, 12)) END AS session_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    t.role AS role,
    t.name AS name,
    t.text AS text,
    t.tool_calls AS tool_calls,
    t.parts AS parts,
    t.erased AS erased,
    strftime('%Y-%m-%dT%H:%M:%S', t.occurred_at / 1000000, 'unixepoch') || printf('.%06dZ', t.occurred_at % 1000000) AS occurred_at
FROM message t;

-- A row is a version of a fact that an agent remembers.
CREATE VIEW bi_memory_facts AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    t.store AS store,
    t.record_id AS record_id,
    CASE WHEN t.session IS NOT NULL THEN lower(substr(hex(t.session), 1, 8)
        || '-' || substr(hex(t.session), 9, 4)
        || '-' || substr(hex(t.session), 13, 4)
        || '-' || substr(hex(t.session), 17, 4)
        || '-' || substr(hex(t.session), 21, 12)) END AS session_id,
    CASE WHEN t.turn IS NOT NULL THEN lower(substr(hex(t.turn), 1, 8)
        || '-' || substr(hex(t.turn), 9, 4)
        || '-' || substr(hex(t.turn), 13, 4)
        || '-' || substr(hex(t.turn), 17, 4)
        || '-' || substr(hex(t.turn), 21, 12)) END AS turn_id,
    t.event_type AS event_type,
    t.about AS about,
    t.attribute AS attribute,
    t.content AS content,
    CAST(t.confidence AS REAL) AS confidence,
    strftime('%Y-%m-%dT%H:%M:%S', t.valid_from / 1000000, 'unixepoch') || printf('.%06dZ', t.valid_from % 1000000) AS valid_from,
    strftime('%Y-%m-%dT%H:%M:%S', t.valid_to / 1000000, 'unixepoch') || printf('.%06dZ', t.valid_to % 1000000) AS valid_to,
    t.extractor AS extractor,
    CAST(t.known >> 40 AS TEXT) || ':' || CAST(t.known & 1099511627775 AS TEXT) AS known,
    strftime('%Y-%m-%dT%H:%M:%S', t.known_at / 1000000, 'unixepoch') || printf('.%06dZ', t.known_at % 1000000) AS known_at,
    t.dropped AS dropped,
    strftime('%Y-%m-%dT%H:%M:%S', t.occurred_at / 1000000, 'unixepoch') || printf('.%06dZ', t.occurred_at % 1000000) AS occurred_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.recorded_at / 1000000, 'unixepoch') || printf('.%06dZ', t.recorded_at % 1000000) AS recorded_at
FROM memory_fact t;

-- A row is a scenario of a session, from its entry to its end.
CREATE VIEW bi_scenarios AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CASE WHEN t.session IS NOT NULL THEN lower(substr(hex(t.session), 1, 8)
        || '-' || substr(hex(t.session), 9, 4)
        || '-' || substr(hex(t.session), 13, 4)
        || '-' || substr(hex(t.session), 17, 4)
        || '-' || substr(hex(t.session), 21, 12)) END AS session_id,
    t.scenario AS scenario,
    CAST(t.first_position >> 40 AS TEXT) || ':' || CAST(t.first_position & 1099511627775 AS TEXT) AS first_position,
    t.version AS version,
    t.status AS status,
    t.step AS step,
    strftime('%Y-%m-%dT%H:%M:%S', t.entered_at / 1000000, 'unixepoch') || printf('.%06dZ', t.entered_at % 1000000) AS entered_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.ended_at / 1000000, 'unixepoch') || printf('.%06dZ', t.ended_at % 1000000) AS ended_at,
    t.outcome AS outcome,
    CAST(t.last_position >> 40 AS TEXT) || ':' || CAST(t.last_position & 1099511627775 AS TEXT) AS last_position
FROM scenario t;

-- A row is what a scenario went through: a step, a checkpoint or a migration.
CREATE VIEW bi_scenario_steps AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CASE WHEN t.session IS NOT NULL THEN lower(substr(hex(t.session), 1, 8)
        || '-' || substr(hex(t.session), 9, 4)
        || '-' || substr(hex(t.session), 13, 4)
        || '-' || substr(hex(t.session), 17, 4)
        || '-' || substr(hex(t.session), 21, 12)) END AS session_id,
    t.scenario AS scenario,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    CAST(t.instance >> 40 AS TEXT) || ':' || CAST(t.instance & 1099511627775 AS TEXT) AS instance,
    t.kind AS kind,
    t.name AS name,
    t.from_name AS from_name,
    strftime('%Y-%m-%dT%H:%M:%S', t.at / 1000000, 'unixepoch') || printf('.%06dZ', t.at % 1000000) AS entered_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.left_at / 1000000, 'unixepoch') || printf('.%06dZ', t.left_at % 1000000) AS left_at,
    t.outcome AS outcome,
    t.duration_us AS duration_us
FROM scenario_passage t;

-- A row is a request that people decide on.
CREATE VIEW bi_approvals AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CASE WHEN t.approval IS NOT NULL THEN lower(substr(hex(t.approval), 1, 8)
        || '-' || substr(hex(t.approval), 9, 4)
        || '-' || substr(hex(t.approval), 13, 4)
        || '-' || substr(hex(t.approval), 17, 4)
        || '-' || substr(hex(t.approval), 21, 12)) END AS approval_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    CASE WHEN t.session IS NOT NULL THEN lower(substr(hex(t.session), 1, 8)
        || '-' || substr(hex(t.session), 9, 4)
        || '-' || substr(hex(t.session), 13, 4)
        || '-' || substr(hex(t.session), 17, 4)
        || '-' || substr(hex(t.session), 21, 12)) END AS session_id,
    CASE WHEN t.turn IS NOT NULL THEN lower(substr(hex(t.turn), 1, 8)
        || '-' || substr(hex(t.turn), 9, 4)
        || '-' || substr(hex(t.turn), 13, 4)
        || '-' || substr(hex(t.turn), 17, 4)
        || '-' || substr(hex(t.turn), 21, 12)) END AS turn_id,
    CASE WHEN t.call IS NOT NULL THEN lower(substr(hex(t.call), 1, 8)
        || '-' || substr(hex(t.call), 9, 4)
        || '-' || substr(hex(t.call), 13, 4)
        || '-' || substr(hex(t.call), 17, 4)
        || '-' || substr(hex(t.call), 21, 12)) END AS call_id,
    t.agent AS agent,
    t.tool AS tool,
    t.side_effect AS side_effect,
    t.business_key AS business_key,
    t.status AS status,
    t.decision AS decision,
    t.decided_by AS decided_by,
    strftime('%Y-%m-%dT%H:%M:%S', t.requested_at / 1000000, 'unixepoch') || printf('.%06dZ', t.requested_at % 1000000) AS requested_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.expires_at / 1000000, 'unixepoch') || printf('.%06dZ', t.expires_at % 1000000) AS expires_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.decided_at / 1000000, 'unixepoch') || printf('.%06dZ', t.decided_at % 1000000) AS decided_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.consumed_at / 1000000, 'unixepoch') || printf('.%06dZ', t.consumed_at % 1000000) AS consumed_at
FROM approval t;

-- A row is what people were called for.
CREATE VIEW bi_interventions AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    t.kind AS kind,
    CASE WHEN t.lane IS NOT NULL THEN lower(substr(hex(t.lane), 1, 8)
        || '-' || substr(hex(t.lane), 9, 4)
        || '-' || substr(hex(t.lane), 13, 4)
        || '-' || substr(hex(t.lane), 17, 4)
        || '-' || substr(hex(t.lane), 21, 12)) END AS lane_id,
    CASE WHEN t.session IS NOT NULL THEN lower(substr(hex(t.session), 1, 8)
        || '-' || substr(hex(t.session), 9, 4)
        || '-' || substr(hex(t.session), 13, 4)
        || '-' || substr(hex(t.session), 17, 4)
        || '-' || substr(hex(t.session), 21, 12)) END AS session_id,
    CASE WHEN t.turn IS NOT NULL THEN lower(substr(hex(t.turn), 1, 8)
        || '-' || substr(hex(t.turn), 9, 4)
        || '-' || substr(hex(t.turn), 13, 4)
        || '-' || substr(hex(t.turn), 17, 4)
        || '-' || substr(hex(t.turn), 21, 12)) END AS turn_id,
    CASE WHEN t.call IS NOT NULL THEN lower(substr(hex(t.call), 1, 8)
        || '-' || substr(hex(t.call), 9, 4)
        || '-' || substr(hex(t.call), 13, 4)
        || '-' || substr(hex(t.call), 17, 4)
        || '-' || substr(hex(t.call), 21, 12)) END AS call_id,
    strftime('%Y-%m-%dT%H:%M:%S', t.raised_at / 1000000, 'unixepoch') || printf('.%06dZ', t.raised_at % 1000000) AS raised_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.settled_at / 1000000, 'unixepoch') || printf('.%06dZ', t.settled_at % 1000000) AS settled_at,
    CAST(t.settled_position >> 40 AS TEXT) || ':' || CAST(t.settled_position & 1099511627775 AS TEXT) AS settled_position
FROM intervention t;

-- A row is a score: what a program, a model, a benchmark or a person judged.
CREATE VIEW bi_scores AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    CASE WHEN t.session IS NOT NULL THEN lower(substr(hex(t.session), 1, 8)
        || '-' || substr(hex(t.session), 9, 4)
        || '-' || substr(hex(t.session), 13, 4)
        || '-' || substr(hex(t.session), 17, 4)
        || '-' || substr(hex(t.session), 21, 12)) END AS session_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    t.name AS name,
    CAST(t.value AS REAL) AS value,
    t.label AS label,
    t.evaluator AS evaluator,
    t.evaluator_version AS evaluator_version,
    t.target AS target,
    CASE WHEN t.turn IS NOT NULL THEN lower(substr(hex(t.turn), 1, 8)
        || '-' || substr(hex(t.turn), 9, 4)
        || '-' || substr(hex(t.turn), 13, 4)
        || '-' || substr(hex(t.turn), 17, 4)
        || '-' || substr(hex(t.turn), 21, 12)) END AS turn_id,
    CASE WHEN t.message IS NOT NULL THEN lower(substr(hex(t.message), 1, 8)
        || '-' || substr(hex(t.message), 9, 4)
        || '-' || substr(hex(t.message), 13, 4)
        || '-' || substr(hex(t.message), 17, 4)
        || '-' || substr(hex(t.message), 21, 12)) END AS message_id,
    CASE WHEN t.call IS NOT NULL THEN lower(substr(hex(t.call), 1, 8)
        || '-' || substr(hex(t.call), 9, 4)
        || '-' || substr(hex(t.call), 13, 4)
        || '-' || substr(hex(t.call), 17, 4)
        || '-' || substr(hex(t.call), 21, 12)) END AS call_id,
    strftime('%Y-%m-%dT%H:%M:%S', t.occurred_at / 1000000, 'unixepoch') || printf('.%06dZ', t.occurred_at % 1000000) AS occurred_at
FROM session_score t;

-- A row is a version of a configuration, without its values.
CREATE VIEW bi_configurations AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    t.scope AS scope,
    NULLIF(t.scope_id, '') AS scope_id,
    CAST(t.position >> 40 AS TEXT) || ':' || CAST(t.position & 1099511627775 AS TEXT) AS position,
    t.version AS version,
    t.digest AS digest,
    t.author AS author,
    strftime('%Y-%m-%dT%H:%M:%S', t.published_at / 1000000, 'unixepoch') || printf('.%06dZ', t.published_at % 1000000) AS published_at,
    CASE WHEN EXISTS (SELECT 1 FROM config_active a WHERE a.ledger = t.ledger AND a.scope = t.scope AND a.scope_id = t.scope_id AND a.version = t.version) THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END AS is_active
FROM config_version t;

-- A row is what the model calls of a day used, by the columns before `calls`.
CREATE VIEW bi_model_usage_daily AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    strftime('%Y-%m-%dT%H:%M:%S', t.bucket / 1000000, 'unixepoch') || printf('.%06dZ', t.bucket % 1000000) AS day,
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
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    strftime('%Y-%m-%dT%H:%M:%S', t.bucket / 1000000, 'unixepoch') || printf('.%06dZ', t.bucket % 1000000) AS day,
    NULLIF(t.agent, '') AS agent,
    NULLIF(t.channel, '') AS channel,
    NULLIF(t.scenario, '') AS scenario,
    NULLIF(t.config, '') AS config,
    NULLIF(t.model, '') AS model,
    t.currency AS currency,
    CASE WHEN t.cost_units IS NULL THEN NULL
        WHEN t.cost_nanos = 0 AND t.cost_rest = 0 THEN CAST(t.cost_units AS TEXT)
        WHEN t.cost_units < 0 AND (t.cost_nanos > 0 OR t.cost_rest > 0) AND t.cost_rest = 0
        THEN '-' || (-1 - t.cost_units) || '.' || rtrim(printf('%09d', 1000000000 - t.cost_nanos), '0')
        WHEN t.cost_units < 0 AND (t.cost_nanos > 0 OR t.cost_rest > 0) THEN '-' || (-1 - t.cost_units) || '.'
        || rtrim(printf('%09d%018d', 999999999 - t.cost_nanos, 1000000000000000000 - t.cost_rest), '0')
        ELSE t.cost_units || '.' || rtrim(printf('%09d%018d', t.cost_nanos, t.cost_rest), '0') END AS cost,
    t.costs AS costs
FROM analytics_cost t WHERE t.grain = 2;

-- A row is what became of the tool calls of a day.
CREATE VIEW bi_tool_usage_daily AS SELECT
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    strftime('%Y-%m-%dT%H:%M:%S', t.bucket / 1000000, 'unixepoch') || printf('.%06dZ', t.bucket % 1000000) AS day,
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
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    strftime('%Y-%m-%dT%H:%M:%S', t.bucket / 1000000, 'unixepoch') || printf('.%06dZ', t.bucket % 1000000) AS day,
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
    CASE WHEN t.ledger IS NOT NULL THEN lower(substr(hex(t.ledger), 1, 8)
        || '-' || substr(hex(t.ledger), 9, 4)
        || '-' || substr(hex(t.ledger), 13, 4)
        || '-' || substr(hex(t.ledger), 17, 4)
        || '-' || substr(hex(t.ledger), 21, 12)) END AS ledger_id,
    strftime('%Y-%m-%dT%H:%M:%S', t.bucket / 1000000, 'unixepoch') || printf('.%06dZ', t.bucket % 1000000) AS day,
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
