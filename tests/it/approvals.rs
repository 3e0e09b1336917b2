//! A signature before the irreversible, as the people who take part see it: an agent that asks, an administrator who
//! registers a key, a reviewer who looks and decides on the command line, an auditor with an export.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use ruche_tests::server::{Ended, Home, Server, graphql};
use serde_json::{Value, json};

mod epochs;
mod pages;
mod people;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
/// A turn that is not ready by then will not be.
const CLAIM_WAIT_MAX: Duration = Duration::from_secs(60);

pub struct World {
    pub folder: tempfile::TempDir,
    pub home: Home,
    pub server: Server,
    client: Client,
    pub agent: String,
    pub admin: String,
    pub desk: String,
    pub private: PathBuf,
}

/// What an agent asked for.
pub struct Asked {
    /// Id of the request.
    pub id: String,
    pub call: Value,
    pub worker: Value,
}

impl World {
    pub fn new() -> Self {
        Self::whose_agent_is(&[])
    }

    /// One whose agent has a key that is made with these arguments.
    fn whose_agent_is(user: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let key = |roles: &[&str]| home.new_key("acme", roles).expect("a key");
        let new = [
            "keys", "new", "--tenant", "acme", "--role", "writer", "--role", "reader",
        ];
        let agent = home.run(&[&new[..], user].concat()).expect("a key")["key"].clone();
        let agent = agent.as_str().expect("a key").to_owned();
        let (admin, desk) = (key(&["admin"]), key(&["reviewer"]));
        let server = home.serve().expect("the server starts");
        Self {
            private: folder.path().join("alice.key"),
            folder,
            home,
            server,
            client: Client::new(),
            agent,
            admin,
            desk,
        }
    }

    fn ask(&self, key: &str, query: &str, variables: Value) -> Value {
        graphql(&self.client, &self.server.url, key, query, variables).expect("an answer without errors")
    }

