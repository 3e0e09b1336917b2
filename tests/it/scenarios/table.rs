//! The table of scenarios in the documents names tests that are there, and each of those in this folder.

use std::collections::BTreeSet;

use crate::repository::{self, texts};

const TABLE: &str = "docs/scenarios.md";

/// Names of tests in a text that begin as those of scenarios do, such as `a_07_…`, where `before` stands before them.
fn names(text: &str, before: &str) -> BTreeSet<String> {
    let found = text.split(before).skip(1).map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        rest[..end.unwrap_or(rest.len())].to_owned()
    });
    found.filter(|name| is_of_a_scenario(name)).collect()
}

fn is_of_a_scenario(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() > 5
        && name.starts_with("a_")
        && bytes[2].is_ascii_digit()
        && bytes[3].is_ascii_digit()
        && bytes[4] == b'_'
}

#[test]
fn the_table_of_scenarios_names_the_tests_that_are_there() {
    let tests = texts()
        .into_iter()
        .filter(|file| file.path.starts_with("tests/it/"));
    let (mut there, mut told_here) = (BTreeSet::new(), BTreeSet::new());
    for file in tests {
        let found = ["\nfn ", "\nasync fn "].map(|before| names(&file.text, before));
        let found: Vec<String> = found.into_iter().flatten().collect();
        if file.path.starts_with("tests/it/scenarios/") {
            told_here.extend(found.clone());
        }
        there.extend(found);
    }
    let table = std::fs::read_to_string(repository::root().join(TABLE)).expect("the table");
    let named = names(&table, "`");
    let gone: Vec<&String> = named.difference(&there).collect();
    assert!(
        gone.is_empty(),
        "{TABLE} names tests that are not there: {gone:?}"
    );
    let unnamed: Vec<&String> = told_here.difference(&named).collect();
    assert!(unnamed.is_empty(), "{TABLE} does not name {unnamed:?}");
    assert!(!told_here.is_empty());
}
