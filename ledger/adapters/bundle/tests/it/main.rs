//! Tests of export and verifier.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
mod support;

mod binary;
mod good;
mod large;
mod mutated;
mod rules;
mod writer;
