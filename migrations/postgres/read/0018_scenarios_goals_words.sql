-- Scenarios, goals and the words of texts: read models of their own, made from the ledger. What sessions and the timeline say
-- besides has columns here; their projections have new versions, so a start makes them anew.

-- A scenario of a session from its entry (or from what was told of it first: entered is 0 then) to its end.
CREATE TABLE scenario (
    ledger         BYTEA NOT NULL,
    session        BYTEA NOT NULL,
    scenario       TEXT COLLATE "C" NOT NULL,
    first_position BIGINT NOT NULL,
    version        TEXT COLLATE "C",
    reason         TEXT COLLATE "C",
    status         TEXT COLLATE "C" NOT NULL DEFAULT 'active',
    step           TEXT COLLATE "C",
    entered        BIGINT NOT NULL DEFAULT 0,
    entered_at     BIGINT NOT NULL,
    ended_at       BIGINT,
    outcome        TEXT COLLATE "C",
    end_reason     TEXT COLLATE "C",
    last_position  BIGINT NOT NULL,
    last_at        BIGINT NOT NULL,
    PRIMARY KEY (ledger, session, scenario, first_position)
);

CREATE INDEX scenario_session ON scenario (ledger, session, first_position);
CREATE INDEX scenario_first ON scenario (ledger, first_position);
CREATE INDEX scenario_active ON scenario (ledger, scenario, first_position) WHERE status = 'active';

-- What a scenario went through; kind: 'step', 'checkpoint' or 'migration'. instance is the first record of the scenario.
CREATE TABLE scenario_passage (
    ledger        BYTEA NOT NULL,
    session       BYTEA NOT NULL,
    scenario      TEXT COLLATE "C" NOT NULL,
    position      BIGINT NOT NULL,
    kind          TEXT COLLATE "C" NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    from_name     TEXT COLLATE "C",
    at            BIGINT NOT NULL,
    left_at       BIGINT,
    left_position BIGINT,
    outcome       TEXT COLLATE "C",
    duration_us   BIGINT,
    instance      BIGINT NOT NULL,
    PRIMARY KEY (ledger, session, scenario, position, kind)
);

-- Goals. Clients' ids of goals are told apart by the stream that they stand in: a session's own, or one of the goal alone.
CREATE TABLE goal (
    ledger         BYTEA NOT NULL,
    stream         BYTEA NOT NULL,
    goal           TEXT COLLATE "C" NOT NULL,
    first_position BIGINT NOT NULL,
    session        BYTEA,
    description    TEXT COLLATE "C",
    criteria       TEXT COLLATE "C",
    due            BIGINT,
    parent         TEXT COLLATE "C",
    set_by         TEXT COLLATE "C",
    status         TEXT COLLATE "C" NOT NULL DEFAULT 'open',
    progress       TEXT COLLATE "C",
    note           TEXT COLLATE "C",
    set_at         BIGINT,
    ended_at       BIGINT,
    last_position  BIGINT NOT NULL,
    last_at        BIGINT NOT NULL,
    PRIMARY KEY (ledger, stream, goal)
);

CREATE INDEX goal_session ON goal (ledger, session, first_position);
-- Holds all that the question for open goals needs: SQLite passes over an index that does not.
CREATE INDEX goal_status ON goal (ledger, session, status);

-- Words of texts, cut by the projection in one way for all engines: lower case, each once, with a space between. kind:
-- 'message'; id: of the event that says it.
CREATE TABLE search_text (
    ledger   BYTEA NOT NULL,
    kind     TEXT COLLATE "C" NOT NULL,
    id       BYTEA NOT NULL,
    session  BYTEA,
    position BIGINT NOT NULL,
    words    TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (ledger, kind, id)
);

-- Each word begins with its ledger: no tenant's search walks through the places of another's words. The words are cut already,
-- so no parser of the server looks at them.
CREATE INDEX search_text_words ON search_text USING gin (array_to_tsvector(string_to_array(
    encode(ledger, 'hex') || replace(words, ' ', ' ' || encode(ledger, 'hex')), ' ')));

-- Row-level security has an index of words passed over: the operator could tell of rows that are not the reader's. This
-- function is its owner's, and looks at the rows of the ledger that the setting names and at no others. Empty text and bytes
-- are conditions that are not made; the newest texts come first.
CREATE FUNCTION search_found(wanted text, of_kind text, of_session bytea, before bigint, rows_max bigint)
    RETURNS TABLE (kind text, id bytea, session bytea, "position" bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $found$
    SELECT t.kind, t.id, t.session, t.position FROM search_text t
    WHERE t.ledger = decode(current_setting('ruche.ledger', true), 'hex')
        AND array_to_tsvector(string_to_array(
            encode(t.ledger, 'hex') || replace(t.words, ' ', ' ' || encode(t.ledger, 'hex')), ' ')) @@ wanted::tsquery
        AND (of_kind = '' OR t.kind = of_kind)
        AND (of_session = ''::bytea OR t.session = of_session)
        AND t.position < before
    ORDER BY t.position DESC LIMIT rows_max
$found$;
REVOKE EXECUTE ON FUNCTION search_found FROM PUBLIC;
GRANT EXECUTE ON FUNCTION search_found TO ruche_app;

-- The interlocutor as the envelope names it, by the keyed hash of the client's own id: it stays when the payload is erased.
ALTER TABLE session ADD COLUMN subject BYTEA;

CREATE INDEX session_subject ON session (ledger, subject, started_at, session);

-- When a turn took no more messages: what gathering them added to the wait.
ALTER TABLE turn ADD COLUMN sealed_at BIGINT;

-- What a model call cost, in the three columns of money.
ALTER TABLE timeline ADD COLUMN currency TEXT COLLATE "C";
ALTER TABLE timeline ADD COLUMN cost_units BIGINT;
ALTER TABLE timeline ADD COLUMN cost_nanos BIGINT;
ALTER TABLE timeline ADD COLUMN cost_rest BIGINT;

-- As for the tables of the first migration.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['scenario', 'scenario_passage', 'goal', 'search_text'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_ledger ON %I TO ruche_app '
            'USING (ledger = (SELECT decode(current_setting(''ruche.ledger'', true), ''hex'')))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO ruche_app', name);
    END LOOP;
END
$$;
