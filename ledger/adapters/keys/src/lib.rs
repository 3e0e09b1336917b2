//! Keys and promises on disk: the master seed and the last tree head of each log. And the real clock and randomness.
//!
//! # What this crate promises
//!
//! 1. The master seed is made once, from the operating system's randomness, in a file that only its owner can read; it
//!    is never printed, never logged and never stored anywhere else. A file that others can read is refused.
//! 2. A tree head that was stored is never replaced by one that the caller did not know of, nor by a smaller one.
//! 3. A crash at any line leaves either the old file or the new one, whole.
//!
//! # The keys folder
//!
//! ```text
//! ruche-keys/                 0700, outside the data folder: a restored database must not bring old promises back
//!   master.seed               0600, 64 hexadecimal digits and a newline
//!   tree-heads/
//!     lock                    held while a tree head is compared and swapped
//!     <SHA-256 of origin>     the last signed tree head of that log, as signed (C2SP tlog-checkpoint)
//! ```
//!
//! Back up `master.seed` once, somewhere safe. Never restore `tree-heads` together with the database: it is what tells
//! that the database is older than what was promised.

mod seed;
mod reviewer;
mod tree_heads;
mod os;
mod files;

pub use os::{OsRandom, SystemClock};
pub use reviewer::ReviewerKeyFile;
pub use seed::{MasterSeedFile, SeedFileError};
pub use tree_heads::TreeHeadFiles;
