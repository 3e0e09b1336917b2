//! Tool calls with their effects, and the tools.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use ruche_domain::ids::{LaneId, SessionId, TurnId};
use ruche_domain::numbers::Position;
use ruche_projections::tool_effects;

use super::lane::{LaneName, name_of};
use super::read::{Loading, Reading, of_read_store};
use super::scalars::{DateTime, Hash, Json, Long, PositionScalar};
use super::session::{Session, id, parse_id};
use super::turn::Turn;
use super::words::{EffectState, NotExecutedCause, SideEffectPolicy, ToolKind};

/// A tool call and what became of it.
pub(super) struct ToolEffect(pub tool_effects::ToolEffect);

/// Which effects; all conditions have to hold.
#[derive(InputObject, Default)]
pub(super) struct EffectFilter {
    /// Of this session.
    session_id: Option<ID>,
    /// Of this turn.
    turn_id: Option<ID>,
    /// Of this lane.
    lane_id: Option<ID>,
    /// Name of the tool.
    tool: Option<String>,
    /// Where it stands.
    status: Option<EffectState>,
    /// What the call does to the world.
    side_effect: Option<SideEffectPolicy>,
    /// Only what cannot be undone, ran, and used up no approval, as far as the approvals are read. Of calls that Ruche governs
    /// there are none; those without a `laneId` were made elsewhere, and told of.
    #[graphql(default)]
    unapproved: bool,
    /// Only what policy or a reviewer said no to, and another tool was tried for behind that: see `retriedAs`.
    #[graphql(default)]
    retried_elsewhere: bool,
}

impl EffectFilter {
    /// Whether it asks for what the read model of approvals knows.
    pub(super) fn reads_approvals(&self) -> bool {
        self.unapproved
    }

    /// The filter of a reading. An approval is used up in front of the start, so of calls that started behind what the read
    /// model of approvals has reached nothing can be said yet.
    pub(super) fn read(self, reading: &Reading) -> Result<tool_effects::EffectFilter> {
        let reached = || {
            let states = reading.services.runner.progress().states(reading.ledger);
            let approvals = states.into_iter().find(|state| state.projection == "approvals");
            approvals.and_then(|state| state.checkpoint.position)
        };
        let unapproved_up_to = self.unapproved.then(|| reached().unwrap_or(Position::new(0, 0)));
        if self.unapproved {
            reading.note(&["approvals"]);
        }
        let session = self.session_id.map(|id| parse_id::<SessionId>("sessionId", &id));
        let turn = self.turn_id.map(|id| parse_id::<TurnId>("turnId", &id));
        let lane = self.lane_id.map(|id| parse_id::<LaneId>("laneId", &id));
        Ok(tool_effects::EffectFilter {
            session: session.transpose()?,
            turn: turn.transpose()?,
            lane: lane.transpose()?,
            tool: self.tool,
            status: self.status.map(Into::into),
            side_effect: self.side_effect.map(Into::into),
            unapproved_up_to,
            retried_elsewhere: self.retried_elsewhere,
        })
    }
}

/// A tool call and what became of it.
#[Object]
impl ToolEffect {
    /// Our id of the call.
    async fn call_id(&self) -> ID {
        id(self.0.call)
    }

    /// Session that it belongs to.
    async fn session(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        let Some(session) = self.0.session else {
            return Ok(None);
        };
        Ok(ctx
            .data_unchecked::<Loading>()
            .load_one(session)
            .await?
            .map(Session))
    }

    /// Turn that it belongs to.
    async fn turn(&self, ctx: &Context<'_>) -> Result<Option<Turn>> {
        let Some(turn) = self.0.turn else { return Ok(None) };
        Ok(ctx.data_unchecked::<Loading>().load_one(turn).await?.map(Turn))
    }

    /// The lane that decides on it, as commands name it; none where it was recorded elsewhere.
    async fn lane(&self, ctx: &Context<'_>) -> Result<Option<LaneName>> {
        name_of(ctx, self.0.lane).await
    }

    /// Id of that lane.
    async fn lane_id(&self) -> Option<ID> {
        self.0.lane.map(id)
    }

