//! Commands that only read, on a database in which nothing was made: they say so, and make nothing either.

use ruche_tests::databases::{Databases, rows};
use ruche_tests::server::Home;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
/// Commands that make nothing; a tenant is named where one has to be.
const READING: [&[&str]; 9] = [
    &["doctor"],
    &["doctor", "--full"],
    &["keys", "list", "--tenant", "acme"],
    &[
        "keys",
        "revoke",
        "--tenant",
        "acme",
        "00000000-0000-4000-8000-000000000000",
    ],
    &["ledger", "show", "--tenant", "acme"],
    &["projections", "list"],
    &["export", "--tenant", "acme", "export"],
    &["backup", "backup"],
    &["rebuild"],
];
/// What is in a database, without what every database has.
const SCHEMAS: &str = "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'ruche%'";

#[test]
fn who_only_reads_makes_nothing_in_an_empty_database() {
    let Some(databases) = Databases::new().expect("databases") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::on(PROGRAM, folder.path(), databases.clone());
    for with_seed in [false, true] {
        if with_seed {
            let other = Home {
                databases: None,
                ..Home::embedded(PROGRAM, folder.path())
            };
            other
                .new_key("acme", &["reader"])
                .expect("a seed for the keys folder");
        }
        for command in READING {
            let ended = home.end_of(command).expect("it runs");
            assert_eq!(ended.code, Some(1), "{command:?}: {ended:?}");
            assert!(ended.said.contains("no schema"), "{command:?}: {ended:?}");
        }
        let keys_are_there = home.keys.join("master.seed").exists();
        assert_eq!(keys_are_there, with_seed, "no seed is made either");
    }
    for url in [&databases.ledgers, &databases.tree_heads] {
        assert_eq!(rows(url, SCHEMAS).expect("an answer"), [""; 0]);
    }
    // A database that was made and has no ledgers yet is not made better either, and no seed is made for it.
    std::fs::remove_dir_all(&home.keys).expect("the keys of the other store");
    home.run(&["migrate"]).expect("the schemas");
    let ended = home
        .end_of(&["keys", "list", "--tenant", "acme"])
        .expect("it runs");
    assert!(
        ended.code == Some(1) && ended.said.contains("no ledgers yet"),
        "{ended:?}"
    );
    assert!(!home.keys.join("master.seed").exists());
}

/// As an older version of Ruche left it.
#[test]
fn who_only_reads_brings_nothing_up_to_date() {
    let Some(databases) = Databases::new().expect("databases") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::on(PROGRAM, folder.path(), databases.clone());
    home.new_key("acme", &["reader"]).expect("a key");
    let listed = home.run(&["keys", "list", "--tenant", "acme"]).expect("a list");
    let older = "DELETE FROM ruche.migration WHERE version > 6; DROP FUNCTION ruche.release_halt; \
                 DROP POLICY later_epoch ON ruche.restore; DROP POLICY open_epoch ON ruche.halt; \
                 DROP POLICY still_open_epoch ON ruche.halt; ALTER TABLE ruche.head DROP COLUMN halted; \
         DROP TABLE ruche.archived_range";
    ruche_tests::databases::run(&databases.ledgers, older).expect("an older schema");
    let ended = home
        .end_of(&["keys", "list", "--tenant", "acme"])
        .expect("it runs");
    assert!(
        ended.code == Some(1) && ended.said.contains("ruche migrate"),
        "{ended:?}"
    );
    let newest = "SELECT max(version)::text FROM ruche.migration";
    assert_eq!(rows(&databases.ledgers, newest).expect("an answer"), ["6"]);
    home.run(&["migrate"]).expect("it is brought up to date");
    assert_eq!(rows(&databases.ledgers, newest).expect("an answer"), ["9"]);
    let again = home.run(&["keys", "list", "--tenant", "acme"]).expect("a list");
    assert_eq!(again, listed);
}

#[test]
fn one_database_under_two_names_is_no_two_databases() {
    let Some(databases) = Databases::new().expect("databases") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::on(PROGRAM, folder.path(), databases.clone());
    let checked = |home: &Home| home.end_of(&["config", "check"]).expect("it runs");
    assert_eq!(checked(&home).code, Some(0));
    home.run(&["migrate"]).expect("the schemas");
    assert_eq!(checked(&home).code, Some(0));
    let tree_heads = format!("{}?application_name=heads", databases.ledgers);
    let twice = Home {
        databases: Some(Databases {
            tree_heads,
            ..databases
        }),
        ..Home::on(PROGRAM, folder.path(), home.databases.clone().expect("databases"))
    };
    let ended = checked(&twice);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.said.contains("a database of their own"), "{ended:?}");
}

/// With other tree heads what was promised is unknown, and records could be signed a second time in other places.
#[test]
fn tree_heads_of_another_deployment_and_files_in_their_place_are_refused() {
    let (Some(ours), Some(others)) = (
        Databases::new().expect("databases"),
        Databases::new().expect("databases"),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::on(PROGRAM, folder.path(), ours.clone());
    let new_key = |tenant| ["keys", "new", "--tenant", tenant, "--role", "reader"];
    home.run(&new_key("acme")).expect("a key");
    let mixed = Databases {
        tree_heads: others.tree_heads.clone(),
        ..ours.clone()
    };
    let mixed = Home::on(PROGRAM, folder.path(), mixed);
    let serve: &[&str] = &["serve", "--listen", "127.0.0.1:0"];
    for command in [
        &new_key("acme")[..],
        &new_key("beta")[..],
        &["keys", "list", "--tenant", "acme"],
        serve,
    ] {
        let ended = mixed.end_of(command).expect("it runs");
        assert!(
            ended.code == Some(1) && ended.said.contains("--tree-heads-url"),
            "{command:?}: {ended:?}"
        );
    }
    let files = Home::embedded(PROGRAM, folder.path());
    let url = ["--database-url", &ours.ledgers];
    let ended = files
        .end_of(&[&new_key("beta")[..], &url].concat())
        .expect("it runs");
    assert!(
        ended.code == Some(1) && ended.said.contains("--tree-heads-url"),
        "{ended:?}"
    );
    let promised = "SELECT count(*)::text FROM ruche_tree_heads.tree_head";
    assert_eq!(rows(&others.tree_heads, promised).expect("an answer"), ["0"]);
    // An administrator who knows better says so.
    let forget = "DELETE FROM ruche.deployment_tree_heads";
    ruche_tests::databases::run(&ours.ledgers, forget).expect("it is forgotten");
    home.run(&new_key("beta")).expect("a key");
    let noted = "SELECT count(*)::text FROM ruche.deployment_tree_heads";
    assert_eq!(
        rows(&ours.ledgers, noted).expect("an answer"),
        ["1"],
        "it is noted again"
    );
}
