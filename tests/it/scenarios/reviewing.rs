//! What a reviewer is shown and told: the action that will run, on the command line, and who tried to use their approval
//! for something else.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ruche_tests::server::Ended;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::world::{Outside, Worker, World, lane};
use crate::approvals::{change_payload, script};
use crate::tenants::subscription::Socket;

/// What bob is asked about: bytes that no program would write so, and words that would clear a terminal.
const ARGUMENTS: &str = r#"{ "path": "/a" }"#;
const WHY: &str = "ann asked\u{1b}[2J";

/// What is not told by then will not be.
const HEAR_WAIT_MAX: Duration = Duration::from_secs(60);

/// Bob, who made a key on a machine of his own and decides on the command line.
struct Bob<'w> {
    world: &'w World,
    private: PathBuf,
    /// What he gave to the administrator.
    made: Value,
}

impl<'w> Bob<'w> {
    fn new(world: &'w World) -> Self {
        let private = world.folder().join("bob.key");
        let file = private.to_str().expect("a path in UTF-8");
        let new = [
            "keys",
            "reviewer",
            "new",
            "--tenant",
            "acme",
            "--reviewer",
            "bob",
            file,
        ];
        let made = world.home.run(&new).expect("a key");
        let input = json!({ "reviewer": "bob", "publicKey": made["public_key"],
            "proofOfPossession": made["proof_of_possession"] });
        let done = world.done("registerReviewerKey", &input, "keyId");
        assert_eq!(done["keyId"], made["key_id"], "{done}");
        Self { world, private, made }
    }

    /// `ruche approvals`, by way of the other node than last time.
    fn runs(&self, arguments: &[&str]) -> Ended {
        let desk = self.world.desk();
        let private = self.private.to_str().expect("a path in UTF-8");
        let mut all = vec![
            "approvals",
            arguments[0],
            "--server",
            &desk.url,
            "--key",
            &desk.key,
        ];
        if matches!(arguments[0], "approve" | "deny") {
            all.extend(["--reviewer-key", private]);
        }
        all.extend(&arguments[1..]);
        self.world.home.end_of(&all).expect("it starts")
    }

    /// The same where something is printed.
    fn told(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let ended = self.runs(arguments);
        assert!(ended.json != Value::Null, "{arguments:?}: {}", ended.said);
        (ended.code, ended.json)
    }
}

#[test]
fn a_09_a_reviewer_sees_exactly_what_will_run_and_signs_it() {
    let world = World::new();
    let bob = Bob::new(&world);
    world.register("delete_file", "IRREVERSIBLE", None);
    let lane = lane("ann", "web");
    world.session(&lane);
    let worker = world.turn(&lane, "m-1", "delete it");
    let call = world.propose_with(&worker, "delete_file", ARGUMENTS, "a", Some(WHY));
    let id = call["approval"]["id"].as_str().expect("a request");
    let digest = bob_sees_it(&bob, id);
    an_agent_has_no_vote(&world, id);
    refuses_to_sign_what_was_not_shown(&bob, id, &digest);

    let approve = [
        "approve", id, "--reason", "ticket 7", "--yes", "--digest", &digest,
    ];
    let (code, voted) = bob.told(&approve);
    assert_eq!(
        (code, &voted["outcome"]),
        (Some(0), &json!("APPROVED")),
        "{voted}"
    );
    let size = world.size();
    let (code, again) = bob.told(&approve);
    assert_eq!(
        (code, &again["duplicate"]),
        (Some(0), &json!(true)),
        "the same vote is one vote"
    );
    assert_eq!(world.size(), size);
    let (code, second) = bob.told(&["deny", id, "--yes", "--digest", &digest]);
    assert_eq!(
        (code, &second["refusal"]),
        (Some(1), &json!("DECIDED")),
        "{second}"
    );
    assert_eq!(bob.told(&["show", id]).1["state"], "approved");

    let (public, key_id) = (bob.made["public_key"].clone(), bob.made["key_id"].clone());
    let closed = world.closed();
    let report = closed.audit();
    assert_eq!(
        report["proposed_and_not_run"]["total"], 1,
        "approved, and not yet run: {report}"
    );
    let keys = report["reviewer_keys"].as_array().expect("keys");
    let of_bob = keys
        .iter()
        .find(|key| key["reviewer"] == "bob")
        .expect("bob's key");
    assert_eq!(
        (&of_bob["public_key"], &of_bob["decisions"]),
        (&public, &json!(1)),
        "{report}"
    );
    let (export, key) = closed.export();
    let place = export.to_str().expect("a path in UTF-8");
    let told: Value = serde_json::from_str(&script(place, id, &key).expect("it verifies")).expect("JSON");
    let expected = json!({ "outcome": "approved", "reviewer": "bob", "key": key_id, "arguments": ARGUMENTS });
    assert_eq!(told, expected);
    // Base64 has the sign as well, so the parts are taken from the left.
    let parts: Vec<&str> = key.splitn(3, '+').collect();
    let another = format!("{}+{}+Ac3{}", parts[0], parts[1], "A".repeat(41));
    let said = script(place, id, &another).expect_err("a key of somebody else");
    assert!(said.contains("DOES NOT VERIFY: InvalidSignature"), "{said}");
    change_payload(&export, b"ticket 7", b"ticket 8");
    let said = script(place, id, &key).expect_err("a changed record");
    assert!(said.contains("a payload that was not committed to"), "{said}");
}

