//! Intentions: what may be appended, decided on what was appended before.
//!
//! # What this crate promises
//!
//! 1. A command is carried out once per idempotency key, completely or not at all; asked again, it gives the first
//!    answer. One that changes nothing writes nothing and claims no key.
//! 2. What is written was decided on the streams as they are, by pure functions that can be run again.
//! 3. Clients' payload bytes are stored as they came, after they were read strictly and held against their schema.
//! 4. Clients write what is theirs to write; actor and provenance come from the credential.
//! 5. A refusal names a stable code and the place of the fault, and nothing was written.
//!
//! This crate reads no clock, draws no randomness and does no I/O. The life of a command is told in [`pipeline`]; the
//! life of an imported conversation in [`import`].

pub mod context;
pub mod command;
pub mod pipeline;
mod prepare;
pub mod ports;
pub mod session;
pub mod message;
mod observed;
pub mod turn;
pub mod tool;
pub mod append;
pub mod configuration;
pub mod saved_query;
pub mod channel;
pub mod score;
pub mod scenario;
pub mod lane;
pub mod governed;
pub mod read_model;
pub mod rebuild;
pub mod reviewer;
pub mod import;
pub mod otlp;
pub mod error;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use append::{AppendEvents, AppendTarget, ClientEvent, OwnCategory};
pub use command::{CommandReceipt, GivenPayload, RecordedEvent};
pub use configuration::PublishConfiguration;
pub use context::CommandContext;
pub use error::{CommandError, ERROR_CODES, Violation};
pub use message::ReceiveMessage;
pub use pipeline::Commands;
pub use ports::{ArgumentSchemas, LedgerSecrets, PayloadValidator, SecretsOf, Unfit};
pub use read_model::{DecideReadModel, ParkedEvent, ReadModelDecision};
pub use rebuild::{CompleteRebuild, RequestRebuild};
pub use reviewer::{RegisterReviewerKey, RevokeReviewerKey};
pub use saved_query::{DropQuery, SaveQuery};
pub use scenario::{RecordScenario, ScenarioMove};
pub use score::ScoreSession;
pub use session::{EndSession, SessionRef, StartSession};
pub use tool::RegisterTool;
pub use turn::{RecordSession, RecordTurn, RecordedTurn, StrayAnswers, TurnEnd, TurnStep};
