//! The binary: arguments, output and exit codes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ruche_domain::numbers::LeafIndex;
use ruche_ledger::hash::{Hash, leaf_hash};
use ruche_ledger::proof::{NodeOutside, NodeReader, inclusion_proof};
use ruche_ledger::testing::SeededRandom;
use ruche_ledger::tlog_proof::TlogProof;
use ruche_ledger::tree::root_of;
use serde_json::Value;

use crate::support::good::{Export, Shape, export};
use crate::support::mutate::{self, Expected, Work};
use crate::support::resigned;

const SHAPE: Shape = Shape {
    epochs: 2,
    appends: 12,
    events_max: 3,
};

/// An export on disk, and its neighbourhood for the auditor's own files.
struct World {
    parent: tempfile::TempDir,
    work: Work,
}

impl World {
    fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("export");
        Self {
            work: Work {
                export: export(5, SHAPE),
                folder,
                random: SeededRandom::new(5),
            },
            parent,
        }
    }

    fn written() -> Self {
        let world = Self::new();
        world.work.write();
        world
    }

    fn mutated(mutations: &[(&str, mutate::Mutation)], name: &str) -> (Self, Expected) {
        let mut world = Self::new();
        let (_, mutation) = mutations.iter().find(|(known, _)| *known == name).unwrap();
        let expected = mutation(&mut world.work).unwrap();
        (world, expected)
    }

    fn export(&self) -> &Export {
        &self.work.export
    }

    fn keys(&self) -> Vec<String> {
        self.export()
            .keys()
            .into_iter()
            .flat_map(|key| ["--key".to_owned(), key])
            .collect()
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.parent.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Verifies with the keys and these arguments.
    fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        let mut all: Vec<_> = vec![self.work.folder.clone().into_os_string()];
        all.extend(self.keys().into_iter().map(Into::into));
        all.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        run(all)
    }
}

#[derive(Debug)]
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_ruche-verify"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

const NONE: [&str; 0] = [];

#[test]
fn a_good_export_is_verified_silently_and_without_colours() {
    let world = World::written();
    let run = world.run(NONE);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{run:?}");
    assert!(run.out.starts_with("VERIFIED"), "{run:?}");
    assert!(!run.out.contains('\u{1b}'), "{run:?}");
    for epoch in &world.export().epochs {
        assert!(
            run.out.contains(&epoch.origin) && run.out.contains(&epoch.head.head().root.to_string()),
            "{run:?}"
        );
    }
}

#[test]
fn without_a_key_it_is_self_consistent_and_says_what_to_do() {
    let world = World::written();
    let run = run([&world.work.folder]);
    assert_eq!(run.code, Some(4), "{run:?}");
    assert!(
        run.out.starts_with("SELF-CONSISTENT, NOT AUTHENTICATED") && run.out.contains("--key"),
        "{run:?}"
    );
}

#[test]
fn a_key_of_another_log_or_of_one_epoch_only_is_not_enough() {
    let world = World::written();
    let keys = world.export().keys();
    let one = run([
        world.work.folder.as_os_str(),
        OsStr::new("--key"),
        OsStr::new(&keys[0]),
    ]);
    assert_eq!(one.code, Some(2), "{one:?}");
    assert!(one.out.contains("TREE_HEAD_UNTRUSTED"), "{one:?}");
}

#[test]
fn tampering_is_2_and_missing_payloads_are_3() {
    for (mutations, name) in [
        (mutate::ALL, "leaf_byte"),
        (mutate::ALL, "middle_dropped"),
        (mutate::ALL, "first_cut"),
        (mutate::ALL, "swapped"),
        (mutate::ALL, "transplanted"),
        (mutate::ALL, "deleted_file"),
        (mutate::ALL, "payload_missing"),
        (resigned::DEFECTS, "effect_without_intent"),
        (resigned::DEFECTS, "encrypted_payload"),
    ] {
        let (world, expected) = World::mutated(mutations, name);
        let run = world.run(NONE);
        assert_eq!(run.code, Some(expected.exit_code.into()), "{name}: {run:?}");
        assert!(
            expected.any_of.iter().any(|kind| run.out.contains(kind.name())),
            "{name}: {run:?}"
        );
        let json: Value = serde_json::from_str(&world.run(["--json"]).out).unwrap();
        assert_eq!(json["exit_code"], expected.exit_code, "{name}: {json}");
        let kinds = json["findings_by_kind"].as_object().unwrap();
        assert!(
            expected.any_of.iter().any(|kind| kinds.contains_key(kind.name())),
            "{name}: {json}"
        );
        assert!(
            json["findings"]
                .as_array()
                .is_some_and(|findings| !findings.is_empty()),
            "{name}: {json}"
        );
    }
}

