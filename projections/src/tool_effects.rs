//! Read model: tool calls and their effects, from intent to outcome, and the tools that are registered.

mod closing;
mod query;
mod state;

use ruche_domain::envelope::Provenance;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::tool::{AssertedOutcome, ToolProposed, ToolRegistered, ToolStarted};
use ruche_domain::ids::CallId;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::{SideEffectPolicy, ToolKind};
use ruche_ledger::hash::Hash;
use uuid::Uuid;

use crate::bounds;
use crate::change::{Change, SqlValue};
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};

pub use query::{EffectFilter, Tool, ToolEffect, by_calls, list, retried_as, same_arguments, tools, urgent};
pub use state::{EffectState, NotExecutedCause};

/// Tables of this read model.
pub const TABLES: &[&str] = &["tool", "tool_effect"];

/// What an import says takes nothing back that an administrator said: it is about calls that were made elsewhere, and decides
/// nothing here.
const REGISTERED: &str = "INSERT INTO tool (ledger, name, side_effect, tool_kind, description, version, \
    schema_digest, argument_schema, compensation_tool, timeout_us, owner, position, registered_at, imported) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
    ON CONFLICT (ledger, name) DO UPDATE SET side_effect = excluded.side_effect, tool_kind = excluded.tool_kind, \
    description = excluded.description, version = excluded.version, schema_digest = excluded.schema_digest, \
    argument_schema = excluded.argument_schema, compensation_tool = excluded.compensation_tool, \
    timeout_us = excluded.timeout_us, owner = excluded.owner, position = excluded.position, registered_at = excluded.registered_at, \
    imported = excluded.imported WHERE excluded.imported <= tool.imported";
/// A call belongs to the session that proposed it, and until then to the session that named it first. So a proposal
/// takes away what other sessions said of the call before it. What was observed may tell of the run before the proposal; then
/// the call stays as far as it is.
const CLAIMED: &str = "DELETE FROM tool_effect WHERE ledger = $1 AND call = $2 AND session IS DISTINCT FROM $3 \
    AND intent_position IS NULL";
/// Each of these makes the row if it is not there, and changes it only if the call belongs to the session of the event.
/// Parameters 1 to 6 are those of [`common`].
const PROPOSED: &str = "INSERT INTO tool_effect (ledger, call, session, turn, first_position, last_position, status, \
    tool, side_effect, tool_kind, arguments, arguments_form, ordinal, message_ordinal, provider_call_id, requestor, \
    business_key, action_digest, argument_digest, proposed_at, intent_position, erased, lane) \
    VALUES ($1, $2, $3, $4, $5, $6, 'proposed', $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22) \
    ON CONFLICT (ledger, call) DO UPDATE SET last_position = excluded.last_position, \
    status = CASE WHEN tool_effect.intent_position IS NULL AND tool_effect.started_position IS NOT NULL \
    THEN tool_effect.status ELSE excluded.status END, \
    tool = excluded.tool, side_effect = excluded.side_effect, tool_kind = excluded.tool_kind, \
    arguments = excluded.arguments, arguments_form = excluded.arguments_form, ordinal = excluded.ordinal, \
    message_ordinal = excluded.message_ordinal, provider_call_id = excluded.provider_call_id, \
    requestor = excluded.requestor, lane = excluded.lane, business_key = excluded.business_key, action_digest = excluded.action_digest, \
    argument_digest = excluded.argument_digest, proposed_at = excluded.proposed_at, intent_position = excluded.intent_position, \
    not_executed_cause = NULL, not_executed_reason = NULL, \
    erased = CASE WHEN excluded.erased > tool_effect.erased THEN excluded.erased ELSE tool_effect.erased END \
    WHERE tool_effect.session IS NOT DISTINCT FROM excluded.session";
const STARTED: &str = "INSERT INTO tool_effect (ledger, call, session, turn, first_position, last_position, status, \
    tool, side_effect, started_at, started_position, attempts, erased) \
    VALUES ($1, $2, $3, $4, $5, $6, 'started', $7, $8, $9, $10, 1, $11) \
    ON CONFLICT (ledger, call) DO UPDATE SET last_position = excluded.last_position, status = excluded.status, \
    tool = COALESCE(tool_effect.tool, excluded.tool), \
    side_effect = COALESCE(excluded.side_effect, tool_effect.side_effect), \
    started_at = COALESCE(tool_effect.started_at, excluded.started_at), \
    started_position = COALESCE(tool_effect.started_position, excluded.started_position), \
    asserted_by = NULL, claimed_by = NULL, evidence = NULL, \
    attempts = tool_effect.attempts + 1, not_executed_cause = NULL, not_executed_reason = NULL, \
    erased = CASE WHEN excluded.erased > tool_effect.erased THEN excluded.erased ELSE tool_effect.erased END \
    WHERE tool_effect.session IS NOT DISTINCT FROM excluded.session";
