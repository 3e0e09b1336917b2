//! Ledgers that the real pipeline wrote hold; what was written past it is found where it stands.

use std::sync::Arc;

use ruche_commands::governed::lane_stream;
use ruche_commands::lane::TurnState;
use ruche_commands::testing::{NoObjection, TestLedger};
use ruche_domain::envelope::{ACFEvent, Actor};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalOutcome, ApprovalResolved, ToolCompleted, ToolStarted, TurnCommitted, TurnReadied, TurnStarted,
};
use ruche_domain::ids::{EventId, LaneId, LedgerId, SessionId, TurnId};
use ruche_domain::numbers::{Micros, Position, SchemaVersion, StreamVersion};
use ruche_domain::ports::Clock;
use ruche_domain::stream::StreamId;
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::memory::{MemoryStore, MemoryTreeHeads};
use ruche_ledger::note::NoteSigner;
use ruche_ledger::payload::{Fragment, JSON};
use ruche_ledger::seal::{LogKeys, Sealer};
use ruche_ledger::store::{AppendOutcome, AppendRequest, EventStore, PreparedEvent, Receipt};
use ruche_ledger::testing::{FixedClock, SeededRandom};

use super::*;
use crate::testing::Crowd;
use crate::{CallView, LaneView, StateAt, TurnView, View, What};

mod bounds;
mod forged;
mod live;
mod long;
mod old;
mod states;

struct Keys(MasterSeed);

impl LogKeys for Keys {
    fn signer(&self, origin: &str) -> NoteSigner {
        self.0.log_signer(origin).expect("an origin is a name")
    }

    fn label(&self, ledger: LedgerId) -> [u8; 16] {
        self.0.origin_label(ledger)
    }
}

fn keys(seed: u8) -> Arc<Keys> {
    Arc::new(Keys(MasterSeed::from_slice(&[seed; 32]).expect("32 bytes")))
}

/// A ledger in memory in which a crowd did things.
struct World {
    store: Arc<MemoryStore>,
    heads: Arc<MemoryTreeHeads>,
    clock: Arc<FixedClock>,
    crowd: Crowd,
    ledger: LedgerId,
    random: SeededRandom,
}

impl World {
    async fn of(seed: u64, steps: usize) -> Self {
        let clock = Arc::new(FixedClock::at(1_767_571_200_000_000));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let TestLedger {
            commands, context, ..
        } = TestLedger::on(store.clone(), clock.clone(), Arc::new(NoObjection)).await;
        let ledger = context.ledger;
        let mut crowd = Crowd::new(Arc::new(commands), store.clone(), clock.clone(), context, seed).await;
        for _ in 0..steps {
            crowd.step().await;
        }
        Self {
            store,
            heads: Arc::default(),
            clock,
            crowd,
            ledger,
            random: SeededRandom::new(seed),
        }
    }

    fn verification(&self) -> Verification {
        Verification {
            events: self.store.clone(),
            trees: self.store.clone(),
            heads: self.heads.clone(),
            keys: keys(9),
        }
    }

    async fn report(&self, range: Range) -> Report {
        let verified = self
            .verification()
            .verify(self.ledger, range, &Budget::unbounded(), &|_, _| ())
            .await;
        verified.expect("the ledger is read")
    }

    async fn seal(&self, seed: u8) {
        let sealer = Sealer {
            events: self.store.clone(),
            trees: self.store.clone(),
            heads: self.heads.clone(),
            keys: keys(seed),
        };
        sealer.seal(self.ledger).await.expect("it is sealed");
    }

    async fn last(&self) -> Position {
        let head = self.store.head(self.ledger).await.expect("a head");
        head.and_then(|head| head.last_position()).expect("a record")
    }

    /// All lanes as they are.
    async fn lanes(&self) -> Vec<LaneView> {
        let last = self.last().await;
        let at = StateAt::new(self.store.clone(), self.ledger, last, Budget::unbounded()).await;
        let at = at.expect("the ledger is there");
        let mut lanes = Vec::new();
        for lane in self.crowd.lanes() {
            if let Some(View::Lane(lane)) = at.of(What::Lane(lane), None).await.expect("a state").state {
                lanes.push(lane);
            }
        }
        lanes
    }

