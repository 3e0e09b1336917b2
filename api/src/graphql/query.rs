//! The root of queries. Thin: role, arguments, one call, conversion.

mod figures;
mod memory;
mod policy;
mod projections;
mod saved_queries;

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, MergedObject, Object, Result, SimpleObject};
use ruche_domain::ids::{SessionId, TurnId};
use ruche_domain::numbers::Epoch;
use ruche_projections::{configuration, lanes, scenarios, sessions, tool_effects, turns};

use super::analysis::{ConfigurationChange, ConfigurationFilter, bounded};
use super::approval::{self, Approval, ApprovalConnection, ApprovalState};
use super::counts::Counts;
use super::effect::{EffectFilter, Tool, ToolEffect};
use super::errors::of_refusal;
use super::intervention::{self, Intervention, InterventionFilter};
use super::lane::{Lane, LaneFilter, Queue};
use super::ledger::{self, ConsistencyProof, InclusionProof, Ledger, services};
use super::page::{Cursor, cost};
use super::read::{Asked, Reading, of_read_store};
use super::record::Record;
use super::replay::{self, RangeVerification, StateAtPosition, StateOf};
use super::reviewer_key::{self, ReviewerKey};
use super::scalars::{DateTime, Long, PositionScalar};
use super::scenario::{Scenario, ScenarioFilter};
use super::search::{self, SearchHit};
use super::session::{Session, SessionFilter, Totals, parse_id};
use super::turn::{Turn, TurnFilter};
use super::words::{ApprovalDecision, SearchKind};
use crate::auth::{Principal, Role};
use crate::http::Caller;
use crate::limits::RUNNING_TURNS_TOLD;

use figures::FiguresQuery;
use memory::MemoryQuery;
use policy::PolicyQuery;
use projections::ProjectionsQuery;
use saved_queries::SavedQueriesQuery;

/// Who is asking, as the key says.
#[derive(SimpleObject)]
pub(super) struct Me {
    /// Tenant whose data is answered.
    tenant: ID,
    /// Id of the key; the key itself is stored nowhere.
    key_id: ID,
    /// Whose key it is, where that was said.
    user: Option<String>,
    /// Roles that the key carries.
    roles: Vec<String>,
}

/// The caller of an operation, if its roles allow the field.
pub(super) fn require(ctx: &Context<'_>, roles: &[Role]) -> Result<Principal> {
    let caller = ctx.data_unchecked::<Caller>();
    caller.require(roles).map_err(of_refusal)?;
    Ok(caller.principal.clone())
}

/// The read models that a field with sessions and those below it read.
const BELOW_SESSIONS: &[&str] = &[
    "sessions",
    "turns",
    "messages",
    "timeline",
    "tool_effects",
    "lanes",
    "scenarios",
    "goals",
];

const RECORDS: &[Role] = &[Role::Reader, Role::Auditor];

/// Reads.
#[derive(MergedObject, Default)]
#[graphql(name = "Query")]
pub(super) struct Queries(
    RecordsQuery,
    MemoryQuery,
    FiguresQuery,
    SavedQueriesQuery,
    PolicyQuery,
    ProjectionsQuery,
);

/// Reads of sessions and of what happens in them, of configuration, and of the ledger.
#[derive(Default)]
pub(super) struct RecordsQuery;

/// Reads.
#[Object]
impl RecordsQuery {
    /// Who is asking.
    async fn me(&self, ctx: &Context<'_>) -> Me {
        let principal = &ctx.data_unchecked::<Caller>().principal;
        Me {
            tenant: ID(principal.tenant.to_string()),
            key_id: ID(principal.key_id.to_string()),
            user: principal.user.as_deref().map(str::to_owned),
            roles: principal
                .roles
                .iter()
                .map(|role| role.name().to_owned())
                .collect(),
        }
    }

