//! Keys of reviewers, as an auditor meets them: those that decided something, and those that the auditor trusts.
//!
//! A ledger says whose key a key is, and whoever runs it wrote that. That alice signed is known only to somebody who had
//! alice's key from alice; everybody else is told which keys there are, and that nobody vouched for them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Position;

use crate::dsse::PublicKey;

/// What stands before the 32 bytes of a key in its SubjectPublicKeyInfo (RFC 8410).
const SPKI_HEADER: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

/// A key that decided something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewerUse {
    /// Its id, which is its fingerprint: SHA-256 of its SubjectPublicKeyInfo.
    pub key_id: Digest,
    /// The 32 bytes of the key, in hex.
    pub public_key: String,
    /// Whose it is, as the ledger says.
    pub reviewer: String,
    /// Where it was registered.
    pub registered_at: Position,
    /// Where it was revoked.
    pub revoked_at: Option<Position>,
    /// Votes under it that count.
    pub decisions: u64,
    /// Whether the auditor brought it as this person's; nothing where the auditor brought no keys.
    pub is_trusted: Option<bool>,
}

/// Whether a key is one that the auditor brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing<'a> {
    /// As this person's.
    Trusted,
    /// As another person's.
    OfAnother(&'a str),
    /// Not at all.
    Unknown,
}

/// The keys that an auditor trusts, and whose they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedReviewers {
    names: HashMap<[u8; 32], String>,
}

/// Why a file does not name reviewers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustedReviewersError {
    /// A line that is neither.
    #[error("line {0}: expected a name and a public key: 64 hex digits, or PEM in the lines behind the name")]
    Line(usize),
    /// Not a key.
    #[error("line {0}: not an Ed25519 public key that can be trusted")]
    Key(usize),
    /// One key cannot be two people's.
    #[error("line {0}: the key stands there before")]
    Repeated(usize),
    /// Nobody.
    #[error("it names nobody")]
    Empty,
}

impl TrustedReviewers {
    /// Reads what `docs/formats/approval.md` describes: a name and a key in each line. Lines that are empty or begin with
    /// `#` say nothing.
    ///
    /// # Errors
    /// As [`TrustedReviewersError`] says: nothing is passed over.
    pub fn parse(text: &str) -> Result<Self, TrustedReviewersError> {
        let mut trusted = Self::default();
        let lines = text.lines().map(str::trim).zip(1..);
        let mut lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        while let Some((line, number)) = lines.next() {
            let in_line = line.rsplit_once(char::is_whitespace);
            let in_line = in_line.filter(|(_, key)| key.len() == 64 && hex::decode(key).is_ok());
            let (name, key) = match in_line {
                Some((name, key)) => (name.trim_end(), PublicKey::from_hex(&key.to_lowercase()).ok()),
                None => {
                    let body = pem(&mut lines).ok_or(TrustedReviewersError::Line(number))?;
                    (line, key_of_spki(&body))
                }
            };
            let key = *key.ok_or(TrustedReviewersError::Key(number))?.as_bytes();
            if trusted.names.insert(key, name.to_owned()).is_some() {
                return Err(TrustedReviewersError::Repeated(number));
            }
        }
        if trusted.names.is_empty() {
            return Err(TrustedReviewersError::Empty);
        }
        Ok(trusted)
    }

    /// What the auditor knows of a key that a ledger says to be somebody's.
    pub(super) fn standing(&self, key: &PublicKey, reviewer: &str) -> Standing<'_> {
        match self.names.get(key.as_bytes()) {
            Some(name) if name == reviewer => Standing::Trusted,
            Some(name) => Standing::OfAnother(name),
            None => Standing::Unknown,
        }
    }
}

/// The base64 of the block that comes next.
fn pem<'a>(lines: &mut impl Iterator<Item = (&'a str, usize)>) -> Option<String> {
    lines.next().filter(|(line, _)| *line == PEM_BEGIN)?;
    let mut body = String::new();
    for (line, _) in lines {
        if line == PEM_END {
            return Some(body);
        }
        body.push_str(line);
    }
    None
}

fn key_of_spki(base64: &str) -> Option<PublicKey> {
    let bytes = STANDARD.decode(base64).ok()?;
    let key = bytes.strip_prefix(&SPKI_HEADER[..])?;
    PublicKey::from_bytes(key.try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsse::PrivateKey;

    fn key(seed: u8) -> PublicKey {
        PrivateKey::from_seed(&[seed; 32]).public()
    }

    fn pem_of(key: &PublicKey) -> String {
        let spki = [&SPKI_HEADER[..], key.as_bytes()].concat();
        format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", STANDARD.encode(spki))
    }

    #[test]
    fn keys_are_hex_in_the_line_or_pem_behind_it() {
        let (alice, bob) = (key(1), key(2));
        let text = format!(
            "# who decides here\n\nalice of sales\t{}\n  bob\n{}",
            alice.to_hex(),
            pem_of(&bob)
        );
        let trusted = TrustedReviewers::parse(&text).unwrap();
        assert_eq!(trusted.standing(&alice, "alice of sales"), Standing::Trusted);
        assert_eq!(trusted.standing(&bob, "bob"), Standing::Trusted);
        assert_eq!(
            trusted.standing(&bob, "alice of sales"),
            Standing::OfAnother("bob")
        );
        assert_eq!(trusted.standing(&key(3), "bob"), Standing::Unknown);
    }

    #[test]
    fn nothing_in_a_file_is_passed_over() {
        use TrustedReviewersError as E;
        let hex = key(1).to_hex();
        let cases = [
            (String::new(), E::Empty),
            ("# alice\n".to_owned(), E::Empty),
            (hex.clone(), E::Line(1)),
            ("alice\n".to_owned(), E::Line(1)),
            (format!("\nalice {}\n", &hex[1..]), E::Line(2)),
            (format!("alice {hex}\nbob {hex}\n"), E::Repeated(2)),
            (format!("alice {}\n", "00".repeat(32)), E::Key(1)),
            (format!("alice\n{PEM_BEGIN}\nAAAA\n{PEM_END}\n"), E::Key(1)),
            (format!("alice\n{PEM_BEGIN}\nAAAA\n"), E::Line(1)),
        ];
        for (text, error) in cases {
            assert_eq!(TrustedReviewers::parse(&text), Err(error), "{text:?}");
        }
    }
}
