//! Records that nobody would write: a real ledger of which some are changed, left out, repeated, moved or put in another's
//! place, well formed and hashed anew. Whatever they say, a verification comes to its end and says what is wrong.

use std::collections::BTreeMap;

use ruche_commands::lane::{Lane, LaneEvent};
use ruche_domain::events::{
    ApprovalCancelled, ApprovalDecision, ApprovalMode, ApprovalRequested, ApprovalRule, ToolCompensated,
    ToolCompensationStarted, ToolProposed, TurnCancelled, TurnCompensating, TurnOpened, TurnTrigger,
};
use ruche_domain::ids::{ApprovalId, CallId};
use ruche_domain::limits::EVENTS_PER_APPEND_MAX;
use ruche_domain::measures::Digest;
use ruche_domain::stream::Category;
use ruche_ledger::testing::Author;
use serde_json::{Value, json};
use uuid::Uuid;

use super::settled::Settled;
use super::*;
use crate::testing::vote;

/// What is written of an event.
#[derive(Clone)]
pub(super) struct Draft {
    pub event: ACFEvent,
    pub payload: Value,
    pub recorded_at: Micros,
    /// First index of the append that it came in, or another number of it.
    pub append: u64,
}

/// A ledger as its forger sees it.
#[derive(Clone)]
pub(super) struct Forger {
    pub drafts: Vec<Draft>,
    /// The values of each member, by its name.
    pub seen: BTreeMap<String, Vec<Value>>,
    /// What was really voted.
    pub votes: Vec<Value>,
}

impl Forger {
    pub async fn of(world: &World) -> Self {
        let records = world
            .store
            .read_ledger(world.ledger, Position::START, 10_000)
            .await;
        let draft = |record: &Record| Draft {
            event: record.leaf.event.clone(),
            payload: serde_json::from_slice(record.payload_bytes().expect("nothing is erased"))
                .expect("JSON"),
            recorded_at: record.leaf.recorded_at,
            append: record.leaf.append.first.0,
        };
        // Who opens the ledger writes record 0.
        let drafts: Vec<Draft> = records.expect("records").iter().skip(1).map(draft).collect();
        let mut seen = BTreeMap::new();
        drafts.iter().for_each(|draft| collect(&draft.payload, &mut seen));
        let is_vote = |draft: &&Draft| draft.event.event_type == "approval.voted";
        let votes = drafts.iter().filter(is_vote).map(|draft| draft.payload.clone());
        let votes = votes.collect();
        Self { drafts, seen, votes }
    }

    pub fn pick(random: &SeededRandom, below: usize) -> usize {
        usize::try_from(random.next() % below.max(1) as u64).expect("a remainder is small")
    }

    /// One of those that the machine is asked about.
    fn of_lane(&self, random: &SeededRandom) -> usize {
        let is_it = |draft: &Draft| {
            let category = draft.event.stream.category;
            matches!(category, Category::Lane | Category::Approval) && draft.event.turn.is_some()
        };
        let all: Vec<usize> = (0..self.drafts.len())
            .filter(|n| is_it(&self.drafts[*n]))
            .collect();
        all[Self::pick(random, all.len())]
    }

    /// Does one thing that is not allowed, and says what.
    pub fn forge(&mut self, random: &SeededRandom) -> String {
        let (one, other) = (self.of_lane(random), self.of_lane(random));
        let (a, b) = (
            &self.drafts[one].event.event_type,
            &self.drafts[other].event.event_type,
        );
        let names = format!("{one} {a}, {other} {b}");
        match Self::pick(random, 10) {
            0..4 => {
                let told = self.change(random, one);
                return format!("changed {one} {}: {told}", self.drafts[one].event.event_type);
            }
            4 => {
                self.drafts.remove(one);
                return format!("dropped {names}");
            }
            5 => {
                let copy = self.drafts[one].clone();
                self.put(random, other, copy);
                return format!("repeated {names}");
            }
            6 => self.drafts.swap(one, other),
            7 | 8 => {
                // What was said of one turn is said of another one.
                let mut said = self.drafts[one].clone();
                let of = self.drafts[other].event.clone();
                said.event = ACFEvent {
                    event_type: said.event.event_type.clone(),
                    schema_version: said.event.schema_version,
                    ..of
                };
                self.put(random, other + 1, said);
                return format!("put behind {names}");
            }
            _ => {
                let of = self.drafts[other].event.clone();
                let event = &mut self.drafts[one].event;
                match Self::pick(random, 4) {
                    0 => event.turn = of.turn,
                    1 => event.call = of.call,
                    2 => event.stream = of.stream,
                    _ => {
                        event.occurred_at =
                            [Micros(0), Micros(u64::MAX), of.occurred_at][Self::pick(random, 3)]
                    }
                }
            }
        }
        format!("mixed {names}")
    }

