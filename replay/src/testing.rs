//! For tests of this crate and of the whole (feature `testing`): people, agents and clocks that do things at random,
//! the same ones for the same seed, so that lanes get into states that nobody thought of.

mod reviewer;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ruche_commands::command::{Command, CommandReceipt, RecordedEvent};
use ruche_commands::governed::{
    CancelTurn, ClaimTurn, CommitTurn, CompensationReport, CompleteStep, FailTurn, FireTimers, HeartbeatTurn,
    LaneName, LeaseRef, ProposeAction, ReportCompensation, ReportEffect, Reported, ResolveOutcome,
    SendMessage, StartCompensation, StartEffect, StartStep, SubmitMessage,
};
use ruche_commands::{
    CommandContext, CommandError, Commands, EndSession, PublishConfiguration, RecordScenario, RegisterTool,
    ScenarioMove, SessionRef, StartSession,
};
use ruche_domain::envelope::{Actor, ActorKind};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    AssertedOutcome, ConfigScope, MessageReceived, MessageSent, OutcomeCategory, Role, SessionEndReason,
    ToolOutcomeAsserted,
};
use ruche_domain::ids::{ApprovalId, CallId, LaneId, SessionId, TurnId};
use ruche_domain::numbers::Position;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_ledger::store::EventStore;
use ruche_ledger::testing::{FixedClock, SeededRandom};
use uuid::Uuid;

pub use reviewer::vote;

const AGENT: u128 = 1;
const DESK: u128 = 2;
/// Whoever asks for approval is not to be who registered the key that decides.
const ADMIN: u128 = 3;
const CHANNELS: [&str; 4] = ["web", "whatsapp", "api", "voice"];
const TOOLS: [&str; 4] = ["find_order", "set_note", "book_seat", "charge_card"];

/// A ledger, and everybody who does things in it.
pub struct Crowd {
    /// The pipeline.
    pub commands: Arc<Commands>,
    /// The records.
    pub store: Arc<dyn EventStore>,
    /// The clock of the pipeline.
    pub clock: Arc<FixedClock>,
    /// The tenant's credential.
    pub context: CommandContext,
    random: SeededRandom,
    number: u64,
    turns: Vec<(LaneName, TurnId, LeaseRef)>,
    calls: Vec<(LaneName, TurnId, CallId)>,
    permits: Vec<(LaneName, TurnId, CallId, Position)>,
    approvals: Vec<ApprovalId>,
}

impl Crowd {
    /// Everybody is there and knows each other: sessions, tools, a configuration and a reviewer's key.
    ///
    /// # Panics
    /// If the ledger does not take that.
    pub async fn new(
        commands: Arc<Commands>,
        store: Arc<dyn EventStore>,
        clock: Arc<FixedClock>,
        context: CommandContext,
        seed: u64,
    ) -> Self {
        let mut crowd = Self {
            commands,
            store,
            clock,
            context,
            random: SeededRandom::new(seed),
            number: 0,
            turns: Vec::new(),
            calls: Vec::new(),
            permits: Vec::new(),
            approvals: Vec::new(),
        };
        for channel in CHANNELS {
            crowd.must(&StartSession::new(channel)).await;
        }
        crowd
            .must(&RegisterTool::new("free_seat", SideEffectPolicy::Idempotent))
            .await;
        for (tool, side_effect) in TOOLS.iter().zip(SideEffectPolicy::ALL) {
            let mut register = RegisterTool::new(*tool, *side_effect);
            register.tool.compensation_tool =
                (*side_effect == SideEffectPolicy::Compensatable).then(|| "free_seat".to_owned());
            crowd.must(&register).await;
        }
        let value = serde_json::json!("kind");
        let config = PublishConfiguration::new(ConfigScope::Agent, Some("shop".to_owned()), "tone", value);
        crowd.must(&config).await;
        let registration = reviewer::registration(crowd.context.tenant);
        let registered = crowd.send(ADMIN, &registration).await;
        registered.unwrap_or_else(|error| panic!("a key: {error}"));
        crowd
    }

    /// The session on a channel.
    pub fn session(&self, channel: &str) -> SessionId {
        self.commands
            .secrets_of(self.context.ledger)
            .references
            .session(channel)
    }

