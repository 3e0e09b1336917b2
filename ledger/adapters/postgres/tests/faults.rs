//! Requests and answers that are lost on the way, at every place of an append.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use ruche_domain::numbers::Position;
use ruche_ledger::store::{AppendOutcome, EventStore, ExpectedVersion, Receipt, StoreError};
use ruche_ledger::testing::{Author, SeededRandom, appended, check_ledger, ledger};
use ruche_ledger_postgres::PostgresStore;

use super::proxy::{APPEND, COMMIT, FENCE, Fault, On, Proxy};
use super::support::{open_with, soon};
use super::{Noon, database, open, open_ledger, server};

/// Long enough for any answer that comes at all.
const LIMIT: Duration = Duration::from_millis(1_500);

/// Receipts of an append that is repeated.
const RECEIPTS: On = On::Run("index < $4");
const STREAMS: On = On::Run("SELECT u.ledger, u.stream");
const KEYS: On = On::Run("SELECT u.ledger, u.layer");
const LOCK: On = On::Run("last_recorded_at FROM head WHERE ledger = ANY($1) ORDER BY ledger FOR UPDATE");

/// A store behind a proxy, and another node that reaches the server directly.
struct Faulty {
    url: String,
    proxy: Proxy,
    node: Arc<PostgresStore>,
    other: Arc<PostgresStore>,
    author: Author,
    /// Records that are known to be there.
    records: u64,
    /// Receipts that were given, by key.
    receipts: HashMap<u8, Vec<Receipt>>,
}

impl Faulty {
    async fn new(server: &str) -> Self {
        let url = database(server).await;
        let proxy = Proxy::start(&url).await;
        let node = Self::node(&proxy.url(&url)).await;
        let other = open(&url).await;
        let author = open_ledger(&*other, 1).await;
        Self {
            url,
            proxy,
            node,
            other,
            author,
            records: 1,
            receipts: HashMap::new(),
        }
    }

    async fn node(url: &str) -> Arc<PostgresStore> {
        open_with(Arc::new(Noon), url, |options| options.answer_timeout = LIMIT).await
    }

    /// Begins with a new node: it has no session yet, knows nothing, and has lost no race.
    async fn renew(&mut self) {
        self.node.close().await.unwrap();
        self.node = Self::node(&self.proxy.url(&self.url)).await;
    }

    async fn append(&self, key: u8) -> Result<AppendOutcome, StoreError> {
        let event = self.author.event(self.author.stream(u128::from(key % 3)), "{}");
        let request = self.author.append_keyed(key, 1, vec![event]);
        soon(self.node.append(ledger(1), request)).await
    }

    /// Makes sure that the node knows a head, which is the last one or not: then it decides under the lock. It must not
    /// have lost races before, or it would decide under the lock anyway.
    async fn prepare(&mut self, stale: bool) {
        let event = || vec![self.author.event(self.author.stream(9), "{}")];
        let here = self.node.append(ledger(1), self.author.append(event()));
        appended(soon(here).await);
        self.records += 1;
        if stale {
            appended(self.other.append(ledger(1), self.author.append(event())).await);
            self.records += 1;
        }
    }

    /// Asks again with the key until there is a receipt, and holds it against one that was given before. Returns whether
    /// the append was there already.
    async fn find_out(&mut self, key: u8) -> bool {
        for _ in 0..20 {
            if let Ok(AppendOutcome::Appended { receipts, duplicate }) = self.append(key).await {
                let first = self.receipts.entry(key).or_insert_with(|| receipts.clone());
                assert_eq!(*first, receipts, "key {key}");
                self.records += u64::from(!duplicate);
                return duplicate;
            }
        }
        panic!("key {key} never gets an answer");
    }

