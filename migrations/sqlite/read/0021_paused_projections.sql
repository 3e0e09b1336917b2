-- Whether a person has paused a projection, by the last decision about it: no step of one that is paused is taken. A decision
-- that was recorded earlier changes nothing, whichever node carries it out last.
CREATE TABLE projection_paused (
    ledger     BLOB NOT NULL,
    projection TEXT NOT NULL,
    paused     BIGINT NOT NULL,
    decided    BIGINT NOT NULL,
    PRIMARY KEY (ledger, projection)
) WITHOUT ROWID;
