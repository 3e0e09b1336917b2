//! The ledger: an append-only, tamper-evident sequence of records, and everything needed to prove what it holds.
//!
//! # What this crate promises
//!
//! 1. A record that was answered `APPENDED` keeps its index and its bytes for ever.
//! 2. Indexes of an epoch are dense and in commit order: n+1 is never visible before n.
//! 3. Hashes are over stored bytes; nothing is encoded again to be verified.
//! 4. A signed tree head never contradicts an earlier one of the same origin.
//! 5. Leaves hold no personal data; payloads can be erased and the leaves still verify.
//! 6. Nothing here reads a clock, draws randomness or does I/O; payloads are opaque bytes.
//!
//! # The life of a record
//!
//! 1. A caller has an [`ACFEvent`](ruche_domain::envelope::ACFEvent) and payload bytes. It commits to the bytes under
//!    a fresh opening ([`payload`]) and hashes its idempotency key ([`references`]). No lock is held.
//! 2. The request waits in the engine's bounded queue ([`store`]); a full queue answers `OVERLOADED`.
//! 3. The engine's writer lets the [`sequencer`] decide a batch: keys, expectations, then index, stream version,
//!    recorded-at and the previous leaf's hash. The encoded [`leaf`] is hashed ([`hash`]).
//! 4. One commit makes head, leaves, payloads, stream versions and keys durable. Now the record is `APPENDED`:
//!    the caller is answered and readers are woken ([`wake`]).
//! 5. The sealer folds new leaf hashes into tiles ([`tile`], [`seal`]), signs a [`tree_head`] and compares-and-swaps
//!    it into the tree head store. Now the record is `SEALED`.
//! 6. Anyone with the leaf, a [`proof`] and the signed tree head ([`note`], [`tlog_proof`]) can check it offline.

#[cfg(test)]
mod testdata;

pub mod cbor;
pub mod hash;
pub mod payload;
pub mod leaf;
pub mod references;
pub mod store;
pub mod archive;
pub mod sequencer;
pub mod wake;
pub mod writer_life;
pub mod memory;
pub mod subscribe;
pub mod right_edge;
pub mod seal;
pub mod lease;
pub mod halts;
pub mod guard;
pub mod epoch;
pub mod tree;
pub mod proof;
pub mod tile;
pub mod note;
pub mod tree_head;
pub mod policy;
pub mod tlog_proof;
pub mod verify;
pub mod keys;
pub mod dsse;
pub mod vote;
pub mod effect_key;
pub mod error;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use error::{LeafError, LedgerError};
