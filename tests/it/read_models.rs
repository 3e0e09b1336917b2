//! The read models of turns follow the machine: after every event of random courses of a lane, they say of each turn what
//! the machine says.

use std::sync::Arc;

use ruche_commands::lane::{
    self, ChannelSettings, ClaimTurn, CommitTurn, EffectOutcome, FailTurn, Held, Intent, Lane, LaneCommand,
    LaneEvent, LeaseProof, ProposeAction, ReportCompensation, ReportEffect, ResolveApproval, ResolveOutcome,
    StartCompensation, StartEffect, SubmitMessage, TurnState, Undone,
};
use ruche_domain::envelope::{ACFEvent, Actor};
use ruche_domain::events::{
    ApprovalMode, ApprovalOutcome, ApprovalRequested, ApprovalResolved, ApprovalRule, AssertedOutcome,
    InterventionPoint, MessageReceived, PolicyEvaluated, PolicyVerdict, Role, ToolCompensated,
    ToolCompensationFailed, ToolCompensationStarted, ToolCompleted, ToolFailed, ToolOutcomeAsserted,
    ToolOutcomeUnknown, ToolProposed, ToolStarted, TurnCommitted, TurnStrategy,
};
use ruche_domain::ids::{ApprovalId, CallId, EventId, LedgerId, MessageId, SessionId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Micros;
use ruche_domain::ports::Random;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::payload::{Fragment, JSON};
use ruche_ledger::store::{AppendOutcome, AppendRequest, EventStore, PreparedEvent};
use ruche_ledger::testing::{Author, FixedClock, SeededRandom};
use ruche_projections::lanes::{self, LaneTurnState};
use ruche_projections::runner::Runner;
use ruche_projections::store::ReadStore;
use ruche_projections::turns::{self, TurnStatus};
use ruche_projections_sqlite::SqliteReadStore;
use uuid::Uuid;

const START: Micros = Micros(1_700_000_000_000_000);
/// Courses that are followed side by side, each in a lane of its own.
const LANES: u64 = 64;
/// Commands that are tried in each.
const STEPS: usize = 160;

/// A lane, and what was decided in it and not yet told to the read models.
struct Course {
    lane: Lane,
    id: Uuid,
    now: Micros,
    settings: ChannelSettings,
    random: SeededRandom,
    told: Lane,
    waiting: std::collections::VecDeque<LaneEvent>,
}

impl Course {
    fn new(number: u64) -> Self {
        let strategies = [TurnStrategy::CancelInProgress, TurnStrategy::Queue];
        let modes = [ApprovalMode::Blocking, ApprovalMode::Detached];
        Self {
            lane: Lane::default(),
            id: Uuid::from_u128(0xA000 + u128::from(number)),
            now: START,
            settings: ChannelSettings {
                strategy: strategies[number as usize % 2],
                approval_mode: modes[number as usize / 2 % 2],
                debounce_us: 1_000_000 * (number / 4 % 2),
                window_us_max: 5_000_000,
                attempts_max: 2,
                compensation_attempts_max: 2,
                ..ChannelSettings::default()
            },
            random: SeededRandom::new(number),
            told: Lane::default(),
            waiting: std::collections::VecDeque::new(),
        }
    }

    fn below(&self, bound: usize) -> usize {
        self.random.next() as usize % bound
    }

    fn fresh(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes);
        Uuid::from_bytes(bytes)
    }

    /// Tries one command.
    fn step(&mut self) {
        let intent = self.intent();
        let command = LaneCommand {
            now: self.now,
            settings: self.settings.clone(),
            layers: Vec::new(),
            intent,
        };
        if let Ok(decided) = lane::explain(&self.lane, &command) {
            self.lane = decided.lane;
            self.waiting.extend(decided.events);
        }
    }

    fn intent(&mut self) -> Intent {
        let new_turn = TurnId(self.fresh());
        let turn = self.lane.holder().or(self.lane.turns.last());
        let turn = turn.map_or(new_turn, |turn| turn.id);
        match self.below(24) {
            0..3 => Intent::SubmitMessage(SubmitMessage {
                flush: false,
                message_id: MessageId(self.fresh()),
                message: MessageReceived::new(Role::User),
                agent_id: Some("shop".to_owned()),
                new_turn,
            }),
            // What is due first happens.
            3 | 4 => {
                let next = self.lane.next_timer().map_or(self.now, |(at, _)| at);
                self.now = self.now.max(next);
                Intent::FireTimer { new_turn }
            }
            5 => Intent::CancelTurn(lane::CancelTurn {
                turn,
                by: None,
                reason: None,
            }),
            6 => Intent::CommitTurn(self.held(CommitTurn {
                committed: TurnCommitted::default(),
                response: None,
            })),
            7 => Intent::FailTurn(self.held(FailTurn {
                error_type: "broken".to_owned(),
                error: None,
                retryable: self.below(2) == 0,
            })),
            8..10 => self.claim(),
            10..14 => self.proposal(),
            _ => self.about_call().unwrap_or_else(|| self.claim()),
        }
    }

    fn claim(&mut self) -> Intent {
        let ready = self.lane.holder().and_then(|turn| turn.not_before);
        self.now = self.now.max(ready.unwrap_or(self.now));
        Intent::ClaimTurn(ClaimTurn {
            lease_id: self.fresh().to_string(),
            brain_build: None,
        })
    }

    fn held<T>(&self, what: T) -> Held<T> {
        let turn = self.lane.holder().or(self.lane.turns.last());
        let lease = turn.and_then(|turn| turn.lease.as_ref());
        Held {
            turn: turn.map_or(TurnId(Uuid::nil()), |turn| turn.id),
            lease: LeaseProof {
                id: lease.map_or_else(String::new, |lease| lease.id.clone()),
                epoch: lease.map_or(0, |lease| lease.epoch),
            },
            what,
        }
    }

    fn proposal(&self) -> Intent {
        let (call, digest) = (CallId(self.fresh()), Digest([3; 32]));
        let mut proposed = ToolProposed::new("tool".to_owned(), "{}".to_owned());
        proposed.side_effect = Some(SideEffectPolicy::ALL[self.below(4)]);
        proposed.action_digest = Some(digest);
        proposed.business_key = Some(call.to_string());
        let evaluated = PolicyEvaluated::new(
            "decision".to_owned(),
            InterventionPoint::PreToolCall,
            PolicyVerdict::Allow,
            digest,
            digest,
        );
        let mode = ApprovalMode::Blocking;
        let request = ApprovalRequested::new(digest, ApprovalRule::new(1), Micros(0), mode);
        Intent::ProposeAction(self.held(ProposeAction {
            call,
            proposed,
            evaluated,
            approval: Some((ApprovalId(call.0), request)),
        }))
    }

    /// The next thing that may happen to a call that is not settled.
    fn about_call(&self) -> Option<Intent> {
        let holder = self.lane.holder()?;
        let calls: Vec<&lane::Call> = self.lane.calls_of(holder.id).collect();
        let open = self.lane.approvals.values();
        let mut open = open.filter(|approval| approval.state == lane::ApprovalState::Requested);
        if let Some(approval) = open.next_back() {
            let outcomes = [ApprovalOutcome::Approved, ApprovalOutcome::Rejected];
            return Some(Intent::ResolveApproval(ResolveApproval {
                approval: approval.id,
                resolved: ApprovalResolved::new(outcomes[self.below(2)]),
                binding: approval.binding,
                changed: Vec::new(),
                new_turn: TurnId(self.fresh()),
            }));
        }
        let call = *calls.get(self.below(calls.len().max(1)))?;
        let id = call.id;
        Some(match (holder.state, call.is_in_flight()) {
            (TurnState::Compensating, _) if call.is_being_undone => {
                let outcome = match self.below(2) {
                    0 => Undone::Compensated(ToolCompensated::default()),
                    _ => Undone::Failed(ToolCompensationFailed::new("busy".to_owned())),
                };
                Intent::ReportCompensation(ReportCompensation { call: id, outcome })
            }
            (TurnState::Compensating, _) => Intent::StartCompensation(StartCompensation {
                call: id,
                started: ToolCompensationStarted::new("undo".to_owned()),
            }),
            (_, true) => Intent::ReportEffect(self.held(ReportEffect {
                call: id,
                outcome: match self.below(4) {
                    0 => EffectOutcome::Failed(ToolFailed::default()),
                    1 => EffectOutcome::Unknown(ToolOutcomeUnknown::new("lost".to_owned())),
                    _ => EffectOutcome::Completed(ToolCompleted::default()),
                },
            })),
            (_, false) if call.is_in_doubt() => Intent::ResolveOutcome(ResolveOutcome {
                call: id,
                asserted: ToolOutcomeAsserted::new(
                    AssertedOutcome::Completed,
                    "ann".to_owned(),
                    "looked it up".to_owned(),
                ),
            }),
            (_, false) => {
                let mut started = ToolStarted::new("tool".to_owned());
                started.lapses_at = (self.below(2) == 0).then(|| Micros(self.now.0 + 1_000_000));
                Intent::StartEffect(self.held(StartEffect {
                    call: id,
                    started,
                    changed: Vec::new(),
                }))
            }
        })
    }

    /// The next event that the read models are told.
    fn tell(&mut self) -> Option<PreparedEvent> {
        let event = self.waiting.pop_front()?;
        self.told.apply(&event);
        let stream = match event.approval {
            Some(approval) => StreamId::new(Category::Approval, approval.0),
            None => StreamId::new(Category::Lane, self.id),
        };
        let mut id = [0; 10];
        self.random.fill(&mut id);
        let header = ACFEvent {
            session: Some(SessionId(self.id)),
            turn: Some(event.turn),
            call: event.call,
            ..ACFEvent::new(
                EventId::v7(event.at.0 / 1_000, id),
                stream,
                event.fact.event_type(),
                event.fact.schema_version(),
                event.at,
                Actor::SYSTEM,
            )
        };
        let payload = Fragment::plain(&self.random, JSON, event.fact.to_payload()).expect("it is small");
        Some(PreparedEvent {
            event: header,
            payload: vec![payload],
        })
    }
}

