//! Whole-system tests. The tests are in `it/`; here is what they and `cargo xtask soak` share.

pub mod clock;
pub mod data;
pub mod databases;
pub mod embedded;
pub mod forgetful_disk;
pub mod io_fault;
pub mod ledger_load;
pub mod patroni;
pub mod pooler;
pub mod power_cut;
pub mod server;
pub mod shim;
pub mod small_disk;
