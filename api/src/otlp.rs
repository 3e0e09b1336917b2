//! OpenTelemetry protocol: bodies as strangers send them, read into the one model of spans and log records that the
//! commands know, and the answers that exporters understand.

mod answer;
mod json;
mod model;
mod weight;
mod wire;

pub use answer::{Encoding, Rejected, status_body, success};
pub use model::{Read, read_logs, read_traces};
pub use weight::has_more_than;
