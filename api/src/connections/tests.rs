use std::net::SocketAddr;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

/// Far longer than anything here takes; a test that waits for it has failed.
const BOUND: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

struct World {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl World {
    async fn new(connections_max: usize, head_wait_max: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let limits = ConnectionLimits {
            connections_max,
            head_wait_max,
            write_wait_max: SHORT,
            close_wait_max: BOUND,
        };
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { stopped.await.unwrap_or_default() };
        Self {
            address,
            stop,
            served: tokio::spawn(serve(listener, router, limits, stopped)),
        }
    }

    async fn connect(&self, sent: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream
    }
}

/// Everything up to the moment when the server closes.
async fn until_closed(mut stream: TcpStream) -> String {
    let mut read = Vec::new();
    let closed = timeout(BOUND, stream.read_to_end(&mut read)).await;
    // A reset is a close, too.
    let _end = closed.expect("the server closes the connection");
    String::from_utf8(read).unwrap()
}

/// Reads one answer of the router.
async fn answer(stream: &mut TcpStream) {
    let mut read = Vec::new();
    while !read.ends_with(b"here") {
        let got = timeout(BOUND, stream.read_buf(&mut read)).await;
        assert_ne!(got.expect("an answer").unwrap(), 0, "closed after {read:?}");
    }
}

#[tokio::test]
async fn clients_that_are_slow_with_a_head_are_closed() {
    let world = World::new(8, SHORT).await;
    for half in [
        &b""[..],
        b"P",
        b"PRI * HTTP/2.0\r\n",
        b"GET / HTTP/1.1\r\nHo",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let stream = world.connect(half).await;
        let said = until_closed(stream).await;
        assert!(!said.contains("here"), "{said:?} to {half:?}");
    }
    // The second head is timed as the first one is.
    let mut stream = world.connect(REQUEST).await;
    answer(&mut stream).await;
    stream.write_all(&REQUEST[..10]).await.unwrap();
    assert!(!until_closed(stream).await.contains("here"));
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed() {
    let world = World::new(8, BOUND).await;
    let mut stream = world.connect(b"").await;
    let many = REQUEST.repeat(1_000);
    // The answers fill what the system holds for the client; then the server reads no more, and what is sent waits.
    let sending = async { while stream.write_all(&many).await.is_ok() {} };
    timeout(BOUND, sending)
        .await
        .expect("the server closes the connection");
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_the_others_go_on() {
    let world = World::new(2, BOUND).await;
    let mut first = world.connect(b"").await;
    let second = world.connect(b"").await;
    assert_eq!(until_closed(world.connect(b"").await).await, "");
    first.write_all(REQUEST).await.unwrap();
    answer(&mut first).await;
    drop(second);
    // Its place is free once the server has seen that it is gone.
    let again = async {
        loop {
            let mut stream = world.connect(REQUEST).await;
            let mut read = [0; 4];
            if let Ok(4) = stream.read_exact(&mut read).await {
                break;
            }
        }
    };
    timeout(BOUND, again)
        .await
        .expect("the place is given to another");
}

#[tokio::test]
async fn idle_connections_do_not_keep_the_process() {
    let world = World::new(8, BOUND).await;
    let mut idle = world.connect(REQUEST).await;
    answer(&mut idle).await;
    let _silent = world.connect(b"").await;
    world.stop.send(()).unwrap();
    timeout(Duration::from_secs(20), world.served)
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!(until_closed(idle).await, "");
}
