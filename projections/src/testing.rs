//! For the tests of this crate and of adapters (feature `testing`): realistic conversations, a store that keeps what it
//! is given and fails on demand, and the contract of stores.

use std::sync::Arc;

use ruche_domain::envelope::{ACFEvent, Actor, ActorKind, Provenance};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ConfigActivated, ConfigPublished, ConfigScope, EvalScored, InfraKeyRegistered, LlmRequested,
    LlmResponded, MessageDrafted, MessageReceived, MessageSent, OutcomeCategory, Role, SessionEndReason,
    SessionEnded, SessionStarted, ToolCallRequest, ToolCompleted, ToolFailed, ToolProposed, ToolRegistered,
    ToolStarted, TurnCommitted, TurnFailed, TurnOpened, TurnStarted, TurnStepStarted, TurnTrigger,
};
use ruche_domain::ids::{CallId, EventId, LedgerId, SessionId, TurnId};
use ruche_domain::measures::{Cost, Finite, Usage};
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::ports::Random;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::payload::{Fragment, JSON};
use ruche_ledger::references::ReferenceKey;
use ruche_ledger::store::{AppendRequest, EventStore, PreparedEvent, Receipt};
use ruche_ledger::testing::{Author, FixedClock, SeededRandom, appended};

pub mod analytics;
pub mod approvals;
pub mod attempts;
pub mod carried;
pub mod closed;
pub mod contract;
pub mod conversations;
pub mod erased;
pub mod extremes;
pub mod faults;
pub mod figures;
pub mod interventions;
pub mod limits;
pub mod memory;
pub mod memory_edges;
pub mod memory_found;
pub mod memory_nearest;
pub mod names;
pub mod outcomes;
pub mod owners;
pub mod questions;
pub mod pages;
pub mod pauses;
pub mod policies;
pub mod rebuilds;
pub mod saved_queries;
pub mod scenarios;
pub mod searches;
pub mod shared;
pub mod steps;
pub mod timers;
pub mod workers;
pub mod world;

/// 2026-01-05 00:00 UTC.
pub const START_US: u64 = 1_767_571_200_000_000;
const DAY_US: u64 = 86_400_000_000;
/// Turns of a told session.
pub const TURNS: u64 = 5;

/// Tells conversations as events, the same ones for the same seed.
pub struct Story {
    random: SeededRandom,
    references: ReferenceKey,
    at: u64,
    session: Option<SessionId>,
    turn: Option<TurnId>,
    call: Option<CallId>,
    ordinal: u64,
    events: Vec<PreparedEvent>,
}

