//! Timers of one ledger that two nodes tend at once, of which one dies at the worst moments: each fires once, whatever
//! the nodes do, and what fired is an event of the ledger.

mod nodes;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use ruche_commands::command::Command;
use ruche_commands::governed::{ClaimTurn, LaneName, LeaseRef, ProposeAction, SubmitMessage};
use ruche_commands::testing::{NoObjection, TestLedger};
use ruche_commands::{CommandReceipt, SessionRef, StartSession};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{MessageReceived, Role};
use ruche_domain::ids::TurnId;
use ruche_domain::numbers::TreeSize;
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::store::Record;
use ruche_ledger::testing::{FixedClock, SeededRandom};
use ruche_ledger::verify::{Findings, RecordChecker};
use ruche_projections::store::ReadStore;
use tokio::sync::Barrier;

use nodes::{Death, Node};

use super::*;
use crate::app::App;
use crate::cli::Common;

const SECOND_US: u64 = 1_000_000;
/// Longer than any wait of a lane: what is due by then is all there is.
const LONG_US: u64 = 4 * 24 * 3_600 * SECOND_US;
/// Looks of both nodes, after which nothing may be due any more.
const LOOKS_MAX: usize = 50;
/// Longest wait for a read model, and for a look.
const READ_WAIT_MAX: Duration = Duration::from_secs(30);
const STORIES: u64 = 40;
const ROUNDS: usize = 40;

/// Lanes with people and workers who come and go, and two nodes.
struct Story {
    ledger: TestLedger,
    reads: Arc<dyn ReadStore>,
    _app: App,
    nodes: Vec<Node>,
    random: SeededRandom,
    number: u64,
    held: BTreeMap<String, (TurnId, LeaseRef)>,
    _folder: tempfile::TempDir,
}

