//! Requests that people decide on, read from the ledger itself: a decision is never shown from a copy.

use async_graphql::connection::{Connection, CursorType as _, Edge, EmptyFields, PageInfo};
use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use ruche_commands::governed::approval_stream;
use ruche_domain::approval::{RequestEnvelope, RequestFacts, Statement, view};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalOutcome, ApprovalRequested, ApprovalVoted};
use ruche_domain::ids::{ApprovalId, CallId, LedgerId};
use ruche_domain::limits::READ_RECORDS_MAX;
use ruche_domain::numbers::{Epoch, Micros, StreamVersion};
use ruche_ledger::store;
use ruche_ledger::vote::{RequestFault, RequestPlace, request_facts};
use ruche_projections::{approvals, select};

use super::errors::{fault, of_store};
use super::ledger::sealed;
use super::page::Cursor;
use super::read::{Asked, Reading, of_read_store};
use super::record::Record;
use super::scalars::{DateTime, Hash, Long, PositionScalar};
use super::session::{id, parse_id};
use super::words::{ApprovalDecision, SideEffectPolicy};
use crate::auth::Role;
use crate::error_codes as code;
use crate::services::Services;

/// Who may see what is asked.
pub(super) const ROLES: &[Role] = &[Role::Reader, Role::Reviewer];

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum ApprovalState {
    /// People are asked.
    Requested,
    /// It may happen, once, until it lapses.
    Approved,
    /// It may not happen.
    Rejected,
    /// It was decided, and how nobody can say any more: the record of it has lost its payload. What says that the approval
    /// was used, lapsed or withdrawn says so without a payload.
    Decided,
    /// Nobody decided in time, which is a no.
    Expired,
    /// It was withdrawn.
    Cancelled,
    /// It was about something that would not happen so any more, or of an epoch that is over.
    Stale,
    /// It was approved and never used.
    Voided,
    /// It was used up by the start of the action.
    Consumed,
}

/// A request that people decide on.
pub(super) struct Approval {
    place: RequestPlace,
    said: ApprovalRequested,
    record: Record,
    call: Option<CallId>,
    state: ApprovalState,
    refused_uses: Vec<RefusedUse>,
    votes: Vec<ApprovalVote>,
    consumed_at: Option<Micros>,
}

/// A vote that counts: a reviewer decided and signed.
#[derive(Clone, SimpleObject)]
pub(super) struct ApprovalVote {
    /// What the reviewer decided.
    decision: ApprovalDecision,
    /// Who, as the key is registered.
    reviewer: String,
    /// Id of the key that signed.
    key_id: String,
    /// Why, in the reviewer's words; it stands in what is signed.
    reason: Option<String>,
    /// When the vote came.
    voted_at: DateTime,
    /// Where it is recorded.
    position: PositionScalar,
}

impl ApprovalVote {
    fn of(voted: ApprovalVoted, record: &store::Record) -> Self {
        Self {
            decision: voted.decision.into(),
            reviewer: voted.reviewer,
            key_id: voted.key_id,
            reason: voted.reason,
            voted_at: DateTime(record.leaf.event.occurred_at),
            position: PositionScalar(record.position),
        }
    }
}

/// An attempt to start another call on the approval.
#[derive(Clone, SimpleObject)]
pub(super) struct RefusedUse {
    /// The call that was to start.
    call_id: ID,
    /// Name of its tool.
    tool: String,
    /// SHA-256 of its canonical action.
    action_digest: Option<Hash>,
    /// Where the attempt is recorded.
    position: PositionScalar,
}

/// The epoch that a ledger is in.
async fn epoch_of(services: &Services, ledger: LedgerId) -> Result<Option<Epoch>> {
    let head = services.events.head(ledger).await;
    Ok(head.map_err(|error| of_store(&error))?.map(|head| head.epoch))
}

/// The request of that id, as it stands now.
pub(super) async fn load(
    services: &Services,
    ledger: LedgerId,
    approval: ApprovalId,
) -> Result<Option<Approval>> {
    let now_in = epoch_of(services, ledger).await?;
    load_in(services, (ledger, now_in), approval).await
}

