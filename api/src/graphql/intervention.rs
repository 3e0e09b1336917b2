//! What people are called for, and what they can do about it.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, InputObject, Object, Result};
use ruche_domain::ids::SessionId;
use ruche_projections::{interventions, lanes};

use super::effect::ToolEffect;
use super::lane::LaneName;
use super::page::Cursor;
use super::read::{Asked, Loading, Reading, of_read_store};
use super::scalars::{DateTime, PositionScalar};
use super::session::{Session, id, parse_id};
use super::turn::Turn;
use super::words::InterventionKind;
use crate::auth::Role;

/// Who may see what people are called for.
const ROLES: &[Role] = &[Role::Reader, Role::Reviewer];

/// Which calls for people; all conditions have to hold.
#[derive(InputObject, Default)]
pub(super) struct InterventionFilter {
    /// For this.
    kind: Option<InterventionKind>,
    /// Of this session.
    session_id: Option<ID>,
    /// Settled, or not.
    settled: Option<bool>,
}

/// A call for a person.
pub(super) struct Intervention(interventions::Intervention);

/// A call for a person: what happened, and what to do about it.
#[Object]
impl Intervention {
    /// What for.
    async fn kind(&self) -> InterventionKind {
        self.0.kind.into()
    }

    /// The same in the words of the record, such as why an outcome is unknown; nothing where they are erased.
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// What to do, in words.
    async fn advice(&self) -> &'static str {
        advice(&self.0)
    }

    /// The mutation that settles it, for a key with the role admin; nothing where none does, or it is settled.
    async fn settled_by(&self) -> Option<&'static str> {
        if self.0.settled_position.is_some() {
            return None;
        }
        match (self.0.call, self.0.turn) {
            (Some(_), _) => Some("resolveOutcome"),
            (None, Some(_)) => Some("settleIntervention"),
            (None, None) => None,
        }
    }

    /// The lane that it happened in, as commands name it.
    #[graphql(complexity = "5 + child_complexity")]
    async fn lane(&self, ctx: &Context<'_>) -> Result<Option<LaneName>> {
        let reading = Reading::for_roles(ctx, ROLES)?;
        reading.note(&["lanes"]);
        let found = lanes::by_id(reading.store(), reading.ledger, self.0.lane).await;
        let found = found.map_err(|error| of_read_store(&error))?;
        Ok(found.as_ref().map(LaneName::from))
    }

    /// Id of that lane.
    async fn lane_id(&self) -> ID {
        id(self.0.lane)
    }

    /// Session of the turn.
    async fn session(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        let Some(session) = self.0.session else {
            return Ok(None);
        };
        Reading::below(ctx, "sessions")?;
        let found = ctx.data_unchecked::<Loading>().load_one(session).await?;
        Ok(found.map(Session))
    }

    /// The turn.
    async fn turn(&self, ctx: &Context<'_>) -> Result<Option<Turn>> {
        let Some(turn) = self.0.turn else { return Ok(None) };
        Reading::below(ctx, "turns")?;
        Ok(ctx.data_unchecked::<Loading>().load_one(turn).await?.map(Turn))
    }

    /// Id of the turn.
    async fn turn_id(&self) -> Option<ID> {
        self.0.turn.map(id)
    }

    /// Our id of the tool call, if it is about one.
    async fn call_id(&self) -> Option<ID> {
        self.0.call.map(id)
    }

    /// The tool call, if it is about one.
    async fn effect(&self, ctx: &Context<'_>) -> Result<Option<ToolEffect>> {
        let Some(call) = self.0.call else { return Ok(None) };
        Reading::below(ctx, "tool_effects")?;
        let found = ctx.data_unchecked::<Loading>().load_one(call).await?;
        Ok(found.map(ToolEffect))
    }

    /// When the person was called.
    async fn raised_at(&self) -> DateTime {
        DateTime(self.0.raised_at)
    }

    /// The record that calls.
    async fn position(&self) -> PositionScalar {
        PositionScalar(self.0.position)
    }

    /// When a person said how it came out, or that the turn was looked after.
    async fn settled_at(&self) -> Option<DateTime> {
        self.0.settled_at.map(DateTime)
    }

    /// The record of that.
    async fn settled_position(&self) -> Option<PositionScalar> {
        self.0.settled_position.map(PositionScalar)
    }
}

/// What to do about a call for a person.
fn advice(intervention: &interventions::Intervention) -> &'static str {
    use interventions::InterventionKind as Kind;
    if intervention.settled_position.is_some() {
        return match intervention.call {
            Some(_) => "Nothing: a person said how it came out.",
            None => "Nothing: a person looked after it.",
        };
    }
    match intervention.kind {
        Kind::OutcomeUnknown => {
            "Find out where the tool acts whether it happened, and say so with evidence: resolveOutcome. \
             A turn that is not over cannot be committed before."
        }
        Kind::CompensationFailed => {
            "Put it back by hand or find that it stands, and say so with evidence: resolveOutcome, once the turn is over."
        }
        Kind::AttemptsUsedUp => {
            "See why the turn failed (turn.error), mend that and have the message sent again (submitMessage), or leave it; \
             then say so: settleIntervention."
        }
        Kind::Other if intervention.call.is_some() => {
            "Look at the call and find out how it came out; if it is in doubt, say so with evidence: resolveOutcome."
        }
        Kind::Other => "Look at the turn, and say so once it has failed: settleIntervention.",
    }
}

/// Calls for people, most urgent first.
pub(super) async fn list(
    ctx: &Context<'_>,
    filter: Option<InterventionFilter>,
    (first, after): (Option<i32>, Option<&str>),
    min_position: Option<PositionScalar>,
) -> Result<Connection<Cursor, Intervention>> {
    let reading = Reading::for_roles(ctx, ROLES)?;
    let names = &["interventions", "lanes", "tool_effects", "sessions", "turns"];
    let reading = reading.when(names, min_position).await?;
    let asked = Asked::new("intervention", first, after)?;
    let filter = filter.unwrap_or_default();
    let session = filter
        .session_id
        .map(|id| parse_id::<SessionId>("sessionId", &id));
    let filter = interventions::InterventionFilter {
        kind: filter.kind.map(Into::into),
        session: session.transpose()?,
        settled: filter.settled,
    };
    let rows = interventions::list(reading.store(), reading.ledger, &filter, &asked.request).await;
    asked.connection(rows, Intervention)
}
