//! Random courses of a conversation with tools: a command that is refused has changed nothing, and one that is carried
//! out is carried out once.

use proptest::prelude::*;
use ruche_domain::events::{
    AssertedOutcome, MessageReceived, MessageSent, Role, SessionEndReason, ToolOutcomeAsserted,
};
use ruche_domain::ids::CallId;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Position;
use ruche_domain::side_effect::SideEffectPolicy;

use super::tool_calls::World;
use crate::command::CommandReceipt;
use crate::error::CommandError;
use crate::governed::*;
use crate::reviewer::{RegisterReviewerKey, RevokeReviewerKey};
use crate::session::{EndSession, SessionRef, StartSession};
use crate::tool::RegisterTool;

const TOOLS: [(&str, SideEffectPolicy); 4] = [
    ("look_up", SideEffectPolicy::Pure),
    ("create_ticket", SideEffectPolicy::Idempotent),
    ("reserve_seat", SideEffectPolicy::Compensatable),
    ("charge_card", SideEffectPolicy::Irreversible),
];

/// What is tried. Numbers choose among what is there, and sometimes what is not.
#[derive(Clone, Debug)]
enum Try {
    Message,
    Claim,
    Heartbeat,
    Propose {
        tool: usize,
        key: Option<u8>,
        whole: bool,
    },
    Start(usize),
    Report {
        call: usize,
        permit: usize,
        how: u8,
    },
    Undo(usize),
    Compensate {
        call: usize,
        done: bool,
    },
    Resolve {
        call: usize,
        evidence: bool,
    },
    Send,
    Commit,
    Fail(bool),
    Cancel,
    Wait(u16),
    Stolen,
    Register {
        tool: usize,
        effect: usize,
        undo: bool,
    },
    Vote(usize),
    Other(u8),
}

fn tries() -> impl Strategy<Value = Try> {
    prop_oneof![
        3 => Just(Try::Message),
        4 => Just(Try::Claim),
        1 => Just(Try::Heartbeat),
        5 => (0..4usize, prop::option::weighted(0.9, 0..3u8), prop::bool::weighted(0.9))
            .prop_map(|(tool, key, whole)| Try::Propose { tool, key, whole }),
        5 => (0..6usize).prop_map(Try::Start),
        5 => (0..6usize, 0..3usize, 0..3u8).prop_map(|(call, permit, how)| Try::Report { call, permit, how }),
        3 => (0..6usize).prop_map(Try::Undo),
        3 => (0..6usize, any::<bool>()).prop_map(|(call, done)| Try::Compensate { call, done }),
        2 => (0..6usize, any::<bool>()).prop_map(|(call, evidence)| Try::Resolve { call, evidence }),
        1 => Just(Try::Send),
        1 => Just(Try::Commit),
        1 => any::<bool>().prop_map(Try::Fail),
        1 => Just(Try::Cancel),
        2 => (0..40u16).prop_map(Try::Wait),
        1 => Just(Try::Stolen),
        1 => (0..4usize, 0..4usize, any::<bool>())
            .prop_map(|(tool, effect, undo)| Try::Register { tool, effect, undo }),
        2 => (0..6usize).prop_map(Try::Vote),
        3 => (0..6u8).prop_map(Try::Other),
    ]
}

/// A conversation, and what its clients know of it.
struct Course {
    world: World,
    calls: Vec<CallId>,
    permits: Vec<Position>,
    number: usize,
}