impl Story {
    /// The stories of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: SeededRandom::new(seed),
            references: ReferenceKey::new([7; 32]),
            at: START_US,
            session: None,
            turn: None,
            call: None,
            ordinal: 0,
            events: Vec::new(),
        }
    }

    /// The session with this number.
    pub fn session_id(&self, n: u64) -> SessionId {
        self.references.session(&format!("session-{n}"))
    }

    /// A turn of a session.
    pub fn turn_id(&self, session: SessionId, ordinal: u64) -> TurnId {
        self.references.turn(session, ordinal)
    }

    /// The call of a turn.
    pub fn call_id(&self, turn: TurnId) -> CallId {
        self.references.call(turn, 0)
    }

    /// One event about what the story is about at the moment.
    pub fn event(&mut self, event: impl Into<AgentEvent>) -> PreparedEvent {
        let event: AgentEvent = event.into();
        let mut id = [0u8; 10];
        self.random.fill(&mut id);
        self.at = self.at.saturating_add(1_000 + self.random.next() % 400_000);
        let stream = match self.session {
            Some(session) => StreamId::new(Category::Observed, session.0),
            None => StreamId::new(Category::Tool, uuid::Uuid::from_u128(1)),
        };
        let header = ACFEvent {
            provenance: Provenance::Imported,
            session: self.session,
            turn: self.turn,
            call: self.call,
            ..ACFEvent::new(
                EventId::v7(self.at / 1_000, id),
                stream,
                event.event_type(),
                event.schema_version(),
                Micros(self.at),
                Actor {
                    kind: ActorKind::Client,
                    reference: Some(uuid::Uuid::from_u128(5)),
                },
            )
        };
        let payload =
            Fragment::plain(&self.random, JSON, event.to_payload()).expect("test payloads are small");
        PreparedEvent {
            event: header,
            payload: vec![payload],
        }
    }

    /// Lets the next events happen at a time, so much later as events are apart.
    pub fn set_time(&mut self, at: u64) {
        self.at = at;
    }

    fn tell(&mut self, event: impl Into<AgentEvent>) {
        let event = self.event(event);
        self.events.push(event);
    }

    /// Speaks of a session from here on.
    pub fn enter(&mut self, session: SessionId) {
        self.session = Some(session);
        self.turn = None;
        self.call = None;
    }

    /// Speaks of a call of a turn from here on.
    pub fn enter_call(&mut self, turn: TurnId, call: CallId) {
        self.turn = Some(turn);
        self.call = Some(call);
    }

    /// Tools and configuration of a tenant: four tools, two versions of the tenant's configuration.
    pub fn setup(&mut self) -> Vec<PreparedEvent> {
        (self.session, self.turn, self.call) = (None, None, None);
        for (n, policy) in SideEffectPolicy::ALL.iter().enumerate() {
            self.tell(ToolRegistered::new(tool_name(n as u64).to_owned(), *policy));
        }
        let published = |version, model: &str| {
            let mut config = ConfigPublished::new(ConfigScope::Tenant, version);
            config.set.insert("model".to_owned(), model.into());
            config.set.insert(format!("only-{version}"), version.into());
            config
        };
        self.tell(published(1, "small"));
        self.tell(ConfigPublished {
            removed: vec!["only-1".to_owned()],
            ..published(2, "large")
        });
        self.tell(ConfigActivated::new(ConfigScope::Tenant, 2));
        std::mem::take(&mut self.events)
    }

    /// A whole session of five turns, each with a tool call: 64 events.
    pub fn session(&mut self, n: u64) -> Vec<PreparedEvent> {
        self.at = START_US + n % 14 * DAY_US + n * 1_000;
        self.enter(self.session_id(n));
        self.ordinal = 0;
        self.tell(SessionStarted {
            external_id: Some(format!("session-{n}")),
            agent_id: Some(format!("agent-{}", n % 3)),
            interlocutor_id: Some(format!("person-{n}")),
            channel: Some("web".to_owned()),
            ..SessionStarted::default()
        });
        self.tell(EvalScored {
            value: Finite::new(0.5),
            ..EvalScored::new("reward".to_owned())
        });
        for turn in 0..TURNS {
            self.tell_turn(n, turn);
        }
        (self.turn, self.call) = (None, None);
        self.tell(SessionEnded::new(SessionEndReason::Completed));
        std::mem::take(&mut self.events)
    }

    /// A lane with a turn whose worker runs a call that it asked for an approval of, prices, a saved question, and the key
    /// of a reviewer.
    pub fn lane(&mut self) -> Vec<PreparedEvent> {
        self.enter(self.session_id(1_000));
        let turn = self.turn_id(self.session_id(1_000), 0);
        self.enter_call(turn, self.call_id(turn));
        let at = Micros(START_US);
        let digest = ruche_domain::measures::Digest([1; 32]);
        let rule = ruche_domain::events::ApprovalRule::new(1);
        let mode = ruche_domain::events::ApprovalMode::Detached;
        self.tell(TurnOpened {
            channel: Some("web".to_owned()),
            deadline: Some(at),
            ..TurnOpened::new(TurnTrigger::User)
        });
        self.tell(TurnStarted::new(1));
        self.tell(TurnStepStarted::new("look".to_owned(), 1));
        self.tell(ruche_domain::events::ApprovalRequested::new(
            digest, rule, at, mode,
        ));
        self.tell(ToolStarted::new("transfer".to_owned()));
        let reason = "attempts_used_up".to_owned();
        self.tell(ruche_domain::events::InfraManualInterventionRequired::new(reason));
        let mut events = std::mem::take(&mut self.events);
        for event in &mut events {
            event.event.stream.category = match event.event.event_type.starts_with("approval.") {
                true => Category::Approval,
                false => Category::Lane,
            };
        }
        (self.session, self.turn, self.call) = (None, None, None);
        let mut prices = self.event(ruche_domain::events::ConfigPriceTableChanged::new(digest));
        prices.event.stream.category = Category::Config;
        events.push(prices);
        let question = ruche_domain::Object::from([("metric".to_owned(), "COST".into())]);
        let mut saved = self.event(ruche_domain::events::ConfigQuerySaved::new(
            "costs".to_owned(),
            question,
        ));
        saved.event.stream.category = Category::Config;
        events.push(saved);
        let proof = "{}".to_owned();
        let mut key = self.event(InfraKeyRegistered::new(digest, "alice".to_owned(), digest, proof));
        key.event.stream.category = Category::Key;
        events.push(key);
        events
    }

    fn next_ordinal(&mut self) -> Option<u64> {
        self.ordinal += 1;
        Some(self.ordinal - 1)
    }

    fn tell_turn(&mut self, n: u64, ordinal: u64) {
        let turn = self.turn_id(self.session.expect("a turn is told in a session"), ordinal);
        (self.turn, self.call) = (Some(turn), None);
        self.tell(TurnOpened {
            turn_ordinal: Some(ordinal),
            ..TurnOpened::new(TurnTrigger::User)
        });
        let text = format!(
            "Hello, this is customer {n}. I would like to change flight {ordinal} to next Tuesday, please."
        );
        let message_ordinal = self.next_ordinal();
        self.tell(MessageReceived {
            message_ordinal,
            text: Some(text),
            ..MessageReceived::new(Role::User)
        });
        self.tell(TurnStarted::new(1));
        self.tell(LlmRequested::new("gpt-large".to_owned()));
        self.tell(responded(900 + n, "0.0035475000000000003"));
        self.tell_call(n, turn, ordinal);
        self.call = None;
        self.tell(responded(1_100 + n, "0.00412"));
        let text = format!("Your flight {ordinal} is changed. The difference in price is {n} dollars.");
        let message_ordinal = self.next_ordinal();
        self.tell(MessageSent {
            message_ordinal,
            text: Some(text),
            ..MessageSent::new(Role::Assistant)
        });
        if (n + ordinal).is_multiple_of(10) {
            self.tell(TurnFailed {
                duration_us: Some(2_000_000),
                ..TurnFailed::new("model_gave_up".to_owned())
            });
        } else {
            let outcome_category = Some(OutcomeCategory::Answered);
            self.tell(TurnCommitted {
                outcome_category,
                duration_us: Some(1_500_000),
                ..TurnCommitted::default()
            });
        }
    }

    fn tell_call(&mut self, n: u64, turn: TurnId, ordinal: u64) {
        let tool = tool_name(n + ordinal);
        let arguments =
            format!("{{\"flight\": \"HAT{n:03}\",  \"seats\": [{ordinal}, 2], \"note\": \"caf\\u00e9\"}}");
        let request = ToolCallRequest {
            provider_call_id: Some("call_1".to_owned()),
            ..ToolCallRequest::new(0, tool.to_owned(), arguments.clone())
        };
        let message_ordinal = self.next_ordinal();
        self.tell(MessageDrafted {
            message_ordinal,
            tool_calls: vec![request],
            ..MessageDrafted::new(Role::Assistant)
        });
        self.call = Some(self.call_id(turn));
        self.tell(ToolProposed {
            message_ordinal,
            side_effect: Some(SideEffectPolicy::ALL[(n + ordinal) as usize % 4]),
            provider_call_id: Some("call_1".to_owned()),
            ..ToolProposed::new(tool.to_owned(), arguments)
        });
        self.tell(ToolStarted::new(tool.to_owned()));
        let message_ordinal = self.next_ordinal();
        if (n + ordinal).is_multiple_of(7) {
            let result = Some("Error: no such flight".to_owned());
            self.tell(ToolFailed {
                message_ordinal,
                result,
                ..ToolFailed::default()
            });
        } else {
            let result = Some(format!("{{\"reservation\": \"R{n}\", \"status\": \"changed\"}}"));
            let duration_us = Some(120_000);
            self.tell(ToolCompleted {
                message_ordinal,
                result,
                duration_us,
                ..ToolCompleted::default()
            });
        }
    }
}

