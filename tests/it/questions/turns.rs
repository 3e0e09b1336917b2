//! Questions 7 to 10: how turns came out, what was in vain, what waits.

use serde_json::{Value, json};

use super::asked::{assert_durations, assert_rows};
use super::story::story;

#[test]
fn q_07_turns_by_outcome_and_stop_reason() {
    let answer = story().answer(7);
    assert_rows(
        &answer["analytics"],
        &[
            ("answered ", "7"),
            ("failed model_down", "1"),
            ("knowledge_gap ", "1"),
            ("superseded ", "1"),
        ],
    );
}

#[test]
fn q_08_turns_that_were_superseded_and_what_they_cost() {
    let answer = story().answer(8);
    assert_rows(
        &answer["part"],
        &[("clerk", "0"), ("desk", "0"), ("shop", "0.25")],
    );
    assert_rows(&answer["read"], &[("shop", "2000")]);
    assert_rows(&answer["written"], &[("", "200")]);
    assert_eq!(
        answer["cost"]["rows"],
        json!([{ "currency": "USD", "value": "0.02" }])
    );
}

#[test]
fn q_09_messages_of_a_turn_and_what_gathering_adds() {
    let answer = story().answer(9);
    // On web two, one, one that another turn takes over beside a second, and one.
    assert_rows(&answer["messages"], &[("api", "1"), ("web", "1.5")]);
    assert_durations(&answer["wait"], &[("api", 0), ("web", 200)]);
    // Here each message counts once, in the turn that has it.
    let lanes = answer["lanes"]["nodes"].as_array().expect("lanes");
    let gathering =
        json!({ "turns": "4", "messages": "5", "messagesPerTurn": 1.25, "addedWaitP95Us": "200000" });
    assert_eq!(
        lanes,
        &[json!({ "name": { "interlocutor": "ann" }, "gathering": gathering })]
    );
}

#[test]
fn q_10_what_waits_and_what_runs_longest() {
    let story = story();
    let answer = story.answer(10);
    let queue = &answer["queue"];
    assert_eq!(
        (&queue["ready"], &queue["queued"]),
        (&json!("1"), &json!("2")),
        "{queue}"
    );
    let running = queue["running"].as_array().expect("turns");
    assert_eq!(running.len(), 1, "{queue}");
    assert_eq!(
        (&running[0]["turnId"], &running[0]["lane"]["interlocutor"]),
        (&story.running, &json!("dora"))
    );
    let lanes = answer["lanes"]["nodes"].as_array().expect("lanes").iter();
    let lanes: Vec<Value> = lanes
        .map(|lane| {
            json!([
                lane["name"]["interlocutor"],
                lane["depth"],
                lane["holder"]["state"]
            ])
        })
        .collect();
    assert_eq!(
        lanes,
        [json!(["dora", "2", "PROCESSING"]), json!(["ed", "1", "READY"])]
    );
    assert_eq!(answer["lanes"]["nodes"][0]["holder"]["turnId"], story.running);
    assert_durations(
        &answer["wait"],
        &[("busy", 1_000), ("clerk", 0), ("desk", 3_000), ("shop", 1_000)],
    );
}