    /// A mutation under somebody's key, whatever comes of it.
    pub fn mutate(&self, who: &str, name: &str, key: &str, mut input: Value, fields: &str) -> Value {
        let kind = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        input["idempotencyKey"] = json!(key);
        let query = format!(
            "mutation ($input: {kind}Input!) {{ {name}(input: $input) {{
                ... on {kind}Payload {{ {fields} }} ... on Refusal {{ code message }} }} }}"
        );
        self.ask(who, &query, json!({ "input": input }))[name].clone()
    }

    /// An agent asks for something that cannot be undone. Gives the id of the request.
    pub fn request(&self) -> String {
        self.request_on("web").id
    }

    /// The same on a channel, with the turn as its worker names it and the call.
    pub fn request_on(&self, channel: &str) -> Asked {
        let lane = json!({ "agent": "shop", "interlocutor": "ann", "channel": channel });
        let session = json!({ "externalId": "s" });
        self.mutate(&self.agent, "startSession", "start", session.clone(), "position");
        let message = json!({ "session": session, "text": "delete it", "lane": lane });
        self.mutate(&self.agent, "submitMessage", "message", message, "position");
        let worker = self.claim("claim", &lane);
        let mut input = worker.clone();
        (input["tool"], input["arguments"]) = (json!("delete_file"), json!("{ \"path\": \"/a\" }"));
        (input["businessKey"], input["justification"]) = (json!("a"), json!("ann asked\u{1b}[2J"));
        let fields = "callId gate approval { id } position";
        let proposed = self.mutate(&self.agent, "proposeAction", "propose", input, fields);
        assert_eq!(proposed["gate"], "APPROVAL", "{proposed}");
        let id = &proposed["approval"]["id"];
        let query =
            "query ($p: Position) { approvals(status: [REQUESTED], minPosition: $p) { nodes { id state } } }";
        let open = self.ask(&self.desk, query, json!({ "p": proposed["position"] }));
        assert_eq!(
            open["approvals"]["nodes"],
            json!([{ "id": id, "state": "REQUESTED" }])
        );
        Asked {
            id: id.as_str().expect("an id").to_owned(),
            call: proposed["callId"].clone(),
            worker,
        }
    }

    /// Takes the turn of a lane as soon as it is ready; what its worker sends with everything.
    pub fn claim(&self, key: &str, lane: &Value) -> Value {
        let deadline = Instant::now() + CLAIM_WAIT_MAX;
        loop {
            let input = json!({ "lane": lane });
            let claim = self.mutate(&self.agent, "claimTurn", key, input, "turnId lease { id epoch }");
            if claim["code"].is_null() {
                return json!({ "lane": lane, "turnId": claim["turnId"], "lease": claim["lease"] });
            }
            assert!(Instant::now() < deadline, "no turn became ready: {claim}");
            std::thread::yield_now();
        }
    }

    /// The worker of a turn wants to delete another file.
    fn propose(&self, key: &str, worker: &Value, path: &str) -> Asked {
        let mut input = worker.clone();
        let arguments = json!({ "path": path }).to_string();
        (input["tool"], input["arguments"]) = (json!("delete_file"), json!(arguments));
        input["businessKey"] = json!(path);
        let fields = "callId gate deduplicated approval { id } position";
        let proposed = self.mutate(&self.agent, "proposeAction", key, input, fields);
        assert_eq!(proposed["gate"], "APPROVAL", "{proposed}");
        Asked {
            id: proposed["approval"]["id"].as_str().expect("an id").to_owned(),
            call: proposed["callId"].clone(),
            worker: worker.clone(),
        }
    }

    pub fn start(&self, key: &str, asked: &Asked) -> Value {
        let mut input = asked.worker.clone();
        input["callId"] = asked.call.clone();
        let fields = "callId permit { position approvalId } position";
        self.mutate(&self.agent, "startEffect", key, input, fields)
    }

    /// Alice makes a key on her machine, and an administrator registers it.
    pub fn register(&self) -> Value {
        let made = self.make_key();
        self.register_made(&made);
        made
    }

    fn make_key(&self) -> Value {
        let private = self.private.to_str().expect("a path in UTF-8");
        let new = [
            "keys",
            "reviewer",
            "new",
            "--tenant",
            "acme",
            "--reviewer",
            "alice",
            private,
        ];
        self.home.run(&new).expect("a key")
    }

    fn register_made(&self, made: &Value) {
        let input = json!({ "reviewer": "alice", "publicKey": made["public_key"],
            "proofOfPossession": made["proof_of_possession"] });
        let by_agent = self.ask_refused("registerReviewerKey", input.clone());
        assert!(by_agent.contains("admin"), "{by_agent}");
        let done = self.mutate(&self.admin, "registerReviewerKey", "register", input, "keyId");
        assert_eq!(done["keyId"], made["key_id"], "{done}");
    }

    /// What an agent is told that may not do this.
    fn ask_refused(&self, name: &str, mut input: Value) -> String {
        let kind = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        input["idempotencyKey"] = json!("x");
        let query = format!("mutation ($input: {kind}Input!) {{ {name}(input: $input) {{ __typename }} }}");
        let told = graphql(
            &self.client,
            &self.server.url,
            &self.agent,
            &query,
            json!({ "input": input }),
        );
        told.expect_err("an agent may not").to_string()
    }

    /// Everybody who asks is told why the request was denied: the agent that polls, who looks at calls, and a colleague.
    fn tells_why(&self, id: &str, position: &Value) {
        let why = json!("not that file");
        let query = "query ($id: ID!) { approval(id: $id) { state decisionReason
            votes { decision reviewer reason keyId votedAt position } } }";
        let polled = self.ask(&self.agent, query, json!({ "id": id }))["approval"].take();
        assert_eq!(
            (&polled["state"], &polled["decisionReason"]),
            (&json!("REJECTED"), &why)
        );
        let vote = &polled["votes"][0];
        assert_eq!(
            (&vote["decision"], &vote["reviewer"], &vote["reason"]),
            (&json!("REJECT"), &json!("alice"), &why),
            "{polled}"
        );
        assert!(
            ["keyId", "votedAt", "position"]
                .iter()
                .all(|name| vote[name].is_string()),
            "{polled}"
        );
        // The command line asks the read model of requests below, and a wait for one read model says nothing of another.
        let query =
            "query ($p: Position) { approvals(minPosition: $p) { nodes { id } } effects(minPosition: $p) {
            nodes { status notExecutedCause notExecutedReason } } }";
        let effects = self.ask(&self.agent, query, json!({ "p": position }));
        let closed =
            json!([{ "status": "NOT_EXECUTED", "notExecutedCause": "REJECTED", "notExecutedReason": why }]);
        assert_eq!(effects["effects"]["nodes"], closed);
        let shown = self.reviewer(&["show", id]).json;
        let vote = &shown["votes"][0];
        assert_eq!(
            (&vote["decision"], &vote["reason"]),
            (&json!("reject"), &why),
            "{shown}"
        );
        let settled = self.reviewer(&["list", "--settled"]).json;
        assert_eq!(
            (
                &settled[0]["id"],
                &settled[0]["decidedBy"],
                &settled[0]["decisionReason"]
            ),
            (&json!(id), &json!("alice"), &why),
            "{settled}"
        );
    }

    /// `ruche approvals` on the reviewer's machine; its exit code and what it printed. Who decides has looked before.
    pub fn approvals(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let mut arguments = arguments.to_vec();
        let shown = matches!(arguments[0], "approve" | "deny")
            .then(|| self.reviewer(&["show", arguments[1]]).json["request"]["view_digest"].clone());
        if let Some(shown) = &shown {
            arguments.extend(["--yes", "--digest", shown.as_str().expect("a digest")]);
        }
        let ended = self.reviewer(&arguments);
        assert!(ended.json != Value::Null, "{arguments:?}: {}", ended.said);
        (ended.code, ended.json)
    }

    /// The same with exactly these arguments, whatever comes of it.
    fn reviewer(&self, arguments: &[&str]) -> Ended {
        let private = self.private.to_str().expect("a path in UTF-8");
        let mut all = vec![
            "approvals",
            arguments[0],
            "--server",
            &self.server.url,
            "--key",
            &self.desk,
        ];
        if matches!(arguments[0], "approve" | "deny") {
            all.extend(["--reviewer-key", private]);
        }
        all.extend(&arguments[1..]);
        self.home.end_of(&all).expect("it starts")
    }

    /// An export, and the key that verifies it.
    pub fn export(self) -> (tempfile::TempDir, Home, String) {
        assert!(self.server.stop().expect("it stops"), "it ended well");
        let export = self.folder.path().join("export");
        let export = export.to_str().expect("a path in UTF-8");
        let told = self.home.run(&["export", "--tenant", "acme", export]);
        let key = told.expect("an export")["verifier_keys"][0]
            .as_str()
            .map(str::to_owned);
        (self.folder, self.home, key.expect("a key"))
    }
}

