//! Read model: requests that people decide on, and the keys that they decide with.
//!
//! A request that is open, or approved and not used, when the ledger goes on in another epoch starts nothing any more: it is
//! stale from then on, though no record of its own says so.
//!
//! It finds requests and tells analysts what became of them. A decision is never shown from here: who shows a request to
//! somebody who decides reads its stream.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::infra::InfraKeyRegistered;
use ruche_domain::events::{ApprovalDecision, ApprovalOutcome, ApprovalRequested};
use ruche_domain::ids::{ApprovalId, LedgerId, SessionId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::stream::Category;
use uuid::Uuid;

use crate::bounds;
use crate::change::Change;
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};
use crate::select::{Cursor, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Tables of this read model.
pub const TABLES: &[&str] = &["approval", "reviewer_key"];

const REQUESTED: &str = "INSERT INTO approval (ledger, approval, position, session, turn, call, agent, tool, \
    side_effect, business_key, requested_by, requested_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (ledger, approval) DO NOTHING";
const VOTED: &str = "UPDATE approval SET decision = $1, decided_by = $2, decided_under = $3, decided_at = $4 \
    WHERE approval.ledger = $5 AND approval.approval = $6";
const SETTLED: &str = "UPDATE approval SET status = $1 WHERE approval.ledger = $2 AND approval.approval = $3";
const CONSUMED: &str = "UPDATE approval SET status = 'consumed', consumed_at = $1, consumed_position = $2 \
    WHERE approval.ledger = $3 AND approval.approval = $4";
const OUTLIVED: &str = "UPDATE approval SET status = 'stale' WHERE approval.ledger = $1 AND approval.position < $2 \
    AND approval.status IN ('requested', 'approved')";
const REGISTERED: &str = "INSERT INTO reviewer_key (ledger, stream, key_id, reviewer, public_key, label, \
    registered_position, registered_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
    ON CONFLICT (ledger, stream) DO NOTHING";
const REVOKED: &str = "UPDATE reviewer_key SET revoked_position = COALESCE(revoked_position, $1), \
    revoked_at = COALESCE(revoked_at, $2) WHERE reviewer_key.ledger = $3 AND reviewer_key.stream = $4";

/// The projection.
pub struct Approvals;

impl Projection for Approvals {
    fn name(&self) -> &'static str {
        "approvals"
    }

    fn version(&self) -> u32 {
        2
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        match (event.header().stream.category, event.event_type()) {
            (Category::Approval, _) => of_request(event),
            (Category::Ledger, "infra.ledger.opened") => {
                let params = vec![event.ledger_key().into(), event.place()?.into()];
                Ok(vec![Change::write(OUTLIVED, params)])
            }
            (Category::Key, "infra.key.registered") => match event.agent()? {
                Some(AgentEvent::InfraKeyRegistered(key)) => Ok(vec![registered(event, key)?]),
                // Whose it is and what it is, nobody can say any more.
                _ => Ok(vec![]),
            },
            (Category::Key, "infra.key.revoked") => {
                let params = vec![
                    event.place()?.into(),
                    event.occurred_at()?.into(),
                    event.ledger_key().into(),
                    stream(event).into(),
                ];
                Ok(vec![Change::about(&stream(event), REVOKED, params)])
            }
            _ => Ok(vec![]),
        }
    }
}

fn stream(event: &ProjectedEvent) -> [u8; 16] {
    event.header().stream.id.into_bytes()
}

fn of_request(event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
    let settled = |status: RequestStatus| {
        let params = vec![
            status.name().into(),
            event.ledger_key().into(),
            stream(event).into(),
        ];
        Ok(vec![Change::about(&stream(event), SETTLED, params)])
    };
    // How it ended stands in the name of the event; it counts though the payload is erased.
    match event.event_type() {
        "approval.expired" => return settled(RequestStatus::Expired),
        "approval.cancelled" => return settled(RequestStatus::Cancelled),
        "approval.stale" => return settled(RequestStatus::Stale),
        "approval.voided" => return settled(RequestStatus::Voided),
        "approval.consumed" => return consumed(event),
        "approval.requested" => {
            let said = match event.agent()? {
                Some(AgentEvent::ApprovalRequested(said)) => Some(said),
                _ => None,
            };
            return requested(event, said);
        }
        _ => {}
    }
    let fact = event.agent()?;
    match fact {
        // That it was decided stands in the name, too.
        None if event.event_type() == "approval.resolved" => settled(RequestStatus::Decided),
        Some(AgentEvent::ApprovalVoted(voted)) => {
            let params = vec![
                voted.decision.name().into(),
                (&voted.reviewer).into(),
                (&voted.key_id).into(),
                event.occurred_at()?.into(),
                event.ledger_key().into(),
                stream(event).into(),
            ];
            Ok(vec![Change::about(&stream(event), VOTED, params)])
        }
        Some(AgentEvent::ApprovalResolved(resolved)) => settled(match resolved.outcome {
            ApprovalOutcome::Approved => RequestStatus::Approved,
            ApprovalOutcome::Rejected | ApprovalOutcome::Reported => RequestStatus::Rejected,
        }),
        _ => Ok(vec![]),
    }
}

