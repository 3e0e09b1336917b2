//! Tree heads to somebody else, by a real server: receivers that hang, refuse, or speak TLS, and a folder.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use ruche_ledger::hash::Hash;
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_tests::server::{Home, Server, graphql};
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const START: &str = "mutation ($input: StartSessionInput!) { startSession(input: $input) { __typename } }";
/// Far longer than anything here takes; a test that waits for it has failed.
const BOUND: Duration = Duration::from_secs(60);

/// A second is promised; a receiver is given five.
const SEALED_SOON: Duration = Duration::from_secs(4);
const SEALED_TRIES_MAX: usize = 20;

struct World {
    folder: tempfile::TempDir,
    home: Home,
    key: String,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let key = home.new_key("acme", &["admin"]).expect("a key");
        Self { folder, home, key }
    }

    fn ask(&self, server: &Server, query: &str, variables: Value) -> Value {
        graphql(&Client::new(), &server.url, &self.key, query, variables).expect("an answer")
    }

    fn origin(&self, server: &Server) -> String {
        let answer = self.ask(server, "{ ledger { origin } }", Value::Null);
        answer["ledger"]["origin"].as_str().expect("an origin").to_owned()
    }

    fn append(&self, server: &Server, external: &str) {
        let input = json!({ "input": { "idempotencyKey": external, "externalId": external } });
        self.ask(server, START, input);
    }

    /// Records in the ledger, and those under its tree head.
    fn sizes(&self, server: &Server) -> (u64, u64) {
        let answer = self.ask(server, "{ ledger { size treeHead { size } } }", Value::Null);
        let size = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| value.as_u64(), |text| text.parse().ok())
        };
        let ledger = &answer["ledger"];
        (
            size(&ledger["size"]).expect("a size"),
            size(&ledger["treeHead"]["size"]).expect("a size"),
        )
    }

    fn sealed(&self, server: &Server) {
        let since = Instant::now();
        loop {
            let (size, sealed) = self.sizes(server);
            if size == sealed {
                break;
            }
            assert!(since.elapsed() < BOUND, "{sealed} of {size} are sealed");
            thread::yield_now();
        }
    }
}

/// What a receiver was sent: path and body.
type Sent = (String, Vec<u8>);

/// Reads one request and answers it.
fn answer(mut stream: impl Read + Write, status: &str) -> std::io::Result<Sent> {
    let mut reader = BufReader::new(&mut stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes())?;
    stream.flush()?;
    Ok((path, body))
}

/// A receiver that answers each connection as `serve` does; its address and what it took.
fn receiver(serve: impl Fn(TcpStream, &Sender<Sent>) + Send + 'static) -> (String, Receiver<Sent>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (sender, taken) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream, &sender);
        }
    });
    (address, taken)
}

fn taken_of(origin: &str, taken: &Receiver<Sent>) -> SignedTreeHead {
    let place = format!("/{}/checkpoint", Hash::sha256(origin.as_bytes()));
    loop {
        let (path, body) = taken.recv_timeout(BOUND).expect("a tree head");
        // The ledger of keys has tree heads, too.
        if path == place {
            return SignedTreeHead::parse(&body).expect("a signed note");
        }
    }
}

#[test]
fn a_receiver_that_never_answers_holds_up_neither_sealing_nor_closing() {
    let (accepted, open) = channel();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if accepted.send(stream).is_err() {
                break;
            }
        }
    });
    let world = World::new();
    let server = world
        .home
        .serve_with(&["--publish-url", &url], &[])
        .expect("the server starts");
    // Held open, never read, never answered.
    let _hanging = open.recv_timeout(BOUND).expect("the present tree head is sent");
    // Each append comes just behind a tree head that is sent and not answered. Were it waited for, none would be sealed
    // before the receiver's time is over; on a busy machine some may take as long, and not all of them.
    let mut took = Vec::new();
    while took.iter().filter(|took| **took < SEALED_SOON).count() < 3 {
        assert!(took.len() < SEALED_TRIES_MAX, "{took:?}");
        let since = Instant::now();
        world.append(&server, &format!("s-{}", took.len()));
        world.sealed(&server);
        took.push(since.elapsed());
    }
    let since = Instant::now();
    assert!(server.stop().expect("it is told to stop"), "it ends well");
    // A receiver that were waited for would hold it up for ever.
    assert!(since.elapsed() < BOUND, "closed after {:?}", since.elapsed());
}