    /// All sessions.
    pub fn sessions(&self) -> Vec<SessionId> {
        CHANNELS.iter().map(|channel| self.session(channel)).collect()
    }

    /// How all lanes are named.
    pub fn lane_names() -> [LaneName; CHANNELS.len()] {
        CHANNELS.map(lane)
    }

    /// All lanes.
    pub fn lanes(&self) -> Vec<LaneId> {
        let references = self.commands.secrets_of(self.context.ledger).references;
        CHANNELS
            .iter()
            .map(|channel| lane(channel).id(&references))
            .collect()
    }

    /// All requests for approval so far.
    pub fn approvals(&self) -> &[ApprovalId] {
        &self.approvals
    }

    fn pick(&self, below: usize) -> usize {
        usize::try_from(self.random.next() % below.max(1) as u64).expect("a remainder is small")
    }

    fn one_of<T: Clone>(&self, all: &[T]) -> Option<T> {
        // Mostly what is new: what is old is over.
        let recent = all.len().saturating_sub(3);
        let from = if self.pick(4) == 0 { 0 } else { recent };
        let some = &all[from..];
        (!some.is_empty()).then(|| some[self.pick(some.len())].clone())
    }

    async fn send<C: Command>(&mut self, who: u128, command: &C) -> Result<CommandReceipt, CommandError> {
        self.number += 1;
        let mut context = self.context.with_key(format!("crowd-{}", self.number));
        context.actor = Actor {
            kind: ActorKind::Client,
            reference: Some(Uuid::from_u128(who)),
        };
        self.commands.execute(&context, command).await
    }

    async fn must<C: Command>(&mut self, command: &C) {
        let sent = self.send(AGENT, command).await;
        sent.unwrap_or_else(|error| panic!("{}: {error}", C::NAME));
    }

    /// Somebody does something. Whether the ledger takes it is its business; a fault of Ruche is none.
    ///
    /// # Panics
    /// On such a fault.
    pub async fn step(&mut self) {
        let done = match self.pick(26) {
            0..3 => self.message().await,
            3..7 => self.claim().await,
            7..10 => self.propose().await,
            10..14 => self.start().await,
            14..17 => self.report().await,
            17..19 => self.vote().await,
            19 => self.fire().await,
            20 => {
                let wait = [100_000, 700_000, 5_000_000, 31_000_000, 90_000_000_000][self.pick(5)];
                self.clock.0.fetch_add(wait, Ordering::SeqCst);
                Ok(())
            }
            21 => self.compensate().await,
            22 => self.resolve().await,
            _ => self.worker().await,
        };
        if let Err(CommandError::Internal(error)) = done {
            panic!("a fault of Ruche: {error}");
        }
        self.clock
            .0
            .fetch_add(1_000 + self.random.next() % 400_000, Ordering::SeqCst);
    }

    /// Somebody sets the agent otherwise: the words for its tone change, others come and go. Draws nothing, so that what the
    /// others do stays the same.
    ///
    /// # Panics
    /// If the ledger does not take that.
    pub async fn publish(&mut self, number: u64) {
        let value = serde_json::json!({ "number": number });
        let mut config =
            PublishConfiguration::new(ConfigScope::Agent, Some("shop".to_owned()), "tone", value);
        match number % 3 {
            0 => drop(config.set.insert("greeting".to_owned(), "hello".into())),
            1 => config.removed.push("greeting".to_owned()),
            _ => {}
        }
        self.must(&config).await;
    }

    /// A scenario of the first session goes on; over five numbers it is entered, goes through steps, passes a point, goes over
    /// to another version, and ends. Draws nothing, so that what the others do stays the same.
    ///
    /// # Panics
    /// If the ledger does not take that.
    pub async fn tell_scenario(&mut self, number: usize) {
        let step = |step: &str| ScenarioMove::EnterStep {
            step: step.to_owned(),
        };
        let moves = match number % 5 {
            0 => vec![
                ScenarioMove::Enter {
                    version: Some("1".to_owned()),
                    reason: None,
                },
                step("ask"),
            ],
            1 => vec![ScenarioMove::ExitStep {
                step: "ask".to_owned(),
                outcome: None,
                duration_us: None,
            }],
            2 => vec![
                step("check"),
                ScenarioMove::PassCheckpoint {
                    checkpoint: "known".to_owned(),
                },
            ],
            3 => vec![ScenarioMove::Migrate {
                version: "2".to_owned(),
                step: Some("pay".to_owned()),
                behind: vec!["known".to_owned()],
                reason: None,
            }],
            _ => vec![ScenarioMove::Complete { outcome: None }],
        };
        self.must(&RecordScenario {
            session: SessionRef::External(CHANNELS[0].to_owned()),
            scenario: "refund".to_owned(),
            moves,
            occurred_at: None,
        })
        .await;
    }

