//! Questions 23 and 24: what a change of the configuration did, and whether scores rise.

use serde_json::{Value, json};

use super::asked::{assert_rows, rows};
use super::story::story;

/// What stands under each of the two configurations of the shop.
fn by_configuration(analytics: &Value) -> [Vec<(String, String)>; 2] {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for (key, value) in rows(analytics) {
        let (config, rest) = key.split_once(' ').unwrap_or((key.as_str(), ""));
        let told = (rest.to_owned(), value.unwrap_or_else(|| "unknown".to_owned()));
        match found.iter_mut().find(|(name, _)| name == config) {
            Some((_, rows)) => rows.push(told),
            None => found.push((config.to_owned(), vec![told])),
        }
    }
    assert_eq!(found.len(), 2, "two configurations: {analytics}");
    assert!(
        found.iter().all(|(name, _)| name.len() == 64),
        "each has its digest: {analytics}"
    );
    [found.remove(0).1, found.remove(0).1]
}

#[test]
fn q_23_before_and_after_a_change() {
    let story = story();
    let weeks = json!({ "first": story.day(0), "second": story.day(7), "end": story.day(14) });
    let answer = story.answer_with(23, weeks);
    let text = |told: &str| told.to_owned();
    // T1 and T3 told what they cost; T6 ran with the other configuration.
    let mut costs = by_configuration(&answer["cost"]);
    costs.sort();
    assert_eq!(
        costs,
        [vec![(text(""), text("0.001"))], vec![(text(""), text("0.03"))]]
    );
    let mut outcomes = by_configuration(&answer["outcomes"]);
    outcomes.sort();
    assert_eq!(
        outcomes,
        [
            vec![(text("answered"), text("1"))],
            vec![(text("answered"), text("2")), (text("superseded"), text("1"))],
        ]
    );
    let mut latency: Vec<u64> = by_configuration(&answer["latency"])
        .iter()
        .map(|rows| rows[0].1.parse().expect("a duration"))
        .collect();
    latency.sort_unstable();
    for (told, known) in latency.iter().zip([1_500_000_u64, 4_200_000]) {
        assert!(told.abs_diff(known) * 1_000 <= known * 16, "{answer}");
    }
    assert_rows(&answer["failures"], &[("", "0.5")]);
    assert_rows(&answer["scores"], &[("helpful", "1")]);
    let before = &answer["scores"]["rows"][0]["compared"];
    assert_eq!(before, &json!({ "value": "0.375", "count": "2" }));
}

#[test]
fn q_24_scores_by_week() {
    let story = story();
    let answer = story.answer(24);
    assert_rows(
        &answer["analytics"],
        &[("helpful shop orders", "0.375"), ("helpful shop orders", "1")],
    );
    let weeks = answer["analytics"]["rows"].as_array().expect("rows").iter();
    let weeks: Vec<&str> = weeks
        .map(|row| &row["bucket"].as_str().expect("a week")[..10])
        .collect();
    assert_eq!(weeks, [story.date(0), story.date(7)]);
}
