//! Faults of each kind that R1 looks for, each planted in a copy of one store: stored bytes, signatures, what a turn may do,
//! what an idempotency key stands for. The command line and the API find each where it stands. The store is the embedded
//! one, since its files are what is tampered with; that other engines give the same records, the contract of engines says.

use std::fs;
use std::path::Path;

use reqwest::blocking::Client;
use ruche_api::app::App;
use ruche_domain::envelope::{ACFEvent, Actor};
use ruche_domain::ids::{ApprovalId, EventId, LedgerId};
use ruche_domain::numbers::Position;
use ruche_domain::stream::Category;
use ruche_ledger::leaf::Leaf;
use ruche_ledger::payload::{Fragment, JSON};
use ruche_ledger::store::{AppendOutcome, AppendRequest, PreparedEvent, Record};
use ruche_ledger::testing::SeededRandom;
use ruche_replay::{View, What};
use ruche_tests::server::{Home, graphql};
use rusqlite::{Connection, params};
use serde_json::json;

use super::verified::{VERIFY, forge, verify};
use super::{PROGRAM, STEPS, World, master, view};

/// A store that is closed, and what it holds.
struct Store {
    folder: tempfile::TempDir,
    ledger: LedgerId,
    records: Vec<Record>,
    /// Of an auditor.
    key: String,
}

/// A fault: its name, and the place of the record that it is found at; of a tree head there is none.
struct Planted {
    name: &'static str,
    position: Option<Position>,
}

impl Planted {
    fn at(name: &'static str, position: Position) -> Self {
        let position = Some(position);
        Self { name, position }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a file");
        }
    }
}

impl Store {
    /// A copy, and the file of its ledger.
    fn copy(&self, name: &str) -> (Home, Connection) {
        let folder = self.folder.path().join(name);
        let [from, to] = [self.folder.path(), &folder].map(|folder| Home::embedded(PROGRAM, folder));
        copy(&from.data, &to.data);
        copy(&from.keys, &to.keys);
        let file = Connection::open(to.data.join("ledger.db")).expect("the file of the ledger");
        (to, file)
    }

    /// The first record of a kind.
    fn record(&self, is_it: impl Fn(&Record) -> bool) -> &Record {
        self.records
            .iter()
            .find(|record| is_it(record))
            .expect("there is one")
    }
}

/// The key of a record in its table. The store has one ledger with one epoch.
fn row(file: &Connection, position: Position) -> i64 {
    let sql = "SELECT id FROM record ORDER BY id LIMIT 1 OFFSET ?1";
    let offset = i64::try_from(position.index.0).expect("it is small");
    file.query_row(sql, [offset], |row| row.get(0)).expect("a record")
}

/// Bytes of a payload that its leaf does not commit to.
fn payload(store: &Store, file: &Connection) -> Planted {
    let position = store
        .record(|record| record.leaf.event.event_type == "turn.opened")
        .position;
    let sql =
        "UPDATE payload SET bytes = CAST(replace(CAST(bytes AS TEXT), 'user', 'usor') AS BLOB) WHERE id = ?1";
    let changed = file
        .execute(sql, [row(file, position) << 2])
        .expect("it is written");
    assert_eq!(changed, 1);
    Planted::at("RECORD_UNREADABLE", position)
}

/// A leaf that is well formed and not the one that was hashed.
fn leaf(store: &Store, file: &Connection) -> Planted {
    let record = store.record(|record| record.leaf.event.stream.category == Category::Session);
    let mut leaf: Leaf = record.leaf.clone();
    leaf.event.occurred_at.0 -= 1;
    let sql = "UPDATE record SET leaf = ?1 WHERE id = ?2";
    let changed = file.execute(sql, params![leaf.encode(), row(file, record.position)]);
    assert_eq!(changed, Ok(1));
    Planted::at("CHAIN_BROKEN", record.position.next())
}

/// A tree head whose signature is another one.
fn tree_head(_: &Store, file: &Connection) -> Planted {
    break_tree_head(file);
    Planted {
        name: "TREE_HEAD_SIGNATURE_INVALID",
        position: None,
    }
}

fn break_tree_head(file: &Connection) {
    let note: Vec<u8> = file
        .query_row("SELECT note FROM tree_head", [], |row| row.get(0))
        .expect("a tree head");
    let mut note = note;
    let place = note.len() - 20;
    note[place] = if note[place] == b'A' { b'B' } else { b'A' };
    let changed = file.execute("UPDATE tree_head SET note = ?1", [note]);
    assert_eq!(changed, Ok(1));
}

/// The index of idempotency keys is emptied, and says that it holds all.
fn keys_forgotten(_: &Store, file: &Connection) {
    let sql = "DELETE FROM key_run; DELETE FROM key_block; DELETE FROM key_index;
        INSERT INTO key_index SELECT no, 1000000 FROM epoch";
    file.execute_batch(sql).expect("it is written");
}

/// Writes an event past the pipeline.
async fn append(app: &App, ledger: LedgerId, like: &ACFEvent, bytes: Vec<u8>, keys: &Record) -> Position {
    let random = SeededRandom::new(98);
    let event = ACFEvent {
        event_id: EventId::v7(like.occurred_at.as_millis(), [8; 10]),
        actor: Actor::SYSTEM,
        ..like.clone()
    };
    let event = PreparedEvent {
        event,
        payload: vec![Fragment::plain(&random, JSON, bytes).expect("it is small")],
    };
    let request = AppendRequest::new(vec![], vec![event], keys.leaf.keys.clone()).expect("one event");
    match app.events.append(ledger, request).await.expect("an answer") {
        AppendOutcome::Appended {
            receipts,
            duplicate: false,
        } => receipts[0].position,
        other => panic!("{other:?}"),
    }
}

