//! Read models on SQLite: what every engine has to pass, and what is special about a file.

#[path = "it/common.rs"]
mod common;
#[path = "it/bi.rs"]
mod bi;
#[path = "it/files.rs"]
mod files;
#[path = "it/plans.rs"]
mod plans;
#[path = "it/shared.rs"]
mod shared;
