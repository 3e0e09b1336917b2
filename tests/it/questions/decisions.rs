//! Questions 11 to 15 of the story: what people decided, and what ran.

use ruche_ledger::hash::Hash;
use serde_json::json;

use super::asked::{assert_durations, assert_rows};
use super::story::story;

#[test]
fn q_11_how_long_people_take_to_decide() {
    let story = story();
    let answer = story.answer(11);
    assert_durations(&answer["p50"], &[("refund alice", 10_000), ("refund bob", 1_000)]);
    let hours = answer["p50"]["rows"].as_array().expect("rows").iter();
    let hours: Vec<(&str, &str)> = hours
        .map(|row| {
            let bucket = row["bucket"].as_str().expect("an hour");
            (&bucket[..13], row["count"].as_str().expect("a number"))
        })
        .collect();
    let hour = format!("{}T09", story.date(0));
    assert_eq!(hours, [(hour.as_str(), "1"), (hour.as_str(), "2")]);
    assert_durations(&answer["p95"], &[("refund", 10_000)]);
    assert_rows(&answer["expired"], &[("refund", "0.25")]);
}

#[test]
fn q_12_what_is_approved_by_rule_and_without_reading() {
    let story = story();
    let answer = story.answer(12);
    // A look, a charge, four refunds and a booking; on Tuesday a charge.
    let row = |day: u64, [decisions, requested, granted, denied, expired]: [&str; 5]| {
        json!({ "day": story.date(day), "rule": "no_policy", "verdict": "ALLOW", "decisions": decisions,
            "approvalsRequested": requested, "approvalsGranted": granted, "approvalsDenied": denied,
            "approvalsExpired": expired })
    };
    assert_eq!(
        answer["policyVerdicts"],
        json!([
            row(0, ["7", "4", "2", "1", "1"]),
            row(1, ["1", "0", "0", "0", "0"])
        ])
    );
    assert_rows(&answer["quick"], &[("alice", "0"), ("bob", "1")]);
}

#[test]
fn q_13_what_a_person_approved_and_saw() {
    let answer = story().answer(13);
    let nodes = answer["approvals"]["nodes"].as_array().expect("requests");
    assert_eq!(nodes.len(), 1, "what bob rejected is not among them: {answer}");
    let approved = &nodes[0];
    assert_eq!(
        (&approved["tool"], &approved["arguments"], &approved["state"]),
        (&json!("refund"), &json!("{\"key\":\"r-3\"}"), &json!("CONSUMED"))
    );
    let view = approved["view"].as_str().expect("a view");
    assert!(
        view.contains("tool: refund\n") && view.contains("{\"key\":\"r-3\"}"),
        "{view}"
    );
    assert_eq!(
        approved["viewDigest"],
        Hash::sha256(view.as_bytes()).to_string(),
        "what was signed is what is shown"
    );
    let votes = approved["votes"].as_array().expect("votes");
    assert_eq!(
        (votes.len(), &votes[0]["reviewer"], &votes[0]["decision"]),
        (1, &json!("bob"), &json!("APPROVE"))
    );
}

#[test]
fn q_14_what_was_denied_and_tried_with_another_tool() {
    let answer = story().answer(14);
    let arguments = "{\"key\":\"r-2\"}";
    assert_eq!(
        answer["effects"]["nodes"],
        json!([{ "tool": "refund", "arguments": arguments, "notExecutedCause": "REJECTED",
            "notExecutedReason": "not ours",
            "retriedAs": [{ "tool": "book", "arguments": arguments, "status": "COMPLETED" }] }])
    );
}

#[test]
fn q_15_nothing_ran_without_an_approval() {
    let story = story();
    let ran = story.world.effects(Some("COMPLETED"));
    let refunds = ran.as_array().expect("effects").iter();
    assert_eq!(
        refunds.filter(|effect| effect["tool"] == "refund").count(),
        2,
        "two that cannot be undone ran"
    );
    assert_eq!(story.answer(15)["effects"]["nodes"], json!([]));
}
