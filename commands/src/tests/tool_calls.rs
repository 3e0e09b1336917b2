//! Tool calls of governed turns through the pipeline, on the in-memory engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ruche_domain::action::Action;
use ruche_domain::approval::RequestEnvelope;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalMode, ApprovalRequested, MessageReceived, Role, ToolProposed};
use ruche_domain::ids::TurnId;
use ruche_domain::measures::Digest;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::Category;
use ruche_ledger::store::Receipt;
use sha2::{Digest as _, Sha256};

use crate::command::{Command, CommandReceipt};
use crate::error::CommandError;
use crate::governed::*;
use crate::session::{SessionRef, StartSession};
use crate::testing::{NoObjection, TestLedger};
use crate::tool::RegisterTool;

/// A turn that a worker holds.
pub(super) struct World {
    pub ledger: Arc<TestLedger>,
    channel: &'static str,
    person: &'static str,
    thread: &'static str,
    pub turn: TurnId,
    pub lease: LeaseRef,
}

impl World {
    pub async fn on(channel: &'static str) -> Self {
        let ledger = TestLedger::in_memory(Arc::new(NoObjection)).await;
        Self::in_ledger(Arc::new(ledger), channel, "ann").await
    }

    /// A turn that a worker holds in another lane of the same person and ledger.
    pub async fn beside(&self, thread: &'static str) -> Self {
        Self::in_lane(self.ledger.clone(), self.channel, (self.person, thread)).await
    }

    /// A turn that a worker holds in a lane of another person.
    pub async fn of(&self, person: &'static str) -> Self {
        Self::in_ledger(self.ledger.clone(), self.channel, person).await
    }

    pub async fn in_ledger(ledger: Arc<TestLedger>, channel: &'static str, person: &'static str) -> Self {
        Self::in_lane(ledger, channel, (person, "first")).await
    }

    async fn in_lane(
        ledger: Arc<TestLedger>,
        channel: &'static str,
        (person, thread): (&'static str, &'static str),
    ) -> Self {
        let mut world = Self {
            ledger,
            channel,
            person,
            thread,
            turn: TurnId(uuid::Uuid::nil()),
            lease: LeaseRef {
                id: String::new(),
                epoch: 0,
            },
        };
        world.send("start", &StartSession::new("s")).await.unwrap();
        world.next_turn(&format!("m-{person}-{thread}")).await;
        world
    }

    /// A message comes, and its turn is claimed.
    pub async fn next_turn(&mut self, message: &str) {
        let submit = SubmitMessage {
            flush: false,
            session: SessionRef::External("s".to_owned()),
            lane: self.lane(),
            message: MessageReceived {
                channel_message_id: Some(message.to_owned()),
                ..MessageReceived::new(Role::User)
            },
        };
        self.send(&format!("submit-{message}"), &submit).await.unwrap();
        self.wait_ms(60_000);
        self.claimed(&format!("claim-{message}")).await;
    }

    /// The turn that is ready is claimed.
    pub async fn claimed(&mut self, key: &str) -> CommandReceipt {
        let claim = ClaimTurn {
            lane: self.lane(),
            brain_build: None,
        };
        let claim = self.send(key, &claim).await.unwrap();
        if let Some((turn, lease)) = lease_in(&claim) {
            (self.turn, self.lease) = (turn, lease);
        }
        claim
    }

    pub async fn send<C: Command>(&self, key: &str, command: &C) -> Result<CommandReceipt, CommandError> {
        let context = self.ledger.context.with_key(key);
        self.ledger.commands.execute(&context, command).await
    }

    pub async fn register(&self, name: &str, side_effect: SideEffectPolicy) {
        let mut tool = RegisterTool::new(name, side_effect);
        if side_effect == SideEffectPolicy::Compensatable {
            let undo = format!("undo_{name}");
            let undoing = RegisterTool::new(&undo, SideEffectPolicy::Idempotent);
            self.send(&format!("register-{undo}"), &undoing).await.unwrap();
            tool.tool.compensation_tool = Some(undo);
        }
        self.send(&format!("register-{name}"), &tool).await.unwrap();
    }

    pub fn lane(&self) -> LaneName {
        LaneName {
            agent: "shop".to_owned(),
            interlocutor: self.person.to_owned(),
            channel: self.channel.to_owned(),
            thread: (self.thread != "first").then(|| self.thread.to_owned()),
        }
    }

    pub fn propose(&self, tool: &str, business_key: Option<&str>) -> ProposeAction {
        ProposeAction {
            lane: self.lane(),
            turn: self.turn,
            lease: self.lease.clone(),
            tool: tool.to_owned(),
            arguments: r#"{ "order": 7 }"#.to_owned(),
            business_key: business_key.map(str::to_owned),
            provider_call_id: Some("call_0".to_owned()),
            justification: None,
        }
    }

    pub fn wait_ms(&self, ms: u64) {
        self.ledger.clock.0.fetch_add(ms * 1_000, Ordering::SeqCst);
    }
}

