//! The scenarios of the conversation fabric, told through GraphQL: one server on the embedded engine; on PostgreSQL two on
//! one database, and a client that goes to the other one with each request. Which scenario is which test:
//! `docs/scenarios.md`.

pub mod world;
mod outside;
mod messages;
mod undoing;
mod repeats;
mod approvals;
mod reviewing;
mod time_travel;
mod crashes;
mod doubts;
mod one_at_a_time;
mod fairness;
mod crowd;
mod remembering;
mod rebuilding;
mod table;
