//! Tenants do not wait for each other: however much is ready in one of them, it is not in the way of another.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
/// Between a message of the other tenant and its turn at a worker the busy tenant claims fewer turns than this, however slow
/// the machine is: it takes a few commits of each. A turn that waited for what is ready before it would come after all of it.
const BETWEEN_MAX: usize = BUSY / 4;
/// No lease lapses while a slow machine is at it: a turn that nobody commits would be ready once more, before the newer ones.
const LEASE_US: u64 = 1_800_000_000;
/// A turn of the other tenant that is not with its worker by then does not come.
const TURN_WAIT_MAX: Duration = Duration::from_secs(60);

#[test]
fn what_is_ready_in_one_tenant_is_not_in_the_way_of_another() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let key = |tenant: &str| home.new_key(tenant, &["admin"]).expect("a key");
    let (busy, other) = (key("busy"), key("other"));
    let server = home.serve().expect("the server starts");
    let client = |key: &str| Client::new(&server.url, key);
    for key in [&busy, &other] {
        client(key).sent("startSession", "start", json!({ "externalId": "s" }), "position");
        let set = json!({ "turns.lease_us": LEASE_US });
        let of_channel = json!({ "scope": "CHANNEL", "scopeId": "api", "set": set });
        client(key).sent("publishConfiguration", "settings", of_channel, "position");
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
    let (done, claimed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let between: Vec<usize> = thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (caller_client, done, claimed) = (client(&busy), &done, &claimed);
            scope.spawn(move || {
                for n in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                    let turn = claim(&caller_client, &format!("{caller} {n}"), 0);
                    claimed.fetch_add(usize::from(turn.is_some()), Ordering::Relaxed);
                }
            });
        }
        // The callers end as well where this one finds that something is wrong.
        let _ends = Ends(&done);
        let client = client(&other);
        let between = (0..OTHERS).map(|n| {
            let before = claimed.load(Ordering::Relaxed);
            let turn = say(&client, &format!("friend {n}"));
            assert_eq!(
                claim_at_last(&client, &format!("claim {n}")),
                turn,
                "its own turn"
            );
            claimed.load(Ordering::Relaxed) - before
        });
        between.collect()
    });
    let claimed = claimed.into_inner();
    assert!(
        claimed > 0 && claimed < BUSY,
        "{claimed}: the busy tenant was busy all the time"
    );
    assert!(
        between.iter().all(|claims| *claims < BETWEEN_MAX),
        "{between:?} of {claimed} claims"
    );
    assert!(server.stop().expect("it stops"), "it ended well");
}

/// Tells threads to end when it is dropped.
struct Ends<'d>(&'d AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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

/// The same for as long as a slow machine needs.
fn claim_at_last(client: &Client, key: &str) -> Value {
    let deadline = Instant::now() + TURN_WAIT_MAX;
    loop {
        if let Some(turn) = claim(client, key, 20_000) {
            return turn;
        }
        assert!(Instant::now() < deadline, "no turn became ready");
    }
}
