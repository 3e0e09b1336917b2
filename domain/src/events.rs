//! The payloads: one struct for each event type, one module for each family.
//!
//! The envelope carries the session, turn and call that an event belongs to, its actor, its times and its cause; a
//! payload repeats none of them. A client's own names stand here, as plain text (`external_id`), because a payload can
//! be erased and a leaf cannot. Times are µs since 1970 UTC, money is decimal text with a currency, digests are
//! lower-case hex SHA-256. Absent means unknown; no field uses zero or an empty text for that.

pub mod common;
pub mod config;
pub mod eval;
pub mod infra;
pub mod llm;
pub mod message;
pub mod session;
pub mod tool;
pub mod turn;

pub use common::*;
pub use config::*;
pub use eval::*;
pub use infra::*;
pub use llm::*;
pub use message::*;
pub use session::*;
pub use tool::*;
pub use turn::*;
