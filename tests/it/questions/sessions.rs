//! Questions 17 to 19: what happened in a session, whose sessions there are, which of them hang.

use ruche_domain::numbers::Micros;
use serde_json::{Value, json};

use super::story::story;

#[test]
fn q_17_what_happened_in_a_session() {
    let story = story();
    let found = story.world.read(
        "{ sessions(filter: { externalId: \"bob on api\" }) { nodes { id } } }",
        &Value::Null,
    );
    let session = &found["sessions"]["nodes"][0]["id"];
    let (mut entries, mut after, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let answer = story.answer_with(17, json!({ "session": session, "after": after }));
        let page = &answer["session"]["timeline"];
        entries.extend(page["nodes"].as_array().expect("entries").iter().cloned());
        pages += 1;
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    assert_eq!(
        pages,
        entries.len().div_ceil(10),
        "pages of ten without a gap and without a repeat"
    );
    let of_type = |kind: &str, field: &str| -> Vec<Value> {
        let entries = entries.iter().filter(|entry| entry["type"] == kind);
        entries.map(|entry| entry[field].clone()).collect()
    };
    assert_eq!(
        of_type("message.received", "text"),
        ["pay order 8", "pay order 9"]
    );
    assert_eq!(of_type("message.sent", "text"), ["paid, I think"]);
    assert_eq!(
        of_type("llm.responded", "cost"),
        [json!({ "amount": "0.002", "currency": "USD" })]
    );
    assert_eq!(of_type("tool.started", "type").len(), 3, "twice, and once");
    assert_eq!(of_type("turn.failed", "type").len(), 1);
}

#[test]
fn q_18_what_a_person_came_for() {
    let answer = story().answer(18);
    assert_eq!(
        answer["all"]["nodes"],
        json!([{ "externalId": "ann on phone", "channel": "phone" }, { "externalId": "ann on web", "channel": "web" }])
    );
    let goal = json!({ "goal": "g-1", "description": "the money back" });
    assert_eq!(
        answer["open"]["nodes"],
        json!([{ "channel": "phone", "goals": { "nodes": [goal] } }])
    );
}

#[test]
fn q_19_which_sessions_hang() {
    let story = story();
    // All was still a second after the end. Dora wrote last two seconds before, and ed at the end.
    let idle = |us: u64| json!({ "idle": Micros(us).to_rfc3339() });
    let names = |answer: &Value, state: &str| -> Vec<Value> {
        let nodes = answer[state]["nodes"].as_array().expect("sessions").iter();
        nodes.map(|session| session["externalId"].clone()).collect()
    };
    let still = story.answer_with(19, idle(story.end + 2_000_000));
    assert_eq!(names(&still, "frozen"), ["ed on api", "dora on api"]);
    assert_eq!(names(&still, "active"), [] as [Value; 0]);
    let before = story.answer_with(19, idle(story.end - 2_000_000));
    assert_eq!(names(&before, "frozen"), [] as [Value; 0]);
    assert_eq!(names(&before, "active"), ["ed on api", "dora on api"]);
}
