-- Money is kept in three columns that add up exactly: whole units, billionths below one unit, and the rest in units of
-- 10^-27 below one billionth. Two columns held no cost above 9,000. The projections that fill these tables have new versions,
-- so a start makes them anew from the ledger; nothing is carried over.

DROP TABLE session_cost;
CREATE TABLE session_cost (
    ledger     BLOB NOT NULL,
    session    BLOB NOT NULL,
    currency   TEXT NOT NULL,
    costs      INTEGER NOT NULL,
    cost_units INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    cost_rest  INTEGER NOT NULL,
    PRIMARY KEY (ledger, session, currency)
) STRICT, WITHOUT ROWID;

DROP TABLE turn_cost;
CREATE TABLE turn_cost (
    ledger     BLOB NOT NULL,
    turn       BLOB NOT NULL,
    currency   TEXT NOT NULL,
    costs      INTEGER NOT NULL,
    cost_units INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    cost_rest  INTEGER NOT NULL,
    PRIMARY KEY (ledger, turn, currency)
) STRICT, WITHOUT ROWID;

DROP TABLE usage_cost;
CREATE TABLE usage_cost (
    ledger     BLOB NOT NULL,
    day        INTEGER NOT NULL,
    agent      TEXT NOT NULL,
    model      TEXT NOT NULL,
    currency   TEXT NOT NULL,
    costs      INTEGER NOT NULL,
    cost_units INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    cost_rest  INTEGER NOT NULL,
    PRIMARY KEY (ledger, day, agent, model, currency)
) STRICT, WITHOUT ROWID;
