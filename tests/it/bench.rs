//! `ruche bench` counts what the ledger holds. Figures are read and never judged: how fast is no question of a test.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use ruche_tests::databases::{self, Databases};
use ruche_tests::server::{Home, Server, caught_up, graphql};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");

/// Longest wait for a bench to have appended something.
const BEGIN_WAIT_MAX: Duration = Duration::from_secs(60);

/// One second, measured from the beginning.
const SHORT: [&str; 4] = ["--seconds", "1", "--warm-up", "0"];

/// What every report has, with its unit where it has one.
const NUMBERS: [&str; 23] = [
    "callers",
    "events_per_append",
    "payload_bytes_per_event",
    "warm_up_s",
    "measured_s",
    "appends",
    "events",
    "payload_bytes",
    "events_per_s",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "latency_p999_ms",
    "latency_max_ms",
    "overloaded",
    "conflicts",
    "unknown",
    "unresolved",
    "given_up",
    "errors",
    "missed",
    "events_appended",
    "cores",
];

/// What a report has beside them where the engine is in the process.
const ENGINE_NUMBERS: [&str; 5] = [
    "disk_flushes_per_s",
    "events_per_commit",
    "events_per_commit_before",
    "bare_inserts_before_events_per_s",
    "bare_inserts_after_events_per_s",
];

fn number(report: &Value, field: &str) -> u64 {
    let found = report[field].as_u64();
    found.unwrap_or_else(|| panic!("{field} is no count in {report}"))
}

fn check_fields(report: &Value, fields: &[&str]) {
    for field in fields {
        assert!(report[*field].is_number(), "{field} is no number in {report}");
    }
}

/// Records in the ledgers of these tenants, without the one that opened each.
fn records(home: &Home, tenants: &Value) -> u64 {
    let tenants = tenants.as_array().expect("the tenants");
    let sizes = tenants.iter().map(|tenant| {
        let tenant = tenant.as_str().expect("a name");
        let epochs = home.run(&["ledger", "show", "--tenant", tenant]);
        number(&epochs.expect("the ledger")[0], "size") - 1
    });
    sizes.sum()
}

#[test]
fn what_is_told_as_appended_is_in_the_ledgers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let closed = [
        "bench",
        "append",
        "--callers",
        "4",
        "--batch",
        "5",
        "--ledgers",
        "2",
    ];
    let report = home.run(&[&closed[..], &SHORT].concat()).expect("a report");
    check_fields(&report, &NUMBERS);
    check_fields(&report, &ENGINE_NUMBERS);
    check_fields(&report, &["ratio_to_bare_inserts"]);
    assert_eq!(report["loop"], "closed");
    assert_eq!(report["cut_short"], false);
    assert_eq!(report["durability"]["synchronous"], "full", "{report}");
    assert_eq!(report["durability"]["journal_mode"], "wal", "{report}");
    let appended = number(&report, "events_appended");
    assert!(number(&report, "events") > 0);
    assert_eq!(number(&report, "events"), number(&report, "appends") * 5);
    assert_eq!(records(&home, &report["tenants"]), appended);

    // What is there stays as it is: without being told so, nothing is appended to a store that has ledgers.
    let refused = home.end_of(&[&closed[..], &SHORT].concat()).expect("an end");
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(refused.said.contains("--into-existing"), "{}", refused.said);
    assert_eq!(records(&home, &report["tenants"]), appended);
    let beside = [
        "bench",
        "append",
        "--into-existing",
        "--no-keys",
        "--streams",
        "32",
    ];
    let beside = home.run(&[&beside[..], &SHORT].concat()).expect("a report");
    assert_eq!(
        records(&home, &beside["tenants"]),
        number(&beside, "events_appended")
    );
    assert_eq!(records(&home, &report["tenants"]), appended);
}

#[test]
fn an_open_loop_accounts_for_every_append_that_was_due_and_leaves_no_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bench = Command::new(PROGRAM);
    bench
        .args(["bench", "append", "--rate", "200", "--batch", "2", "--json"])
        .args(SHORT)
        .env("TMPDIR", folder.path())
        // The store of somebody's server is no place for a bench.
        .env("RUCHE_DATA_DIR", folder.path().join("server"))
        .stdin(Stdio::null());
    let report = report(bench.output());
    check_fields(&report, &NUMBERS);
    assert_eq!(
        (&report["loop"], &report["latency_from"]),
        (&"open".into(), &"due".into())
    );
    let due = number(&report, "appends") + number(&report, "missed");
    assert_eq!(due, 100, "{report}");
    let left = std::fs::read_dir(folder.path()).expect("the folder").count();
    assert_eq!(left, 0);
}

/// A bench in a database that the call names. The folder is that of everything temporary.
fn bench_on(url: &str, folder: &Path) -> Command {
    let mut bench = Command::new(PROGRAM);
    bench
        .args(["bench", "append", "--json", "--callers", "4", "--batch", "5"])
        .args(SHORT)
        .args(["--database-url", url])
        .env("TMPDIR", folder)
        // Of somebody's server, and not there at all: whoever uses it fails.
        .env("RUCHE_DATABASE_URL", "postgres://127.0.0.1:1/server")
        .env("RUCHE_TREE_HEADS_URL", "postgres://127.0.0.1:1/heads")
        .stdin(Stdio::null());
    bench
}