/// The turn that a claim gives, and its lease.
pub(super) fn lease_in(receipt: &CommandReceipt) -> Option<(TurnId, LeaseRef)> {
    receipt
        .events
        .iter()
        .find_map(|event| match event.agent_event().unwrap() {
            Some(AgentEvent::TurnStarted(started)) => Some((
                event.event.turn?,
                LeaseRef {
                    id: started.lease_id?,
                    epoch: started.lease_epoch?,
                },
            )),
            _ => None,
        })
}

pub(super) fn types(receipt: &CommandReceipt) -> Vec<&str> {
    let events = receipt.events.iter();
    events.map(|event| event.event.event_type.as_str()).collect()
}

/// What a proposal says of the call. That the call took its key stands behind it, in a stream of the key's own.
fn of_call(proposal: &CommandReceipt) -> Vec<Receipt> {
    let mut receipts = proposal.receipts();
    receipts.pop();
    assert_eq!(types(proposal).last(), Some(&"infra.business_key_taken"));
    receipts
}

fn proposed(receipt: &CommandReceipt) -> ToolProposed {
    match receipt.events[0].agent_event().unwrap() {
        Some(AgentEvent::ToolProposed(proposed)) => proposed,
        other => panic!("not a proposal: {other:?}"),
    }
}

fn requested(receipt: &CommandReceipt) -> ApprovalRequested {
    match receipt.events[2].agent_event().unwrap() {
        Some(AgentEvent::ApprovalRequested(requested)) => requested,
        other => panic!("not a request: {other:?}"),
    }
}

fn sha256(text: &str) -> Digest {
    Digest(Sha256::digest(text.as_bytes()).into())
}

