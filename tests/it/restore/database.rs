//! The drill on PostgreSQL: one file holds all ledgers of all nodes, and a restore of it is whole or did not happen.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ruche_ledger::testing::SeededRandom;
use ruche_tests::databases::{Databases, rows, run};
use ruche_tests::server::Home;
use serde_json::Value;

use super::{Drill, PROGRAM, start_session, started, text};

/// Restores that are killed.
const KILLS: u64 = 8;
/// The server has noticed by then that a client was killed.
const NOTICED_MAX: Duration = Duration::from_secs(60);

/// The drill on databases of its own; nothing, told plainly, without a server.
fn drill() -> Option<Drill> {
    let databases = Databases::new().expect("databases")?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::on(PROGRAM, folder.path(), databases);
    Some(Drill::of(folder, home))
}

fn ledgers(drill: &Drill) -> &str {
    let databases = drill.home.databases.as_ref();
    &databases.expect("a drill on a database").ledgers
}

#[test]
fn a_restore_names_what_is_lost_and_goes_on_in_new_epochs_while_a_backup_stops_no_server() {
    let Some(drill) = drill() else {
        return;
    };
    let other = drill.home.new_key("other", &["writer", "reader"]).expect("a key");
    // A server that runs goes on.
    let server = drill.home.serve().expect("it serves");
    let backup = drill.path("both.backup");
    let written = drill.run(&["backup", text(&backup)]);
    let mode = fs::metadata(&backup).expect("a backup").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "payloads are in it");
    let before = started(&server.url, &drill.key, "lost");
    assert_eq!(before["__typename"], "StartSessionPayload", "{before}");
    let refused = drill.home.end_of(&["restore", text(&backup), "--replace"]);
    let refused = refused.expect("it runs");
    assert_eq!(refused.code, Some(1));
    assert!(refused.said.contains("stop every"), "{}", refused.said);
    assert!(server.stop().expect("it stops"), "it ended well");
    assert_eq!(written["records"], 4, "each tenant was opened and given a key");
    drill
        .home
        .new_key("late", &["reader"])
        .expect("a tenant behind the backup");
    drill.run(&["export", "--tenant", "acme", text(&drill.path("before"))]);

    let there = drill.home.end_of(&["restore", text(&backup)]).expect("it runs");
    assert_eq!(there.code, Some(1));
    assert!(there.said.contains("--replace"), "{}", there.said);
    let restored = drill.run(&["restore", text(&backup), "--replace"]);
    let told = restored["ledgers"].as_array().expect("ledgers");
    assert_eq!(told.len(), 2, "{restored}");
    let with_loss: Vec<_> = told.iter().filter(|of| !of["lost"].is_null()).collect();
    assert_eq!(with_loss.len(), 1, "{restored}");
    assert_eq!(with_loss[0]["lost"][1], before["position"], "{restored}");
    let lost = restored["lost_ledgers"].as_array().expect("lost ledgers");
    assert_eq!(lost.len(), 1, "{restored}");
    for key in [&drill.key, &other] {
        let after = start_session(&drill.home, key, "after");
        let position = after["position"].as_str().unwrap_or_default().to_owned();
        assert!(position.starts_with("2:"), "{after}");
    }
    let kept = drill.path("before/e1/checkpoint");
    let declared = vec!["RECORDS_LOST".to_owned()];
    assert_eq!(drill.verified("first", None), (Some(2), declared));
    let (code, kinds) = drill.verified("second", Some(&kept));
    assert_eq!(code, Some(2));
    assert!(kinds.contains(&"RECORDS_LOST".to_owned()), "{kinds:?}");
    // The restored store is backed up and restored like any other, now into a database with nothing in it.
    let again = drill.path("again.backup");
    drill.run(&["backup", text(&again)]);
    run(ledgers(&drill), "DROP SCHEMA ruche CASCADE").expect("a schema of our own");
    let restored = drill.run(&["restore", text(&again)]);
    assert_eq!(restored["put_aside"], Value::Null, "{restored}");
    assert_eq!(drill.epochs(), 3);
}

