-- Scenarios, goals and the words of texts: read models of their own, made from the ledger. What sessions and the timeline say
-- besides has columns here; their projections have new versions, so a start makes them anew.

-- A scenario of a session from its entry (or from what was told of it first: entered is 0 then) to its end.
CREATE TABLE scenario (
    ledger         BLOB NOT NULL,
    session        BLOB NOT NULL,
    scenario       TEXT NOT NULL,
    first_position INTEGER NOT NULL,
    version        TEXT,
    reason         TEXT,
    status         TEXT NOT NULL DEFAULT 'active',
    step           TEXT,
    entered        INTEGER NOT NULL DEFAULT 0,
    entered_at     INTEGER NOT NULL,
    ended_at       INTEGER,
    outcome        TEXT,
    end_reason     TEXT,
    last_position  INTEGER NOT NULL,
    last_at        INTEGER NOT NULL,
    PRIMARY KEY (ledger, session, scenario, first_position)
) STRICT, WITHOUT ROWID;

CREATE INDEX scenario_session ON scenario (ledger, session, first_position);
CREATE INDEX scenario_first ON scenario (ledger, first_position);
CREATE INDEX scenario_active ON scenario (ledger, scenario, first_position) WHERE status = 'active';

-- What a scenario went through; kind: 'step', 'checkpoint' or 'migration'. instance is the first record of the scenario.
CREATE TABLE scenario_passage (
    ledger        BLOB NOT NULL,
    session       BLOB NOT NULL,
    scenario      TEXT NOT NULL,
    position      INTEGER NOT NULL,
    kind          TEXT NOT NULL,
    name          TEXT NOT NULL,
    from_name     TEXT,
    at            INTEGER NOT NULL,
    left_at       INTEGER,
    left_position INTEGER,
    outcome       TEXT,
    duration_us   INTEGER,
    instance      INTEGER NOT NULL,
    PRIMARY KEY (ledger, session, scenario, position, kind)
) STRICT, WITHOUT ROWID;

-- Goals. Clients' ids of goals are told apart by the stream that they stand in: a session's own, or one of the goal alone.
CREATE TABLE goal (
    ledger         BLOB NOT NULL,
    stream         BLOB NOT NULL,
    goal           TEXT NOT NULL,
    first_position INTEGER NOT NULL,
    session        BLOB,
    description    TEXT,
    criteria       TEXT,
    due            INTEGER,
    parent         TEXT,
    set_by         TEXT,
    status         TEXT NOT NULL DEFAULT 'open',
    progress       TEXT,
    note           TEXT,
    set_at         INTEGER,
    ended_at       INTEGER,
    last_position  INTEGER NOT NULL,
    last_at        INTEGER NOT NULL,
    PRIMARY KEY (ledger, stream, goal)
) STRICT, WITHOUT ROWID;

CREATE INDEX goal_session ON goal (ledger, session, first_position);
-- Holds all that the question for open goals needs: SQLite passes over an index that does not.
CREATE INDEX goal_status ON goal (ledger, session, status);

-- Words of texts, cut by the projection in one way for all engines: lower case, each once, with a space between. kind:
-- 'message'; id: of the event that says it.
CREATE TABLE search_text (
    ledger   BLOB NOT NULL,
    kind     TEXT NOT NULL,
    id       BLOB NOT NULL,
    session  BLOB,
    position INTEGER NOT NULL,
    words    TEXT NOT NULL,
    PRIMARY KEY (ledger, kind, id)
) STRICT, WITHOUT ROWID;

-- Full text needs a number for each row, which a rebuild may give anew, so it is no column of the table above.
CREATE TABLE search_row (
    n        INTEGER PRIMARY KEY,
    ledger   BLOB NOT NULL,
    kind     TEXT NOT NULL,
    id       BLOB NOT NULL,
    session  BLOB,
    position INTEGER NOT NULL,
    UNIQUE (ledger, kind, id)
) STRICT;

-- Each word begins with its ledger: no tenant's search walks through the places of another's words.
CREATE VIRTUAL TABLE search_index USING fts5 (
    words, content = '', detail = none, columnsize = 0, tokenize = 'ascii'
);

CREATE TRIGGER search_text_comes AFTER INSERT ON search_text BEGIN
    INSERT INTO search_row (ledger, kind, id, session, position)
        VALUES (new.ledger, new.kind, new.id, new.session, new.position);
    INSERT INTO search_index (rowid, words) VALUES (
        (SELECT n FROM search_row WHERE ledger = new.ledger AND kind = new.kind AND id = new.id),
        lower(hex(new.ledger)) || replace(new.words, ' ', ' ' || lower(hex(new.ledger))));
END;

CREATE TRIGGER search_text_goes AFTER DELETE ON search_text BEGIN
    INSERT INTO search_index (search_index, rowid, words) VALUES ('delete',
        (SELECT n FROM search_row WHERE ledger = old.ledger AND kind = old.kind AND id = old.id),
        lower(hex(old.ledger)) || replace(old.words, ' ', ' ' || lower(hex(old.ledger))));
    DELETE FROM search_row WHERE ledger = old.ledger AND kind = old.kind AND id = old.id;
END;

-- The interlocutor as the envelope names it, by the keyed hash of the client's own id: it stays when the payload is erased.
ALTER TABLE session ADD COLUMN subject BLOB;

CREATE INDEX session_subject ON session (ledger, subject, started_at, session);

-- When a turn took no more messages: what gathering them added to the wait.
ALTER TABLE turn ADD COLUMN sealed_at INTEGER;

-- What a model call cost, in the three columns of money.
ALTER TABLE timeline ADD COLUMN currency TEXT;
ALTER TABLE timeline ADD COLUMN cost_units INTEGER;
ALTER TABLE timeline ADD COLUMN cost_nanos INTEGER;
ALTER TABLE timeline ADD COLUMN cost_rest INTEGER;