/// The same export as an auditor sees it who had alice's key from alice, and as one who had another one.
#[test]
fn an_auditor_says_whose_signatures_count() {
    let world = World::new();
    let made = world.register();
    let asked = world.request_on("api");
    let (_, voted) = world.approvals(&["approve", &asked.id]);
    assert_eq!(voted["outcome"], "APPROVED", "{voted}");
    let started = world.start("run", &asked);
    assert_eq!(started["permit"]["approvalId"], json!(asked.id), "{started}");
    let (folder, home, key) = world.export();
    let export = folder.path().join("export");
    let export = export.to_str().expect("a path in UTF-8");
    let file = folder.path().join("reviewers");
    let names = file.to_str().expect("a path in UTF-8");
    let verify = ["verify", export, "--key", &key];

    let told = home.run(&verify).expect("it verifies");
    let listed = &told["reviewer_keys"][0];
    assert_eq!(listed["key_id"], made["key_id"], "{told}");
    assert_eq!(listed["public_key"], made["public_key"], "{told}");
    assert_eq!(
        (&listed["reviewer"], &listed["decisions"]),
        (&json!("alice"), &json!(1))
    );
    assert_eq!(
        (&listed["trusted"], &listed["revoked_at"]),
        (&Value::Null, &Value::Null)
    );
    let bytes = made["public_key"].as_str().expect("a key");
    let stranger = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    for (line, code, trusted) in [
        (format!("alice {bytes}\n"), 0, true),
        (format!("alice {stranger}\n"), 2, false),
        (format!("bob {bytes}\n"), 2, false),
    ] {
        std::fs::write(&file, &line).expect("a file");
        let ended = home.end_of(&[&verify[..], &["--reviewer-keys", names]].concat());
        let ended = ended.expect("it starts");
        assert_eq!(ended.code, Some(code), "{line}: {}", ended.json);
        assert_eq!(
            ended.json["reviewer_keys"][0]["trusted"],
            json!(trusted),
            "{line}"
        );
        let found = &ended.json["findings"][0]["kind"];
        let expected = if trusted {
            Value::Null
        } else {
            json!("REVIEWER_UNTRUSTED")
        };
        assert_eq!(found, &expected, "{line}");
    }
    std::fs::write(&file, "alice\n").expect("a file");
    let broken = home.end_of(&[&verify[..], &["--reviewer-keys", names]].concat());
    assert_eq!(broken.expect("it starts").json["verdict"], "COULD_NOT_RUN");
}

