-- What policy decided, and which rules had a say. What came of a call that was decided on stands in its approval and in its
-- effect, which are found by the call.
CREATE TABLE policy_decision (
    ledger      BLOB NOT NULL,
    position    INTEGER NOT NULL,
    decided_at  INTEGER NOT NULL,
    -- Nothing where the payload is gone.
    verdict     TEXT,
    session     BLOB,
    turn        BLOB,
    call        BLOB,
    -- Millionths. Nothing where nobody gave a score.
    uncertainty INTEGER,
    PRIMARY KEY (ledger, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX policy_decision_at ON policy_decision (ledger, decided_at);

-- A decision that names no rule has one of no name.
CREATE TABLE policy_reason (
    ledger   BLOB NOT NULL,
    position INTEGER NOT NULL,
    rule     TEXT NOT NULL,
    PRIMARY KEY (ledger, position, rule)
) STRICT, WITHOUT ROWID;

-- What came of a call, with all that is asked of it: an index that leads on to the row is passed over for the whole table. What was
-- decided in a time.
CREATE INDEX approval_call ON approval (ledger, call, consumed_position, decision, status);
CREATE INDEX approval_decided_at ON approval (ledger, decided_at);

-- Calls that cannot be undone, and calls that somebody said no to: few of all.
CREATE INDEX tool_effect_irreversible ON tool_effect (ledger, urgency, first_position)
    WHERE side_effect = 'irreversible' OR side_effect IS NULL;
CREATE INDEX tool_effect_denied ON tool_effect (ledger, urgency, first_position)
    WHERE not_executed_cause IN ('denied', 'rejected');
