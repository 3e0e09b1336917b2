//! Governed turns through GraphQL: messages that belong together are one turn, a worker claims it and answers.

mod tool_calls;
mod fabric;
mod tenants;
mod workers;
mod waiting;

use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use ruche_tests::server::{Home, Server, caught_up, graphql};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
/// What is not so by then will not be: windows and waits before attempts last seconds, and read models lag by as much.
const STATE_WAIT_MAX: Duration = Duration::from_secs(60);

struct World {
    folder: tempfile::TempDir,
    home: Home,
    server: Server,
    client: Client,
    key: String,
    admin: String,
}

impl World {
    /// A server with a session between the agent `shop` and `ann` on a channel.
    fn on(channel: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let key = home.new_key("acme", &["writer", "reader"]).expect("a key");
        let admin = home.new_key("acme", &["admin"]).expect("a key");
        let server = home.serve().expect("the server starts");
        let world = Self {
            folder,
            home,
            server,
            client: Client::new(),
            key,
            admin,
        };
        let input = json!({ "externalId": "s", "agent": "shop", "interlocutor": "ann", "channel": channel });
        world.sent("startSession", "start", input, "position");
        world
    }

    fn ask(&self, query: &str, variables: Value) -> Value {
        graphql(&self.client, &self.server.url, &self.key, query, variables)
            .expect("an answer without errors")
    }

    /// A mutation with its idempotency key, whatever comes of it.
    fn mutate(&self, name: &str, key: &str, input: Value, fields: &str) -> Value {
        let (query, variables) = mutation(name, key, input, fields);
        self.ask(&query, variables)[name].clone()
    }

    /// The same by an administrator.
    fn administer(&self, name: &str, key: &str, input: Value, fields: &str) -> Value {
        let (query, variables) = mutation(name, key, input, fields);
        let answer = graphql(&self.client, &self.server.url, &self.admin, &query, variables);
        answer.expect("an answer without errors")[name].clone()
    }

    /// A mutation that is carried out.
    #[track_caller]
    fn sent(&self, name: &str, key: &str, input: Value, fields: &str) -> Value {
        let answer = self.mutate(name, key, input, fields);
        assert!(answer["code"].is_null(), "{name}: {answer}");
        answer
    }

    fn message(&self, key: &str, id: &str, text: &str, lane: &Value) -> Value {
        let input =
            json!({ "session": { "externalId": "s" }, "channelMessageId": id, "text": text, "lane": lane });
        self.mutate("submitMessage", key, input, "turnId")
    }

    /// Asks for the turn of the lane until it is there. A claim that is refused leaves its key free.
    fn claim(&self, key: &str, lane: &Value) -> Value {
        self.claim_with(key, json!({ "lane": lane }))
    }

    fn claim_with(&self, key: &str, input: Value) -> Value {
        let fields = "turnId lease { id epoch expiresAt }";
        self.claimed(key, input, fields)
    }

    /// A worker of the agent asks for a turn, whatever its lane, until it has one.
    fn work(&self, key: &str) -> Value {
        let input = json!({ "agent": "shop", "waitMs": 20_000 });
        let fields = "turnId lease { id epoch } lane { agent interlocutor channel }";
        self.claimed(key, input, fields)
    }

    fn claimed(&self, key: &str, input: Value, fields: &str) -> Value {
        let deadline = Instant::now() + STATE_WAIT_MAX;
        loop {
            let claim = self.mutate("claimTurn", key, input.clone(), fields);
            if claim["code"].is_null() {
                return claim;
            }
            assert_eq!(claim["code"], "ILLEGAL_TRANSITION", "{claim}");
            assert!(Instant::now() < deadline, "no turn became ready: {claim}");
            std::thread::yield_now();
        }
    }

    /// The end: no read model met an event that it could not apply, and an export verifies with no finding.
    fn audit(self) {
        caught_up(&self.client, &self.server.url, &self.key).expect("the read models catch up");
        assert!(self.server.stop().expect("it stops"), "it ended well");
        let parked = self.home.run(&["projections", "list"]).expect("a list");
        assert_eq!(parked, json!([]), "nothing is parked");
        let export = self.folder.path().join("export");
        let export = export.to_str().expect("a path in UTF-8");
        let told = self
            .home
            .run(&["export", "--tenant", "acme", export])
            .expect("an export");
        let key = told["verifier_keys"][0].as_str().expect("a key");
        let report = self
            .home
            .run(&["verify", export, "--key", key])
            .expect("it verifies");
        assert_eq!(
            (&report["exit_code"], &report["findings"]),
            (&json!(0), &json!([])),
            "{report}"
        );
    }

