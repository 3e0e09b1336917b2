-- Turns that wait for a worker are found by their agent. Without it a claim read every turn that waited, of whatever agent,
-- up to its own: with ten thousand open lanes of a thousand agents a claim took seconds. The projection has a new version, so
-- a start makes its rows anew from the ledger; nothing is carried over.

ALTER TABLE lane_turn ADD COLUMN agent TEXT COLLATE "C";

DROP INDEX lane_turn_ready;
CREATE INDEX lane_turn_ready ON lane_turn (ledger, agent, not_before, position) WHERE not_before IS NOT NULL;
