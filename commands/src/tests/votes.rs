//! Reviewers' keys and votes through the pipeline, on the in-memory engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ruche_domain::approval::{KeyPossession, POSSESSION_TYPE, RequestEnvelope, STATEMENT_TYPE, Statement};
use ruche_domain::envelope::{Actor, ActorKind};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalDecision, ApprovalRequested, MessageReceived, Role, StaleCause, VoteRefusal,
};
use ruche_domain::ids::{ApprovalId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::Category;
use ruche_ledger::dsse::PrivateKey;
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::store::Record;
use ruche_ledger::testing::FixedClock;
use ruche_ledger::testing::watched::Watched;
use ruche_ledger::vote::{RequestPlace, key_id, request_facts};
use uuid::Uuid;

use crate::command::{Command, CommandReceipt};
use crate::error::CommandError;
use crate::governed::*;
use crate::reviewer::{RegisterReviewerKey, RevokeReviewerKey};
use crate::session::{SessionRef, StartSession};
use crate::testing::{NoObjection, TEST_NOW, TestLedger};
use crate::tool::RegisterTool;

mod epochs;
mod recorded;

const AGENT: u128 = 1;
const ADMIN: u128 = 2;
const DESK: u128 = 3;

/// A turn that waits for a decision.
struct World {
    store: Arc<Watched>,
    ledger: TestLedger,
    approval: ApprovalId,
}

fn alice() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

fn lane(channel: &str) -> LaneName {
    LaneName {
        agent: "shop".to_owned(),
        interlocutor: "ann".to_owned(),
        channel: channel.to_owned(),
        thread: None,
    }
}

impl World {
    async fn new() -> Self {
        Self::on("webchat").await
    }

    async fn on(channel: &str) -> Self {
        Self::of(channel, None).await
    }

    /// The same where this user's credential asks.
    async fn of(channel: &str, user: Option<&str>) -> Self {
        let clock = Arc::new(FixedClock::at(TEST_NOW.0));
        let store = Arc::new(Watched::new(Arc::new(MemoryStore::new(clock.clone()))));
        let mut world = Self {
            store: store.clone(),
            ledger: TestLedger::on(store, clock, Arc::new(NoObjection)).await,
            approval: ApprovalId(Uuid::nil()),
        };
        world.send(AGENT, "start", &StartSession::new("s")).await.unwrap();
        let submit = SubmitMessage {
            flush: false,
            session: SessionRef::External("s".to_owned()),
            lane: lane(channel),
            message: MessageReceived::new(Role::User),
        };
        world.send(AGENT, "submit", &submit).await.unwrap();
        world.wait_us(60_000_000);
        let claim = ClaimTurn {
            lane: lane(channel),
            brain_build: None,
        };
        let claim = world.send(AGENT, "claim", &claim).await.unwrap();
        let started = claim.events.iter().find_map(|event| {
            let Some(AgentEvent::TurnStarted(started)) = event.agent_event().unwrap() else {
                return None;
            };
            Some((event.event.turn.unwrap(), started))
        });
        let (turn, started) = started.unwrap();
        let lease = LeaseRef {
            id: started.lease_id.unwrap(),
            epoch: started.lease_epoch.unwrap(),
        };
        world.propose(channel, user, (turn, lease)).await;
        world
    }

    async fn propose(&mut self, channel: &str, user: Option<&str>, (turn, lease): (TurnId, LeaseRef)) {
        let propose = ProposeAction {
            lane: lane(channel),
            turn,
            lease,
            tool: "charge_card".to_owned(),
            arguments: r#"{ "amount": 7 }"#.to_owned(),
            business_key: Some("order-7".to_owned()),
            provider_call_id: None,
            justification: None,
        };
        let proposed = self.send_as(AGENT, user, "propose", &propose).await.unwrap();
        let request = proposed
            .events
            .iter()
            .find(|e| e.event.event_type == "approval.requested");
        self.approval = ApprovalId(request.unwrap().event.stream.id);
    }

    /// Sends a command under a credential.
    async fn send<C: Command>(
        &self,
        who: u128,
        key: &str,
        command: &C,
    ) -> Result<CommandReceipt, CommandError> {
        self.send_as(who, None, key, command).await
    }

    /// The same under one that names its user.
    async fn send_as<C: Command>(
        &self,
        who: u128,
        user: Option<&str>,
        key: &str,
        command: &C,
    ) -> Result<CommandReceipt, CommandError> {
        let mut context = self.ledger.context.with_key(key);
        context.user = user.map(Arc::from);
        context.actor = Actor {
            kind: ActorKind::Client,
            reference: Some(Uuid::from_u128(who)),
        };
        self.ledger.commands.execute(&context, command).await
    }

    fn registration(&self, key: &PrivateKey, reviewer: &str) -> RegisterReviewerKey {
        let tenant = self.ledger.context.tenant;
        let proven = KeyPossession::new(tenant, reviewer, *key.public().as_bytes()).unwrap();
        RegisterReviewerKey {
            reviewer: reviewer.to_owned(),
            public_key: key.public().to_hex(),
            proof_of_possession: key.sign(POSSESSION_TYPE, &proven.to_bytes()).unwrap().to_json(),
            label: None,
        }
    }

    async fn register(&self) {
        let command = self.registration(&alice(), "alice");
        self.send(ADMIN, "register", &command).await.unwrap();
    }

    async fn events(&self) -> Vec<Record> {
        self.ledger.stream(approval_stream(self.approval)).await
    }

    /// What a reviewer signs, after `change`.
    async fn statement(&self, decision: ApprovalDecision, change: impl FnOnce(&mut Statement)) -> String {
        self.signed_by(("alice", &alice()), decision, change).await
    }

    /// The same of any reviewer.
    async fn signed_by(
        &self,
        (reviewer, signer): (&str, &PrivateKey),
        decision: ApprovalDecision,
        change: impl FnOnce(&mut Statement),
    ) -> String {
        let record = &self.events().await[0];
        let payload = record.payload_bytes().unwrap();
        let requested: ApprovalRequested = serde_json::from_slice(payload).unwrap();
        let event = &record.leaf.event;
        let place = RequestPlace {
            origin: record.leaf.origin.clone(),
            position: record.position,
            leaf_hash: record.leaf_hash(),
            envelope: RequestEnvelope::of(event),
        };
        let facts = request_facts(&place, &requested).unwrap();
        let key = signer.public().id();
        let mut statement = Statement::new(facts, reviewer, &key, decision, Some("seen")).unwrap();
        change(&mut statement);
        signer
            .sign(STATEMENT_TYPE, &statement.to_bytes())
            .unwrap()
            .to_json()
    }

    async fn approve(&self) -> String {
        self.statement(ApprovalDecision::Approve, |_| ()).await
    }

    async fn vote(&self, who: u128, key: &str, envelope: String) -> Result<CommandReceipt, CommandError> {
        let approval = self.approval;
        self.send(who, key, &VoteOnApproval { approval, envelope }).await
    }

    /// A vote that is recorded as one that does not count, for this reason and with nothing beside it.
    async fn refused(&self, who: u128, key: &str, envelope: String) -> VoteRefusal {
        let receipt = self.vote(who, key, envelope).await.unwrap();
        assert_eq!(types(&receipt), ["approval.vote_refused"]);
        match receipt.events[0].agent_event().unwrap() {
            Some(AgentEvent::ApprovalVoteRefused(refused)) => refused.refusal,
            other => panic!("{other:?}"),
        }
    }

    fn wait_us(&self, us: u64) {
        self.ledger.clock.0.fetch_add(us, Ordering::SeqCst);
    }
}

fn types(receipt: &CommandReceipt) -> Vec<&str> {
    let events = receipt.events.iter();
    events.map(|event| event.event.event_type.as_str()).collect()
}

#[tokio::test]
async fn a_vote_that_counts_decides_in_the_same_append() {
    let world = World::new().await;
    world.register().await;
    let voted = world.vote(DESK, "vote", world.approve().await).await.unwrap();
    assert_eq!(
        types(&voted),
        ["approval.voted", "approval.resolved", "infra.lease_renewed"]
    );
    let world_of_messages = World::on("whatsapp").await;
    world_of_messages.register().await;
    let envelope = world_of_messages.approve().await;
    let detached = world_of_messages.vote(DESK, "vote", envelope).await.unwrap();
    assert_eq!(types(&detached)[2], "turn.opened", "nobody waited");
    let (vote, resolved) = (&voted.events[0].event, &voted.events[1].event);
    assert_eq!(resolved.causation_id, Some(vote.event_id));
    assert_eq!(
        (vote.stream.category, resolved.stream),
        (Category::Approval, vote.stream)
    );
    assert!(vote.session.is_some() && vote.turn.is_some() && vote.call.is_some());
    let Some(AgentEvent::ApprovalVoted(said)) = voted.events[0].agent_event().unwrap() else {
        panic!("no vote")
    };
    assert_eq!(said.signature, world.approve().await, "stored as it was signed");
    let again = world.vote(DESK, "vote", world.approve().await).await.unwrap();
    assert!(again.duplicate);
    let second = world.statement(ApprovalDecision::Reject, |_| ()).await;
    assert_eq!(world.refused(DESK, "second", second).await, VoteRefusal::Decided);
}

/// The node that takes the vote has a clock 50 s behind that of the one that the agent asked.
#[tokio::test]
async fn a_vote_is_not_decided_before_what_stands_in_its_lane() {
    let world = World::new().await;
    world.register().await;
    let envelope = world.approve().await;
    let asked_at = world.events().await[0].leaf.event.occurred_at;
    world.ledger.clock.0.fetch_sub(50_000_000, Ordering::SeqCst);
    let voted = world.vote(DESK, "vote", envelope).await.unwrap();
    for event in &voted.events {
        assert!(event.event.occurred_at >= asked_at, "{event:?}");
    }
    let renewed = voted
        .events
        .iter()
        .find_map(|event| match event.agent_event().unwrap() {
            Some(AgentEvent::InfraLeaseRenewed(renewed)) => Some(renewed),
            _ => None,
        });
    assert!(
        renewed.unwrap().expires_at > asked_at,
        "or the worker loses its turn"
    );
}

#[tokio::test]
async fn a_no_is_a_no() {
    let world = World::new().await;
    world.register().await;
    let envelope = world.statement(ApprovalDecision::Reject, |_| ()).await;
    let voted = world.vote(DESK, "vote", envelope).await.unwrap();
    assert_eq!(types(&voted)[..2], ["approval.voted", "approval.resolved"]);
    let Some(AgentEvent::ApprovalResolved(resolved)) = voted.events[1].agent_event().unwrap() else {
        panic!("not resolved")
    };
    assert_eq!(resolved.outcome.name(), "rejected");
    assert_eq!(
        (resolved.by.as_deref(), resolved.detail.as_deref()),
        (Some("alice"), Some("seen"))
    );
}

#[tokio::test]
async fn votes_that_do_not_count_are_recorded_and_change_nothing() {
    let world = World::new().await;
    let good = world.approve().await;
    assert_eq!(
        world.refused(DESK, "1", good.clone()).await,
        VoteRefusal::UnknownKey
    );
    world.register().await;
    assert_eq!(
        world.refused(DESK, "2", "{}".to_owned()).await,
        VoteRefusal::Malformed
    );
    assert_eq!(
        world.refused(AGENT, "3", good.clone()).await,
        VoteRefusal::Requester
    );
    let other = world.statement(ApprovalDecision::Approve, |statement| {
        statement.request.action_digest = Digest([0; 32]);
    });
    assert_eq!(world.refused(DESK, "4", other.await).await, VoteRefusal::Mismatch);
    let of_bob = world.statement(ApprovalDecision::Approve, |statement| {
        statement.reviewer = "bob".to_owned();
    });
    assert_eq!(
        world.refused(DESK, "5", of_bob.await).await,
        VoteRefusal::OtherReviewer
    );
    // The request stands as it stood, and the good vote still decides.
    let voted = world.vote(DESK, "6", good).await.unwrap();
    assert_eq!(types(&voted)[..2], ["approval.voted", "approval.resolved"]);
}

#[tokio::test]
async fn a_revoked_key_does_not_vote_and_is_never_registered_again() {
    let world = World::new().await;
    world.register().await;
    let revoke = RevokeReviewerKey {
        key_id: key_id(&alice().public()),
        reason: Some("lost".to_owned()),
    };
    assert_eq!(
        types(&world.send(ADMIN, "revoke", &revoke).await.unwrap()),
        ["infra.key.revoked"]
    );
    assert!(world.send(ADMIN, "again", &revoke).await.unwrap().unchanged);
    assert_eq!(
        world.refused(DESK, "vote", world.approve().await).await,
        VoteRefusal::RevokedKey
    );
    let again = world.registration(&alice(), "alice");
    let refused = world.send(ADMIN, "anew", &again).await.unwrap_err();
    assert_eq!(refused.code(), "ILLEGAL_TRANSITION");
}

#[tokio::test]
async fn too_late_is_a_no() {
    let world = World::new().await;
    world.register().await;
    world.wait_us(30 * 24 * 3_600 * 1_000_000);
    assert_eq!(
        world.refused(DESK, "vote", world.approve().await).await,
        VoteRefusal::Expired
    );
}

#[tokio::test]
async fn a_key_that_the_requester_registered_does_not_vote() {
    let world = World::new().await;
    let command = world.registration(&alice(), "alice");
    world.send(AGENT, "register", &command).await.unwrap();
    assert_eq!(
        world.refused(DESK, "vote", world.approve().await).await,
        VoteRefusal::Requester
    );
}

/// Credentials are many, a person is one.
#[tokio::test]
async fn whoever_asked_does_not_vote_under_another_credential() {
    let carol = Some("carol");
    for (asks, registers, votes) in [
        (Some("alice"), None, None),
        (carol, None, carol),
        (carol, carol, None),
    ] {
        let world = World::of("webchat", asks).await;
        let command = world.registration(&alice(), "alice");
        world
            .send_as(ADMIN, registers, "register", &command)
            .await
            .unwrap();
        let vote = VoteOnApproval {
            approval: world.approval,
            envelope: world.approve().await,
        };
        let receipt = world.send_as(DESK, votes, "vote", &vote).await.unwrap();
        let Some(AgentEvent::ApprovalVoteRefused(refused)) = receipt.events[0].agent_event().unwrap() else {
            panic!("{:?}", types(&receipt))
        };
        assert_eq!(
            (refused.refusal, receipt.events.len()),
            (VoteRefusal::Requester, 1),
            "{asks:?} {registers:?} {votes:?}"
        );
    }
    let world = World::of("webchat", carol).await;
    let record = &world.events().await[0];
    let said: ApprovalRequested = serde_json::from_slice(record.payload_bytes().unwrap()).unwrap();
    assert_eq!(said.requested_by.as_deref(), carol);
    world.register().await;
    let vote = VoteOnApproval {
        approval: world.approval,
        envelope: world.approve().await,
    };
    let voted = world.send_as(DESK, Some("bob"), "vote", &vote).await.unwrap();
    assert_eq!(types(&voted)[0], "approval.voted");
}

#[tokio::test]
async fn there_has_to_be_such_a_request() {
    let mut world = World::new().await;
    let envelope = world.approve().await;
    world.approval = ApprovalId(Uuid::from_u128(9));
    let size = world.ledger.size().await;
    let error = world.vote(DESK, "vote", envelope).await.unwrap_err();
    assert_eq!(error.code(), "NOT_FOUND");
    let long = world.vote(DESK, "long", " ".repeat(100_000)).await.unwrap_err();
    assert_eq!(long.code(), "LIMIT_EXCEEDED");
    assert_eq!(world.ledger.size().await, size);
}

#[tokio::test]
async fn who_registers_a_key_holds_it() {
    let world = World::new().await;
    let size = world.ledger.size().await;
    let mut stolen = world.registration(&PrivateKey::from_seed(&[9; 32]), "alice");
    stolen.public_key = alice().public().to_hex();
    let mut weak = world.registration(&alice(), "alice");
    weak.public_key = "0".repeat(64);
    for (number, command) in [stolen, weak].iter().enumerate() {
        let error = world.send(ADMIN, &number.to_string(), command).await.unwrap_err();
        assert_eq!(error.code(), "INVALID_INPUT", "{error}");
    }
    assert_eq!(world.ledger.size().await, size);
    world.register().await;
    let again = world.registration(&alice(), "alice");
    assert!(world.send(ADMIN, "again", &again).await.unwrap().unchanged);
    let of_bob = world.registration(&alice(), "bob");
    assert_eq!(
        world.send(ADMIN, "bob", &of_bob).await.unwrap_err().code(),
        "INVALID_INPUT"
    );
}

#[tokio::test]
async fn a_vote_on_a_tool_that_was_registered_anew_meanwhile_is_stale() {
    for channel in ["webchat", "whatsapp"] {
        let world = World::on(channel).await;
        world.register().await;
        let mut tool = RegisterTool::new("charge_card", SideEffectPolicy::Irreversible);
        tool.tool.schema = Some(serde_json::json!({ "type": "object" }));
        world.send(ADMIN, "tool", &tool).await.unwrap();
        let voted = world.vote(DESK, "vote", world.approve().await).await.unwrap();
        assert_eq!(
            types(&voted)[..2],
            ["approval.voted", "approval.stale"],
            "{channel}"
        );
        let Some(AgentEvent::ApprovalStale(stale)) = voted.events[1].agent_event().unwrap() else {
            panic!("not stale")
        };
        assert_eq!(stale.what_changed, [StaleCause::Action]);
    }
}