    /// The whole ledger, judged: what was given a receipt is there, once, and nothing else is.
    async fn check(&self) {
        assert_eq!(check_ledger(&*self.other, ledger(1)).await, self.records);
        let mut records = HashMap::new();
        let mut from = Position::START;
        loop {
            let page = self.other.read_ledger(ledger(1), from, 1_000).await.unwrap();
            let Some(last) = page.last() else { break };
            from = last.position.next();
            records.extend(page.iter().map(|record| (record.position, record.receipt())));
        }
        for receipt in self.receipts.values().flatten() {
            assert_eq!(records.remove(&receipt.position), Some(*receipt));
        }
    }
}

/// Each way to lose the request that commits or its answer, on both paths.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_is_found_or_unknown_and_its_key_tells() {
    let Some(server) = server() else { return };
    let mut faulty = Faulty::new(&server).await;
    let faults = [
        Fault::SwallowRequest,
        Fault::SwallowAnswer,
        Fault::StallRequest,
        Fault::StallAnswer,
    ];
    let mut key = 0;
    for (stale, on) in [(false, APPEND), (true, COMMIT)] {
        for fault in faults {
            key += 1;
            faulty.renew().await;
            faulty.prepare(stale).await;
            let (happened, done) = (faulty.proxy.happened(), faulty.proxy.done());
            faulty.proxy.arm(on, fault);
            let outcome = faulty.append(key).await;
            assert_eq!(faulty.proxy.happened(), happened + 1, "{on:?} {fault:?}");
            let is_done = matches!(fault, Fault::SwallowAnswer | Fault::StallAnswer);
            assert_eq!(faulty.proxy.done() - done, u64::from(is_done), "{on:?} {fault:?}");
            match outcome {
                Ok(AppendOutcome::Appended {
                    receipts,
                    duplicate: false,
                }) if is_done => {
                    faulty.records += 1;
                    faulty.receipts.insert(key, receipts);
                }
                Ok(AppendOutcome::Unknown) if !is_done => {}
                other => panic!("{on:?} {fault:?}: {other:?}"),
            }
            assert_eq!(faulty.find_out(key).await, is_done, "{on:?} {fault:?}");
            faulty.check().await;
        }
    }
}

/// The fence behind a commit without an answer does not come: then the head says nothing for certain.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_found_without_a_fence_is_unknown() {
    let Some(server) = server() else { return };
    let mut faulty = Faulty::new(&server).await;
    let mut key = 0;
    for (stale, on) in [(false, APPEND), (true, COMMIT)] {
        for fault in [Fault::SwallowRequest, Fault::SwallowAnswer, Fault::StallRequest] {
            key += 1;
            faulty.renew().await;
            faulty.prepare(stale).await;
            let happened = faulty.proxy.happened();
            faulty.proxy.arm(on, Fault::SwallowAnswer);
            faulty.proxy.arm(FENCE, fault);
            let outcome = faulty.append(key).await;
            assert_eq!(faulty.proxy.happened(), happened + 2, "{on:?} {fault:?}");
            assert_eq!(outcome, Ok(AppendOutcome::Unknown), "{on:?} {fault:?}");
            faulty.records += 1;
            assert!(faulty.find_out(key).await, "{on:?} {fault:?}: it was there");
            faulty.check().await;
        }
    }
}

/// A repeated request is answered with what it repeats behind a fence, and without one it is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_without_a_fence_or_its_receipts_is_unknown() {
    let Some(server) = server() else { return };
    let mut faulty = Faulty::new(&server).await;
    faulty.prepare(false).await;
    assert!(!faulty.find_out(1).await);
    for on in [FENCE, RECEIPTS] {
        for fault in [Fault::SwallowRequest, Fault::SwallowAnswer, Fault::StallRequest] {
            let happened = faulty.proxy.happened();
            faulty.proxy.arm(on, fault);
            let outcome = faulty.append(1).await;
            assert_eq!(faulty.proxy.happened(), happened + 1, "{on:?} {fault:?}");
            assert_eq!(outcome, Ok(AppendOutcome::Unknown), "{on:?} {fault:?}");
            assert!(faulty.find_out(1).await);
        }
    }
    faulty.check().await;
}

