//! Whether a vote counts. The pipeline asks before it records one, and the offline verifier asks again years later: both
//! with [`judge`], on nothing but what the ledger holds.
//!
//! A key counts by position and not by time: a vote that stands behind the record that revokes its key does not count,
//! whatever time it claims, since who has stolen a key writes what time he likes.

use ruche_domain::approval::{KeyPossession, POSSESSION_TYPE, RequestFacts, STATEMENT_TYPE, Statement};
use ruche_domain::events::{InfraKeyRegistered, VoteRefusal};
use ruche_domain::ids::{TenantId, uuid_v8};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Epoch, Micros};
use ruche_domain::stream::{Category, StreamId};
use uuid::Uuid;

use crate::dsse::{Envelope, PublicKey};

mod request;

pub use request::{RequestFault, RequestPlace, request_facts};

/// A reviewer's key as the ledger knows it at some position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewerKey {
    key: PublicKey,
    /// The tenant that it was made for.
    pub tenant: TenantId,
    /// Whose it is.
    pub reviewer: String,
    /// The credential under which it was registered.
    pub registered_by: Option<Uuid>,
    /// The user of that credential, where it names one.
    pub registrar: Option<String>,
    /// Whether it is revoked by now.
    pub revoked: bool,
}

/// Why a key cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// Not a key that can be trusted.
    #[error("not an Ed25519 public key that can be trusted")]
    Key,
    /// The id is not that of the key.
    #[error("the id does not belong to the key")]
    Id,
    /// Nothing shows that the private half is there.
    #[error("the proof of possession does not hold: {0}")]
    Possession(String),
}

/// The stream of a key. Its first record registers it, so one key is registered once.
#[must_use]
pub fn key_stream(key_id: Digest) -> StreamId {
    StreamId::new(Category::Key, uuid_v8(&key_id.0))
}

/// The id of a key as a digest.
#[must_use]
pub fn key_id(key: &PublicKey) -> Digest {
    key.id().parse().expect("the id of a key is a SHA-256 in hex")
}

impl ReviewerKey {
    /// The key that `registered` says, if everything it says holds for this tenant.
    ///
    /// # Errors
    /// As [`KeyRefusal`] says.
    pub fn registered(
        registered: &InfraKeyRegistered,
        tenant: TenantId,
        by: Option<Uuid>,
    ) -> Result<Self, KeyRefusal> {
        let key = Self::read(registered, by)?;
        if key.tenant != tenant {
            return Err(KeyRefusal::Possession("it names another tenant".to_owned()));
        }
        Ok(key)
    }

    /// The same for whatever tenant the proof names.
    ///
    /// # Errors
    /// As [`KeyRefusal`] says.
    pub fn read(registered: &InfraKeyRegistered, by: Option<Uuid>) -> Result<Self, KeyRefusal> {
        let key = PublicKey::from_bytes(&registered.public_key.0).map_err(|_| KeyRefusal::Key)?;
        if key_id(&key) != registered.key_id {
            return Err(KeyRefusal::Id);
        }
        let no = |error: &dyn std::fmt::Display| KeyRefusal::Possession(error.to_string());
        let envelope = Envelope::parse(&registered.proof_of_possession).map_err(|e| no(&e))?;
        let signed = envelope.verify(&key, POSSESSION_TYPE).map_err(|e| no(&e))?;
        let possession = KeyPossession::parse(signed).map_err(|e| no(&e))?;
        if possession.reviewer != registered.reviewer || possession.public_key != registered.public_key {
            return Err(no(&"it names another reviewer or key"));
        }
        Ok(Self {
            key,
            tenant: possession.tenant,
            reviewer: registered.reviewer.clone(),
            registered_by: by,
            registrar: registered.registered_by.clone(),
            revoked: false,
        })
    }

    /// The key itself.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.key
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> Digest {
        key_id(&self.key)
    }
}

/// Who sent something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sender<'a> {
    /// The credential.
    pub credential: Option<Uuid>,
    /// Whose credential it is, where it names somebody. Users and reviewers have one name space.
    pub user: Option<&'a str>,
}