impl Course {
    async fn carry_out(&mut self, what: &Try) -> Option<Result<CommandReceipt, CommandError>> {
        self.number += 1;
        let key = format!("k-{}", self.number);
        let world = &self.world;
        let (lane, turn, lease) = (world.lane(), world.turn, world.lease.clone());
        let call = |n: usize| {
            self.calls
                .iter()
                .rev()
                .nth(n)
                .copied()
                .unwrap_or(CallId(uuid::Uuid::nil()))
        };
        Some(match what {
            Try::Wait(seconds) => {
                world.wait_ms(u64::from(*seconds) * 1_000);
                return None;
            }
            Try::Message => {
                let message = MessageReceived {
                    channel_message_id: Some(key.clone()),
                    ..MessageReceived::new(Role::User)
                };
                let session = SessionRef::External("s".to_owned());
                let submit = SubmitMessage {
                    flush: false,
                    session,
                    lane,
                    message,
                };
                world.send(&key, &submit).await
            }
            Try::Claim => {
                world
                    .send(
                        &key,
                        &ClaimTurn {
                            lane,
                            brain_build: None,
                        },
                    )
                    .await
            }
            Try::Register { tool, effect, undo } => {
                let mut tool = RegisterTool::new(TOOLS[*tool].0, TOOLS[*effect].1);
                tool.tool.compensation_tool = undo.then(|| "nobody_knows_it".to_owned());
                world.send(&key, &tool).await
            }
            Try::Vote(n) => {
                let approval = approval_of(call(*n));
                let envelope = "{}".to_owned();
                world.send(&key, &VoteOnApproval { approval, envelope }).await
            }
            Try::Other(which) => self.other(&key, *which).await,
            Try::Heartbeat => world.send(&key, &HeartbeatTurn { lane, turn, lease }).await,
            Try::Stolen => {
                let lease = LeaseRef {
                    epoch: lease.epoch + 1,
                    ..lease
                };
                world.send(&key, &HeartbeatTurn { lane, turn, lease }).await
            }
            Try::Propose {
                tool,
                key: business,
                whole,
            } => {
                let business = business.map(|n| format!("key-{n}"));
                let mut propose = world.propose(TOOLS[*tool].0, business.as_deref());
                if !whole {
                    propose.arguments.pop();
                }
                world.send(&key, &propose).await
            }
            Try::Start(n) => {
                world
                    .send(
                        &key,
                        &StartEffect {
                            lane,
                            turn,
                            lease,
                            call: call(*n),
                        },
                    )
                    .await
            }
            Try::Report { call: n, permit, how } => {
                let permit = self
                    .permits
                    .iter()
                    .rev()
                    .nth(*permit)
                    .copied()
                    .unwrap_or(Position::new(1, 0));
                let outcome = outcome(*how);
                let report = ReportEffect {
                    lane,
                    turn,
                    lease,
                    call: call(*n),
                    permit,
                    outcome,
                };
                world.send(&key, &report).await
            }
            Try::Undo(n) => {
                let call = call(*n);
                world.send(&key, &StartCompensation { lane, call }).await
            }
            Try::Compensate { call: n, done } => {
                let report = ReportCompensation {
                    lane,
                    call: call(*n),
                    permit: self.permits.last().copied().unwrap_or(Position::new(1, 0)),
                    outcome: undone(*done),
                };
                world.send(&key, &report).await
            }
            Try::Resolve { call: n, evidence } => {
                let evidence = if *evidence { "seen" } else { "" }.to_owned();
                let asserted =
                    ToolOutcomeAsserted::new(AssertedOutcome::Completed, "ann".to_owned(), evidence);
                world
                    .send(
                        &key,
                        &ResolveOutcome {
                            lane,
                            call: call(*n),
                            asserted,
                        },
                    )
                    .await
            }
            Try::Send => {
                let message = MessageSent::new(Role::Assistant);
                world
                    .send(
                        &key,
                        &SendMessage {
                            lane,
                            turn,
                            lease,
                            message,
                        },
                    )
                    .await
            }
            Try::Commit => {
                let commit = CommitTurn {
                    lane,
                    turn,
                    lease,
                    outcome: None,
                    response: None,
                };
                world.send(&key, &commit).await
            }
            Try::Fail(retryable) => {
                let (error_type, retryable) = ("broken".to_owned(), *retryable);
                let fail = FailTurn {
                    lane,
                    turn,
                    lease,
                    error_type,
                    error: None,
                    retryable,
                };
                world.send(&key, &fail).await
            }
            Try::Cancel => {
                world
                    .send(
                        &key,
                        &CancelTurn {
                            lane,
                            turn,
                            reason: None,
                        },
                    )
                    .await
            }
        })
    }

    /// Commands that are not about a call. Most of them are refused.
    async fn other(&self, key: &str, which: u8) -> Result<CommandReceipt, CommandError> {
        let world = &self.world;
        let strange = "strange".to_owned();
        let reason = None;
        match which {
            0 => {
                let session = SessionRef::External(strange);
                world
                    .send(key, &EndSession::new(session, SessionEndReason::Completed))
                    .await
            }
            1 => {
                let key_id = Digest([7; 32]);
                world.send(key, &RevokeReviewerKey { key_id, reason }).await
            }
            2 => {
                let register = RegisterReviewerKey {
                    reviewer: strange.clone(),
                    public_key: "0".repeat(64),
                    proof_of_possession: strange,
                    label: None,
                };
                world.send(key, &register).await
            }
            3 => world.send(key, &StartSession::new("s")).await,
            4 => {
                world
                    .send(
                        key,
                        &FireTimers {
                            lane: world.lane_id(),
                        },
                    )
                    .await
            }
            _ => {
                let claim = ClaimTurnOfAgent {
                    agent: strange,
                    channel: None,
                    brain_build: None,
                    lane: Some(world.lane_id()),
                };
                world.send(key, &claim).await
            }
        }
    }

