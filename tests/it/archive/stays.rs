//! What stays in the store, though it stands before the line.

use std::fs;

use ruche_api::app::App;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_tests::databases;
use serde_json::Value;

use super::{ALL, World, payloads, text};

/// Pauses a projection once it has taken in what is there, or lets it go on and take in the rest. Its next position.
#[tokio::main]
async fn paused(world: &World, paused: bool) -> Position {
    let app = App::open(&world.home.common(), "a person who pauses a projection")
        .await
        .expect("the store opens");
    let ledger = app.events.ledgers().await.expect("ledgers")[0];
    let projection = "turns";
    if paused {
        app.catch_up(ledger).await.expect("it takes in what is there");
    }
    let decided = Position::new(1, u64::from(!paused));
    app.runner
        .set_paused(ledger, projection, paused, decided)
        .await
        .expect("a decision");
    if !paused {
        app.catch_up(ledger).await.expect("it takes in the rest");
    }
    let status = app.runner.store().status(ledger, projection).await;
    let status = status.expect("a status");
    assert_eq!((status.paused, status.parked), (paused, None));
    app.close().await.expect("it closes");
    status
        .checkpoint
        .position
        .expect("it has taken in something")
        .next()
}

/// The position behind the last record that is told as archived.
fn archived_to(listed: &Value) -> Option<Position> {
    let archives = listed["archives"].as_array().expect("archives").iter();
    let last = archives.filter_map(|archive| archive["to"].as_str());
    let last = last.map(|last| last.parse::<Position>().expect("a position"));
    last.max().map(Position::next)
}

#[test]
fn payloads_that_a_read_model_has_not_taken_in_stay() {
    let world = World::new(60);
    let stands = paused(&world, true);
    world.import(120);
    let archives = world.path("archives");
    let create = ["archive", "create", "--before", ALL, "--to", text(&archives)];
    world.run(&create);
    let to = archived_to(&world.run(&["archive", "list"])).expect("what was taken in is archived");
    assert!(to <= stands, "{to} is not before {stands}");

    // So the read model goes on without the archive, and the rest may leave.
    let end = paused(&world, false);
    assert!(end > stands);
    world.run(&create);
    let to = archived_to(&world.run(&["archive", "list"])).expect("archives");
    assert!(to > stands, "{to} is before {stands}");
}

#[test]
fn a_conversation_that_goes_on_stays_though_its_archive_is_there() {
    let world = World::new(60);
    let archives = world.path("archives");
    let create = ["archive", "create", "--before", ALL, "--to", text(&archives)];
    let made = world.run(&create);
    let name = made["archives"][0]["archive"].as_str().expect("an archive");
    world.run(&["archive", "restore", text(&archives.join(name))]);

    // Ann writes again. Her turn is open when the archive that has her first one is used once more.
    let server = world.home.serve().expect("the server starts");
    world.submit(&server, "second", "ann");
    assert!(server.stop().expect("it ends"));
    let again = world.run(&create);
    assert_eq!(again["archives"][0]["archive"], name, "{again}");

    let server = world.home.serve().expect("the server starts");
    let query = "{ ledger { records(first: 60) { nodes { payloadState stream } } } }";
    let records = world.ask(&server, query, Value::Null);
    let records = records["ledger"]["records"]["nodes"].as_array().expect("records");
    let states = |category: &str| {
        let of = |record: &&Value| {
            record["stream"]
                .as_str()
                .is_some_and(|name| name.starts_with(category))
        };
        let states = records
            .iter()
            .filter(of)
            .map(|record| record["payloadState"].clone());
        states.collect::<Vec<_>>()
    };
    assert!(
        states("observed-").contains(&"ARCHIVED".into()),
        "others leave again"
    );
    assert!(
        states("lane-").iter().all(|state| state == "PRESENT"),
        "{records:?}"
    );
    // What is said next is decided on all of it.
    world.submit(&server, "third", "ann");
    assert!(server.stop().expect("it ends"));
}