#[test]
fn a_restore_without_what_was_promised_puts_no_ledger_aside() {
    let Some(mut drill) = drill() else {
        return;
    };
    let refused = |drill: &Drill, what: &str| {
        let ended = drill.home.end_of(&["restore", "--replace", text(&drill.backup)]);
        let ended = ended.expect("it runs");
        assert_eq!(ended.code, Some(1), "{what}: {}", ended.said);
        assert!(ended.said.contains(what), "{what}: {}", ended.said);
    };
    let elsewhere = Databases::new().expect("databases").expect("a server");
    let databases = drill.home.databases.as_mut().expect("a drill on a database");
    let promised = std::mem::replace(&mut databases.tree_heads, elsewhere.tree_heads.clone());
    refused(&drill, "do not know what was signed");
    drill.home.databases.as_mut().expect("databases").tree_heads = promised;
    let seed = drill.home.keys.join("master.seed");
    let own = fs::read(&seed).expect("a seed");
    let other = format!("{}\n", "0a".repeat(32));
    fs::write(&seed, &other).expect("a file of our own");
    refused(&drill, "another master seed");
    fs::write(&seed, &own).expect("a file of our own");
    let after = start_session(&drill.home, &drill.key, "goes on");
    let position = after["position"].as_str().unwrap_or_default();
    assert!(position.starts_with("1:"), "{after}");
    // Where no ledgers are the seed is found out later, and a wrong one does not keep the right one away.
    run(ledgers(&drill), "DROP SCHEMA ruche CASCADE").expect("a schema of our own");
    fs::write(&seed, &other).expect("a file of our own");
    refused(&drill, "is not signed by the key");
    fs::write(&seed, &own).expect("a file of our own");
    drill.run(&["restore", "--replace", text(&drill.backup)]);
    assert_eq!(drill.epochs(), 2);
}

/// What a change of promises needs at most until a server acts on it: the longest pause of a sealer that fails.
const ACTED_ON_MAX: Duration = Duration::from_secs(60);

/// Appends until the answer is of this kind.
fn appends_until(drill: &Drill, url: &str, kind: &str) {
    let begun = Instant::now();
    let mut answer = Value::Null;
    for n in 0.. {
        assert!(begun.elapsed() < ACTED_ON_MAX, "no {kind}: {answer}");
        answer = started(url, &drill.key, &format!("until {kind} {n}"));
        if answer["__typename"] == kind {
            return;
        }
    }
}

#[test]
fn a_ledger_whose_promises_are_gone_takes_no_appends_while_a_server_runs() {
    let Some(drill) = drill() else {
        return;
    };
    let databases = drill.home.databases.as_ref().expect("a drill on a database");
    let server = drill.home.serve().expect("it serves");
    let sealed = |name: &str| {
        let answer = started(&server.url, &drill.key, name);
        assert_eq!(answer["__typename"], "StartSessionPayload", "{answer}");
        let is_sealed =
            "SELECT 1 FROM ruche.head h JOIN ruche.tree_head t USING (ledger, epoch) WHERE t.size = h.size";
        let begun = Instant::now();
        while rows(&databases.ledgers, is_sealed).expect("rows").is_empty() {
            assert!(begun.elapsed() < ACTED_ON_MAX, "{name} is not sealed");
        }
    };
    let promises = |sql: &str| {
        let sql = format!("SET search_path = ruche_tree_heads; {sql}");
        run(&databases.tree_heads, &sql).expect("a database of our own");
    };
    let put = |kept: &str| {
        promises(&format!(
            "UPDATE tree_head t SET size = k.size, note = k.note FROM {kept} k WHERE k.origin = t.origin"
        ));
    };
    // What the database itself refuses, its owner can do.
    promises("ALTER TABLE tree_head DISABLE TRIGGER USER");
    sealed("first");
    promises("CREATE TABLE old AS TABLE tree_head");
    sealed("second");
    promises("CREATE TABLE new AS TABLE tree_head");
    put("old");
    appends_until(&drill, &server.url, "TryAgain");
    put("new");
    appends_until(&drill, &server.url, "StartSessionPayload");
    assert!(server.stop().expect("it stops"), "it ended well");
}

/// How a restore of these bytes is refused.
fn refused(drill: &Drill, file: &Path, bytes: &[u8], what: &str) {
    fs::write(file, bytes).expect("a file of our own");
    let ended = drill.home.end_of(&["restore", "--replace", text(file)]);
    let ended = ended.expect("it runs");
    assert_eq!(ended.code, Some(1), "{what}: {}", ended.said);
    assert!(ended.said.contains("is not good"), "{what}: {}", ended.said);
}