impl Story {
    async fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Arc::new(FixedClock::at(ruche_commands::testing::TEST_NOW.0));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let ledger = TestLedger::on(store, clock, Arc::new(NoObjection)).await;
        let app = App::open(&common(folder.path()), "a test")
            .await
            .expect("a new store");
        let reads = app.runner.store().clone();
        let nodes = (0..2)
            .map(|number| Node::start(&ledger, &reads, seed * 100 + number))
            .collect();
        let mut story = Self {
            ledger,
            reads,
            _app: app,
            nodes,
            random: SeededRandom::new(seed),
            number: 0,
            held: BTreeMap::new(),
            _folder: folder,
        };
        story.send(&StartSession::new("s")).await.expect("a session");
        story
    }

    fn below(&self, end: usize) -> usize {
        usize::try_from(self.random.next() % end as u64).expect("it is small")
    }

    fn id(&self) -> LedgerId {
        self.ledger.context.ledger
    }

    async fn send<C: Command>(&mut self, command: &C) -> Option<CommandReceipt> {
        self.number += 1;
        let context = self.ledger.context.with_key(format!("k-{}", self.number));
        self.ledger.commands.execute(&context, command).await.ok()
    }

    /// Somebody does something in one of the lanes, or tries to.
    async fn something(&mut self) {
        let channels = ["web", "api", "email"];
        let lane = LaneName {
            agent: "shop".to_owned(),
            interlocutor: format!("person-{}", self.below(2)),
            channel: channels[self.below(3)].to_owned(),
            thread: None,
        };
        let name = format!("{} {}", lane.interlocutor, lane.channel);
        match self.below(4) {
            0 | 1 => {
                let message = MessageReceived {
                    channel_message_id: Some(format!("m-{}", self.number)),
                    ..MessageReceived::new(Role::User)
                };
                let session = SessionRef::External("s".to_owned());
                self.send(&SubmitMessage {
                    flush: false,
                    session,
                    lane,
                    message,
                })
                .await;
            }
            2 => {
                let claimed = self
                    .send(&ClaimTurn {
                        lane,
                        brain_build: None,
                    })
                    .await;
                if let Some(held) = claimed.as_ref().and_then(lease_in) {
                    self.held.insert(name, held);
                }
            }
            _ => {
                let Some((turn, lease)) = self.held.get(&name).cloned() else {
                    return;
                };
                let propose = ProposeAction {
                    lane,
                    turn,
                    lease,
                    tool: "send_money".to_owned(),
                    arguments: "{}".to_owned(),
                    business_key: Some(format!("order-{}", self.number)),
                    provider_call_id: None,
                    justification: None,
                };
                self.send(&propose).await;
            }
        }
    }

    /// A worker takes what is ready in any of the lanes.
    async fn claims_everywhere(&mut self) {
        for (person, channel) in
            (0..2).flat_map(|person| ["web", "api", "email"].map(|channel| (person, channel)))
        {
            let lane = LaneName {
                agent: "shop".to_owned(),
                interlocutor: format!("person-{person}"),
                channel: channel.to_owned(),
                thread: None,
            };
            let brain_build = None;
            self.send(&ClaimTurn { lane, brain_build }).await;
        }
    }

    /// The read model of lanes has all that is recorded.
    async fn known(&self) {
        let head = self
            .ledger
            .store
            .head(self.id())
            .await
            .expect("a head")
            .expect("a ledger");
        let last = Position {
            epoch: head.epoch,
            index: LeafIndex(head.size.0 - 1),
        };
        for node in &self.nodes {
            let known = node.timers.runner.progress().wait_for(self.id(), &[LANES], last);
            timeout(READ_WAIT_MAX, known)
                .await
                .expect("in time")
                .expect("not parked");
        }
    }

    async fn due(&self) -> Option<Micros> {
        self.known().await;
        let now = self.ledger.clock.now();
        let found = lanes::timers(&*self.reads, self.id(), now, 1).await;
        found.expect("an answer").first()
    }

    /// The clock goes to what is due next, and one node dies over it.
    async fn a_node_dies(&mut self, death: Death) {
        let Some(at) = self.due().await else { return };
        self.ledger.clock.0.fetch_max(at.0, Ordering::SeqCst);
        self.number += 1;
        let (victim, number) = (self.below(2), self.number);
        let next = Node::start(&self.ledger, &self.reads, 1_000 + number);
        let dead = std::mem::replace(&mut self.nodes[victim], next);
        dead.dies(self.id(), death).await;
    }

    /// Both nodes look at once until nothing is due.
    async fn both_look(&self) {
        for _ in 0..LOOKS_MAX {
            if self.due().await.is_none_or(|at| at > self.ledger.clock.now()) {
                return;
            }
            let meeting = Arc::new(Barrier::new(2));
            for node in &self.nodes {
                *node.store.meeting.lock().expect("nobody panics with it") = Some(meeting.clone());
            }
            let looks = async { tokio::join!(self.nodes[0].look(self.id()), self.nodes[1].look(self.id())) };
            timeout(READ_WAIT_MAX, looks).await.expect("both look in time");
        }
        panic!("what is due does not fire");
    }

    async fn records(&self) -> Vec<Record> {
        let mut all = Vec::new();
        let mut from = Position::START;
        loop {
            let page = self
                .ledger
                .store
                .read_ledger(self.id(), from, 1_000)
                .await
                .expect("records");
            let Some(last) = page.last() else { return all };
            from = last.position.next();
            all.extend(page);
        }
    }
}

/// The embedded engine in a folder, for its read models.
fn common(folder: &Path) -> Common {
    Common {
        data_dir: folder.join("data"),
        keys_dir: folder.join("keys"),
        archive_dir: None,
        deployment: None,
        database_url: None,
        database_read_url: None,
        tree_heads_url: None,
        database_wait: 0,
        database_readers: 8,
        nodes: 1,
        config: None,
        json: true,
    }
}

fn lease_in(receipt: &CommandReceipt) -> Option<(TurnId, LeaseRef)> {
    receipt
        .events
        .iter()
        .find_map(|event| match event.agent_event().ok()?? {
            AgentEvent::TurnStarted(started) => {
                let (id, epoch) = (started.lease_id?, started.lease_epoch?);
                Some((event.event.turn?, LeaseRef { id, epoch }))
            }
            _ => None,
        })
}

