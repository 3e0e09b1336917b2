//! The queries as the document has them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::markdown;
use crate::repository;
use crate::tables_of_tests::Table;

const DOCUMENT: &str = "docs/questions.md";
/// Questions there are.
const QUESTIONS: usize = 25;

/// The document's query for a question: the block of GraphQL under its heading.
pub fn query(number: usize) -> String {
    let text = std::fs::read_to_string(repository::root().join(DOCUMENT)).expect("the document");
    let headings = markdown::headings(&text, 2);
    let opening = format!("{number}. ");
    let at = headings
        .iter()
        .position(|(_, heading)| heading.starts_with(&opening));
    let at = at.unwrap_or_else(|| panic!("no heading `## {opening}`"));
    let from = headings[at].0;
    let to = headings.get(at + 1).map_or(usize::MAX, |(line, _)| *line);
    let (_, blocks) = markdown::split(&text);
    let mut blocks = blocks
        .into_iter()
        .filter(|block| block.language == "graphql" && (from..to).contains(&block.line));
    let block = blocks.next().expect("a query under each heading");
    assert!(blocks.next().is_none(), "one query under each heading: {number}");
    block.text
}

/// Rows as texts: the values of their key, joined, and the value.
pub fn rows(analytics: &Value) -> Vec<(String, Option<String>)> {
    let rows = analytics["rows"].as_array().expect("rows").iter();
    rows.map(|row| (key(row), row["value"].as_str().map(str::to_owned)))
        .collect()
}

/// The values of the key of a row.
pub fn key(row: &Value) -> String {
    let parts = row["key"].as_array().map(Vec::as_slice).unwrap_or_default();
    let parts: Vec<&str> = parts
        .iter()
        .map(|part| part["value"].as_str().expect("a text"))
        .collect();
    parts.join(" ")
}

/// Rows that are known exactly.
#[track_caller]
pub fn assert_rows(analytics: &Value, expected: &[(&str, &str)]) {
    let told = rows(analytics);
    let told: Vec<(&str, &str)> = told
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_deref().unwrap_or("unknown")))
        .collect();
    assert_eq!(told, expected, "{analytics}");
}

/// Rows of durations, which are right within 1.6 percent: ms that are known.
#[track_caller]
pub fn assert_durations(analytics: &Value, expected: &[(&str, u64)]) {
    let told = rows(analytics);
    let keys: Vec<&str> = told.iter().map(|(key, _)| key.as_str()).collect();
    let known: Vec<&str> = expected.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, known, "{analytics}");
    for ((key, told), (_, known_ms)) in told.iter().zip(expected) {
        let told: u64 = told
            .as_deref()
            .and_then(|told| told.parse().ok())
            .expect("a number");
        let known = known_ms * 1_000;
        assert!(
            told.abs_diff(known) * 1_000 <= known * 16,
            "{key}: {told} µs and not {known}"
        );
    }
}

#[test]
fn each_question_has_a_query_and_a_row_with_its_tests() {
    let table = Table {
        document: DOCUMENT,
        folder: "tests/it/questions/",
        prefix: "q_",
    };
    table.check();
    let text = std::fs::read_to_string(repository::root().join(DOCUMENT)).expect("the document");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let numbers: Vec<usize> = rows
        .filter_map(|row| row.split(" |").next()?.parse().ok())
        .collect();
    assert_eq!(numbers, (1..=QUESTIONS).collect::<Vec<_>>());
    let queries: BTreeSet<String> = (1..=QUESTIONS).map(query).collect();
    assert_eq!(queries.len(), QUESTIONS, "each has a query of its own");
    let (_, blocks) = markdown::split(&text);
    assert_eq!(blocks.len(), QUESTIONS, "and there are no others");
}
