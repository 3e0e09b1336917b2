//! What an earlier version wrote is judged by what it decided.

use std::collections::BTreeMap;

use ruche_commands::channel;
use ruche_commands::lane::{
    self, ClaimTurn, CommitTurn, Held, Intent, Lane, LaneCommand, LeaseProof, ProposeAction, SentMessage,
    SubmitMessage,
};
use ruche_domain::events::{
    ApprovalMode, ApprovalRequested, ApprovalRule, ConfigPublished, ConfigScope, InterventionPoint,
    MessageReceived, MessageSent, PolicyEvaluated, PolicyVerdict, Role, ToolProposed,
};
use ruche_domain::ids::{ApprovalId, CallId, MessageId};
use ruche_domain::measures::Digest;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::Category;
use serde_json::{Value, json};

use super::forged::{Draft, Forger, id, report_on};
use super::*;

const CHANNEL: &str = "api";

/// A lane on which messages take the place of what runs, words cannot be taken back, and nobody waits for decisions.
struct Script {
    lane: Lane,
    now: Micros,
    published: BTreeMap<String, Value>,
    drafts: Vec<Draft>,
    appends: u64,
}

impl Script {
    fn new() -> Self {
        let published = [
            ("turns.strategy".to_owned(), json!("cancel_in_progress")),
            ("turns.approval_mode".to_owned(), json!("detached")),
        ];
        let mut script = Self {
            lane: Lane::default(),
            now: Micros(1_000_000),
            published: published.into_iter().collect(),
            drafts: Vec::new(),
            appends: 0,
        };
        let mut config = ConfigPublished::new(ConfigScope::Channel, 1);
        config.scope_id = Some(CHANNEL.to_owned());
        config.set.clone_from(&script.published);
        script.write(
            StreamId::new(Category::Config, id(5, 1)),
            None,
            None,
            &config.into(),
        );
        script
    }

    fn write(&mut self, stream: StreamId, turn: Option<TurnId>, call: Option<CallId>, fact: &AgentEvent) {
        let number = self.drafts.len() as u128;
        let event_id = EventId::from_bytes(id(8, number).into_bytes());
        let event_type = fact.event_type();
        let event = ACFEvent {
            session: turn.map(|_| SessionId(id(7, 1))),
            turn,
            call,
            ..ACFEvent::new(
                event_id,
                stream,
                event_type,
                fact.schema_version(),
                self.now,
                Actor::SYSTEM,
            )
        };
        let payload = serde_json::from_slice(&fact.to_payload()).expect("JSON");
        self.drafts.push(Draft {
            event,
            payload,
            recorded_at: self.now,
            append: self.appends,
        });
    }

    fn ask(&mut self, intent: Intent) {
        self.now.0 += 1_000_000;
        self.appends += 1;
        let command = LaneCommand {
            now: self.now,
            settings: channel::settings(CHANNEL, Some(&self.published)),
            layers: Vec::new(),
            intent,
        };
        let decided = lane::explain(&self.lane, &command).expect("it is possible");
        self.lane = decided.lane;
        for event in decided.events {
            let stream = match event.approval {
                Some(approval) => StreamId::new(Category::Approval, approval.0),
                None => StreamId::new(Category::Lane, id(6, 1)),
            };
            let mut fact = event.fact;
            if let AgentEvent::TurnOpened(opened) = &mut fact
                && !opened.message_ids.is_empty()
            {
                opened.channel = Some(CHANNEL.to_owned());
            }
            self.write(stream, Some(event.turn), event.call, &fact);
        }
    }

    fn message(&mut self, number: u128) {
        self.ask(Intent::SubmitMessage(SubmitMessage {
            message_id: MessageId(id(2, number)),
            message: MessageReceived::new(Role::User),
            agent_id: None,
            new_turn: TurnId(id(1, number)),
            flush: false,
        }));
    }

    fn claim(&mut self) {
        self.ask(Intent::ClaimTurn(ClaimTurn {
            lease_id: format!("lease-{}", self.lane.lease_epoch + 1),
            brain_build: None,
        }));
    }

    fn held<T>(&self, what: T) -> Held<T> {
        let holder = self.lane.holder().expect("a turn runs");
        let lease = holder.lease.as_ref().expect("under a lease");
        Held {
            turn: holder.id,
            lease: LeaseProof {
                id: lease.id.clone(),
                epoch: lease.epoch,
            },
            what,
        }
    }

    /// Words that cannot be taken back.
    fn send(&mut self, number: u128) {
        let message = SentMessage {
            message_id: MessageId(id(3, number)),
            message: MessageSent::new(Role::Assistant),
        };
        self.ask(Intent::SendMessage(self.held(message)));
    }