/// Everything that happened, by type and by what it happened to. Leases are told apart by their numbers.
fn counted(records: &[Record]) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    for record in records {
        let event = &record.leaf.event;
        let payload = record.payload_bytes().unwrap_or_default();
        let payload: serde_json::Value = serde_json::from_slice(payload).expect("JSON");
        let about = match event.event_type.as_str() {
            "turn.started" | "infra.lease_expired" => format!("{:?} {}", event.turn, payload["lease_epoch"]),
            "approval.requested" | "approval.expired" => event.stream.to_string(),
            // A turn that a decision opened gathers no messages.
            "turn.opened" if payload["deadline"].is_null() => continue,
            _ => format!("{:?}", event.turn),
        };
        *counts.entry((event.event_type.clone(), about)).or_insert(0) += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_timer_fires_once_though_two_nodes_look_and_one_dies_over_it() {
    let mut fired: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..STORIES {
        let mut story = Story::new(seed).await;
        for _ in 0..ROUNDS {
            match story.below(12) {
                0 => story.a_node_dies(Death::BeforeItAppends).await,
                1 => story.a_node_dies(Death::BeforeItIsTold).await,
                2 => {
                    let wait = story.random.next() % (50 * SECOND_US);
                    story.ledger.clock.0.fetch_add(wait, Ordering::SeqCst);
                }
                3 => story.both_look().await,
                _ => story.something().await,
            }
        }
        // Workers that claim and die, until no attempt is left.
        for _ in 0..4 {
            story.claims_everywhere().await;
            story.ledger.clock.0.fetch_add(LONG_US, Ordering::SeqCst);
            story.both_look().await;
        }
        // What fires may leave another timer: who waited for people has a lease again, and of effects that are to be undone
        // the next one has its time.
        for _ in 0..LOOKS_MAX {
            story.ledger.clock.0.fetch_add(LONG_US, Ordering::SeqCst);
            story.both_look().await;
            if story.due().await.is_none() {
                break;
            }
        }
        assert_eq!(story.due().await, None, "seed {seed}: nothing is ever due again");

        let records = story.records().await;
        let counts = counted(&records);
        let once = [
            "turn.sealed",
            "infra.lease_expired",
            "approval.expired",
            "turn.failed",
        ];
        for ((event_type, about), count) in &counts {
            if once.contains(&event_type.as_str()) {
                assert_eq!(*count, 1, "seed {seed}: {event_type} of {about}");
                *fired.entry(event_type.clone()).or_default() += 1;
            }
            let ends = |event_type: &str| counts.contains_key(&(event_type.to_owned(), about.clone()));
            match event_type.as_str() {
                "turn.opened" => assert!(
                    ends("turn.sealed") || ends("turn.superseded"),
                    "seed {seed}: {about}"
                ),
                "approval.requested" => {
                    let cancelled = records.iter().any(|record| {
                        let event = &record.leaf.event;
                        event.event_type == "approval.cancelled" && event.stream.to_string() == *about
                    });
                    assert!(ends("approval.expired") || cancelled, "seed {seed}: {about}");
                }
                _ => {}
            }
        }
        let (mut checker, mut findings) = (RecordChecker::new(), Findings::keeping(10));
        let size = TreeSize(records.len() as u64);
        checker.begin_epoch(records[0].position.epoch, &records[0].leaf.origin, size);
        for record in &records {
            checker.record(record, &mut findings);
        }
        checker.end_epoch(&mut findings);
        assert!(findings.kept().is_empty(), "seed {seed}: {:?}", findings.kept());
    }
    assert!(
        fired.len() == 4 && fired.values().all(|count| *count > 5),
        "each kind of timer: {fired:?}"
    );
}

/// Lanes that would not fire, however many, are passed over and not looked at in place of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_rest_take_nobodys_place() {
    let mut story = Story::new(1).await;
    const OTHERS: usize = 5;
    for number in 0..TIMER_LANES_PER_LOOK_MAX + OTHERS {
        let lane = LaneName {
            agent: "shop".to_owned(),
            interlocutor: format!("person-{number}"),
            channel: "web".to_owned(),
            thread: None,
        };
        let session = SessionRef::External("s".to_owned());
        let message = MessageReceived::new(Role::User);
        let submit = SubmitMessage {
            session,
            lane,
            message,
            flush: false,
        };
        story.send(&submit).await.expect("a message");
    }
    story.ledger.clock.0.fetch_add(60 * SECOND_US, Ordering::SeqCst);
    let due = async || {
        story.known().await;
        let now = story.ledger.clock.now();
        let timers = lanes::timers(&*story.reads, story.id(), now, 1_000).await;
        timers.expect("an answer").due
    };
    let mut before = due().await;
    assert_eq!(before.len(), TIMER_LANES_PER_LOOK_MAX + OTHERS);
    let (until, pause) = (Instant::now() + READ_WAIT_MAX, TIMER_RETRY_MAX);
    before.truncate(TIMER_LANES_PER_LOOK_MAX);
    let mut resting = before
        .iter()
        .map(|due| (due.lane, Resting { until, pause }))
        .collect();
    let looked = story.nodes[0].timers.look(story.id(), &mut resting).await;
    looked.expect("the read model can be asked");
    assert_eq!(due().await, before, "all others fired");
    assert_eq!(resting.len(), TIMER_LANES_PER_LOOK_MAX);
}