/// The request of that id, as its stream says, in a ledger that is in this epoch.
async fn load_in(
    services: &Services,
    (ledger, now_in): (LedgerId, Option<Epoch>),
    approval: ApprovalId,
) -> Result<Option<Approval>> {
    let stream = approval_stream(approval);
    let first = StreamVersion::FIRST;
    let read = services
        .events
        .read_stream(ledger, stream, first, READ_RECORDS_MAX)
        .await;
    let records = read.map_err(|error| of_store(&error))?;
    let mut state = ApprovalState::Requested;
    let mut request: Option<(ApprovalRequested, store::Record)> = None;
    let mut refused_uses = Vec::new();
    let (mut votes, mut consumed_at) = (Vec::new(), None);
    for record in records {
        let Some(fact) = fact(&record) else {
            state = state_without_payload(state, &record.leaf.event.event_type);
            continue;
        };
        match fact {
            AgentEvent::ApprovalRequested(said) => request = Some((said, record)),
            AgentEvent::ApprovalUseRefused(refused) => refused_uses.push(RefusedUse {
                call_id: id(refused.call_id),
                tool: refused.tool_name,
                action_digest: refused.action_digest.map(|digest| Hash(digest.0)),
                position: PositionScalar(record.position),
            }),
            fact => {
                state = state_after(state, &fact);
                match fact {
                    AgentEvent::ApprovalVoted(voted) => votes.push(ApprovalVote::of(voted, &record)),
                    AgentEvent::ApprovalConsumed(_) => consumed_at = Some(record.leaf.event.occurred_at),
                    _ => {}
                }
            }
        }
    }
    let Some((said, record)) = request else {
        return Ok(None);
    };
    let event = &record.leaf.event;
    let place = RequestPlace {
        origin: record.leaf.origin.clone(),
        position: record.position,
        leaf_hash: record.leaf_hash(),
        envelope: RequestEnvelope::of(event),
    };
    let is_of_use = matches!(state, ApprovalState::Requested | ApprovalState::Approved);
    if is_of_use && now_in.is_some_and(|now_in| place.position.epoch < now_in) {
        state = ApprovalState::Stale;
    }
    if state == ApprovalState::Requested && said.expires_at <= services.clock.now() {
        state = ApprovalState::Expired;
    }
    let call = event.call;
    let sealed = sealed(services, ledger, record.position.epoch).await?;
    let record = Record::new(record, sealed);
    Ok(Some(Approval {
        place,
        said,
        record,
        call,
        state,
        refused_uses,
        votes,
        consumed_at,
    }))
}

fn fact(record: &store::Record) -> Option<AgentEvent> {
    let event = &record.leaf.event;
    let bytes = record.payload_bytes()?;
    AgentEvent::from_payload(&event.event_type, event.schema_version, bytes).ok()
}

/// How it stands by the name of an event alone.
fn state_without_payload(state: ApprovalState, event_type: &str) -> ApprovalState {
    match event_type {
        "approval.resolved" => ApprovalState::Decided,
        "approval.expired" => ApprovalState::Expired,
        "approval.cancelled" => ApprovalState::Cancelled,
        "approval.stale" => ApprovalState::Stale,
        "approval.voided" => ApprovalState::Voided,
        "approval.consumed" => ApprovalState::Consumed,
        _ => state,
    }
}

fn state_after(state: ApprovalState, fact: &AgentEvent) -> ApprovalState {
    match fact {
        AgentEvent::ApprovalResolved(resolved) => match resolved.outcome {
            ApprovalOutcome::Approved => ApprovalState::Approved,
            ApprovalOutcome::Rejected | ApprovalOutcome::Reported => ApprovalState::Rejected,
        },
        AgentEvent::ApprovalExpired(_) => ApprovalState::Expired,
        AgentEvent::ApprovalCancelled(_) => ApprovalState::Cancelled,
        AgentEvent::ApprovalStale(_) => ApprovalState::Stale,
        AgentEvent::ApprovalVoided(_) => ApprovalState::Voided,
        AgentEvent::ApprovalConsumed(_) => ApprovalState::Consumed,
        _ => state,
    }
}

/// Which requests; all conditions have to hold.
pub(super) struct Wanted {
    pub status: Option<Vec<ApprovalState>>,
    pub session: Option<ID>,
    pub decided_by: Option<String>,
    pub decision: Option<ApprovalDecision>,
}