    /// One session; nothing where there is none.
    async fn session(
        &self,
        ctx: &Context<'_>,
        id: ID,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Option<Session>> {
        let reading = Reading::at(ctx, BELOW_SESSIONS, min_position).await?;
        let id = parse_id::<SessionId>("id", &id)?;
        let found = sessions::get(reading.store(), reading.ledger, id).await;
        Ok(found.map_err(|error| of_read_store(&error))?.map(Session))
    }

    /// Sessions by when they began, newest first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn sessions(
        &self,
        ctx: &Context<'_>,
        filter: Option<SessionFilter>,
        #[graphql(desc = "Oldest first.", default)] ascending: bool,
        #[graphql(desc = "Items of the page, 1 to 100; 20 if absent.")] first: Option<i32>,
        #[graphql(desc = "Cursor behind which the page starts.")] after: Option<String>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Connection<Cursor, Session>> {
        let reading = Reading::at(ctx, BELOW_SESSIONS, min_position).await?;
        let asked = Asked::new("session", first, after.as_deref())?;
        let asked = if ascending { asked } else { asked.descending() };
        let filter = filter.unwrap_or_default().read(&reading.references())?;
        let rows = sessions::list(reading.store(), reading.ledger, &filter, &asked.request).await;
        asked.connection(rows, Session)
    }

