-- urgency is made of the status, so that no statement can forget it: lists begin with what a person has to settle, calls
-- of which nobody knows the outcome or that could not be undone; then come those that run, then the others.
-- argument_digest tells calls of one turn with the same arguments, result_digest what came of a call.
ALTER TABLE tool_effect ADD COLUMN urgency BIGINT GENERATED ALWAYS AS (
    CASE status WHEN 'outcome_unknown' THEN 2 WHEN 'compensation_failed' THEN 2 WHEN 'started' THEN 1 ELSE 0 END
) STORED;
ALTER TABLE tool_effect ADD COLUMN argument_digest TEXT COLLATE "C";
ALTER TABLE tool_effect ADD COLUMN result_digest TEXT COLLATE "C";

CREATE INDEX tool_effect_urgent ON tool_effect (ledger, urgency, first_position);
CREATE INDEX tool_effect_turn ON tool_effect (ledger, turn, first_position, call);

ALTER TABLE tool ADD COLUMN timeout_us BIGINT;
ALTER TABLE tool ADD COLUMN owner TEXT COLLATE "C";

-- The steps of a turn. A worker that takes over begins behind those that are completed.
CREATE TABLE turn_step (
    ledger             BYTEA NOT NULL,
    turn               BYTEA NOT NULL,
    step_id            TEXT COLLATE "C" NOT NULL,
    name               TEXT COLLATE "C",
    attempt            BIGINT NOT NULL,
    first_position     BIGINT NOT NULL,
    started_at         BIGINT,
    completed_at       BIGINT,
    completed_position BIGINT,
    result             TEXT COLLATE "C",
    PRIMARY KEY (ledger, turn, step_id)
);

-- As for the tables of the first migration.
ALTER TABLE turn_step ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON turn_step TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON turn_step TO ruche_app;