    /// Where it stands.
    async fn status(&self) -> EffectState {
        self.0.status.into()
    }

    /// Why it never ran, where it never did. Absent also where a person found that nothing of it is there.
    async fn not_executed_cause(&self) -> Option<NotExecutedCause> {
        self.0.not_executed_cause.map(Into::into)
    }

    /// Why the reviewer who rejected it did, in the reviewer's words. For the agent to go on with; who it was and when is in
    /// the `votes` of its approval.
    async fn not_executed_reason(&self) -> Option<&str> {
        self.0.not_executed_reason.as_deref()
    }

    /// Name of the tool.
    async fn tool(&self) -> Option<&str> {
        self.0.tool.as_deref()
    }

    /// What the call does to the world; nothing is known of a call whose proposal was erased or never seen.
    async fn side_effect(&self) -> Option<SideEffectPolicy> {
        self.0.side_effect.map(Into::into)
    }

    /// Kind of work.
    async fn tool_kind(&self) -> Option<ToolKind> {
        self.0.tool_kind.map(Into::into)
    }

    /// The arguments exactly as the model wrote them.
    async fn arguments(&self) -> Option<&str> {
        self.0.arguments.as_deref()
    }

    /// How the source wrote the arguments; absent means as a string.
    async fn arguments_form(&self) -> Option<&str> {
        self.0.arguments_form.as_deref()
    }

    /// Number of the call within its message, from 0.
    async fn ordinal(&self) -> Option<Long> {
        self.0.ordinal.map(Long::count)
    }

    /// Number of the message that asks for it.
    async fn message_ordinal(&self) -> Option<Long> {
        self.0.message_ordinal.map(Long::count)
    }

    /// The provider's id of the call.
    async fn provider_call_id(&self) -> Option<&str> {
        self.0.provider_call_id.as_deref()
    }

    /// Who asked for it: `assistant` or `user`.
    async fn requestor(&self) -> Option<&str> {
        self.0.requestor.as_deref()
    }

    /// The caller's business key.
    async fn business_key(&self) -> Option<&str> {
        self.0.business_key.as_deref()
    }

    /// SHA-256 of the canonical action.
    async fn action_digest(&self) -> Option<Hash> {
        self.0.action_digest.map(|digest| Hash(digest.0))
    }

    /// The result exactly as the model is given it.
    async fn result(&self) -> Option<&str> {
        self.0.result.as_deref()
    }

    /// How the source wrote the result; absent means as a string.
    async fn result_form(&self) -> Option<&str> {
        self.0.result_form.as_deref()
    }

    /// SHA-256 of the result text, whatever the outcome was. Where no text was recorded, what the source says of it.
    async fn result_digest(&self) -> Option<Hash> {
        self.0.result_digest.map(|digest| Hash(digest.0))
    }

    /// Other calls of the same turn, of the same tool and with the same arguments, oldest first, 16 at most. Two equal
    /// calls may both be meant, so this only warns: the business keys say what happens once.
    #[graphql(complexity = 5)]
    async fn same_arguments_as(&self, ctx: &Context<'_>) -> Result<Vec<ID>> {
        let reading = Reading::below(ctx, "tool_effects")?;
        let calls = tool_effects::same_arguments(reading.store(), reading.ledger, &self.0).await;
        let calls = calls.map_err(|error| of_read_store(&error))?;
        Ok(calls.into_iter().map(id).collect())
    }

    /// Where policy or a reviewer said no: what was tried for it with other tools behind that, in the same turn, or in the same
    /// session under the same business key or with the same arguments; oldest first, 16 at most. None of it need be wrong.
    #[graphql(complexity = "5 + 16 * child_complexity")]
    async fn retried_as(&self, ctx: &Context<'_>) -> Result<Vec<ToolEffect>> {
        let reading = Reading::below(ctx, "tool_effects")?;
        let tried = tool_effects::retried_as(reading.store(), reading.ledger, &self.0).await;
        let tried = tried.map_err(|error| of_read_store(&error))?;
        Ok(tried.into_iter().map(ToolEffect).collect())
    }

