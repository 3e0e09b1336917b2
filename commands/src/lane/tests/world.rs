//! A lane to tell stories with: given what was done, when something is asked, then these events follow.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalMode, ApprovalOutcome, ApprovalRequested, ApprovalResolved, ApprovalRule, AssertedOutcome,
    InterventionPoint, MessageReceived, MessageSent, PolicyEvaluated, PolicyVerdict, Role, ToolCompensated,
    ToolCompensationFailed, ToolCompensationStarted, ToolCompleted, ToolFailed, ToolOutcomeAsserted,
    ToolOutcomeUnknown, ToolProposed, ToolStarted, TurnCommitted, TurnStepCompleted, TurnStrategy,
};
use ruche_domain::ids::{ApprovalId, CallId, MessageId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::SideEffectPolicy;
use uuid::Uuid;

use super::invariants;
use crate::lane::*;

/// The action that calls of the world want to carry out.
pub const ACTION: Digest = Digest([0xac; 32]);

/// Windows of a second after each message, five in all; a lease of thirty.
pub fn settings(strategy: TurnStrategy) -> ChannelSettings {
    ChannelSettings {
        debounce_us: 1_000_000,
        window_us_max: 5_000_000,
        messages_max: 5,
        strategy,
        ..ChannelSettings::default()
    }
}

/// A lane and its clock.
pub struct World {
    pub lane: Lane,
    pub now: Micros,
    pub settings: ChannelSettings,
    /// Everything that happened.
    pub log: Vec<LaneEvent>,
    /// Rows that the last command took.
    pub rows: Vec<u8>,
    ids: u128,
}

impl World {
    pub fn new(settings: ChannelSettings) -> Self {
        Self {
            lane: Lane::default(),
            now: Micros(1_000_000_000),
            settings,
            log: Vec::new(),
            rows: Vec::new(),
            ids: 0,
        }
    }

    pub fn queueing() -> Self {
        Self::new(settings(TurnStrategy::Queue))
    }

    pub fn cancelling() -> Self {
        Self::new(settings(TurnStrategy::CancelInProgress))
    }

    pub fn fresh(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    pub fn wait(&mut self, us: u64) {
        self.now = Micros(self.now.0 + us);
    }

    /// What would be decided. Nothing is changed.
    pub fn ask(&self, intent: Intent) -> Result<Decided, Rejection> {
        let command = LaneCommand {
            now: self.now,
            settings: self.settings.clone(),
            layers: Vec::new(),
            intent,
        };
        explain(&self.lane, &command)
    }

    /// Takes a decision in, and holds it against the invariants.
    pub fn take(&mut self, decided: Decided) {
        let before = self.lane.clone();
        let folded = decided.events.iter().fold(before.clone(), evolve);
        assert_eq!(
            folded, decided.lane,
            "the events do not lead to the state that was decided on"
        );
        self.lane = folded;
        self.log.extend(decided.events);
        self.rows = decided.rows;
        invariants::hold(&before, &self.lane, &self.log, &self.rows);
    }

    /// Types of the events that follow. The turn that an event belongs to is in the log.
    #[track_caller]
    pub fn when(&mut self, intent: Intent) -> Vec<&'static str> {
        let name = intent.name();
        if let Intent::ReportCompensation(report) = &intent {
            // Stories leave out that undoing is started before it is reported.
            if let Ok(started) = self.ask(start_undoing(report.call)) {
                self.take(started);
            }
        }
        match self.ask(intent) {
            Ok(decided) => {
                let types = decided
                    .events
                    .iter()
                    .map(|event| event.fact.event_type())
                    .collect();
                self.take(decided);
                types
            }
            Err(rejection) => panic!("{name} was refused: {rejection:?}"),
        }
    }

    #[track_caller]
    pub fn refused(&self, intent: Intent) -> Rejection {
        let name = intent.name();
        self.ask(intent).expect_err(name)
    }

    /// Refused as something that the state knows, because of this.
    #[track_caller]
    pub fn blocked(&self, intent: Intent) -> Obstacle {
        match self.refused(intent) {
            Rejection::Blocked { obstacle, .. } => obstacle,
            other => panic!("expected an obstacle, got {other:?}"),
        }
    }

    pub fn message(&mut self) -> Intent {
        let id = MessageId(self.fresh());
        Intent::SubmitMessage(SubmitMessage {
            message_id: id,
            message: MessageReceived::new(Role::User),
            agent_id: None,
            new_turn: TurnId(self.fresh()),
            flush: false,
        })
    }

    pub fn fire(&mut self) -> Intent {
        Intent::FireTimer {
            new_turn: TurnId(self.fresh()),
        }
    }

    pub fn claim(&mut self) -> Intent {
        Intent::ClaimTurn(ClaimTurn {
            lease_id: self.fresh().to_string(),
            brain_build: None,
        })
    }

    pub fn cancel(&self, turn: TurnId) -> Intent {
        Intent::CancelTurn(CancelTurn {
            turn,
            by: None,
            reason: None,
        })
    }

    /// The turn that was opened last.
    pub fn last(&self) -> TurnId {
        self.lane.turns.last().expect("a turn").id
    }

    pub fn state(&self, turn: TurnId) -> TurnState {
        self.lane.turn(turn).expect("the turn").state
    }

    pub fn status(&self, call: CallId) -> Option<EffectStatus> {
        self.lane.calls[&call].status
    }

    /// A worker's command under the lease that holds.
    pub fn held<T>(&self, what: T) -> Held<T> {
        let turn = self.lane.turns.iter().find(|turn| turn.lease.is_some());
        let turn = turn.expect("a turn under a lease");
        let lease = turn.lease.as_ref().expect("a lease");
        Held {
            turn: turn.id,
            lease: LeaseProof {
                id: lease.id.clone(),
                epoch: lease.epoch,
            },
            what,
        }
    }

    /// A message that was sealed and claimed.
    #[track_caller]
    pub fn processing(&mut self) -> TurnId {
        let message = self.message();
        self.when(message);
        let turn = self.last();
        self.when(Intent::FlushTurn { turn });
        let claim = self.claim();
        self.when(claim);
        turn
    }

    pub fn proposal(&mut self, side_effect: SideEffectPolicy, verdict: PolicyVerdict) -> (CallId, Intent) {
        let call = CallId(self.fresh());
        let approval = ApprovalId(self.fresh());
        let what = proposal(call, approval, side_effect, verdict);
        (call, Intent::ProposeAction(self.held(what)))
    }

    /// A call that runs.
    #[track_caller]
    pub fn running(&mut self, side_effect: SideEffectPolicy) -> CallId {
        let call = self.startable(side_effect);
        let start = self.start(call);
        self.when(start);
        call
    }

    /// A call that runs and may do so for a time.
    #[track_caller]
    pub fn running_until(&mut self, side_effect: SideEffectPolicy, us: u64) -> CallId {
        let call = self.startable(side_effect);
        let Intent::StartEffect(mut start) = self.start(call) else {
            unreachable!()
        };
        start.what.started.lapses_at = Some(Micros(self.now.0 + us));
        self.when(Intent::StartEffect(start));
        call
    }

    #[track_caller]
    fn startable(&mut self, side_effect: SideEffectPolicy) -> CallId {
        let (call, propose) = self.proposal(side_effect, PolicyVerdict::Allow);
        self.when(propose);
        if side_effect == SideEffectPolicy::Irreversible {
            let approve = self.approve(call);
            self.when(approve);
        }
        call
    }

    /// A call that gave a result.
    #[track_caller]
    pub fn completed(&mut self, side_effect: SideEffectPolicy) -> CallId {
        let call = self.running(side_effect);
        let report = self.report(call, EffectOutcome::Completed(ToolCompleted::default()));
        self.when(report);
        call
    }

    pub fn start(&self, call: CallId) -> Intent {
        Intent::StartEffect(self.held(StartEffect {
            call,
            started: ToolStarted::new("tool".to_owned()),
            changed: Vec::new(),
        }))
    }

    /// A start that is refused. That is recorded once, with the obstacle that it names, and then only refused.
    #[track_caller]
    pub fn start_refused(&mut self, call: CallId) -> Obstacle {
        let decided = self.ask(self.start(call)).expect("a refusal that is recorded");
        assert_eq!(decided.rows, [33]);
        let refused = decided.events.iter().find_map(|event| match &event.fact {
            AgentEvent::ToolStartRefused(refused) => Some(refused.refusal),
            AgentEvent::ToolStarted(_) => panic!("it started"),
            _ => None,
        });
        self.take(decided);
        let again = self.ask(self.start(call)).map(|decided| decided.rows);
        // Where the gate has closed for another cause, the next attempt is one more cause, and then no more.
        if again.is_ok() {
            let closed = self.start(call);
            assert_eq!(self.when(closed), ["tool.start_refused"]);
            assert_eq!(self.blocked(self.start(call)), Obstacle::Denied);
        }
        obstacle(refused.expect("a refusal"))
    }

    pub fn report(&self, call: CallId, outcome: EffectOutcome) -> Intent {
        Intent::ReportEffect(self.held(ReportEffect { call, outcome }))
    }

    pub fn resolve(&mut self, call: CallId, outcome: ApprovalOutcome) -> Intent {
        let approval = self.lane.calls[&call].approval.expect("an approval");
        Intent::ResolveApproval(ResolveApproval {
            approval,
            resolved: ApprovalResolved::new(outcome),
            binding: self.lane.approvals[&approval].binding,
            changed: Vec::new(),
            new_turn: TurnId(self.fresh()),
        })
    }

    pub fn approve(&mut self, call: CallId) -> Intent {
        self.resolve(call, ApprovalOutcome::Approved)
    }

    pub fn assert_outcome(&self, call: CallId, outcome: AssertedOutcome) -> Intent {
        Intent::ResolveOutcome(ResolveOutcome {
            call,
            asserted: ToolOutcomeAsserted::new(outcome, "person".to_owned(), "looked it up".to_owned()),
        })
    }

    pub fn undone(&self, call: CallId) -> Intent {
        Intent::ReportCompensation(ReportCompensation {
            call,
            outcome: Undone::Compensated(ToolCompensated::default()),
        })
    }

    pub fn not_undone(&self, call: CallId) -> Intent {
        Intent::ReportCompensation(ReportCompensation {
            call,
            outcome: Undone::Failed(ToolCompensationFailed::new("refused".to_owned())),
        })
    }

    pub fn commit(&mut self) -> Intent {
        let response = sent(self.fresh());
        Intent::CommitTurn(self.held(CommitTurn {
            committed: TurnCommitted::default(),
            response: Some(response),
        }))
    }

    pub fn send(&mut self) -> Intent {
        let message = sent(self.fresh());
        Intent::SendMessage(self.held(message))
    }

    pub fn fail(&self, retryable: bool) -> Intent {
        Intent::FailTurn(self.held(FailTurn {
            error_type: "broken".to_owned(),
            error: None,
            retryable,
        }))
    }
}

pub fn start_undoing(call: CallId) -> Intent {
    let started = ToolCompensationStarted::new("undo".to_owned());
    Intent::StartCompensation(StartCompensation { call, started })
}

pub fn sent(id: Uuid) -> SentMessage {
    SentMessage {
        message_id: MessageId(id),
        message: MessageSent::new(Role::Assistant),
    }
}

pub fn proposal(
    call: CallId,
    approval: ApprovalId,
    side_effect: SideEffectPolicy,
    verdict: PolicyVerdict,
) -> ProposeAction {
    let mut proposed = ToolProposed::new("tool".to_owned(), "{}".to_owned());
    proposed.side_effect = Some(side_effect);
    proposed.action_digest = Some(ACTION);
    proposed.business_key = Some(call.to_string());
    let evaluated = PolicyEvaluated::new(
        "decision".to_owned(),
        InterventionPoint::PreToolCall,
        verdict,
        Digest([1; 32]),
        Digest([2; 32]),
    );
    let request = ApprovalRequested::new(ACTION, ApprovalRule::new(1), Micros(0), ApprovalMode::Blocking);
    ProposeAction {
        call,
        proposed,
        evaluated,
        approval: Some((approval, request)),
    }
}

pub fn completed() -> EffectOutcome {
    EffectOutcome::Completed(ToolCompleted::default())
}

pub fn failed() -> EffectOutcome {
    EffectOutcome::Failed(ToolFailed::default())
}

pub fn unknown() -> EffectOutcome {
    EffectOutcome::Unknown(ToolOutcomeUnknown::new("connection lost".to_owned()))
}

pub use ruche_domain::side_effect::EffectStatus;

/// A step with this number that begins.
pub fn step(number: u8) -> StartStep {
    StartStep {
        step_id: format!("step-{number}"),
        name: None,
    }
}

/// A step with this number that is done.
pub fn step_done(number: u8) -> CompleteStep {
    CompleteStep {
        completed: TurnStepCompleted {
            result: Some("seen".to_owned()),
            ..TurnStepCompleted::new(format!("step-{number}"), 0)
        },
    }
}