/// What is asked before anything is written never comes: the answer is that nothing was written, in time, and that is so.
#[tokio::test(flavor = "multi_thread")]
async fn waits_before_a_commit_end_and_nothing_is_written() {
    let Some(server) = server() else { return };
    let mut faulty = Faulty::new(&server).await;
    let places = [
        // A cold node: its session is made now, and its head read.
        (false, On::Run("SET lock_timeout"), 0),
        (false, On::Prepare("WITH wrong AS"), 0),
        (false, On::Run("FROM head WHERE ledger = ANY"), 0),
        (false, STREAMS, 0),
        // The node has lost a race.
        (true, On::Run("BEGIN"), 0),
        (true, LOCK, 0),
        (true, STREAMS, 1),
        // Without a lock keys are guessed.
        (true, KEYS, 0),
        (true, APPEND, 1),
    ];
    let mut key = 0;
    for (stale, on, skip) in places {
        for fault in [Fault::SwallowRequest, Fault::StallAnswer] {
            key += 1;
            faulty.renew().await;
            if stale {
                faulty.prepare(true).await;
            }
            let happened = faulty.proxy.happened();
            faulty.proxy.arm_later(on, skip, fault);
            let outcome = faulty.append(key).await;
            assert_eq!(faulty.proxy.happened(), happened + 1, "{on:?} {fault:?}");
            assert!(
                matches!(outcome, Err(StoreError::Unavailable { .. })),
                "{on:?} {fault:?}: {outcome:?}"
            );
            assert!(
                !faulty.find_out(key).await,
                "{on:?} {fault:?}: it was not written"
            );
        }
    }
    faulty.check().await;
}

/// A transaction that cannot be undone does not keep its caller, nor the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_without_an_answer_gives_the_connection_up() {
    let Some(server) = server() else { return };
    let mut faulty = Faulty::new(&server).await;
    for fault in [Fault::SwallowRequest, Fault::StallRequest, Fault::StallAnswer] {
        faulty.prepare(true).await;
        let happened = faulty.proxy.happened();
        faulty.proxy.arm(On::Run("ROLLBACK"), fault);
        // A conflict writes nothing, so the lock is let go without a commit. What it is about is not told without a fence,
        // and there is no session for one any more.
        let event = faulty.author.event(faulty.author.stream(9), "{}");
        let request = faulty
            .author
            .append_expecting(ExpectedVersion::NoStream, vec![event]);
        let outcome = soon(faulty.node.append(ledger(1), request)).await;
        assert_eq!(faulty.proxy.happened(), happened + 1, "{fault:?}");
        assert!(
            matches!(outcome, Err(StoreError::Unavailable { .. })),
            "{fault:?}: {outcome:?}"
        );
    }
    faulty.prepare(true).await;
    assert!(!faulty.find_out(1).await);
    faulty.check().await;
}

/// The connection is cut at any byte of the request that commits, or of its answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_at_any_byte_loses_and_doubles_nothing() {
    let Some(server) = server() else { return };
    let mut faulty = Faulty::new(&server).await;
    let random = SeededRandom::new(7);
    let (mut found, mut lost) = (0, 0);
    for key in 0..120 {
        let stale = key % 2 == 0;
        faulty.renew().await;
        faulty.prepare(stale).await;
        let happened = faulty.proxy.happened();
        // An append of one event takes some 1,900 bytes there and 80 back; a COMMIT 12 and 18.
        let (on, bytes) = if stale { (COMMIT, 34) } else { (APPEND, 2_400) };
        faulty.proxy.arm(on, Fault::CutAfter(random.next() % bytes));
        let outcome = faulty.append(key).await;
        assert_eq!(faulty.proxy.happened(), happened + 1, "key {key}");
        match outcome {
            Ok(AppendOutcome::Appended {
                receipts,
                duplicate: false,
            }) => {
                faulty.records += 1;
                faulty.receipts.insert(key, receipts);
                found += 1;
                assert!(faulty.find_out(key).await, "key {key} was confirmed");
            }
            // Where the request was cut nothing stands; where only its answer was, it may have been found too late.
            Ok(AppendOutcome::Unknown) => {
                lost += 1;
                if faulty.find_out(key).await {
                    faulty.records += 1;
                }
            }
            other => panic!("key {key}: {other:?}"),
        }
    }
    assert!(found > 0 && lost > 0, "{found} found, {lost} lost");
    faulty.check().await;
}

