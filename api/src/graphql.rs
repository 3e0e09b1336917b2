//! GraphQL: the schema, and the only door to it.
//!
//! # What this module promises
//!
//! 1. No operation runs that was not authenticated, looked at before parsing ([`document`]), bounded in size with its
//!    fragments written out ([`expansion`]), and bounded in depth and cost. [`Engine`] is the only holder of the
//!    schema, so no transport can leave a check out.
//! 2. GraphQL types are made by hand at this edge; no stored format and no domain type is a GraphQL type.
//! 3. An expected refusal is a member of the result's union. A GraphQL error is a fault of the request or of Ruche, and
//!    carries `extensions.code`.
//! 4. The tenant comes from the caller's key. No argument names one.
//!
//! The life of an operation: a transport reads [`Params`], [`Engine::prepare`] looks at the document and says what
//! kind of operation it is, [`Engine::execute`] or [`Engine::stream`] runs it, and the transport writes the
//! [`Answer`] in its own form.

mod document;
mod documents;
mod engine;
mod expansion;
mod errors;
mod page;
mod parked;
mod projection;
mod rebuild;
mod params;
mod scalars;
mod time;
mod variables;

mod words;
mod read;
mod ready_turn;
mod counts;
mod record;
mod ledger;
mod message;
mod effect;
mod approval;
mod reviewer_key;
mod intervention;
mod memory;
mod timeline;
mod turn;
mod attempt;
mod budget;
mod step;
mod lane;
mod root_field;
mod score;
mod scenario;
mod goal;
mod search;
mod session;
mod analysis;
mod analytics;
mod saved_query;
mod policy;
mod replay;
mod query;
mod refusals;
mod mutation;
mod subscription;

pub use engine::{Answer, Engine, Prepared};
pub use params::{Params, ParamsFault};

pub(crate) use mutation::command_context;
pub(crate) use saved_query::{accepted_words, question_of};
pub(crate) use time::{format as format_time, parse as parse_time};

pub use async_graphql::parser::types::OperationType;

#[cfg(test)]
mod tests;
