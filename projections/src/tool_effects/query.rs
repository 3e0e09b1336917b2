//! Queries about tool calls, their effects, and tools.

use std::collections::HashMap;

use ruche_domain::ids::{CallId, LaneId, LedgerId, SessionId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::side_effect::{SideEffectPolicy, ToolKind};

use uuid::Uuid;

use super::{EffectState, NotExecutedCause};
use crate::select::{Cursor, Fields, Page, PageRequest, Select};
use crate::store::{ReadStore, ReadStoreError};

/// A tool call and its effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolEffect {
    /// Our id of the call.
    pub call: CallId,
    /// Session that it belongs to.
    pub session: Option<SessionId>,
    /// Turn that it belongs to.
    pub turn: Option<TurnId>,
    /// Lane that decides on it.
    pub lane: Option<LaneId>,
    /// Where it stands.
    pub status: EffectState,
    /// Why it never ran, where it never did.
    pub not_executed_cause: Option<NotExecutedCause>,
    /// What the reviewer who said no gave for it.
    pub not_executed_reason: Option<String>,
    /// Name of the tool.
    pub tool: Option<String>,
    /// What the call does to the world; nothing is known of a call whose proposal was erased or never seen.
    pub side_effect: Option<SideEffectPolicy>,
    /// Kind of work.
    pub tool_kind: Option<ToolKind>,
    /// The arguments exactly as the model wrote them.
    pub arguments: Option<String>,
    /// How the source wrote the arguments; absent means as a string.
    pub arguments_form: Option<String>,
    /// Number of the call within its message.
    pub ordinal: Option<u64>,
    /// Number of the message that asks for it.
    pub message_ordinal: Option<u64>,
    /// The provider's id of the call.
    pub provider_call_id: Option<String>,
    /// Who asked for it.
    pub requestor: Option<String>,
    /// The caller's business key.
    pub business_key: Option<String>,
    /// SHA-256 of the canonical action.
    pub action_digest: Option<Digest>,
    /// SHA-256 of the arguments text.
    pub argument_digest: Option<Digest>,
    /// The result exactly as the model is given it.
    pub result: Option<String>,
    /// How the source wrote the result; absent means as a string.
    pub result_form: Option<String>,
    /// SHA-256 of the result text, whatever the outcome was.
    pub result_digest: Option<Digest>,
    /// Stable word for the kind of error.
    pub error_type: Option<String>,
    /// The error, or why the outcome is unknown, in words.
    pub error: Option<String>,
    /// The credential of the person who said how it came out; nothing where no person did.
    pub asserted_by: Option<Uuid>,
    /// Who that person said to be.
    pub claimed_by: Option<String>,
    /// What the finding of that person rests on.
    pub evidence: Option<String>,
    /// Reference of the effect in the system that carried it out.
    pub external_ref: Option<String>,
    /// How often it was started.
    pub attempts: u64,
    /// When it was asked for.
    pub proposed_at: Option<Micros>,
    /// When it was first started.
    pub started_at: Option<Micros>,
    /// When it came out.
    pub ended_at: Option<Micros>,
    /// How long it took, µs.
    pub duration_us: Option<u64>,
    /// The record that asks for it.
    pub intent_position: Option<Position>,
    /// The record that says it was about to run.
    pub started_position: Option<Position>,
    /// The record that says how it came out.
    pub outcome_position: Option<Position>,
    /// The first record about it.
    pub first_position: Position,
    /// The last record about it.
    pub last_position: Position,
    /// Whether a payload about it was erased.
    pub erased: bool,
}

const COLUMNS: &str = "call, session, turn, lane, status, not_executed_cause, not_executed_reason, \
    tool, side_effect, tool_kind, arguments, arguments_form, ordinal, \
    message_ordinal, provider_call_id, requestor, business_key, action_digest, argument_digest, result, result_form, result_digest, \
    error_type, error, asserted_by, claimed_by, evidence, external_ref, \
    attempts, proposed_at, started_at, ended_at, duration_us, intent_position, started_position, \
    outcome_position, first_position, last_position, erased";