#[test]
fn requests_and_keys_are_listed_with_what_became_of_them() {
    let world = World::new();
    let made = world.register();
    let a = world.request_on("web");
    let b = world.propose("propose-b", &a.worker, "/b");
    let (_, voted) = world.approvals(&["approve", &a.id]);
    let query = "query ($p: Position, $status: [ApprovalState!], $session: ID) {
        approvals(status: $status, sessionId: $session, minPosition: $p) { nodes { id state sessionId businessKey ordinal
        channel interlocutorId decision decidedBy decidedAt consumedAt requestedBy } } }";
    let list = |variables: Value| world.ask(&world.desk, query, variables)["approvals"]["nodes"].clone();
    let all = list(json!({ "p": voted["position"] }));
    let (open, decided) = (&all[0], &all[1]);
    assert_eq!(
        (&open["id"], &decided["id"]),
        (&json!(b.id), &json!(a.id)),
        "open ones first: {all}"
    );
    assert_eq!(
        (&open["businessKey"], &open["ordinal"]),
        (&json!("/b"), &json!("1")),
        "{all}"
    );
    assert_eq!(
        (&open["channel"], &open["interlocutorId"]),
        (&json!("web"), &json!("ann"))
    );
    assert_eq!(
        (&open["decidedBy"], &open["decidedAt"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&decided["decision"], &decided["decidedBy"]),
        (&json!("APPROVE"), &json!("alice"))
    );
    assert!(
        decided["decidedAt"].is_string() && decided["consumedAt"].is_null(),
        "{all}"
    );
    assert!(decided["requestedBy"].is_string(), "{all}");
    let ids = |nodes: Value| -> Vec<Value> {
        let nodes = nodes.as_array().cloned().unwrap_or_default();
        nodes.iter().map(|node| node["id"].clone()).collect()
    };
    assert_eq!(
        ids(list(json!({ "status": ["APPROVED", "CONSUMED"] }))),
        [json!(a.id)]
    );
    let session = &open["sessionId"];
    assert_eq!(
        ids(list(json!({ "session": session, "status": ["REQUESTED"] }))),
        [json!(b.id)]
    );
    assert_eq!(
        ids(list(json!({ "session": a.id }))),
        [Value::Null; 0],
        "of no such session"
    );

    let (_, voted) = world.approvals(&["deny", &b.id]);
    list(json!({ "p": voted["position"] }));
    for (limit, count, is_more) in [("1", 1, true), ("2", 2, false)] {
        let settled = world.reviewer(&["list", "--settled", "--limit", limit]);
        let told = (ids(settled.json).len(), settled.said.contains("--limit"));
        assert_eq!(told, (count, is_more), "{}", settled.said);
    }

    let input = json!({ "keyId": made["key_id"], "reason": "left" });
    let revoked = world.mutate(&world.admin, "revokeReviewerKey", "revoke", input, "position");
    let query = "query ($p: Position) { reviewerKeys(minPosition: $p) { nodes { keyId reviewer publicKey
        registeredPosition revokedPosition } } }";
    let keys = world.ask(&world.desk, query, json!({ "p": revoked["position"] }));
    let keys = &keys["reviewerKeys"]["nodes"];
    assert_eq!(keys.as_array().map(Vec::len), Some(1), "{keys}");
    assert_eq!(
        (&keys[0]["keyId"], &keys[0]["publicKey"]),
        (&made["key_id"], &made["public_key"])
    );
    assert_eq!(
        (&keys[0]["reviewer"], &keys[0]["revokedPosition"]),
        (&json!("alice"), &revoked["position"])
    );
    assert!(keys[0]["registeredPosition"].is_string(), "{keys}");
}

/// What the script of the documents says of a request in an export; an error with what it complains of.
pub fn script(export: &str, id: &str, key: &str) -> Result<String, String> {
    program("docs/formats/approval.py", &[export, id, key])
}