/// Has the store forget what it noted of archives, as a store did that lost the note.
fn forget(world: &World) {
    match &world.home.databases {
        Some(databases) => {
            databases::run(&databases.ledgers, "DELETE FROM ruche.archived_range").expect("a statement");
        }
        None => {
            let ledger = rusqlite::Connection::open(world.home.data.join("ledger.db")).expect("the ledger");
            let gone = ledger.execute("DELETE FROM archived_range", []);
            assert_eq!(gone.expect("a statement"), 1);
        }
    }
}

#[test]
fn what_the_store_lacks_comes_back_though_nothing_is_noted() {
    let world = World::new(60);
    let (before, _) = world.export("before", &[]);
    let archives = world.path("archives");
    let made = world.run(&["archive", "create", "--before", ALL, "--to", text(&archives)]);
    let name = made["archives"][0]["archive"].as_str().expect("an archive");
    forget(&world);
    let archive = archives.join(name);
    let restored = world.run(&["archive", "restore", text(&archive)]);
    assert_eq!(restored["payloads"], made["archives"][0]["payloads"]);
    let (after, _) = world.export("after", &[]);
    assert_eq!(payloads(&after), payloads(&before));
    let again = world.run(&["archive", "restore", text(&archive)]);
    assert_eq!(again["payloads"], 0, "now there is nothing to do");
}

#[test]
fn a_copy_under_the_name_of_the_next_range_is_refused() {
    let world = World::new(60);
    let archives = world.path("archives");
    let create = ["archive", "create", "--before", ALL, "--to", text(&archives)];
    let made = world.run(&create);
    let name = made["archives"][0]["archive"].as_str().expect("an archive");
    let (begin, to) = name.rsplit_once('-').expect("the end of the range");
    let (begin, _) = begin.rsplit_once('-').expect("its begin");
    let next = to.parse::<u64>().expect("an index") + 256;
    let copy = archives.join(format!("{begin}-{to}-{next}"));
    fs::create_dir_all(copy.join("e1/payload")).expect("a folder");
    for file in ["manifest.json", "index", "checkpoint"] {
        fs::copy(archives.join(name).join(file), copy.join(file)).expect("a copy");
    }
    for (file, bytes) in payloads(&archives.join(name)) {
        fs::write(copy.join("e1/payload").join(file), bytes).expect("a bundle");
    }

    world.import(180);
    let refused = world.home.end_of(&create).expect("it ends");
    assert_ne!(refused.code, Some(0));
    assert!(
        refused.said.contains("is a copy of the archive"),
        "{}",
        refused.said
    );
    fs::remove_dir_all(&copy).expect("it is taken away");
    world.run(&create);
}

/// The ledgers, in the order in which they are archived.
#[tokio::main]
async fn ledgers(world: &World) -> Vec<LedgerId> {
    let app = App::open(&world.home.common(), "a look at the ledgers")
        .await
        .expect("the store opens");
    let ledgers = app.events.ledgers().await.expect("ledgers");
    app.close().await.expect("it closes");
    ledgers
}

#[test]
fn what_was_archived_before_an_error_is_printed() {
    let world = World::new(60);
    world.home.new_key("other", &["writer"]).expect("a key");
    let conversations = world.path("conversations.json");
    let import = ["import", "--tenant", "other", "--format", "tau-bench"];
    world.run(&[&import[..], &[text(&conversations)]].concat());
    let [first, second] = ledgers(&world)[..] else {
        panic!("two ledgers");
    };
    // Something that is no archive stands where the second one is to be.
    let archives = world.path("archives");
    let blocked = archives.join(format!("{}-e1-0-256", second.0.as_simple()));
    fs::create_dir_all(&blocked).expect("a folder");
    let ended = world
        .home
        .end_of(&["archive", "create", "--before", ALL, "--to", text(&archives)])
        .expect("it ends");
    assert_ne!(ended.code, Some(0));
    let printed = ended.json["archives"].as_array().expect("what was done");
    let of: Vec<_> = printed.iter().map(|archive| archive["ledger"].clone()).collect();
    assert_eq!(of, [Value::from(first.to_string())], "{}", ended.said);
}