    /// Stable word for the kind of error.
    async fn error_type(&self) -> Option<&str> {
        self.0.error_type.as_deref()
    }

    /// The error, or why the outcome is unknown, in words.
    async fn error(&self) -> Option<&str> {
        self.0.error.as_deref()
    }

    /// Opaque reference of the credential under which a person said how it came out, as the record names it; null where no person
    /// did. The outcome is that person's word and not a report of who ran it.
    async fn asserted_by(&self) -> Option<ID> {
        self.0.asserted_by.map(id)
    }

    /// Who that person was, as the request said: a claim that nothing checks.
    async fn claimed_by(&self) -> Option<&str> {
        self.0.claimed_by.as_deref()
    }

    /// What the finding of that person rests on, in their words.
    async fn evidence(&self) -> Option<&str> {
        self.0.evidence.as_deref()
    }

    /// Reference of the effect in the system that carried it out.
    async fn external_ref(&self) -> Option<&str> {
        self.0.external_ref.as_deref()
    }

    /// How often it was started.
    async fn attempts(&self) -> Long {
        Long::count(self.0.attempts)
    }

    /// When it was asked for.
    async fn proposed_at(&self) -> Option<DateTime> {
        self.0.proposed_at.map(DateTime)
    }

    /// When it was first started.
    async fn started_at(&self) -> Option<DateTime> {
        self.0.started_at.map(DateTime)
    }

    /// When it came out.
    async fn ended_at(&self) -> Option<DateTime> {
        self.0.ended_at.map(DateTime)
    }

    /// How long it took, µs.
    async fn duration_us(&self) -> Option<Long> {
        self.0.duration_us.map(Long::count)
    }

    /// The record that asks for it.
    async fn intent_position(&self) -> Option<PositionScalar> {
        self.0.intent_position.map(PositionScalar)
    }

    /// The record that says it was about to run.
    async fn started_position(&self) -> Option<PositionScalar> {
        self.0.started_position.map(PositionScalar)
    }

    /// The record that says how it came out.
    async fn outcome_position(&self) -> Option<PositionScalar> {
        self.0.outcome_position.map(PositionScalar)
    }

    /// Whether a payload about it was erased.
    async fn erased(&self) -> bool {
        self.0.erased
    }
}

/// A registered tool, as an administrator registered it last; where none did, as the last import said.
#[derive(SimpleObject)]
pub(super) struct Tool {
    /// Its name.
    name: String,
    /// What a call does to the world.
    side_effect: SideEffectPolicy,
    /// Kind of work.
    tool_kind: Option<ToolKind>,
    /// What it is for.
    description: Option<String>,
    /// Its version.
    version: Option<String>,
    /// SHA-256 of the schema of its arguments.
    schema_digest: Option<Hash>,
    /// JSON schema of its arguments.
    argument_schema: Option<Json>,
    /// Name of the tool that undoes a call.
    compensation_tool: Option<String>,
    /// How long a call may take, ms; after that it is in doubt.
    timeout_ms: Option<Long>,
    /// Who answers for it, as the client names people and teams.
    owner: Option<String>,
    /// The record that registered it.
    position: PositionScalar,
    /// When that was.
    registered_at: DateTime,
    /// Whether it decides what a governed call does. What only an import said does not: such a call is irreversible.
    decides: bool,
}

impl From<tool_effects::Tool> for Tool {
    fn from(tool: tool_effects::Tool) -> Self {
        let schema = tool.argument_schema.as_deref();
        Self {
            side_effect: tool.side_effect.into(),
            tool_kind: tool.tool_kind.map(Into::into),
            schema_digest: tool.schema_digest.map(|digest| Hash(digest.0)),
            argument_schema: schema.and_then(|text| serde_json::from_str(text).ok()).map(Json),
            position: PositionScalar(tool.position),
            registered_at: DateTime(tool.registered_at),
            decides: tool.decides,
            timeout_ms: tool.timeout_us.map(|us| Long::count(us / 1_000)),
            owner: tool.owner,
            name: tool.name,
            description: tool.description,
            version: tool.version,
            compensation_tool: tool.compensation_tool,
        }
    }
}
