//! Callers at work on nodes that are never restarted, whatever becomes of their database. Every answer that they get is
//! a receipt or an error with one of three codes; anything else, and no answer at all, is a finding.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ruche_api::app::App;
use ruche_api::cli::main_ledger;
use ruche_tests::server::{Home, Server};

use crate::load::{Caller, export_verifies, judge, read_models_equal_a_rebuild};

/// What a client may be told of an append that is not acknowledged. Each has a page in `docs/errors`.
pub const CODES: [&str; 3] = ["UNAVAILABLE", "OVERLOADED", "UNKNOWN_OUTCOME"];
/// A state that is not there by then will not come: more than the longest wait that a node promises its callers.
const STATE_WAIT_MAX: Duration = Duration::from_secs(90);
/// Between two looks at a state.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Between two tries of an append.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Callers at work.
pub struct Crew {
    stop: Arc<AtomicBool>,
    callers: Vec<Working>,
}

struct Working {
    thread: JoinHandle<Result<(Caller, Told), String>>,
    seen: Arc<Seen>,
}

/// Answers that a caller got so far.
#[derive(Default)]
struct Seen {
    acknowledged: AtomicU64,
    refused: AtomicU64,
}

/// What callers were told.
#[derive(Debug, Default)]
pub struct Told {
    /// How often each code.
    pub codes: BTreeMap<&'static str, u64>,
    /// The longest wait for any answer.
    pub longest: Duration,
}

/// Waits until something is so.
///
/// # Panics
/// When it is not so in time; `what` says what was waited for.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < STATE_WAIT_MAX, "still not so: {what}");
        thread::park_timeout(LOOK_INTERVAL);
    }
}

impl Crew {
    /// Starts callers of one tenant on one node, each in a session of its own.
    pub fn start(server: &Server, key: &str, callers: u64) -> Self {
        Self::on(std::slice::from_ref(server), key, callers)
    }

    /// The same on several nodes, by turns. Who gets no receipt from one asks the next one, with the same key.
    pub fn on(servers: &[Server], key: &str, callers: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |number: u64| {
            let caller = Caller::new(number, key);
            let mut urls: Vec<_> = servers.iter().map(|server| server.url.clone()).collect();
            urls.rotate_left(number as usize % servers.len());
            caller.start(&urls[0]).expect("a session");
            let (stop, seen) = (Arc::clone(&stop), Arc::<Seen>::default());
            let board = Arc::clone(&seen);
            let thread = thread::spawn(move || work(caller, &urls, &stop, &board));
            Working { thread, seen }
        };
        let callers = (0..callers).map(start).collect();
        Self { stop, callers }
    }

    /// Waits until every caller got so many receipts more than now.
    ///
    /// # Panics
    /// When they do not come, or a caller had a finding.
    pub fn each_acknowledged(&mut self, more: u64) {
        self.each("acknowledged", more, |seen| &seen.acknowledged);
    }

    /// Waits until every caller got so many errors more than now.
    ///
    /// # Panics
    /// When they do not come, or a caller had a finding.
    pub fn each_refused(&mut self, more: u64) {
        self.each("refused", more, |seen| &seen.refused);
    }

    /// Receipts that all callers got so far.
    pub fn acknowledged(&self) -> u64 {
        let counts = self.callers.iter().map(|caller| &caller.seen.acknowledged);
        counts.map(|count| count.load(Ordering::SeqCst)).sum()
    }

    fn each(&mut self, what: &str, more: u64, count: fn(&Seen) -> &AtomicU64) {
        let now = |crew: &Self| -> Vec<u64> {
            let counts = crew.callers.iter().map(|caller| count(&caller.seen));
            counts.map(|count| count.load(Ordering::SeqCst)).collect()
        };
        let before = now(self);
        until(&format!("every caller {what} {more} times more"), || {
            self.fail_if_a_caller_did();
            let pairs = now(self).into_iter().zip(&before);
            pairs.into_iter().all(|(now, before)| now >= before + more)
        });
    }

    fn fail_if_a_caller_did(&mut self) {
        if let Some(at) = self.callers.iter().position(|caller| caller.thread.is_finished()) {
            let (_, told) = self.callers.swap_remove(at).end();
            panic!("a caller ended though nobody told it to: {told:?}");
        }
    }

    /// Lets each caller finish what it has in hand, and gives what they know and what all were told.
    ///
    /// # Panics
    /// When a caller had a finding, or does not come to an end.
    pub fn finish(self) -> (Vec<Caller>, Told) {
        self.stop.store(true, Ordering::SeqCst);
        until("every append of the load has a receipt", || {
            self.callers.iter().all(|caller| caller.thread.is_finished())
        });
        let (mut callers, mut all) = (Vec::new(), Told::default());
        for working in self.callers {
            let (caller, told) = working.end();
            callers.push(caller);
            all.longest = all.longest.max(told.longest);
            for (code, times) in told.codes {
                *all.codes.entry(code).or_default() += times;
            }
        }
        (callers, all)
    }
}

impl Working {
    fn end(self) -> (Caller, Told) {
        let ended = self.thread.join().expect("a caller does not panic");
        ended.unwrap_or_else(|finding| panic!("{finding}"))
    }
}

/// Appends until told to stop; what was refused or is unknown is sent again with its key until there is a receipt.
fn work(
    mut caller: Caller,
    urls: &[String],
    stop: &AtomicBool,
    seen: &Seen,
) -> Result<(Caller, Told), String> {
    let (mut told, mut at) = (Told::default(), 0);
    loop {
        let began = Instant::now();
        let sent = caller.send(&urls[at]);
        told.longest = told.longest.max(began.elapsed());
        match sent {
            Ok(()) => {
                seen.acknowledged.fetch_add(1, Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    return Ok((caller, told));
                }
            }
            Err(error) => {
                *told.codes.entry(code_of(&error)?).or_default() += 1;
                seen.refused.fetch_add(1, Ordering::SeqCst);
                at = (at + 1) % urls.len();
                thread::park_timeout(RETRY_INTERVAL);
            }
        }
    }
}

/// The code in a refusal, or in `extensions` of a GraphQL error. Without one it is a finding.
fn code_of(error: &io::Error) -> Result<&'static str, String> {
    let text = error.to_string();
    let says = |code: &str| text == code || text.contains(&format!(r#""code":"{code}""#));
    let found = CODES.into_iter().find(|code| says(code));
    found.ok_or_else(|| format!("no failing database excuses this: {text}"))
}

/// Judges what a node that has ended left behind: every receipt is true, nothing is there twice, the read models equal a
/// rebuild, and an export of the tenant verifies.
pub fn nothing_lost(home: &Home, tenant: &str, callers: &[Caller]) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let app = App::open(&home.common(), "judge").await.expect("the store opens");
        judge(&app, main_ledger(tenant), callers.iter()).await;
        read_models_equal_a_rebuild(&app).await;
        app.close().await.expect("it closes");
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    export_verifies(home, tenant, folder.path());
}
