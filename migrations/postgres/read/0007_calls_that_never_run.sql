-- Why a call will never run, where it never did.
ALTER TABLE tool_effect ADD COLUMN not_executed_cause TEXT COLLATE "C";
