//! A crowd at two streams, over HTTP: everybody gets an answer, and what was refused for the crowd alone is done later.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::{Value, json};

use super::world::{World, lane, message};
use crate::live::client::mutation;

/// Callers at the same time, half of them at each of two lanes.
const CALLERS: usize = 600;
/// Who has no receipt by then gets none, on a busy machine either.
const END_WAIT_MAX: Duration = Duration::from_secs(180);

/// When a caller comes back that was not told when, ms.
const COME_BACK_MS: u64 = 250;

/// What a caller was told before its receipt.
#[derive(Default)]
struct Told {
    refused: BTreeMap<String, usize>,
    turn: Value,
}

#[test]
fn six_hundred_callers_at_two_streams_are_all_answered() {
    let world = World::new();
    let lanes = ["ann", "eve"].map(|who| lane(who, "api"));
    for lane in &lanes {
        world.session(lane);
    }
    let (http, urls) = (client(), world.urls());
    let told: Vec<Told> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|n| {
                let (http, urls, lane, key) = (&http, &urls, &lanes[n % 2], &world.keys.agent);
                scope.spawn(move || sends(http, urls, key, lane, n))
            })
            .collect();
        let ends = callers
            .into_iter()
            .map(|caller| caller.join().expect("a receipt"));
        ends.collect()
    });
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    for (code, count) in told.iter().flat_map(|told| &told.refused) {
        *refused.entry(code).or_default() += count;
    }
    eprintln!("refused for the crowd: {refused:?}");

    let records = world.records();
    let received = records.iter().filter(|record| record.event == "message.received");
    let received: Vec<&Value> = received.map(|record| &record.payload["text"]).collect();
    let words: BTreeSet<&str> = received.iter().filter_map(|text| text.as_str()).collect();
    assert_eq!((received.len(), words.len()), (CALLERS, CALLERS), "each once");
    let turns = records.iter().filter(|record| record.event == "turn.opened");
    let mut turns: Vec<String> = turns.map(|record| record.turn.to_string()).collect();
    let mut known: Vec<String> = told.iter().map(|told| told.turn.to_string()).collect();
    turns.sort();
    known.sort();
    assert_eq!(turns, known, "a turn for each, and none else");
    world.audit();
}

fn client() -> Client {
    let builder = Client::builder().timeout(END_WAIT_MAX);
    builder.build().expect("a client")
}

/// Sends one message until it has a receipt, to the other server each time.
fn sends(http: &Client, urls: &[String], key: &str, lane: &Value, n: usize) -> Told {
    let (name, input) = message(lane, &format!("m-{n}"), &format!("word {n}"));
    let (query, variables) = mutation("submitMessage", &name, input, "turnId");
    let query = query.replace("code path message", "code path message retryable retryAfterMs");
    let body = json!({ "query": query, "variables": variables }).to_string();
    let (until, mut told) = (Instant::now() + END_WAIT_MAX, Told::default());
    for tries in n / 2.. {
        let request = http.post(format!("{}/graphql", urls[tries % urls.len()]));
        let request = request
            .bearer_auth(key)
            .header("content-type", "application/json");
        let answer = request.body(body.clone()).send().expect("an answer");
        let answer: Value = serde_json::from_str(&answer.text().expect("a body")).expect("JSON");
        let result = &answer["data"]["submitMessage"];
        if result["turnId"].is_string() {
            assert_eq!(result["duplicate"], false, "{answer}");
            told.turn = result["turnId"].clone();
            return told;
        }
        let refusal = match &answer["errors"][0]["extensions"] {
            Value::Null => result,
            extensions => extensions,
        };
        assert_eq!(refusal["retryable"], true, "{answer}");
        let hint = match refusal["code"].as_str() {
            Some("OVERLOADED") => refusal["retryAfterMs"].as_u64().expect("when to come back"),
            // Who is not lent one of the connections to PostgreSQL in time hears no hint.
            Some("UNAVAILABLE") => COME_BACK_MS,
            _ => panic!("{answer}"),
        };
        assert!(Instant::now() < until, "it is overloaded for ever: {answer}");
        *told.refused.entry(refusal["code"].to_string()).or_default() += 1;
        thread::park_timeout(Duration::from_millis(hint));
    }
    unreachable!("tries do not end")
}