    fn turn(&self, turn: &Value, position: &Value) -> Value {
        let query = "query ($id: ID!, $p: Position) { turn(id: $id, minPosition: $p) { status outcome openedBy attemptCount
            agent messages { nodes { role text } } } }";
        self.ask(query, json!({ "id": turn, "p": position }))["turn"].clone()
    }
}

fn mutation(name: &str, key: &str, mut input: Value, fields: &str) -> (String, Value) {
    let kind = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
    input["idempotencyKey"] = json!(key);
    let query = format!(
        "mutation ($input: {kind}Input!) {{ {name}(input: $input) {{ __typename
            ... on {kind}Payload {{ duplicate {fields} }} ... on Refusal {{ code path message retryable retryAfterMs }}
            ... on IllegalTransition {{ state legal }} }} }}"
    );
    (query, json!({ "input": input }))
}

fn lane(channel: &str) -> Value {
    json!({ "agent": "shop", "interlocutor": "ann", "channel": channel })
}

/// What a worker sends about its turn.
fn held(claim: &Value, lane: &Value) -> Value {
    let lease = json!({ "id": claim["lease"]["id"], "epoch": claim["lease"]["epoch"] });
    json!({ "lane": lane, "turnId": claim["turnId"], "lease": lease })
}

#[test]
fn two_messages_become_one_turn_that_is_claimed_and_answered() {
    let (world, lane) = (World::on("web"), lane("web"));
    let first = world.message("m-1", "c-1", "hello", &lane);
    let second = world.message("m-2", "c-2", "anybody there?", &lane);
    assert_eq!(
        (&first["code"], &first["turnId"]),
        (&Value::Null, &second["turnId"]),
        "{first}"
    );
    let again = world.message("m-3", "c-1", "hello", &lane);
    assert_eq!(
        (&again["duplicate"], &again["turnId"]),
        (&json!(true), &first["turnId"]),
        "{again}"
    );
    assert_eq!(
        world.message("m-4", "c-1", "bye", &lane)["code"],
        "IDEMPOTENCY_MISMATCH"
    );

    let claim = world.claim("claim", &lane);
    assert_eq!(
        (&claim["turnId"], &claim["lease"]["epoch"]),
        (&first["turnId"], &json!("1")),
        "{claim}"
    );
    let again = world.claim("claim", &lane);
    assert_eq!(
        (&again["duplicate"], &again["lease"]),
        (&json!(true), &claim["lease"])
    );

    let mut strange = held(&claim, &lane);
    strange["lease"]["epoch"] = json!("7");
    let refused = world.mutate("heartbeatTurn", "h-1", strange, "turnId");
    assert_eq!(
        (&refused["code"], &refused["path"], &refused["legal"]),
        (
            &json!("ILLEGAL_TRANSITION"),
            &json!(["lease"]),
            &json!(["claimTurn"])
        )
    );
    let renewed = world.sent(
        "heartbeatTurn",
        "h-2",
        held(&claim, &lane),
        "lease { id expiresAt }",
    );
    assert_eq!(renewed["lease"]["id"], claim["lease"]["id"]);

    let mut commit = held(&claim, &lane);
    commit["outcome"] = json!("ANSWERED");
    commit["response"] = json!({ "text": "Yes, how can I help?" });
    let done = world.sent("commitTurn", "commit", commit.clone(), "turnId position");
    assert_eq!(
        world.sent("commitTurn", "commit", commit.clone(), "turnId")["duplicate"],
        true
    );
    let refused = world.mutate("commitTurn", "commit-2", commit, "turnId");
    assert_eq!(
        (&refused["state"], &refused["legal"]),
        (&json!("committed"), &json!([])),
        "{refused}"
    );

    let read = world.turn(&claim["turnId"], &done["position"]);
    let expected = json!({ "status": "COMMITTED", "outcome": "ANSWERED", "openedBy": "USER", "attemptCount": "1",
        "agent": "shop", "messages": { "nodes": [
            { "role": "USER", "text": "hello" },
            { "role": "USER", "text": "anybody there?" },
            { "role": "ASSISTANT", "text": "Yes, how can I help?" } ] } });
    assert_eq!(read, expected);
    world.audit();
}

