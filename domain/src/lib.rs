//! Facts. The vocabulary of Ruche, without I/O, clock or randomness.
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
pub mod side_effect;
pub mod events;
pub mod event;
pub mod upcast;
pub mod schema_compat;
pub mod strict_json;
pub mod ports;
pub mod error;

pub use error::DomainError;
pub use payload::{Ext, List};