/// A command whose key was answered before is carried out once more.
async fn repeated(store: &Store, app: &App) -> Planted {
    let first = store.record(|record| {
        record.leaf.event.stream.category == Category::Config && !record.leaf.keys.is_empty()
    });
    let bytes = first.payload_bytes().expect("nothing is erased").to_vec();
    let position = append(app, store.ledger, &first.leaf.event, bytes, first).await;
    Planted::at("IDEMPOTENCY_KEY_REPEATED", position)
}

/// A vote whose signature was made over something else: it is of another request.
async fn vote(store: &Store, app: &App, open: &ACFEvent) -> Planted {
    let voted = store.record(|record| record.leaf.event.event_type == "approval.voted");
    let like = ACFEvent {
        event_type: voted.leaf.event.event_type.clone(),
        schema_version: voted.leaf.event.schema_version,
        ..open.clone()
    };
    let bytes = voted.payload_bytes().expect("nothing is erased").to_vec();
    // A record that claims no key.
    let keyless = store.record(|record| record.leaf.keys.is_empty());
    let position = append(app, store.ledger, &like, bytes, keyless).await;
    Planted::at("VOTE_INVALID", position)
}

/// The command line and the API say what was planted, first of all, and the same.
fn is_found(home: &Home, key: &str, what: &str, planted: &Planted) {
    let (code, report) = verify(home, &[]);
    let first = &report["findings"][0];
    assert_eq!(
        (code, &first["name"], &first["position"]),
        (Some(2), &json!(planted.name), &json!(planted.position)),
        "{what}: {report}"
    );
    let server = home.serve().expect("the server starts");
    if planted.position.is_none() {
        // A start copies the promise beside the records anew.
        let file = Connection::open(home.data.join("ledger.db")).expect("the file of the ledger");
        break_tree_head(&file);
    }
    let all = json!({ "to": report["to"] });
    let answer = graphql(&Client::new(), &server.url, key, VERIFY, all).expect("an answer");
    let range = &answer["verifyRange"];
    assert_eq!(range["holds"], false, "{what}: {range}");
    assert_eq!(range["findings"], report["findings"], "{what}: {range}");
    assert!(server.stop().expect("it stops"), "{what}: it ended well");
}

/// A request that nobody decided on; the crowd goes on until there is one.
async fn open_request(world: &mut World) -> ApprovalId {
    for _ in 0..STEPS {
        let at = world.at(world.last().await).await;
        for approval in world.crowd.approvals().to_vec() {
            if let Some(View::Approval(found)) = view(&at, What::Approval(approval)).await
                && found.state == "requested"
            {
                return approval;
            }
        }
        world.crowd.step().await;
    }
    panic!("everything was decided on");
}

/// The world in a folder, and its request that nobody decided on.
async fn store() -> (Store, World, ACFEvent) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut world = World::in_home(5, Some(master()), Home::embedded(PROGRAM, folder.path())).await;
    let open = open_request(&mut world).await;
    let (last, ledger) = (world.last().await, world.ledger);
    let mut records = Vec::new();
    while records.len() as u64 <= last.index.0 {
        let from = Position::new(1, records.len() as u64);
        records.extend(
            world
                .app
                .events
                .read_ledger(ledger, from, 1_000)
                .await
                .expect("records"),
        );
    }
    let is_open = |record: &&Record| {
        let event = &record.leaf.event;
        event.event_type == "approval.requested" && event.stream.id == open.0
    };
    let open = records
        .iter()
        .find(is_open)
        .expect("a request")
        .leaf
        .event
        .clone();
    let store = Store {
        folder,
        ledger,
        records,
        key: String::new(),
    };
    (store, world, open)
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_finds_each_kind_of_fault_where_it_was_planted() {
    let (mut store, mut world, open) = store().await;
    world.app.close().await.expect("it closes and seals");
    store.key = world.home.new_key("acme", &["auditor"]).expect("a key");
    let (code, report) = verify(&world.home, &[]);
    assert_eq!((code, &report["counts"]), (Some(0), &json!({})), "{report}");

    // What is done to the file.
    type InFile = fn(&Store, &Connection) -> Planted;
    let in_file: [(&str, InFile); 3] = [("payload", payload), ("leaf", leaf), ("tree head", tree_head)];
    let mut planted = Vec::new();
    for (what, plant) in in_file {
        let (home, file) = store.copy(what);
        planted.push((what, home, plant(&store, &file)));
    }
    // What is written past the pipeline, and sealed.
    for what in ["transition", "vote", "key"] {
        let (home, file) = store.copy(what);
        if what == "key" {
            keys_forgotten(&store, &file);
        }
        drop(file);
        let app = App::open(&home.common(), "test").await.expect("the store opens");
        world.app = app;
        let found = match what {
            "transition" => Planted::at("ILLEGAL_TRANSITION", forge(&world).await),
            "vote" => vote(&store, &world.app, &open).await,
            _ => repeated(&store, &world.app).await,
        };
        world.app.close().await.expect("it closes and seals");
        planted.push((what, home, found));
    }
    tokio::task::spawn_blocking(move || {
        for (what, home, found) in &planted {
            is_found(home, &store.key, what, found);
        }
    })
    .await
    .expect("all are found");
}