/// What will run, byte for byte, and nothing that reaches the terminal. Gives the digest of what was shown.
fn bob_sees_it(bob: &Bob<'_>, id: &str) -> String {
    // The list is a read model, and the node that is asked may be behind the one that was told of the call.
    let until = Instant::now() + HEAR_WAIT_MAX;
    let (code, listed) = loop {
        let (code, listed) = bob.told(&["list"]);
        if listed[0].is_object() || Instant::now() > until {
            break (code, listed);
        }
    };
    assert_eq!((code, &listed[0]["id"]), (Some(0), &json!(id)), "{listed}");
    let (_, shown) = bob.told(&["show", id]);
    let view = shown["view"].as_str().expect("a view");
    assert!(view.contains("\ntool: delete_file\n"), "{view}");
    assert!(view.contains(&format!("\n| {ARGUMENTS}\n")), "{view}");
    assert!(view.contains("ann asked\\u{1b}[2J\n"), "{view}");
    assert_eq!(shown["request"]["approval_id"], json!(id));
    let private = std::fs::read_to_string(&bob.private).expect("the file of the key");
    let secret = private
        .lines()
        .last()
        .and_then(|line| line.strip_prefix("private "));
    assert!(
        !bob.made.to_string().contains(secret.expect("a secret")),
        "only the file has it"
    );
    let digest = shown["request"]["view_digest"].as_str().expect("a digest");
    digest.to_owned()
}

/// The agent's own credential does not get a vote in, whatever is signed.
fn an_agent_has_no_vote(world: &World, id: &str) {
    let size = world.size();
    let agent = world.agent();
    let vote = "mutation ($input: VoteOnApprovalInput!) { voteOnApproval(input: $input) { __typename } }";
    let input = json!({ "input": { "idempotencyKey": "x", "approvalId": id, "envelope": "{}" } });
    let told = ruche_tests::server::graphql(&agent.http, &agent.url, &agent.key, vote, input);
    let told = told.expect_err("an agent may not").to_string();
    assert!(told.contains("FORBIDDEN") && told.contains("reviewer"), "{told}");
    assert_eq!(world.size(), size);
}

/// Nothing reaches the server: the request is as open afterwards as before, and nobody tried to vote.
fn refuses_to_sign_what_was_not_shown(bob: &Bob<'_>, id: &str, digest: &str) {
    let size = bob.world.size();
    let other = digest.replace(|digit| digit != '0', "0");
    for (arguments, said) in [
        (&["--yes"][..], "--digest"),
        (&["--yes", "--digest", &digest[..63]], "all of them"),
        (&["--yes", "--digest", &other], "nothing was signed"),
        (&["--digest", digest], "nobody is there to confirm"),
    ] {
        let ended = bob.runs(&[&["approve", id][..], arguments].concat());
        assert_eq!(ended.code, Some(1), "{arguments:?}: {}", ended.said);
        assert!(ended.said.contains(said), "{arguments:?}: {}", ended.said);
        assert_eq!(ended.json, Value::Null, "{arguments:?}");
    }
    assert_eq!(bob.told(&["show", id]).1["state"], "requested");
    assert_eq!(bob.world.size(), size);
}

