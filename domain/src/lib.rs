//! Facts. The vocabulary of Ruche, without I/O, clock or randomness.
//!
//! # What this crate promises
//!
//! 1. Every event type is in one catalogue (`event`), with who may write it, its schema version and its schema.
//! 2. What a schema of the catalogue allows, the payload struct reads, and writes the same again.
//! 3. A payload that was ever valid stays readable: old versions are lifted on read (`upcast`), stored bytes never change.
//! 4. What passes `strict_json` means the same to every reader.
//!
//! # The life of a payload
//!
//! 1. Its bytes come in. `strict_json::read` refuses what two readers could understand differently.
//! 2. `event::descriptor` finds its type; `event::is_reserved` keeps clients from the families that are not theirs.
//! 3. The schema of the type says where a field is wrong; `AgentEvent::from_payload` says whether it can be read.
//! 4. The bytes are stored and committed as they came, under an envelope (`ACFEvent`).
//! 5. Readers get an `AgentEvent` again, of the current version whatever version was stored.
//!
//! Modules are in reading order for someone new.

pub mod ids;
pub mod numbers;
pub mod stream;
pub mod envelope;
pub mod limits;
mod words;
mod payload;
pub mod measures;
pub mod vector;
pub mod side_effect;
pub mod action;
pub mod events;
pub mod event;
pub mod approval;
pub mod upcast;
pub mod schema_compat;
pub mod strict_json;
pub mod ports;
pub mod error;

pub use error::DomainError;
pub use payload::{Ext, List, Object};