#[test]
fn a_message_in_a_chat_takes_the_place_of_the_turn_that_runs() {
    let (world, lane) = (World::on("web"), lane("web"));
    world.message("m-1", "c-1", "hello", &lane);
    let old = world.claim("claim-1", &lane);
    let second = world.message("m-2", "c-2", "never mind", &lane);
    assert_ne!(second["turnId"], old["turnId"]);
    let refused = world.mutate("commitTurn", "commit-1", held(&old, &lane), "turnId");
    assert_eq!(refused["state"], "superseded", "{refused}");
    let new = world.claim("claim-2", &lane);
    assert_eq!(
        (&new["turnId"], &new["lease"]["epoch"]),
        (&second["turnId"], &json!("2"))
    );
    let done = world.sent("commitTurn", "commit-2", held(&new, &lane), "position");
    assert_eq!(
        world.turn(&old["turnId"], &done["position"])["status"],
        "SUPERSEDED"
    );
    assert_eq!(
        world.turn(&new["turnId"], &done["position"])["status"],
        "COMMITTED"
    );
}

#[test]
fn a_turn_is_tried_again_or_fails_or_is_cancelled() {
    let (world, lane) = (World::on("api"), lane("api"));
    let first = world.message("m-1", "c-1", "hello", &lane);
    let second = world.message("m-2", "c-2", "and one more", &lane);
    assert_ne!(
        first["turnId"], second["turnId"],
        "the interface of programs merges nothing"
    );
    let claim = world.claim_with("claim-1", json!({ "lane": lane, "brainBuild": "b-1" }));
    let mut fail = held(&claim, &lane);
    (fail["errorType"], fail["error"], fail["retryable"]) =
        (json!("model_down"), json!("no answer"), json!(true));
    world.sent("failTurn", "fail-1", fail, "turnId");
    let again = world.claim("claim-2", &lane);
    assert_eq!(
        (&again["turnId"], &again["lease"]["epoch"]),
        (&claim["turnId"], &json!("2"))
    );
    let mut fail = held(&again, &lane);
    (fail["errorType"], fail["retryable"]) = (json!("bad_request"), json!(false));
    world.sent("failTurn", "fail-2", fail, "turnId");
    let cancel = json!({ "lane": lane, "turnId": second["turnId"], "reason": "by mistake" });
    let done = world.sent("cancelTurn", "cancel", cancel, "position");
    let failed = world.turn(&first["turnId"], &done["position"]);
    assert_eq!(
        (&failed["status"], &failed["attemptCount"]),
        (&json!("FAILED"), &json!("2")),
        "{failed}"
    );
    // While the second was under way nothing of the turn itself told what was wrong with the first.
    let query = "query ($id: ID!) { turn(id: $id) { errorType attempts { number leaseEpoch worker brainBuild outcome errorType
        error startedAt endedAt retryAt } } }";
    let mut told = world.ask(query, json!({ "id": first["turnId"] }))["turn"].take();
    assert_eq!(told["errorType"], "bad_request");
    let attempts = told["attempts"].as_array_mut().expect("a list");
    let times: Vec<_> = attempts
        .iter_mut()
        .map(|attempt| {
            let mut is_null = |name: &str| attempt[name].take().is_null();
            (
                is_null("worker"),
                is_null("startedAt"),
                is_null("endedAt"),
                is_null("retryAt"),
            )
        })
        .collect();
    assert_eq!(times, [(false, false, false, false), (false, false, false, true)]);
    let attempt = |n: &str, build: Value, error_type: &str, error: Value| {
        json!({ "number": n, "leaseEpoch": n, "brainBuild": build, "outcome": "FAILED", "errorType": error_type, "error": error,
            "worker": null, "startedAt": null, "endedAt": null, "retryAt": null })
    };
    let expected = [
        attempt("1", json!("b-1"), "model_down", json!("no answer")),
        attempt("2", json!(null), "bad_request", json!(null)),
    ];
    assert_eq!(told["attempts"], json!(expected));
    assert_eq!(
        world.turn(&second["turnId"], &done["position"])["status"],
        "CANCELLED"
    );
}
