-- What nodes have to know of each other.

-- Which master seed this deployment has: a keyed hash that tells nothing of it. A node with another seed would sign for
-- none of the ledgers. One row. Deleted by an administrator who knows that the seed is lost for good.
CREATE TABLE deployment (
    one  boolean PRIMARY KEY CHECK (one),
    seed bytea   NOT NULL CHECK (length(seed) = 16)
);
GRANT SELECT, INSERT ON deployment TO ruche_append;

-- Which node tends which ledger (ledger/src/lease.rs). Nothing of it is needed to be right: rows may be deleted at any
-- time, and a restored copy is worth nothing once its times are over. Times are those of the server's clock alone.

-- Nodes that are alive until then.
CREATE TABLE node (
    node  uuid        PRIMARY KEY,
    until timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE lease (
    ledger uuid        PRIMARY KEY,
    node   uuid        NOT NULL,
    until  timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

GRANT SELECT, INSERT, UPDATE, DELETE ON node, lease TO ruche_append;

ALTER TABLE lease ENABLE ROW LEVEL SECURITY;
CREATE POLICY every_ledger ON lease TO ruche_append USING (true) WITH CHECK (true);