fn read(fields: &mut Fields) -> Result<(Cursor, ToolEffect), ReadStoreError> {
    let effect = ToolEffect {
        call: fields.id()?,
        session: fields.optional_id()?,
        turn: fields.optional_id()?,
        lane: fields.optional_id()?,
        status: fields.word()?,
        not_executed_cause: fields.optional_word()?,
        not_executed_reason: fields.optional_text()?,
        tool: fields.optional_text()?,
        side_effect: fields.optional_word()?,
        tool_kind: fields.optional_word()?,
        arguments: fields.optional_text()?,
        arguments_form: fields.optional_text()?,
        ordinal: fields.optional_count()?,
        message_ordinal: fields.optional_count()?,
        provider_call_id: fields.optional_text()?,
        requestor: fields.optional_text()?,
        business_key: fields.optional_text()?,
        action_digest: fields.optional_word()?,
        argument_digest: fields.optional_word()?,
        result: fields.optional_text()?,
        result_form: fields.optional_text()?,
        result_digest: fields.optional_word()?,
        error_type: fields.optional_text()?,
        error: fields.optional_text()?,
        asserted_by: fields.optional_id()?,
        claimed_by: fields.optional_text()?,
        evidence: fields.optional_text()?,
        external_ref: fields.optional_text()?,
        attempts: fields.count()?,
        proposed_at: fields.optional_time()?,
        started_at: fields.optional_time()?,
        ended_at: fields.optional_time()?,
        duration_us: fields.optional_count()?,
        intent_position: fields.optional_position()?,
        started_position: fields.optional_position()?,
        outcome_position: fields.optional_position()?,
        first_position: fields.position()?,
        last_position: fields.position()?,
        erased: fields.flag()?,
    };
    let at = crate::event::pack(effect.first_position).unwrap_or(i64::MAX);
    Ok((Cursor::of_id(at, *effect.call.as_bytes()), effect))
}

/// Which effects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EffectFilter {
    /// Of this session.
    pub session: Option<SessionId>,
    /// Of this turn.
    pub turn: Option<TurnId>,
    /// Of this lane.
    pub lane: Option<LaneId>,
    /// Of this tool.
    pub tool: Option<String>,
    /// Standing here.
    pub status: Option<EffectState>,
    /// With this side effect.
    pub side_effect: Option<SideEffectPolicy>,
    /// What cannot be undone, ran up to here, and had no approval that was used up for it. That position is one that the read
    /// model of approvals has reached: an approval is used up in front of the start.
    pub unapproved_up_to: Option<Position>,
    /// What policy or a reviewer said no to, where another tool was tried for it behind that.
    pub retried_elsewhere: bool,
}

/// Said again word for word, this lets engines use the small index of calls whose end is not known.
const UNSETTLED: &str = " AND status IN ('proposed', 'deferred', 'started', 'outcome_unknown')";

/// Said as the index of such calls says it. What a call does to the world nobody knows where its proposal is not there.
const UNAPPROVED: &str = " AND (side_effect = 'irreversible' OR side_effect IS NULL) AND status <> 'not_executed' \
    AND NOT EXISTS (SELECT 1 FROM approval a WHERE a.ledger = tool_effect.ledger AND a.call = tool_effect.call \
    AND a.consumed_position IS NOT NULL) AND COALESCE(started_position, outcome_position) <= ";

/// Calls `o` of another tool behind the denial of a call: of its turn, or of its session and about the same thing. No event of a
/// call that was denied comes behind its denial, so its last record is that.
const TRIED_FOR_IT: &str = "o.ledger = tool_effect.ledger AND o.session = tool_effect.session \
    AND o.tool <> tool_effect.tool AND o.intent_position > tool_effect.last_position \
    AND (o.turn = tool_effect.turn OR o.business_key = tool_effect.business_key \
    OR o.argument_digest = tool_effect.argument_digest)";