/// An opening whose commit is lost is found, or says that it is not known and can be tried again.
#[tokio::test(flavor = "multi_thread")]
async fn an_opening_without_an_answer_is_found_or_not_known() {
    let Some(server) = server() else { return };
    let faulty = Faulty::new(&server).await;
    let faults = [
        (Fault::SwallowRequest, false),
        (Fault::SwallowAnswer, true),
        (Fault::StallRequest, false),
        (Fault::StallAnswer, true),
    ];
    for (n, (fault, is_done)) in (2..).zip(faults) {
        let (happened, done) = (faulty.proxy.happened(), faulty.proxy.done());
        faulty.proxy.arm(COMMIT, fault);
        let opening = || faulty.author.opening(ledger(n), 1, None);
        let outcome = soon(faulty.node.open_epoch(ledger(n), opening())).await;
        assert_eq!(faulty.proxy.happened(), happened + 1, "{fault:?}");
        assert_eq!(faulty.proxy.done() - done, u64::from(is_done));
        let again = soon(faulty.node.open_epoch(ledger(n), opening())).await;
        if is_done {
            let receipt = outcome.unwrap();
            assert_eq!(again, Err(StoreError::EpochMoved), "{fault:?}");
            let records = faulty.other.read_ledger(ledger(n), Position::START, 2).await;
            assert_eq!(records.unwrap()[0].receipt(), receipt);
        } else {
            assert!(
                matches!(outcome, Err(StoreError::Unavailable { .. })),
                "{outcome:?}"
            );
            assert_eq!(again.unwrap().position, Position::START, "{fault:?}");
        }
        assert_eq!(check_ledger(&*faulty.other, ledger(n)).await, 1);
    }
    // Found, but not behind a fence.
    faulty.proxy.arm(COMMIT, Fault::SwallowAnswer);
    faulty.proxy.arm(FENCE, Fault::StallRequest);
    let opening = faulty.author.opening(ledger(9), 1, None);
    let outcome = soon(faulty.node.open_epoch(ledger(9), opening)).await;
    assert!(
        matches!(outcome, Err(StoreError::Unavailable { .. })),
        "{outcome:?}"
    );
    // Every wait of an opening ends.
    for on in [
        On::Run("SET lock_timeout"),
        On::Run("BEGIN"),
        On::Run("INSERT INTO epoch"),
    ] {
        faulty.proxy.arm(on, Fault::StallAnswer);
        let opening = || faulty.author.opening(ledger(10), 1, None);
        let outcome = soon(faulty.node.open_epoch(ledger(10), opening())).await;
        assert!(
            matches!(outcome, Err(StoreError::Unavailable { .. })),
            "{outcome:?}"
        );
        assert_eq!(faulty.other.head(ledger(10)).await, Ok(None), "{on:?}");
    }
}

