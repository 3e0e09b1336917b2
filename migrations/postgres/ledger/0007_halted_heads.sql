-- A halt stands in the head as well. An append that began before the halt and waits for the head meanwhile compares the row
-- as it is then, and sees nothing else that was committed since it began. Null, or the epoch that takes no appends.
ALTER TABLE head ADD COLUMN halted bigint;
UPDATE head SET halted = halt.epoch FROM halt WHERE halt.ledger = head.ledger;

-- Whoever writes a halt or takes one back has moved the head in the same transaction, behind the appends that had it. With
-- the rights of the owner: those who append have none on that column. The schema's name changes when ledgers are put aside.
CREATE OR REPLACE FUNCTION halt_head() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        EXECUTE format('UPDATE %I.head SET halted = NULL WHERE ledger = $1', TG_TABLE_SCHEMA) USING OLD.ledger;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        EXECUTE format('UPDATE %I.head SET halted = $2 WHERE ledger = $1', TG_TABLE_SCHEMA) USING NEW.ledger, NEW.epoch;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER halt_head AFTER INSERT OR UPDATE OR DELETE ON halt FOR EACH ROW EXECUTE FUNCTION halt_head();

-- Firing a trigger asks for no right, and making one does: nobody hangs the owner's rights on a table of their own.
REVOKE EXECUTE ON FUNCTION halt_head() FROM PUBLIC;

REVOKE UPDATE ON head FROM ruche_append;
GRANT UPDATE (epoch, origin, size, last_leaf_hash, last_recorded_at) ON head TO ruche_append;
