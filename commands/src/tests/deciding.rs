//! People who decide on approvals, for tests of what comes before and after.

use ruche_domain::approval::{KeyPossession, POSSESSION_TYPE, RequestEnvelope, STATEMENT_TYPE, Statement};
use ruche_domain::envelope::{Actor, ActorKind};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalDecision, ApprovalOutcome, ApprovalResolved, ApprovalVoted};
use ruche_domain::ids::{ApprovalId, CallId, TurnId};
use ruche_domain::numbers::Micros;
use ruche_domain::stream::Category;
use ruche_ledger::dsse::PrivateKey;
use ruche_ledger::vote::{RequestPlace, key_id, request_facts};
use serde::Serialize;

use super::tool_calls::World;
use crate::command::{Command, CommandReceipt, Decision, Load, NewEvent, PastEvent};
use crate::context::Ground;
use crate::error::CommandError;
use crate::governed::*;
use crate::lane::{self, ChannelSettings, Intent, Lane, LaneCommand, LaneEvent};
use crate::reviewer::{RegisterReviewerKey, RevokeReviewerKey};

/// Stands for people who decided: what the machine says when they did, and nothing else.
#[derive(Serialize)]
struct Decided {
    #[serde(skip)]
    events: Vec<NewEvent>,
}

impl Command for Decided {
    type State = ();
    const NAME: &'static str = "Decided";

    fn loads(&self, _: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        Ok(Vec::new())
    }

    fn evolve(&self, (): &mut (), _: &PastEvent) {}

    fn decide(&self, (): &(), _: &Ground<'_>) -> Result<Decision, CommandError> {
        Ok(Decision::Append(self.events.clone()))
    }
}

/// Credentials of the people beside the agent: who administers keys, and who brings votes.
const ADMIN: u128 = 0xAD;
const DESK: u128 = 0xDE;

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

impl World {
    pub fn lane_id(&self) -> ruche_domain::ids::LaneId {
        let ledger = self.ledger.context.ledger;
        self.lane()
            .id(&self.ledger.commands.secrets_of(ledger).references)
    }

    fn lane_stream(&self) -> ruche_domain::stream::StreamId {
        lane_stream(self.lane_id())
    }

    /// The records of the lane's own stream.
    pub async fn records(&self) -> Vec<ruche_ledger::store::Record> {
        self.ledger.stream(self.lane_stream()).await
    }

    /// The lane as it stands, read by a way of its own.
    async fn state(&self, approvals: &[ApprovalId]) -> Lane {
        let mut records = self.ledger.stream(self.lane_stream()).await;
        for approval in approvals {
            records.extend(self.ledger.stream(approval_stream(*approval)).await);
        }
        records.sort_by_key(|record| record.position);
        records.iter().fold(Lane::default(), |lane, record| {
            let event = &record.leaf.event;
            let payload = record.payload_bytes().unwrap();
            let stream = event.stream;
            let event = LaneEvent {
                at: event.occurred_at,
                turn: event.turn.unwrap(),
                call: event.call,
                approval: (stream.category == Category::Approval).then_some(ApprovalId(stream.id)),
                fact: AgentEvent::from_payload(&event.event_type, event.schema_version, payload).unwrap(),
            };
            lane::evolve(lane, &event)
        })
    }

    pub async fn decided(&self, key: &str, call: CallId, outcome: ApprovalOutcome) -> CommandReceipt {
        let mut events = self.decision(call, outcome).await;
        if outcome == ApprovalOutcome::Approved {
            let mut vote = self.vote(call).await;
            (vote.session, vote.turn, vote.call) = (events[0].session, events[0].turn, Some(call));
            events.insert(0, vote);
        }
        self.send_as(DESK, key, &Decided { events }).await.unwrap()
    }

    /// A decision to approve without a vote, which no command makes.
    pub async fn decided_by_nobody(&self, key: &str, call: CallId) {
        let events = self.decision(call, ApprovalOutcome::Approved).await;
        self.send_as(DESK, key, &Decided { events }).await.unwrap();
    }

