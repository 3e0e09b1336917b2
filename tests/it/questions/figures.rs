//! Questions 1 to 6: costs, tokens, latencies, tools.

use serde_json::{Value, json};

use super::asked::{assert_durations, assert_rows, key, rows};
use super::story::story;

/// Amounts with their currency, and of how many calls they are known.
fn amounts(analytics: &Value) -> Value {
    let rows = analytics["rows"].as_array().expect("rows").iter();
    rows.map(|row| {
        json!([
            key(row),
            row["currency"],
            row["value"],
            row["known"],
            row["count"]
        ])
    })
    .collect()
}

#[test]
fn q_01_what_it_cost_by_day_agent_scenario_and_model() {
    let story = story();
    let answer = story.answer(1);
    let told = amounts(&answer["told"]);
    assert_eq!(
        told,
        json!([
            // What T4 cost nobody told.
            ["desk bills small", "USD", "0.002", "1", "1"],
            ["shop orders large", "USD", "0.03", "2", "2"],
            ["shop orders small", null, null, "0", "1"],
            ["desk bills small", null, null, "0", "1"],
            ["shop orders large", "USD", "0.001", "1", "1"],
        ])
    );
    let days = answer["told"]["rows"].as_array().expect("rows").iter();
    let days: Vec<String> = days
        .map(|row| row["bucket"].as_str().expect("a day")[..10].to_owned())
        .collect();
    let [first, second, last] = [story.date(0), story.date(1), story.date(7)];
    assert_eq!(days, [&first, &first, &first, &second, &last].map(Clone::clone));
    // 600 tokens read, 400 of a cache and 100 written; 2,000 and 200; 100 and 10. 500 and 50; 300 and 30.
    assert_eq!(
        amounts(&answer["byPrices"]),
        json!([
            ["large", "USD", "0.0089", "3", "3"],
            ["small", "USD", "0.00048", "2", "3"]
        ])
    );
}

#[test]
fn q_02_tokens_by_model_and_week() {
    let story = story();
    let answer = story.answer(2);
    assert_rows(
        &answer["read"],
        &[("large", "3000"), ("small", "800"), ("large", "100")],
    );
    let weeks = answer["read"]["rows"].as_array().expect("rows").iter();
    let weeks: Vec<&str> = weeks
        .map(|row| &row["bucket"].as_str().expect("a week")[..10])
        .collect();
    assert_eq!(weeks, [story.date(0), story.date(0), story.date(7)]);
    let small = &answer["read"]["rows"][1];
    assert_eq!(
        (&small["known"], &small["count"]),
        (&json!("2"), &json!("3")),
        "the call that failed tells none"
    );
    assert_rows(&answer["written"], &[("large", "310"), ("small", "80")]);
    assert_rows(&answer["cached"], &[("large", "400"), ("small", "unknown")]);
    assert_rows(&answer["reasoning"], &[("large", "40"), ("small", "unknown")]);
    assert_eq!(answer["cached"]["rows"][0]["known"], "1");
}

#[test]
fn q_03_latency_of_turns_by_channel_agent_and_configuration() {
    let answer = story().answer(3);
    // Clerks: 2, 2, 11 and 86,460 s. Desk: 3 and 7 s. Shop: 1.5, 2 and 4.2 s; what was superseded is not among them.
    assert_durations(
        &answer["p50"],
        &[("api clerk", 2_000), ("api desk", 3_000), ("web shop", 2_000)],
    );
    assert_durations(
        &answer["p95"],
        &[
            ("api clerk", 86_460_000),
            ("api desk", 7_000),
            ("web shop", 4_200),
        ],
    );
    let mut by_configuration: Vec<u64> = rows(&answer["p99"])
        .into_iter()
        .map(|(_, value)| value.and_then(|value| value.parse().ok()).expect("a duration"))
        .collect();
    by_configuration.sort_unstable();
    assert_eq!(by_configuration.len(), 2, "{answer}");
    for (told, known) in by_configuration.iter().zip([1_500_000_u64, 4_200_000]) {
        assert!(told.abs_diff(known) * 1_000 <= known * 16, "{answer}");
    }
}

#[test]
fn q_04_time_to_the_first_chunk_by_model() {
    let answer = story().answer(4);
    assert_durations(&answer["analytics"], &[("large", 500), ("small", 100)]);
    let small = &answer["analytics"]["rows"][1];
    assert_eq!((&small["known"], &small["count"]), (&json!("1"), &json!("2")));
}

#[test]
fn q_05_errors_and_latency_of_tools() {
    let answer = story().answer(5);
    assert_rows(
        &answer["errors"],
        &[("book", "0"), ("charge", "0.5"), ("look", "0"), ("refund", "0")],
    );
    assert_durations(
        &answer["slow"],
        &[
            ("book", 1_000),
            ("charge", 2_000),
            ("look", 1_000),
            ("refund", 1_000),
        ],
    );
}

#[test]
fn q_06_retries_and_outcomes_in_doubt() {
    let answer = story().answer(6);
    assert_rows(&answer["retries"], &[("charge", "1")]);
    assert_rows(&answer["doubts"], &[("charge", "1")]);
    assert_eq!(
        answer["effects"]["nodes"],
        json!([{ "tool": "charge", "businessKey": "o-9", "attempts": "1", "error": "lost",
            "turn": { "status": "FAILED" } }])
    );
}