/// Requests in the order of the read model, which finds them; each is read from its stream.
pub(super) async fn list(
    ctx: &Context<'_>,
    wanted: Wanted,
    (first, after): (Option<i32>, Option<&str>),
    min_position: Option<PositionScalar>,
) -> Result<ApprovalConnection> {
    let reading = Reading::for_roles(ctx, ROLES)?;
    let reading = reading.when(&["approvals"], min_position).await?;
    let asked = Asked::new("approval", first, after)?;
    let status = wanted.status;
    let session = wanted.session.map(|session| parse_id("sessionId", &session));
    let filter = approvals::ApprovalFilter {
        status: status.iter().flatten().map(|state| (*state).into()).collect(),
        session: session.transpose()?,
        decided_by: wanted.decided_by,
        decision: wanted.decision.map(Into::into),
    };
    let found = approvals::list(reading.store(), reading.ledger, &filter, &asked.request).await;
    let found = found.map_err(|error| of_read_store(&error))?;
    let end = found.rows.last().map(|(cursor, _)| asked.cursor(cursor));
    let mut rows = Vec::with_capacity(found.rows.len());
    let now_in = epoch_of(&reading.services, reading.ledger).await?;
    for (cursor, approval) in found.rows {
        let approval = load_in(&reading.services, (reading.ledger, now_in), approval).await?;
        // The stream may be further than the read model, and a request lapses without a record.
        let fits = |approval: &Approval| {
            status
                .as_ref()
                .is_none_or(|status| status.contains(&approval.state))
        };
        rows.extend(approval.filter(fits).map(|approval| (cursor, approval)));
    }
    let has_next = found.has_next;
    let page = asked.connection(Ok(select::Page { rows, has_next }), |approval| approval)?;
    Ok(ApprovalConnection { page, end })
}

/// A page of requests.
pub(super) struct ApprovalConnection {
    page: Connection<Cursor, Approval>,
    /// Behind the last row that the read model gave. The page may end before it, or have nothing, since a request that does
    /// not stand as asked for any more is left out; whoever goes on goes on behind it all the same.
    end: Option<Cursor>,
}

/// A page of requests.
#[Object]
impl ApprovalConnection {
    /// Where the page ends, and whether more follows. A page may be empty and be followed by more.
    async fn page_info(&self) -> PageInfo {
        let first = self.page.edges.first();
        PageInfo {
            has_previous_page: self.page.has_previous_page,
            has_next_page: self.page.has_next_page,
            start_cursor: first.map(|edge| edge.cursor.encode_cursor()),
            end_cursor: self.end.as_ref().map(Cursor::encode_cursor),
        }
    }

    /// A list of edges.
    async fn edges(&self) -> &[Edge<Cursor, Approval, EmptyFields>] {
        &self.page.edges
    }

    /// A list of nodes.
    async fn nodes(&self) -> Vec<&Approval> {
        self.page.edges.iter().map(|edge| &edge.node).collect()
    }
}

impl From<ApprovalState> for approvals::RequestStatus {
    fn from(state: ApprovalState) -> Self {
        match state {
            ApprovalState::Requested => Self::Requested,
            ApprovalState::Approved => Self::Approved,
            ApprovalState::Rejected => Self::Rejected,
            ApprovalState::Decided => Self::Decided,
            ApprovalState::Expired => Self::Expired,
            ApprovalState::Cancelled => Self::Cancelled,
            ApprovalState::Stale => Self::Stale,
            ApprovalState::Voided => Self::Voided,
            ApprovalState::Consumed => Self::Consumed,
        }
    }
}

impl Approval {
    /// What a vote has to name, computed anew from the record.
    fn facts(&self) -> Result<RequestFacts> {
        let not_votable = |error: RequestFault| fault(code::INVALID_ARGUMENT, error.to_string());
        request_facts(&self.place, &self.said).map_err(not_votable)
    }
}

/// A request that people decide on.
#[Object]
impl Approval {
    /// Its id.
    async fn id(&self) -> ID {
        id(self.place.envelope.approval)
    }

    /// Where it stands now.
    async fn state(&self) -> ApprovalState {
        self.state
    }

    /// Name of the tool.
    async fn tool(&self) -> Option<&str> {
        self.said.tool_name.as_deref()
    }

    /// The arguments exactly as they will run.
    async fn arguments(&self) -> Option<&str> {
        self.said.arguments.as_deref()
    }

    /// What the call does to the world.
    async fn side_effect(&self) -> Option<SideEffectPolicy> {
        self.said.side_effect.map(Into::into)
    }

    /// The client's own id of the agent that asks.
    async fn agent_id(&self) -> Option<&str> {
        self.said.agent_id.as_deref()
    }

    /// The client's own id of whom the agent talks with.
    async fn interlocutor_id(&self) -> Option<&str> {
        self.said.interlocutor_id.as_deref()
    }

    /// Channel of the lane.
    async fn channel(&self) -> Option<&str> {
        self.said.channel.as_deref()
    }