/// One ledger's repeat waits for receipts that do not come; the append of another that was decided with it is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_that_waits_does_not_hold_up_its_neighbours() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let proxy = Proxy::start(&url).await;
    let node = open_with(Arc::new(Noon), &proxy.url(&url), |options| options.writers = 1).await;
    let authors = [open_ledger(&*node, 1).await, open_ledger(&*node, 2).await];
    let request = |n: usize, key| {
        let event = authors[n].event(authors[n].stream(1), "{}");
        authors[n].append_keyed(key, 1, vec![event])
    };
    appended(node.append(ledger(1), request(0, 1)).await);
    // Both come while the writer is held, so they are decided together, the repeat first.
    proxy.arm(APPEND, Fault::Hold);
    proxy.arm(RECEIPTS, Fault::StallAnswer);
    let mut held = node.append(ledger(2), request(1, 1));
    assert!(poll(&mut held).is_pending());
    soon(happens(&proxy, 1)).await;
    let mut repeat = node.append(ledger(1), request(0, 1));
    let mut neighbour = node.append(ledger(2), request(1, 2));
    assert!(poll(&mut repeat).is_pending() && poll(&mut neighbour).is_pending());
    proxy.release();
    appended(soon(held).await);
    appended(soon(neighbour).await);
    soon(happens(&proxy, 2)).await;
    assert!(poll(&mut repeat).is_pending());
}

/// A repeat was found in a session that ended since. Whatever server is there now may never have had what it repeats, so
/// its records are not looked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_whose_session_is_gone_is_unknown() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let proxy = Proxy::start(&url).await;
    let node = open_with(Arc::new(Noon), &proxy.url(&url), |options| options.writers = 1).await;
    let other = open(&url).await;
    let mut authors = Vec::new();
    for n in 1..=3 {
        authors.push(open_ledger(&*node, n).await);
    }
    let request = |n: usize, key| {
        let event = authors[n - 1].event(authors[n - 1].stream(1), "{}");
        authors[n - 1].append_keyed(key, 1, vec![event])
    };
    appended(node.append(ledger(1), request(1, 1)).await);
    appended(node.append(ledger(2), request(2, 1)).await);
    appended(other.append(ledger(2), request(2, 2)).await);
    // Decided together: a repeat, and an append that has lost its race and goes on under the lock.
    proxy.arm(APPEND, Fault::Hold);
    proxy.arm(COMMIT, Fault::SwallowRequest);
    let mut held = node.append(ledger(3), request(3, 1));
    assert!(poll(&mut held).is_pending());
    soon(happens(&proxy, 1)).await;
    let mut repeat = node.append(ledger(1), request(1, 1));
    let mut lost = node.append(ledger(2), request(2, 3));
    assert!(poll(&mut repeat).is_pending() && poll(&mut lost).is_pending());
    proxy.release();
    appended(soon(held).await);
    assert_eq!(soon(lost).await, Ok(AppendOutcome::Unknown));
    assert_eq!(soon(repeat).await, Ok(AppendOutcome::Unknown));
    assert_eq!(proxy.happened(), 2);
    let again = soon(node.append(ledger(1), request(1, 1))).await;
    assert!(
        matches!(again, Ok(AppendOutcome::Appended { duplicate: true, .. })),
        "{again:?}"
    );
}

/// A key that another node claims between our look at it and our statement is not claimed twice: the head has moved.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_taken_behind_a_look_at_it_stands_once() {
    let Some(server) = server() else { return };
    let mut faulty = Faulty::new(&server).await;
    for key in 1..=10 {
        faulty.renew().await;
        faulty.prepare(false).await;
        let happened = faulty.proxy.happened();
        faulty.proxy.arm(APPEND, Fault::Hold);
        let event = || vec![faulty.author.event(faulty.author.stream(1), "{}")];
        let request = faulty.author.append_keyed(key, 1, event());
        let (late, first) = tokio::join!(faulty.append(key), async {
            happens(&faulty.proxy, happened + 1).await;
            let first = faulty.other.append(ledger(1), request).await;
            faulty.proxy.release();
            first
        });
        let first = appended(first);
        let expected = AppendOutcome::Appended {
            receipts: first.clone(),
            duplicate: true,
        };
        assert_eq!(late, Ok(expected));
        faulty.records += 1;
        faulty.receipts.insert(key, first);
    }
    faulty.check().await;
}

fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
    future.poll_unpin(&mut Context::from_waker(Waker::noop()))
}

/// Waits until a number of faults has happened.
pub async fn happens(proxy: &Proxy, count: u64) {
    soon(async {
        while proxy.happened() < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