#[test]
fn a_kept_checkpoint_catches_a_rewritten_ledger() {
    let (world, expected) = World::mutated(resigned::REWRITTEN, "stream_removed");
    assert_eq!(world.run(NONE).code, Some(0), "without a memory it looks right");
    let kept = world.file("kept.checkpoint", expected.since.unwrap().as_bytes());
    let run = world.run([OsStr::new("--since"), kept.as_os_str()]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.out.contains("INCONSISTENT_WITH_KNOWN_HEAD"), "{run:?}");
}

#[test]
fn a_kept_checkpoint_of_the_same_ledger_is_extended_and_one_of_another_is_unrelated() {
    let world = World::written();
    let since = |head: &[u8]| {
        let kept = world.file("kept.checkpoint", head);
        world.run([OsStr::new("--since"), kept.as_os_str()])
    };
    for epoch in &world.export().epochs {
        for head in epoch.earlier.iter().chain([&epoch.head]) {
            let run = since(head.as_bytes());
            assert_eq!(run.code, Some(0), "{run:?}");
        }
    }
    let run = since(export(6, SHAPE).epochs[0].head.as_bytes());
    assert!(
        run.code == Some(2) && run.out.contains("KNOWN_HEAD_UNRELATED"),
        "{run:?}"
    );
}

#[test]
fn a_known_size_is_held_against_the_export() {
    let world = World::written();
    let (all, first) = (world.export().size(), world.export().epochs[0].records.len());
    for (at_least, code) in [
        (all.to_string(), 0),
        ((all + 1).to_string(), 2),
        (format!("1:{first}"), 0),
        (format!("1:{}", first + 1), 2),
        ("3:1".to_owned(), 2),
        ("0:1".to_owned(), 1),
        ("many".to_owned(), 1),
    ] {
        let run = world.run(["--at-least", &at_least]);
        assert_eq!(run.code, Some(code), "{at_least}: {run:?}");
        assert_eq!(
            run.out.contains("SMALLER_THAN_EXPECTED"),
            code == 2,
            "{at_least}: {run:?}"
        );
    }
}

#[test]
fn a_policy_can_say_whom_to_trust_and_can_ask_for_witnesses() {
    let world = World::written();
    let logs: String = world
        .export()
        .keys()
        .iter()
        .map(|key| format!("log {key}\n"))
        .collect();
    let verify = |policy: &str| {
        let policy = world.file("policy", policy);
        run([
            world.work.folder.as_os_str(),
            OsStr::new("--policy"),
            policy.as_os_str(),
        ])
    };
    let run = verify(&format!("{logs}quorum none\n"));
    assert_eq!(run.code, Some(0), "{run:?}");
    let witness = world
        .export()
        .signer("witness.example")
        .verifier()
        .public_key()
        .to_owned();
    let witness = ruche_ledger::note::VerifierKey::new(
        "witness.example",
        ruche_ledger::note::SignatureKind::CosignatureV1,
        &witness,
    );
    let run = verify(&format!("{logs}witness w {}\nquorum w\n", witness.unwrap()));
    assert!(
        run.code == Some(2) && run.out.contains("TREE_HEAD_UNTRUSTED"),
        "{run:?}"
    );
    assert_eq!(verify("nonsense\n").code, Some(1));
}

/// Nodes of a tree of a few leaves.
struct Nodes(Vec<Hash>);