    /// Sends a command under another credential than the agent's.
    async fn send_as<C: Command>(
        &self,
        who: u128,
        key: &str,
        command: &C,
    ) -> Result<CommandReceipt, CommandError> {
        let mut context = self.ledger.context.with_key(key);
        context.user = None;
        context.actor = Actor {
            kind: ActorKind::Client,
            reference: Some(uuid::Uuid::from_u128(who)),
        };
        self.ledger.commands.execute(&context, command).await
    }

    async fn decision(&self, call: CallId, outcome: ApprovalOutcome) -> Vec<NewEvent> {
        let approval = approval_of(call);
        let lane = self.state(&[approval]).await;
        let known = &lane.approvals[&approval];
        let resolve = lane::ResolveApproval {
            approval,
            resolved: ApprovalResolved::new(outcome),
            binding: known.binding,
            changed: Vec::new(),
            new_turn: TurnId(uuid::Uuid::from_u128(0xDEC1DED)),
        };
        let command = LaneCommand {
            now: Micros(self.ledger.clock.0.load(std::sync::atomic::Ordering::SeqCst)),
            settings: ChannelSettings::of_channel(&self.lane().channel),
            layers: Vec::new(),
            intent: Intent::ResolveApproval(resolve),
        };
        let events = lane::decide(&lane, &command).unwrap().into_iter();
        let new = |event: LaneEvent| NewEvent {
            occurred_at: Some(event.at),
            session: Some(self.ledger.session("s")),
            turn: Some(event.turn),
            call: event.call,
            ..NewEvent::fact(
                event.approval.map_or(self.lane_stream(), approval_stream),
                event.fact,
            )
        };
        events.map(new).collect()
    }

    /// The vote of a reviewer whose key is registered. Whether it counts was asked before.
    async fn vote(&self, call: CallId) -> NewEvent {
        self.register_key().await;
        let stream = approval_stream(approval_of(call));
        let record = &self.ledger.stream(stream).await[0];
        let (event, payload) = (&record.leaf.event, record.payload_bytes().unwrap());
        let said = AgentEvent::from_payload(&event.event_type, event.schema_version, payload).unwrap();
        let AgentEvent::ApprovalRequested(said) = said else {
            panic!("{said:?}");
        };
        let place = RequestPlace {
            origin: record.leaf.origin.clone(),
            position: record.position,
            leaf_hash: record.leaf_hash(),
            envelope: RequestEnvelope::of(event),
        };
        let facts = request_facts(&place, &said).unwrap();
        let (action, shown) = (facts.action_digest, facts.view_digest);
        let (id, decision) = (key().public().id(), ApprovalDecision::Approve);
        let statement = Statement::new(facts, "alice", &id, decision, None).unwrap();
        let signed = key().sign(STATEMENT_TYPE, &statement.to_bytes()).unwrap();
        let voted = ApprovalVoted::new("alice".to_owned(), decision, id, signed.to_json(), action, shown);
        NewEvent::fact(stream, voted)
    }

    async fn register_key(&self) {
        let proven = KeyPossession::new(self.ledger.context.tenant, "alice", *key().public().as_bytes());
        let proof = key().sign(POSSESSION_TYPE, &proven.unwrap().to_bytes()).unwrap();
        let register = RegisterReviewerKey {
            reviewer: "alice".to_owned(),
            public_key: key().public().to_hex(),
            proof_of_possession: proof.to_json(),
            label: None,
        };
        self.send_as(ADMIN, "register-key", &register).await.unwrap();
    }

    /// The key of the reviewer is revoked.
    pub async fn revoke_key(&self) {
        let revoke = RevokeReviewerKey {
            key_id: key_id(&key().public()),
            reason: None,
        };
        self.send_as(ADMIN, "revoke-key", &revoke).await.unwrap();
    }
}
