//! The file of a reviewer's private key. It is made on the reviewer's machine and never leaves it.

use std::path::Path;

use ruche_domain::approval::{KeyPossession, POSSESSION_TYPE};
use ruche_domain::ids::TenantId;
use ruche_domain::ports::Random;
use ruche_ledger::dsse::PrivateKey;
use zeroize::Zeroizing;

use crate::files;
use crate::os::OsRandom;
use crate::seed::{SeedFileError, check_mode, io};

/// First line of the file.
const HEAD: &str = "ruche reviewer key 1";
/// Bytes of the file at most: four lines, one with a name.
const FILE_BYTES_MAX: u64 = 1_024;

/// A reviewer's key: who holds it, for which tenant, and the private half.
#[derive(Debug)]
pub struct ReviewerKeyFile {
    /// The tenant that takes it for this person's.
    pub tenant: TenantId,
    /// Who holds it, as the tenant names people.
    pub reviewer: String,
    /// The key.
    pub key: PrivateKey,
}

impl ReviewerKeyFile {
    /// Makes a key in a file that is not there yet and that only its owner can read.
    ///
    /// # Errors
    /// See [`SeedFileError`]. A file that is there is never touched; a name that cannot stand in a statement is
    /// [`SeedFileError::Malformed`].
    pub fn create(path: &Path, tenant: TenantId, reviewer: &str) -> Result<Self, SeedFileError> {
        let mut seed = Zeroizing::new([0; 32]);
        OsRandom.fill(seed.as_mut());
        let key = PrivateKey::from_seed(&seed);
        let malformed = |_| SeedFileError::NotAReviewerKey {
            path: path.to_owned(),
        };
        KeyPossession::new(tenant, reviewer, *key.public().as_bytes()).map_err(malformed)?;
        let mut digits = Zeroizing::new([0; 64]);
        hex::encode_to_slice(*seed, digits.as_mut()).expect("two digits for each byte");
        let head = format!("{HEAD}\ntenant {tenant}\nreviewer {reviewer}\nprivate ");
        let mut text = Zeroizing::new(Vec::with_capacity(head.len() + 65));
        text.extend_from_slice(head.as_bytes());
        text.extend_from_slice(digits.as_ref());
        text.push(b'\n');
        files::write_new(path, &text).map_err(io("create", path))?;
        Self::load(path)
    }

    /// The key in a file.
    ///
    /// # Errors
    /// See [`SeedFileError`]; one that others can read is refused.
    pub fn load(path: &Path) -> Result<Self, SeedFileError> {
        check_mode(path)?;
        let read = files::read(path, FILE_BYTES_MAX).map_err(io("read", path))?;
        let missing = || io("read", path)(std::io::ErrorKind::NotFound.into());
        let bytes = read.ok_or_else(missing)?;
        parse(&bytes).ok_or_else(|| SeedFileError::NotAReviewerKey {
            path: path.to_owned(),
        })
    }

    /// The proof that the private half is there: a DSSE envelope as JSON text.
    ///
    /// # Panics
    /// Never: a file with a name that cannot stand in the proof is not read.
    #[must_use]
    pub fn proof_of_possession(&self) -> String {
        let possession = KeyPossession::new(self.tenant, &self.reviewer, *self.key.public().as_bytes());
        let bytes = possession.expect("names were checked").to_bytes();
        let envelope = self.key.sign(POSSESSION_TYPE, &bytes);
        envelope.expect("a name is short").to_json()
    }
}

fn parse(bytes: &[u8]) -> Option<ReviewerKeyFile> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next()? != HEAD {
        return None;
    }
    let tenant: TenantId = lines.next()?.strip_prefix("tenant ")?.parse().ok()?;
    let reviewer = lines.next()?.strip_prefix("reviewer ")?.to_owned();
    let digits = lines.next()?.strip_prefix("private ")?;
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(digits, seed.as_mut()).ok()?;
    let key = PrivateKey::from_seed(&seed);
    KeyPossession::new(tenant, &reviewer, *key.public().as_bytes()).ok()?;
    lines.next().is_none().then_some(ReviewerKeyFile {
        tenant,
        reviewer,
        key,
    })
}

#[cfg(test)]
mod tests {
    use ruche_domain::events::InfraKeyRegistered;
    use ruche_domain::measures::Digest;
    use ruche_ledger::vote::{ReviewerKey, key_id};
    use uuid::Uuid;

    use super::*;

    const TENANT: TenantId = TenantId(Uuid::from_u128(1));

    #[test]
    fn a_key_is_made_once_and_proves_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alice.key");
        let made = ReviewerKeyFile::create(&path, TENANT, "alice").unwrap();
        let loaded = ReviewerKeyFile::load(&path).unwrap();
        assert_eq!(loaded.key.public(), made.key.public());
        let public = loaded.key.public();
        let registered = InfraKeyRegistered::new(
            key_id(&public),
            "alice".to_owned(),
            Digest(*public.as_bytes()),
            loaded.proof_of_possession(),
        );
        assert!(ReviewerKey::registered(&registered, TENANT, None).is_ok());
        let again = ReviewerKeyFile::create(&path, TENANT, "alice").unwrap_err();
        assert!(matches!(again, SeedFileError::Io { .. }), "{again}");
        assert_eq!(ReviewerKeyFile::load(&path).unwrap().key.public(), public);
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alice.key");
        ReviewerKeyFile::create(&path, TENANT, "alice").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let exposed = ReviewerKeyFile::load(&path).unwrap_err();
        assert!(
            matches!(exposed, SeedFileError::Exposed { mode: 0o640, .. }),
            "{exposed}"
        );
    }

    #[test]
    fn names_cannot_add_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alice.key");
        let refused = ReviewerKeyFile::create(&path, TENANT, "alice\nprivate 00").unwrap_err();
        assert!(
            matches!(refused, SeedFileError::NotAReviewerKey { .. }),
            "{refused}"
        );
        assert!(!path.exists());
        std::fs::write(&path, "ruche reviewer key 2\n").unwrap();
        assert!(ReviewerKeyFile::load(&path).is_err());
    }
}