#[tokio::test]
async fn what_a_call_does_comes_from_the_catalogue() {
    let world = World::on("api").await;
    world.register("look_up", SideEffectPolicy::Pure).await;
    let call = world.send("a", &world.propose("look_up", None)).await.unwrap();
    assert_eq!(types(&call), ["tool.proposed", "policy.evaluated"]);
    let fact = proposed(&call);
    assert_eq!(fact.side_effect, Some(SideEffectPolicy::Pure));
    assert_eq!(fact.arguments, r#"{ "order": 7 }"#, "byte for byte");
    let again = world.send("b", &world.propose("look_up", None)).await.unwrap();
    assert_ne!(
        again.events[0].event.call, call.events[0].event.call,
        "two calls of one turn"
    );
    assert_eq!(again.events[0].event.turn, Some(world.turn));
}

#[tokio::test]
async fn what_nobody_registered_needs_an_approval_of_exactly_this_action() {
    let world = World::on("web").await;
    let call = world
        .send("a", &world.propose("charge_card", Some("order-7")))
        .await
        .unwrap();
    assert_eq!(
        types(&call),
        [
            "tool.proposed",
            "policy.evaluated",
            "approval.requested",
            "tool.deferred",
            "infra.business_key_taken"
        ]
    );
    let (fact, request) = (proposed(&call), requested(&call));
    let envelope = &call.events[2].event;
    let action = Action {
        agent: "shop".to_owned(),
        arguments: sha256(&fact.arguments),
        schema: None,
        session: world.ledger.session("s"),
        side_effect: SideEffectPolicy::Irreversible,
        tenant: world.ledger.context.tenant,
        tool: "charge_card".to_owned(),
        turn: world.turn,
    };
    assert_eq!(fact.action_digest, Some(sha256(&action.canonical())));
    assert_eq!(Some(request.action_digest), fact.action_digest);
    let view = ruche_domain::approval::view(&RequestEnvelope::of(envelope), &request);
    assert_eq!(
        request.view_digest,
        Some(sha256(&view)),
        "as it is made from the record"
    );
    assert_eq!(request.arguments.as_ref(), Some(&fact.arguments));
    assert_eq!(request.mode, ApprovalMode::Detached);
    assert_eq!(
        request.expires_at.0,
        world.ledger.clock.0.load(Ordering::SeqCst) + 86_400_000_000
    );
    assert_eq!(request.nonce.as_ref().map(String::len), Some(32));
    let call_id = envelope.call.unwrap();
    assert_eq!(envelope.stream, approval_stream(approval_of(call_id)));
    assert_eq!(envelope.stream.category, Category::Approval);
    assert_eq!(envelope.session, Some(action.session));
}

/// Computed by `docs/formats/action.md` with Python.
#[test]
fn the_digest_is_that_of_the_page() {
    let id = uuid::Uuid::from_u128;
    let mut schema = [0; 32];
    schema[31] = 1;
    let action = Action {
        agent: "shop é".to_owned(),
        arguments: sha256(r#"{ "amount": 9007199254740993, "order": 7 }"#),
        schema: Some(Digest(schema)),
        session: ruche_domain::ids::SessionId(id(1)),
        side_effect: SideEffectPolicy::Irreversible,
        tenant: ruche_domain::ids::TenantId(id(2)),
        tool: "charge_card".to_owned(),
        turn: TurnId(id(3)),
    };
    let expected = "9b964ec1c5571c3f4c484a0da095ceb1659002941a248d08764573a248381d0e";
    assert_eq!(sha256(&action.canonical()).to_string(), expected);
}

#[tokio::test]
async fn a_turn_that_waits_for_people_is_seen_to_wait() {
    let world = World::on("api").await;
    world
        .send("a", &world.propose("charge_card", Some("order-7")))
        .await
        .unwrap();
    let refused = world
        .send("b", &world.propose("charge_card", Some("order-8")))
        .await
        .unwrap_err();
    let CommandError::IllegalTransition { state, legal, .. } = refused else {
        panic!("{refused}");
    };
    assert_eq!(state, "awaiting_approval");
    assert!(!legal.contains(&"ProposeAction"), "{legal:?}");
}

#[tokio::test]
async fn a_business_key_that_is_held_gives_the_call_that_holds_it() {
    let mut world = World::on("web").await;
    world
        .register("create_ticket", SideEffectPolicy::Idempotent)
        .await;
    let first = world
        .send("a", &world.propose("create_ticket", Some("7")))
        .await
        .unwrap();
    let size = world.ledger.size().await;
    let again = world
        .send("b", &world.propose("create_ticket", Some("7")))
        .await
        .unwrap();
    assert!(again.unchanged && !again.duplicate);
    assert_eq!(again.receipts(), of_call(&first));
    assert_eq!(world.ledger.size().await, size);
    let other = world
        .send("c", &world.propose("create_ticket", Some("8")))
        .await
        .unwrap();
    assert!(!other.unchanged);
    // What another turn asked for and can never start any more holds nothing.
    world.next_turn("m-2").await;
    let anew = world
        .send("d", &world.propose("create_ticket", Some("7")))
        .await
        .unwrap();
    assert!(!anew.unchanged);
    assert_eq!(anew.events[0].event.turn, Some(world.turn));
}

#[tokio::test]
async fn a_03_a_pending_approval_holds_its_key_however_long_it_takes() {
    let mut world = World::on("whatsapp").await;
    let first = world
        .send("a", &world.propose("charge_card", Some("7")))
        .await
        .unwrap();
    let commit = CommitTurn {
        lane: world.lane(),
        turn: world.turn,
        lease: world.lease.clone(),
        outcome: None,
        response: None,
    };
    world.send("b", &commit).await.unwrap();
    world.wait_ms(23 * 3_600_000);
    world.next_turn("m-2").await;
    let again = world
        .send("c", &world.propose("charge_card", Some("7")))
        .await
        .unwrap();
    assert!(again.unchanged);
    assert_eq!(again.receipts(), of_call(&first));
}

#[tokio::test]
async fn a_proposal_that_is_refused_writes_nothing() {
    let world = World::on("api").await;
    world
        .register("create_ticket", SideEffectPolicy::Idempotent)
        .await;
    let before = world.ledger.size().await;
    let refused = async |command: ProposeAction| {
        let error = world.send("x", &command).await.unwrap_err();
        assert_eq!(world.ledger.size().await, before, "{error}");
        (error.code(), error.path().unwrap_or_default().join("/"))
    };
    let keyless = world.propose("create_ticket", None);
    assert_eq!(
        refused(keyless).await,
        ("INVALID_INPUT", "businessKey".to_owned())
    );
    let mut broken = world.propose("create_ticket", Some("7"));
    broken.arguments = r#"{ "order": 7, "order": 8 }"#.to_owned();
    assert_eq!(
        refused(broken).await,
        ("INVALID_INPUT", "arguments/order".to_owned())
    );
    let mut stolen = world.propose("create_ticket", Some("7"));
    stolen.lease.epoch += 1;
    assert_eq!(refused(stolen).await, ("ILLEGAL_TRANSITION", "lease".to_owned()));
    let mut nobodys = world.propose("create_ticket", Some("7"));
    nobodys.turn = TurnId(uuid::Uuid::nil());
    assert_eq!(refused(nobodys).await, ("NOT_FOUND", String::new()));
    world
        .send("x", &world.propose("create_ticket", Some("7")))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_time_of_a_lane_goes_forward_whatever_a_nodes_clock_says() {
    let world = World::on("api").await;
    let before = world.ledger.clock.0.load(Ordering::SeqCst);
    world.ledger.clock.0.store(before - 30_000_000, Ordering::SeqCst);
    let step = StartStep {
        lane: world.lane(),
        turn: world.turn,
        lease: world.lease.clone(),
        step_id: "look".to_owned(),
        name: None,
    };
    let begun = world.send("step", &step).await.unwrap();
    let occurred_at = begun.events[0].event.occurred_at;
    assert!(occurred_at.0 >= before, "{occurred_at:?} is before {before}");
}
