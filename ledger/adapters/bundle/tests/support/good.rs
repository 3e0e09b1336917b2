//! Good exports.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use ruche_domain::envelope::{ACFEvent, Actor};
use ruche_domain::events::infra::EpochReason;
use ruche_domain::ids::{CallId, LedgerId, SessionId};
use ruche_domain::numbers::{Epoch, Micros, Position, SchemaVersion};
use ruche_domain::ports::{Clock, event_id};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::epoch::Opener;
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::memory::{MemoryStore, MemoryTreeHeads};
use ruche_ledger::note::NoteSigner;
use ruche_ledger::payload::{Fragment, JSON, StoredFragment};
use ruche_ledger::seal::{LogKeys, Sealer};
use ruche_ledger::store::{AppendOutcome, AppendRequest, EventStore, PreparedEvent};
use ruche_ledger::testing::{FixedClock, SeededRandom, claim};
use ruche_ledger::tree_head::SignedTreeHead;
use ruche_ledger_bundle::{BundleWriter, Trust};
use uuid::Uuid;

use super::below;

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub leaf: Vec<u8>,
    pub payload: Vec<StoredFragment>,
}

/// An epoch, with the key that its operator holds.
pub struct EpochOf {
    pub epoch: Epoch,
    pub origin: String,
    pub head: SignedTreeHead,
    /// Tree heads signed before the last one: what an auditor may have kept.
    pub earlier: Vec<SignedTreeHead>,
    pub records: Vec<Stored>,
}

/// A ledger as it is exported.
pub struct Export {
    pub ledger: LedgerId,
    pub seed: MasterSeed,
    pub epochs: Vec<EpochOf>,
}

impl Export {
    /// The operator's key of an origin.
    pub fn signer(&self, origin: &str) -> NoteSigner {
        self.seed.log_signer(origin).expect("origins are key names")
    }

    /// The verifier keys, as the auditor was given them.
    pub fn keys(&self) -> Vec<String> {
        self.epochs
            .iter()
            .map(|epoch| self.signer(&epoch.origin).verifier().to_string())
            .collect()
    }

    /// Trust in those keys.
    pub fn trust(&self) -> Trust {
        Trust::keys(
            self.keys()
                .iter()
                .map(|key| key.parse().expect("printed above"))
                .collect(),
        )
    }

    /// Records of all epochs.
    pub fn size(&self) -> u64 {
        self.epochs.iter().map(|epoch| epoch.records.len() as u64).sum()
    }

    /// Writes the export.
    pub fn write(&self, folder: &Path) {
        let mut writer = BundleWriter::create(folder, self.ledger).expect("a fresh folder");
        for epoch in &self.epochs {
            let key = self.signer(&epoch.origin);
            writer
                .begin_epoch(epoch.epoch, &epoch.head, key.verifier())
                .expect("epochs in order");
            for record in epoch.records.iter().take(epoch.head.head().size.0 as usize) {
                writer
                    .record(&record.leaf, &record.payload)
                    .expect("records within the head");
            }
            writer.end_epoch().expect("an epoch that was begun");
        }
        writer.finish().expect("the folder can be renamed");
    }
}

/// How large an export is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub epochs: u32,
    /// Appends after the opening record, in each epoch.
    pub appends: usize,
    /// Most events of an append.
    pub events_max: usize,
}

impl Shape {
    /// Some shape of up to three epochs and, now and then, more than one bundle.
    pub fn any(random: &SeededRandom) -> Self {
        let appends = match below(random, 8) {
            0 => below(random, 3),
            1 => 80 + below(random, 200),
            _ => 3 + below(random, 25),
        };
        Self {
            epochs: 1 + below(random, 3) as u32,
            appends,
            events_max: 1 + below(random, 5),
        }
    }
}

struct Keys(MasterSeed);

impl LogKeys for Keys {
    fn signer(&self, origin: &str) -> NoteSigner {
        self.0.log_signer(origin).expect("origins are key names")
    }

    fn label(&self, ledger: LedgerId) -> [u8; 16] {
        self.0.origin_label(ledger)
    }
}

/// Runs a future of the in-memory engine, which never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the in-memory engine does not wait"),
    }
}