const OUTCOME: &str = "INSERT INTO tool_effect (ledger, call, session, turn, first_position, last_position, status, \
    tool, side_effect, result, result_form, result_digest, error_type, error, external_ref, duration_us, ended_at, \
    outcome_position, erased, asserted_by, claimed_by, evidence) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22) \
    ON CONFLICT (ledger, call) DO UPDATE SET last_position = excluded.last_position, status = excluded.status, \
    tool = COALESCE(tool_effect.tool, excluded.tool), \
    side_effect = COALESCE(excluded.side_effect, tool_effect.side_effect), \
    result = excluded.result, result_form = excluded.result_form, \
    result_digest = excluded.result_digest, error_type = excluded.error_type, \
    asserted_by = excluded.asserted_by, claimed_by = excluded.claimed_by, evidence = excluded.evidence, \
    error = excluded.error, external_ref = excluded.external_ref, duration_us = excluded.duration_us, \
    ended_at = excluded.ended_at, outcome_position = excluded.outcome_position, not_executed_cause = NULL, not_executed_reason = NULL, \
    erased = CASE WHEN excluded.erased > tool_effect.erased THEN excluded.erased ELSE tool_effect.erased END \
    WHERE tool_effect.session IS NOT DISTINCT FROM excluded.session";
const STATUS: &str = "INSERT INTO tool_effect (ledger, call, session, turn, first_position, last_position, status, \
    not_executed_cause, erased) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
    ON CONFLICT (ledger, call) DO UPDATE SET last_position = excluded.last_position, status = excluded.status, \
    not_executed_cause = excluded.not_executed_cause, not_executed_reason = NULL, \
    erased = CASE WHEN excluded.erased > tool_effect.erased THEN excluded.erased ELSE tool_effect.erased END \
    WHERE tool_effect.session IS NOT DISTINCT FROM excluded.session";

/// The projection.
pub struct ToolEffects;

impl Projection for ToolEffects {
    fn name(&self) -> &'static str {
        "tool_effects"
    }

    fn version(&self) -> u32 {
        8
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        if event.family() != "tool" {
            return closing::changes(event);
        }
        if let Some(AgentEvent::ToolRegistered(tool)) = event.agent()? {
            return Ok(vec![registered(event, tool)?]);
        }
        let Some(call) = event.header().call else {
            return Ok(vec![]);
        };
        let mut changes = Vec::new();
        if event.event_type() == "tool.proposed" {
            changes.push(claimed(event, call));
        }
        changes.extend(effect(event, call)?);
        Ok(changes)
    }
}

fn registered(event: &ProjectedEvent, tool: &ToolRegistered) -> Result<Change, PoisonReason> {
    let params = vec![
        event.ledger_key().into(),
        bounds::name(&tool.name).into_owned().into(),
        tool.side_effect.name().into(),
        tool.tool_kind.map(ToolKind::name).into(),
        tool.description.as_ref().into(),
        tool.version.as_ref().into(),
        tool.schema_digest.map(|digest| digest.to_string()).into(),
        tool.schema.as_ref().map(crate::json).into(),
        tool.compensation_tool.as_ref().into(),
        bounds::duration(tool.timeout_us).into(),
        tool.owner.as_ref().into(),
        event.place()?.into(),
        event.occurred_at()?.into(),
        (event.header().provenance == Provenance::Imported).into(),
    ];
    Ok(Change::write(REGISTERED, params))
}