/// What a program of the documents says.
fn program(name: &str, arguments: &[&str]) -> Result<String, String> {
    let script = ruche_tests::data::of_repository(name);
    let mut python = Command::new("python3");
    let output = python.arg("-B").arg(script).args(arguments).output();
    let output = output.expect("python3 starts");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Changes the bytes of payloads of an export wherever they say something.
pub fn change_payload(export: &Path, from: &[u8], to: &[u8]) {
    let folder = export.join("e1/payload/000.p");
    let mut changed = 0;
    for file in std::fs::read_dir(folder).expect("payloads") {
        let path = file.expect("a file").path();
        let mut bytes = std::fs::read(&path).expect("a payload bundle");
        for at in 0..bytes.len().saturating_sub(from.len()) {
            if bytes[at..].starts_with(from) {
                bytes[at..at + to.len()].copy_from_slice(to);
                changed += 1;
            }
        }
        std::fs::write(&path, bytes).expect("a payload bundle");
    }
    assert!(changed > 0, "nothing says so");
}

#[test]
fn a_revoked_key_is_refused_and_a_no_is_kept() {
    let world = World::new();
    let id = world.request();
    let made = world.register();
    let (code, denied) = world.approvals(&["deny", &id, "--reason", "not that file"]);
    assert_eq!(
        (code, &denied["outcome"]),
        (Some(0), &json!("REJECTED")),
        "{denied}"
    );
    world.tells_why(&id, &denied["position"]);
    let input = json!({ "keyId": made["key_id"], "reason": "left" });
    let revoked = world.mutate(&world.admin, "revokeReviewerKey", "revoke", input, "keyId");
    assert_eq!(revoked["keyId"], made["key_id"], "{revoked}");
    let (code, late) = world.approvals(&["approve", &id]);
    assert_eq!(
        (code, &late["refusal"]),
        (Some(1), &json!("REVOKED_KEY")),
        "{late}"
    );
}

/// The command is typed again, with the same bytes to sign.
#[test]
fn who_votes_before_the_key_is_registered_votes_again_and_is_heard() {
    let world = World::new();
    let id = world.request();
    let made = world.make_key();
    let (code, early) = world.approvals(&["approve", &id]);
    assert_eq!(
        (code, &early["refusal"]),
        (Some(1), &json!("UNKNOWN_KEY")),
        "{early}"
    );
    world.register_made(&made);
    let (code, voted) = world.approvals(&["approve", &id]);
    assert_eq!(
        (code, &voted["outcome"]),
        (Some(0), &json!("APPROVED")),
        "{voted}"
    );
    let (code, again) = world.approvals(&["approve", &id]);
    assert_eq!((code, &again["duplicate"]), (Some(0), &json!(true)), "{again}");
}

/// The vote stands and counted; the start finds its key revoked, and people are asked anew.
#[test]
fn a_key_that_is_revoked_after_the_vote_starts_nothing() {
    let world = World::new();
    let made = world.register();
    let asked = world.request_on("api");
    let (_, voted) = world.approvals(&["approve", &asked.id]);
    assert_eq!(voted["outcome"], "APPROVED", "{voted}");
    let input = json!({ "keyId": made["key_id"], "reason": "stolen" });
    let revoked = world.mutate(
        &world.admin,
        "revokeReviewerKey",
        "revoke",
        input,
        "keyId position",
    );
    assert_eq!(revoked["keyId"], made["key_id"], "{revoked}");
    let refused = world.start("run", &asked);
    assert_eq!(refused["code"], "ILLEGAL_TRANSITION", "{refused}");
    let said = refused["message"].as_str().expect("words");
    assert!(said.contains("the key that approved was revoked"), "{said}");
    let mut input = asked.worker.clone();
    (input["tool"], input["arguments"]) = (json!("delete_file"), json!("{ \"path\": \"/a\" }"));
    input["businessKey"] = json!("a");
    let fields = "gate deduplicated approval { id } position";
    let anew = world.mutate(&world.agent, "proposeAction", "anew", input, fields);
    assert_eq!(
        (&anew["gate"], &anew["deduplicated"]),
        (&json!("APPROVAL"), &json!(false)),
        "{anew}"
    );
    let (_, shown) = world.approvals(&["show", &asked.id]);
    assert_eq!(shown["state"], "stale", "{shown}");

    let (folder, home, key) = world.export();
    let export = folder.path().join("export");
    let export = export.to_str().expect("a path in UTF-8");
    let report = home.run(&["verify", export, "--key", &key]).expect("it verifies");
    assert_eq!(report["findings"], json!([]), "{report}");
    assert_eq!(report["proposed_and_not_run"]["total"], 2, "{report}");
}
