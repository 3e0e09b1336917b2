//! Tests of deciders, and of whatever uses the pipeline (feature `testing`).
//!
//! ```
//! # use ruche_commands::testing::given;
//! # use ruche_commands::{EndSession, SessionRef};
//! # use ruche_domain::events::SessionEndReason;
//! let end = EndSession::new(SessionRef::External("s-1".into()), SessionEndReason::Completed);
//! given().when(&end).refused("ILLEGAL_TRANSITION");
//! ```

use std::sync::Arc;

use ruche_domain::envelope::{ACFEvent, Actor, ActorKind, Provenance};
use ruche_domain::event::AgentEvent;
use ruche_domain::ids::{EventId, LedgerId, SessionId, TenantId};
use ruche_domain::numbers::{Micros, Position, SchemaVersion, StreamVersion};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::hash::Hash;
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::references::ReferenceKey;
use ruche_ledger::store::{EventStore, Receipt, Record};
use ruche_ledger::testing::{Author, FixedClock, SeededRandom};
use serde_json::Value;
use uuid::Uuid;

use crate::command::{Command, Content, Decision, Depth, Load, NewEvent, PastEvent, RecordedEvent, Seen};
use crate::context::{CommandContext, Ground};
use crate::error::{CommandError, Violation};
use crate::pipeline::Commands;
use crate::ports::{ArgumentSchemas, PayloadValidator, Unfit};
use crate::session::{observed_stream, session_stream};

/// The time at which tests happen, µs since 1970: 2023-11-14T22:13:20Z.
pub const TEST_NOW: Micros = Micros(1_700_000_000_000_000);

/// The reference key of decider tests.
pub fn references() -> ReferenceKey {
    ReferenceKey::new([7; 32])
}

/// The session that decider tests call `external`.
pub fn session(external: &str) -> SessionId {
    references().session(external)
}

/// Events that happened before.
pub struct Given {
    past: Vec<PastEvent>,
}

/// What a command decided.
#[derive(Debug)]
pub struct Decided(pub Result<Decision, CommandError>);

/// Nothing happened yet.
pub fn given() -> Given {
    Given { past: Vec::new() }
}

/// An event as it would be loaded.
pub fn past_event(stream: StreamId, event: AgentEvent, version: StreamVersion, number: u64) -> PastEvent {
    let mut envelope = ACFEvent::new(
        EventId::v7(TEST_NOW.as_millis(), [0; 10]),
        stream,
        event.event_type(),
        SchemaVersion(1),
        TEST_NOW,
        Actor::SYSTEM,
    );
    if let AgentEvent::SessionStarted(started) = &event {
        envelope.subject = started
            .interlocutor_id
            .as_deref()
            .map(|id| references().subject(id));
    }
    let recorded = RecordedEvent {
        receipt: Receipt {
            position: Position::new(1, number),
            leaf_hash: Hash([0; 32]),
            recorded_at: TEST_NOW,
        },
        event: envelope,
        payload: Some(event.to_payload()),
    };
    PastEvent::new(recorded, "test/e1".to_owned(), version, Some(event))
}

impl Given {
    /// Something happened in a stream.
    #[must_use]
    pub fn event(mut self, stream: StreamId, event: impl Into<AgentEvent>) -> Self {
        let number = self.past.len() as u64;
        let version = self.past.iter().filter(|past| past.stream() == stream).count() as u64;
        let event = past_event(stream, event.into(), StreamVersion(version), number);
        self.past.push(event);
        self
    }

    /// Something happened to the session that is called `external`.
    #[must_use]
    pub fn in_session(self, external: &str, event: impl Into<AgentEvent>) -> Self {
        self.event(session_stream(session(external)), event)
    }

    /// Something was observed in the session that is called `external`.
    #[must_use]
    pub fn observed(self, external: &str, event: impl Into<AgentEvent>) -> Self {
        self.event(observed_stream(session(external)), event)
    }

    /// The command is decided on that.
    pub fn when<C: Command>(self, command: &C) -> Decided {
        let references = references();
        let ground = Ground {
            references: &references,
            now: TEST_NOW,
            idempotency_key: "test-key",
            ledger: LedgerId(Uuid::from_u128(1)),
            tenant: TenantId(Uuid::from_u128(0xA11CE)),
            actor: Actor::SYSTEM,
            user: None,
            schemas: &NoObjection,
        };
        Decided(self.decide(command, &ground))
    }

    fn decide<C: Command>(&self, command: &C, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let mut state = C::State::default();
        let mut loads = command.loads(ground)?;
        let mut done: Vec<StreamId> = Vec::new();
        while let Some(load) = next_load(&mut loads, &mut done, || command.more_loads(&state, ground)) {
            let events: Vec<&PastEvent> = self
                .past
                .iter()
                .filter(|past| past.stream() == load.stream)
                .collect();
            match load.depth {
                Depth::Version => {}
                Depth::First => events
                    .iter()
                    .take(1)
                    .for_each(|event| command.evolve(&mut state, event)),
                Depth::Whole => events.iter().for_each(|event| command.evolve(&mut state, event)),
                Depth::Newest => {
                    for event in events.iter().rev() {
                        if command.is_settled(&state, load.stream) {
                            break;
                        }
                        command.evolve(&mut state, event);
                    }
                }
            }
            if load.depth != Depth::First {
                let version = events.last().map(|event| event.version);
                command.seen(
                    &mut state,
                    Seen {
                        stream: load.stream,
                        version,
                    },
                );
            }
        }
        command.decide(&state, ground)
    }
}

