//! From decided events to events ready to be sequenced. Everything that needs no lock is done here: the payload is
//! read strictly, held against its schema, committed to under a fresh opening.

use ruche_domain::envelope::{ACFEvent, Actor};
use ruche_domain::error::DomainError;
use ruche_domain::event::AgentEvent;
use ruche_domain::ids::{CorrelationId, EventId};
use ruche_domain::limits::{EVENTS_PER_APPEND_MAX, MEMORY_LIST_ITEMS_MAX, PAYLOAD_BYTES_MAX};
use ruche_domain::numbers::Micros;
use ruche_domain::ports::{Clock, Random, event_id};
use ruche_domain::strict_json::{self, JsonFaultKind, Profile};
use ruche_ledger::payload::{Fragment, JSON};
use ruche_ledger::references::ReferenceKey;
use ruche_ledger::store::PreparedEvent;
use serde_json::Value;

use crate::command::{Content, GivenPayload, NewEvent};
use crate::context::CommandContext;
use crate::error::{CommandError, Violation};
use crate::ports::{PayloadValidator, Unfit};

/// What preparing needs of the world.
pub(crate) struct Preparer<'a> {
    pub clock: &'a dyn Clock,
    pub random: &'a dyn Random,
    pub validator: &'a dyn PayloadValidator,
    pub references: &'a ReferenceKey,
    pub context: &'a CommandContext,
    pub now: Micros,
}

impl Preparer<'_> {
    /// Prepares all events of a decision, in order.
    pub fn prepare(&self, events: Vec<NewEvent>) -> Result<Vec<PreparedEvent>, CommandError> {
        if events.len() > EVENTS_PER_APPEND_MAX {
            return Err(CommandError::LimitExceeded {
                what: "append",
                value: events.len() as u64,
                limit: EVENTS_PER_APPEND_MAX as u64,
                unit: "events",
            });
        }
        let correlation = self.context.correlation.as_deref();
        let correlation = correlation.map(|id| self.references.correlation(id));
        let mut ids: Vec<EventId> = Vec::with_capacity(events.len());
        let mut prepared = Vec::with_capacity(events.len());
        for (number, event) in events.into_iter().enumerate() {
            let id = event_id(self.clock, self.random);
            let cause = event.causation.or(self.context.causation);
            let cause = event.caused_by.map(|at| ids[at]).or(cause);
            prepared.push(self.event(number, event, id, cause, correlation)?);
            ids.push(id);
        }
        Ok(prepared)
    }

    fn event(
        &self,
        number: usize,
        new: NewEvent,
        id: EventId,
        cause: Option<EventId>,
        correlation: Option<CorrelationId>,
    ) -> Result<PreparedEvent, CommandError> {
        let payload = match new.content {
            Content::Fact(fact) => {
                let payload = fact_payload(&fact);
                read_strictly(number, false, &payload)?;
                payload
            }
            Content::Given(payload) => {
                let value = read_strictly(number, true, &payload)?;
                self.fit(number, &payload, &value)?;
                payload
            }
        };
        let mut event = ACFEvent::new(
            id,
            new.stream,
            payload.event_type,
            payload.schema_version,
            new.occurred_at.unwrap_or(self.now),
            if new.by_itself {
                Actor::SYSTEM
            } else {
                self.context.actor
            },
        );
        event.on_behalf_of = self.context.on_behalf_of.filter(|_| !new.by_itself);
        event.provenance = self.context.provenance;
        event.session = new.session;
        event.turn = new.turn;
        event.call = new.call;
        event.subject = new.subject;
        let own = new
            .correlation
            .as_deref()
            .map(|id| self.references.correlation(id));
        // What belongs to a session is correlated by it, unless the client correlates otherwise.
        let session = new.session.map(|session| CorrelationId(session.0));
        event.correlation_id = own.or(correlation).or(session);
        event.causation_id = cause;
        event.trace = self.context.trace;
        let fragment = Fragment::plain(self.random, JSON, payload.bytes)?;
        Ok(PreparedEvent {
            event,
            payload: vec![fragment],
        })
    }

    /// Holds a client's payload against its schema. Facts of ours need no schema: they come from the very types that
    /// the schemas come from.
    fn fit(&self, number: usize, payload: &GivenPayload, value: &Value) -> Result<(), CommandError> {
        let fit = self
            .validator
            .validate(&payload.event_type, payload.schema_version, value)
            .and_then(|()| readable(payload));
        fit.map_err(|unfit| match unfit {
            Unfit::UnknownSchema => CommandError::UnknownEventType {
                event: number,
                event_type: payload.event_type.clone(),
                schema_version: payload.schema_version.0,
            },
            Unfit::Violations(violations) => CommandError::SchemaViolation {
                event: number,
                event_type: payload.event_type.clone(),
                violations,
            },
        })
    }
}

/// Bytes of the payload that a decided event will have, held against the limit of one payload.
pub(crate) fn payload_bytes(content: &Content) -> Result<usize, CommandError> {
    let bytes = match content {
        Content::Fact(fact) => fact.to_payload().len(),
        Content::Given(given) => given.bytes.len(),
    };
    if bytes > PAYLOAD_BYTES_MAX {
        return Err(too_large(bytes));
    }
    Ok(bytes)
}

fn too_large(bytes: usize) -> CommandError {
    CommandError::LimitExceeded {
        what: "payload",
        value: bytes as u64,
        limit: PAYLOAD_BYTES_MAX as u64,
        unit: "bytes",
    }
}

/// Reads the text of a payload. Facts of ours too: they carry clients' texts and values.
fn read_strictly(number: usize, given: bool, payload: &GivenPayload) -> Result<Value, CommandError> {
    strict_json::read(&payload.bytes, PAYLOAD_BYTES_MAX, payload.profile).map_err(|fault| {
        if fault.kind == JsonFaultKind::TooLarge {
            return too_large(payload.bytes.len());
        }
        CommandError::InvalidPayload {
            event: number,
            given,
            pointer: fault.pointer,
            reason: fault.kind.reason().to_owned(),
        }
    })
}

/// What passes the schema must also be readable by every projection: `1.0` is an integer to a schema and none to us. And its
/// lists must not make one event as much work as a million.
fn readable(payload: &GivenPayload) -> Result<(), Unfit> {
    let read = AgentEvent::from_payload(&payload.event_type, payload.schema_version, &payload.bytes);
    match read {
        Ok(event) => event.too_long().map_or(Ok(()), |(pointer, items)| {
            Err(Unfit::Violations(vec![Violation {
                pointer: pointer.to_owned(),
                reason: format!("has {items} items, and at most {MEMORY_LIST_ITEMS_MAX} are taken"),
            }]))
        }),
        Err(DomainError::InvalidPayload { pointer, reason, .. }) => {
            Err(Unfit::Violations(vec![Violation { pointer, reason }]))
        }
        Err(_) => Err(Unfit::UnknownSchema),
    }
}

fn fact_payload(fact: &AgentEvent) -> GivenPayload {
    GivenPayload {
        event_type: fact.event_type().to_owned(),
        schema_version: fact.schema_version(),
        bytes: fact.to_payload(),
        profile: Profile::Exact,
    }
}