    fn commit(&mut self) {
        let commit = CommitTurn {
            committed: TurnCommitted::default(),
            response: None,
        };
        self.ask(Intent::CommitTurn(self.held(commit)));
    }

    fn propose(&mut self) {
        let digest = Digest([1; 32]);
        let mut proposed = ToolProposed::new("tool".to_owned(), "{}".to_owned());
        proposed.side_effect = Some(SideEffectPolicy::Irreversible);
        proposed.business_key = Some("order".to_owned());
        let (point, verdict) = (InterventionPoint::PreToolCall, PolicyVerdict::Allow);
        let evaluated = PolicyEvaluated::new("decision".to_owned(), point, verdict, digest, digest);
        let request = ApprovalRequested::new(digest, ApprovalRule::new(1), Micros(0), ApprovalMode::Detached);
        let propose = ProposeAction {
            call: CallId(id(4, 1)),
            proposed,
            evaluated,
            approval: Some((ApprovalId(id(7, 1)), request)),
        };
        self.ask(Intent::ProposeAction(self.held(propose)));
    }

    /// Nobody decides in time, which opens a turn.
    fn expire(&mut self, new_turn: u128) {
        self.now = self.lane.next_timer().expect("the request lapses").0;
        self.ask(Intent::FireTimer {
            new_turn: TurnId(id(1, new_turn)),
        });
    }
}

/// A message comes while a turn runs that cannot be superseded any more: one that a message opened, one that a decision
/// opened, and again one that a message opened. Gives where it was recorded that they cannot, by number of the draft.
fn three_refusals() -> (Forger, [usize; 3]) {
    let mut script = Script::new();
    script.message(1);
    script.claim();
    script.send(1);
    script.message(2);
    script.commit();
    script.claim();
    script.propose();
    script.commit();
    script.expire(3);
    script.claim();
    script.send(2);
    script.message(4);
    script.commit();
    script.claim();
    script.send(3);
    script.message(5);
    let drafts = script.drafts;
    let is_one = |n: &usize| drafts[*n].event.event_type == "turn.supersede_refused";
    let refusals: Vec<usize> = (0..drafts.len()).filter(is_one).collect();
    let of_turn = refusals.iter().map(|n| drafts[*n].event.turn.expect("a turn").0);
    assert_eq!(of_turn.collect::<Vec<_>>(), [1, 3, 4].map(|turn| id(1, turn)));
    let refusals = refusals.try_into().expect("three");
    let seen = BTreeMap::new();
    let votes = Vec::new();
    (Forger { drafts, seen, votes }, refusals)
}

/// As the version before wrote it.
fn rename(draft: &mut Draft) {
    draft.event.event_type = "turn.cancel_refused".to_owned();
    for name in ["tool", "waiting_turn_id"] {
        draft.payload.as_object_mut().expect("an object").remove(name);
    }
}

/// Where something illegal was found.
async fn illegal(forger: &Forger) -> Vec<Option<Position>> {
    let ledger = LedgerId(id(9, 1));
    let report = report_on(forger.write(ledger).await, ledger).await;
    let illegal = report
        .findings
        .iter()
        .filter(|found| found.name == report::ILLEGAL_TRANSITION);
    illegal.map(|found| found.position).collect()
}

#[tokio::test]
async fn refusals_to_supersede_are_judged_as_they_were_decided() {
    let (whole, [of_message, of_decision, last]) = three_refusals();
    assert_eq!(illegal(&whole).await, []);

    // It was called otherwise, and was not recorded of a turn that a decision opened.
    let mut old = whole.clone();
    rename(&mut old.drafts[of_message]);
    rename(&mut old.drafts[last]);
    old.drafts.remove(of_decision);
    assert_eq!(illegal(&old).await, []);

    // Record 0 opens the ledger, so the drafts stand one further on.
    let place = |draft: usize| Some(Position::new(1, draft as u64 + 1));
    // From the first one on that is called as it is now, no other is left out or called otherwise.
    let mut mixed = whole.clone();
    rename(&mut mixed.drafts[last]);
    assert_eq!(illegal(&mixed).await, [place(last)]);
    let mut mixed = whole.clone();
    mixed.drafts.remove(of_decision);
    assert_eq!(illegal(&mixed).await, [place(of_decision)]);
    // It is the commit point of that turn that it names.
    let mut other = old.clone();
    other.drafts[of_message].payload["commit_point"] = json!("irreversible_effect");
    assert_eq!(illegal(&other).await, [place(of_message)]);
}