/// The next stream to look at; once the named ones are through, what the state asks for beside them.
fn next_load(
    loads: &mut Vec<Load>,
    done: &mut Vec<StreamId>,
    more: impl FnOnce() -> Vec<Load>,
) -> Option<Load> {
    if loads.is_empty() {
        loads.extend(more().into_iter().filter(|load| !done.contains(&load.stream)));
    }
    let load = (!loads.is_empty()).then(|| loads.remove(0))?;
    done.push(load.stream);
    Some(load)
}

impl Decided {
    /// The decided events.
    ///
    /// # Panics
    /// Where the command was refused or decided nothing.
    #[track_caller]
    pub fn events(self) -> Vec<NewEvent> {
        match self.0 {
            Ok(Decision::Append(events)) => events,
            other => panic!("expected events, got {other:?}"),
        }
    }

    /// The decided facts.
    ///
    /// # Panics
    /// As [`Decided::events`], and for payloads of clients.
    #[track_caller]
    pub fn facts(self) -> Vec<AgentEvent> {
        let fact = |event: NewEvent| match event.content {
            Content::Fact(fact) => fact,
            Content::Given(given) => panic!("expected a fact, got a client's {}", given.event_type),
        };
        self.events().into_iter().map(fact).collect()
    }

    /// The types of the decided events, in order.
    ///
    /// # Panics
    /// As [`Decided::events`].
    #[track_caller]
    pub fn types(self) -> Vec<String> {
        let name = |event: NewEvent| match event.content {
            Content::Fact(fact) => fact.event_type().to_owned(),
            Content::Given(given) => given.event_type,
        };
        self.events().into_iter().map(name).collect()
    }

    /// The refusal.
    ///
    /// # Panics
    /// Where the command was not refused with this code.
    #[track_caller]
    pub fn refused(self, code: &str) -> CommandError {
        match self.0 {
            Err(error) if error.code() == code => error,
            Ok(Decision::Refused { refusal, .. }) if refusal.code() == code => refusal,
            other => panic!("expected {code}, got {other:?}"),
        }
    }

    /// Nothing had to be done.
    ///
    /// # Panics
    /// Where something was decided or refused.
    #[track_caller]
    pub fn already_so(self) {
        assert!(matches!(self.0, Ok(Decision::AlreadySo(_))), "got {:?}", self.0);
    }
}

/// A validator that has no objection. The real one is an adapter.
pub struct NoObjection;

impl PayloadValidator for NoObjection {
    fn validate(&self, _: &str, _: SchemaVersion, _: &Value) -> Result<(), Unfit> {
        Ok(())
    }
}

impl ArgumentSchemas for NoObjection {
    fn check(&self, _: &Value) -> Result<(), String> {
        Ok(())
    }

    fn fit(&self, _: &Value, _: &Value) -> Result<(), Vec<Violation>> {
        Ok(())
    }
}

/// A pipeline on a store of one ledger.
pub struct TestLedger {
    /// The store.
    pub store: Arc<dyn EventStore>,
    /// The pipeline.
    pub commands: Commands,
    /// A client of the ledger. Give each command a key of its own.
    pub context: CommandContext,
    /// The clock, to be moved.
    pub clock: Arc<FixedClock>,
}

impl TestLedger {
    /// On the in-memory engine.
    pub async fn in_memory(validator: Arc<dyn PayloadValidator>) -> Self {
        let clock = Arc::new(FixedClock::at(TEST_NOW.0));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        Self::on(store, clock, validator).await
    }

    /// On any empty store.
    ///
    /// # Panics
    /// Where the ledger cannot be opened.
    pub async fn on(
        store: Arc<dyn EventStore>,
        clock: Arc<FixedClock>,
        validator: Arc<dyn PayloadValidator>,
    ) -> Self {
        let tenant = TenantId(Uuid::from_u128(0xA11CE));
        let ledger = LedgerId::main_of(tenant);
        let opening = Author::new(1).opening(ledger, 1, None);
        store
            .open_epoch(ledger, opening)
            .await
            .expect("an empty store opens a ledger");
        let seed = MasterSeed::from_slice(&[9; 32]).expect("32 bytes");
        let random = Arc::new(SeededRandom::new(42));
        let commands = Commands::new(store.clone(), clock.clone(), random, Arc::new(seed), validator);
        let actor = Actor {
            kind: ActorKind::Client,
            reference: Some(Uuid::from_u128(0xC11E)),
        };
        let context = CommandContext::new(tenant, actor, Provenance::Reported, "unused");
        Self {
            store,
            commands,
            context,
            clock,
        }
    }

    /// The session that this ledger's clients call `external`.
    pub fn session(&self, external: &str) -> SessionId {
        self.commands
            .secrets_of(self.context.ledger)
            .references
            .session(external)
    }

    /// All records of a stream.
    ///
    /// # Panics
    /// Where it cannot be read.
    pub async fn stream(&self, stream: StreamId) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        loop {
            let from = StreamVersion(records.len() as u64);
            let read = self
                .store
                .read_stream(self.context.ledger, stream, from, 1_000)
                .await;
            let page = read.expect("the stream can be read");
            if page.is_empty() {
                return records;
            }
            records.extend(page);
        }
    }

    /// The records of both streams of a session: its own, then what was observed.
    pub async fn records(&self, session: SessionId) -> Vec<Record> {
        let mut records = self.stream(StreamId::new(Category::Session, session.0)).await;
        records.extend(self.stream(StreamId::new(Category::Observed, session.0)).await);
        records
    }

    /// How many records the ledger has.
    ///
    /// # Panics
    /// Where there is no head.
    pub async fn size(&self) -> u64 {
        let head = self
            .store
            .head(self.context.ledger)
            .await
            .expect("the head can be read");
        head.expect("the ledger is open").size.0
    }
}
