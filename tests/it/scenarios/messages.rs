//! Messages: sent again, meant twice, and in a burst.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{World, lane, message};

const RECEIPTS: &str = "turnId position receipts { position leafHash }";

/// The scenario has the key lapse after a while. Ours do not (`docs/idempotency.md`): the floors of the requirement are
/// kept for ever, and a message that is meant anew comes under a key of its own.
#[test]
fn a_04_a_request_that_is_sent_again() {
    let world = World::new();
    let lane = lane("ann", "api");
    world.session(&lane);
    let (key, input) = message(&lane, "m-1", "hello");
    let first = world.answer("submitMessage", &key, &input, RECEIPTS);
    assert_eq!(
        (&first["code"], &first["duplicate"]),
        (&Value::Null, &json!(false))
    );
    let size = world.size();
    let again = || {
        let mut again = world.answer("submitMessage", &key, &input, RECEIPTS);
        assert_eq!(again["duplicate"].take(), true, "{again}");
        again["duplicate"] = first["duplicate"].clone();
        again
    };

    world.pass(Duration::from_secs(4 * 60 + 59));
    assert_eq!(again(), first, "the same response, the same position");
    let (_, other) = message(&lane, "m-1", "good bye");
    let refused = world.answer("submitMessage", &key, &other, RECEIPTS);
    assert_eq!(refused["code"], "IDEMPOTENCY_MISMATCH", "{refused}");

    world.pass(Duration::from_secs(2 * 24 * 3_600));
    assert_eq!(again(), first, "a key does not lapse");
    assert_eq!(world.size(), size, "one message, one append");
    let anew = world.message(&lane, "m-2", "hello");
    assert_eq!(anew["duplicate"], false);
    assert_ne!(anew["turnId"], first["turnId"]);
    world.audit();
}

#[test]
fn a_05_a_delivery_that_is_repeated_and_two_answers_that_are_meant() {
    let world = World::new();
    for channel in ["api", "whatsapp"] {
        let lane = lane("ann", channel);
        world.session(&lane);
        let first = world.message(&lane, "m-1", "hello");
        world.pass(Duration::from_secs(20));
        let answered = world.claim(&lane);
        world.commit(&answered, "hello yourself");

        // The channel delivers it once more, as another request.
        world.pass(Duration::from_secs(20));
        let (_, input) = message(&lane, "m-1", "hello");
        let size = world.size();
        let again = world.answer("submitMessage", &format!("retry on {channel}"), &input, RECEIPTS);
        assert_eq!(
            (&again["duplicate"], &again["turnId"], &again["position"]),
            (&json!(true), &first["turnId"], &first["position"]),
            "{again}"
        );
        assert_eq!(world.size(), size, "nothing was written");

        world.message(&lane, "m-2", "yes");
        world.message(&lane, "m-3", "yes");
        world.pass(Duration::from_secs(11));
        let mut reached = Vec::new();
        while reached.len() < 2 {
            let worker = world.claim(&lane);
            world.commit(&worker, "noted");
            let read = world.read_turn(&worker.turn);
            let messages = read["messages"]["nodes"].as_array().expect("messages").clone();
            reached.extend(messages.into_iter().filter(|message| message["role"] == "USER"));
        }
        let yes = json!({ "role": "USER", "text": "yes" });
        assert_eq!(reached, [yes.clone(), yes], "{channel}");
    }
    let received = world.records();
    let received = received
        .iter()
        .filter(|record| record.event == "message.received");
    let words: Vec<&Value> = received.map(|record| &record.payload["text"]).collect();
    assert_eq!(words, ["hello", "yes", "yes", "hello", "yes", "yes"]);
    world.audit();
}