/// As the read model of turns says it.
fn status(state: TurnState) -> TurnStatus {
    match state {
        TurnState::Accumulating => TurnStatus::Accumulating,
        TurnState::Queued => TurnStatus::Queued,
        TurnState::Ready => TurnStatus::Ready,
        TurnState::Processing => TurnStatus::Processing,
        TurnState::AwaitingApproval => TurnStatus::AwaitingApproval,
        TurnState::Cancelling => TurnStatus::Cancelling,
        TurnState::Compensating => TurnStatus::Compensating,
        TurnState::Committed => TurnStatus::Committed,
        TurnState::Superseded => TurnStatus::Superseded,
        TurnState::Cancelled => TurnStatus::Cancelled,
        TurnState::Failed => TurnStatus::Failed,
    }
}

/// As the read model of lanes says it of the turn that holds one.
fn holding(state: TurnState) -> Option<LaneTurnState> {
    Some(match state {
        TurnState::Ready => LaneTurnState::Ready,
        TurnState::Processing => LaneTurnState::Processing,
        TurnState::AwaitingApproval => LaneTurnState::AwaitingApproval,
        TurnState::Cancelling => LaneTurnState::Cancelling,
        TurnState::Compensating => LaneTurnState::Compensating,
        _ => return None,
    })
}

