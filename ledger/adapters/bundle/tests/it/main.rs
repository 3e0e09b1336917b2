//! Tests of export and verifier.

#[path = "../support/mod.rs"]
mod support;

mod binary;
mod good;
mod large;
mod mutated;
mod writer;
