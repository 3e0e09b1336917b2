-- What was promised never goes back, whoever writes. A smaller tree head, or another one over as many records, in the place
-- of one that was given out, and the log would be signed twice. Sealers see to that by themselves; here it holds for
-- everybody but an owner who takes the triggers off.

-- A row is what its note says: size and origin beside it are to find it by. Of two notes over as many records only the
-- signatures may differ, which stand behind the first empty line.
CREATE FUNCTION keep_promise() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    says CONSTANT bytea := convert_to(NEW.origin || E'\n' || NEW.size || E'\n', 'UTF8');
    behind CONSTANT bytea := '\x0a0a';
BEGIN
    IF substring(NEW.note FOR length(says)) <> says THEN
        RAISE EXCEPTION 'the note is not of % over % records', NEW.origin, NEW.size USING ERRCODE = 'check_violation';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF NEW.origin <> OLD.origin OR NEW.size < OLD.size OR NEW.size = OLD.size
            AND substring(NEW.note FOR position(behind IN NEW.note))
             <> substring(OLD.note FOR position(behind IN OLD.note)) THEN
            RAISE EXCEPTION '% over % records was promised, and does not go back', OLD.origin, OLD.size
                USING ERRCODE = 'restrict_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION keep_all() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'no % of %: what was promised stays', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER keep_promise BEFORE INSERT OR UPDATE ON tree_head FOR EACH ROW EXECUTE FUNCTION keep_promise();
CREATE TRIGGER keep_all BEFORE DELETE OR TRUNCATE ON tree_head FOR EACH STATEMENT EXECUTE FUNCTION keep_all();
-- With another identity the ledgers' database would take this one for one that promised nothing.
CREATE TRIGGER keep_all BEFORE UPDATE OR DELETE OR TRUNCATE ON identity FOR EACH STATEMENT EXECUTE FUNCTION keep_all();