/// Calls that are given as tried in place of one at most.
const RETRIED_MAX: i64 = 16;

/// Calls with the arguments of one call that are given at most.
const SAME_ARGUMENTS_MAX: i64 = 16;

/// Effects by their first record.
///
/// # Errors
/// Those of the store; so for all queries.
pub async fn list(
    store: &dyn ReadStore,
    ledger: LedgerId,
    filter: &EffectFilter,
    page: &PageRequest,
) -> Result<Page<ToolEffect>, ReadStoreError> {
    let rows = filter
        .narrow(Select::of(COLUMNS, "tool_effect", ledger))
        .page(["first_position", "call"], Cursor::id_value, page)
        .rows(store)
        .await?;
    Page::read(page, rows, read)
}

/// Effects for whoever has to look after them: first those whose outcome nobody knows and those that could not be undone, then
/// those that run, then the others; of each the newest first. An effect that is settled meanwhile comes again.
///
/// # Errors
/// Those of the store.
pub async fn urgent(
    store: &dyn ReadStore,
    ledger: LedgerId,
    filter: &EffectFilter,
    page: &PageRequest,
) -> Result<Page<ToolEffect>, ReadStoreError> {
    let page = page.clone().descending();
    let columns = format!("urgency, first_position, {COLUMNS}");
    let rows = filter
        .narrow(Select::of(&columns, "tool_effect", ledger))
        .page(["urgency", "first_position"], Cursor::number_value, &page)
        .rows(store)
        .await?;
    Page::read(&page, rows, |fields| {
        let (urgency, first_position) = (fields.int()?, fields.int()?);
        let (_, effect) = read(fields)?;
        Ok((Cursor::of_number(urgency, first_position), effect))
    })
}

/// The other calls of the same turn, of the same tool and with the same arguments, oldest first: one of them may be meant
/// twice, or may be a repeat. A few at most.
///
/// # Errors
/// Those of the store.
pub async fn same_arguments(
    store: &dyn ReadStore,
    ledger: LedgerId,
    effect: &ToolEffect,
) -> Result<Vec<CallId>, ReadStoreError> {
    let (Some(turn), Some(tool), Some(digest)) = (effect.turn, &effect.tool, effect.argument_digest) else {
        return Ok(Vec::new());
    };
    let rows = Select::of("call", "tool_effect", ledger)
        .and("turn = ", *turn.as_bytes())
        .and("tool = ", tool.clone())
        .and("argument_digest = ", digest.to_string())
        .and("call <> ", *effect.call.as_bytes())
        .text(" ORDER BY first_position LIMIT ")
        .bind(SAME_ARGUMENTS_MAX)
        .rows(store)
        .await?;
    rows.into_iter().map(|row| Fields::new(row).id()).collect()
}

/// What was tried for a call that was denied, with another tool, oldest first; a few at most.
///
/// # Errors
/// Those of the store.
pub async fn retried_as(
    store: &dyn ReadStore,
    ledger: LedgerId,
    denied: &ToolEffect,
) -> Result<Vec<ToolEffect>, ReadStoreError> {
    let cause = denied.not_executed_cause;
    if !matches!(cause, Some(NotExecutedCause::Denied | NotExecutedCause::Rejected)) {
        return Ok(Vec::new());
    }
    let tried = format!("tool_effect JOIN tool_effect o ON {TRIED_FOR_IT}");
    let found = Select::of("o.call", &tried, ledger)
        .and("tool_effect.call = ", *denied.call.as_bytes())
        .text(" ORDER BY o.intent_position LIMIT ")
        .bind(RETRIED_MAX)
        .rows(store)
        .await?;
    let calls: Vec<CallId> = found
        .into_iter()
        .map(|row| Fields::new(row).id())
        .collect::<Result<_, _>>()?;
    let mut effects = by_calls(store, ledger, &calls).await?;
    Ok(calls.iter().filter_map(|call| effects.remove(call)).collect())
}