impl NodeReader for Nodes {
    type Error = NodeOutside;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, NodeOutside> {
        let start = (index as usize) << level;
        let leaves = self.0.get(start..start + (1 << level));
        leaves.map(root_of).ok_or(NodeOutside {
            level,
            index,
            leaves: self.0.len(),
        })
    }
}

#[test]
fn one_record_is_verified_with_its_proof() {
    let world = World::written();
    let epoch = &world.export().epochs[0];
    let hashes = epoch
        .records
        .iter()
        .map(|record| leaf_hash(&record.leaf))
        .collect();
    let head = epoch.head.head();
    let hashes = inclusion_proof(&mut Nodes(hashes), LeafIndex(3), head.size).unwrap();
    let proof = TlogProof {
        extra: None,
        index: LeafIndex(3),
        hashes,
        tree_head: epoch.head.clone(),
    };
    let proof = world.file("record.tlog-proof", proof.encode());
    let leaf = world.file("record.leaf", &epoch.records[3].leaf);
    let other = world.file("other.leaf", &epoch.records[4].leaf);
    let [key, other_key] = &world.export().keys()[..] else {
        panic!("two epochs")
    };
    let verify = |leaf: &Path, key: &str| {
        run([
            "--proof".as_ref(),
            proof.as_os_str(),
            "--leaf".as_ref(),
            leaf.as_os_str(),
            "--key".as_ref(),
            key.as_ref(),
        ])
    };
    let run_ = verify(&leaf, key);
    assert_eq!(run_.code, Some(0), "{run_:?}");
    let run_ = verify(&other, key);
    assert!(
        run_.code == Some(2) && run_.out.contains("ROOT_MISMATCH"),
        "{run_:?}"
    );
    let run_ = verify(&leaf, other_key);
    assert!(
        run_.code == Some(2) && run_.out.contains("TREE_HEAD_UNTRUSTED"),
        "{run_:?}"
    );
    let without_key = run([
        "--proof".as_ref(),
        proof.as_os_str(),
        "--leaf".as_ref(),
        leaf.as_os_str(),
    ]);
    assert_eq!(without_key.code, Some(1), "{without_key:?}");
    let arguments: [&OsStr; 7] = [
        "--proof".as_ref(),
        proof.as_os_str(),
        "--leaf".as_ref(),
        leaf.as_os_str(),
        "--key".as_ref(),
        key.as_ref(),
        "--json".as_ref(),
    ];
    let answer: Value = serde_json::from_str(&run(arguments).out).unwrap();
    assert_eq!(answer["epochs"][0]["epoch"], Value::Null, "{answer}");
    // Files that are something else say nothing about the ledger.
    let garbage = world.file("garbage", "not a proof\n");
    let truncated = world.file("truncated", "c2sp.org/tlog-proof@v1\nindex 3\n\nno tree head\n");
    let base64 = world.file("leaf.base64", "hAEC\n");
    let proof_or_leaf = |proof: &Path, leaf: &Path| {
        run([
            "--proof".as_ref(),
            proof.as_os_str(),
            "--leaf".as_ref(),
            leaf.as_os_str(),
            "--key".as_ref(),
            key.as_ref(),
        ])
    };
    for (proof, leaf, hint) in [
        (&garbage, &leaf, "tlogProof"),
        (&truncated, &leaf, "tlogProof"),
        (&proof, &base64, "base64 -d"),
    ] {
        let run = proof_or_leaf(proof, leaf);
        assert!(run.code == Some(1) && run.err.contains(hint), "{run:?}");
        assert_eq!(run.out, "", "no verdict was given");
    }
}