    /// How many sessions fit a filter, and what happened in them.
    async fn totals(
        &self,
        ctx: &Context<'_>,
        filter: Option<SessionFilter>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Totals> {
        let reading = Reading::at(ctx, &["sessions", "lanes", "goals"], min_position).await?;
        let filter = filter.unwrap_or_default().read(&reading.references())?;
        let totals = sessions::totals(reading.store(), reading.ledger, &filter).await;
        let (count, tally) = totals.map_err(|error| of_read_store(&error))?;
        Ok(Totals {
            sessions: Long::count(count),
            counts: Counts::from(&tally),
        })
    }

    /// Scenarios of sessions by their first record, newest first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn scenarios(
        &self,
        ctx: &Context<'_>,
        filter: Option<ScenarioFilter>,
        first: Option<i32>,
        after: Option<String>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Connection<Cursor, Scenario>> {
        let reading = Reading::at(ctx, &["scenarios", "sessions"], min_position).await?;
        let asked = Asked::new("scenario", first, after.as_deref())?.descending();
        let filter = filter.unwrap_or_default().read()?;
        let rows = scenarios::list(reading.store(), reading.ledger, &filter, &asked.request).await;
        asked.connection(rows, Scenario)
    }

    /// Texts that have all of these words, in any order, newest first. Words are runs of letters and digits; upper and lower case
    /// are the same; nothing in the text is an operator.
    #[graphql(complexity = "10 + cost(first, child_complexity)")]
    #[allow(clippy::too_many_arguments, reason = "arguments of a field")]
    async fn search(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "From 1 to 16 different words.")] text: String,
        kind: Option<SearchKind>,
        #[graphql(desc = "Only in this session.")] session_id: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Connection<Cursor, SearchHit>> {
        let reading = Reading::at(ctx, &["search", "messages", "sessions"], min_position).await?;
        search::find(&reading, &text, kind, session_id, (first, after.as_deref())).await
    }

    /// How many turns nobody has begun, since when, and which turns run longest.
    #[graphql(complexity = "10 + child_complexity * RUNNING_TURNS_TOLD")]
    async fn queue(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Queue> {
        let reading = Reading::at(ctx, &["lanes", "turns"], min_position).await?;
        Queue::load(&reading).await
    }

    /// One turn; nothing where there is none.
    async fn turn(
        &self,
        ctx: &Context<'_>,
        id: ID,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Option<Turn>> {
        let reading = Reading::at(
            ctx,
            &["turns", "sessions", "messages", "tool_effects", "lanes"],
            min_position,
        )
        .await?;
        let id = parse_id::<TurnId>("id", &id)?;
        let found = turns::get(reading.store(), reading.ledger, id).await;
        Ok(found.map_err(|error| of_read_store(&error))?.map(Turn))
    }

    /// Turns in the order of the ledger.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn turns(
        &self,
        ctx: &Context<'_>,
        filter: Option<TurnFilter>,
        first: Option<i32>,
        after: Option<String>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Connection<Cursor, Turn>> {
        let reading = Reading::at(
            ctx,
            &["turns", "sessions", "messages", "tool_effects", "lanes"],
            min_position,
        )
        .await?;
        let asked = Asked::new("turn", first, after.as_deref())?;
        let filter = filter.unwrap_or_default().read()?;
        asked.connection(
            turns::list(reading.store(), reading.ledger, &filter, &asked.request).await,
            Turn,
        )
    }

    /// Conversation lanes by their first record: how many turns wait in each, since when, and who has its turn.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn lanes(
        &self,
        ctx: &Context<'_>,
        filter: Option<LaneFilter>,
        first: Option<i32>,
        after: Option<String>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Connection<Cursor, Lane>> {
        let reading = Reading::at(ctx, &["lanes", "turns"], min_position).await?;
        let asked = Asked::new("lane", first, after.as_deref())?;
        let filter = filter.unwrap_or_default().into();
        let rows = lanes::list(reading.store(), reading.ledger, &filter, &asked.request).await;
        asked.connection(rows, Lane)
    }

    /// Tool calls and what became of them: first what a person has to settle (an outcome that nobody knows, an effect that could
    /// not be undone), then those that run, then the others; of each the newest first. One that is settled while you read comes again.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn effects(
        &self,
        ctx: &Context<'_>,
        filter: Option<EffectFilter>,
        first: Option<i32>,
        after: Option<String>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Connection<Cursor, ToolEffect>> {
        let filter = filter.unwrap_or_default();
        let models = ["tool_effects", "sessions", "turns", "lanes", "approvals"];
        let models = &models[..if filter.reads_approvals() { 5 } else { 4 }];
        let reading = Reading::at(ctx, models, min_position).await?;
        let asked = Asked::new("effects", first, after.as_deref())?;
        let filter = filter.read(&reading)?;
        let rows = tool_effects::urgent(reading.store(), reading.ledger, &filter, &asked.request).await;
        asked.connection(rows, ToolEffect)
    }

    /// What people are called for, most urgent first, with what to do: outcomes that turns wait for, effects that could not be
    /// undone, turns that failed for want of attempts; those that are settled last. Of each the oldest first. One that is
    /// settled while you read comes again.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn interventions(
        &self,
        ctx: &Context<'_>,
        filter: Option<InterventionFilter>,
        first: Option<i32>,
        after: Option<String>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Connection<Cursor, Intervention>> {
        intervention::list(ctx, filter, (first, after.as_deref()), min_position).await
    }

    /// A request that people decide on; nothing where there is none.
    #[graphql(complexity = "20 + child_complexity")]
    async fn approval(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Approval>> {
        let principal = require(ctx, approval::ROLES)?;
        approval::load(services(ctx), principal.ledger(), parse_id("id", &id)?).await
    }

    /// Requests that people decide on: those that are open first, the oldest of them first, then the others. A page may
    /// have fewer than asked for, even none, and be followed by more; a request that is decided meanwhile comes again.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    #[graphql(complexity = "20 * cost(first, child_complexity)")]
    async fn approvals(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that stand so; all if absent.")] status: Option<Vec<ApprovalState>>,
        #[graphql(desc = "Only those of this session.")] session_id: Option<ID>,
        #[graphql(desc = "Only those that this reviewer decided, as the key is registered.")]
        decided_by: Option<String>,
        #[graphql(desc = "Only those that were decided so.")] decision: Option<ApprovalDecision>,
        first: Option<i32>,
        after: Option<String>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<ApprovalConnection> {
        let wanted = approval::Wanted {
            status,
            session: session_id,
            decided_by,
            decision,
        };
        approval::list(ctx, wanted, (first, after.as_deref()), min_position).await
    }

    /// Keys that people decide with, in the order in which they were registered, with where they came and went.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn reviewer_keys(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Connection<Cursor, ReviewerKey>> {
        reviewer_key::keys(ctx, (first, after.as_deref()), min_position).await
    }

    /// The registered tools, by name.
    #[graphql(complexity = "100 * child_complexity")]
    async fn tools(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Vec<Tool>> {
        let reading = Reading::at(ctx, &["tool_effects"], min_position).await?;
        let tools = tool_effects::tools(reading.store(), reading.ledger).await;
        bounded(tools.map_err(|error| of_read_store(&error))?)
    }

    /// Changes of configuration values in the order of the ledger.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn configuration_history(
        &self,
        ctx: &Context<'_>,
        filter: Option<ConfigurationFilter>,
        first: Option<i32>,
        after: Option<String>,
        #[graphql(desc = "Wait until the read model holds this record.")] min_position: Option<
            PositionScalar,
        >,
    ) -> Result<Connection<Cursor, ConfigurationChange>> {
        let reading = Reading::at(ctx, &["configuration"], min_position).await?;
        let asked = Asked::new("config", first, after.as_deref())?;
        let filter = filter.unwrap_or_default().into();
        let rows = configuration::history(reading.store(), reading.ledger, &filter, &asked.request).await;
        asked.connection(rows, ConfigurationChange::from)
    }

    /// The tenant's ledger: origin, size, tree head, records.
    async fn ledger(&self, ctx: &Context<'_>) -> Result<Ledger> {
        let principal = require(ctx, RECORDS)?;
        Ledger::load(services(ctx), principal.ledger()).await
    }

    /// One record.
    async fn record(&self, ctx: &Context<'_>, position: PositionScalar) -> Result<Option<Record>> {
        let principal = require(ctx, RECORDS)?;
        ledger::record(services(ctx), principal.ledger(), position.0).await
    }

    /// Proof that a record is in the ledger.
    #[graphql(complexity = "50 + child_complexity")]
    async fn inclusion_proof(
        &self,
        ctx: &Context<'_>,
        position: PositionScalar,
        #[graphql(desc = "Size of the tree to prove it for; that of the last tree head if absent.")]
        tree_size: Option<Long>,
    ) -> Result<InclusionProof> {
        let principal = require(ctx, RECORDS)?;
        ledger::inclusion(services(ctx), principal.ledger(), position.0, tree_size).await
    }

    /// Proof that nothing was changed or dropped between two sizes of an epoch's log.
    #[graphql(complexity = "50 + child_complexity")]
    async fn consistency_proof(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Epoch, from 1.")] epoch: u32,
        #[graphql(desc = "Size of the earlier tree.")] from_size: Long,
        #[graphql(desc = "Size of the later tree; that of the last tree head if absent.")] to_size: Option<
            Long,
        >,
    ) -> Result<ConsistencyProof> {
        let principal = require(ctx, RECORDS)?;
        ledger::consistency(
            services(ctx),
            principal.ledger(),
            Epoch(epoch),
            from_size,
            to_size,
        )
        .await
    }

    /// What a lane, a turn, an approval, a session, a tool or a configuration was at a position, folded from its records
    /// by the code that decided live. A session, and a turn that no read model knows, are looked for in at most 50,000
    /// records.
    #[graphql(complexity = "200 + child_complexity")]
    async fn state_at(
        &self,
        ctx: &Context<'_>,
        of: StateOf,
        #[graphql(
            desc = "The last record that counts; that of the ledger if neither this nor `time` is given."
        )]
        position: Option<PositionScalar>,
        #[graphql(desc = "In place of a position: the last record that the ledger took by then.")]
        time: Option<DateTime>,
    ) -> Result<StateAtPosition> {
        let principal = require(ctx, RECORDS)?;
        replay::state_at(ctx, principal.ledger(), of, position, time).await
    }

    /// Holds a range of the ledger against the rules: bytes, chain, tree heads, votes, idempotency keys, and every decision
    /// of a lane decided again. Reads all records up to the end of the range, at most 50,000, for at most 10 s, and says how
    /// far it came; the command `ruche replay verify` has no such bounds. A node does one at a time.
    #[graphql(complexity = "2000 + child_complexity")]
    async fn verify_range(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first record; that of the ledger if absent.")] from: Option<PositionScalar>,
        #[graphql(desc = "The last record; that of the ledger if absent.")] to: Option<PositionScalar>,
    ) -> Result<RangeVerification> {
        let principal = require(ctx, RECORDS)?;
        replay::verify_range(ctx, principal.ledger(), from, to).await
    }
}
