//! Callers that append without end to a store whose database dies under them, and what they were told. The store is
//! never reopened: it has to find its database again by itself.
//!
//! Each append has a key and texts of its own. An append without an answer is repeated with its key until there is one;
//! so in the end every append is in its ledger once, and every receipt that was given is true.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_domain::ports::Random;
use ruche_ledger::leaf::{KeyClaim, KeyLayer};
use ruche_ledger::store::{AppendOutcome, AppendRequest, EventStore, Receipt, StoreError};
use ruche_ledger::testing::{Author, SeededRandom, check_ledger};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

/// Between two tries of an append.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Between two looks at how many appends were acknowledged.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Streams of each caller in each ledger.
const STREAMS: u64 = 5;
/// Records that are read at once.
const PAGE: usize = 1_000;

/// How much is appended, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The first takes half of the appends.
    pub ledgers: Vec<LedgerId>,
    /// Callers, each with one append at a time.
    pub callers: u64,
    /// Of everything random. Plans for the same ledgers need different ones.
    pub seed: u64,
    /// An append that has no answer by then is a finding.
    pub patience: Duration,
}

/// An append as it was sent; each text belongs in the ledger once.
#[derive(Clone, Debug)]
struct Sent {
    ledger: LedgerId,
    name: String,
    events: u64,
}

impl Sent {
    fn text(&self, event: u64) -> String {
        format!("{}#{event}", self.name)
    }
}

/// What callers were told.
#[derive(Debug, Default)]
pub struct Told {
    acknowledged: Vec<(Sent, Vec<Receipt>)>,
    /// Sent, and not answered when the load was abandoned.
    unanswered: Vec<Sent>,
    /// Answers that said nothing of the fate of the append.
    pub unknown: u64,
    /// Answers that said that nothing was written.
    pub refused: u64,
    /// Appends that a repetition found in the ledger.
    pub found: u64,
}

impl Told {
    /// Appends that were acknowledged.
    pub fn appends(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    /// For people: what was seen.
    pub fn summary(&self) -> String {
        let receipts: usize = self.acknowledged.iter().map(|(_, receipts)| receipts.len()).sum();
        format!(
            "{} appends of {receipts} records acknowledged, {} of them found by their key; answers without a receipt: \
             {} unknown, {} not available",
            self.acknowledged.len(),
            self.found,
            self.unknown,
            self.refused
        )
    }

    /// Takes over what another load was told.
    pub fn extend(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.unanswered.extend(other.unanswered);
        self.unknown += other.unknown;
        self.refused += other.refused;
        self.found += other.found;
    }
}

/// Callers at work.
pub struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<()>,
}

struct Shared {
    store: Arc<dyn EventStore>,
    plan: Plan,
    stop: AtomicBool,
    acknowledged: AtomicU64,
    told: Mutex<Told>,
    /// What each caller has in hand.
    in_hand: Mutex<HashMap<u64, Sent>>,
}

impl Load {
    /// Starts the callers. The ledgers must be there.
    pub fn start(store: Arc<dyn EventStore>, plan: Plan) -> Self {
        let shared = Arc::new(Shared {
            store,
            plan,
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            told: Mutex::default(),
            in_hand: Mutex::default(),
        });
        let mut callers = JoinSet::new();
        for caller in 0..shared.plan.callers {
            let shared = Arc::clone(&shared);
            callers.spawn(async move { shared.append_until_stopped(caller).await });
        }
        Self { shared, callers }
    }

    /// Waits until so many appends more than now were acknowledged.
    ///
    /// # Panics
    /// When a caller had a finding, or nothing comes for as long as the plan's patience.
    pub async fn more(&mut self, appends: u64) {
        let enough = self.shared.acknowledged.load(Ordering::SeqCst) + appends;
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let deadline = Instant::now() + self.shared.plan.patience;
        while self.shared.acknowledged.load(Ordering::SeqCst) < enough {
            look.tick().await;
            self.fail_if_a_caller_did();
            assert!(Instant::now() < deadline, "only {appends} appends were asked for");
        }
    }

    /// Waits until an instant, which may lie anywhere in an append.
    ///
    /// # Panics
    /// When a caller ends before it: it had a finding.
    pub async fn run_for(&mut self, time: Duration) {
        if let Ok(ended) = timeout(time, self.callers.join_next()).await {
            panic!("a caller ended: {ended:?}");
        }
    }

    /// Lets each caller finish what it has in hand, and gives what all were told.
    ///
    /// # Panics
    /// When a caller had a finding.
    pub async fn finish(mut self) -> Told {
        self.shared.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("a caller has no finding");
        }
        self.shared.take_told()
    }

    /// Drops what callers have in hand, as clients do that die, and gives what all were told.
    ///
    /// # Panics
    /// When a caller had a finding.
    pub async fn abandon(mut self) -> Told {
        self.fail_if_a_caller_did();
        self.callers.shutdown().await;
        self.shared.take_told()
    }

    fn fail_if_a_caller_did(&mut self) {
        if let Some(ended) = self.callers.try_join_next() {
            panic!("a caller ended: {ended:?}");
        }
    }
}

impl Shared {
    fn take_told(&self) -> Told {
        let mut told = std::mem::take(&mut *self.told.lock().expect("no caller panics with it"));
        let in_hand = std::mem::take(&mut *self.in_hand.lock().expect("no caller panics with it"));
        told.unanswered.extend(in_hand.into_values());
        told
    }