    fn put(&mut self, random: &SeededRandom, at: usize, mut draft: Draft) {
        let mut id = [0; 10];
        ruche_domain::ports::Random::fill(random, &mut id);
        let before = &self.drafts[at.saturating_sub(1)];
        draft.event.event_id = EventId::v7(before.recorded_at.as_millis(), id);
        (draft.append, draft.recorded_at) = (before.append, before.recorded_at);
        self.drafts.insert(at, draft);
    }

    /// Changes one member of a payload.
    fn change(&mut self, random: &SeededRandom, one: usize) -> String {
        let mut members = Vec::new();
        pointers(&self.drafts[one].payload, String::new(), &mut members);
        if members.is_empty() {
            self.drafts[one].payload = json!({ "attempt": u32::MAX });
            return "nothing was in it".to_owned();
        }
        let pointer = members.swap_remove(Self::pick(random, members.len()));
        let name = pointer.rsplit('/').find(|name| name.parse::<usize>().is_err());
        let known = &self.seen[name.expect("a member has a name")];
        let strange = [
            json!(0),
            json!(u32::MAX),
            json!(u64::MAX),
            json!(null),
            json!([]),
            json!({}),
            json!("?"),
            json!(true),
        ];
        let value = match Self::pick(random, 2) {
            0 => known[Self::pick(random, known.len())].clone(),
            _ => strange[Self::pick(random, strange.len())].clone(),
        };
        let told = format!("{pointer} is {value}");
        *self.drafts[one]
            .payload
            .pointer_mut(&pointer)
            .expect("it was found") = value;
        told
    }

    /// What is written of a draft. A vote that was real is signed anew: it names the leaf of its request, which is another
    /// one here.
    async fn signed(&self, store: &dyn EventStore, ledger: LedgerId, draft: &Draft) -> Value {
        let mut payload = draft.payload.clone();
        let is_vote = draft.event.event_type == "approval.voted" && self.votes.contains(&payload);
        let decision = if payload["decision"] == "approve" {
            ApprovalDecision::Approve
        } else {
            ApprovalDecision::Reject
        };
        if is_vote {
            let approval = ApprovalId(draft.event.stream.id);
            if let Some(signed) = vote(store, ledger, approval, decision).await {
                payload["signature"] = signed.into();
            }
        }
        payload
    }

    /// A ledger of it.
    pub async fn write(&self, ledger: LedgerId) -> Arc<MemoryStore> {
        let random = SeededRandom::new(3);
        let clock = Arc::new(FixedClock::at(0));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let opening = Author::new(1).opening(ledger, 1, None);
        store.open_epoch(ledger, opening).await.expect("a ledger");
        for append in self.drafts.chunk_by(|a, b| a.append == b.append) {
            clock
                .0
                .store(append[0].recorded_at.0, std::sync::atomic::Ordering::SeqCst);
            let mut prepared = Vec::new();
            for draft in append {
                let payload = self.signed(&*store, ledger, draft).await;
                let payload = Fragment::plain(&random, JSON, payload.to_string().into_bytes());
                prepared.push(PreparedEvent {
                    event: draft.event.clone(),
                    payload: vec![payload.expect("it is small")],
                });
            }
            let request = AppendRequest::new(vec![], prepared, vec![]).expect("a few events");
            let appended = store.append(ledger, request).await;
            assert!(
                matches!(appended, Ok(AppendOutcome::Appended { .. })),
                "{appended:?}"
            );
        }
        store
    }
}

/// All values of members, by their name.
fn collect(value: &Value, seen: &mut BTreeMap<String, Vec<Value>>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                seen.entry(name.clone()).or_default().push(value.clone());
                collect(value, seen);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, seen)),
        _ => {}
    }
}

