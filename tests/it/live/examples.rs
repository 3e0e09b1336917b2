//! The example clients and the page of the first hour, as a stranger would use them.

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ruche_tests::data::of_repository;
use ruche_tests::server::caught_up;
use serde_json::{Value, json};

use super::{PROGRAM, VERIFIER, World};
use crate::markdown;

/// Longest wait for an example to ask for its approval.
const ASK_WAIT_MAX: Duration = Duration::from_secs(60);
const ORDER: &str = "{\"order\":\"7\"}";
/// Lines added and taken away by wrapping a tool loop.
const CHANGED_LINES_MAX: usize = 15;

/// A message for the agent `shop`, on a channel whose turns wait for their approvals.
pub fn message(world: &World) {
    let tool = json!({ "name": "look_up_order", "sideEffect": "PURE" });
    world.admin.sent("registerTool", "look", tool, "position");
    let session = json!({ "externalId": "chat" });
    world
        .agent
        .sent("startSession", "start", session.clone(), "position");
    let lane = json!({ "agent": "shop", "interlocutor": "ann", "channel": "api" });
    let message = json!({ "session": session, "text": "please refund order 7", "lane": lane });
    world.agent.sent("submitMessage", "message", message, "turnId");
}

fn started(world: &World, client: &mut Command) -> Child {
    started_at(&world.server.url, world, client)
}

pub fn started_at(url: &str, world: &World, client: &mut Command) -> Child {
    let client = client.arg(url).env("KEY", &world.agent.key);
    let child = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    child.expect("the client starts")
}

/// What the client asks for, once it does: the request and its arguments. It is another one than was seen.
fn open_request(world: &World, seen: &str) -> (String, String) {
    let deadline = Instant::now() + ASK_WAIT_MAX;
    loop {
        let open = "{ approvals(status: [REQUESTED]) { nodes { id arguments } } }";
        let open = world.desk.ask(open, Value::Null)["approvals"]["nodes"].take();
        if let (Some(id), Some(arguments)) = (open[0]["id"].as_str(), open[0]["arguments"].as_str())
            && id != seen
        {
            assert_eq!(arguments.replace(' ', ""), ORDER);
            return (id.to_owned(), arguments.to_owned());
        }
        assert!(Instant::now() < deadline, "it asks for nothing");
    }
}

/// Runs a client against a server.
fn goes_through_a_turn(client: &mut Command) {
    let world = World::new();
    message(&world);
    let child = started(&world, client);
    finishes_its_turn(world, child);
}

/// Two tools, a signature, an answer; an auditor finds nothing.
pub fn finishes_its_turn(world: World, child: Child) {
    let (approval, arguments) = open_request(&world, "");
    world
        .reviewer
        .approve(&world.desk, &approval, "refund", &arguments);
    let ended = child.wait_with_output().expect("it ends");
    let (printed, said) = texts(&ended);
    assert!(ended.status.success(), "{}: {said}", ended.status);
    assert_eq!(said, "refunding 7\n", "it runs once");
    caught_up(&world.agent.http, &world.agent.url, &world.agent.key).expect("the read models catch up");
    let query =
        "{ turns { nodes { status messages { nodes { role text } } effects { nodes { tool status } } } } }";
    let turn = world.agent.ask(query, Value::Null)["turns"]["nodes"][0].take();
    assert_eq!(turn["status"], "COMMITTED", "{turn}");
    let answer = json!({ "role": "ASSISTANT", "text": printed.trim_end() });
    assert_eq!(turn["messages"]["nodes"][1], answer);
    assert!(printed.contains("order 7 is refunded"), "{printed}");
    let effects = json!([{ "tool": "look_up_order", "status": "COMPLETED" },
        { "tool": "refund", "status": "COMPLETED" }]);
    assert_eq!(turn["effects"]["nodes"], effects);
    an_auditor_finds_nothing(world);
}

fn an_auditor_finds_nothing(world: World) {
    let report = world.audit();
    assert_eq!(
        (&report["verdict"], &report["findings"]),
        (&json!("VERIFIED"), &json!([])),
        "{report}"
    );
}

fn texts(ended: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&ended.stdout), text(&ended.stderr))
}

pub fn python(example: &str) -> Command {
    let mut python = Command::new("python3");
    python.arg("-B").arg(of_repository("docs/examples").join(example));
    python
}

#[test]
fn the_client_in_python_goes_through_a_turn() {
    goes_through_a_turn(&mut python("agent.py"));
}

#[test]
fn the_client_in_rust_goes_through_a_turn() {
    goes_through_a_turn(&mut Command::new(env!("CARGO_BIN_EXE_example-agent")));
}

