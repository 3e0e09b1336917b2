//! The machine that decides and the table that judges were written apart. Whatever the machine decides, the judge has
//! nothing to say against it: random courses of commands, told to a ledger and verified.

use std::sync::Arc;

use ruche_commands::lane::{
    ChannelSettings, ClaimTurn, CommitTurn, EffectOutcome, FailTurn, Held, Intent, Lane, LaneCommand,
    LaneEvent, LeaseProof, OnDeny, ProposeAction, ReportCompensation, ReportEffect, ResolveApproval,
    ResolveOutcome, SentMessage, StartCompensation, StartEffect, SubmitMessage, TurnState, Undone, explain,
};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalMode, ApprovalOutcome, ApprovalRequested, ApprovalResolved, ApprovalRule, AssertedOutcome,
    InterventionPoint, MessageReceived, MessageSent, PolicyEvaluated, PolicyVerdict, Role, ToolCompensated,
    ToolCompensationFailed, ToolCompensationStarted, ToolCompleted, ToolFailed, ToolOutcomeAsserted,
    ToolOutcomeUnknown, ToolProposed, ToolRegistered, ToolStarted, TurnCommitted, TurnStrategy,
};
use ruche_domain::ids::{ApprovalId, CallId, MessageId, SessionId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Micros, Position, TreeSize};
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::store::{EventStore, PreparedEvent, Record};
use ruche_ledger::testing::{Author, FixedClock, SeededRandom, appended, ledger};
use ruche_ledger::verify::{FindingKind, Findings, RecordChecker};
use uuid::Uuid;

const COURSES: u64 = 200;
const STEPS: usize = 80;

/// A lane, and what is tried on it.
pub(super) struct Course {
    random: SeededRandom,
    pub(super) lane: Lane,
    pub(super) now: Micros,
    pub(super) settings: ChannelSettings,
    ids: u128,
}

impl Course {
    pub(super) fn new(seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let strategies = [
            TurnStrategy::Queue,
            TurnStrategy::CancelInProgress,
            TurnStrategy::RejectNew,
        ];
        let modes = [ApprovalMode::Blocking, ApprovalMode::Detached];
        let number = |end: u64| random.next() % end;
        let settings = ChannelSettings {
            strategy: strategies[number(3) as usize],
            approval_mode: modes[number(2) as usize],
            on_deny: if number(3) == 0 {
                OnDeny::Fail
            } else {
                OnDeny::Continue
            },
            debounce_us: number(2) * 1_000_000,
            window_us_max: 5_000_000,
            messages_max: 1 + number(3) as u32,
            coalesce_queued: number(2) == 0,
            retractable: number(2) == 0,
            attempts_max: 1 + number(3) as u32,
            compensation_attempts_max: 1 + number(2) as u32,
            ..ChannelSettings::default()
        };
        Self {
            random,
            lane: Lane::default(),
            now: Micros(1_000_000_000),
            settings,
            ids: 0,
        }
    }

    fn below(&self, end: usize) -> usize {
        (self.random.next() % end as u64) as usize
    }