/// Where all members and items are.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, item)| (n.to_string(), item))
            .collect(),
        _ => return,
    };
    for (name, value) in inner {
        let pointer = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        found.push(pointer.clone());
        pointers(value, pointer, found);
    }
}

pub(super) async fn report_on(store: Arc<MemoryStore>, ledger: LedgerId) -> Report {
    let verification = Verification {
        events: store.clone(),
        trees: store,
        heads: Arc::new(MemoryTreeHeads::default()),
        keys: keys(9),
    };
    let report = verification
        .verify(ledger, Range::default(), &Budget::unbounded(), &|_, _| ())
        .await;
    report.expect("the ledger is read")
}

/// What everything is at the end.
async fn states(store: Arc<MemoryStore>, ledger: LedgerId, all: Vec<What>) {
    let head = store.head(ledger).await.expect("a head");
    let last = head.and_then(|head| head.last_position()).expect("a record");
    let at = StateAt::new(store, ledger, last, Budget::unbounded())
        .await
        .expect("the ledger is there");
    for what in all {
        at.of(what, None).await.expect("a state");
    }
}

#[tokio::test]
async fn nothing_that_is_forged_stops_a_verification() {
    let (mut forged, mut found, mut undecided) = (0, 0, 0);
    for seed in 1..=6 {
        let world = World::of(seed, 130).await;
        let forger = Forger::of(&world).await;
        let lanes = world.crowd.lanes().into_iter().map(What::Lane);
        let approvals = world.crowd.approvals().iter().copied().map(What::Approval);
        let sessions = world.crowd.sessions().into_iter().map(What::Session);
        let turns = world.lanes().await.into_iter().flat_map(|lane| lane.turns);
        let turns = turns.take(3).map(|turn| What::Turn(turn.id));
        let all: Vec<What> = lanes.chain(approvals).chain(sessions).chain(turns).collect();
        let as_it_was = report_on(forger.write(world.ledger).await, world.ledger).await;
        assert_eq!(as_it_was.findings, [], "seed {seed}");
        for number in 0..40 {
            let random = SeededRandom::new(seed * 1_000 + number);
            let mut copy = forger.clone();
            let told: Vec<String> = (0..=number % 3).map(|_| copy.forge(&random)).collect();
            let store = copy.write(world.ledger).await;
            tokio::spawn(states(store.clone(), world.ledger, all.clone()))
                .await
                .unwrap_or_else(|panic| panic!("seed {seed}, {number}: {told:?}: {panic}"));
            let report = tokio::spawn(report_on(store, world.ledger))
                .await
                .unwrap_or_else(|panic| panic!("seed {seed}, {number}: {told:?}: {panic}"));
            // The net was not needed.
            assert!(
                !report.counts.contains_key(report::JUDGEMENT_STOPPED),
                "seed {seed}, {number}: {told:?}: {report:?}"
            );
            assert_eq!(report.next, None, "it came to the end");
            forged += 1;
            found += u64::from(report.total() > 0);
            undecided += u64::from(!report.not_covered.is_empty());
        }
    }
    assert!(
        found * 10 > forged * 6,
        "something was wrong in {found} of {forged}"
    );
    assert!(undecided > 5, "{undecided} stood as no command leaves a lane");
}

/// The machine cannot finish a turn whose end nobody named.
#[tokio::test]
async fn a_turn_that_winds_down_towards_nothing_is_a_finding() {
    let is_it = |call: &CallView| call.side_effect == "compensatable" && call.effect == Some("completed");
    for seed in 1..40 {
        let world = World::of(seed, 120).await;
        let running = world.lanes().await.into_iter().find_map(|lane| {
            let turn = lane.turns.iter().find(|turn| turn.state == "processing")?;
            Some((lane.id, turn.calls.iter().find(|call| is_it(call))?.clone()))
        });
        let Some((lane, call)) = running else { continue };
        let stream = lane_stream(lane);
        let forged = world
            .forge(stream, call.turn, None, TurnCompensating::new(vec![]))
            .await;
        let started = ToolCompensationStarted::new("free_seat".to_owned());
        world.forge(stream, call.turn, Some(&call), started).await;
        world
            .forge(stream, call.turn, Some(&call), ToolCompensated::default())
            .await;
        let report = world.report(Range::default()).await;
        let first = &report.findings[0];
        assert_eq!(
            (first.name, first.position),
            (report::ILLEGAL_TRANSITION, Some(forged)),
            "{report:?}"
        );
        assert!(
            !report.counts.contains_key(report::JUDGEMENT_STOPPED),
            "{report:?}"
        );
        let undecided: Vec<_> = report
            .not_covered
            .iter()
            .map(|not| (not.what, not.count))
            .collect();
        assert_eq!(
            undecided,
            [("appends of lanes that stand as no command leaves them", 2)]
        );
        return;
    }
    panic!("no turn that runs had done anything");
}

