-- Which database this is. The ledgers' database notes it: with another one, what was promised would be unknown, and records
-- could be signed a second time in other places. A copy of this database has the same one and is as good.
CREATE TABLE identity (
    one boolean PRIMARY KEY CHECK (one),
    id  uuid    NOT NULL
);
INSERT INTO identity (one, id) VALUES (true, gen_random_uuid());
