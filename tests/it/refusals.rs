//! What is refused has changed nothing: over random stories, every mutation is sent good, spoilt in each place of its input,
//! under keys and credentials that may not, and stale; after every refusal nothing was written to any file, whatever the
//! code, but for what docs/tool-calls.md says of starts. A key that a refusal came under is free.
//!
//! A failure names the seed of its story and the request; the same seed tells the same story.

mod answers;
mod codes;
mod doors;
mod foreign;
mod good;
mod known;
mod spoilt;
mod stage;
mod story;

use std::collections::BTreeSet;

use ruche_tests::server::graphql;
use serde_json::{Value, json};

use crate::live::client;

use known::{MUTATIONS, OF_THE_ONLY_TENANT};
use spoilt::spoilt;
use story::{Came, Seen, Story};

/// Stories, and the random requests of each before and after everything is tried in order.
const SEEDS: std::ops::Range<u64> = 0..2;
const STEPS: usize = 200;
/// What may be recorded of what is refused: docs/tool-calls.md.
const RECORDED: [&str; 5] = [
    "approval.stale tool.start_refused",
    "approval.use_refused",
    "approval.voided tool.start_refused",
    "approval.vote_refused",
    "tool.start_refused",
];

#[test]
fn what_is_refused_has_changed_nothing() {
    let mut seen = Seen::default();
    for seed in SEEDS {
        let mut story = Story::new(seed, &mut seen);
        for _ in 0..STEPS {
            story.step();
        }
        for mutation in MUTATIONS {
            each_in_order(&mut story, mutation);
        }
        for _ in 0..STEPS {
            story.step();
        }
    }
    what_has_to_be_seen(&mut Story::new(SEEDS.end, &mut seen));
    eprintln!("{} refusals", seen.refusals);
    let all: BTreeSet<&str> = MUTATIONS.into();
    assert_eq!(
        seen.done, all,
        "each is carried out at times, else its refusals say little"
    );
    assert_eq!(seen.freed, all, "the key of a refusal is free for each");
    codes::compare(&seen.codes);
    let recorded: BTreeSet<String> = seen.recorded.iter().map(|types| types.join(" ")).collect();
    assert_eq!(
        recorded,
        RECORDED.map(str::to_owned).into(),
        "each exception was met"
    );
}

/// A mutation by those who may not, under keys that may not, and spoilt in each place, where it would be carried out if
/// it was good.
fn each_in_order(story: &mut Story<'_>, mutation: &'static str) {
    let lane = story.known.below(2);
    story.prepare(mutation, lane);
    let mut good = story.known.good(&story.stage, mutation, lane);
    story.as_others(mutation, &good);
    story.as_stranger(mutation, &good);
    story.under_bad_keys(mutation, &good);
    let mut all = spoilt(&good);
    let mut next = 0;
    while let Some(one) = all.get(next) {
        next += 1;
        let came = story.request(mutation, one.input.clone(), lane);
        if matches!(came, Came::Done(_)) {
            // It was good after all, and things are not as they were.
            story.prepare(mutation, lane);
            good = story.known.good(&story.stage, mutation, lane);
            all = spoilt(&good);
        }
    }
}