    async fn append_until_stopped(&self, caller: u64) {
        let seed = self.plan.seed.wrapping_mul(1_000).wrapping_add(caller);
        let (author, dice) = (Author::new(seed), SeededRandom::new(!seed));
        let mut n = 0_u64;
        while !self.stop.load(Ordering::SeqCst) {
            let sent = Sent {
                ledger: self.choose(&dice),
                name: format!("{}/{caller}/{n}", self.plan.seed),
                events: 1 + dice.next() % 3,
            };
            let request = request(&author, &dice, caller, &sent);
            self.in_hand
                .lock()
                .expect("no caller panics with it")
                .insert(caller, sent.clone());
            let receipts = self.until_known(&sent, &request).await;
            // From here the append counts as acknowledged.
            let mut told = self.told.lock().expect("no caller panics with it");
            told.acknowledged.push((sent, receipts));
            drop(told);
            self.in_hand
                .lock()
                .expect("no caller panics with it")
                .remove(&caller);
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
            n += 1;
        }
    }

    fn choose(&self, dice: &SeededRandom) -> LedgerId {
        let ledgers = &self.plan.ledgers;
        let at = match dice.next() % 2 {
            0 => 0,
            _ => dice.next() as usize % ledgers.len(),
        };
        ledgers[at]
    }

    /// Sends an append, again with its key where there was no answer, until it is there.
    async fn until_known(&self, sent: &Sent, request: &AppendRequest) -> Vec<Receipt> {
        let deadline = Instant::now() + self.plan.patience;
        let mut retry = interval(RETRY_INTERVAL);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_unknown = false;
        loop {
            retry.tick().await;
            let append = self.store.append(sent.ledger, request.clone());
            let answer = timeout_at(deadline, append).await;
            match answer.unwrap_or_else(|_| panic!("no answer in time: {sent:?}")) {
                Ok(AppendOutcome::Appended { receipts, duplicate }) => {
                    assert_eq!(receipts.len() as u64, sent.events, "{sent:?}");
                    // Whoever says that nothing was written must not find it later.
                    assert!(
                        !duplicate || was_unknown,
                        "nobody knew that it was there: {sent:?}"
                    );
                    self.told.lock().expect("no caller panics with it").found += u64::from(duplicate);
                    return receipts;
                }
                Ok(AppendOutcome::Unknown) => {
                    was_unknown = true;
                    self.told.lock().expect("no caller panics with it").unknown += 1;
                }
                Err(StoreError::Unavailable { .. } | StoreError::Overloaded { .. }) => {
                    self.told.lock().expect("no caller panics with it").refused += 1;
                }
                other => panic!("no failing database excuses this: {other:?} of {sent:?}"),
            }
        }
    }
}

fn request(author: &Author, dice: &SeededRandom, caller: u64, sent: &Sent) -> AppendRequest {
    let events = (0..sent.events).map(|event| {
        let filler = "x".repeat((dice.next() % 900) as usize);
        let text = format!(r#"{{"text":"{}","filler":"{filler}"}}"#, sent.text(event));
        let stream = author.stream(u128::from(caller * STREAMS + dice.next() % STREAMS));
        author.event(stream, &text)
    });
    let mut request = author.append(events.collect());
    let mut key = [0; 32];
    dice.fill(&mut key);
    request.keys.push(KeyClaim {
        layer: KeyLayer::Api,
        key,
        request: [7; 32],
    });
    request
}

/// Judges every ledger by its rules, and all that was told by what it holds. Gives how many acknowledged records are
/// gone or have become others; a ledger that is gone altogether has lost all of its own.
///
/// # Panics
/// When a ledger breaks a rule, or an append is there twice or in part, or was sent by nobody.
pub async fn lost(store: &dyn EventStore, told: &Told) -> u64 {
    let mut kept = HashMap::new();
    let mut copies: BTreeMap<(LedgerId, String), u64> = BTreeMap::new();
    let sent = || {
        told.acknowledged
            .iter()
            .map(|(sent, _)| sent)
            .chain(&told.unanswered)
    };
    let ledgers: BTreeSet<LedgerId> = sent().map(|sent| sent.ledger).collect();
    for ledger in ledgers {
        if store.head(ledger).await.expect("a head").is_none() {
            continue;
        }
        check_ledger(store, ledger).await;
        let mut from = Position::START;
        loop {
            let records = store.read_ledger(ledger, from, PAGE).await.expect("records");
            let Some(last) = records.last() else { break };
            from = last.position.next();
            for record in &records {
                if record.leaf.event.event_type == "message.received" {
                    let payload = record.payload_bytes().expect("nothing is erased");
                    let payload: serde_json::Value = serde_json::from_slice(payload).expect("JSON");
                    let text = payload["text"].as_str().expect("a text").to_owned();
                    kept.insert((ledger, record.position), (record.leaf_hash(), text.clone()));
                    *copies.entry((ledger, text)).or_default() += 1;
                }
            }
        }
    }
    for sent in sent() {
        let found =
            (0..sent.events).map(|event| copies.remove(&(sent.ledger, sent.text(event))).unwrap_or(0));
        let found: Vec<u64> = found.collect();
        assert!(
            found.iter().all(|copies| *copies == found[0] && *copies <= 1),
            "{sent:?}: {found:?} copies of its events"
        );
    }
    assert!(copies.is_empty(), "nobody sent these: {copies:?}");
    let receipts = told.acknowledged.iter().flat_map(|(sent, receipts)| {
        (0..).zip(receipts).map(|(event, receipt)| {
            let place = (sent.ledger, receipt.position);
            (place, (receipt.leaf_hash, sent.text(event)))
        })
    });
    receipts
        .filter(|(place, told)| kept.get(place) != Some(told))
        .count() as u64
}
