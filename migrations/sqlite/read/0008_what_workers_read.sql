-- urgency is made of the status, so that no statement can forget it: lists begin with what a person has to settle, calls
-- of which nobody knows the outcome or that could not be undone; then come those that run, then the others.
-- argument_digest tells calls of one turn with the same arguments, result_digest what came of a call.
ALTER TABLE tool_effect ADD COLUMN urgency INTEGER GENERATED ALWAYS AS (
    CASE status WHEN 'outcome_unknown' THEN 2 WHEN 'compensation_failed' THEN 2 WHEN 'started' THEN 1 ELSE 0 END
) VIRTUAL;
ALTER TABLE tool_effect ADD COLUMN argument_digest TEXT;
ALTER TABLE tool_effect ADD COLUMN result_digest TEXT;

CREATE INDEX tool_effect_urgent ON tool_effect (ledger, urgency, first_position);
CREATE INDEX tool_effect_turn ON tool_effect (ledger, turn, first_position, call);

ALTER TABLE tool ADD COLUMN timeout_us INTEGER;
ALTER TABLE tool ADD COLUMN owner TEXT;

-- The steps of a turn. A worker that takes over begins behind those that are completed.
CREATE TABLE turn_step (
    ledger             BLOB NOT NULL,
    turn               BLOB NOT NULL,
    step_id            TEXT NOT NULL,
    name               TEXT,
    attempt            INTEGER NOT NULL,
    first_position     INTEGER NOT NULL,
    started_at         INTEGER,
    completed_at       INTEGER,
    completed_position INTEGER,
    result             TEXT,
    PRIMARY KEY (ledger, turn, step_id)
) STRICT, WITHOUT ROWID;
