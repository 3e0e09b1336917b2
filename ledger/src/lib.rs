//! The append-only ledger: stored format, Merkle tree, signed tree heads, the EventStore port.

pub mod hash;
