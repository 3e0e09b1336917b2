-- What agents remember, bi-temporal. Nothing of it is overwritten but when it became known (`known`: a position), which a
-- fact of a turn is told by the end of the turn. What holds at a moment is worked out by queries, from the versions of facts
-- and from what ended them.

-- How turns ended: a fact may be written about a turn that is over.
CREATE TABLE memory_turn (
    ledger      BYTEA NOT NULL,
    turn        BYTEA NOT NULL,
    outcome     TEXT COLLATE "C" NOT NULL,
    position    BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (ledger, turn)
);

-- One row for each version of a fact. record stands for the record's id in its store, holder for the store.
CREATE TABLE memory_fact (
    ledger      BYTEA NOT NULL,
    position    BIGINT NOT NULL,
    record      BYTEA NOT NULL,
    holder      BYTEA NOT NULL,
    event_id    BYTEA NOT NULL,
    event_type  TEXT COLLATE "C" NOT NULL,
    session     BYTEA,
    turn        BYTEA,
    store       TEXT COLLATE "C",
    record_id   TEXT COLLATE "C" NOT NULL,
    about       TEXT COLLATE "C",
    attribute   TEXT COLLATE "C",
    content     TEXT COLLATE "C" NOT NULL,
    confidence  TEXT COLLATE "C",
    valid_from  BIGINT,
    valid_to    BIGINT,
    extractor   TEXT COLLATE "C",
    sources     TEXT COLLATE "C",
    refs        TEXT COLLATE "C",
    known       BIGINT,
    known_at    BIGINT,
    -- How its turn ended, if that was not a commit: it never became known.
    dropped     TEXT COLLATE "C",
    occurred_at BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (ledger, position)
);

-- Each covers a list of positions: see the queries.
CREATE INDEX memory_fact_about ON memory_fact (ledger, about, position);
CREATE INDEX memory_fact_record ON memory_fact (ledger, record, known);
CREATE INDEX memory_fact_session ON memory_fact (ledger, session, position);
CREATE INDEX memory_fact_turn ON memory_fact (ledger, turn, known, dropped);
CREATE INDEX memory_fact_extractor ON memory_fact (ledger, extractor, position);

-- What ends a version, or the time in which it holds. A version is ended by the next one of its record as well, so each has
-- a row here too. item tells those of one event apart.
CREATE TABLE memory_end (
    ledger             BYTEA NOT NULL,
    record             BYTEA NOT NULL,
    position           BIGINT NOT NULL,
    item               BIGINT NOT NULL,
    turn               BYTEA,
    kind               TEXT COLLATE "C" NOT NULL,
    -- 1: from here on it is not known any more. 0: it is known that it holds until valid_to.
    ends               BIGINT NOT NULL,
    valid_to           BIGINT,
    reason             TEXT COLLATE "C",
    detail             TEXT COLLATE "C",
    by_record          TEXT COLLATE "C",
    extractor          TEXT COLLATE "C",
    previous_extractor TEXT COLLATE "C",
    known              BIGINT,
    known_at           BIGINT,
    dropped            TEXT COLLATE "C",
    recorded_at        BIGINT NOT NULL,
    PRIMARY KEY (ledger, record, position, item)
);

CREATE INDEX memory_end_turn ON memory_end (ledger, turn, known, dropped);
CREATE INDEX memory_end_kind ON memory_end (ledger, kind, known_at);

-- What a search or a retrieval gave.
CREATE TABLE memory_use (
    ledger      BYTEA NOT NULL,
    record      BYTEA NOT NULL,
    position    BIGINT NOT NULL,
    item        BIGINT NOT NULL,
    kind        TEXT COLLATE "C" NOT NULL,
    session     BYTEA,
    turn        BYTEA,
    store       TEXT COLLATE "C" NOT NULL,
    record_id   TEXT COLLATE "C" NOT NULL,
    version     TEXT COLLATE "C",
    score       TEXT COLLATE "C",
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (ledger, record, position, item)
);

CREATE INDEX memory_use_turn ON memory_use (ledger, turn, position, item);
CREATE INDEX memory_use_position ON memory_use (ledger, position, item);

-- The words of a version: full text search that finds the same words on every engine and knows no operators.
CREATE TABLE memory_word (
    ledger   BYTEA NOT NULL,
    word     TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (ledger, word, position)
);

-- What a version rests on: ids of events, and names of sources outside the ledger.
CREATE TABLE memory_source (
    ledger   BYTEA NOT NULL,
    source   TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (ledger, source, position)
);

-- Where the events of clients' own streams stand that belong to no session; the others are found in the timeline.
CREATE TABLE memory_event (
    ledger   BYTEA NOT NULL,
    event_id BYTEA NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (ledger, event_id)
);

CREATE INDEX timeline_event ON timeline (ledger, event_id, position);

-- As for the tables of the first migration.
ALTER TABLE memory_turn ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON memory_turn TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON memory_turn TO ruche_app;
ALTER TABLE memory_fact ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON memory_fact TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON memory_fact TO ruche_app;
ALTER TABLE memory_end ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON memory_end TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON memory_end TO ruche_app;
ALTER TABLE memory_use ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON memory_use TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON memory_use TO ruche_app;
ALTER TABLE memory_word ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON memory_word TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON memory_word TO ruche_app;
ALTER TABLE memory_source ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON memory_source TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON memory_source TO ruche_app;
ALTER TABLE memory_event ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ledger ON memory_event TO ruche_app
    USING (ledger = (SELECT decode(current_setting('ruche.ledger', true), 'hex')));
GRANT SELECT, INSERT, UPDATE, DELETE ON memory_event TO ruche_app;
