//! The payloads: one struct for each event type, one module for each family.
//!
//! The envelope carries the session, turn and call that an event belongs to, its actor, its times and its cause; a
//! payload repeats none of them. A client's own names stand here, as plain text (`external_id`), because a payload can
//! be erased and a leaf cannot. Times are µs since 1970 UTC, money is decimal text with a currency, digests are
//! lower-case hex SHA-256. Absent means unknown; no field uses zero or an empty text for that.

pub mod common;
pub mod session;
pub mod message;
pub mod turn;
pub mod llm;
pub mod tool;
pub mod memory;
pub mod config;
pub mod policy;
pub mod approval;
pub mod scenario;
pub mod goal;
pub mod schedule;
pub mod plan;
pub mod agent;
pub mod eval;
pub mod feedback;
pub mod state;
pub mod artifact;
pub mod infra;

pub use agent::*;
pub use approval::*;
pub use artifact::*;
pub use common::*;
pub use config::*;
pub use eval::*;
pub use feedback::*;
pub use goal::*;
pub use infra::*;
pub use llm::*;
pub use memory::*;
pub use message::*;
pub use plan::*;
pub use policy::*;
pub use scenario::*;
pub use schedule::*;
pub use session::*;
pub use state::*;
pub use tool::*;
pub use turn::*;
