//! A proxy between a store and its server that loses what it is told to lose.
//!
//! It can also lead new connections to another server, and take what commits out of fences.
//!
//! It knows where messages begin and which statement they run, and nothing else of the protocol.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What a client asks before it says who it is, where TLS is wanted if possible.
const TLS_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never reaches the server, and the connection ends.
    SwallowRequest,
    /// The server does it, its answer is lost, and the connection ends.
    SwallowAnswer,
    /// It never reaches the server, and the connection stays, silent.
    StallRequest,
    /// The server does it, its answer never comes, and the connection stays, silent.
    StallAnswer,
    /// It waits for [`Proxy::release`].
    Hold,
    /// The connection ends behind so many bytes of request and answer.
    CutAfter(u64),
}

/// Which request: text of the statement that is run, or of one that is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Run(&'static str),
    Prepare(&'static str),
}

/// The statement of an append.
pub const APPEND: On = On::Run("WITH wrong AS");
pub const COMMIT: On = On::Run("COMMIT");
pub const FENCE: On = On::Run("pg_logical_emit_message");

#[derive(Default)]
struct State {
    /// What will happen, one after the other, and how many requests of the kind are let through before it.
    armed: Mutex<VecDeque<(On, u64, Fault)>>,
    happened: AtomicU64,
    /// Answers that were withheld and said that the request was done.
    done: AtomicU64,
    released: Notify,
    /// Where new connections lead.
    server: Mutex<String>,
    /// Fences commit nothing.
    fences_are_void: AtomicBool,
}

pub struct Proxy {
    state: Arc<State>,
    port: u16,
}

impl Proxy {
    /// In front of the server that a URL names.
    pub async fn start(url: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        *state.server.lock().unwrap() = address(url).to_owned();
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let server = state.server.lock().unwrap().clone();
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(&server).await {
                        // An error ends a connection, as it does without a proxy.
                        drop(Connection::new(state, client, server).run().await);
                    }
                });
            }
        });
        Self { state, port }
    }

    /// The same database, through the proxy.
    pub fn url(&self, url: &str) -> String {
        url.replace(address(url), &format!("127.0.0.1:{}", self.port))
    }

    /// New connections lead to another server. Those that are there stay where they are.
    pub fn move_to(&self, url: &str) {
        *self.state.server.lock().unwrap() = address(url).to_owned();
    }

    /// From now on a fence is answered as ever and waits for nothing. No product does this: it is there to see what fences
    /// are good for.
    pub fn void_fences(&self) {
        self.state.fences_are_void.store(true, Ordering::SeqCst);
    }

    /// The next request of this kind gets the fault, once all that was armed before has happened.
    pub fn arm(&self, on: On, fault: Fault) {
        self.arm_later(on, 0, fault);
    }

    /// A request of this kind gets the fault after so many of them.
    pub fn arm_later(&self, on: On, skip: u64, fault: Fault) {
        self.state.armed.lock().unwrap().push_back((on, skip, fault));
    }

    /// Faults that happened.
    pub fn happened(&self) -> u64 {
        self.state.happened.load(Ordering::SeqCst)
    }

    /// Those of them whose request the server has done, as its withheld answer said.
    pub fn done(&self) -> u64 {
        self.state.done.load(Ordering::SeqCst)
    }

    /// Lets a held request go on.
    pub fn release(&self) {
        self.state.released.notify_one();
    }
}

/// Host and port of a URL.
fn address(url: &str) -> &str {
    let rest = url.split('@').nth(1).unwrap();
    rest.split('/').next().unwrap()
}

struct Connection {
    state: Arc<State>,
    client: TcpStream,
    server: TcpStream,
    statements: HashMap<Vec<u8>, String>,
    fault: Option<Fault>,
    /// Whether the client has said who it is: messages have types from then on.
    has_begun: bool,
    /// Requests whose answer has not ended.
    open: u64,
    /// Those of them that stand before the one that got a fault.
    before: u64,
}

impl Connection {
    fn new(state: Arc<State>, client: TcpStream, server: TcpStream) -> Self {
        Self {
            state,
            client,
            server,
            statements: HashMap::new(),
            fault: None,
            has_begun: false,
            open: 0,
            before: 0,
        }
    }

    async fn run(mut self) -> std::io::Result<()> {
        // Messages are passed on one by one, which must not wait for each other's receipt.
        self.client.set_nodelay(true)?;
        self.server.set_nodelay(true)?;
        let (mut requests, mut answers) = (Vec::new(), Vec::new());
        loop {
            tokio::select! {
                read = self.client.read_buf(&mut requests) => if read? == 0 { return Ok(()) },
                read = self.server.read_buf(&mut answers) => if read? == 0 { return Ok(()) },
            }
            while let Some(message) = next(&mut requests, self.has_begun) {
                self.request(message).await?;
            }
            while let Some(message) = next(&mut answers, true) {
                self.answer(message).await?;
            }
        }
    }