/// What random requests may never come to: a call that people allowed, of a tool that was registered otherwise since; a key
/// that was revoked and comes back; an effect that is undone, and one in doubt.
fn what_has_to_be_seen(story: &mut Story<'_>) {
    let tool = |name: &str, effect: &str, undo: Option<&str>| {
        let mut tool = json!({ "name": name, "sideEffect": effect, "owner": "shop" });
        tool["compensationTool"] = json!(undo);
        tool
    };
    done(story, "registerTool", tool("charge_card", "IRREVERSIBLE", None));
    done(story, "registerTool", tool("create_ticket", "IDEMPOTENT", None));
    done(story, "registerTool", tool("release_seat", "IDEMPOTENT", None));
    done(
        story,
        "registerTool",
        tool("reserve_seat", "COMPENSATABLE", Some("release_seat")),
    );

    an_approval_that_lapsed(story);

    call(story, "charge_card");
    let vote = story.known.vote_of(&story.stage, &story.stage.alice);
    done(story, "voteOnApproval", vote);
    done(story, "registerTool", tool("charge_card", "IDEMPOTENT", None));
    let start = about_the_call(story, true, json!({}));
    refused(story, "startEffect", start);
    let mut said = story.known.held(0);
    said["message"] = json!({ "text": long() });
    refused(story, "sendMessage", said.clone());
    said["message"] = json!({ "text": "one moment" });
    done(story, "sendMessage", said);
    fail(story);
    let lane = &story.known.lanes[0];
    let settle = json!({ "lane": lane.name, "turnId": lane.turn, "by": "ann", "reason": "sent again" });
    let late = json!({ "lane": lane.name, "turnId": lane.turn, "reason": "too late" });
    done(story, "settleIntervention", settle);
    refused(story, "cancelTurn", late);

    call(story, "reserve_seat");
    report(story, json!({ "completed": { "result": "7A" } }));
    fail(story);
    let undo = about_the_call(story, false, json!({}));
    done(story, "startCompensation", undo);
    let permit = story.known.lanes[0].undoing.last().expect("a permit").1.clone();
    let failed = json!({ "permit": permit, "outcome": { "failed": { "errorType": "no", "error": long() } } });
    let failed = about_the_call(story, false, failed);
    refused(story, "reportCompensation", failed);
    let outcome = json!({ "permit": permit, "outcome": { "compensated": { "externalRef": "T-1" } } });
    let undone = about_the_call(story, false, outcome);
    done(story, "reportCompensation", undone);

    call(story, "create_ticket");
    report(story, json!({ "unknown": { "cause": "timeout" } }));
    let said = json!({ "outcome": "COMPLETED", "by": "ann", "evidence": "seen", "result": long() });
    let resolve = about_the_call(story, false, said);
    refused(story, "resolveOutcome", resolve);
    let said = json!({ "outcome": "COMPLETED", "by": "ann", "evidence": "seen" });
    let resolve = about_the_call(story, false, said);
    done(story, "resolveOutcome", resolve);

    let bob = story.stage.bob.registration();
    done(story, "registerReviewerKey", bob.clone());
    let revoke = json!({ "keyId": story.stage.bob.key_id(), "reason": long() });
    refused(story, "revokeReviewerKey", revoke);
    story.sends("revokeReviewerKey", 0);
    refused(story, "registerReviewerKey", bob);

    let set = json!({ "scope": "AGENT", "scopeId": "shop", "set": { "new": 1 }, "reason": long() });
    refused(story, "publishConfiguration", set);
    let query = json!({ "metric": "COST", "last": 3_600, "filter": { "agent": long() } });
    refused(story, "saveQuery", json!({ "name": "long", "query": query }));
    refused(story, "startSession", json!({ "externalId": "other-1" }));
    let broken = json!({ "type": "goal.set", "schemaVersion": 1, "data": { "text": "{" } });
    let target = json!({ "named": { "category": "GOAL", "externalId": "g" } });
    refused(
        story,
        "appendEvents",
        json!({ "target": target, "events": [broken] }),
    );
    allowed_too_late(story);
}

/// People allow something just before it lapses, and the worker is slower than that.
fn allowed_too_late(story: &mut Story<'_>) {
    const DECIDE_S: u64 = 24 * 3_600;
    const LEASE_S: u64 = 30;
    let later = |story: &Story<'_>, seconds: u64| {
        let clock = &story.stage.clock.0;
        clock.fetch_add(seconds * 1_000_000, std::sync::atomic::Ordering::SeqCst);
    };
    fail(story);
    call(story, "pay_out");
    later(story, DECIDE_S - LEASE_S / 2);
    let vote = story.known.vote_of(&story.stage, &story.stage.alice);
    done(story, "voteOnApproval", vote);
    later(story, LEASE_S - 1);
    let start = about_the_call(story, true, json!({}));
    refused(story, "startEffect", start);
}

/// A decision opens a turn, and nobody claims it for a day: what was approved does not start any more.
fn an_approval_that_lapsed(story: &mut Story<'_>) {
    let lane = story.known.lanes[1].name.clone();
    let does = |story: &mut Story<'_>, mutation: &'static str, input: Value| {
        let came = story.request(mutation, input, 1);
        assert!(matches!(came, Came::Done(_)), "{mutation}: {came:?}");
    };
    let message = json!({ "session": { "id": story.known.session }, "text": "do it",
        "channelMessageId": "lapses", "lane": lane });
    does(story, "submitMessage", message);
    does(story, "claimTurn", json!({ "lane": lane }));
    let mut propose = story.known.held(1);
    (propose["tool"], propose["arguments"]) = (json!("charge_card"), json!("{}"));
    propose["businessKey"] = json!("lapses");
    does(story, "proposeAction", propose);
    let commit = story.known.held(1);
    does(story, "commitTurn", commit);
    let vote = story.known.vote_of(&story.stage, &story.stage.alice);
    does(story, "voteOnApproval", vote);
    let day = 25 * 3_600 * 1_000_000;
    story
        .stage
        .clock
        .0
        .fetch_add(day, std::sync::atomic::Ordering::SeqCst);
    does(story, "claimTurn", json!({ "lane": lane }));
    let mut start = story.known.held(1);
    start["callId"] = story.known.lanes[1].calls.last().expect("a call").clone();
    refused(story, "startEffect", start);
}