/// What the event does to the effect of a call.
fn effect(event: &ProjectedEvent, call: CallId) -> Result<Option<Change>, PoisonReason> {
    let status = |word, cause| status(event, call, word, cause).map(Some);
    match event.agent()? {
        Some(AgentEvent::ToolProposed(t)) => proposed(event, call, Some(t)).map(Some),
        Some(AgentEvent::ToolStarted(t)) => started(event, call, Some(t)).map(Some),
        Some(AgentEvent::ToolDeferred(_)) => status(EffectState::Deferred, None),
        Some(AgentEvent::ToolNotExecuted(t)) => status(EffectState::NotExecuted, Some(t.cause.into())),
        Some(AgentEvent::ToolStartRefused(t)) => closing::start_refused(event, call, t),
        Some(AgentEvent::ToolCompensated(_)) => status(EffectState::Compensated, None),
        // A try that failed says nothing of the effect as long as others may follow.
        Some(AgentEvent::ToolCompensationFailed(t)) if t.exhausted != Some(true) => Ok(None),
        Some(AgentEvent::ToolCompensationFailed(_)) => status(EffectState::CompensationFailed, None),
        Some(_) => Outcome::of(event)?
            .map(|outcome| outcome.change(event, call))
            .transpose(),
        None => match event.event_type() {
            "tool.proposed" => proposed(event, call, None).map(Some),
            "tool.started" => started(event, call, None).map(Some),
            "tool.completed" => Outcome::new(EffectState::Completed).change(event, call).map(Some),
            "tool.failed" => Outcome::new(EffectState::Failed).change(event, call).map(Some),
            "tool.outcome_unknown" => Outcome::new(EffectState::OutcomeUnknown)
                .change(event, call)
                .map(Some),
            "tool.deferred" => status(EffectState::Deferred, None),
            // That a person settled it stands in the name; how is gone.
            "tool.outcome_asserted" => Outcome::new(EffectState::Asserted).change(event, call).map(Some),
            "tool.not_executed" => status(EffectState::NotExecuted, None),
            "tool.compensated" => status(EffectState::Compensated, None),
            // Whether others follow is gone, too. The call of a person beside the last try says so.
            _ => Ok(None),
        },
    }
}

/// The parameters with which every statement about a call starts.
fn common(event: &ProjectedEvent, call: CallId) -> Result<Vec<SqlValue>, PoisonReason> {
    let header = event.header();
    Ok(vec![
        event.ledger_key().into(),
        (*call.as_bytes()).into(),
        header.session.map(|id| *id.as_bytes()).into(),
        header.turn.map(|id| *id.as_bytes()).into(),
        event.place()?.into(),
        event.place()?.into(),
    ])
}

fn status(
    event: &ProjectedEvent,
    call: CallId,
    state: EffectState,
    cause: Option<NotExecutedCause>,
) -> Result<Change, PoisonReason> {
    let mut params = common(event, call)?;
    params.extend([
        state.name().into(),
        cause.map(NotExecutedCause::name).into(),
        event.is_erased().into(),
    ]);
    Ok(Change::of(closing::about(event, call), STATUS, params))
}

fn claimed(event: &ProjectedEvent, call: CallId) -> Change {
    let params = vec![
        event.ledger_key().into(),
        (*call.as_bytes()).into(),
        event.header().session.map(|id| *id.as_bytes()).into(),
    ];
    Change::of(closing::about(event, call), CLAIMED, params)
}

fn proposed(
    event: &ProjectedEvent,
    call: CallId,
    tool: Option<&ToolProposed>,
) -> Result<Change, PoisonReason> {
    let mut params = common(event, call)?;
    let side_effect = tool.map(|t| t.side_effect.unwrap_or_default().name());
    params.extend([
        tool.map(|t| t.name.clone()).into(),
        side_effect.into(),
        tool.and_then(|t| t.tool_kind).map(ToolKind::name).into(),
        tool.map(|t| t.arguments.clone()).into(),
        tool.and_then(|t| t.arguments_form).map(|form| form.name()).into(),
        tool.and_then(|t| t.ordinal).map(i64::from).into(),
        bounds::ordinal(tool.and_then(|t| t.message_ordinal)).into(),
        tool.and_then(|t| t.provider_call_id.clone()).into(),
        tool.and_then(|t| t.requestor)
            .map(|requestor| requestor.name())
            .into(),
        tool.and_then(|t| t.business_key.clone()).into(),
        tool.and_then(|t| t.action_digest)
            .map(|digest| digest.to_string())
            .into(),
        tool.map(|t| digest_of(&t.arguments)).into(),
        event.occurred_at()?.into(),
        event.place()?.into(),
        event.is_erased().into(),
        event.lane_key().into(),
    ]);
    Ok(Change::of(closing::about(event, call), PROPOSED, params))
}

fn started(event: &ProjectedEvent, call: CallId, tool: Option<&ToolStarted>) -> Result<Change, PoisonReason> {
    let mut params = common(event, call)?;
    let at = tool.and_then(|t| t.started_at);
    params.extend([
        tool.map(|t| t.name.clone()).into(),
        tool.and_then(|t| t.side_effect)
            .map(SideEffectPolicy::name)
            .into(),
        event.time_or_occurred(at)?.into(),
        event.place()?.into(),
        event.is_erased().into(),
    ]);
    Ok(Change::of(closing::about(event, call), STARTED, params))
}