    async fn request(&mut self, mut message: Vec<u8>) -> std::io::Result<()> {
        if !self.has_begun && message == TLS_REQUEST {
            return self.client.write_all(b"N").await;
        }
        if self.state.fences_are_void.load(Ordering::SeqCst) {
            void_fence(&mut message);
        }
        if self.has_begun && self.fault.is_none() {
            self.fault = self.judge(&message);
            self.before = self.open;
            if self.fault == Some(Fault::SwallowRequest) {
                return Err(std::io::ErrorKind::ConnectionAborted.into());
            }
            if self.fault == Some(Fault::Hold) {
                self.state.released.notified().await;
                self.fault = None;
            }
        }
        // Saying who one is, a text or the end of a series is answered in the end by "ready".
        self.open += u64::from(!self.has_begun || matches!(message[0], b'Q' | b'S'));
        self.has_begun = true;
        match self.fault {
            Some(Fault::StallRequest) => Ok(()),
            _ => forward(&mut self.server, &message, &mut self.fault).await,
        }
    }

    async fn answer(&mut self, message: Vec<u8>) -> std::io::Result<()> {
        let is_last = message[0] == b'Z';
        self.open -= u64::from(is_last);
        if self.fault.is_some() && self.before > 0 {
            self.before -= u64::from(is_last);
            return self.client.write_all(&message).await;
        }
        match self.fault {
            Some(Fault::StallRequest) => Ok(()),
            Some(fault @ (Fault::SwallowAnswer | Fault::StallAnswer)) => {
                if message[0] == b'E' || is_last {
                    self.state.done.fetch_add(u64::from(is_last), Ordering::SeqCst);
                    // What comes now is of no interest.
                    self.fault = Some(Fault::StallRequest);
                }
                if is_last && fault == Fault::SwallowAnswer {
                    return Err(std::io::ErrorKind::ConnectionAborted.into());
                }
                Ok(())
            }
            _ => forward(&mut self.client, &message, &mut self.fault).await,
        }
    }

    /// What happens to this message.
    fn judge(&mut self, message: &[u8]) -> Option<Fault> {
        let mut texts = message[5..].split(|byte| *byte == 0);
        let first = texts.next()?.to_vec();
        let text = match message[0] {
            b'Q' => String::from_utf8_lossy(&first).into_owned(),
            b'P' => {
                let text = String::from_utf8_lossy(texts.next()?).into_owned();
                self.statements.insert(first, text.clone());
                text
            }
            b'B' => self.statements.get(texts.next()?)?.clone(),
            _ => return None,
        };
        let mut armed = self.state.armed.lock().unwrap();
        let (on, skip, fault) = armed.front_mut()?;
        let is_meant = match on {
            On::Run(part) => message[0] != b'P' && text.contains(*part),
            On::Prepare(part) => message[0] == b'P' && text.contains(*part),
        };
        if !is_meant {
            return None;
        }
        if *skip > 0 {
            *skip -= 1;
            return None;
        }
        let fault = *fault;
        armed.pop_front();
        self.state.happened.fetch_add(1, Ordering::SeqCst);
        Some(fault)
    }
}

/// Makes a fence give nothing and commit nothing, in as many bytes.
fn void_fence(message: &mut [u8]) {
    let (fence, void) = (b"pg_logical_emit_message(true,", b"pg_logical_emit_message(null,");
    let place = message.windows(fence.len()).position(|part| part == fence);
    if let Some(place) = place {
        message[place..place + void.len()].copy_from_slice(void);
    }
}

/// Passes a message on, or as much of it as a cut lets through. The cut is made at once.
async fn forward(to: &mut TcpStream, message: &[u8], fault: &mut Option<Fault>) -> std::io::Result<()> {
    let Some(Fault::CutAfter(left)) = fault else {
        return to.write_all(message).await;
    };
    let part = (message.len() as u64).min(*left);
    *left -= part;
    to.write_all(&message[..part as usize]).await?;
    if *left == 0 {
        return Err(std::io::ErrorKind::ConnectionAborted.into());
    }
    Ok(())
}

/// Takes the next whole message. The first one of a client has no type.
fn next(bytes: &mut Vec<u8>, has_type: bool) -> Option<Vec<u8>> {
    let at = usize::from(has_type);
    let length = bytes.get(at..at + 4)?.try_into().ok()?;
    let length = at + u32::from_be_bytes(length) as usize;
    (bytes.len() >= length).then(|| bytes.drain(..length).collect())
}
