//! Telemetry of agents: spans and log records as events with provenance `observed`.
//!
//! # The life of a span
//!
//! 1. An adapter decodes it, whatever its encoding, into the one [`Span`]; a span without ids that are ids is no span.
//! 2. [`spans`] looks at all spans of a request: which session each belongs to, whether an agent works for another.
//! 3. The dialect that it speaks says what it [`seen`] is: the `gen_ai` convention ([`gen_ai`]), the AI SDK's own
//!    names ([`vercel`]) or OpenInference ([`openinference`]). What none of them knows is kept as unclassified.
//! 4. [`events`] says which events that is, cut into [`Unit`]s that are recorded once each.
//! 5. [`StartObserved`] and [`RecordUnit`] carry them out. All ids follow from those of session, trace, span and call, so
//!    it does not matter in which order, in which requests and how often spans come, as long as each names its session.
//! 6. [`DeriveFromCalls`] says what no span says: that other arguments ran than were asked for, what never ran, and what is
//!    missing.
//!
//! Nothing is counted twice: tokens stand in model calls alone, never in the agents above them.

mod attributes;
mod batch;
mod derived;
mod events;
mod fitting;
mod gen_ai;
mod logs;
mod messages;
mod names;
mod openinference;
mod others;
mod record;
mod seen;
mod span;
mod vercel;

pub use attributes::Attributes;
pub use batch::{ObservedSession, ObservedSpan, spans};
#[cfg(test)]
pub(crate) use derived::EVENTS_MAX;
pub use derived::{DeriveFromCalls, SeenCalls};
pub use events::{Draft, Kind, Unit};
pub use logs::{LogRecord, log_records};
pub use record::{AskUnit, RecordUnit, StartObserved};
pub use span::{Span, SpanEvent};