    /// The session on a channel is over.
    ///
    /// # Errors
    /// The refusal.
    pub async fn end(&mut self, channel: &str) -> Result<(), CommandError> {
        let end = EndSession::new(
            SessionRef::External(channel.to_owned()),
            SessionEndReason::Completed,
        );
        self.send(AGENT, &end).await.map(drop)
    }

    async fn message(&mut self) -> Result<(), CommandError> {
        let channel = CHANNELS[self.pick(CHANNELS.len())];
        let submit = SubmitMessage {
            flush: false,
            session: SessionRef::External(channel.to_owned()),
            lane: lane(channel),
            message: MessageReceived {
                text: Some("any news?".to_owned()),
                ..MessageReceived::new(Role::User)
            },
        };
        self.send(AGENT, &submit).await.map(drop)
    }

    async fn claim(&mut self) -> Result<(), CommandError> {
        let lane = lane(CHANNELS[self.pick(CHANNELS.len())]);
        let claim = ClaimTurn {
            lane: lane.clone(),
            brain_build: None,
        };
        let receipt = self.send(AGENT, &claim).await?;
        for event in receipt.events {
            if let (Some(AgentEvent::TurnStarted(started)), Some(turn)) =
                (event.agent_event()?, event.event.turn)
            {
                let lease = LeaseRef {
                    id: started.lease_id.unwrap_or_default(),
                    epoch: started.lease_epoch.unwrap_or_default(),
                };
                self.turns.push((lane.clone(), turn, lease));
            }
        }
        Ok(())
    }

    async fn propose(&mut self) -> Result<(), CommandError> {
        let Some((lane, turn, lease)) = self.one_of(&self.turns) else {
            return Ok(());
        };
        let propose = ProposeAction {
            lane: lane.clone(),
            turn,
            lease,
            tool: TOOLS[self.pick(TOOLS.len())].to_owned(),
            arguments: r#"{ "amount": 7 }"#.to_owned(),
            business_key: Some(format!("order-{}", self.random.next() % 40)),
            provider_call_id: None,
            justification: None,
        };
        let receipt = self.send(AGENT, &propose).await?;
        for event in receipt.events {
            match (event.event.event_type.as_str(), event.event.call) {
                ("tool.proposed", Some(call)) => self.calls.push((lane.clone(), turn, call)),
                ("approval.requested", Some(_)) => self.approvals.push(ApprovalId(event.event.stream.id)),
                _ => {}
            }
        }
        Ok(())
    }

    async fn start(&mut self) -> Result<(), CommandError> {
        let Some((lane, _, call)) = self.one_of(&self.calls) else {
            return Ok(());
        };
        // Of a decision that nobody waited for, the turn that it opened may start the call.
        let of_lane: Vec<_> = self
            .turns
            .iter()
            .filter(|(of, ..)| *of == lane)
            .cloned()
            .collect();
        let Some((lane, turn, lease)) = of_lane.last().cloned() else {
            return Ok(());
        };
        let start = StartEffect {
            lane: lane.clone(),
            turn,
            lease,
            call,
        };
        let receipt = self.send(AGENT, &start).await?;
        for event in receipt.events {
            if event.event.event_type == "tool.started" {
                self.permits
                    .push((lane.clone(), turn, call, event.receipt.position));
            }
        }
        Ok(())
    }

    async fn report(&mut self) -> Result<(), CommandError> {
        let Some((lane, turn, call, permit)) = self.one_of(&self.permits) else {
            return Ok(());
        };
        let Some((.., lease)) = self.turns.iter().rev().find(|(_, of, _)| *of == turn).cloned() else {
            return Ok(());
        };
        let outcome = match self.pick(4) {
            0 => Reported::Failed {
                error_type: "refused".to_owned(),
                error: None,
                retryable: None,
                result: None,
            },
            1 => Reported::Unknown {
                cause: "timed_out".to_owned(),
                external_ref: None,
            },
            _ => Reported::Completed {
                result: Some("{}".to_owned()),
                external_ref: None,
            },
        };
        let report = ReportEffect {
            lane,
            turn,
            lease,
            call,
            permit,
            outcome,
        };
        self.send(AGENT, &report).await.map(drop)
    }

