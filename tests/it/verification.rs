//! An auditor on a laptop: exports of the real binary, checked by `ruche-verify`, by `ruche verify`, and by the
//! verifier in Python that was written from the documents alone. All have to agree.

mod altered;
mod effects;
mod generated;
mod machine;
pub mod planted;
mod restored;
pub mod rewritten;
mod timers;
mod told;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ruche_tests::data;
use ruche_tests::server::Home;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const VERIFIER: &str = env!("CARGO_BIN_EXE_ruche-verify-under-test");

/// What a verifier answered.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: i32,
    verdict: String,
    /// Kinds of findings, each once, in order.
    kinds: Vec<String>,
}

/// Runs a program with `arguments` and `--json` and reads its answer.
fn answer(program: &mut Command, arguments: &[&str]) -> Answer {
    let output = program
        .args(arguments)
        .arg("--json")
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let findings = report["findings"].as_array().expect("findings");
    for finding in findings {
        for member in ["epoch", "index", "detail"] {
            assert!(finding.get(member).is_some(), "{member} in {finding}");
        }
    }
    let kind = |finding: &Value| finding["kind"].as_str().expect("a kind").to_owned();
    let mut kinds: Vec<String> = findings.iter().map(kind).collect();
    kinds.sort();
    kinds.dedup();
    let code = output.status.code().expect("an exit code");
    assert_eq!(report["exit_code"], code, "{report}");
    Answer {
        code,
        verdict: report["verdict"].as_str().expect("a verdict").to_owned(),
        kinds,
    }
}

fn python(arguments: &[&str]) -> Answer {
    let script = data::of_repository("docs/formats/verify.py");
    answer(Command::new("python3").arg("-B").arg(script), arguments)
}

fn verifier(arguments: &[&str]) -> Answer {
    answer(&mut Command::new(VERIFIER), arguments)
}

/// The answer of all verifiers; they agree on code and verdict.
fn verified(arguments: &[&str]) -> Answer {
    let ours = verifier(arguments);
    assert_eq!(answer(Command::new(PROGRAM).arg("verify"), arguments), ours);
    let theirs = python(arguments);
    assert_eq!(
        (theirs.code, &theirs.verdict),
        (ours.code, &ours.verdict),
        "{theirs:?} {ours:?}"
    );
    ours
}

/// A tenant with the tau-bench conversations, its export and its key.
struct Audited {
    folder: tempfile::TempDir,
    home: Home,
    export: PathBuf,
    key: String,
}

/// `None` where the data is absent.
fn tau_bench() -> Option<Audited> {
    let file = data::file("tau-bench-airline/gpt-4o-airline.json")?;
    let mapping = data::of_repository("docs/import/tau-bench-airline.json");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(PROGRAM, folder.path());
    let import = [
        "import",
        "--tenant",
        "acme",
        "--format",
        "tau-bench",
        "--mapping",
        text(&mapping),
        text(&file),
    ];
    home.run(&import).expect("an import");
    let export = folder.path().join("export");
    let key = exported(&home, &export);
    Some(Audited {
        folder,
        home,
        export,
        key,
    })
}

/// Exports the ledger of `acme` and gives its verifier key.
fn exported(home: &Home, export: &Path) -> String {
    let told = home
        .run(&["export", "--tenant", "acme", text(export)])
        .expect("an export");
    told["verifier_keys"][0].as_str().expect("a key").to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn an_export_of_real_conversations_is_verified_by_all_and_one_flipped_byte_is_caught_by_all() {
    let Some(audited) = tau_bench() else { return };
    let export = text(&audited.export);
    let with_key = [export, "--key", &audited.key];
    assert_eq!((verified(&with_key).code, verified(&[export]).code), (0, 4));
    let another = ruche_ledger::keys::MasterSeed::from_slice(&[7; 32]).expect("32 bytes");
    let origin = audited.key.split('+').next().expect("a name");
    let another = another
        .log_signer(origin)
        .expect("an origin")
        .verifier()
        .to_string();
    assert_eq!(verified(&[export, "--key", &another]).code, 2);

    for file in [
        "e1/tile/entries/007",
        "e1/tile/0/011",
        "e1/payload/020",
        "e1/checkpoint",
    ] {
        let path = audited.export.join(file);
        let good = fs::read(&path).expect("a file of the export");
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        fs::write(&path, bad).expect("writable");
        let found = verified(&with_key);
        assert!(found.code == 2 && !found.kinds.is_empty(), "{file}: {found:?}");
        fs::write(&path, good).expect("writable");
    }
    assert_eq!(verified(&with_key).code, 0);
}

#[test]
fn a_ledger_that_went_on_extends_the_head_that_was_kept() {
    let Some(audited) = tau_bench() else { return };
    let kept = audited.export.join("e1/checkpoint");
    let example = data::of_repository("docs/import/example.json");
    audited
        .home
        .run(&[
            "import",
            "--tenant",
            "acme",
            "--format",
            "tau-bench",
            text(&example),
        ])
        .expect("an import");
    let later = audited.folder.path().join("later");
    let key = exported(&audited.home, &later);
    assert_eq!(key, audited.key);
    assert_eq!(
        verified(&[text(&later), "--key", &key, "--since", text(&kept)]).code,
        0
    );
    // The other way round the later head knows of records that are not here.
    let newer = later.join("e1/checkpoint");
    let found = verified(&[text(&audited.export), "--key", &key, "--since", text(&newer)]);
    assert_eq!(
        (found.code, found.kinds),
        (2, vec!["INCONSISTENT_WITH_KNOWN_HEAD".to_owned()])
    );
    let foreign = tempfile::tempdir().expect("a temporary folder");
    let other = Home::new(PROGRAM, foreign.path());
    other.new_key("acme", &["reader"]).expect("a key");
    let export = foreign.path().join("export");
    exported(&other, &export);
    let unrelated = export.join("e1/checkpoint");
    let found = verified(&[text(&audited.export), "--key", &key, "--since", text(&unrelated)]);
    assert_eq!(
        (found.code, found.kinds),
        (2, vec!["KNOWN_HEAD_UNRELATED".to_owned()])
    );
}

#[test]
fn a_wrong_call_or_no_export_is_exit_code_1_and_never_a_verdict() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nothing = text(folder.path());
    assert_eq!(verified(&[nothing]).code, 1);
    assert_eq!(verified(&[nothing, "--key", "nonsense"]).code, 1);
}