/// A reviewer who is told what becomes of requests, from the beginning on.
struct Watching {
    runtime: Runtime,
    socket: Socket,
}

impl Watching {
    fn new(world: &World) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let desk = world.desk();
        let query =
            "subscription { approvalChanges(from: \"1:0\") { id state refusedUses { callId tool } } }";
        let message = json!({ "id": "changes", "type": "subscribe", "payload": { "query": query } });
        let socket = runtime.block_on(async {
            let mut socket = Socket::open(&desk.url, &desk.key).await;
            socket.send(message).await;
            socket
        });
        Self { runtime, socket }
    }

    /// Listens until something is told that is so.
    fn hears(&mut self, is_it: impl Fn(&Value) -> bool) {
        let listens = async {
            loop {
                let told = self.socket.next().await;
                let change = &told["payload"]["data"]["approvalChanges"];
                assert!(change.is_object(), "{told}");
                if is_it(change) {
                    return;
                }
            }
        };
        let heard = self
            .runtime
            .block_on(async { timeout(HEAR_WAIT_MAX, listens).await });
        heard.expect("it is told in time")
    }
}

/// The start of a call under an approval that the worker names.
fn starting_on(worker: &Worker, call: &Value, approval: &Value) -> Value {
    let mut input = World::starting(worker, call);
    input["approvalId"] = approval.clone();
    input
}

/// Where a request stands, whichever node says it.
fn approval(world: &World, id: &Value) -> Value {
    let query = "query ($id: ID!) { approval(id: $id) { state refusedUses { callId tool } } }";
    let ask = || world.desk().ask(query, json!({ "id": id }))["approval"].take();
    let (one, other) = (ask(), ask());
    assert_eq!(one, other, "nodes disagree");
    one
}

/// What another policy would make of it comes with policies.
#[test]
fn a_10_an_approval_of_one_file_deletes_no_other() {
    let (world, mut outside) = (World::new(), Outside::default());
    for tool in ["delete_file", "move_file"] {
        world.register(tool, "IRREVERSIBLE", None);
    }
    let mut watching = Watching::new(&world);
    let ours = lane("ann", "web");
    world.session(&ours);
    let mut worker = world.turn(&ours, "m-1", "delete them");
    let a = world.propose(&worker, "delete_file", "/a");
    world.approve(&a, "delete_file", "/a");
    let granted = &a["approval"]["id"];

    // Another file, another tool for the same one, and the same call in another lane.
    let file = world.propose(&worker, "delete_file", "/b");
    let tool = world.propose(&worker, "move_file", "/a");
    let theirs = lane("eve", "web");
    world.session(&theirs);
    let eve = world.turn(&theirs, "m-1", "mine, too");
    let elsewhere = world.propose(&eve, "delete_file", "/a");
    let mut seen = Vec::new();
    for (worker, call, name) in [
        (&worker, &file, "delete_file"),
        (&worker, &tool, "move_file"),
        (&eve, &elsewhere, "delete_file"),
    ] {
        assert_ne!(&call["approval"]["id"], granted, "a new request");
        let size = world.size();
        for time in ["once", "again"] {
            let refused = world.refused("startEffect", &starting_on(worker, call, granted));
            assert_eq!(refused["code"], "APPROVAL_MISMATCH", "{refused}");
            assert_eq!(world.size(), size + 1, "{time}: told each time, recorded once");
        }
        seen.push(json!({ "callId": call["callId"], "tool": name }));
        let told = json!({ "id": granted, "state": "APPROVED", "refusedUses": seen });
        watching.hears(|change| *change == told);
    }
    let good = json!({ "state": "APPROVED", "refusedUses": seen });
    assert_eq!(approval(&world, granted), good, "as good as before");
    let attempts = world.records().into_iter();
    let attempts = attempts.filter(|record| record.event == "approval.use_refused");
    let attempts: Vec<Value> = attempts.map(|record| record.payload["call_id"].clone()).collect();
    let calls = [&file, &tool, &elsewhere].map(|call| call["callId"].clone());
    assert_eq!(attempts, calls, "the attempts are in the ledger");
    let size = world.size();
    let nobodys = json!("00000000-0000-0000-0000-000000000001");
    let nobody = world.refused("startEffect", &starting_on(&worker, &file, &nobodys));
    assert_eq!(nobody["code"], "NOT_FOUND", "{nobody}");
    assert_eq!(world.size(), size);

    // What was approved runs, once; and the other file once somebody approves of that.
    world.commit(&worker, "somebody has to agree");
    worker = world.claim(&ours);
    runs_on(&world, &mut outside, &worker, &a);
    let used = world.refused("startEffect", &starting_on(&worker, &file, granted));
    assert_eq!(
        used["code"], "APPROVAL_MISMATCH",
        "used up, and still another's: {used}"
    );
    world.commit(&worker, "that file is gone");
    assert_eq!(approval(&world, &file["approval"]["id"])["state"], "REQUESTED");
    world.approve(&file, "delete_file", "/b");
    worker = world.claim(&ours);
    runs_on(&world, &mut outside, &worker, &file);
    world.commit(&worker, "and the other one");
    assert_eq!(outside.runs("delete_file"), (2, 2));
    assert_eq!(outside.runs("move_file"), (0, 0));

    let report = world.audit();
    let left = report["proposed_and_not_run"]["calls"]
        .as_array()
        .expect("calls")
        .clone();
    let left: Vec<Value> = left.into_iter().map(|mut call| call["call"].take()).collect();
    assert_eq!(
        left,
        [tool["callId"].clone(), elsewhere["callId"].clone()],
        "{report}"
    );
}

