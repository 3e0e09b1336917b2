//! Export of a ledger to a directory, and the offline verifier.
//!
//! # What this crate promises
//!
//! 1. An export is a directory of plain files (`docs/formats/bundle.md`) that tools for C2SP tlog-tiles read as it
//!    stands. It is whole or has no name: a crash leaves no half of one.
//! 2. The verifier believes nothing that is in the directory. Whom to believe the auditor brings ([`Trust`]); without
//!    that the best verdict is that the export agrees with itself.
//! 3. Whatever the files hold, the verifier ends, with a verdict or with an error that says which file it cannot read,
//!    in memory bounded by the number of records and time bounded by the bytes of the files.
//! 4. Every finding has a stable name. Nothing is repaired and nothing is written while verifying.
//!
//! No database, no runtime, no network is linked: an auditor can build and run `ruche-verify` alone.
//!
//! # The life of an export
//!
//! 1. [`BundleWriter`] takes the epochs of a ledger, each with its signed tree head and its records in order, and
//!    writes tiles, entry bundles and payload bundles ([`layout`]). One rename gives the directory its name.
//! 2. [`BundleReader`] takes stock of what files there are ([`reader`]).
//! 3. [`verify_bundle`] checks, for each epoch: who signed the tree head ([`trust`]); record 0 ([`opening`]); every
//!    leaf and payload with the record checker of `ruche-ledger`, while the tree grows beside it and is compared with
//!    the tiles ([`verify`]); the root; the link to the epoch before.
//! 4. The [`Report`] has a verdict, and an exit code for `ruche-verify`, whose command line is [`cli`].

pub mod layout;
pub mod writer;
pub mod reader;
pub mod archive;
pub mod payload_stream;
pub mod trust;
pub mod opening;
pub mod report;
pub mod verify;
pub mod proof;
pub mod cli;

pub use archive::{Archive, ArchiveError, ArchiveManifest, ArchiveWriter};
pub use proof::{ProofInputError, verify_proof};
pub use reader::{BundleReader, ReadError};
pub use report::{Asserted, EpochReport, NotOver, NotRun, Report, Verdict};
pub use trust::Trust;
pub use verify::{AtLeast, Options, Progress, verify_bundle};
pub use writer::{BundleWriter, EpochWritten, WriteError};