fn requested(event: &ProjectedEvent, said: Option<&ApprovalRequested>) -> Result<Vec<Change>, PoisonReason> {
    let header = event.header();
    let params = vec![
        event.ledger_key().into(),
        stream(event).into(),
        event.place()?.into(),
        header.session.map(|id| *id.as_bytes()).into(),
        header.turn.map(|id| *id.as_bytes()).into(),
        header.call.map(|id| *id.as_bytes()).into(),
        said.and_then(|said| said.agent_id.clone()).into(),
        said.and_then(|said| said.tool_name.clone()).into(),
        said.and_then(|said| said.side_effect)
            .map(|effect| effect.name())
            .into(),
        said.and_then(|said| said.business_key.clone()).into(),
        header.actor.reference.map(Uuid::into_bytes).into(),
        event.occurred_at()?.into(),
        bounds::time(said.map(|said| said.expires_at)).into(),
    ];
    Ok(vec![Change::about(&stream(event), REQUESTED, params)])
}

fn consumed(event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
    let params = vec![
        event.occurred_at()?.into(),
        event.place()?.into(),
        event.ledger_key().into(),
        stream(event).into(),
    ];
    Ok(vec![Change::about(&stream(event), CONSUMED, params)])
}

fn registered(event: &ProjectedEvent, key: &InfraKeyRegistered) -> Result<Change, PoisonReason> {
    let params = vec![
        event.ledger_key().into(),
        stream(event).into(),
        key.key_id.to_string().into(),
        (&key.reviewer).into(),
        key.public_key.to_string().into(),
        key.label.as_ref().into(),
        event.place()?.into(),
        event.occurred_at()?.into(),
    ];
    Ok(Change::about(&stream(event), REGISTERED, params))
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Where a request stands, as far as the read model is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RequestStatus {
            $($(#[$doc])* $variant,)*
        }

        impl RequestStatus {
            /// The word in the table.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

statuses! {
    /// People are asked.
    Requested = "requested",
    /// It may happen, once.
    Approved = "approved",
    /// It may not.
    Rejected = "rejected",
    /// It was decided. How was erased.
    Decided = "decided",
    /// Nobody decided in time.
    Expired = "expired",
    /// It was withdrawn.
    Cancelled = "cancelled",
    /// It was about something that would not happen so any more, or of an epoch that is over.
    Stale = "stale",
    /// It was approved and never used.
    Voided = "voided",
    /// It was used up.
    Consumed = "consumed",
}

/// Which requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalFilter {
    /// That stand so; all if there are none.
    pub status: Vec<RequestStatus>,
    /// Of this session.
    pub session: Option<SessionId>,
    /// Decided by this reviewer, as the key is registered.
    pub decided_by: Option<String>,
    /// Decided so.
    pub decision: Option<ApprovalDecision>,
}

/// Requests: those that are open first, and of those and of the others the oldest first. One that is settled while
/// somebody pages comes again, among the others.
///
/// # Errors
/// Those of the store; so for all queries.
pub async fn list(
    store: &dyn ReadStore,
    ledger: LedgerId,
    filter: &ApprovalFilter,
    page: &PageRequest,
) -> Result<Page<ApprovalId>, ReadStoreError> {
    let mut select = Select::of("is_settled, position, approval", "approval", ledger)
        .and_if("session = ", filter.session.map(|id| *id.as_bytes()))
        .and_if("decided_by = ", filter.decided_by.clone())
        .and_if("decision = ", filter.decision.map(ApprovalDecision::name));
    if !filter.status.is_empty() {
        select = select.and_in("status", filter.status.iter().map(|status| status.name()));
    }
    let rows = select.page(["is_settled", "position"], Cursor::number_value, page);
    Page::read(page, rows.rows(store).await?, |fields| {
        let (is_settled, position) = (fields.int()?, fields.int()?);
        Ok((Cursor::of_number(is_settled, position), fields.id()?))
    })
}

/// A key that people decide with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewerKeyRow {
    /// Its id.
    pub key_id: Digest,
    /// Whose it is.
    pub reviewer: String,
    /// The 32 bytes of the key.
    pub public_key: Digest,
    /// Its name for people.
    pub label: Option<String>,
    /// Where it was registered.
    pub registered_position: Position,
    /// When.
    pub registered_at: Micros,
    /// Where it was revoked.
    pub revoked_position: Option<Position>,
    /// When.
    pub revoked_at: Option<Micros>,
}

/// Keys of reviewers in the order in which they were registered.
///
/// # Errors
/// Those of the store.
pub async fn keys(
    store: &dyn ReadStore,
    ledger: LedgerId,
    page: &PageRequest,
) -> Result<Page<ReviewerKeyRow>, ReadStoreError> {
    let columns = "registered_position, stream, key_id, reviewer, public_key, label, registered_at, \
        revoked_position, revoked_at";
    let select = Select::of(columns, "reviewer_key", ledger);
    let rows = select.page(["registered_position", "stream"], Cursor::id_value, page);
    Page::read(page, rows.rows(store).await?, |fields| {
        let registered_position = fields.position()?;
        let at = crate::event::pack(registered_position).unwrap_or(i64::MAX);
        let stream: ApprovalId = fields.id()?;
        let key = ReviewerKeyRow {
            key_id: fields.word()?,
            reviewer: fields.text()?,
            public_key: fields.word()?,
            label: fields.optional_text()?,
            registered_position,
            registered_at: fields.time()?,
            revoked_position: fields.optional_position()?,
            revoked_at: fields.optional_time()?,
        };
        Ok((Cursor::of_id(at, *stream.as_bytes()), key))
    })
}
