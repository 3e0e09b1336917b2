//! Commands to lanes that nobody would write. None stops the program; on a lane that stands as no command leaves one nothing
//! is decided, and the refusal says where it begins to.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;

use ruche_commands::command::Command;
use ruche_commands::governed::{
    CancelTurn, ClaimTurn, ClaimTurnOfAgent, CommitTurn, CompensationReport, CompleteStep, FailTurn,
    FireTimers, HeartbeatTurn, LaneName, LeaseRef, ProposeAction, ReportCompensation, ReportEffect, Reported,
    ResolveOutcome, SendMessage, StartCall, StartCompensation, StartEffect, StartStep, SubmitMessage,
    VoteOnApproval,
};
use ruche_commands::{CommandContext, CommandError, CommandReceipt, Commands, SessionRef};
use ruche_domain::envelope::ActorKind;
use ruche_domain::events::{
    ApprovalDecision, AssertedOutcome, MessageReceived, MessageSent, OutcomeCategory, Role,
    ToolOutcomeAsserted, TurnCompensating,
};
use ruche_domain::ids::{ApprovalId, CallId};
use ruche_domain::stream::Category;
use uuid::Uuid;

use super::forged::Forger;
use super::*;
use crate::testing::vote;

/// Longer than anything waits in these lanes, µs.
const LONG_US: u64 = 100 * 24 * 3_600 * 1_000_000;

/// Everybody who sends commands to one lane, and what they name.
struct Senders {
    commands: Commands,
    store: Arc<MemoryStore>,
    context: CommandContext,
    lane: LaneName,
    id: LaneId,
    turns: Vec<(TurnId, LeaseRef)>,
    calls: Vec<(TurnId, CallId)>,
    approvals: Vec<ApprovalId>,
    /// Where something of a call was started last.
    permits: BTreeMap<CallId, Position>,
    number: u64,
    /// Code and reason of each refusal; nothing of what was done.
    came: Vec<Option<(&'static str, String)>>,
}

impl Senders {
    /// To a lane of a forged ledger. Whatever its records name is asked for.
    async fn of(world: &World, store: Arc<MemoryStore>, lane: LaneName, clock: Arc<FixedClock>) -> Self {
        let secrets = Arc::new(MasterSeed::from_slice(&[9; 32]).expect("32 bytes"));
        let random = Arc::new(SeededRandom::new(5));
        let commands = Commands::new(store.clone(), clock, random, secrets, Arc::new(NoObjection));
        let id = lane.id(&commands.secrets_of(world.ledger).references);
        let mut context = world.crowd.context.clone();
        // Who claims the turns of the crowd, so that leases are good.
        context.actor = Actor {
            kind: ActorKind::Client,
            reference: Some(Uuid::from_u128(1)),
        };
        let mut senders = Self {
            commands,
            store,
            context,
            lane,
            id,
            turns: Vec::new(),
            calls: Vec::new(),
            approvals: Vec::new(),
            permits: BTreeMap::new(),
            number: 0,
            came: Vec::new(),
        };
        for record in senders
            .store
            .read_ledger(world.ledger, Position::START, 10_000)
            .await
            .expect("records")
        {
            senders.learn(&record);
        }
        senders
    }

    fn learn(&mut self, record: &Record) {
        let event = &record.leaf.event;
        let payload: serde_json::Value =
            serde_json::from_slice(record.payload_bytes().unwrap_or(b"null")).unwrap_or_default();
        if event.stream.category == Category::Approval && payload["lane_id"] == self.id.to_string() {
            self.approvals.push(ApprovalId(event.stream.id));
        }
        let (true, Some(turn)) = (event.stream == lane_stream(self.id), event.turn) else {
            return;
        };
        let lease = LeaseRef {
            id: payload["lease_id"].as_str().unwrap_or_default().to_owned(),
            epoch: payload["lease_epoch"].as_u64().unwrap_or_default(),
        };
        match self.turns.iter_mut().find(|(known, _)| *known == turn) {
            Some((_, held)) if event.event_type == "turn.started" => *held = lease,
            Some(_) => {}
            None => self.turns.push((turn, lease)),
        }
        if let Some(call) = event.call {
            if !self.calls.iter().any(|(_, known)| *known == call) {
                self.calls.push((turn, call));
            }
            if event.event_type.ends_with("started") {
                self.permits.insert(call, record.position);
            }
        }
    }

    /// The last record of what came of it, if anything did.
    async fn send(&mut self, command: &impl Command) -> Option<Position> {
        self.number += 1;
        let context = self.context.with_key(format!("live-{}-{}", self.id, self.number));
        let came = self.commands.execute(&context, command).await;
        let position = came.as_ref().ok().and_then(CommandReceipt::position);
        self.came
            .push(came.err().map(|error| (error.code(), reason(&error))));
        position
    }

    async fn fire(&mut self) {
        self.send(&FireTimers { lane: self.id }).await;
    }

