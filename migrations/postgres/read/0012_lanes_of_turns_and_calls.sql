-- The lane that a turn or a call stands in: a person who is to settle a call has to name it. What no lane decided on has none.
-- The projections that fill these columns have new versions.
ALTER TABLE turn ADD COLUMN lane BYTEA;
ALTER TABLE tool_effect ADD COLUMN lane BYTEA;

-- Imported turns and calls cost nothing here.
CREATE INDEX turn_lane ON turn (ledger, lane, first_position, turn) WHERE lane IS NOT NULL;
CREATE INDEX tool_effect_lane ON tool_effect (ledger, lane, urgency, first_position) WHERE lane IS NOT NULL;
