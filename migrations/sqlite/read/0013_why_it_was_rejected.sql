-- What the reviewer who said no gave for it, beside the call that will not run. The projection that fills it has a new version.
ALTER TABLE tool_effect ADD COLUMN not_executed_reason TEXT;
