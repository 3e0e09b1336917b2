//! Tests of export and verifier.

#[path = "../support/mod.rs"]
mod support;

mod good;
