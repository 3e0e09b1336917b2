-- The roles that the ledger's tables are granted to. Roles belong to the cluster, not to a database: another database may
-- make them at the same moment, and then they are there. Safe to apply again.
DO $$
DECLARE
    role text;
    -- Being a member is not enough from version 16 on: `SET ROLE` has to be allowed.
    right_to text := CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    FOREACH role IN ARRAY ARRAY['ruche_append', 'ruche_app', 'ruche_eraser'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
        BEGIN
            IF NOT pg_has_role(current_user, role, right_to) THEN
                EXECUTE format('GRANT %I TO CURRENT_USER', role);
            END IF;
        EXCEPTION WHEN unique_violation THEN
            NULL;
        END;
    END LOOP;
END $$;
