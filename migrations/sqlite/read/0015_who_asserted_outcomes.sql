-- Who said how a call in doubt came out, and what that rests on. asserted_by is the credential that the record names, claimed_by what
-- the request said of the person. The projection that fills these columns has a new version.
ALTER TABLE tool_effect ADD COLUMN asserted_by BLOB;
ALTER TABLE tool_effect ADD COLUMN claimed_by TEXT;
ALTER TABLE tool_effect ADD COLUMN evidence TEXT;