impl EffectFilter {
    fn narrow(&self, select: Select) -> Select {
        let select = self.narrow_by_column(select);
        let select = match self.unapproved_up_to.map(crate::event::pack) {
            Some(position) => select.text(UNAPPROVED).bind(position.unwrap_or(i64::MAX)),
            None => select,
        };
        match self.retried_elsewhere {
            true => select
                .text(" AND not_executed_cause IN ('denied', 'rejected')")
                .text(&format!(
                    " AND EXISTS (SELECT 1 FROM tool_effect o WHERE {TRIED_FOR_IT})"
                )),
            false => select,
        }
    }

    fn narrow_by_column(&self, select: Select) -> Select {
        select
            .and_if("session = ", self.session.map(|id| *id.as_bytes()))
            .and_if("turn = ", self.turn.map(|id| *id.as_bytes()))
            .and_if("lane = ", self.lane.map(|id| *id.as_bytes()))
            .and_if("tool = ", self.tool.clone())
            .and_if("status = ", self.status.map(EffectState::name))
            .and_if("side_effect = ", self.side_effect.map(SideEffectPolicy::name))
            .text(if self.status.is_some_and(EffectState::is_unsettled) {
                UNSETTLED
            } else {
                ""
            })
    }
}

/// The effects of these calls, by call.
///
/// # Errors
/// Those of the store.
pub async fn by_calls(
    store: &dyn ReadStore,
    ledger: LedgerId,
    calls: &[CallId],
) -> Result<HashMap<CallId, ToolEffect>, ReadStoreError> {
    let calls = calls.iter().map(|call| *call.as_bytes());
    let rows = Select::of(COLUMNS, "tool_effect", ledger)
        .and_in("call", calls)
        .rows(store)
        .await?;
    let effects = rows.into_iter().map(|row| read(&mut Fields::new(row)));
    effects
        .map(|effect| effect.map(|(_, effect)| (effect.call, effect)))
        .collect()
}

/// A registered tool, as an administrator registered it last; where none did, as the last import said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What a call does to the world.
    pub side_effect: SideEffectPolicy,
    /// Kind of work.
    pub tool_kind: Option<ToolKind>,
    /// What it is for.
    pub description: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// SHA-256 of the schema of its arguments.
    pub schema_digest: Option<Digest>,
    /// JSON schema of its arguments.
    pub argument_schema: Option<String>,
    /// Name of the tool that undoes a call.
    pub compensation_tool: Option<String>,
    /// How long a call may take, µs.
    pub timeout_us: Option<u64>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The record that registered it.
    pub position: Position,
    /// When that was.
    pub registered_at: Micros,
    /// Whether it decides what a governed call does to the world. What only an import said does not: such a call is irreversible.
    pub decides: bool,
}

/// All tools of a ledger, by name.
///
/// # Errors
/// Those of the store.
pub async fn tools(store: &dyn ReadStore, ledger: LedgerId) -> Result<Vec<Tool>, ReadStoreError> {
    let columns = "name, side_effect, tool_kind, description, version, schema_digest, argument_schema, \
        compensation_tool, timeout_us, owner, position, registered_at, imported";
    let rows = Select::of(columns, "tool", ledger)
        .text(" ORDER BY name")
        .rows(store)
        .await?;
    let read = |row| {
        let fields = &mut Fields::new(row);
        Ok(Tool {
            name: fields.text()?,
            side_effect: fields.word()?,
            tool_kind: fields.optional_word()?,
            description: fields.optional_text()?,
            version: fields.optional_text()?,
            schema_digest: fields.optional_word()?,
            argument_schema: fields.optional_text()?,
            compensation_tool: fields.optional_text()?,
            timeout_us: fields.optional_count()?,
            owner: fields.optional_text()?,
            position: fields.position()?,
            registered_at: fields.time()?,
            decides: !fields.flag()?,
        })
    };
    rows.into_iter().map(read).collect()
}