/// A text that is longer than an event takes.
fn long() -> String {
    "x".repeat(1_100_000)
}

fn refused(story: &mut Story<'_>, mutation: &'static str, input: Value) {
    let came = story.request(mutation, input, 0);
    assert!(matches!(came, Came::Refused(_)), "{mutation}: {came:?}");
}

fn done(story: &mut Story<'_>, mutation: &'static str, input: Value) {
    let came = story.request(mutation, input, 0);
    assert!(matches!(came, Came::Done(_)), "{mutation}: {came:?}");
}

/// A turn whose worker asks for a call of a tool.
fn call(story: &mut Story<'_>, tool: &str) {
    let lane = story.known.lanes[0].name.clone();
    let message = json!({ "session": { "id": story.known.session }, "text": "do it",
        "channelMessageId": format!("for-{tool}"), "lane": lane });
    done(story, "submitMessage", message);
    done(story, "claimTurn", json!({ "lane": lane }));
    let mut commit = story.known.held(0);
    commit["response"] = json!({ "text": long() });
    refused(story, "commitTurn", commit);
    let mut propose = story.known.held(0);
    (propose["tool"], propose["arguments"], propose["businessKey"]) = (json!(tool), json!("{}"), json!(tool));
    let mut large = propose.clone();
    large["arguments"] = json!(format!("{{\"note\":\"{}\"}}", long()));
    refused(story, "proposeAction", large);
    done(story, "proposeAction", propose);
}

/// The call is started, and comes out so.
fn report(story: &mut Story<'_>, outcome: Value) {
    let start = about_the_call(story, true, json!({}));
    story.under_bad_keys("startEffect", &start);
    let of_another = story.known.lanes[0].asked[0].1.clone();
    let foreign = about_the_call(story, true, json!({ "approvalId": of_another }));
    refused(story, "startEffect", foreign);
    done(story, "startEffect", start);
    let permit = story.known.lanes[0].permits.last().expect("a permit").1.clone();
    let large = json!({ "permit": permit, "outcome": { "completed": { "result": long() } } });
    let large = about_the_call(story, true, large);
    refused(story, "reportEffect", large);
    let report = about_the_call(story, true, json!({ "permit": permit, "outcome": outcome }));
    done(story, "reportEffect", report);
}

fn fail(story: &mut Story<'_>) {
    let mut fail = story.known.held(0);
    (fail["errorType"], fail["retryable"]) = (json!("broken"), json!(false));
    let mut large = fail.clone();
    large["error"] = json!(long());
    refused(story, "failTurn", large);
    done(story, "failTurn", fail);
}

/// Something about the last call, by its worker or by whoever finds it.
fn about_the_call(story: &Story<'_>, by_worker: bool, more: Value) -> Value {
    let lane = &story.known.lanes[0];
    let mut input = if by_worker {
        story.known.held(0)
    } else {
        json!({ "lane": lane.name })
    };
    input["callId"] = lane.calls.last().expect("a call").clone();
    for (name, value) in more.as_object().expect("members") {
        input[name] = value.clone();
    }
    input
}

#[test]
fn every_mutation_of_the_schema_is_tried() {
    let mut seen = Seen::default();
    let story = Story::new(0, &mut seen);
    let query = "{ __schema { mutationType { fields { name } } } }";
    let schema = story.stage.who.agent.ask(query, Value::Null);
    let fields = schema["__schema"]["mutationType"]["fields"]
        .as_array()
        .expect("fields");
    let fields: BTreeSet<&str> = fields
        .iter()
        .map(|field| field["name"].as_str().expect("a name"))
        .collect();
    let mut known: BTreeSet<&str> = MUTATIONS.into();
    known.extend(OF_THE_ONLY_TENANT);
    assert_eq!(fields, known);
}

/// A key of one tenant does nothing to what all tenants share.
#[test]
fn what_is_about_all_tenants_is_refused_where_there_are_two() {
    let mut seen = Seen::default();
    let story = Story::new(1, &mut seen);
    let stage = &story.stage;
    let before = stage.end();
    for mutation in OF_THE_ONLY_TENANT {
        let (query, variables) = client::mutation(mutation, "all", json!({ "reason": "mine" }), "position");
        let admin = &stage.who.admin;
        let refused = graphql(&admin.http, &admin.url, &admin.key, &query, variables);
        let refused = refused.expect_err("there is another tenant").to_string();
        assert!(
            refused.contains("FORBIDDEN") && refused.contains("several"),
            "{refused}"
        );
    }
    assert_eq!(stage.end(), before, "nothing was recorded");
}
