-- What agents remember, bi-temporal. Nothing of it is overwritten but when it became known (`known`: a position), which a
-- fact of a turn is told by the end of the turn. What holds at a moment is worked out by queries, from the versions of facts
-- and from what ended them.

-- How turns ended: a fact may be written about a turn that is over.
CREATE TABLE memory_turn (
    ledger      BLOB NOT NULL,
    turn        BLOB NOT NULL,
    outcome     TEXT NOT NULL,
    position    INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (ledger, turn)
) STRICT, WITHOUT ROWID;

-- One row for each version of a fact. record stands for the record's id in its store, holder for the store.
CREATE TABLE memory_fact (
    ledger      BLOB NOT NULL,
    position    INTEGER NOT NULL,
    record      BLOB NOT NULL,
    holder      BLOB NOT NULL,
    event_id    BLOB NOT NULL,
    event_type  TEXT NOT NULL,
    session     BLOB,
    turn        BLOB,
    store       TEXT,
    record_id   TEXT NOT NULL,
    about       TEXT,
    attribute   TEXT,
    content     TEXT NOT NULL,
    confidence  TEXT,
    valid_from  INTEGER,
    valid_to    INTEGER,
    extractor   TEXT,
    sources     TEXT,
    refs        TEXT,
    known       INTEGER,
    known_at    INTEGER,
    -- How its turn ended, if that was not a commit: it never became known.
    dropped     TEXT,
    occurred_at INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (ledger, position)
) STRICT, WITHOUT ROWID;

-- Each covers a list of positions: see the queries.
CREATE INDEX memory_fact_about ON memory_fact (ledger, about, position);
CREATE INDEX memory_fact_record ON memory_fact (ledger, record, known);
CREATE INDEX memory_fact_session ON memory_fact (ledger, session, position);
CREATE INDEX memory_fact_turn ON memory_fact (ledger, turn, known, dropped);
CREATE INDEX memory_fact_extractor ON memory_fact (ledger, extractor, position);

-- What ends a version, or the time in which it holds. A version is ended by the next one of its record as well, so each has
-- a row here too. item tells those of one event apart.
CREATE TABLE memory_end (
    ledger             BLOB NOT NULL,
    record             BLOB NOT NULL,
    position           INTEGER NOT NULL,
    item               INTEGER NOT NULL,
    turn               BLOB,
    kind               TEXT NOT NULL,
    -- 1: from here on it is not known any more. 0: it is known that it holds until valid_to.
    ends               INTEGER NOT NULL,
    valid_to           INTEGER,
    reason             TEXT,
    detail             TEXT,
    by_record          TEXT,
    extractor          TEXT,
    previous_extractor TEXT,
    known              INTEGER,
    known_at           INTEGER,
    dropped            TEXT,
    recorded_at        INTEGER NOT NULL,
    PRIMARY KEY (ledger, record, position, item)
) STRICT, WITHOUT ROWID;

CREATE INDEX memory_end_turn ON memory_end (ledger, turn, known, dropped);
CREATE INDEX memory_end_kind ON memory_end (ledger, kind, known_at);

-- What a search or a retrieval gave.
CREATE TABLE memory_use (
    ledger      BLOB NOT NULL,
    record      BLOB NOT NULL,
    position    INTEGER NOT NULL,
    item        INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    session     BLOB,
    turn        BLOB,
    store       TEXT NOT NULL,
    record_id   TEXT NOT NULL,
    version     TEXT,
    score       TEXT,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (ledger, record, position, item)
) STRICT, WITHOUT ROWID;

CREATE INDEX memory_use_turn ON memory_use (ledger, turn, position, item);
CREATE INDEX memory_use_position ON memory_use (ledger, position, item);

-- The words of a version: full text search that finds the same words on every engine and knows no operators.
CREATE TABLE memory_word (
    ledger   BLOB NOT NULL,
    word     TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (ledger, word, position)
) STRICT, WITHOUT ROWID;

-- What a version rests on: ids of events, and names of sources outside the ledger.
CREATE TABLE memory_source (
    ledger   BLOB NOT NULL,
    source   TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (ledger, source, position)
) STRICT, WITHOUT ROWID;

-- Where the events of clients' own streams stand that belong to no session; the others are found in the timeline.
CREATE TABLE memory_event (
    ledger   BLOB NOT NULL,
    event_id BLOB NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (ledger, event_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX timeline_event ON timeline (ledger, event_id, position);