#[test]
fn two_nodes_of_a_bench_append_to_one_ledger() {
    let Some(databases) = Databases::new().expect("databases") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let two = |more: &[&str]| {
        let mut bench = bench_on(&databases.ledgers, folder.path());
        bench.args(["--engines", "2"]).args(more);
        bench.output()
    };
    // Two nodes with the tree heads of one in a file: neither would know what the other promised.
    let refused = two(&[]).expect("an end");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("--tree-heads-url"),
        "{said}"
    );
    let report = report(two(&["--tree-heads-url", &databases.tree_heads]));
    assert_eq!((&report["engines"], &report["errors"]), (&2.into(), &0.into()));
    let appended = number(&report, "events_appended");
    assert!(appended > 0, "{report}");
    holds(
        &databases.ledgers,
        &format!(
            "(SELECT sum(size - 1) FROM ruche.head) = {appended} AND (SELECT count(*) FROM ruche.head) = 1"
        ),
    );
}

/// Fails unless the condition holds in the database.
fn holds(url: &str, condition: &str) {
    let sql =
        format!("DO $$ BEGIN IF NOT ({condition}) THEN RAISE EXCEPTION 'it does not hold'; END IF; END $$");
    let found = databases::run(url, &sql);
    found.unwrap_or_else(|error| panic!("{condition}: {error:?}"));
}

#[test]
fn a_bench_on_a_database_leaves_its_ledgers_and_nothing_else() {
    let Some(databases) = Databases::new().expect("databases") else {
        return;
    };
    let (folder, url) = (
        tempfile::tempdir().expect("a temporary folder"),
        &databases.ledgers,
    );
    let report = report(bench_on(url, folder.path()).output());
    check_fields(&report, &NUMBERS);
    check_fields(&report, &ENGINE_NUMBERS[1..]);
    check_fields(
        &report,
        &["one_connection_commits_per_s", "ratio_to_bare_inserts"],
    );
    assert_eq!(report["engine"], "postgres");
    for way in ["bare_inserts_before_way", "bare_inserts_after_way"] {
        assert!(report[way] == "unnest" || report[way] == "copy", "{report}");
    }
    for (setting, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
    ] {
        assert_eq!(report["durability"][setting], value, "{report}");
    }
    let appended = number(&report, "events_appended");
    assert!(number(&report, "events") > 0);
    assert_eq!(number(&report, "events"), number(&report, "appends") * 5);
    let is_as_told = format!("(SELECT sum(size - 1) FROM ruche.head) = {appended}");
    holds(url, &is_as_told);
    holds(
        url,
        "NOT EXISTS (SELECT FROM pg_namespace WHERE nspname LIKE 'ruche_bench_%')",
    );
    let left = std::fs::read_dir(folder.path()).expect("the folder").count();
    assert_eq!(left, 0);

    // Now it has ledgers: nothing is appended unless the call says so, and then only with the keys of these ledgers.
    for (more, asked) in [(None, "--into-existing"), (Some("--into-existing"), "--keys-dir")] {
        let refused = bench_on(url, folder.path()).args(more).output().expect("an end");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(asked), "{said}");
    }
    holds(url, &is_as_told);
}

fn report(output: io::Result<Output>) -> Value {
    let output = output.expect("ruche can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    serde_json::from_slice(&output.stdout).expect("a report")
}

/// Index of the last record of the key's ledger.
fn last_index(client: &Client, server: &Server, key: &str) -> u64 {
    let last = graphql(
        client,
        &server.url,
        key,
        "{ ledger { lastPosition } }",
        Value::Null,
    );
    let last = last.expect("an answer");
    let position = last["ledger"]["lastPosition"].as_str().expect("a position");
    let (_, index) = position.split_once(':').expect("epoch and index");
    index.parse().expect("an index")
}

fn serve(folder: &Path) -> (Server, String) {
    let home = Home::new(PROGRAM, folder);
    let key = home.new_key("bench", &["writer", "reader"]).expect("a key");
    (home.serve().expect("a server"), key)
}

fn bench_api(server: &Server, key: &str, arguments: &[&str]) -> Command {
    let mut bench = Command::new(PROGRAM);
    bench
        .args(["bench", "api", "--json", "--url", &server.url])
        .args(arguments)
        .env("RUCHE_KEY", key)
        .stdin(Stdio::null());
    bench
}

#[test]
fn what_a_server_answered_is_in_the_ledger_of_the_key() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (server, key) = serve(folder.path());
    let client = Client::new();
    for (batch, more) in [("1", &[][..]), ("7", &["--read-lag"])] {
        let before = last_index(&client, &server, &key);
        let arguments = [&["--connections", "3", "--batch", batch][..], more, &SHORT].concat();
        let report = report(bench_api(&server, &key, &arguments).output());
        check_fields(&report, &NUMBERS);
        if !more.is_empty() {
            check_fields(
                &report,
                &["read_lag_p50_ms", "read_lag_p99_ms", "read_lag_max_ms"],
            );
            assert!(number(&report, "read_lag_samples") > 0, "{report}");
            assert_eq!(number(&report, "read_lag_failed"), 0, "{report}");
        }
        assert_eq!((&report["bench"], &report["errors"]), (&"api".into(), &0.into()));
        let after = last_index(&client, &server, &key);
        assert_eq!(number(&report, "events_appended"), after - before, "{report}");
    }
    // A key that nobody has: said at once, with what to try.
    let last = if key.ends_with('0') { '1' } else { '0' };
    let unknown = format!("{}{last}", &key[..key.len() - 1]);
    let refused = bench_api(&server, &unknown, &SHORT).output().expect("an end");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("UNAUTHENTICATED") && said.contains("ruche keys new"),
        "{said}"
    );
}