    /// How many records from here on say nothing but that a start was refused. Nothing that stands is moved by them.
    async fn refusals_after(&self, from: u64) -> u64 {
        let ledger = &self.world.ledger;
        let from = Position::new(1, from);
        let page = ledger.store.read_ledger(ledger.context.ledger, from, 10).await;
        let page = page.expect("the ledger can be read");
        let types = page.iter().map(|record| record.leaf.event.event_type.as_str());
        let said = ["tool.start_refused", "approval.stale", "approval.voided"];
        types.filter(|name| said.contains(name)).count() as u64
    }

    /// What a client learns of an answer.
    fn learn(&mut self, receipt: &CommandReceipt) {
        for event in &receipt.events {
            let envelope = &event.event;
            match envelope.event_type.as_str() {
                "tool.proposed" if !receipt.unchanged => self.calls.extend(envelope.call),
                "tool.started" | "tool.compensation_started" => self.permits.push(event.receipt.position),
                _ => {}
            }
        }
        if let Some((turn, lease)) = super::tool_calls::lease_in(receipt) {
            (self.world.turn, self.world.lease) = (turn, lease);
        }
    }
}

fn outcome(how: u8) -> Reported {
    match how {
        0 => Reported::Completed {
            result: Some("ok".to_owned()),
            external_ref: None,
        },
        1 => Reported::Failed {
            error_type: "no".to_owned(),
            error: None,
            retryable: None,
            result: None,
        },
        _ => Reported::Unknown {
            cause: "timeout".to_owned(),
            external_ref: None,
        },
    }
}

fn undone(done: bool) -> CompensationReport {
    if done {
        CompensationReport::Compensated {
            compensation_tool: None,
            external_ref: None,
        }
    } else {
        CompensationReport::Failed {
            error_type: "no".to_owned(),
            error: None,
        }
    }
}

async fn course(channel: &'static str, tries: &[Try]) -> (usize, usize) {
    let world = World::on(channel).await;
    for (tool, side_effect) in TOOLS {
        world.register(tool, side_effect).await;
    }
    let mut course = Course {
        world,
        calls: Vec::new(),
        permits: Vec::new(),
        number: 0,
    };
    let (mut done, mut refused) = (0, 0);
    for what in tries {
        let before = course.world.ledger.size().await;
        let Some(answer) = course.carry_out(what).await else {
            continue;
        };
        let after = course.world.ledger.size().await;
        match answer {
            Ok(receipt) if receipt.unchanged => assert_eq!(after, before, "{what:?}"),
            Ok(receipt) => {
                assert_eq!(after, before + receipt.events.len() as u64, "{what:?}");
                course.learn(&receipt);
                done += 1;
                course.number -= 1;
                let again = course
                    .carry_out(what)
                    .await
                    .expect("an answer")
                    .expect("the first answer");
                assert!(again.duplicate, "{what:?}");
                assert_eq!(course.world.ledger.size().await, after, "{what:?}");
            }
            Err(CommandError::Internal(fault)) => panic!("{what:?}: {fault}"),
            Err(_) => {
                let recorded = course.refusals_after(before).await;
                assert_eq!(after, before + recorded, "{what:?}");
                assert!(recorded == 0 || matches!(what, Try::Start(_)), "{what:?}");
                refused += 1;
            }
        }
    }
    (done, refused)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_refused_changes_nothing_and_what_is_done_is_done_once(
        channel in prop_oneof![Just("web"), Just("whatsapp"), Just("api")],
        tries in prop::collection::vec(tries(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(course(channel, &tries));
    }
}

/// The property is about something: courses do get things done and are refused.
#[tokio::test]
async fn courses_get_things_done_and_are_refused() {
    let propose = Try::Propose {
        tool: 1,
        key: Some(0),
        whole: true,
    };
    let report = Try::Report {
        call: 0,
        permit: 0,
        how: 0,
    };
    let tries = [
        propose,
        Try::Start(0),
        Try::Stolen,
        report,
        Try::Commit,
        Try::Commit,
    ];
    assert_eq!(course("api", &tries).await, (4, 2));
}