/// A call starts under its approval, which is used up.
fn runs_on(world: &World, outside: &mut Outside, worker: &Worker, call: &Value) {
    let id = &call["approval"]["id"];
    let fields = "callId deduplicated permit { position effectKey approvalId }";
    let started = world.done("startEffect", &starting_on(worker, call, id), fields);
    assert_eq!(&started["permit"]["approvalId"], id, "{started}");
    outside.execute("delete_file", &started);
    assert_eq!(world.report(worker, &started)["state"], "COMPLETED");
    assert_eq!(approval(world, id)["state"], "CONSUMED");
}

/// The tool is another one now than people looked at.
#[test]
fn a_10_an_approval_of_a_tool_as_it_was_starts_nothing() {
    let world = World::new();
    world.register("delete_file", "IRREVERSIBLE", None);
    let mut watching = Watching::new(&world);
    let lane = lane("ann", "api");
    world.session(&lane);
    let worker = world.turn(&lane, "m-1", "delete it");
    let call = world.propose(&worker, "delete_file", "/a");
    world.approve(&call, "delete_file", "/a");
    let schema = json!({ "type": "object", "required": ["key"] });
    let tool = json!({ "name": "delete_file", "sideEffect": "IRREVERSIBLE", "argumentSchema": schema });
    world.done("registerTool", &tool, "position");
    let id = &call["approval"]["id"];
    let refused = world.refused("startEffect", &starting_on(&worker, &call, id));
    assert_eq!(refused["code"], "APPROVAL_MISMATCH", "{refused}");
    watching.hears(|change| change["id"] == *id && change["state"] == "STALE");
    let records = world.records();
    let attempt = records.iter().find(|record| record.event == "tool.start_refused");
    let attempt = attempt.expect("the attempt is in the ledger");
    assert_eq!(attempt.call, call["callId"]);
    assert!(records.iter().all(|record| record.event != "tool.started"));

    // It is gone: another cause, which is recorded once as well.
    let size = world.size();
    for time in ["once", "again"] {
        let again = world.refused("startEffect", &starting_on(&worker, &call, id));
        assert_eq!(again["code"], "ILLEGAL_TRANSITION", "{time}: {again}");
        assert_eq!(world.size(), size + 1, "{time}: told each time, recorded once");
    }
    let anew = world.propose(&worker, "delete_file", "/a");
    assert_eq!(
        approval(&world, &anew["approval"]["id"])["state"],
        "REQUESTED",
        "a new request is needed"
    );
    let report = world.audit();
    assert_eq!(report["proposed_and_not_run"]["total"], 2, "{report}");
}