    /// A turn in a state, with its lane.
    async fn turn(&self, state: TurnState) -> (LaneId, TurnView) {
        let of_state = |lane: LaneView| {
            let turn = lane.turns.into_iter().find(|turn| turn.state == state.name());
            turn.map(|turn| (lane.id, turn))
        };
        let found = self.lanes().await.into_iter().find_map(of_state);
        found.unwrap_or_else(|| panic!("no turn is {}", state.name()))
    }

    /// A call, with its lane.
    async fn call(&self, is_it: impl Fn(&CallView) -> bool) -> (LaneId, CallView) {
        for lane in self.lanes().await {
            if let Some(call) = lane.calls().find(|call| is_it(call)) {
                return (lane.id, call.clone());
            }
        }
        panic!("no such call");
    }

    /// Whose a turn is, as its events in a stream say.
    async fn session(&self, stream: StreamId, turn: TurnId) -> Option<SessionId> {
        let records = self
            .store
            .read_stream(self.ledger, stream, StreamVersion::FIRST, 1_000);
        let records = records.await.expect("the ledger is read");
        let of_turn = records.iter().find(|record| record.leaf.event.turn == Some(turn));
        of_turn.and_then(|record| record.leaf.event.session)
    }

    /// Writes an event past the pipeline.
    async fn forge(
        &self,
        stream: StreamId,
        turn: TurnId,
        call: Option<&CallView>,
        fact: impl Into<AgentEvent>,
    ) -> Position {
        let fact = fact.into();
        let mut id = [0; 10];
        ruche_domain::ports::Random::fill(&self.random, &mut id);
        let now = self.clock.now();
        let event = ACFEvent {
            session: self.session(stream, turn).await,
            turn: Some(turn),
            call: call.map(|call| call.id),
            ..ACFEvent::new(
                EventId::v7(now.as_millis(), id),
                stream,
                fact.event_type(),
                SchemaVersion(1),
                now,
                Actor::SYSTEM,
            )
        };
        let payload = Fragment::plain(&self.random, JSON, fact.to_payload()).expect("it is small");
        let event = PreparedEvent {
            event,
            payload: vec![payload],
        };
        let request = AppendRequest::new(vec![], vec![event], vec![]).expect("one event");
        match self
            .store
            .append(self.ledger, request)
            .await
            .expect("it is appended")
        {
            AppendOutcome::Appended { receipts, .. } => {
                receipts.iter().map(|Receipt { position, .. }| *position).next()
            }
            other => panic!("{other:?}"),
        }
        .expect("one record")
    }
}

#[tokio::test]
async fn a_ledger_of_the_pipeline_holds() {
    let (mut decided, mut votes) = (0, 0);
    for seed in 1..=16 {
        let world = World::of(seed, 200).await;
        let report = world.report(Range::default()).await;
        assert_eq!(report.findings, [], "seed {seed}");
        assert_eq!(
            (report.exit_code(), report.not_covered.len()),
            (0, 0),
            "seed {seed}"
        );
        assert!(report.decided.keys > 50, "{report:?}");
        decided += report.decided.appends;
        votes += report.decided.votes;
    }
    assert!(
        decided > 600 && votes > 20,
        "{decided} appends and {votes} votes were decided again"
    );
}