#[test]
fn agents_work_on_all_lanes_and_every_turn_is_in_the_ledger() {
    every_turn_is_there((&[], 3));
}

#[test]
fn agents_of_one_name_share_its_lanes() {
    every_turn_is_there((&["--names", "2"], 2));
}

/// Three agents of so many names on seven lanes.
#[track_caller]
fn every_turn_is_there((more, names): (&[&str], usize)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let key = home.new_key("bench", &["admin"]).expect("a key");
    let server = home.serve().expect("a server");
    let mut bench = Command::new(PROGRAM);
    bench
        .args(["bench", "fabric", "--json", "--url", &server.url])
        .args([
            "--agents",
            "3",
            "--lanes",
            "7",
            "--seconds",
            "1",
            "--warm-up",
            "0",
        ])
        .args(more)
        .env("RUCHE_KEY", &key)
        .stdin(Stdio::null());
    let report = report(bench.output());
    let turns = number(&report, "turns");
    assert!(turns > 0, "{report}");
    assert_eq!(
        (
            &report["bench"],
            &report["loop"],
            &report["errors"],
            &report["first_error"]
        ),
        (&"fabric".into(), &"closed".into(), &0.into(), &Value::Null),
        "{report}"
    );
    // Two of each for a turn; all agents end with whole turns.
    for (step, of_turn) in [
        ("claimTurn", 1),
        ("proposeAction", 2),
        ("startEffect", 2),
        ("reportEffect", 2),
        ("commitTurn", 1),
        ("submitMessage", 1),
    ] {
        assert_eq!(
            number(&report["steps"][step], "count"),
            turns * of_turn,
            "{step}: {report}"
        );
    }
    let client = Client::new();
    caught_up(&client, &server.url, &key).expect("the read models catch up");
    let query = "query { ledger { health { byType { eventType holdings { records } } } } }";
    let wanted = [
        ("turn.opened", turns + 7),
        ("turn.committed", turns),
        ("tool.started", 2 * turns),
        ("tool.completed", 2 * turns),
    ];
    let health = graphql(&client, &server.url, &key, query, Value::Null).expect("an answer");
    let types = health["ledger"]["health"]["byType"].as_array().expect("a list");
    let records = |name: &str| {
        let found = types.iter().find(|of| of["eventType"] == name);
        found.map_or(0, |of| {
            of["holdings"]["records"]
                .as_str()
                .expect("a number")
                .parse()
                .expect("it")
        })
    };
    assert_eq!(wanted.map(|(name, _)| (name, records(name))), wanted);
    let query = "{ lanes(first: 100) { nodes { name { agent } } } }";
    let lanes = graphql(&client, &server.url, &key, query, Value::Null).expect("an answer");
    let lanes = lanes["lanes"]["nodes"].as_array().expect("a list");
    let agents: BTreeSet<&str> = lanes
        .iter()
        .filter_map(|lane| lane["name"]["agent"].as_str())
        .collect();
    assert_eq!((lanes.len(), agents.len()), (7, names), "{lanes:?}");
    assert_eq!(number(&report, "names"), names as u64, "{report}");
}

#[test]
fn a_signal_ends_a_bench_with_what_was_measured() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (server, key) = serve(folder.path());
    let client = Client::new();
    let before = last_index(&client, &server, &key);
    let arguments = ["--connections", "2", "--seconds", "3600", "--warm-up", "0"];
    let bench = bench_api(&server, &key, &arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ruche can be started");
    // The first append is a trial; those behind it are measured.
    let deadline = Instant::now() + BEGIN_WAIT_MAX;
    while last_index(&client, &server, &key) < before + 3 {
        assert!(Instant::now() < deadline, "the bench appends nothing");
    }
    let id = bench.id().to_string();
    let told = Command::new("kill").args(["-INT", &id]).status();
    assert!(told.expect("kill can be started").success());
    let report = report(bench.wait_with_output());
    assert_eq!(report["cut_short"], true, "{report}");
    let after = last_index(&client, &server, &key);
    assert_eq!(number(&report, "events_appended"), after - before, "{report}");
}