    /// Each command once about each thing that the lane names.
    async fn send_all(&mut self) {
        for turn in self.turns.clone() {
            self.about_turn(turn).await;
        }
        for (turn, call) in self.calls.clone() {
            self.about_call(turn, call).await;
        }
        for approval in self.approvals.clone() {
            let (store, ledger) = (self.store.clone(), self.context.ledger);
            let signed = vote(&*store, ledger, approval, ApprovalDecision::Approve).await;
            for envelope in [Some("{}".to_owned()), signed].into_iter().flatten() {
                self.send(&VoteOnApproval { approval, envelope }).await;
            }
        }
        let lane = self.lane.clone();
        let message = MessageReceived {
            text: Some("hello?".to_owned()),
            ..MessageReceived::new(Role::User)
        };
        let submit = SubmitMessage {
            session: SessionRef::External(lane.channel.clone()),
            lane: lane.clone(),
            flush: true,
            message,
        };
        self.send(&submit).await;
        let of_agent = ClaimTurnOfAgent {
            agent: lane.agent.clone(),
            channel: None,
            brain_build: None,
            lane: Some(self.id),
        };
        self.send(&of_agent).await;
        self.send(&ClaimTurn {
            lane,
            brain_build: None,
        })
        .await;
        self.fire().await;
    }

    async fn about_turn(&mut self, (turn, lease): (TurnId, LeaseRef)) {
        let lane = self.lane.clone();
        let held = (lane.clone(), turn, lease);
        let (lane, turn, lease) = held.clone();
        self.send(&HeartbeatTurn { lane, turn, lease }).await;
        let (lane, turn, lease) = held.clone();
        let message = MessageSent::new(Role::Assistant);
        self.send(&SendMessage {
            lane,
            turn,
            lease,
            message,
        })
        .await;
        let (lane, turn, lease) = held.clone();
        let (step_id, name) = ("step-0".to_owned(), None);
        self.send(&StartStep {
            lane,
            turn,
            lease,
            step_id,
            name,
        })
        .await;
        let (lane, turn, lease) = held.clone();
        let (step_id, result) = ("step-0".to_owned(), None);
        self.send(&CompleteStep {
            lane,
            turn,
            lease,
            step_id,
            result,
        })
        .await;
        for tool in ["book_seat", "charge_card"] {
            let (lane, turn, lease) = held.clone();
            let propose = ProposeAction {
                lane,
                turn,
                lease,
                tool: tool.to_owned(),
                arguments: "{}".to_owned(),
                business_key: Some(format!("{tool}-{turn}")),
                provider_call_id: None,
                justification: None,
            };
            self.send(&propose).await;
        }
        for retryable in [true, false] {
            let (lane, turn, lease) = held.clone();
            let (error_type, error) = ("broken".to_owned(), None);
            self.send(&FailTurn {
                lane,
                turn,
                lease,
                error_type,
                error,
                retryable,
            })
            .await;
        }
        let (lane, turn, lease) = held.clone();
        let (outcome, response) = (Some(OutcomeCategory::Answered), None);
        self.send(&CommitTurn {
            lane,
            turn,
            lease,
            outcome,
            response,
        })
        .await;
        let (lane, turn, _) = held;
        self.send(&CancelTurn {
            lane,
            turn,
            reason: None,
        })
        .await;
    }