#[test]
fn on_a_quiet_ledger_a_tree_head_that_was_refused_gets_through_later() {
    let failures = std::sync::atomic::AtomicU32::new(0);
    let (address, taken) = receiver(move |stream, sender| {
        let fails = failures.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 5;
        let status = if fails {
            "503 Service Unavailable"
        } else {
            "204 No Content"
        };
        let sent = answer(stream, status).expect("a request");
        if !fails {
            // A test that has what it wanted is gone.
            let _ = sender.send(sent);
        }
    });
    let world = World::new();
    let url = format!("http://{address}");
    let server = world
        .home
        .serve_with(&["--publish-url", &url], &[])
        .expect("the server starts");
    let head = taken_of(&world.origin(&server), &taken);
    assert_eq!((head.head().size.0, head.head().size.0), world.sizes(&server));
}

#[test]
fn tree_heads_go_over_tls_to_those_who_are_trusted_and_to_nobody_else() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/testdata");
    let certificate = data.join("localhost.crt");
    let chain = vec![CertificateDer::from_pem_file(&certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(data.join("localhost.key")).expect("a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they belong together");
    let config = Arc::new(config);
    let (address, taken) = receiver(move |stream, sender| {
        let connection = ServerConnection::new(config.clone()).expect("a connection");
        let told = answer(StreamOwned::new(connection, stream), "200 OK");
        // A client that does not trust us breaks off: nothing was sent, and that is told.
        let _ = sender.send(told.unwrap_or_default());
    });
    let url = format!("https://{address}");
    let world = World::new();
    let trusted = [("SSL_CERT_FILE", certificate.to_str().expect("a path in UTF-8"))];
    let server = world
        .home
        .serve_with(&["--publish-url", &url], &trusted)
        .expect("the server starts");
    let head = taken_of(&world.origin(&server), &taken);
    assert_eq!((head.head().size.0, head.head().size.0), world.sizes(&server));
    assert!(server.stop().expect("it is told to stop"));
    while taken.try_recv().is_ok() {}

    let stranger = data.join("stranger.crt");
    let trusted = [("SSL_CERT_FILE", stranger.to_str().expect("a path in UTF-8"))];
    let _server = world
        .home
        .serve_with(&["--publish-url", &url], &trusted)
        .expect("the server starts");
    let (path, body) = taken.recv_timeout(BOUND).expect("a try");
    assert_eq!((path.as_str(), body.as_slice()), ("", &[][..]));
}

#[test]
fn a_folder_keeps_a_file_for_each_size_and_a_start_publishes_the_present_one() {
    let world = World::new();
    let folder = world.folder.path().join("heads");
    let publish = ["--publish-dir", folder.to_str().expect("a path in UTF-8")];
    let server = world.home.serve_with(&publish, &[]).expect("the server starts");
    let name = Hash::sha256(world.origin(&server).as_bytes()).to_string();
    let kept = |size: u64| -> PathBuf { folder.join(&name).join(format!("checkpoint-{size}")) };
    let (first, _) = world.sizes(&server);
    wait_for(&kept(first));
    world.append(&server, "one");
    world.sealed(&server);
    let (second, _) = world.sizes(&server);
    wait_for(&kept(second));
    let before: Vec<_> = [first, second]
        .map(|size| std::fs::read(kept(size)).expect("a file"))
        .into();
    assert_eq!(
        std::fs::read(folder.join(&name).join("checkpoint")).expect("a file"),
        before[1]
    );
    assert!(server.stop().expect("it is told to stop"));

    // Somebody lost the newest: a start gives it again, and leaves what is there as it is.
    std::fs::remove_dir_all(folder.join(&name)).expect("it can be removed");
    let _server = world.home.serve_with(&publish, &[]).expect("the server starts");
    wait_for(&kept(second));
    assert_eq!(std::fs::read(kept(second)).expect("a file"), before[1]);
}

/// Waits until a file is there. It appears with all of its bytes.
fn wait_for(file: &Path) {
    let since = Instant::now();
    while !file.exists() {
        assert!(since.elapsed() < BOUND, "{} is not written", file.display());
        thread::yield_now();
    }
}
