//! Read models on PostgreSQL.

mod error;
mod gate;
mod value;
mod session;
mod schema;
mod step;
mod read;
mod models;
mod compare;
mod rebuild;

pub use error::OpenError;
pub use models::PostgresReadStore;
pub use schema::migrate;
