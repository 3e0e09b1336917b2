//! Who sends a command, and what it is decided on.

use std::sync::Arc;

use ruche_domain::envelope::{Actor, Provenance, TraceContext};
use ruche_domain::ids::{EventId, LedgerId, TenantId};
use ruche_domain::limits::{EXTERNAL_ID_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX};
use ruche_domain::numbers::Micros;
use ruche_ledger::references::ReferenceKey;

use crate::error::CommandError;
use crate::ports::ArgumentSchemas;

/// Who sends a command and why. Ledger, tenant, actor and provenance come from the credential, never from the body.
#[derive(Clone, Debug)]
pub struct CommandContext {
    /// The ledger that is written.
    pub ledger: LedgerId,
    /// The tenant that it belongs to.
    pub tenant: TenantId,
    /// Who acts.
    pub actor: Actor,
    /// Whose credential the actor's is, where it names somebody.
    pub user: Option<Arc<str>>,
    /// For whom, if not for the actor itself.
    pub on_behalf_of: Option<Actor>,
    /// What the records are worth as evidence.
    pub provenance: Provenance,
    /// The client's key: the same key and the same command are carried out once.
    pub idempotency_key: String,
    /// The client's own id of the conversation or job. Absent: the session of each event.
    pub correlation: Option<String>,
    /// The event that caused the command.
    pub causation: Option<EventId>,
    /// Trace of the request.
    pub trace: Option<TraceContext>,
}

impl CommandContext {
    /// A context with the required fields.
    pub fn new(
        tenant: TenantId,
        actor: Actor,
        provenance: Provenance,
        idempotency_key: impl Into<String>,
    ) -> Self {
        Self {
            ledger: LedgerId::main_of(tenant),
            tenant,
            actor,
            user: None,
            on_behalf_of: None,
            provenance,
            idempotency_key: idempotency_key.into(),
            correlation: None,
            causation: None,
            trace: None,
        }
    }

    /// The same context under another idempotency key.
    #[must_use]
    pub fn with_key(&self, idempotency_key: impl Into<String>) -> Self {
        Self {
            idempotency_key: idempotency_key.into(),
            ..self.clone()
        }
    }

    /// The key as the ledger knows it. It is one of the credential that sends it: two clients that number their requests
    /// alike do not get each other's answers. Source: R-IDEM-01.
    pub(crate) fn own_key(&self) -> String {
        match self.actor.reference {
            Some(sender) => format!("{}/{}", sender.as_simple(), self.idempotency_key),
            // Ruche's own programs, such as the importer.
            None => self.idempotency_key.clone(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), CommandError> {
        check_text(
            "/idempotencyKey",
            &self.idempotency_key,
            IDEMPOTENCY_KEY_BYTES_MAX,
        )?;
        self.correlation
            .as_deref()
            .map_or(Ok(()), |id| check_external_id("/correlationId", id))
    }
}

/// What a decider may know beside its state. It draws nothing random and reads no clock.
pub struct Ground<'a> {
    /// Makes references of clients' own ids.
    pub references: &'a ReferenceKey,
    /// When the command is decided.
    pub now: Micros,
    /// The idempotency key of the command with its sender, for things that the client did not name.
    pub idempotency_key: &'a str,
    /// The ledger that is written.
    pub ledger: LedgerId,
    /// The tenant that it is for.
    pub tenant: TenantId,
    /// Who sends it.
    pub actor: Actor,
    /// Whose credential that is, where it names somebody.
    pub user: Option<&'a str>,
    /// Holds arguments of tools against schemas.
    pub schemas: &'a dyn ArgumentSchemas,
}

/// A client's own id: not empty, at most 255 bytes, without control characters.
pub(crate) fn check_external_id(field: &str, id: &str) -> Result<(), CommandError> {
    check_text(field, id, EXTERNAL_ID_BYTES_MAX)
}

/// Text of a client in a field: not empty, at most so many bytes, without control characters.
pub(crate) fn check_text(field: &str, text: &str, bytes_max: usize) -> Result<(), CommandError> {
    if text.is_empty() {
        return Err(CommandError::input(field, "must not be empty"));
    }
    if text.len() > bytes_max {
        return Err(CommandError::input(
            field,
            format!("longer than {bytes_max} bytes"),
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(CommandError::input(field, "control characters are not allowed"));
    }
    Ok(())
}

/// Bytes of what a person says in words: a reason, evidence.
const WORDS_BYTES_MAX: usize = 4_096;

/// Checks what a person says in words.
///
/// # Errors
/// `InvalidInput` where it is empty or too long.
pub(crate) fn check_words(field: &str, text: &str) -> Result<(), CommandError> {
    if text.trim().is_empty() {
        return Err(CommandError::input(field, "must not be empty"));
    }
    if text.len() > WORDS_BYTES_MAX {
        let reason = format!("longer than {WORDS_BYTES_MAX} bytes");
        return Err(CommandError::input(field, reason));
    }
    Ok(())
}