    fn fresh(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    /// Something that somebody may try; much of it is refused.
    fn intent(&mut self) -> Intent {
        let choice = self.below(16);
        match choice {
            0 | 1 => Intent::SubmitMessage(SubmitMessage {
                flush: false,
                message_id: MessageId(self.fresh()),
                message: MessageReceived::new(Role::User),
                agent_id: None,
                new_turn: TurnId(self.fresh()),
            }),
            2 => self.fire(),
            3 | 4 => self.claim(),
            5 | 6 => self.propose(),
            7 => self.about_the_turn(),
            _ => self.about_a_call(),
        }
    }

    /// The clock goes to the next timer.
    fn fire(&mut self) -> Intent {
        if let Some((at, _)) = self.lane.next_timer() {
            self.now = self.now.max(at);
        }
        Intent::FireTimer {
            new_turn: TurnId(self.fresh()),
        }
    }

    fn claim(&mut self) -> Intent {
        if let Some(turn) = self.lane.accumulating() {
            return Intent::FlushTurn { turn: turn.id };
        }
        let not_before = self.lane.holder().and_then(|turn| turn.not_before);
        self.now = self.now.max(not_before.unwrap_or(self.now));
        Intent::ClaimTurn(ClaimTurn {
            lease_id: self.fresh().to_string(),
            brain_build: None,
        })
    }

    fn held<T>(&self, what: T) -> Held<T> {
        let lease = self.lane.holder().and_then(|turn| turn.lease.as_ref());
        Held {
            turn: self.lane.holder().map_or(TurnId(Uuid::nil()), |turn| turn.id),
            lease: LeaseProof {
                id: lease.map(|lease| lease.id.clone()).unwrap_or_default(),
                epoch: lease.map_or(0, |lease| lease.epoch),
            },
            what,
        }
    }

    fn propose(&mut self) -> Intent {
        let (call, approval) = (CallId(self.fresh()), ApprovalId(self.fresh()));
        let action = Digest([0xac; 32]);
        let effects = SideEffectPolicy::ALL;
        let effect = effects[self.below(effects.len())];
        let mut proposed = ToolProposed::new(effect.name().to_owned(), "{}".to_owned());
        proposed.side_effect = Some(effect);
        proposed.action_digest = Some(action);
        proposed.business_key = Some(call.to_string());
        let verdicts = [
            PolicyVerdict::Allow,
            PolicyVerdict::Allow,
            PolicyVerdict::RequireApproval,
            PolicyVerdict::Deny,
        ];
        let evaluated = PolicyEvaluated::new(
            "decision".to_owned(),
            InterventionPoint::PreToolCall,
            verdicts[self.below(4)],
            Digest([1; 32]),
            Digest([2; 32]),
        );
        let request = ApprovalRequested::new(action, ApprovalRule::new(1), Micros(0), ApprovalMode::Blocking);
        Intent::ProposeAction(self.held(ProposeAction {
            call,
            proposed,
            evaluated,
            approval: Some((approval, request)),
        }))
    }

    fn sent(&mut self) -> SentMessage {
        SentMessage {
            message_id: MessageId(self.fresh()),
            message: MessageSent::new(Role::Assistant),
        }
    }

    fn about_the_turn(&mut self) -> Intent {
        let turn = self.lane.turns.last().map_or(TurnId(Uuid::nil()), |turn| turn.id);
        match self.below(6) {
            0 => Intent::HeartbeatTurn(self.held(())),
            1 => {
                let what = self.sent();
                Intent::SendMessage(self.held(what))
            }
            2 => Intent::CancelTurn(ruche_commands::lane::CancelTurn {
                turn: self.lane.holder().map_or(turn, |turn| turn.id),
                by: None,
                reason: None,
            }),
            3 => Intent::FailTurn(self.held(FailTurn {
                error_type: "broken".to_owned(),
                error: None,
                retryable: self.below(3) > 0,
            })),
            _ => {
                let response = Some(self.sent());
                let committed = TurnCommitted::default();
                Intent::CommitTurn(self.held(CommitTurn { committed, response }))
            }
        }
    }

    fn about_a_call(&mut self) -> Intent {
        let calls: Vec<CallId> = self.lane.calls.keys().copied().rev().take(4).collect();
        if calls.is_empty() {
            return self.claim();
        }
        let call = calls[self.below(calls.len())];
        let holder = self.lane.holder().map(|turn| turn.id);
        let due = holder.and_then(|turn| self.lane.to_undo(turn).first().map(|effect| effect.call_id));
        let undoing = self
            .lane
            .holder()
            .is_some_and(|turn| turn.state == TurnState::Compensating);
        if let Some(due) = due.filter(|_| undoing && self.below(2) == 0) {
            return self.undo(due);
        }
        match self.below(10) {
            0..=2 => {
                let mut started = ToolStarted::new(self.lane.calls[&call].name.clone());
                // Each call has a key of its own here.
                started.idempotency_key = Some(call.0.as_simple().to_string());
                Intent::StartEffect(self.held(StartEffect {
                    call,
                    started,
                    changed: Vec::new(),
                }))
            }
            3 | 4 => {
                let outcome = match self.below(4) {
                    0 | 1 => EffectOutcome::Completed(ToolCompleted::default()),
                    2 => EffectOutcome::Failed(ToolFailed::default()),
                    _ => EffectOutcome::Unknown(ToolOutcomeUnknown::new("timeout".to_owned())),
                };
                Intent::ReportEffect(self.held(ReportEffect { call, outcome }))
            }
            5 => {
                let outcome = AssertedOutcome::ALL[self.below(2)];
                let asserted = ToolOutcomeAsserted::new(outcome, "person".to_owned(), "looked".to_owned());
                Intent::ResolveOutcome(ResolveOutcome { call, asserted })
            }
            6 => self.undo(call),
            _ => self.decide(call),
        }
    }

    /// Undoing begins, or is said to have come out.
    fn undo(&self, call: CallId) -> Intent {
        if !self.lane.calls[&call].is_being_undone {
            let started = ToolCompensationStarted::new("idempotent".to_owned());
            return Intent::StartCompensation(StartCompensation { call, started });
        }
        let outcome = if self.below(2) == 0 {
            Undone::Compensated(ToolCompensated::default())
        } else {
            Undone::Failed(ToolCompensationFailed::new("refused".to_owned()))
        };
        Intent::ReportCompensation(ReportCompensation { call, outcome })
    }

    fn decide(&mut self, call: CallId) -> Intent {
        let approval = self.lane.calls[&call].approval;
        let Some(approval) = approval.and_then(|id| self.lane.approvals.get(&id)) else {
            return self.claim();
        };
        let (id, mut binding) = (approval.id, approval.binding);
        if self.below(8) == 0 {
            binding.config = Some(Digest([7; 32]));
        }
        let outcome = if self.below(4) == 0 {
            ApprovalOutcome::Rejected
        } else {
            ApprovalOutcome::Approved
        };
        Intent::ResolveApproval(ResolveApproval {
            approval: id,
            resolved: ApprovalResolved::new(outcome),
            binding,
            changed: Vec::new(),
            new_turn: TurnId(self.fresh()),
        })
    }

    /// Tries something; gives what was decided, for one append.
    pub(super) fn step(&mut self) -> Option<Vec<LaneEvent>> {
        self.now = Micros(self.now.0 + self.random.next() % 400_000);
        let command = LaneCommand {
            intent: self.intent(),
            now: self.now,
            settings: self.settings.clone(),
            layers: Vec::new(),
        };
        let decided = explain(&self.lane, &command).ok()?;
        self.lane = decided.lane;
        Some(decided.events)
    }
}

pub(super) fn prepared(author: &Author, event: &LaneEvent) -> PreparedEvent {
    let lane = StreamId::new(Category::Lane, Uuid::from_u128(99));
    let stream = event
        .approval
        .map_or(lane, |approval| StreamId::new(Category::Approval, approval.0));
    let fact = &event.fact;
    let mut prepared = author.typed_event(stream, fact.event_type(), fact.to_payload());
    prepared.event.occurred_at = event.at;
    prepared.event.session = Some(SessionId(Uuid::from_u128(98)));
    (prepared.event.turn, prepared.event.call) = (Some(event.turn), event.call);
    prepared
}

/// The catalogue: a tool for each thing that calls do to the world, of that name.
pub(super) fn tools(author: &Author) -> Vec<PreparedEvent> {
    let registered = |(number, effect): (u128, SideEffectPolicy)| {
        let stream = StreamId::new(Category::Tool, Uuid::from_u128(number));
        let mut tool = ToolRegistered::new(effect.name().to_owned(), effect);
        let undo = SideEffectPolicy::Idempotent.name().to_owned();
        tool.compensation_tool = (effect == SideEffectPolicy::Compensatable).then_some(undo);
        author.typed_event(stream, "tool.registered", AgentEvent::from(tool).to_payload())
    };
    (1_000..)
        .zip(SideEffectPolicy::ALL.iter().copied())
        .map(registered)
        .collect()
}

/// What the rules of turns say; who signed what is not part of these courses.
fn findings(records: &[Record]) -> Vec<String> {
    let (mut checker, mut findings) = (RecordChecker::new(), Findings::keeping(1_000));
    let first = &records[0];
    let size = TreeSize(records.len() as u64);
    checker.begin_epoch(first.position.epoch, &first.leaf.origin, size);
    for record in records {
        checker.record(record, &mut findings);
    }
    checker.end_epoch(&mut findings);
    let signatures = [
        FindingKind::DecisionWithoutVote,
        FindingKind::RequestMismatch,
        FindingKind::ApprovalMisused,
    ];
    let kept = findings.kept().iter();
    let kept = kept.filter(|found| !signatures.contains(&found.kind));
    kept.map(|found| format!("{} {}: {}", found.place(), found.kind, found.detail))
        .collect()
}

#[tokio::test]
async fn what_the_machine_decides_the_judge_lets_pass() {
    let (mut types, mut ends) = (std::collections::BTreeSet::new(), 0);
    for seed in 0..COURSES {
        let mut course = Course::new(seed);
        let author = Author::new(1);
        let store = MemoryStore::new(Arc::new(FixedClock::at(course.now.0)));
        let opening = author.opening(ledger(1), 1, None);
        store.open_epoch(ledger(1), opening).await.expect("a new ledger");
        appended(store.append(ledger(1), author.append(tools(&author))).await);
        for _ in 0..STEPS {
            let Some(events) = course.step() else { continue };
            let events: Vec<PreparedEvent> = events.iter().map(|event| prepared(&author, event)).collect();
            appended(store.append(ledger(1), author.append(events)).await);
        }
        let records = store.read_ledger(ledger(1), Position::START, 10_000).await;
        let records = records.expect("records");
        let found = findings(&records);
        let story: Vec<String> = records.iter().map(told).collect();
        assert!(found.is_empty(), "seed {seed}: {found:#?}\n{}", story.join("\n"));
        types.extend(records.iter().map(|record| record.leaf.event.event_type.clone()));
        ends += course
            .lane
            .turns
            .iter()
            .filter(|turn| turn.state.is_terminal())
            .count();
    }
    // The courses come around, else the judge would have had nothing to judge.
    assert!(ends > 500 && types.len() > 35, "{ends} ends, {types:?}");
}

fn told(record: &Record) -> String {
    let event = &record.leaf.event;
    let turn = event.turn.map(|turn| turn.0.as_u128());
    let call = event.call.map(|call| call.0.as_u128());
    let said = record
        .payload
        .first()
        .and_then(|payload| payload.bytes())
        .unwrap_or_default();
    let said = String::from_utf8_lossy(said);
    format!(
        "{} {} {turn:?} {call:?} {said}",
        record.position, event.event_type
    )
}
