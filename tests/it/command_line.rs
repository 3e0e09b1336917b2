//! The command line as programs see it: exit codes, JSON, what is told where.

mod refusals;
mod saved_queries;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::repository;

const RUCHE: &str = env!("CARGO_BIN_EXE_ruche-under-test");

struct Shell(TempDir);

/// What a command answered.
struct Answer {
    code: i32,
    json: Value,
    errors: String,
}

impl Shell {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let mut ruche = Command::new(RUCHE);
        ruche
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null());
        ruche.output().expect("ruche can be started")
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        let output = self.output(&[arguments, &["--json"]].concat());
        Answer {
            code: output.status.code().expect("ruche ends by itself"),
            json: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The example of the documents, changed by `change`, as a file of this name.
    fn example(&self, name: &str, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(repository::root().join("docs/import/example.json"));
        fs::write(
            self.path().join(name),
            change(text.expect("the example is there")),
        )
        .expect("a new file");
    }
}

fn import<'a>(files: &[&'a str]) -> Vec<&'a str> {
    [&["import", "--tenant", "acme", "--format", "tau-bench"], files].concat()
}

#[test]
fn a_reviewer_without_a_name_is_told_what_that_means() {
    let shell = Shell::new();
    let made = |user: &[&str]| {
        let new = ["keys", "new", "--tenant", "acme", "--role", "reviewer"];
        shell.output(&[&new[..], user].concat())
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let nobody = made(&[]);
    assert!(
        text(&nobody.stderr).starts_with("note: the key names no user."),
        "{nobody:?}"
    );
    assert_eq!(text(&nobody.stdout).lines().count(), 1, "the key alone");
    let json: Value = serde_json::from_slice(&made(&["--json"]).stdout).expect("JSON");
    assert!(
        json["note"].as_str().is_some_and(|note| note.contains("--user")),
        "{json}"
    );
    let alice = made(&["--user", "alice"]);
    assert_eq!(text(&alice.stderr), "");
}

#[test]
fn an_import_tells_what_it_did_and_a_second_one_that_it_did_nothing() {
    let shell = Shell::new();
    shell.example("talks.json", |text| text);
    let first = shell.run(&import(&["talks.json"]));
    assert_eq!(first.code, 0, "{}", first.errors);
    let total = &first.json["total"];
    assert_eq!(
        [
            &total["sessions"],
            &total["messages"],
            &total["tool_calls"],
            &total["duplicates"],
            &total["bad"]
        ],
        [2, 14, 3, 0, 0],
        "{total}"
    );
    assert_eq!(
        first.json["unclassified_tools"],
        json!(["find_order", "refund_payment"])
    );
    let second = shell.run(&import(&["talks.json"]));
    assert_eq!(second.code, 0, "{}", second.errors);
    assert_eq!(second.json["total"]["appended"], 0);
    assert_eq!(second.json["total"]["duplicates"], total["appended"]);
    let told = shell.output(&import(&["talks.json"])).stdout;
    assert!(String::from_utf8_lossy(&told).contains("nothing was appended"));
}

#[test]
fn a_bad_record_is_told_with_its_place_and_the_others_are_imported() {
    let shell = Shell::new();
    shell.example("bad.json", |text| {
        text.replacen("\"trial\": 0", "\"trial\": \"none\"", 1)
    });
    let answer = shell.run(&import(&["bad.json"]));
    assert_eq!(answer.code, 2, "{}", answer.errors);
    assert_eq!(
        (&answer.json["total"]["sessions"], &answer.json["total"]["bad"]),
        (&json!(1), &json!(1))
    );
    let bad = &answer.json["bad_records"][0];
    assert_eq!(
        (&bad["file"], &bad["path"]),
        (&json!("bad.json"), &json!("/0/trial")),
        "{bad}"
    );
    assert!(
        answer.errors.starts_with("bad.json: /0/trial: "),
        "{}",
        answer.errors
    );
    // The same id with other content is another request under the same key.
    shell.example("bad.json", |text| {
        text.replacen("Done: the money", "Done, the money", 1)
    });
    let answer = shell.run(&import(&["bad.json"]));
    assert_eq!(answer.code, 2, "{}", answer.errors);
    assert_eq!(answer.json["total"]["sessions"], 1);
    assert!(
        answer.errors.contains("bad.json: /1: IDEMPOTENCY_MISMATCH"),
        "{}",
        answer.errors
    );
}

#[test]
fn what_cannot_run_ends_with_1_and_writes_nothing() {
    let shell = Shell::new();
    shell.example("talks.json", |text| text);
    fs::create_dir(shell.path().join("other")).expect("a new folder");
    shell.example("other/talks.json", |text| text);
    for arguments in [
        import(&["absent.json"]),
        import(&["talks.json", "absent.json"]),
        import(&["talks.json", "other/talks.json"]),
        import(&["--mapping", "talks.json", "talks.json"]),
        import(&["--no-such-option", "talks.json"]),
        vec!["import", "--tenant", "acme", "--format", "nothing", "talks.json"],
        vec!["export", "--tenant", "nobody", "copy"],
        vec!["verify"],
        vec!["verify", "absent"],
    ] {
        let answer = shell.run(&arguments);
        assert_eq!(answer.code, 1, "{arguments:?}: {}", answer.errors);
        // The verifier answers in JSON even then.
        let told = !answer.errors.is_empty() || answer.json["verdict"] == "COULD_NOT_RUN";
        assert!(told, "{arguments:?}: {}", answer.json);
    }
    assert!(!shell.path().join("copy").exists());
    let answer = shell.run(&["doctor"]);
    assert!(
        !answer.json.to_string().contains("records, "),
        "nothing was written: {}",
        answer.json
    );
}

#[test]
fn an_export_is_verified_with_the_exit_codes_of_the_verifier() {
    let shell = Shell::new();
    assert_eq!(
        shell.run(&["seed", "--tenant", "acme", "--sessions", "5"]).code,
        0
    );
    let exported = shell.run(&["export", "--tenant", "acme", "--key-file", "acme.vkey", "copy"]);
    assert_eq!(exported.code, 0, "{}", exported.errors);
    let key = fs::read_to_string(shell.path().join("acme.vkey")).expect("the key was written");
    assert_eq!(exported.json["verifier_keys"], json!([key.trim()]));
    let trusted = shell.run(&["verify", "copy", "--key", &key]);
    assert_eq!(
        (trusted.code, &trusted.json["verdict"]),
        (0, &json!("VERIFIED")),
        "{}",
        trusted.errors
    );
    assert_eq!(trusted.json["records"], exported.json["records"]);
    assert_eq!(shell.run(&["verify", "copy"]).code, 4);
    let nobody = shell.run(&["export", "--tenant", "nobody", "other"]);
    assert!(nobody.errors.contains("tenant nobody"), "{}", nobody.errors);
    let again = shell.run(&["export", "--tenant", "acme", "copy"]);
    assert_eq!(again.code, 1, "an export is never written over another one");
    fs::write(shell.path().join("copy/e1/checkpoint"), "nothing").expect("a file of our own");
    assert_eq!(shell.run(&["verify", "copy", "--key", &key]).code, 2);
}

#[test]
fn made_up_conversations_go_only_into_an_empty_tenant() {
    let shell = Shell::new();
    shell.example("talks.json", |text| text);
    assert_eq!(shell.run(&import(&["talks.json"])).code, 0);
    let refused = shell.run(&["seed", "--tenant", "acme"]);
    assert_eq!(refused.code, 1);
    assert!(refused.errors.contains("empty"), "{}", refused.errors);
    let told = shell.run(&["seed", "--tenant", "other", "--sessions", "3"]);
    assert_eq!(
        (told.code, &told.json["sessions"], &told.json["told_before"]),
        (0, &json!(3), &json!(false))
    );
    let again = shell.run(&["seed", "--tenant", "other", "--sessions", "3"]);
    assert_eq!(
        (again.code, &again.json["appended"], &again.json["told_before"]),
        (0, &json!(0), &json!(true))
    );
    assert_eq!(again.json["sessions"], 3, "they are there already");
}

#[test]
fn the_doctor_finds_what_is_wrong() {
    let shell = Shell::new();
    let nothing = shell.run(&["doctor"]);
    assert_eq!(nothing.code, 1);
    assert!(nothing.errors.contains("no store here"), "{}", nothing.errors);
    assert!(!shell.path().join("ruche-keys").exists(), "looking makes nothing");
    assert_eq!(
        shell.run(&["seed", "--tenant", "acme", "--sessions", "3"]).code,
        0
    );
    let well = shell.run(&["doctor"]);
    assert_eq!(well.code, 0, "{}", well.json);
    let seed = shell.path().join("ruche-keys/master.seed");
    fs::set_permissions(&seed, fs::Permissions::from_mode(0o644)).expect("a file of our own");
    let exposed = shell.run(&["doctor"]);
    assert_eq!(exposed.code, 1);
    assert_eq!(exposed.json[0]["state"], "wrong", "{}", exposed.json);
    fs::rename(&seed, shell.path().join("elsewhere")).expect("a file of our own");
    let absent = shell.run(&["doctor"]);
    assert_eq!(absent.code, 1);
    assert!(!seed.exists(), "a lost seed is not replaced by a new one");
}

#[test]
fn a_restored_ledger_is_found_and_goes_on_in_a_new_epoch() {
    let shell = Shell::new();
    shell.example("talks.json", |text| text);
    assert_eq!(
        shell
            .run(&["keys", "new", "--tenant", "acme", "--role", "reader"])
            .code,
        0
    );
    assert_eq!(shell.run(&["backup", "ledger.backup"]).code, 0);
    assert_eq!(shell.run(&import(&["talks.json"])).code, 0);
    assert_eq!(
        shell.run(&["restore", "ledger.backup"]).code,
        1,
        "the present store is in the way"
    );
    let restored = shell.run(&["restore", "--replace", "ledger.backup"]);
    assert_eq!(restored.code, 0, "{}", restored.errors);
    assert_eq!(restored.json["ledgers"][0]["epoch"], 2, "{}", restored.json);
    let opened = shell.run(&["ledger", "show", "--tenant", "acme"]);
    assert_eq!(opened.json.as_array().map(Vec::len), Some(2), "{}", opened.json);
    assert_eq!(shell.run(&["doctor"]).code, 0);
    assert_eq!(
        shell
            .run(&["export", "--tenant", "acme", "--key-file", "keys", "copy"])
            .code,
        0
    );
    let keys = fs::read_to_string(shell.path().join("keys")).expect("the keys were written");
    let lost = shell.run(&["verify", "copy", "--key", &keys]);
    assert_eq!(lost.code, 2);
    assert_eq!(lost.json["findings"][0]["kind"], "RECORDS_LOST", "{}", lost.json);
}
