//! The arguments.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Parser};
use ruche_domain::numbers::Epoch;

use crate::verify::AtLeast;

/// Examples, whom to trust, exit codes. The program is called `ruche-verify` in it.
const EXAMPLES: &str = "\
Examples:
  Does the export hold, and is it signed by the ledger whose key I was given?
    ruche-verify export/ --key 'log.example/k3v9/e1+1f2e3d4c+AZ…'

  Was anything rewritten since my last visit? Keep e1/checkpoint each time; it is all you need to remember.
    ruche-verify export/ --key \"$(cat my/e1.vkey)\" --since my/e1.checkpoint

  I know from an invoice that there were 1204 records in epoch 1.
    ruche-verify export/ --key \"$(cat my/e1.vkey)\" --at-least 1:1204

  Is this one record in the ledger? GraphQL gives proof and leaf, the leaf in base64: base64 -d makes the file.
    ruche-verify --proof record.tlog-proof --leaf record.leaf --key \"$(cat my/e1.vkey)\"

Whom to trust:
  A key that comes inside the export (e1/key.vkey) proves nothing: whoever rewrites a ledger signs it again. Get the
  key once by another way, and keep it. Every epoch has its own key; give --key once for each. Without a key the best
  verdict is SELF-CONSISTENT, NOT AUTHENTICATED, and --since is held against that key.

  An operator who holds the key can still rewrite and sign again. --since catches that, and so do witnesses, which a
  --policy can ask for.

  The same goes for the keys that people approve with: a ledger says whose they are, and whoever runs it wrote that.
  --reviewer-keys names those that you had from the people themselves; an approval that was used under any other key
  is REVIEWER_UNTRUSTED then. Without it the keys are listed, and nobody vouches for them.

Exit codes:
  0  VERIFIED           everything holds, and every tree head is signed by a key that you brought
  1  COULD_NOT_RUN      files cannot be read, or the call is wrong
  2  TAMPERED           at least one finding
  3  PAYLOADS_MISSING   everything else holds, but payloads are missing and nothing explains it
  4  SELF_CONSISTENT    everything holds, but nothing is authenticated
  5  PAYLOADS_ARCHIVED  everything else holds, but payloads are in archives that the ledger names: bring them
";

/// Verify an exported ledger offline.
#[derive(Debug, Parser)]
#[command(name = "ruche-verify", version, after_help = EXAMPLES)]
#[command(group = ArgGroup::new("task").required(true).args(["folder", "proof"]))]
#[command(group = ArgGroup::new("trust").multiple(true).args(["key", "policy"]))]
pub struct Arguments {
    /// Directory that `ruche export` wrote
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Verifier key of a log to trust: `origin+id+base64`. Repeat for more epochs, or give several lines
    #[arg(long, value_name = "VKEY")]
    pub key: Vec<String>,
    /// Trust policy (C2SP tlog-policy): logs, witnesses, quorum
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// A checkpoint kept from earlier: the export must extend it. Repeat for more epochs
    #[arg(long, value_name = "OLD_CHECKPOINT_FILE", conflicts_with = "proof")]
    pub since: Vec<PathBuf>,
    /// Fewest records there must be, in the whole ledger or in an epoch
    #[arg(long, value_name = "N or EPOCH:N", value_parser = at_least, conflicts_with = "proof")]
    pub at_least: Vec<AtLeast>,
    /// Public keys of the reviewers that you trust: a name and a key in each line, in hex or PEM
    #[arg(long, value_name = "FILE", conflicts_with = "proof")]
    pub reviewer_keys: Option<PathBuf>,
    /// Folder of an archive, or of several: payloads that are not in the export are verified there. Repeat for more
    #[arg(long, value_name = "DIR", conflicts_with = "proof")]
    pub archive: Vec<PathBuf>,
    /// Verify one record with its .tlog-proof in place of an export
    #[arg(long, value_name = "FILE", requires = "leaf", requires = "trust")]
    proof: Option<PathBuf>,
    /// Leaf bytes of that record; in base64, as GraphQL gives them, they are decoded with `base64 -d` first
    #[arg(long, value_name = "FILE", requires = "proof")]
    leaf: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// What is to be verified.
pub enum Task<'a> {
    /// An export.
    Export(&'a Path),
    /// A record.
    Proof {
        /// File with the proof.
        proof: &'a PathBuf,
        /// File with the leaf.
        leaf: &'a PathBuf,
    },
}

impl Arguments {
    /// What is to be verified.
    pub fn task(&self) -> Task<'_> {
        match (&self.folder, &self.proof, &self.leaf) {
            (None, Some(proof), Some(leaf)) => Task::Proof { proof, leaf },
            (folder, _, _) => Task::Export(folder.as_deref().expect("one of the two tasks is required")),
        }
    }
}

fn at_least(text: &str) -> Result<AtLeast, String> {
    let number = |text: &str| {
        text.parse()
            .map_err(|_| format!("`{text}` is not a number of records"))
    };
    match text.split_once(':') {
        None => number(text).map(AtLeast::Ledger),
        Some((epoch, records)) => {
            let epoch = epoch.parse().ok().filter(|epoch| *epoch > 0);
            let epoch = epoch.ok_or("epochs are numbered from 1")?;
            Ok(AtLeast::Epoch(Epoch(epoch), number(records)?))
        }
    }
}