/// A person says no: the tool does not run, and the model reads why.
fn tells_the_model_why_a_person_said_no(client: &mut Command) {
    let world = World::new();
    message(&world);
    let child = started(&world, client);
    let (approval, _) = open_request(&world, "");
    world
        .reviewer
        .reject(&world.desk, &approval, "order 7 was never paid");
    let ended = child.wait_with_output().expect("it ends");
    let (printed, said) = texts(&ended);
    assert!(ended.status.success(), "{}: {said}", ended.status);
    assert_eq!(said, "", "nothing runs");
    assert!(
        printed.contains("A person said no: order 7 was never paid"),
        "{printed}"
    );
}

#[test]
fn the_clients_tell_the_model_why_a_person_said_no() {
    tells_the_model_why_a_person_said_no(&mut python("agent.py"));
    tells_the_model_why_a_person_said_no(&mut Command::new(env!("CARGO_BIN_EXE_example-agent")));
}

/// A person approves what the client asks for, and the tool is another one before the client starts it. Gives the request.
fn approved_and_stale(world: &World, client: &Child, seen: &str, title: &str) -> String {
    let (approval, arguments) = open_request(world, seen);
    let signal = |name: &str| {
        let pid = client.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status();
        assert!(sent.expect("kill starts").success());
    };
    // It stands still meanwhile, so that it sees the approval and not the change.
    signal("-STOP");
    world
        .reviewer
        .approve(&world.desk, &approval, "refund", &arguments);
    let schema = json!({ "type": "object", "title": title });
    let tool = json!({ "name": "refund", "sideEffect": "IRREVERSIBLE", "argumentSchema": schema });
    world.admin.sent("registerTool", title, tool, "position");
    signal("-CONT");
    approval
}

/// What was signed does not hold any more when the call is to start: people are asked once more, and it runs once.
fn asks_again_where_an_approval_is_stale(client: &mut Command) {
    let world = World::new();
    message(&world);
    let child = started(&world, client);
    let stale = approved_and_stale(&world, &child, "", "one");
    let (approval, arguments) = open_request(&world, &stale);
    world
        .reviewer
        .approve(&world.desk, &approval, "refund", &arguments);
    let ended = child.wait_with_output().expect("it ends");
    let (printed, said) = texts(&ended);
    assert!(ended.status.success(), "{}: {said}", ended.status);
    assert_eq!(said, "refunding 7\n", "it runs once");
    assert!(printed.contains("order 7 is refunded"), "{printed}");
    let effects = json!([{ "status": "COMPLETED", "notExecutedCause": null },
        { "status": "NOT_EXECUTED", "notExecutedCause": "STALE" },
        { "status": "COMPLETED", "notExecutedCause": null }]);
    let expected = json!({ "status": "COMMITTED", "attemptCount": "1", "effects": { "nodes": effects } });
    is_over_so(world, expected, &[(&stale, "STALE"), (&approval, "CONSUMED")]);
}

/// Once more, and not for ever: then the turn is given back, and nothing ran.
fn gives_its_turn_back_where_the_next_approval_is_stale_too(client: &mut Command) {
    let world = World::new();
    message(&world);
    let child = started(&world, client);
    let first = approved_and_stale(&world, &child, "", "one");
    let second = approved_and_stale(&world, &child, &first, "two");
    let ended = child.wait_with_output().expect("it ends");
    let (printed, said) = texts(&ended);
    assert!(!ended.status.success(), "{printed}");
    assert!(said.contains("ILLEGAL_TRANSITION: "), "{said}");
    assert!(!said.contains("refunding"), "{said}");
    let effects = json!([{ "status": "COMPLETED", "notExecutedCause": null },
        { "status": "NOT_EXECUTED", "notExecutedCause": "STALE" },
        { "status": "NOT_EXECUTED", "notExecutedCause": "STALE" }]);
    let expected = json!({ "status": "READY", "attemptCount": "1", "effects": { "nodes": effects } });
    is_over_so(world, expected, &[(&first, "STALE"), (&second, "STALE")]);
}

/// What became of the one turn and of the requests; and an auditor finds nothing.
fn is_over_so(world: World, turn: Value, requests: &[(&String, &str)]) {
    caught_up(&world.agent.http, &world.agent.url, &world.agent.key).expect("the read models catch up");
    let query = "{ turns { nodes { status attemptCount effects { nodes { status notExecutedCause } } } } }";
    let turns = world.agent.ask(query, Value::Null);
    assert_eq!(turns["turns"]["nodes"], json!([turn]));
    let query = "query ($id: ID!) { approval(id: $id) { state } }";
    for (id, state) in requests {
        let approval = world.desk.ask(query, json!({ "id": id }));
        assert_eq!(&approval["approval"]["state"], state, "{requests:?}");
    }
    an_auditor_finds_nothing(world);
}

