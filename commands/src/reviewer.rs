//! Keys of reviewers: registered by who holds them, revoked for ever. One stream per key.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{InfraKeyRegistered, InfraKeyRevoked};
use ruche_domain::ids::TenantId;
use ruche_domain::measures::Digest;
use ruche_ledger::dsse::PublicKey;
use ruche_ledger::vote::{ReviewerKey, key_id, key_stream};
use serde::Serialize;

use crate::command::{Command, Decision, Load, NewEvent, PastEvent, RecordedEvent};
use crate::context::{Ground, check_external_id};
use crate::error::CommandError;

/// A person's signing key becomes one that votes count under. The private half never leaves the person's machine; what
/// is sent is a proof that it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegisterReviewerKey {
    /// Whose key it is, as the tenant names people.
    pub reviewer: String,
    /// The 32 bytes of the Ed25519 public key, in hex.
    pub public_key: String,
    /// The DSSE envelope that the key signed, as JSON text.
    pub proof_of_possession: String,
    /// Name of the key for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A key is not to count any more. Votes that were recorded before stay valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RevokeReviewerKey {
    /// Id of the key.
    pub key_id: Digest,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What is known of a key.
#[derive(Clone, Debug, Default)]
pub struct KeyState {
    registered: Option<(InfraKeyRegistered, RecordedEvent)>,
    revoked: Option<RecordedEvent>,
    is_unreadable: bool,
}

impl KeyState {
    pub(crate) fn evolve(&mut self, past: &PastEvent) {
        match &past.event {
            Some(AgentEvent::InfraKeyRegistered(registered)) => {
                self.registered = Some((registered.clone(), past.recorded.clone()));
            }
            Some(AgentEvent::InfraKeyRevoked(_)) => self.revoked = Some(past.recorded.clone()),
            Some(_) => {}
            // It may be the one that revokes.
            None => self.is_unreadable = true,
        }
    }

    /// The key as votes are judged with it. One whose records cannot be read counts as revoked.
    pub(crate) fn key(&self, tenant: TenantId) -> Option<ReviewerKey> {
        let (registered, recorded) = self.registered.as_ref()?;
        let by = recorded.event.actor.reference;
        let mut key = ReviewerKey::registered(registered, tenant, by).ok()?;
        key.revoked = self.revoked.is_some() || self.is_unreadable;
        Some(key)
    }
}

impl RegisterReviewerKey {
    fn key(&self) -> Result<PublicKey, CommandError> {
        PublicKey::from_hex(&self.public_key)
            .map_err(|error| CommandError::input("/publicKey", error.to_string()))
    }
}

impl Command for RegisterReviewerKey {
    type State = KeyState;
    const NAME: &'static str = "RegisterReviewerKey";

    fn loads(&self, _: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        check_external_id("/reviewer", &self.reviewer)?;
        let label = self.label.as_deref();
        label.map_or(Ok(()), |label| check_external_id("/label", label))?;
        Ok(vec![Load::whole(key_stream(key_id(&self.key()?)))])
    }

    fn evolve(&self, state: &mut KeyState, event: &PastEvent) {
        state.evolve(event);
    }

    fn decide(&self, state: &KeyState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        let key = self.key()?;
        let mut registered = InfraKeyRegistered::new(
            key_id(&key),
            self.reviewer.clone(),
            Digest(*key.as_bytes()),
            self.proof_of_possession.clone(),
        );
        registered.label.clone_from(&self.label);
        registered.registered_by = ground.user.map(str::to_owned);
        ReviewerKey::registered(&registered, ground.tenant, ground.actor.reference)
            .map_err(|error| CommandError::input("/proofOfPossession", error.to_string()))?;
        if state.revoked.is_some() || state.is_unreadable {
            return Err(revoked("/publicKey"));
        }
        match &state.registered {
            None => Ok(Decision::Append(vec![NewEvent::fact(
                key_stream(key_id(&key)),
                registered,
            )])),
            Some((before, recorded)) if before.reviewer == self.reviewer => {
                Ok(Decision::AlreadySo(vec![recorded.clone()]))
            }
            Some(_) => Err(CommandError::input("/reviewer", "the key is another person's")),
        }
    }
}

impl Command for RevokeReviewerKey {
    type State = KeyState;
    const NAME: &'static str = "RevokeReviewerKey";

    fn loads(&self, _: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        Ok(vec![Load::whole(key_stream(self.key_id))])
    }

    fn evolve(&self, state: &mut KeyState, event: &PastEvent) {
        state.evolve(event);
    }

    fn decide(&self, state: &KeyState, _: &Ground<'_>) -> Result<Decision, CommandError> {
        if let Some(recorded) = &state.revoked {
            return Ok(Decision::AlreadySo(vec![recorded.clone()]));
        }
        if state.registered.is_none() && !state.is_unreadable {
            return Err(CommandError::NotFound {
                thing: "reviewer key",
            });
        }
        let mut event = InfraKeyRevoked::new(self.key_id);
        event.reason.clone_from(&self.reason);
        Ok(Decision::Append(vec![NewEvent::fact(
            key_stream(self.key_id),
            event,
        )]))
    }
}

fn revoked(field: &'static str) -> CommandError {
    CommandError::IllegalTransition {
        field,
        thing: "reviewer key",
        state: "revoked",
        legal: vec!["RegisterReviewerKey"],
        obstacle: None,
        retry_after_ms: None,
    }
}
