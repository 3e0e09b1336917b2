//! The master seed's file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ruche_domain::ids::LedgerId;
use ruche_domain::ports::Random;
use ruche_ledger::keys::{MasterSeed, SEED_BYTES};
use ruche_ledger::note::NoteSigner;
use ruche_ledger::seal::LogKeys;
use zeroize::Zeroizing;

use crate::files;
use crate::os::OsRandom;

/// Name of the file in the keys folder.
const SEED_FILE: &str = "master.seed";
/// Hexadecimal digits and a newline.
const FILE_BYTES: usize = 2 * SEED_BYTES + 1;

/// Why there is no master seed.
#[derive(Debug, thiserror::Error)]
pub enum SeedFileError {
    /// Somebody else could have read the seed. `chmod 600` it if you know that nobody did.
    #[error("{path} can be read by others (mode {mode:o}); run `chmod 600 {path}`", path = path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else. Restore it from your backup; deleting it gives up every log it signed.
    #[error("{path} does not hold a master seed: 64 lower-case hexadecimal digits and a newline", path = path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// The file is not that of a reviewer's key, or the name is none that a key can be made for.
    #[error("{path} is not the file of a reviewer's key, or the name is empty, too long or has control characters",
        path = path.display())]
    NotAReviewerKey {
        /// Which file.
        path: PathBuf,
    },
    /// The file or its folder cannot be used.
    #[error("cannot {doing} {path}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// The master seed of a deployment and where it stands.
pub struct MasterSeedFile {
    path: PathBuf,
    seed: MasterSeed,
    created: bool,
}

impl MasterSeedFile {
    /// Whether a seed stands in `dir`. Makes nothing.
    pub fn is_in(dir: &Path) -> bool {
        dir.join(SEED_FILE).exists()
    }

    /// The seed in `dir`; made, with its folder, if there is none yet.
    ///
    /// # Errors
    /// See [`SeedFileError`]. A seed that cannot be read is never replaced.
    pub fn load_or_create(dir: &Path) -> Result<Self, SeedFileError> {
        files::create_private_dir(dir).map_err(io("create", dir))?;
        let path = dir.join(SEED_FILE);
        if let Some(seed) = load(&path)? {
            return Ok(Self {
                path,
                seed,
                created: false,
            });
        }
        let created = create(dir, &path)?;
        // Read back rather than kept: whoever won the race, and whatever the disk did, this is what a restart finds.
        let seed = load(&path)?.ok_or_else(|| SeedFileError::Malformed { path: path.clone() })?;
        Ok(Self { path, seed, created })
    }

    /// The seed.
    pub fn seed(&self) -> &MasterSeed {
        &self.seed
    }

    /// Where it stands, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was made just now: the operator is told to back it up.
    pub fn is_new(&self) -> bool {
        self.created
    }
}

impl fmt::Debug for MasterSeedFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("MasterSeedFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl LogKeys for MasterSeedFile {
    /// # Panics
    /// If the origin cannot be the name of a key. Origins of stored epochs were checked when the epoch was opened.
    fn signer(&self, origin: &str) -> NoteSigner {
        self.seed
            .log_signer(origin)
            .expect("the origin of an epoch can be the name of a key")
    }

    fn label(&self, ledger: LedgerId) -> [u8; 16] {
        self.seed.origin_label(ledger)
    }
}

fn load(path: &Path) -> Result<Option<MasterSeed>, SeedFileError> {
    check_mode(path)?;
    let Some(bytes) = files::read(path, FILE_BYTES as u64).map_err(io("read", path))? else {
        return Ok(None);
    };
    let malformed = || SeedFileError::Malformed {
        path: path.to_owned(),
    };
    let digits = bytes.strip_suffix(b"\n").ok_or_else(malformed)?;
    let mut seed = Zeroizing::new([0; SEED_BYTES]);
    if digits.iter().any(u8::is_ascii_uppercase) || hex::decode_to_slice(digits, seed.as_mut()).is_err() {
        return Err(malformed());
    }
    MasterSeed::from_slice(&*seed).map(Some).map_err(|_| malformed())
}

#[cfg(unix)]
pub(crate) fn check_mode(path: &Path) -> Result<(), SeedFileError> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => Err(SeedFileError::Exposed {
            path: path.to_owned(),
            mode: found.permissions().mode() & 0o777,
        }),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io("look at", path)(error)),
        _ => Ok(()),
    }
}

/// Permissions of other systems are the operator's business.
#[cfg(not(unix))]
pub(crate) fn check_mode(_path: &Path) -> Result<(), SeedFileError> {
    Ok(())
}

/// Makes the file. False if another process was faster.
fn create(dir: &Path, path: &Path) -> Result<bool, SeedFileError> {
    let mut seed = Zeroizing::new([0; SEED_BYTES]);
    OsRandom.fill(seed.as_mut());
    let mut text = Zeroizing::new(vec![b'\n'; FILE_BYTES]);
    hex::encode_to_slice(*seed, &mut text[..FILE_BYTES - 1]).expect("two digits for each byte");
    let mut name = [0; 8];
    OsRandom.fill(&mut name);
    let temporary = dir.join(format!(".{SEED_FILE}.{}", hex::encode(name)));
    files::write_new(&temporary, &text).map_err(io("write", &temporary))?;
    // A crash before the link leaves a file that nobody reads; no log was signed with it.
    let linked = std::fs::hard_link(&temporary, path);
    files::remove_if_there(&temporary).map_err(io("remove", &temporary))?;
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(io("create", path)(error)),
    }
    // Before this the name may be lost with the power, and with it a seed that has signed nothing yet; so nothing is
    // signed until both folders are durable.
    files::sync_dir(dir).map_err(io("make durable", dir))?;
    if let Some(parent) = dir.parent() {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        files::sync_dir(parent).map_err(io("make durable", parent))?;
    }
    Ok(true)
}

pub(crate) fn io(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> SeedFileError {
    let path = path.to_owned();
    move |source| SeedFileError::Io {
        doing,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests;
