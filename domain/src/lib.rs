//! Facts. The vocabulary of Ruche, without I/O, clock or randomness.
//!
//! Modules are in reading order for someone new.

pub mod ids;
pub mod numbers;
pub mod stream;
pub mod envelope;
pub mod limits;
pub mod ports;
pub mod error;

pub use error::DomainError;
