use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::routing::put;
use ruche_ledger::hash::leaf_hash;
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::tree::{TreeRoot, root_of};
use ruche_ledger::tree_head::TreeHead;

use super::folder::{Kept, keep};
use super::*;

const ORIGIN: &str = "log.example/x/e1";

/// The tree head over the given leaves.
fn head(leaves: &[&str]) -> SignedTreeHead {
    let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf.as_bytes())).collect();
    let tree = TreeRoot {
        size: ruche_domain::numbers::TreeSize(hashes.len() as u64),
        root: root_of(&hashes),
    };
    let signer = MasterSeed::from_slice(&[7; 32])
        .unwrap()
        .log_signer(ORIGIN)
        .unwrap();
    SignedTreeHead::sign(TreeHead::new(ORIGIN, tree), &signer).unwrap()
}

#[tokio::test]
async fn a_folder_and_a_url_get_the_same_bytes_under_the_same_name() {
    type Taken = Arc<Mutex<Vec<(String, Vec<u8>)>>>;
    async fn take(State(taken): State<Taken>, UrlPath(name): UrlPath<String>, body: axum::body::Bytes) {
        taken.lock().unwrap().push((name, body.to_vec()));
    }
    let taken = Taken::default();
    let router = Router::new()
        .route("/heads/{name}/checkpoint", put(take))
        .with_state(taken.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/heads/", listener.local_addr().unwrap());
    let server = tokio::spawn(async { axum::serve(listener, router).await });
    let folder = tempfile::tempdir().unwrap();

    let publisher = Publisher::new(Some(folder.path().into()), Some(&url)).unwrap();
    let (heads, publishing) = publisher.open();
    heads.put(&head(&["a"]));
    drop(heads);
    publishing.await;
    server.abort();

    let name = Hash::sha256(ORIGIN.as_bytes()).to_string();
    let bytes = head(&["a"]).as_bytes().to_vec();
    assert_eq!(*taken.lock().unwrap(), [(name.clone(), bytes.clone())]);
    for file in ["checkpoint", "checkpoint-1"] {
        let written = std::fs::read(folder.path().join(&name).join(file)).unwrap();
        assert_eq!(written, bytes, "{file}");
    }
}

#[tokio::test]
async fn whoever_never_answers_keeps_no_process_from_closing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let publisher = Publisher::new(None, Some(&url)).unwrap();
    let (heads, publishing) = publisher.open();
    let publishing = tokio::spawn(publishing);
    heads.put(&head(&["a"]));
    let _open = listener.accept().await.unwrap();
    // However many come meanwhile, one waits.
    heads.put(&head(&["a", "b"]));
    heads.put(&head(&["a", "b", "c"]));
    drop(heads);
    let bound = PUBLISH_CLOSE_WAIT_MAX + Duration::from_secs(5);
    tokio::time::timeout(bound, publishing)
        .await
        .expect("the task ends in time")
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_hangs_is_a_failure_and_holds_one_thread() {
    let folder = tempfile::tempdir().unwrap();
    let head = head(&["a"]);
    let below = folder.path().join(Hash::sha256(ORIGIN.as_bytes()).to_string());
    std::fs::create_dir(&below).unwrap();
    // Whoever reads a pipe hangs until somebody writes to it, as on a network folder whose server is away.
    let pipe = below.join("checkpoint-1");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());

    let publisher = Publisher::new(Some(folder.path().into()), None).unwrap();
    let target = &publisher.targets[0];
    let turn = Arc::new(Semaphore::new(1));
    for _again in 0..3 {
        let mut published = std::pin::pin!(target.publish(&head, &turn));
        assert!(futures_util::poll!(&mut published).is_pending());
        tokio::time::advance(PUBLISH_WAIT_MAX).await;
        assert!(!published.await);
        assert_eq!(target.room.available_permits(), PUBLISHING_AT_ONCE_MAX - 1);
    }

    // The folder is back.
    let writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    std::fs::remove_file(&pipe).unwrap();
    drop(writer);
    assert!(target.publish(&head, &turn).await);
    assert_eq!(target.room.available_permits(), PUBLISHING_AT_ONCE_MAX);
    assert_eq!(std::fs::read(&pipe).unwrap(), head.as_bytes());
}

#[test]
fn a_rewritten_ledger_leaves_the_earlier_tree_heads_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let (one, two, other) = (head(&["a"]), head(&["a", "b"]), head(&["x", "b"]));
    for honest in [&one, &two, &two] {
        assert_eq!(keep(folder.path(), honest).unwrap(), Kept::Alone);
    }
    let beside = format!("checkpoint-2-{}", Hash::sha256(other.as_bytes()));
    for _again in 0..2 {
        let Kept::BesideAnother(both) = keep(folder.path(), &other).unwrap() else {
            panic!("the contradiction is not seen");
        };
        assert_eq!(both.earlier, folder.path().join("checkpoint-2"));
        assert_eq!(both.new, folder.path().join(&beside));
    }
    assert_eq!(read("checkpoint-1"), one.as_bytes());
    assert_eq!(read("checkpoint-2"), two.as_bytes());
    assert_eq!(read(&beside), other.as_bytes());
    assert_eq!(read("checkpoint"), other.as_bytes());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn what_another_process_writes_is_not_taken_for_evidence() {
    let folder = tempfile::tempdir().unwrap();
    // The other one has made its file and written nothing yet, under the name of old and under one of today.
    for name in ["checkpoint.new", "checkpoint.new-x"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let one = head(&["a"]);
    assert_eq!(keep(folder.path(), &one).unwrap(), Kept::Alone);
    for name in ["checkpoint", "checkpoint-1"] {
        assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), one.as_bytes());
    }
    for name in ["checkpoint.new", "checkpoint.new-x"] {
        assert_eq!(
            std::fs::read(folder.path().join(name)).unwrap(),
            b"",
            "{name} is the other's"
        );
    }
}

#[test]
fn a_try_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    // A folder in the place of a file cannot be read as one.
    std::fs::create_dir(folder.path().join("checkpoint-1")).unwrap();
    assert!(keep(folder.path(), &head(&["a"])).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn urls_that_tree_heads_cannot_be_sent_to_are_refused() {
    for url in [
        "ftp://x.example",
        "x.example",
        "/heads",
        "http://",
        "http://user:word@x.example",
        "http://user:word@x.example:no-port/",
        "http://x.example/?token=word",
        "ftp://x.example/word",
        "http://x.example/?a=b",
    ] {
        let refused = Publisher::new(None, Some(url)).err().expect(url);
        assert!(!refused.contains("word"), "{refused}");
    }
    assert!(Publisher::new(None, Some("http://x.example:8080/heads")).is_ok());
}