    /// The caller's own name of the effect: for one interlocutor, what has one name happens once.
    async fn business_key(&self) -> Option<&str> {
        self.said.business_key.as_deref()
    }

    /// Number of the call within its turn, from 0.
    async fn ordinal(&self) -> Option<Long> {
        self.said.ordinal.map(Long::count)
    }

    /// Version of the tool, as it was registered when approval was asked for.
    async fn tool_version(&self) -> Option<&str> {
        self.said.tool_version.as_deref()
    }

    /// Who answers for the tool, as it was registered when approval was asked for.
    async fn tool_owner(&self) -> Option<&str> {
        self.said.tool_owner.as_deref()
    }

    /// Why the agent wants it. Not to be trusted.
    async fn justification(&self) -> Option<&str> {
        self.said.justification.as_deref()
    }

    /// Session that it belongs to.
    async fn session_id(&self) -> Option<ID> {
        self.place.envelope.session.map(id)
    }

    /// Turn that asks.
    async fn turn_id(&self) -> Option<ID> {
        self.place.envelope.turn.map(id)
    }

    /// The call.
    async fn call_id(&self) -> Option<ID> {
        self.call.map(id)
    }

    /// When it lapses, which is a denial.
    async fn expires_at(&self) -> DateTime {
        DateTime(Micros(self.said.expires_at.0))
    }

    /// SHA-256 of the canonical action, as the record says. Compute it anew before you believe it.
    async fn action_digest(&self) -> Hash {
        Hash(self.said.action_digest.0)
    }

    /// SHA-256 of `view`, as the record says.
    async fn view_digest(&self) -> Option<Hash> {
        self.said.view_digest.map(|digest| Hash(digest.0))
    }

    /// The text that a reviewer decides on.
    async fn view(&self) -> String {
        view(&self.place.envelope, &self.said)
    }

    /// When approval was asked for.
    async fn requested_at(&self) -> DateTime {
        DateTime(self.record.event().occurred_at)
    }

    /// Under which credential.
    async fn requested_by(&self) -> Option<ID> {
        self.record
            .event()
            .actor
            .reference
            .map(|by| by.to_string().into())
    }

    /// The user of that credential, where it names one, as the record says. That user does not decide.
    async fn requested_by_user(&self) -> Option<&str> {
        self.said.requested_by.as_deref()
    }

    /// The votes that count, in order: who decided what, when and why.
    async fn votes(&self) -> &[ApprovalVote] {
        &self.votes
    }

    /// What the reviewer decided.
    async fn decision(&self) -> Option<ApprovalDecision> {
        self.votes.last().map(|vote| vote.decision)
    }

    /// Why, in the reviewer's words. For the agent to go on with: nothing else tells it what was wrong.
    async fn decision_reason(&self) -> Option<&str> {
        self.votes.last().and_then(|vote| vote.reason.as_deref())
    }

    /// Who decided, as the key is registered.
    async fn decided_by(&self) -> Option<&str> {
        self.votes.last().map(|vote| vote.reviewer.as_str())
    }

    /// When the decision came.
    async fn decided_at(&self) -> Option<DateTime> {
        self.votes.last().map(|vote| vote.voted_at)
    }

    /// When it was used up.
    async fn consumed_at(&self) -> Option<DateTime> {
        self.consumed_at.map(DateTime)
    }

    /// Attempts to start other calls on it. Nothing started, and it is as good as before.
    async fn refused_uses(&self) -> &[RefusedUse] {
        &self.refused_uses
    }

    /// The record of the request: all that is needed to compute everything here anew.
    async fn record(&self) -> &Record {
        &self.record
    }

    /// The bytes to sign with DSSE type `application/vnd.ruche.approval.v1+json` in order to vote.
    async fn statement(
        &self,
        #[graphql(desc = "Who decides, as the key is registered.")] reviewer: String,
        #[graphql(desc = "Id of the key that signs.")] key_id: Hash,
        #[graphql(desc = "The decision.")] decision: ApprovalDecision,
        #[graphql(desc = "Why.")] reason: Option<String>,
    ) -> Result<String> {
        let key_id = hex::encode(key_id.0);
        let made = Statement::new(
            self.facts()?,
            &reviewer,
            &key_id,
            decision.into(),
            reason.as_deref(),
        );
        let statement = made.map_err(|error| fault(code::INVALID_ARGUMENT, error.to_string()))?;
        Ok(String::from_utf8_lossy(&statement.to_bytes()).into_owned())
    }
}