    async fn fire(&mut self) -> Result<(), CommandError> {
        for lane in self.lanes() {
            match self.send(AGENT, &FireTimers { lane }).await {
                Ok(_) | Err(CommandError::IllegalTransition { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn compensate(&mut self) -> Result<(), CommandError> {
        let Some((lane, _, call)) = self.one_of(&self.calls) else {
            return Ok(());
        };
        let outcome = if self.pick(3) == 0 {
            CompensationReport::Failed {
                error_type: "refused".to_owned(),
                error: None,
            }
        } else {
            CompensationReport::Compensated {
                compensation_tool: None,
                external_ref: None,
            }
        };
        let start = StartCompensation {
            lane: lane.clone(),
            call,
        };
        let begun = self.send(AGENT, &start).await?;
        let started = |event: &&RecordedEvent| event.event.event_type == "tool.compensation_started";
        let Some(started) = begun.events.iter().find(started) else {
            return Ok(());
        };
        // Now and then nobody reports how it went, and the next one starts again.
        if self.pick(4) == 0 {
            return Ok(());
        }
        let report = ReportCompensation {
            lane,
            call,
            permit: started.receipt.position,
            outcome,
        };
        self.send(AGENT, &report).await.map(drop)
    }

    async fn resolve(&mut self) -> Result<(), CommandError> {
        let Some((lane, _, call)) = self.one_of(&self.calls) else {
            return Ok(());
        };
        let outcome = [AssertedOutcome::Completed, AssertedOutcome::NotExecuted][self.pick(2)];
        let asserted =
            ToolOutcomeAsserted::new(outcome, "bob".to_owned(), "looked at the account".to_owned());
        self.send(AGENT, &ResolveOutcome { lane, call, asserted })
            .await
            .map(drop)
    }

    fn step_id(&self) -> String {
        format!("step-{}", self.pick(2))
    }

    /// What a worker does with its turn.
    async fn worker(&mut self) -> Result<(), CommandError> {
        let Some((lane, turn, lease)) = self.one_of(&self.turns) else {
            return Ok(());
        };
        let response = Some(MessageSent::new(Role::Assistant));
        match self.pick(11) {
            0 => self.send(AGENT, &HeartbeatTurn { lane, turn, lease }).await,
            1 => {
                let message = MessageSent::new(Role::Assistant);
                let send = SendMessage {
                    lane,
                    turn,
                    lease,
                    message,
                };
                self.send(AGENT, &send).await
            }
            2 | 3 => {
                let fail = FailTurn {
                    lane,
                    turn,
                    lease,
                    error_type: "model_failed".to_owned(),
                    error: None,
                    retryable: self.pick(2) == 0,
                };
                self.send(AGENT, &fail).await
            }
            8 | 9 => {
                let (step_id, name) = (self.step_id(), Some("look it up".to_owned()));
                let start = StartStep {
                    lane,
                    turn,
                    lease,
                    step_id,
                    name,
                };
                self.send(AGENT, &start).await
            }
            10 => {
                let (step_id, result) = (self.step_id(), Some("found".to_owned()));
                let complete = CompleteStep {
                    lane,
                    turn,
                    lease,
                    step_id,
                    result,
                };
                self.send(AGENT, &complete).await
            }
            4 => {
                let reason = Some("changed my mind".to_owned());
                self.send(AGENT, &CancelTurn { lane, turn, reason }).await
            }
            _ => {
                let commit = CommitTurn {
                    lane,
                    turn,
                    lease,
                    outcome: Some(OutcomeCategory::Answered),
                    response,
                };
                self.send(AGENT, &commit).await
            }
        }
        .map(drop)
    }
}

fn lane(channel: &str) -> LaneName {
    LaneName {
        agent: "shop".to_owned(),
        interlocutor: "ann".to_owned(),
        channel: channel.to_owned(),
        thread: None,
    }
}
