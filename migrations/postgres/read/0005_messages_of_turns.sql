-- A turn whose place is taken gives its messages to the turn that takes it, which may be of another session: a lane goes
-- on where a session ended. Such a message stays in its own conversation and is found by its turn.
ALTER TABLE message ADD COLUMN carried BIGINT NOT NULL DEFAULT 0;

CREATE INDEX message_turn ON message (ledger, turn, place, position);
