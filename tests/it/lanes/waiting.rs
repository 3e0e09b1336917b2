//! Whether a refused request is worth another try, and when.

use serde_json::{Value, json};

use super::{World, held, lane};

/// What a client that knows no code goes by.
fn hint(refused: &Value) -> (bool, Option<u64>) {
    let retryable = refused["retryable"].as_bool().expect("it is refused");
    (retryable, refused["retryAfterMs"].as_u64())
}

fn lists(refused: &Value, mutation: &str) -> bool {
    let legal = refused["legal"].as_array().expect("a list");
    legal.contains(&json!(mutation))
}

/// Milliseconds, where nobody knows better.
const AFTER_A_WHILE: (bool, Option<u64>) = (true, Some(1_000));
const NEVER: (bool, Option<u64>) = (false, None);

#[test]
fn a_claim_is_worth_another_try_and_says_when() {
    let (world, lane) = (World::on("api"), lane("api"));
    let claims = [json!({ "agent": "shop" }), json!({ "lane": lane })];
    let claim = |input: &Value| world.mutate("claimTurn", "claim", input.clone(), "turnId");
    for input in &claims {
        let refused = claim(input);
        assert_eq!(hint(&refused), AFTER_A_WHILE, "an empty queue: {refused}");
        assert!(!lists(&refused, "claimTurn"), "{refused}");
    }
    // A turn that is to be tried again some time later, which is known.
    world.message("m-1", "c-1", "hello", &lane);
    let mut fail = held(&world.claim("claim-1", &lane), &lane);
    (fail["errorType"], fail["retryable"]) = (json!("model_down"), json!(true));
    let failed = world.sent("failTurn", "fail", fail, "position");
    world.ask(
        "query ($p: Position) { turns(first: 1, minPosition: $p) { nodes { id } } }",
        json!({ "p": failed["position"] }),
    );
    world.ask(
        "query ($p: Position) { lanes(first: 1, minPosition: $p) { nodes { id } } }",
        json!({ "p": failed["position"] }),
    );
    for input in &claims {
        let refused = claim(input);
        if refused["code"].is_null() {
            // The machine was held up for as long as the turn had to wait.
            return;
        }
        let (retryable, after) = hint(&refused);
        let after = after.expect("it is known when");
        assert!(retryable && (1..=1_000).contains(&after), "{refused}");
    }
}

#[test]
fn what_is_refused_for_now_is_told_from_what_is_refused_for_good() {
    let (world, lane) = (World::on("api"), lane("api"));
    let set = json!({ "turns.strategy": "reject_new" });
    let of_channel = json!({ "scope": "CHANNEL", "scopeId": "api", "set": set });
    world.administer("publishConfiguration", "settings", of_channel, "position");
    world.message("m-1", "c-1", "hello", &lane);
    let worker = held(&world.claim("claim-1", &lane), &lane);

    let refused = world.message("m-2", "c-2", "anybody there?", &lane);
    assert_eq!(hint(&refused), AFTER_A_WHILE, "{refused}");
    assert!(!lists(&refused, "submitMessage"), "it was refused: {refused}");
    let words = refused["message"].as_str().expect("words");
    assert!(words.contains("the channel takes no message"), "{words}");

    // Nobody registered the tool, so people are asked.
    let with = |parts: Value| {
        let mut input = worker.clone();
        let parts = parts.as_object().expect("fields").clone();
        input.as_object_mut().expect("fields").extend(parts);
        input
    };
    let action = with(json!({ "tool": "charge_card", "arguments": "{}", "businessKey": "7" }));
    let call = world.sent("proposeAction", "propose", action, "callId gate");
    assert_eq!(call["gate"], "APPROVAL", "{call}");
    let start = with(json!({ "callId": call["callId"] }));
    for key in ["start-1", "start-2"] {
        let refused = world.mutate("startEffect", key, start.clone(), "callId");
        assert_eq!(hint(&refused), AFTER_A_WHILE, "{refused}");
        let words = refused["message"].as_str().expect("words");
        assert!(words.ends_with("people are still to decide"), "{words}");
    }
    let commit = world.mutate("commitTurn", "commit", worker.clone(), "turnId");
    assert_eq!(hint(&commit), AFTER_A_WHILE, "{commit}");
    let mut stranger = worker.clone();
    stranger["lease"]["epoch"] = json!("9");
    let refused = world.mutate("commitTurn", "stranger", stranger, "turnId");
    assert_eq!(hint(&refused), NEVER, "{refused}");

    world.sent(
        "cancelTurn",
        "cancel",
        json!({ "lane": lane, "turnId": worker["turnId"] }),
        "turnId",
    );
    let refused = world.mutate("startEffect", "start-3", start, "callId");
    assert_eq!(hint(&refused), NEVER, "{refused}");
    let again = world.message("m-2", "c-2", "anybody there?", &lane);
    assert!(again["code"].is_null(), "the same request, later: {again}");
    let cancel = json!({ "lane": lane, "turnId": again["turnId"] });
    world.sent("cancelTurn", "cancel-2", cancel, "turnId");
    world.audit();
}