pub(super) fn id(kind: u128, number: u128) -> Uuid {
    Uuid::from_u128((kind << 64) + number)
}

/// A call that a decision handed on names the turn before, and so on: as far back as the lane goes.
#[test]
fn turns_that_name_each_other_come_back_however_many_they_are() {
    let many = 30_000;
    let (mut lane, mut settled) = (Lane::default(), Settled::default());
    let event =
        |number: u128, call: Option<CallId>, approval: Option<ApprovalId>, fact: AgentEvent| LaneEvent {
            at: Micros(1),
            turn: TurnId(id(1, number)),
            call,
            approval,
            fact,
        };
    for number in 1..=many {
        let (call, approval) = (CallId(id(2, number)), ApprovalId(id(3, number)));
        let rule = ApprovalRule::new(1);
        let requested = ApprovalRequested::new(Digest([0; 32]), rule, Micros(2), ApprovalMode::Detached);
        for event in [
            event(number, None, None, TurnOpened::new(TurnTrigger::User).into()),
            event(
                number,
                Some(call),
                None,
                ToolProposed::new("tool".to_owned(), "{}".to_owned()).into(),
            ),
            event(number - 1, Some(call), Some(approval), requested.into()),
            event(
                number - 1,
                Some(call),
                Some(approval),
                ApprovalCancelled::new("over".to_owned()).into(),
            ),
            event(number, None, None, TurnCancelled::default().into()),
        ] {
            lane.apply(&event);
        }
        settled.put_away(&mut lane);
    }
    assert_eq!(lane.turns.len(), 0);
    settled.bring_back(
        &mut lane,
        [&event(many, None, None, TurnCancelled::default().into())],
    );
    assert_eq!(lane.turns.len() as u128, many);
}

#[tokio::test]
async fn a_lane_with_more_than_is_decided_on_is_let_go() {
    let world = World::of(1, 0).await;
    let stream = StreamId::new(Category::Lane, id(9, 9));
    let draft = |number: usize, event_type: &str, payload: Value| {
        let mut event = ACFEvent::new(
            EventId::v7(1, [0; 10]),
            stream,
            event_type,
            SchemaVersion(1),
            Micros(1),
            Actor::SYSTEM,
        );
        event.event_id = EventId::from_bytes(id(8, number as u128).into_bytes());
        event.turn = Some(TurnId(id(1, number as u128)));
        Draft {
            event,
            payload,
            recorded_at: Micros(1),
            append: (number / EVENTS_PER_APPEND_MAX) as u64,
        }
    };
    // One that cannot be read, so that nothing is decided on the lane and the test is quick.
    let unreadable = draft(0, "turn.sealed", json!([]));
    let opened =
        (1..14 * EVENTS_PER_APPEND_MAX).map(|n| draft(n, "turn.opened", json!({ "trigger": "user" })));
    let forger = Forger {
        drafts: std::iter::once(unreadable).chain(opened).collect(),
        seen: BTreeMap::new(),
        votes: Vec::new(),
    };
    let report = report_on(forger.write(world.ledger).await, world.ledger).await;
    let undecided: Vec<_> = report
        .not_covered
        .iter()
        .map(|not| (not.what, not.count))
        .collect();
    let expected = [
        ("appends of lanes behind a payload that is gone", 13),
        (
            "appends of lanes with more that is not over than is decided on",
            1,
        ),
    ];
    assert_eq!(undecided, expected);
}
