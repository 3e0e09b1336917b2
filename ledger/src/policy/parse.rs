//! Reading a policy file.
//!
//! The file is octets: names and URLs are compared byte by byte and never decoded (C2SP tlog-policy,
//! "Character set").

use super::{Group, Member, POLICY_BYTES_MAX, POLICY_ITEMS_MAX, Policy, Witness};
use crate::note::{SignatureKind, VerifierKey, VerifierKeyError};

/// Why a file is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyParseError {
    /// Longer than [`POLICY_BYTES_MAX`].
    #[error("the policy has {0} bytes, at most 1048576 are read")]
    TooLong(usize),
    /// The last line does not end with a newline; the file may be cut.
    #[error("the last line of the policy does not end with a newline")]
    Unterminated,
    /// A line cannot stand in a policy.
    #[error("line {line} of the policy")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        problem: PolicyLineProblem,
    },
    /// There is no quorum line; `quorum none` says that no witness is asked for.
    #[error("the policy has no quorum line")]
    QuorumMissing,
}

/// What is wrong with a line of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyLineProblem {
    /// A control character other than tab and newline.
    #[error("a control character")]
    ControlCharacter,
    /// The first word is not log, witness, group or quorum.
    #[error("begins with none of log, witness, group, quorum")]
    Keyword,
    /// Words are missing, or there are too many.
    #[error("has the wrong number of words")]
    WordCount,
    /// The key is not a verifier key.
    #[error("the key is refused")]
    Key(#[source] VerifierKeyError),
    /// A log's key must be of type 0x01, a witness's of type 0x04.
    #[error("the key is of the wrong type")]
    KeyKind,
    /// The same public key twice among logs, or among witnesses.
    #[error("the key stands in the policy already")]
    KeyDuplicate,
    /// The name is `none`, or taken.
    #[error("the name is taken")]
    NameTaken,
    /// No witness or group above has this name.
    #[error("a name is not defined above")]
    NameUnknown,
    /// The witness or group is a member already, here or of another group.
    #[error("a member is in a group already")]
    MemberTwice,
    /// The threshold is not `all`, `any` or a number from 1 to the number of members.
    #[error("the threshold is not all, any, or 1 to the number of members")]
    Threshold,
    /// There is a quorum line already.
    #[error("a second quorum line")]
    QuorumTwice,
    /// More than [`POLICY_ITEMS_MAX`] logs, witnesses or groups.
    #[error("more logs, witnesses or groups than are read")]
    TooMany,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// With the line that cannot stand in one.
    pub fn parse(file: &[u8]) -> Result<Self, PolicyParseError> {
        if file.len() > POLICY_BYTES_MAX {
            return Err(PolicyParseError::TooLong(file.len()));
        }
        let mut draft = Draft::default();
        let Some(body) = file.strip_suffix(b"\n") else {
            return Err(if file.is_empty() {
                PolicyParseError::QuorumMissing
            } else {
                PolicyParseError::Unterminated
            });
        };
        for (number, line) in (1..).zip(body.split(|byte| *byte == b'\n')) {
            draft.line(line).map_err(|problem| PolicyParseError::Line {
                line: number,
                problem,
            })?;
        }
        draft.finish()
    }
}

/// A policy while its lines are read.
#[derive(Default)]
struct Draft {
    logs: Vec<(VerifierKey, Option<Vec<u8>>)>,
    witness_keys: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    /// Members of any group: each may be in one only.
    grouped: Vec<Member>,
    /// `Some(None)` stands for `quorum none`.
    quorum: Option<Option<Member>>,
}

