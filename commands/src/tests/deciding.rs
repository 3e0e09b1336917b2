//! People who decide on approvals, for tests of what comes before and after.

use ruche_domain::approval::{KeyPossession, POSSESSION_TYPE};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalDecision, ApprovalOutcome, ApprovalResolved, ApprovalVoted};
use ruche_domain::ids::{ApprovalId, CallId, TurnId};
use ruche_domain::numbers::Micros;
use ruche_domain::stream::Category;
use ruche_ledger::dsse::PrivateKey;
use ruche_ledger::vote::key_id;
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
        self.send(key, &Decided { events }).await.unwrap()
    }

    /// A decision to approve without a vote, which no command makes.
    pub async fn decided_by_nobody(&self, key: &str, call: CallId) {
        let events = self.decision(call, ApprovalOutcome::Approved).await;
        self.send(key, &Decided { events }).await.unwrap();
    }

    async fn decision(&self, call: CallId, outcome: ApprovalOutcome) -> Vec<NewEvent> {
        let approval = approval_of(call);
        let lane = self.state(&[approval]).await;
        let known = &lane.approvals[&approval];
        let resolve = lane::ResolveApproval {
            approval,
            resolved: ApprovalResolved::new(outcome),
            binding: known.binding,
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
        let approval = approval_of(call);
        let lane = self.state(&[approval]).await;
        let action = lane.approvals[&approval].binding.action;
        let voted = ApprovalVoted::new(
            "alice".to_owned(),
            ApprovalDecision::Approve,
            key().public().id(),
            "{}".to_owned(),
            action,
            action,
        );
        NewEvent::fact(approval_stream(approval), voted)
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
        self.send("register-key", &register).await.unwrap();
    }

    /// The key of the reviewer is revoked.
    pub async fn revoke_key(&self) {
        let revoke = RevokeReviewerKey {
            key_id: key_id(&key().public()),
            reason: None,
        };
        self.send("revoke-key", &revoke).await.unwrap();
    }
}
