//! The keys that people decide with.

use async_graphql::connection::Connection;
use async_graphql::{Context, Result, SimpleObject};
use ruche_projections::approvals;

use super::approval::ROLES;
use super::page::Cursor;
use super::read::{Asked, Reading};
use super::scalars::{DateTime, Hash, PositionScalar};

/// A key that people decide with. Whose it is says the ledger; nobody vouches for that here.
#[derive(SimpleObject)]
pub(super) struct ReviewerKey {
    /// Its id, which is its fingerprint: SHA-256 of its SubjectPublicKeyInfo.
    key_id: Hash,
    /// Whose it is, as it was registered.
    reviewer: String,
    /// The 32 bytes of the Ed25519 public key, in hex.
    public_key: Hash,
    /// Its name for people.
    label: Option<String>,
    /// Where it was registered: votes behind it may count.
    registered_position: PositionScalar,
    /// When.
    registered_at: DateTime,
    /// Where it was revoked: votes behind it do not count.
    revoked_position: Option<PositionScalar>,
    /// When.
    revoked_at: Option<DateTime>,
}

impl From<approvals::ReviewerKeyRow> for ReviewerKey {
    fn from(row: approvals::ReviewerKeyRow) -> Self {
        Self {
            key_id: Hash(row.key_id.0),
            reviewer: row.reviewer,
            public_key: Hash(row.public_key.0),
            label: row.label,
            registered_position: PositionScalar(row.registered_position),
            registered_at: DateTime(row.registered_at),
            revoked_position: row.revoked_position.map(PositionScalar),
            revoked_at: row.revoked_at.map(DateTime),
        }
    }
}

/// Keys of reviewers in the order in which they were registered.
pub(super) async fn keys(
    ctx: &Context<'_>,
    (first, after): (Option<i32>, Option<&str>),
    min_position: Option<PositionScalar>,
) -> Result<Connection<Cursor, ReviewerKey>> {
    let reading = Reading::for_roles(ctx, ROLES)?;
    let reading = reading.when(&["approvals"], min_position).await?;
    let asked = Asked::new("reviewer_key", first, after)?;
    let rows = approvals::keys(reading.store(), reading.ledger, &asked.request).await;
    asked.connection(rows, ReviewerKey::from)
}
