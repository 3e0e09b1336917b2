//! `deploy/drill`: an operator rehearses a restore beside a deployment, which goes on as if nothing had been.

use std::fs;
use std::process::{Command, Output};

use ruche_tests::data::of_repository;
use ruche_tests::databases::Databases;
use ruche_tests::server::Home;

use super::{Drill, PROGRAM, started, tree_heads};

/// What the script measures, and what follows from it.
const LINES: [&str; 6] = ["backup", "restore", "start", "read models", "RTO", "RPO"];

/// Rehearses a restore of this deployment, which has its settings in the environment.
fn rehearse(drill: &Drill, scratch: Option<&str>) -> Output {
    let mut script = Command::new(of_repository("deploy/drill"));
    script
        .arg(drill.path("drill"))
        .env("RUCHE", &drill.home.program)
        .env("RUCHE_DATA_DIR", &drill.home.data)
        .env("RUCHE_KEYS_DIR", &drill.home.keys)
        // A drill that publishes what it signs, to where the deployment does, is none.
        .env("RUCHE_PUBLISH_DIR", drill.path("published"));
    if let Some(databases) = &drill.home.databases {
        script.envs(databases.variables());
    }
    if let Some(scratch) = scratch {
        script.env("RUCHE_DRILL_DATABASE_URL", scratch);
    }
    script.output().expect("it runs")
}

/// It went well beside a server, of which nobody noticed anything.
fn goes_well(drill: &Drill, scratch: Option<&str>) {
    let server = drill.home.serve().expect("it serves");
    started(&server.url, &drill.key, "before");
    let done = rehearse(drill, scratch);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let begins: Vec<_> = said.lines().collect();
    assert_eq!(begins.len(), LINES.len(), "{said}");
    for (line, with) in begins.iter().zip(LINES) {
        assert!(line.starts_with(with), "{with}: {said}");
    }
    let after = started(&server.url, &drill.key, "after");
    let position = after["position"].as_str().unwrap_or_default();
    assert!(position.starts_with("1:"), "{after}");
    assert!(server.stop().expect("it stops"), "it ended well");
    assert_eq!(drill.epochs(), 1, "nothing was restored");
    assert!(!drill.path("drill").exists(), "payloads were left behind");
    assert!(!drill.path("published").exists(), "the drill published something");
}

#[test]
fn a_drill_beside_a_server_says_what_a_restore_takes() {
    let drill = Drill::new();
    goes_well(&drill, None);
    assert_eq!(tree_heads(&drill.home).len(), 1, "the drill promised something");
}

#[test]
fn a_drill_with_a_database_restores_into_an_empty_one() {
    let Some(databases) = Databases::new().expect("databases") else {
        return;
    };
    let scratch = Databases::new().expect("databases").expect("a server").ledgers;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::on(PROGRAM, folder.path(), databases);
    let drill = Drill::of(folder, home);
    let refused = |scratch: Option<&str>, why: &str| {
        let done = rehearse(&drill, scratch);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains(why), "{why}: {said}");
        assert!(!drill.path("drill").exists(), "payloads were left behind");
    };
    refused(None, "RUCHE_DRILL_DATABASE_URL");
    let own = drill.home.databases.as_ref().expect("a drill on a database");
    refused(Some(&own.ledgers), "the database of the deployment");
    goes_well(&drill, Some(&scratch));
    // By another name it is the deployment's own all the same: nothing is restored into where ledgers are.
    refused(
        Some(&format!("{}?connect_timeout=9", own.ledgers)),
        "another master seed",
    );
    refused(Some(&scratch), "another master seed");
    assert_eq!(drill.epochs(), 1, "nothing was restored");
}

/// A drill whose server is not there, in a folder, and says these figures.
fn rehearse_with(folder: &std::path::Path, figures: &str) -> Output {
    fs::write(folder.join("figures"), figures).expect("figures");
    let fakes = of_repository("tests/it/testdata/drill");
    let path = std::env::var("PATH").expect("a path");
    let mut script = Command::new("timeout");
    script
        .arg("60")
        .arg(of_repository("deploy/drill"))
        .arg(folder.join("drill"));
    script
        .env("PATH", format!("{}:{path}", fakes.display()))
        .env("RUCHE", fakes.join("ruche"))
        .env("FAKED", folder)
        .env_remove("RUCHE_DATABASE_URL");
    script.output().expect("it runs")
}

#[test]
fn a_drill_fails_at_once_where_a_read_model_waits_for_a_person() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let figures = "ruche_projection_lag_events{projection=\"usage\"} 7\nruche_parked_projections 2\n";
    let done = rehearse_with(folder.path(), figures);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("2 read models are parked"), "{said}");
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(!folder.path().join("drill").exists(), "payloads were left behind");
}

#[test]
fn a_drill_does_not_say_that_appends_are_taken_while_a_ledger_is_halted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let figures = "ruche_projection_lag_events{projection=\"usage\"} 0\nruche_parked_projections 0\n";
    let done = rehearse_with(folder.path(), figures);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("takes appends"), "{said}");
    let asked = fs::read_to_string(folder.path().join("asked")).expect("it asked");
    assert_eq!(
        asked.lines().count(),
        2,
        "the first answer told of a halted ledger"
    );
}
