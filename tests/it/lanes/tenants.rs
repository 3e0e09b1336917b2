//! Tenants do not wait for each other: however much is ready in one of them, it is not in the way of another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ruche_tests::server::Home;
use serde_json::{Value, json};

use super::PROGRAM;
use crate::live::client::Client;

/// Lanes of the busy tenant with a turn that is ready.
const BUSY: usize = 1_000;
/// Callers that fill them, and then claim them, at the same time.
const CALLERS: usize = 4;
/// Turns of the other tenant.
const OTHERS: usize = 20;
/// A turn of the other tenant is with its worker within this time from its message on. With nothing else to do it takes a
/// few commits; one that waited for the busy tenant's turns would come after hundreds of them.
const BOUND: Duration = Duration::from_secs(3);

#[test]
fn what_is_ready_in_one_tenant_is_not_in_the_way_of_another() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let key = |tenant: &str| home.new_key(tenant, &["writer", "reader"]).expect("a key");
    let (busy, other) = (key("busy"), key("other"));
    let server = home.serve().expect("the server starts");
    let client = |key: &str| Client::new(&server.url, key);
    for key in [&busy, &other] {
        client(key).sent("startSession", "start", json!({ "externalId": "s" }), "position");
    }
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let caller_client = client(&busy);
            scope.spawn(move || {
                for n in (caller..BUSY).step_by(CALLERS) {
                    say(&caller_client, &format!("person {n}"));
                }
            });
        }
    });
    let done = AtomicBool::new(false);
    let (waits, claimed) = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (caller_client, done) = (client(&busy), &done);
                scope.spawn(move || {
                    let claims = (0..).take_while(|_| !done.load(Ordering::Relaxed));
                    claims
                        .filter(|n| claim(&caller_client, &format!("{caller} {n}"), 0).is_some())
                        .count()
                })
            })
            .collect();
        let client = client(&other);
        let waits: Vec<Duration> = (0..OTHERS)
            .map(|n| {
                let begun = Instant::now();
                let turn = say(&client, &format!("friend {n}"));
                let claimed = claim(&client, &format!("claim {n}"), 20_000);
                assert_eq!(claimed, Some(turn), "its own turn");
                begun.elapsed()
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        let claimed: usize = callers
            .into_iter()
            .map(|caller| caller.join().expect("it ends"))
            .sum();
        (waits, claimed)
    });
    assert!(
        claimed > 0 && claimed < BUSY,
        "{claimed}: the busy tenant was busy all the time"
    );
    assert!(
        waits.iter().all(|wait| *wait < BOUND),
        "{waits:?} beside {claimed} claims"
    );
    assert!(server.stop().expect("it stops"), "it ended well");
}

/// A message in a lane of its own; gives its turn.
fn say(client: &Client, who: &str) -> Value {
    let lane = json!({ "agent": "shop", "interlocutor": who, "channel": "api" });
    let input =
        json!({ "session": { "externalId": "s" }, "channelMessageId": who, "text": "hello", "lane": lane });
    client.sent("submitMessage", who, input, "turnId")["turnId"].take()
}

/// The turn of the agent that waits longest, if one is ready in time.
fn claim(client: &Client, key: &str, wait_ms: u64) -> Option<Value> {
    let input = json!({ "agent": "shop", "waitMs": wait_ms });
    let mut claim = client.mutate("claimTurn", key, input, "turnId");
    claim["code"].is_null().then(|| claim["turnId"].take())
}
