//! The table of scenarios in the documents names tests that are there, and each of those in this folder.

use crate::tables_of_tests::Table;

#[test]
fn the_table_of_scenarios_names_the_tests_that_are_there() {
    let table = Table {
        document: "docs/scenarios.md",
        folder: "tests/it/scenarios/",
        prefix: "a_",
    };
    table.check();
}