/// The good export of a seed.
pub fn export(seed: u64, shape: Shape) -> Export {
    let random = Arc::new(SeededRandom::new(seed));
    let mut bytes = [1; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let master = || MasterSeed::from_slice(&bytes).expect("32 bytes");
    let clock = Arc::new(FixedClock::at(1_700_000_000_000_000 + seed % 1_000_000));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let heads = Arc::new(MemoryTreeHeads::default());
    let sealer = Arc::new(Sealer {
        events: store.clone(),
        trees: store.clone(),
        heads,
        keys: Arc::new(Keys(master())),
    });
    let opener = Opener {
        sealer: sealer.clone(),
        clock: clock.clone(),
        random: random.clone(),
        deployment: "test.example".to_owned(),
    };
    let ledger = LedgerId(Uuid::from_u64_pair(seed, random.next()));
    now(opener.create(ledger)).expect("a new ledger");
    let mut author = Author {
        random,
        clock,
        calls: Vec::new(),
        key: 0,
    };
    let mut epochs = Vec::new();
    for number in 1..=shape.epochs {
        let mut earlier = Vec::new();
        for append in 0..shape.appends {
            let request = author.append(shape.events_max);
            let outcome = now(store.append(ledger, request)).expect("the engine takes it");
            assert!(
                matches!(outcome, AppendOutcome::Appended { duplicate: false, .. }),
                "{outcome:?}"
            );
            if append % 4 == 0 {
                earlier.extend(now(sealer.seal(ledger)).expect("sealed"));
            }
        }
        let head = now(sealer.seal(ledger))
            .expect("sealed")
            .expect("the ledger exists");
        epochs.push(epoch_of(&store, ledger, Epoch(number), head, earlier));
        if number < shape.epochs {
            now(opener.next_epoch(ledger, EpochReason::Operator, None)).expect("a next epoch");
        }
    }
    Export {
        ledger,
        seed: master(),
        epochs,
    }
}

fn epoch_of(
    store: &MemoryStore,
    ledger: LedgerId,
    epoch: Epoch,
    head: SignedTreeHead,
    earlier: Vec<SignedTreeHead>,
) -> EpochOf {
    let mut records = Vec::new();
    let mut from = Position::new(epoch.0, 0);
    loop {
        let page = now(store.read_ledger(ledger, from, 1_000)).expect("the ledger can be read");
        let Some(last) = page.last() else { break };
        from = last.position.next();
        records.extend(page.into_iter().map(|record| Stored {
            leaf: record.leaf_bytes,
            payload: record.payload,
        }));
    }
    EpochOf {
        epoch,
        origin: head.head().origin.clone(),
        head,
        earlier,
        records,
    }
}

/// Writes events as an agent would.
struct Author {
    random: Arc<SeededRandom>,
    clock: Arc<FixedClock>,
    /// Calls that were started and have no outcome yet.
    calls: Vec<CallId>,
    key: u8,
}

impl Author {
    fn append(&mut self, events_max: usize) -> AppendRequest {
        self.clock
            .0
            .fetch_add(below(&self.random, 5) as u64, Ordering::SeqCst);
        let events = 1 + below(&self.random, events_max);
        let events = (0..events).map(|_| self.event()).collect();
        let mut keys = Vec::new();
        if self.key < 200 && below(&self.random, 3) == 0 {
            self.key += 1;
            keys.push(claim(self.key, 1));
        }
        AppendRequest::new(Vec::new(), events, keys).expect("within the limits")
    }

    fn event(&mut self) -> PreparedEvent {
        let thing = Uuid::from_u128(1 + u128::from(below(&self.random, 4) as u64));
        // Calls as imports write them. What stands in a lane is judged by what its turns may do, which chance does not.
        let (category, event_type, call) = match below(&self.random, 5) {
            0 => {
                let call = CallId(Uuid::from_u64_pair(7, self.random.next()));
                self.calls.push(call);
                (Category::Observed, "tool.started", Some(call))
            }
            1 if !self.calls.is_empty() => {
                let call = self.calls.swap_remove(below(&self.random, self.calls.len()));
                let outcomes = ["tool.completed", "tool.failed", "tool.outcome_unknown"];
                let outcome = outcomes[below(&self.random, 3)];
                (Category::Observed, outcome, Some(call))
            }
            2 => (Category::Observed, "message.received", None),
            3 => (Category::Session, "feedback.given", None),
            _ => (Category::Observed, "message.sent", None),
        };
        let mut event = ACFEvent::new(
            event_id(self.clock.as_ref(), self.random.as_ref()),
            StreamId::new(category, thing),
            event_type,
            SchemaVersion(1),
            Micros(self.clock.now().0),
            Actor::SYSTEM,
        );
        event.call = call;
        event.session = Some(SessionId(thing));
        let fragments = [1, 1, 1, 2, 0][below(&self.random, 5)];
        let payload = (0..fragments).map(|_| self.fragment()).collect();
        PreparedEvent { event, payload }
    }

    fn fragment(&self) -> Fragment {
        let text = format!("{{\"text\":\"{}\"}}", "x".repeat(below(&self.random, 60)));
        Fragment::plain(self.random.as_ref(), JSON, text.into_bytes()).expect("within the limits")
    }
}