#[test]
fn a_kept_checkpoint_without_a_key_is_held_against_the_key_of_the_export() {
    let world = World::written();
    let folder = world.work.folder.as_os_str();
    let since = |head: &[u8]| {
        let kept = world.file("kept.checkpoint", head);
        run([folder, OsStr::new("--since"), kept.as_os_str()])
    };
    let run = since(world.export().epochs[0].head.as_bytes());
    assert_eq!(run.code, Some(4), "{run:?}");
    let run = since(export(6, SHAPE).epochs[0].head.as_bytes());
    assert!(
        run.code == Some(2) && run.out.contains("KNOWN_HEAD_UNRELATED"),
        "{run:?}"
    );
    let (world, expected) = World::mutated(resigned::REWRITTEN, "stream_removed");
    let kept = world.file("kept.checkpoint", expected.since.unwrap().as_bytes());
    let run = self::run([
        world.work.folder.as_os_str(),
        OsStr::new("--since"),
        kept.as_os_str(),
    ]);
    assert!(
        run.code == Some(2) && run.out.contains("INCONSISTENT_WITH_KNOWN_HEAD"),
        "{run:?}"
    );
}

#[test]
fn a_wrong_call_is_answered_in_json_where_json_is_asked_for() {
    let run = run(["--json", "--nonsense"]);
    let answer: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        (run.code, &answer["verdict"]),
        (Some(1), &"COULD_NOT_RUN".into()),
        "{run:?}"
    );
    assert!(
        answer["message"].as_str().unwrap().contains("--nonsense"),
        "{answer}"
    );
}

#[test]
fn what_is_wrong_with_a_policy_is_said_once() {
    let world = World::written();
    let policy = world.file("policy", "log nonsense\nquorum none\n");
    let run = run([
        world.work.folder.as_os_str(),
        OsStr::new("--policy"),
        policy.as_os_str(),
    ]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert_eq!(run.err.matches("the key is refused").count(), 1, "{run:?}");
}

#[test]
fn whoever_closes_the_pipe_hears_nothing_and_the_exit_code_stays() {
    let world = World::written();
    for (arguments, code) in [
        (vec![world.work.folder.as_os_str()], 4),
        (vec!["--help".as_ref()], 0),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_ruche-verify"))
            .args(&arguments)
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(
            (output.status.code(), &*output.stderr),
            (Some(code), &b""[..]),
            "{arguments:?}"
        );
    }
}

#[test]
fn what_could_not_run_is_1_and_never_2() {
    let world = World::written();
    let empty = tempfile::tempdir().unwrap();
    let nowhere = empty.path().join("nowhere");
    let file = world.file("file", "");
    for arguments in [
        vec![],
        vec!["--nonsense".as_ref()],
        vec![nowhere.as_os_str()],
        vec![empty.path().as_os_str()],
        vec![file.as_os_str()],
        vec![
            world.work.folder.as_os_str(),
            "--key".as_ref(),
            "nonsense".as_ref(),
        ],
        vec![
            world.work.folder.as_os_str(),
            "--policy".as_ref(),
            nowhere.as_os_str(),
        ],
        vec![
            world.work.folder.as_os_str(),
            "--since".as_ref(),
            file.as_os_str(),
        ],
    ] {
        let run = run(&arguments);
        assert_eq!(run.code, Some(1), "{arguments:?}: {run:?}");
        assert!(
            !run.err.is_empty() && run.out.is_empty(),
            "{arguments:?}: {run:?}"
        );
    }
    let json: Value = serde_json::from_str(&run([nowhere.as_os_str(), "--json".as_ref()]).out).unwrap();
    assert_eq!(
        (&json["verdict"], &json["exit_code"]),
        (&"COULD_NOT_RUN".into(), &1.into()),
        "{json}"
    );
    let malformed = world.run(["--since".as_ref(), file.as_os_str()]);
    assert_eq!(malformed.code, Some(1), "{malformed:?}");
}

#[test]
fn help_teaches() {
    let run = run(["--help"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    for word in [
        "Examples:",
        "--since",
        "Whom to trust:",
        "Exit codes:",
        "SELF_CONSISTENT",
    ] {
        assert!(run.out.contains(word), "{word} is not in {}", run.out);
    }
}

#[test]
fn an_empty_key_is_not_the_key_of_the_export() {
    let world = World::written();
    let run = run([world.work.folder.as_os_str(), OsStr::new("--key"), OsStr::new("")]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.err.contains("--key is empty"), "{run:?}");
}
