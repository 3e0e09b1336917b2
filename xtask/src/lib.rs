//! What `cargo xtask` and the whole-system tests share: private PostgreSQL servers.

pub mod postgres;
