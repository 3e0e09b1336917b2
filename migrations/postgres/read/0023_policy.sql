-- What policy decided, and which rules had a say. What came of a call that was decided on stands in its approval and in its
-- effect, which are found by the call.
CREATE TABLE policy_decision (
    ledger      BYTEA NOT NULL,
    position    BIGINT NOT NULL,
    decided_at  BIGINT NOT NULL,
    -- Nothing where the payload is gone.
    verdict     TEXT COLLATE "C",
    session     BYTEA,
    turn        BYTEA,
    call        BYTEA,
    -- Millionths. Nothing where nobody gave a score.
    uncertainty BIGINT,
    PRIMARY KEY (ledger, position)
);

CREATE INDEX policy_decision_at ON policy_decision (ledger, decided_at);

-- A decision that names no rule has one of no name.
CREATE TABLE policy_reason (
    ledger   BYTEA NOT NULL,
    position BIGINT NOT NULL,
    rule     TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (ledger, position, rule)
);

-- What came of a call, with all that is asked of it: an index that leads on to the row is passed over for the whole table. What was
-- decided in a time.
CREATE INDEX approval_call ON approval (ledger, call, consumed_position, decision, status);
CREATE INDEX approval_decided_at ON approval (ledger, decided_at);

-- Calls that cannot be undone, and calls that somebody said no to: few of all.
CREATE INDEX tool_effect_irreversible ON tool_effect (ledger, urgency, first_position)
    WHERE side_effect = 'irreversible' OR side_effect IS NULL;
CREATE INDEX tool_effect_denied ON tool_effect (ledger, urgency, first_position)
    WHERE not_executed_cause IN ('denied', 'rejected');

-- As for the tables of the first migration.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['policy_decision', 'policy_reason'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_ledger ON %I TO ruche_app '
            'USING (ledger = (SELECT decode(current_setting(''ruche.ledger'', true), ''hex'')))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO ruche_app', name);
    END LOOP;
END
$$;
