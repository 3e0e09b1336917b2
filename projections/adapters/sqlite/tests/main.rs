//! Read models on SQLite: the contract of stores, what queries give, and rebuilding.

#[path = "it/common.rs"]
mod common;
#[path = "it/contract.rs"]
mod contract;
#[path = "it/queries.rs"]
mod queries;
#[path = "it/erased.rs"]
mod erased;
#[path = "it/extremes.rs"]
mod extremes;
#[path = "it/outcomes.rs"]
mod outcomes;
#[path = "it/owners.rs"]
mod owners;
#[path = "it/rebuild.rs"]
mod rebuild;