#[tokio::test]
async fn what_was_written_past_the_pipeline_is_found_where_it_stands() {
    // Each plants one fault in a ledger of its own and says where it stands.
    let found = async |world: &World, position: Position, name: &str| {
        let report = world.report(Range::default()).await;
        let is_there = report
            .findings
            .iter()
            .any(|fault| fault.name == name && fault.position == Some(position));
        assert!(is_there, "{name} at {position}: {:?}", report.findings);
        assert_eq!(report.exit_code(), 2);
        // Nothing in front of it is called wrong.
        assert!(
            report
                .findings
                .iter()
                .all(|fault| fault.position >= Some(position)),
            "{report:?}"
        );
    };
    for (state, number) in [
        (TurnState::Committed, 0),
        (TurnState::Superseded, 0),
        (TurnState::Committed, 1),
        (TurnState::Committed, 2),
    ] {
        let world = World::of(5, 200).await;
        let (lane, turn) = world.turn(state).await;
        let stream = lane_stream(lane);
        let position = match number {
            0 => {
                world
                    .forge(stream, turn.id, None, TurnStarted::new(turn.attempts + 1))
                    .await
            }
            1 => world.forge(stream, turn.id, None, TurnCommitted::default()).await,
            _ => {
                world
                    .forge(stream, turn.id, None, TurnReadied::new(1, Micros(0)))
                    .await
            }
        };
        found(&world, position, "ILLEGAL_TRANSITION").await;
    }

    // A call that was done is done again.
    let world = World::of(5, 200).await;
    let (lane, call) = world.call(|call| call.effect == Some("completed")).await;
    let position = world
        .forge(
            lane_stream(lane),
            call.turn,
            Some(&call),
            ToolCompleted::default(),
        )
        .await;
    found(&world, position, "ILLEGAL_TRANSITION").await;

    // What cannot be undone starts without an approval.
    let world = World::of(5, 200).await;
    let irreversible = |call: &CallView| call.side_effect == "irreversible" && call.effect.is_none();
    let (lane, call) = world.call(irreversible).await;
    let mut started = ToolStarted::new(call.tool.clone());
    started.side_effect = Some(ruche_domain::side_effect::SideEffectPolicy::Irreversible);
    let position = world
        .forge(lane_stream(lane), call.turn, Some(&call), started)
        .await;
    found(&world, position, "ILLEGAL_TRANSITION").await;
    found(&world, position, "EFFECT_WITHOUT_APPROVAL").await;

    // An approval that nobody gave.
    let world = World::of(5, 200).await;
    let (_, call) = world.call(irreversible).await;
    let approval = call.approval.expect("it was asked for");
    let stream = ruche_commands::governed::approval_stream(approval);
    let resolved = ApprovalResolved::new(ApprovalOutcome::Approved);
    let position = world.forge(stream, call.turn, Some(&call), resolved).await;
    found(&world, position, "DECISION_WITHOUT_VOTE").await;
}

#[tokio::test]
async fn a_lease_that_was_given_before_is_found() {
    for seed in 1..40 {
        let world = World::of(seed, 120).await;
        let ready = world.lanes().await.into_iter().find_map(|lane| {
            let turn = lane.turns.iter().find(|turn| turn.state == "ready");
            turn.cloned().map(|turn| (lane.id, lane.lease_epoch, turn))
        });
        let Some((lane, epoch, turn)) = ready.filter(|(_, epoch, _)| *epoch > 0) else {
            continue;
        };
        let mut started = TurnStarted::new(turn.attempts + 1);
        started.lease_id = Some("again".to_owned());
        started.lease_epoch = Some(epoch);
        started.lease_expires_at = Some(Micros(world.clock.now().0 + turn.settings.lease_us));
        let position = world.forge(lane_stream(lane), turn.id, None, started).await;
        let report = world.report(Range::default()).await;
        // The judge of the records says so, and the machine would not have decided it.
        let found: Vec<_> = report
            .findings
            .iter()
            .map(|fault| (fault.name, fault.position))
            .collect();
        let expected = ["LEASE_OUT_OF_ORDER", "ILLEGAL_TRANSITION"].map(|name| (name, Some(position)));
        assert_eq!(found, expected, "{report:?}");
        return;
    }
    panic!("no turn was ever ready");
}

