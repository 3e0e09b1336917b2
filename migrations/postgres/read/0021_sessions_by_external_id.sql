-- A session is found by the client's own id without looking at all sessions of the ledger.
CREATE INDEX session_external ON session (ledger, external_id, started_at, session);