async fn compare(store: &dyn ReadStore, ledger: LedgerId, course: &Course, after: &str) {
    let ids: Vec<TurnId> = course.told.turns.iter().map(|turn| turn.id).collect();
    let shown = turns::by_ids(store, ledger, &ids)
        .await
        .expect("they can be read");
    for turn in &course.told.turns {
        let shown = shown
            .iter()
            .find(|shown| shown.id == turn.id)
            .expect("it is shown");
        assert_eq!(shown.status, status(turn.state), "{after} of lane {}", course.id);
    }
    let lane = ruche_domain::ids::LaneId(course.id);
    let lane = lanes::by_id(store, ledger, lane).await.expect("it can be read");
    let Some(lane) = lane else { return };
    // Within an append a turn that waited is superseded while another one holds the lane: then two are on their way out.
    let holding_now = course.told.turns.iter().filter(|turn| turn.state.holds_lane());
    if holding_now.count() > 1 {
        return;
    }
    let holder = course.told.holder();
    assert_eq!(
        lane.holder.map(|holder| (holder.turn, Some(holder.state))),
        holder.map(|turn| (turn.id, holding(turn.state))),
        "{after} of lane {}",
        course.id
    );
    // What is due may only be looked for too early, and never too late.
    if let Some((at, timer)) = course.told.next_timer() {
        assert!(
            lane.due_at.is_some_and(|due| due <= at),
            "{timer:?} after {after}"
        );
    }
}

#[tokio::test]
async fn the_read_models_of_turns_say_after_every_event_what_the_machine_says() {
    let mut courses: Vec<Course> = (0..LANES).map(Course::new).collect();
    for course in &mut courses {
        (0..STEPS).for_each(|_| course.step());
    }
    let store = Arc::new(MemoryStore::new(Arc::new(FixedClock::at(START.0))));
    let ledger = ruche_ledger::testing::ledger(1);
    let opening = Author::new(1).opening(ledger, 1, None);
    store.open_epoch(ledger, opening).await.expect("it is new");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let models = Arc::new(SqliteReadStore::open(folder.path()).expect("an empty folder"));
    let runner = Runner::new(store.clone(), models.clone());
    let mut seen = std::collections::BTreeSet::new();
    // One event of each course at a time: the next ones of an append may follow later.
    loop {
        let told: Vec<Option<PreparedEvent>> = courses.iter_mut().map(Course::tell).collect();
        let names: Vec<String> = told
            .iter()
            .map(|event| {
                event
                    .as_ref()
                    .map_or_else(String::new, |event| event.event.event_type.clone())
            })
            .collect();
        let events: Vec<PreparedEvent> = told.into_iter().flatten().collect();
        if events.is_empty() {
            break;
        }
        let request = AppendRequest::new(vec![], events, vec![]).expect("within the limits");
        let outcome = store.append(ledger, request).await.expect("it is appended");
        assert!(matches!(outcome, AppendOutcome::Appended { .. }));
        runner.catch_up(ledger).await.expect("nothing fails here");
        for (course, after) in courses.iter().zip(&names).filter(|(_, name)| !name.is_empty()) {
            compare(&*models, ledger, course, after).await;
        }
        seen.extend(names);
    }
    // A course that gets nowhere proves nothing.
    for event_type in [
        "turn.attempt_failed",
        "turn.supersede_refused",
        "turn.compensating",
        "tool.compensation_failed",
        "infra.manual_intervention_required",
        "approval.expired",
        "turn.queued",
    ] {
        assert!(seen.contains(event_type), "no course has {event_type}: {seen:?}");
    }
}