#[tokio::test]
async fn only_the_range_is_reported_and_an_append_is_not_cut() {
    let world = World::of(5, 200).await;
    let (lane, turn) = world.turn(TurnState::Committed).await;
    let fault = world
        .forge(lane_stream(lane), turn.id, None, TurnCommitted::default())
        .await;
    let behind = world
        .forge(lane_stream(lane), turn.id, None, TurnCommitted::default())
        .await;
    let range = |from, to| Range {
        from: Some(from),
        to: Some(to),
    };
    let before = Position::new(1, fault.index.0 - 1);
    assert_eq!(world.report(range(Position::START, before)).await.findings, []);
    let one = world.report(range(fault, fault)).await;
    assert_eq!(
        (one.records, one.records_read, one.total()),
        (1, fault.index.0 + 1, 1),
        "{one:?}"
    );
    let later = world.report(range(behind, behind)).await;
    assert_eq!(later.findings[0].position, Some(behind));

    // The session's turn and what it was opened by came in one append.
    let records = world
        .store
        .read_ledger(world.ledger, Position::START, 1_000)
        .await
        .expect("records");
    let several = records
        .iter()
        .find(|record| record.leaf.append.count > 1)
        .expect("an append of several");
    let whole = world.report(range(several.position, several.position)).await;
    assert_eq!(whole.records, u64::from(several.leaf.append.count));
    assert_eq!((whole.findings, whole.to > several.position), (vec![], true));

    let nowhere = Position::new(7, 0);
    for bad in [
        range(fault, before),
        range(Position::START, nowhere),
        range(nowhere, nowhere),
    ] {
        let refused = world
            .verification()
            .verify(world.ledger, bad, &Budget::unbounded(), &|_, _| ())
            .await;
        let refused = refused.expect_err("there is no such range");
        assert!(
            matches!(refused, ReplayError::NoRecord(_) | ReplayError::EmptyRange { .. }),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn tree_heads_are_checked_against_key_and_records() {
    let mut world = World::of(5, 60).await;
    let unsealed = world.report(Range::default()).await;
    assert_eq!(
        (unsealed.unsealed, unsealed.tree_heads.len()),
        (unsealed.records, 0)
    );
    world.seal(9).await;
    let sealed = world.report(Range::default()).await;
    assert_eq!(
        (sealed.findings.clone(), sealed.unsealed, sealed.tree_heads.len()),
        (vec![], 0, 2),
        "{sealed:?}"
    );
    // The tree head signs more than the range.
    let range = Range {
        from: None,
        to: Some(Position::new(1, 7)),
    };
    let part = world.report(range).await;
    assert_eq!(
        (part.findings.clone(), part.unsealed, part.tree_heads.len()),
        (vec![], 0, 2),
        "{part:?}"
    );
    for _ in 0..20 {
        world.crowd.step().await;
    }
    let grown = world.report(Range::default()).await;
    assert_eq!(grown.unsealed, grown.records - sealed.records);

    let other = World::of(5, 60).await;
    other.seal(8).await;
    let untrusted = other.report(Range::default()).await;
    assert_eq!(
        untrusted.counts.keys().copied().collect::<Vec<_>>(),
        ["TREE_HEAD_UNTRUSTED"],
        "{untrusted:?}"
    );

    // A promise of another ledger with other records, and a longer one.
    let longer = World::of(5, 90).await;
    longer.seal(9).await;
    let mut short = World::of(5, 60).await;
    short.heads = longer.heads.clone();
    let lost = short.report(Range::default()).await;
    assert_eq!(
        lost.counts.keys().copied().collect::<Vec<_>>(),
        ["TAIL_MISSING"],
        "{lost:?}"
    );
    let mut forked = World::of(6, 200).await;
    forked.heads = longer.heads.clone();
    let fork = forked.report(Range::default()).await;
    assert_eq!(
        fork.counts.keys().copied().collect::<Vec<_>>(),
        ["ROOT_MISMATCH"],
        "{fork:?}"
    );
}

#[tokio::test]
async fn a_key_that_stands_twice_is_found() {
    let world = World::of(5, 20).await;
    let records = world
        .store
        .read_ledger(world.ledger, Position::START, 100)
        .await
        .expect("records");
    let first = records
        .iter()
        .find(|record| !record.leaf.keys.is_empty())
        .expect("a key");
    let again = Record {
        position: Position::new(1, 90),
        ..first.clone()
    };
    let mut other = again.clone();
    other.position = Position::new(1, 91);
    other.leaf.keys.iter_mut().for_each(|claim| claim.request[0] ^= 1);
    let mut collected = Collected::new(Position::START, Position::new(1, 99));
    let mut keys = super::keys::Keys::default();
    keys.take(first, &mut collected);
    keys.take(&again, &mut collected);
    keys.take(&other, &mut collected);
    let report = collected.report(3);
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|found| (found.name, found.position))
        .collect();
    let repeated = |at: &Record| (report::KEY_REPEATED, Some(at.position));
    assert_eq!(found, [repeated(&again), repeated(&other)]);
    assert!(
        report.findings[0].detail.ends_with("carried out twice"),
        "{report:?}"
    );
    assert!(
        report.findings[1].detail.ends_with("had to be refused"),
        "{report:?}"
    );
    assert_eq!(report.decided.keys, first.leaf.keys.len() as u64);
}
