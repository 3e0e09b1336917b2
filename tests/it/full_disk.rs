//! A disk that becomes full under load: appends are refused with a code, reads go on, `/ready` says why, and when there is
//! room again everything goes on without a restart of the node. Nothing acknowledged is lost.
//!
//! The disk is a small file system of its own. Where none can be mounted these tests say that they are skipped, and fail
//! under `CI=true`.

use std::os::unix::fs::chown;
use std::path::Path;
use std::time::Duration;

use reqwest::blocking::Client;
use ruche_tests::server::{Home, Server, caught_up, graphql};
use ruche_tests::small_disk::SmallDisk;
use serde_json::Value;
use tempfile::TempDir;
use xtask::postgres::{Setup, unprivileged};

use crate::crew::{Crew, Told, nothing_lost, until};
use crate::postgres::available;
use crate::postgres::deployment::{Deployment, TENANT};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const CALLERS: u64 = 8;
/// Receipts or errors of each caller before a state counts as reached.
const ENOUGH: u64 = 3;
/// Room for a database and what a test writes to it, several times.
const DISK_BYTES: u64 = 192 * 1_048_576;
/// A refusal for want of room comes at once; this leaves time for a machine that is busy with other tests.
const REFUSAL_MAX: Duration = Duration::from_secs(30);
/// The server writes over the old segments of its log where it may, and goes on on a full disk for as long as its
/// checkpoints keep up with a slow load. Segments that are kept cannot be written over.
const EVERY_SEGMENT_NEEDS_ROOM: &str = "wal_keep_size=1GB";
/// Memory of a node whose disk is full, bytes.
const RESIDENT_BYTES_MAX: u64 = 256 * 1_048_576;
/// Looks at a node whose disk is full, each after new refusals. Its answer may not change.
const LOOKS: u64 = 5;

#[test]
fn the_embedded_store_goes_on_when_there_is_room_again() {
    let Some(disk) = available(SmallDisk::mount(DISK_BYTES)) else {
        return;
    };
    let home = Home::embedded(PROGRAM, disk.path());
    let key = home
        .new_key(TENANT, &["admin", "writer", "reader"])
        .expect("a key");
    full_and_empty_again(&home, &key, &disk);
}

/// The log of PostgreSQL has a disk of its own, so that the server survives.
#[test]
fn a_node_goes_on_when_postgres_has_room_for_tables_again() {
    let Some(disk) = available(SmallDisk::mount(DISK_BYTES)) else {
        return;
    };
    let log = folder_of_the_server(&std::env::temp_dir());
    let setup = Setup {
        initdb: vec![waldir(log.path())],
        place: Some(disk.path().to_owned()),
        ..Setup::default()
    };
    let Some(deployment) = Deployment::new(setup) else {
        return;
    };
    let told = full_and_empty_again(&deployment.home, &deployment.key, &disk);
    assert!(told.codes.keys().eq(["UNAVAILABLE"].iter()), "{told:?}");
}

/// PostgreSQL ends when it cannot write its log, and may not get up again before there is room. Its service manager
/// starts it then; the node is not started.
#[test]
fn a_node_goes_on_when_postgres_has_room_for_its_log_again() {
    let Some(disk) = available(SmallDisk::mount(DISK_BYTES)) else {
        return;
    };
    let log = folder_of_the_server(disk.path());
    let setup = Setup {
        initdb: vec![waldir(log.path()), "--wal-segsize=1".into()],
        settings: vec![EVERY_SEGMENT_NEEDS_ROOM.into()],
        ..Setup::default()
    };
    let Some(mut deployment) = Deployment::new(setup) else {
        return;
    };
    let node = deployment.home.serve().expect("a node");
    let mut crew = Crew::start(&node, &deployment.key, CALLERS);
    crew.each_acknowledged(ENOUGH);
    disk.fill().expect("it becomes full");
    crew.each_refused(ENOUGH);
    until("the node is not ready", || {
        node.ready().expect("an answer").0 == 503
    });
    // Time for the server to try to get up.
    crew.each_refused(LOOKS * ENOUGH);
    disk.make_room().expect("it has room");
    // It may end at any moment of this, or have ended before.
    until("the node is ready", || {
        deployment.server.serve_again().expect("it recovers");
        node.ready().expect("an answer").0 == 200
    });
    goes_on(&deployment.home, &deployment.key, node, crew);
}

/// Fills the disk under a load and makes room again.
fn full_and_empty_again(home: &Home, key: &str, disk: &SmallDisk) -> Told {
    let node = home.serve().expect("a node");
    let mut crew = Crew::start(&node, key, CALLERS);
    crew.each_acknowledged(ENOUGH);
    // What is read while the disk is full was in the read models before.
    caught_up(&Client::new(), &node.url, key).expect("the read models catch up");
    disk.fill().expect("it becomes full");
    crew.each_refused(ENOUGH);
    until("the node is not ready", || {
        node.ready().expect("an answer").0 == 503
    });
    for _look in 0..LOOKS {
        crew.each_refused(1);
        let (status, body) = node.ready().expect("an answer");
        let reason = body["reason"].as_str().unwrap_or_default();
        assert_eq!(
            (status, body["store"].as_str()),
            (503, Some("unwritable")),
            "{body}"
        );
        assert!(reason.contains("No space left on device"), "{body}");
        let read = "{ ledger { lastPosition } sessions { nodes { externalId } } }";
        let read = graphql(&Client::new(), &node.url, key, read, Value::Null).expect("reads go on");
        assert!(read["ledger"]["lastPosition"].is_string(), "{read}");
        assert!(read["sessions"]["nodes"][0]["externalId"].is_string(), "{read}");
    }
    disk.make_room().expect("it has room");
    let told = goes_on(home, key, node, crew);
    assert!(told.longest < REFUSAL_MAX, "{told:?}");
    told
}

/// The node is the one that was there all the time, and what it told is true.
fn goes_on(home: &Home, key: &str, node: Server, mut crew: Crew) -> Told {
    until("the node is ready", || node.ready().expect("an answer").0 == 200);
    crew.each_acknowledged(ENOUGH);
    let (callers, told) = crew.finish();
    let resident = node.resident_bytes_max().expect("its memory");
    eprintln!("{told:?}, {} MiB at most", resident / 1_048_576);
    assert!(resident < RESIDENT_BYTES_MAX, "{resident} bytes");
    caught_up(&Client::new(), &node.url, key).expect("the read models catch up");
    assert!(node.stop().expect("it stops"), "it ended well");
    nothing_lost(home, TENANT, &callers);
    told
}

fn waldir(folder: &Path) -> String {
    format!("--waldir={}", folder.join("wal").display())
}

/// A folder that the server may write to, wherever it is.
fn folder_of_the_server(place: &Path) -> TempDir {
    let folder = TempDir::with_prefix_in("ruche-wal-", place).expect("a folder");
    if let Some((uid, gid)) = unprivileged().expect("a user for the server") {
        chown(folder.path(), Some(uid), Some(gid)).expect("it is handed over");
    }
    folder
}
