-- Which database of tree heads the nodes of this deployment have. One row, of the first node that has one. Deleted by an
-- administrator who knows that it is lost for good, or that promises were copied to another one.
CREATE TABLE deployment_tree_heads (
    one boolean PRIMARY KEY CHECK (one),
    id  uuid    NOT NULL
);
GRANT SELECT, INSERT ON deployment_tree_heads TO ruche_append;