fn tool_name(n: u64) -> &'static str {
    ["get_flight", "set_label", "book_flight", "send_money"][n as usize % 4]
}

fn responded(input: u64, cost: &str) -> LlmResponded {
    LlmResponded {
        response_model: Some("gpt-large".to_owned()),
        usage: Some(Usage {
            input: Some(input),
            output: Some(80),
            ..Usage::default()
        }),
        cost: Some(Cost::new(
            cost.parse().expect("a decimal"),
            "USD".parse().expect("three letters"),
        )),
        duration_us: Some(900_000),
        ..LlmResponded::default()
    }
}

/// A ledger in memory.
pub struct Feed {
    /// The store.
    pub store: Arc<MemoryStore>,
    /// The author of requests.
    pub author: Author,
}

impl Default for Feed {
    fn default() -> Self {
        let store = Arc::new(MemoryStore::new(Arc::new(FixedClock::at(START_US))));
        Self {
            store,
            author: Author::new(1),
        }
    }
}

impl Feed {
    /// Opens a ledger.
    pub async fn open(&self, n: u128) -> LedgerId {
        let ledger = ruche_ledger::testing::ledger(n);
        let opening = self.author.opening(ledger, 1, None);
        self.store
            .open_epoch(ledger, opening)
            .await
            .expect("the ledger is new");
        ledger
    }

    /// The ledger goes on in its next epoch, as after a restore.
    pub async fn goes_on(&self, ledger: LedgerId) {
        let end = self.end(ledger).await;
        let opening = self.author.opening(ledger, end.epoch.0 + 1, Some(end));
        self.store
            .open_epoch(ledger, opening)
            .await
            .expect("the epoch is the next");
    }

    /// Appends events, in one append each hundred.
    pub async fn append(&self, ledger: LedgerId, events: Vec<PreparedEvent>) -> Vec<Receipt> {
        let mut receipts = Vec::new();
        for events in events.chunks(100) {
            let request = AppendRequest::new(vec![], events.to_vec(), vec![]).expect("within the limits");
            receipts.extend(appended(self.store.append(ledger, request).await));
        }
        receipts
    }

    /// Opens a ledger and fills it with the setup and some sessions.
    pub async fn filled(&self, n: u128, sessions: u64) -> LedgerId {
        let ledger = self.open(n).await;
        let mut story = Story::new(n as u64);
        self.append(ledger, story.setup()).await;
        for session in 0..sessions {
            self.append(ledger, story.session(session)).await;
        }
        ledger
    }

    /// The last position of a ledger.
    pub async fn end(&self, ledger: LedgerId) -> Position {
        let head = self
            .store
            .head(ledger)
            .await
            .expect("it can be read")
            .expect("it is there");
        head.last_position().expect("a ledger has a record")
    }
}