/// Made of the text itself: the same for every source, whatever it says of its digests.
fn digest_of(text: &str) -> String {
    Hash::sha256(text.as_bytes()).to_string()
}

/// How a call came out.
struct Outcome<'a> {
    state: EffectState,
    tool: Option<&'a String>,
    side_effect: Option<SideEffectPolicy>,
    result: Option<&'a String>,
    result_form: Option<&'static str>,
    result_digest: Option<Digest>,
    error_type: Option<&'a String>,
    error: Option<&'a String>,
    external_ref: Option<&'a String>,
    duration_us: Option<u64>,
    ended_at: Option<Micros>,
    /// Who a person said to be, and what the finding rests on.
    claim: Option<(&'a String, &'a String)>,
}

impl<'a> Outcome<'a> {
    fn new(state: EffectState) -> Self {
        Self {
            state,
            tool: None,
            side_effect: None,
            result: None,
            result_form: None,
            result_digest: None,
            error_type: None,
            error: None,
            external_ref: None,
            duration_us: None,
            ended_at: None,
            claim: None,
        }
    }

    fn of(event: &'a ProjectedEvent) -> Result<Option<Self>, PoisonReason> {
        Ok(match event.agent()? {
            Some(AgentEvent::ToolCompleted(t)) => Some(Self {
                tool: t.name.as_ref(),
                side_effect: t.side_effect,
                result: t.result.as_ref(),
                result_form: t.result_form.map(|form| form.name()),
                result_digest: t.result_digest,
                external_ref: t.external_ref.as_ref(),
                duration_us: t.duration_us,
                ended_at: t.ended_at,
                ..Self::new(EffectState::Completed)
            }),
            Some(AgentEvent::ToolFailed(t)) => Some(Self {
                tool: t.name.as_ref(),
                side_effect: t.side_effect,
                result: t.result.as_ref(),
                result_form: t.result_form.map(|form| form.name()),
                error_type: t.error_type.as_ref(),
                error: t.error.as_ref(),
                duration_us: t.duration_us,
                ended_at: t.ended_at,
                ..Self::new(EffectState::Failed)
            }),
            Some(AgentEvent::ToolOutcomeUnknown(t)) => Some(Self {
                error: Some(&t.cause),
                external_ref: t.external_ref.as_ref(),
                ..Self::new(EffectState::OutcomeUnknown)
            }),
            Some(AgentEvent::ToolOutcomeAsserted(t)) => Some(Self {
                result: t.result.as_ref(),
                external_ref: t.external_ref.as_ref(),
                claim: Some((&t.by, &t.evidence)),
                ..Self::new(match t.outcome {
                    AssertedOutcome::Completed => EffectState::Completed,
                    AssertedOutcome::NotExecuted => EffectState::NotExecuted,
                })
            }),
            _ => None,
        })
    }

    /// That of the text; where the source keeps the text to itself, what it says of it.
    fn result_digest(&self) -> Option<String> {
        let of_text = self.result.map(|result| digest_of(result));
        of_text.or_else(|| self.result_digest.map(|digest| digest.to_string()))
    }

    fn change(&self, event: &ProjectedEvent, call: CallId) -> Result<Change, PoisonReason> {
        let mut params = common(event, call)?;
        // That a person said so stands in the name of the event, and under which credential in its envelope.
        let is_asserted = event.event_type() == "tool.outcome_asserted";
        let asserted_by = event.header().actor.reference.filter(|_| is_asserted);
        params.extend([
            self.state.name().into(),
            self.tool.into(),
            self.side_effect.map(SideEffectPolicy::name).into(),
            self.result.into(),
            self.result_form.into(),
            self.result_digest().into(),
            self.error_type.into(),
            self.error.into(),
            self.external_ref.into(),
            bounds::duration(self.duration_us).into(),
            event.time_or_occurred(self.ended_at)?.into(),
            event.place()?.into(),
            event.is_erased().into(),
            asserted_by.map(Uuid::into_bytes).into(),
            self.claim.map(|(by, _)| by).into(),
            self.claim.map(|(_, evidence)| evidence).into(),
        ]);
        Ok(Change::of(closing::about(event, call), OUTCOME, params))
    }
}