/// With the settings of the channel `whatsapp`: a window that a message makes longer, by 2.5 s to 10 s, and 20 messages
/// at most. 27 messages come in exactly 540 ms.
#[test]
fn a_06_a_burst_becomes_as_few_turns_as_hold_it() {
    let world = World::new();
    let lane = lane("ann", "whatsapp");
    world.session(&lane);
    a_burst(world, &lane, (20, 7), Duration::from_millis(20));
}

/// The numbers of the scenario, which no channel has by itself: a window of 800 ms and a burst of five, and seven messages
/// in 600 ms.
#[test]
fn a_06_a_burst_at_the_numbers_of_the_scenario() {
    let world = World::new();
    let settings =
        json!({ "turns.debounce_us": 800_000, "turns.window_us_max": 800_000, "turns.messages_max": 5 });
    let of_channel = json!({ "scope": "CHANNEL", "scopeId": "chat", "set": settings });
    world.done("publishConfiguration", &of_channel, "position");
    let lane = lane("ann", "chat");
    world.session(&lane);
    a_burst(world, &lane, (5, 2), Duration::from_millis(100));
}

/// Messages come one every so often, and become a full turn and one with the rest. The clock stands in between.
fn a_burst(world: World, lane: &Value, (burst, rest): (usize, usize), apart: Duration) {
    world.clock.stand().expect("the clock stands");
    let mut turns = Vec::new();
    for n in 0..burst + rest {
        let came = world.message(lane, &format!("m-{n}"), &format!("word {n}"));
        turns.push(came["turnId"].clone());
        if n + 1 < burst + rest {
            world.pass(apart);
        }
    }
    assert!(turns[..burst].iter().all(|turn| *turn == turns[0]), "{turns:?}");
    assert!(
        turns[burst..].iter().all(|turn| *turn == turns[burst]),
        "{turns:?}"
    );
    assert_ne!(turns[0], turns[burst]);

    world.pass(Duration::from_secs(3));
    for (turn, words) in [(&turns[0], 0..burst), (&turns[burst], burst..burst + rest)] {
        let worker = world.claim(lane);
        assert_eq!(&worker.turn, turn, "in order");
        world.commit(&worker, "noted");
        let said = words.map(|n| json!({ "role": "USER", "text": format!("word {n}") }));
        let mut said: Vec<Value> = said.collect();
        said.push(json!({ "role": "ASSISTANT", "text": "noted" }));
        let read = world.read_turn(turn);
        assert_eq!(
            read["messages"]["nodes"],
            json!(said),
            "one response to all of them"
        );
    }
    let none_is_left = world.refused("claimTurn", &json!({ "lane": lane }));
    assert_eq!(none_is_left["code"], "ILLEGAL_TRANSITION", "{none_is_left}");
    let records = world.records();
    let sealed: Vec<&Value> = records
        .iter()
        .filter(|record| record.event == "turn.sealed")
        .map(|record| &record.payload["reason"])
        .collect();
    assert_eq!(sealed, ["messages_max", "deadline"]);

    // Folded from the records, the lane has the same two turns; decided again, it comes to the same records.
    let state = "query ($lane: LaneInput!) { stateAt(of: { laneNamed: $lane }) { state digest } }";
    let state = world.read(state, &json!({ "lane": lane }));
    let folded = state["stateAt"]["state"]["lane"]["turns"]
        .as_array()
        .expect("turns");
    let grouped = folded
        .iter()
        .map(|turn| (turn["id"].clone(), turn["messages"].as_array().map(Vec::len)));
    let expected = [
        (turns[0].clone(), Some(burst)),
        (turns[burst].clone(), Some(rest)),
    ];
    assert_eq!(grouped.collect::<Vec<_>>(), expected);
    let again = world.read(
        "{ verifyRange { holds findingsTotal appendsDecidedAgain } }",
        &Value::Null,
    );
    assert_eq!(
        (
            &again["verifyRange"]["holds"],
            &again["verifyRange"]["findingsTotal"]
        ),
        (&json!(true), &json!("0")),
        "{again}"
    );
    world.audit();
}
