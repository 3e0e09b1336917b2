-- Whether only an import said what a tool does: then it decides nothing.
ALTER TABLE tool ADD COLUMN imported BIGINT NOT NULL DEFAULT 0;
