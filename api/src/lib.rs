//! The `ruche` binary: command line, HTTP and GraphQL, loops, and the composition root.
//!
//! # What this crate promises
//!
//! 1. Tenant and roles come from the credential alone. Nothing in a body, a path or a header changes them.
//! 2. Nothing is answered before it is durable, and a shutdown finishes what was begun.
//! 3. Clients get a stable code, a message for people and nothing of the inside.
//! 4. Only [`app`] names a concrete engine.
//!
//! # The life of a process
//!
//! [`cli`] reads the command line; [`app`] puts everything together on an engine; [`serve`] runs [`tending`], which has the
//! [`seal_loop`] and the [`project_loop`] of every ledger, and the [`http`] edge; a request finds its tenant in
//! [`auth`] and its answer in [`graphql`].

pub mod cli;
pub mod settings;
pub mod app;
pub mod serve;
pub mod services;
pub mod connections;
pub mod tending;
pub mod seal_loop;
pub mod publish;
pub mod restore;
pub mod check_records;
pub mod unsettled;
pub mod project_loop;
pub mod timer_loop;
pub mod read_models;
pub mod rebuilds;
mod ready_turns;
pub mod passed_over;
pub mod handed_out;
pub mod replays;
pub mod metered;
pub mod archived;
pub mod append_health;
pub mod figures;
pub mod otlp;
pub mod http;
pub mod graphql;
pub mod auth;
pub mod telemetry;
pub mod demo;
pub mod bench;
pub mod error;
pub mod error_codes;
pub mod limits;
pub mod out;
pub mod csv;
