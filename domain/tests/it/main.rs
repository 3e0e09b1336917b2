//! Tests of the domain from outside: the catalogue as published, and properties over generated payloads.

mod events_golden;
mod payloads;
mod sample;
mod strict_json;
mod upcast;
