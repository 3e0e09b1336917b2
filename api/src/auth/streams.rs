//! The access streams: what they say about keys.

use ruche_domain::event::AgentEvent;
use ruche_domain::ids::{ApiKeyId, LedgerId, TenantId};
use ruche_domain::limits::READ_RECORDS_MAX;
use ruche_domain::numbers::{Micros, StreamVersion};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::{EventStore, Record, StoreError};

use super::roles::Roles;

/// A fact about a key.
pub(super) enum KeyFact {
    /// It was made.
    Created {
        key_id: ApiKeyId,
        digest: [u8; 32],
        roles: Roles,
        label: Option<String>,
        user: Option<String>,
        created_at: Micros,
        expires_at: Option<Micros>,
    },
    /// It was revoked.
    Revoked { key_id: ApiKeyId },
}

/// The access stream of a tenant.
pub(super) fn stream_of(tenant: TenantId) -> StreamId {
    StreamId::new(Category::Access, tenant.0)
}

/// The facts of a tenant's access stream from `from` on, and the version to read on from.
///
/// # Errors
/// When the store does not answer, or a record's payload cannot be read: a revocation that cannot be read must not
/// be passed over.
pub(super) async fn read(
    events: &dyn EventStore,
    tenant: TenantId,
    from: StreamVersion,
) -> Result<(Vec<KeyFact>, StreamVersion), StoreError> {
    let ledger = LedgerId::main_of(tenant);
    let mut facts = Vec::new();
    let mut next = from;
    loop {
        let records = events
            .read_stream(ledger, stream_of(tenant), next, READ_RECORDS_MAX)
            .await?;
        let Some(last) = records.last() else {
            return Ok((facts, next));
        };
        next = last.leaf.stream_version.next();
        for record in &records {
            facts.extend(fact(record)?);
        }
    }
}

fn fact(record: &Record) -> Result<Option<KeyFact>, StoreError> {
    let unreadable = |reason: String| StoreError::Corrupt {
        place: format!("access record {}", record.position),
        reason,
    };
    let envelope = &record.leaf.event;
    let bytes = record
        .payload_bytes()
        .ok_or_else(|| unreadable("its payload is missing".to_owned()))?;
    let event = AgentEvent::from_payload(&envelope.event_type, envelope.schema_version, bytes)
        .map_err(|error| unreadable(error.to_string()))?;
    Ok(match event {
        AgentEvent::InfraApiKeyCreated(created) => Some(KeyFact::Created {
            key_id: created.key_id,
            digest: created.secret_digest.0,
            // A role of a newer version is none that this program could grant.
            roles: Roles::of(created.roles.iter().filter_map(|role| role.parse().ok())),
            label: created.label,
            user: created.user,
            created_at: record.leaf.recorded_at,
            expires_at: created.expires_at,
        }),
        AgentEvent::InfraApiKeyRevoked(revoked) => Some(KeyFact::Revoked {
            key_id: revoked.key_id,
        }),
        _ => None,
    })
}