#[test]
fn the_client_in_python_asks_again_where_an_approval_is_stale() {
    asks_again_where_an_approval_is_stale(&mut python("agent.py"));
    gives_its_turn_back_where_the_next_approval_is_stale_too(&mut python("agent.py"));
}

#[test]
fn the_client_in_rust_asks_again_where_an_approval_is_stale() {
    let client = || Command::new(env!("CARGO_BIN_EXE_example-agent"));
    asks_again_where_an_approval_is_stale(&mut client());
    gives_its_turn_back_where_the_next_approval_is_stale_too(&mut client());
}

/// Runs a script beside the client in Python, and gives what it printed and said.
fn scripted(world: &World, script: &str) -> (String, String) {
    let mut client = Command::new("python3");
    let client = client.args(["-B", "-c", script, &world.server.url]);
    let client = client.env("PYTHONPATH", of_repository("docs/examples"));
    texts(
        &client
            .env("KEY", &world.agent.key)
            .output()
            .expect("python3 starts"),
    )
}

/// The model is told what is wrong with its arguments; what else goes wrong gives the turn back at once, and the next
/// attempt goes on behind the step that is done.
const TWO_ATTEMPTS: &str = r#"
import os, sys
from agent import Refused, Ruche
ruche = Ruche(sys.argv[1], os.environ["KEY"])
try:
    with ruche.claim("shop") as turn:
        look = lambda: turn.call("look_up_order", '{"order": "7"}', lambda order: f"{order} is a bell")
        print(turn.step("look", look))
        print(turn.call("look_up_order", '{"order": 7}', lambda order: sys.exit("it runs")))
        turn.send("startEffect", "callId", callId="01890a5d-ac96-774b-bcce-b302099a8057")
except Refused as refused:
    print(refused.code)
with ruche.claim("shop") as turn:
    print(turn.step("look", lambda: sys.exit("it is done again")))
    turn.commit("done")
"#;

/// The model of the second attempt wants another amount under the same business key.
const ANOTHER_AMOUNT: &str = r#"
import os, sys
from agent import Ruche
ruche = Ruche(sys.argv[1], os.environ["KEY"])
refund = lambda order, amount: f"{amount} for {order} under {turn.effect_key}"
proposed = {"tool": "refund", "arguments": '{"order": "7", "amount": 10}', "businessKey": "refund/7"}
try:
    with ruche.claim("shop") as turn:
        turn.send("proposeAction", "callId", **proposed)
        raise KeyError("it goes wrong")
except KeyError:
    pass
with ruche.claim("shop") as turn:
    print(turn.call("refund", '{"order": "7", "amount": 1000}', refund, "refund/7"))
    turn.commit("done")
"#;

#[test]
fn a_tool_gets_the_arguments_that_were_proposed_and_not_what_the_model_says_now() {
    let world = World::new();
    let tool = json!({ "name": "refund", "sideEffect": "IDEMPOTENT" });
    world.admin.sent("registerTool", "tool", tool, "position");
    message(&world);
    let (printed, said) = scripted(&world, ANOTHER_AMOUNT);
    assert!(printed.starts_with("10 for 7 under "), "{printed}{said}");
    assert!(!printed.contains("None"), "{printed}");
}

#[test]
fn a_worker_that_is_refused_gives_its_turn_back_and_another_goes_on_behind_its_steps() {
    let world = World::new();
    message(&world);
    let schema = json!({ "type": "object", "properties": { "order": { "type": "string" } } });
    let tool = json!({ "name": "look_up_order", "sideEffect": "PURE", "argumentSchema": schema });
    world.admin.sent("registerTool", "schema", tool, "position");
    let (printed, said) = scripted(&world, TWO_ATTEMPTS);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!((lines.len(), said.as_str()), (4, ""), "{printed}");
    assert_eq!(
        [lines[0], lines[2], lines[3]],
        ["7 is a bell", "NOT_FOUND", "7 is a bell"]
    );
    assert!(lines[1].starts_with("Error: INVALID_INPUT: "), "{printed}");
    caught_up(&world.agent.http, &world.agent.url, &world.agent.key).expect("the read models catch up");
    let query = "{ turns(first: 1) { nodes { status attemptCount attempts { number outcome errorType } steps { stepId state attempt result }
        effects { nodes { status } } } } }";
    let turn = world.agent.ask(query, Value::Null)["turns"]["nodes"][0].take();
    let step = json!({ "stepId": "look", "state": "COMPLETED", "attempt": "1", "result": "7 is a bell" });
    let attempts = json!([{ "number": "1", "outcome": "FAILED", "errorType": "Refused" },
        { "number": "2", "outcome": "COMMITTED", "errorType": null }]);
    let expected = json!({ "status": "COMMITTED", "attemptCount": "2", "attempts": attempts, "steps": [step],
        "effects": { "nodes": [{ "status": "COMPLETED" }] } });
    assert_eq!(turn, expected);
    an_auditor_finds_nothing(world);
}