impl Draft {
    fn line(&mut self, line: &[u8]) -> Result<(), PolicyLineProblem> {
        // 0x7F is the one control character above the space.
        if line
            .iter()
            .any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f)
        {
            return Err(PolicyLineProblem::ControlCharacter);
        }
        let words: Vec<&[u8]> = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|word| !word.is_empty())
            .collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", key] => self.log(key, None),
            [b"log", key, url] => self.log(key, Some(url)),
            [b"witness", name, key] => self.witness(name, key, None),
            [b"witness", name, key, url] => self.witness(name, key, Some(url)),
            [b"group", name, threshold, members @ ..] if !members.is_empty() => {
                self.group(name, threshold, members)
            }
            [b"quorum", name] => self.quorum(name),
            [b"log" | b"witness" | b"group" | b"quorum", ..] => Err(PolicyLineProblem::WordCount),
            _ => Err(PolicyLineProblem::Keyword),
        }
    }

    fn log(&mut self, key: &[u8], url: Option<&&[u8]>) -> Result<(), PolicyLineProblem> {
        let key = parse_key(key, SignatureKind::Ed25519)?;
        if self
            .logs
            .iter()
            .any(|(known, _)| known.public_key() == key.public_key())
        {
            return Err(PolicyLineProblem::KeyDuplicate);
        }
        self.logs.push((key, url.map(|url| url.to_vec())));
        within_limit(self.logs.len())
    }

    fn witness(&mut self, name: &[u8], key: &[u8], url: Option<&&[u8]>) -> Result<(), PolicyLineProblem> {
        self.check_new_name(name)?;
        let key = parse_key(key, SignatureKind::CosignatureV1)?;
        if self
            .witness_keys
            .iter()
            .any(|known| known.public_key() == key.public_key())
        {
            return Err(PolicyLineProblem::KeyDuplicate);
        }
        self.witness_keys.push(key);
        self.witnesses.push(Witness {
            name: name.to_vec(),
            url: url.map(|url| url.to_vec()),
        });
        within_limit(self.witnesses.len())
    }

    fn group(&mut self, name: &[u8], threshold: &[u8], names: &[&[u8]]) -> Result<(), PolicyLineProblem> {
        self.check_new_name(name)?;
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            let member = self.find(name).ok_or(PolicyLineProblem::NameUnknown)?;
            if self.grouped.contains(&member) {
                return Err(PolicyLineProblem::MemberTwice);
            }
            self.grouped.push(member);
            members.push(member);
        }
        let threshold = match threshold {
            b"all" => members.len(),
            b"any" => 1,
            digits => std::str::from_utf8(digits)
                .ok()
                .and_then(crate::tree_head::parse_decimal)
                .and_then(|number| usize::try_from(number).ok())
                .filter(|number| (1..=members.len()).contains(number))
                .ok_or(PolicyLineProblem::Threshold)?,
        };
        self.groups.push(Group {
            name: name.to_vec(),
            threshold,
            members,
        });
        within_limit(self.groups.len())
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), PolicyLineProblem> {
        if self.quorum.is_some() {
            return Err(PolicyLineProblem::QuorumTwice);
        }
        self.quorum = Some(match name {
            b"none" => None,
            name => Some(self.find(name).ok_or(PolicyLineProblem::NameUnknown)?),
        });
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Option<Member> {
        let witness = self
            .witnesses
            .iter()
            .position(|witness| witness.name == name)
            .map(Member::Witness);
        witness.or_else(|| {
            self.groups
                .iter()
                .position(|group| group.name == name)
                .map(Member::Group)
        })
    }

    fn check_new_name(&self, name: &[u8]) -> Result<(), PolicyLineProblem> {
        let taken = name == b"none" || self.find(name).is_some();
        if taken {
            Err(PolicyLineProblem::NameTaken)
        } else {
            Ok(())
        }
    }

    fn finish(self) -> Result<Policy, PolicyParseError> {
        let quorum = self.quorum.ok_or(PolicyParseError::QuorumMissing)?;
        let log_count = self.logs.len();
        let (mut keys, log_urls): (Vec<_>, Vec<_>) = self.logs.into_iter().unzip();
        keys.extend(self.witness_keys);
        Ok(Policy {
            keys,
            log_count,
            log_urls,
            witnesses: self.witnesses,
            groups: self.groups,
            quorum,
        })
    }
}

fn parse_key(text: &[u8], kind: SignatureKind) -> Result<VerifierKey, PolicyLineProblem> {
    let text = std::str::from_utf8(text).map_err(|_| PolicyLineProblem::Key(VerifierKeyError::Format))?;
    let key: VerifierKey = text.parse().map_err(PolicyLineProblem::Key)?;
    if key.kind() == kind {
        Ok(key)
    } else {
        Err(PolicyLineProblem::KeyKind)
    }
}

fn within_limit(count: usize) -> Result<(), PolicyLineProblem> {
    if count > POLICY_ITEMS_MAX {
        Err(PolicyLineProblem::TooMany)
    } else {
        Ok(())
    }
}
