//! What the command line refuses, how it says so, and what a failed command leaves behind: nothing.

use std::fs;
use std::io::pipe;
use std::process::{Command, Stdio};

use ruche_tests::server::Home;
use serde_json::{Value, json};

use super::{Answer, RUCHE, Shell, import};

impl Answer {
    /// The one object on standard error.
    fn error(&self) -> Value {
        serde_json::from_str(&self.errors).unwrap_or_else(|error| panic!("{error}: {}", self.errors))
    }

    /// Asserts exit code 1, this code, and these words in the message.
    fn assert_refused(&self, code: &str, words: &str) {
        let error = self.error();
        assert_eq!((self.code, &error["code"]), (1, &json!(code)), "{error}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(words), "{words:?} is not in {message:?}");
    }
}

#[test]
fn names_of_tenants_and_keys_are_held_against_rules() {
    let shell = Shell::new();
    for name in ["", " acme", "a\nb", "\u{1b}[31m", &"x".repeat(129)] {
        let refused = shell.run(&["keys", "new", "--tenant", name, "--role", "reader"]);
        refused.assert_refused("USAGE", "a tenant is a uuid or a name");
    }
    let new = ["keys", "new", "--tenant", "acme", "--role", "reader"];
    let labelled = shell.run(&[&new[..], &["--label", "\u{1b}[31mred\nrow"]].concat());
    labelled.assert_refused("USAGE", "no control characters");
    assert!(
        !shell.path().join("ruche-data").exists(),
        "a refused call makes no store"
    );
    assert_eq!(shell.run(&new).code, 0);
    shell
        .run(&["keys", "list", "--tenant", "typo"])
        .assert_refused("NOT_FOUND", "no tenant typo");
    let listed = shell.run(&["keys", "list", "--tenant", "acme"]).json;
    let id = listed[0]["key_id"].as_str().expect("one key").to_owned();
    let revoke = |id: &str| shell.run(&["keys", "revoke", "--tenant", "acme", id]);
    revoke("zzz").assert_refused("USAGE", "expected the id of a key");
    revoke("00000000-0000-4000-8000-000000000000").assert_refused("NOT_FOUND", "no such key");
    for before in [false, true] {
        let revoked = revoke(&id);
        assert_eq!(
            (revoked.code, &revoked.json["revoked_before"]),
            (0, &json!(before))
        );
    }
    let said = shell.output(&["keys", "revoke", "--tenant", "acme", &id]).stdout;
    assert!(String::from_utf8_lossy(&said).contains("was revoked before"));
}

#[test]
fn an_export_that_fails_is_not_in_the_way_of_the_next() {
    let shell = Shell::new();
    assert_eq!(
        shell.run(&["seed", "--tenant", "acme", "--sessions", "2"]).code,
        0
    );
    let export = |key_file: &str| shell.run(&["export", "--tenant", "acme", "--key-file", key_file, "copy"]);
    export("nowhere/k").assert_refused("IO", "nowhere/k");
    export("copy/k").assert_refused("USAGE", "inside of the export");
    assert!(!shell.path().join("copy").exists());
    let exported = export("k");
    assert_eq!(exported.code, 0, "{}", exported.errors);
    assert!(shell.path().join("copy/manifest.json").exists());
    // An export that is refused leaves key files as they are.
    let keys = shell.path().join("k");
    fs::write(&keys, "of another ledger").expect("a file of our own");
    export("k").assert_refused("FAILED", "not an empty directory");
    assert_eq!(
        fs::read_to_string(&keys).expect("it is there"),
        "of another ledger"
    );
    assert_eq!(export("new").code, 1);
    assert!(!shell.path().join("new").exists());
}

#[test]
fn help_tells_own_options_from_global_ones_and_speaks_of_the_command_that_was_typed() {
    let shell = Shell::new();
    let help = |command: &str| String::from_utf8(shell.output(&[command, "--help"]).stdout).expect("UTF-8");
    let verify = help("verify");
    assert!(verify.contains("ruche verify export/"), "{verify}");
    for foreign in ["ruche-verify", "--data-dir", "--keys-dir", "--deployment"] {
        assert!(!verify.contains(foreign), "{foreign} is in {verify}");
    }
    let import = help("import");
    let (own, global) = import
        .split_once("Global options:")
        .expect("a heading of their own");
    for option in ["--data-dir", "--keys-dir", "--deployment", "--json"] {
        assert!(global.contains(option) && !own.contains(option), "{import}");
    }
    assert!(!global.contains("--mapping"), "{import}");
    // What is not shown is taken all the same, so that scripts can give every command the same options.
    let absent = shell.run(&["verify", "--data-dir", "elsewhere", "absent"]);
    assert_eq!(
        (absent.code, &absent.json["verdict"]),
        (1, &json!("COULD_NOT_RUN"))
    );
}

#[test]
fn a_wrong_call_is_one_object_where_json_is_asked_for() {
    let shell = Shell::new();
    shell
        .run(&import(&["--no-such-option", "x"]))
        .assert_refused("USAGE", "--no-such-option");
    shell
        .run(&["keys"])
        .assert_refused("USAGE", "requires a subcommand");
    shell
        .run(&import(&["absent.json"]))
        .assert_refused("IO", "absent.json");
    let verify = shell.run(&["verify"]);
    assert_eq!(
        (verify.code, &verify.json["exit_code"]),
        (1, &json!(1)),
        "as ruche-verify answers"
    );
    shell.example("talks.json", |text| text);
    assert_eq!(shell.run(&import(&["talks.json"])).code, 0);
    assert_eq!(shell.run(&["backup", "b1"]).code, 0);
    let again = shell.run(&["backup", "b1"]);
    again.assert_refused("FAILED", "b1 is there already");
    assert!(!again.errors.contains("not available"), "{}", again.errors);
}

#[test]
fn whoever_closes_the_pipe_hears_nothing_and_the_exit_code_stays() {
    let shell = Shell::new();
    shell.example("bad.json", |text| {
        text.replacen("\"trial\": 0", "\"trial\": \"none\"", 1)
    });
    let import = import(&["bad.json"]);
    // The import makes the store that the doctor looks at.
    for (arguments, code) in [(&import[..], 2), (&["doctor"], 0), (&["import", "--help"], 0)] {
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        let mut ruche = Command::new(RUCHE);
        ruche
            .args(arguments)
            .current_dir(shell.path())
            .stdin(Stdio::null())
            .stdout(writer);
        let output = ruche.output().expect("ruche can be started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(!errors.contains("error:"), "{arguments:?}: {errors}");
    }
}

#[test]
fn a_file_of_another_format_is_no_bad_record() {
    let shell = Shell::new();
    fs::write(shell.path().join("README.md"), "# Not a conversation\n{}\n").expect("a new file");
    shell.example("talks.json", |text| text);
    for (format, file, words) in [
        (
            "tau-bench",
            "README.md",
            "is not a JSON array of runs, as --format tau-bench asks for",
        ),
        ("agentdojo", "README.md", "agentdojo (JSON lines"),
        ("tau2", "talks.json", "try --format tau-bench"),
    ] {
        let refused = shell.run(&["import", "--tenant", "acme", "--format", format, file]);
        refused.assert_refused("USAGE", words);
        assert_eq!(refused.errors.contains("; try --format"), file == "talks.json");
    }
    assert!(!shell.path().join("ruche-data").exists(), "nothing was written");
}

#[test]
fn a_session_that_was_imported_otherwise_comes_with_a_hint() {
    let shell = Shell::new();
    shell.example("talks.json", |text| text);
    let with_agent = |agent| shell.run(&import(&["--agent", agent, "talks.json"]));
    let first = with_agent("one");
    assert_eq!((first.code, &first.json["hint"]), (0, &Value::Null));
    let second = with_agent("two");
    assert_eq!((second.code, &second.json["total"]["bad"]), (2, &json!(2)));
    let hint = second.json["hint"].as_str().expect("a hint");
    assert!(hint.contains("--agent") && hint.contains("event log"), "{hint}");
}

#[test]
fn each_start_of_the_demo_leaves_one_valid_key_and_serving_without_keys_says_how_to_make_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::embedded(RUCHE, folder.path());
    let server = home.serve().expect("the server starts");
    let hint = server.said["hint"].as_str().expect("a hint").to_owned();
    assert!(hint.contains("ruche keys new"), "{hint}");
    assert!(
        server.stop().expect("stopped"),
        "a signal is heard from the start"
    );
    home.run(&["seed", "--tenant", "demo", "--sessions", "2"])
        .expect("seeded");
    home.run(&[
        "keys", "new", "--tenant", "demo", "--role", "reader", "--label", "demo",
    ])
    .expect("a key of a person");
    for _ in 0..2 {
        let (server, _) = home.demo().expect("the demo serves");
        assert!(
            server.stop().expect("stopped"),
            "a signal is heard from the start"
        );
    }
    let listed = home.run(&["keys", "list", "--tenant", "demo"]).expect("the keys");
    let states: Vec<_> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|key| &key["state"])
        .collect();
    assert_eq!(states, ["valid", "revoked", "valid"], "{listed}");
    let server = home.serve().expect("the server starts");
    assert_eq!(server.said["hint"], Value::Null);
}