#[test]
fn a_tool_loop_goes_through_a_turn_once_it_is_wrapped() {
    let ended = python("tool_loop.py").arg("please refund order 7").output();
    let before = ended.expect("python3 starts");
    let expected = "order 7: one bicycle bell, delivered. order 7 is refunded.\n";
    assert_eq!(texts(&before), (expected.to_owned(), "refunding 7\n".to_owned()));
    goes_through_a_turn(&mut python("tool_loop_governed.py"));
}

/// Lines that `diff` shows as added or taken away, each with its sign.
fn changed_lines() -> Vec<String> {
    let path = |name: &str| of_repository("docs/examples").join(name);
    let mut diff = Command::new("diff");
    let diff = diff
        .arg("-U0")
        .args([path("tool_loop.py"), path("tool_loop_governed.py")]);
    let (printed, said) = texts(&diff.output().expect("diff starts"));
    assert_eq!(said, "");
    // The first two lines are the names of the files.
    let lines = printed.lines().skip(2).filter(|line| !line.starts_with("@@"));
    lines.map(str::to_owned).collect()
}

#[test]
fn wrapping_a_tool_loop_changes_few_lines_and_the_page_shows_them_all() {
    let changed = changed_lines();
    assert!((1..=CHANGED_LINES_MAX).contains(&changed.len()), "{changed:#?}");
    let page = std::fs::read_to_string(of_repository("docs/first-hour.md")).expect("the page");
    let said = format!("It changes {} lines", changed.len());
    assert!(page.contains(&said), "the page does not say: {said}");
    let (_, blocks) = markdown::split(&page);
    let shown = blocks
        .iter()
        .find(|block| block.language == "diff")
        .expect("the changes");
    let shown: Vec<String> = shown.text.lines().map(str::to_owned).collect();
    let without_blank =
        |lines: Vec<String>| -> Vec<String> { lines.into_iter().filter(|line| line.len() > 1).collect() };
    assert_eq!(without_blank(shown), without_blank(changed));
}

/// A folder that looks like a clone in which everything was built.
fn clone_in(folder: &Path) {
    symlink(of_repository("docs"), folder.join("docs")).expect("a new link");
    std::fs::create_dir(folder.join("bin")).expect("a new folder");
    symlink(PROGRAM, folder.join("bin/ruche")).expect("a new link");
    symlink(VERIFIER, folder.join("bin/ruche-verify")).expect("a new link");
}

/// A port that nothing listens on, for the place where the page says 4000.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

#[test]
fn the_first_hour_can_be_typed() {
    let page = std::fs::read_to_string(of_repository("docs/first-hour.md")).expect("the page");
    let (_, blocks) = markdown::split(&page);
    let typed = blocks.iter().filter(|block| block.language == "sh");
    let typed: Vec<&str> = typed.map(|block| block.text.as_str()).collect();
    assert_eq!(typed.len(), 7, "is the markup of the page another one?");
    let address = format!("127.0.0.1:{}", free_port());
    let script = typed.join("\n").replace("127.0.0.1:4000", &address);
    let folder = tempfile::tempdir().expect("a temporary folder");
    clone_in(folder.path());
    let bin = folder.path().join("bin");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("bash");
    // Whatever fails ends it, and it takes along what it started in the background.
    let script = format!("set -e\ntrap 'kill $(jobs -p) 2> last.log || true' EXIT\n{script}");
    let shell = shell.args(["-c", &script]).current_dir(folder.path());
    let shell = shell.env("PATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
    let ended = shell.env("RUCHE_LOG", "warn").process_group(0).output();
    let ended = ended.expect("bash starts");
    let (printed, said) = texts(&ended);
    assert!(ended.status.success(), "{}\n{printed}\n{said}", ended.status);
    for expected in [
        "tool: refund\n",
        "order 7: one bicycle bell, delivered. order 7 is refunded.\n",
        "VERIFIED  ",
        r#"{"outcome": "used", "reviewer": "alice", "#,
    ] {
        assert!(
            printed.contains(expected),
            "{expected:?} is not in\n{printed}\n{said}"
        );
    }
    assert!(
        !printed.contains("errors") && !printed.contains("\"message\""),
        "{printed}"
    );
}
