-- A turn that waits for people says so. awaits_decision tells a wait for a decision from one for an outcome that nobody knows: only the
-- decision ends the first. The projection that fills it has a new version.
ALTER TABLE turn ADD COLUMN awaits_decision BIGINT NOT NULL DEFAULT 0;