#[test]
fn a_backup_that_was_cut_or_changed_is_told_and_the_database_is_as_it_was() {
    let Some(drill) = drill() else {
        return;
    };
    let good = fs::read(&drill.backup).expect("a backup");
    let bad = drill.path("bad.backup");
    for cut in [0, 1, good.len() / 3, good.len() - 33, good.len() - 1] {
        refused(&drill, &bad, &good[..cut], &format!("cut at {cut}"));
    }
    for place in (0..good.len()).step_by(good.len() / 9) {
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        refused(&drill, &bad, &bytes, &format!("flipped at {place}"));
    }
    refused(&drill, &bad, &[&good[..], b"x"].concat(), "longer");
    assert_eq!(drill.epochs(), 1, "nothing was restored");
    let after = start_session(&drill.home, &drill.key, "goes on");
    assert_eq!(after["__typename"], "StartSessionPayload", "{after}");
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_ledgers_or_the_new_ones_whole() {
    let Some(drill) = drill() else {
        return;
    };
    let (dice, begun) = (SeededRandom::new(7), Instant::now());
    drill.run(&["restore", text(&drill.backup), "--replace"]);
    let takes = begun.elapsed().as_micros() as u64;
    let mut backup = drill.path("before.backup");
    drill.run(&["backup", text(&backup)]);
    let mut new = 0;
    for round in 0..KILLS {
        let epochs = drill.epochs();
        start_session(&drill.home, &drill.key, &format!("lost {round}"));
        let restore = drill.home.spawn(&["restore", text(&backup), "--replace"]);
        let mut restore = restore.expect("a restore begins");
        // A random instant of an ever later part of it; the first at once.
        thread::park_timeout(Duration::from_micros(
            round * takes / KILLS + dice.next() % takes / KILLS * round.min(1),
        ));
        restore.kill().expect("it can be killed");
        restore.wait().expect("it ends");
        // What was decided is finished by this start. No place of the old epoch is given again.
        let after = started_at_last(&drill, &format!("after {round}"));
        let position = after["position"].as_str().unwrap_or_default();
        let is_old = position.starts_with(&format!("{epochs}:"));
        let is_new = position.starts_with(&format!("{}:", epochs + 1));
        assert!(is_old || is_new, "{after}");
        assert_eq!(drill.epochs(), epochs + usize::from(is_new), "{after}");
        new += u64::from(is_new);
        // A backup reads everything.
        backup = drill.path(&format!("after-{round}.backup"));
        drill.run(&["backup", text(&backup)]);
    }
    eprintln!("of {KILLS} restores that were killed {new} were decided before");
    assert!(new < KILLS, "the first one cannot have been");
}

/// Starts a session on a node that starts once the server has noticed that the restore is gone.
fn started_at_last(drill: &Drill, name: &str) -> Value {
    let begun = Instant::now();
    let server = loop {
        match drill.home.serve() {
            Ok(server) => break server,
            Err(error) => assert!(begun.elapsed() < NOTICED_MAX, "{error}"),
        }
    };
    let answer = started(&server.url, &drill.key, name);
    assert!(server.stop().expect("it stops"), "it ended well");
    assert_eq!(answer["__typename"], "StartSessionPayload", "{answer}");
    answer
}

/// What a base backup, point-in-time recovery or a snapshot of the disk leaves: the whole database, read models as well, as
/// it was. `ruche restore` had no part in it.
#[test]
fn a_database_that_was_recovered_by_other_means_takes_nothing_until_its_new_epoch_names_the_loss() {
    let Some(mut drill) = drill() else {
        return;
    };
    let url = ledgers(&drill).to_owned();
    let name = url.rsplit('/').next().expect("a name").to_owned();
    let server = std::env::var("RUCHE_TEST_POSTGRES").expect("the server of the drill");
    let copy = format!("CREATE DATABASE {name}_recovered TEMPLATE {name}");
    let begun = Instant::now();
    // The server may still see the connections of the last command.
    while let Err(error) = run(&server, &copy) {
        assert!(begun.elapsed() < NOTICED_MAX, "{error}");
    }
    let lost = start_session(&drill.home, &drill.key, "lost");
    assert_eq!(lost["__typename"], "StartSessionPayload", "{lost}");
    let databases = drill.home.databases.as_mut().expect("a drill on a database");
    databases.ledgers = format!("{url}_recovered");

    let server = drill.home.serve().expect("it serves");
    let refused = started(&server.url, &drill.key, "refused");
    assert_eq!(refused["code"], "UNAVAILABLE", "{refused}");
    assert!(server.stop().expect("it stops"), "it ended well");
    drill.run(&["ledger", "new-epoch", "--restored", "--yes", "--tenant", "acme"]);
    let after = start_session(&drill.home, &drill.key, "after");
    assert_eq!(after["__typename"], "StartSessionPayload", "{after}");
    let declared = vec!["RECORDS_LOST".to_owned()];
    assert_eq!(drill.verified("export", None), (Some(2), declared));
}