    async fn about_call(&mut self, turn: TurnId, call: CallId) {
        let held = |senders: &Self| {
            let known = senders.turns.iter().find(|(known, _)| *known == turn);
            known
                .map(|(_, lease)| lease.clone())
                .expect("it is of a turn that is named")
        };
        let (lane, lease) = (self.lane.clone(), held(self));
        let permit = self.permits.get(&call).copied().unwrap_or(Position::START);
        let start = StartEffect {
            lane: lane.clone(),
            turn,
            lease: lease.clone(),
            call,
        };
        let approval = self.approvals.first().copied();
        self.send(&StartCall {
            start: start.clone(),
            approval,
        })
        .await;
        self.send(&start).await;
        let outcome = Reported::Unknown {
            cause: "lost".to_owned(),
            external_ref: None,
        };
        let (of, held) = (lane.clone(), lease.clone());
        self.send(&ReportEffect {
            lane: of,
            turn,
            lease: held,
            call,
            permit,
            outcome,
        })
        .await;
        let undoing = StartCompensation {
            lane: lane.clone(),
            call,
        };
        let permit = self.send(&undoing).await.unwrap_or(permit);
        for outcome in [
            CompensationReport::Compensated {
                compensation_tool: None,
                external_ref: None,
            },
            CompensationReport::Failed {
                error_type: "broken".to_owned(),
                error: None,
            },
        ] {
            self.send(&ReportCompensation {
                lane: lane.clone(),
                call,
                permit,
                outcome,
            })
            .await;
        }
        for outcome in [AssertedOutcome::NotExecuted, AssertedOutcome::Completed] {
            let asserted = ToolOutcomeAsserted::new(outcome, "bob".to_owned(), "looked".to_owned());
            self.send(&ResolveOutcome {
                lane: lane.clone(),
                call,
                asserted,
            })
            .await;
        }
    }
}

/// What stands in the operator's log.
fn reason(error: &CommandError) -> String {
    let source = error.source().map(|source| source.to_string());
    source.unwrap_or_else(|| error.to_string())
}

/// The refusal of a lane that cannot be decided on.
fn is_undecidable(came: &Option<(&'static str, String)>) -> bool {
    came.as_ref().is_some_and(|(code, _)| *code == "INTERNAL")
}

async fn last_of(store: &MemoryStore, ledger: LedgerId) -> Option<Position> {
    store
        .head(ledger)
        .await
        .expect("a head")
        .and_then(|head| head.last_position())
}

/// Sends everything to a lane, and says whether it was refused as one that cannot be decided on.
async fn is_refused(mut senders: Senders) -> bool {
    let before = last_of(&senders.store, senders.context.ledger).await;
    senders.fire().await;
    let is_refused = is_undecidable(&senders.came[0]);
    senders.send_all().await;
    if is_refused {
        let after = last_of(&senders.store, senders.context.ledger).await;
        assert_eq!(before, after, "{:?}", senders.came);
        assert!(senders.came.iter().all(Option::is_some), "{:?}", senders.came);
        // Beside this refusal there are those of requests that are wrong on any lane.
        let stream = lane_stream(senders.id).to_string();
        for (_, reason) in senders
            .came
            .into_iter()
            .flatten()
            .filter(|(code, _)| *code == "INTERNAL")
        {
            assert!(reason.contains(" cannot be decided on: "), "{reason}");
            assert!(reason.contains("1:"), "{reason} names no record of {stream}");
        }
    }
    is_refused
}

#[tokio::test]
async fn nothing_that_is_forged_stops_a_command_or_is_decided_on() {
    let (mut sent_to, mut refused) = (0, BTreeSet::new());
    for seed in 1..=4_u64 {
        let world = World::of(seed, 130).await;
        let forger = Forger::of(&world).await;
        for number in 0..25 {
            let random = SeededRandom::new(seed * 1_000 + number);
            let mut copy = forger.clone();
            let told: Vec<String> = (0..=number % 3).map(|_| copy.forge(&random)).collect();
            let store = copy.write(world.ledger).await;
            // Now, or when all that waits is over.
            let now = world.clock.now().0 + LONG_US * (number % 2);
            for lane in Crowd::lane_names() {
                let clock = Arc::new(FixedClock::at(now));
                let senders = Senders::of(&world, store.clone(), lane, clock).await;
                let came = tokio::spawn(is_refused(senders)).await;
                let came = came.unwrap_or_else(|panic| panic!("seed {seed}, {number}: {told:?}: {panic}"));
                sent_to += 1;
                if came {
                    refused.insert((seed, number));
                }
            }
        }
    }
    assert!(
        refused.len() > 5,
        "{} of {sent_to} lanes were refused",
        refused.len()
    );
}

/// The machine cannot finish a turn whose end nobody named.
#[tokio::test]
async fn a_lane_that_winds_down_towards_nothing_is_refused_with_its_place() {
    let is_it = |call: &CallView| call.side_effect == "compensatable" && call.effect == Some("completed");
    for seed in 1..60 {
        let world = World::of(seed, 120).await;
        let running = world.lanes().await.into_iter().find_map(|lane| {
            let turn = lane.turns.iter().find(|turn| turn.state == "processing")?;
            let done: Vec<&CallView> = turn.calls.iter().filter(|call| is_it(call)).collect();
            (done.len() == 1).then(|| (lane.id, done[0].clone()))
        });
        let Some((lane, call)) = running else { continue };
        let stream = lane_stream(lane);
        let forged = world
            .forge(stream, call.turn, None, TurnCompensating::new(vec![]))
            .await;
        let before = world.last().await;
        for name in Crowd::lane_names() {
            let senders = async || {
                let (store, clock) = (world.store.clone(), world.clock.clone());
                Senders::of(&world, store, name.clone(), clock).await
            };
            let mut asked = senders().await;
            if asked.id == lane {
                // Somebody undoes the effect, and says so: then the turn would be over.
                assert!(is_refused(senders().await).await);
                asked.fire().await;
                let (turn, came) = (call.turn, asked.came[0].clone());
                let reason = format!(
                    "{stream} cannot be decided on: it stands as no command leaves it since {forged}: turn {turn} winds \
                     down, and nothing says how it is to end"
                );
                assert_eq!(came, Some(("INTERNAL", reason)));
            }
        }
        assert_eq!(world.last().await, before, "nothing is appended");
        return;
    }
    panic!("no turn that runs had done anything");
}
