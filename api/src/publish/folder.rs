//! Tree heads in a folder that somebody else owns: `checkpoint` is the newest, `checkpoint-<size>` one of each size.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use ruche_ledger::hash::Hash;
use ruche_ledger::tree_head::SignedTreeHead;
use uuid::Uuid;

/// What became of a tree head.
#[derive(Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is there, and nothing contradicts it.
    Alone,
    /// Another one of the same size is there: the ledger was rewritten.
    BesideAnother(Both),
}

/// Two tree heads of one size.
#[derive(Debug, PartialEq, Eq)]
pub struct Both {
    /// The one that was there.
    pub earlier: PathBuf,
    /// The one that came.
    pub new: PathBuf,
}

/// Keeps a tree head in `folder`. No file named after a size is ever written again, so that whoever rewrites a ledger
/// leaves the earlier evidence alone.
///
/// # Errors
/// When the folder cannot be written, or cannot hold two names of one file. Trying again is safe.
pub fn keep(folder: &Path, head: &SignedTreeHead) -> io::Result<Kept> {
    fs::create_dir_all(folder)?;
    // A name of this try alone: another process that publishes here could give the size's name to half of a file.
    let new = folder.join(format!("checkpoint.new-{}", Uuid::new_v4()));
    let kept = keep_as(&new, folder, head);
    if kept.is_err() {
        // It may not be there, or be gone with the folder; what went wrong first is told.
        let _removed = fs::remove_file(&new);
    }
    kept
}

fn keep_as(new: &Path, folder: &Path, head: &SignedTreeHead) -> io::Result<Kept> {
    let mut file = File::create_new(new)?;
    file.write_all(head.as_bytes())?;
    file.sync_all()?;
    let of_size = folder.join(format!("checkpoint-{}", head.head().size.0));
    let mut kept = Kept::Alone;
    // A second name appears with all of its bytes or not at all, and never in the place of another.
    if !link(new, &of_size)? && fs::read(&of_size)? != head.as_bytes() {
        let hash = Hash::sha256(head.as_bytes());
        let beside = folder.join(format!("checkpoint-{}-{hash}", head.head().size.0));
        link(new, &beside)?;
        kept = Kept::BesideAnother(Both {
            earlier: of_size,
            new: beside,
        });
    }
    // Readers see the old tree head or the new one, never a part.
    fs::rename(new, folder.join("checkpoint"))?;
    // The names are the evidence: they are durable before anybody counts the tree head as published.
    sync_folder(folder)?;
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_folder(parent)?;
    }
    Ok(kept)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Gives a file a second name; false if the name is taken.
fn link(file: &Path, name: &Path) -> io::Result<bool> {
    match fs::hard_link(file, name) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}