/// A vote, and everything that it has to hold against.
#[derive(Clone, Copy, Debug)]
pub struct Ballot<'a> {
    /// The envelope as it came.
    pub envelope: &'a str,
    /// The key that its hint names, as of the position of the vote.
    pub key: Option<&'a ReviewerKey>,
    /// The request as it stands in the ledger.
    pub request: &'a RequestFacts,
    /// Who asked for approval.
    pub requester: Sender<'a>,
    /// Who brought the vote.
    pub voter: Sender<'a>,
    /// When.
    pub now: Micros,
    /// Whether people are still asked.
    pub is_open: bool,
    /// The epoch that the ledger is in; nothing where nobody knows, and then no vote counts.
    pub now_in: Option<Epoch>,
}

/// Why a vote does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The kind.
    pub refusal: VoteRefusal,
    /// What exactly.
    pub detail: String,
    /// Who decided, where the signature holds.
    pub reviewer: Option<String>,
}

/// The key that an envelope says it was signed with.
#[must_use]
pub fn hinted_key(envelope: &str) -> Option<Digest> {
    Envelope::parse(envelope).ok()?.key_hint()?.parse().ok()
}

/// What the reviewer says, if the vote counts.
///
/// # Errors
/// The first of [`VoteRefusal`] that applies, in its order.
pub fn judge(ballot: &Ballot<'_>) -> Result<Statement, Refused> {
    let no = |refusal, detail: String| Refused {
        refusal,
        detail,
        reviewer: None,
    };
    let envelope = Envelope::parse(ballot.envelope).map_err(|e| no(VoteRefusal::Malformed, e.to_string()))?;
    let unknown = || no(VoteRefusal::UnknownKey, "no such key is registered".to_owned());
    let key = ballot.key.ok_or_else(unknown)?;
    let signed = envelope
        .verify(&key.key, STATEMENT_TYPE)
        .map_err(|e| no(VoteRefusal::BadSignature, e.to_string()))?;
    let statement = Statement::parse(signed).map_err(|e| no(VoteRefusal::Malformed, e.to_string()))?;
    match refusal_of(ballot, key, &statement) {
        None => Ok(statement),
        Some((refusal, detail)) => Err(Refused {
            refusal,
            detail,
            reviewer: Some(key.reviewer.clone()),
        }),
    }
}

/// What keeps a statement whose signature holds from counting.
fn refusal_of(
    ballot: &Ballot<'_>,
    key: &ReviewerKey,
    statement: &Statement,
) -> Option<(VoteRefusal, String)> {
    if key.revoked {
        return Some((VoteRefusal::RevokedKey, format!("key {} is revoked", key.id())));
    }
    if statement.reviewer != key.reviewer || statement.key_id != key.id().to_string() {
        let detail = format!("the key is that of {:?}", key.reviewer);
        return Some((VoteRefusal::OtherReviewer, detail));
    }
    let differing = statement.request.differences(ballot.request);
    if !differing.is_empty() {
        let detail = format!("differs from the request in {}", differing.join(", "));
        return Some((VoteRefusal::Mismatch, detail));
    }
    if let Some(part) = part_in_vote(ballot.requester, ballot.voter, key) {
        return Some((VoteRefusal::Requester, format!("of who asked: {part}")));
    }
    if ballot.request.expires_at <= ballot.now {
        return Some((VoteRefusal::Expired, "nobody decided in time".to_owned()));
    }
    if !ballot.is_open {
        return Some((VoteRefusal::Decided, "it is decided or withdrawn".to_owned()));
    }
    // An epoch ends where records were lost. What an approval starts may have been started in them.
    let asked_in = ballot.request.position.epoch;
    if ballot.now_in != Some(asked_in) {
        let detail =
            format!("it was asked in epoch {asked_in}, which is over; the call has to be proposed anew");
        return Some((VoteRefusal::Epoch, detail));
    }
    None
}

/// What somebody who asked, or who uses the approval, has to do with the vote itself. Credentials are compared, and then
/// people, who may have several: of a credential that names nobody no more is known.
#[must_use]
pub fn part_in_vote(who: Sender<'_>, voter: Sender<'_>, key: &ReviewerKey) -> Option<&'static str> {
    // Not known is not another: a request of nobody could be anybody's.
    let is_credential = |other: Option<Uuid>| who.credential.is_none() || other == who.credential;
    if is_credential(voter.credential) || is_credential(key.registered_by) {
        return Some("the credential also voted or registered the key");
    }
    let user = who.user?;
    if key.reviewer == user {
        return Some("it is the reviewer");
    }
    if voter.user == Some(user) || key.registrar.as_deref() == Some(user) {
        return Some("it also brought the vote or registered the key, under another credential");
    }
    None
}

#[cfg(test)]
mod tests;
