//! Read models on SQLite: the contract of stores, what queries give, and rebuilding.

#[path = "it/common.rs"]
mod common;
#[path = "it/contract.rs"]
mod contract;
#[path = "it/queries.rs"]
mod queries;
#[path = "it/erased.rs"]
mod erased;
#[path = "it/rebuild.rs"]
mod rebuild;
