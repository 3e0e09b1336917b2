//! Tests of the crate as its callers see it.

mod appends;
mod configurations;
mod credentials;
mod channels;
mod crowds;
mod deciding;
mod effects;
mod faults;
mod governed;
mod imports;
mod keys;
mod properties;
mod refused;
mod scores;
mod sessions;
mod starts;
mod tool_calls;
mod tools;
mod turns;
mod undoing;
mod votes;
mod workers;
