-- Rows of `restore` and `halt` keep a node out that does not know what happened. Whoever appends takes one away as it has to
-- be done, and no other.

-- A row of a restore goes once its ledger is in a later epoch, where it says nothing.
DROP POLICY IF EXISTS every_ledger ON restore;
CREATE POLICY every_ledger ON restore FOR SELECT TO ruche_append USING (true);
CREATE POLICY later_epoch ON restore FOR DELETE TO ruche_append
    USING (EXISTS (SELECT FROM head h WHERE h.ledger = restore.ledger AND h.epoch > restore.epoch));

-- A halt is of the epoch that is open, so it is not moved to one where it says nothing.
DROP POLICY IF EXISTS every_ledger ON halt;
CREATE POLICY every_ledger ON halt FOR SELECT TO ruche_append USING (true);
CREATE POLICY open_epoch ON halt FOR INSERT TO ruche_append
    WITH CHECK (EXISTS (SELECT FROM head h WHERE h.ledger = halt.ledger AND h.epoch = halt.epoch));
CREATE POLICY still_open_epoch ON halt FOR UPDATE TO ruche_append USING (true)
    WITH CHECK (EXISTS (SELECT FROM head h WHERE h.ledger = halt.ledger AND h.epoch = halt.epoch));

-- It is taken back for one ledger, by a node that has sealed it and seen that no next epoch was promised.
CREATE FUNCTION release_halt(of_ledger uuid) RETURNS void LANGUAGE sql SECURITY DEFINER
BEGIN ATOMIC
    DELETE FROM halt WHERE ledger = of_ledger;
END;
REVOKE EXECUTE ON FUNCTION release_halt(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION release_halt(uuid) TO ruche_append;
REVOKE DELETE ON halt FROM ruche_append;
