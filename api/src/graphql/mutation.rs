//! The root of mutations. Each takes one input with its idempotency key, carries out one command and answers with
//! receipts or a refusal. Nothing is decided here.

mod approvals;
mod claim;
mod fields;
mod inputs;
mod interventions;
mod lane_input;
mod projections;
mod turn_input;
mod tool_calls;
mod tool_input;
mod saved_queries;
mod scenarios;
mod steps;

pub(super) use lane_input::LaneInput;
use std::sync::Arc;

use async_graphql::{Context, ID, MergedObject, Object, Result, SimpleObject};
use ruche_commands::command::Command;
use ruche_commands::{CommandContext, CommandReceipt};
use ruche_domain::envelope::{Actor, ActorKind, Provenance};
use ruche_domain::event::AgentEvent;
use ruche_domain::numbers::TreeSize;

use super::lane::LaneName;
use super::ledger::sealed;
use super::query::require;
use super::record::RecordState;
use super::refusals::{self, results};
use super::scalars::{DateTime, Hash, Long, PositionScalar};
use super::session::id;
use crate::auth::Role;
use crate::http::Caller;
use crate::services::Services;

use approvals::ApprovalMutation;
use inputs::{
    AppendEventsInput, EndSessionInput, PublishConfigurationInput, RegisterToolInput, ScoreSessionInput,
    StartSessionInput, SubmitMessageInput,
};
use interventions::InterventionMutation;
use lane_input::{CancelTurnInput, ClaimTurnInput, CommitTurnInput, FailTurnInput, HeartbeatTurnInput};
use projections::ProjectionMutation;
use saved_queries::SavedQueryMutation;
use scenarios::ScenarioMutation;
use steps::StepMutation;
use tool_calls::ToolCallMutation;
use turn_input::RecordTurnInput;

/// Writes. Each mutation takes an `idempotencyKey`: sent again with the same input it gives the first answer, marked
/// `duplicate`; with another input it is refused. One that changes nothing writes nothing and claims no key: it is
/// `unchanged`, and the key stays free.
#[derive(MergedObject, Default)]
#[graphql(name = "Mutation")]
pub(super) struct Mutations(
    Mutation,
    ToolCallMutation,
    StepMutation,
    ApprovalMutation,
    InterventionMutation,
    ScenarioMutation,
    ProjectionMutation,
    SavedQueryMutation,
);

/// Proof that a record is stored, and how far its proof has come.
#[derive(SimpleObject)]
pub(super) struct Receipt {
    /// Ledger that holds it.
    ledger: ID,
    /// Its place, fixed for ever.
    position: PositionScalar,
    /// RFC 6962 hash of its leaf.
    leaf_hash: Hash,
    /// How far its proof has come at least.
    state: RecordState,
    /// Whether it was there before and nothing was written now.
    duplicate: bool,
    /// When the ledger took it.
    recorded_at: DateTime,
}

macro_rules! payloads {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty = $read:expr,)* })*) => {$(
        $(#[$doc])*
        #[derive(SimpleObject)]
        pub(super) struct $name {
            /// One for each record, in order.
            receipts: Vec<Receipt>,
            /// The last record. Give it as `minPosition` to read what was written.
            position: Option<PositionScalar>,
            /// Whether the request had been carried out before and nothing was written now.
            duplicate: bool,
            /// Whether everything was already as the request wants it. Nothing was written, the key stays free, and the
            /// receipts are of the records that say so. Never together with `duplicate`.
            unchanged: bool,
            $($(#[$fdoc])* $field: $ty,)*
        }

        impl $name {
            async fn of(writing: &Writing<'_>, receipt: &CommandReceipt) -> Result<Self> {
                Ok(Self {
                    receipts: writing.receipts(receipt).await?,
                    position: receipt.position().map(PositionScalar),
                    duplicate: receipt.duplicate,
                    unchanged: receipt.unchanged,
                    $($field: $read(receipt),)*
                })
            }
        }
    )*};
}

use payloads;

fn session_of(receipt: &CommandReceipt) -> Option<ID> {
    receipt.session().map(id)
}

fn turn_of(receipt: &CommandReceipt) -> Option<ID> {
    receipt.turn().map(id)
}

/// The turn of the first event of this type: an append may be about several turns.
fn turn_at(receipt: &CommandReceipt, event_type: &str) -> Option<ID> {
    let event = receipt
        .events
        .iter()
        .find(|event| event.event.event_type == event_type);
    event?.event.turn.map(id)
}

fn turn_of_message(receipt: &CommandReceipt) -> Option<ID> {
    turn_at(receipt, "message.received")
}

/// What a receipt does not tell and its mutation finds out.
fn not_known<T>(_: &CommandReceipt) -> Option<T> {
    None
}

fn turn_of_start(receipt: &CommandReceipt) -> Option<ID> {
    turn_at(receipt, "turn.started")
}

/// A worker's hold on a turn.
#[derive(SimpleObject)]
pub(super) struct Lease {
    /// Its id.
    id: String,
    /// Its fencing number: of two workers the one with the higher number has the turn.
    epoch: Long,
    /// When it lapses unless it is renewed.
    expires_at: DateTime,
}

fn lease_of(receipt: &CommandReceipt) -> Option<Lease> {
    // What this program wrote it can read; an erased payload has no lease to tell.
    let facts = receipt
        .events
        .iter()
        .filter_map(|event| event.agent_event().ok()?);
    facts.into_iter().find_map(|fact| match fact {
        AgentEvent::TurnStarted(started) => Some(Lease {
            id: started.lease_id?,
            epoch: Long::count(started.lease_epoch?),
            expires_at: DateTime(started.lease_expires_at?),
        }),
        AgentEvent::InfraLeaseRenewed(renewed) => Some(Lease {
            id: renewed.holder,
            epoch: Long::count(renewed.lease_epoch),
            expires_at: DateTime(renewed.expires_at),
        }),
        _ => None,
    })
}

payloads! {
    /// A session was started.
    StartSessionPayload {
        /// Its id.
        session_id: Option<ID> = session_of,
    }
    /// A session was ended.
    EndSessionPayload {
        /// Its id.
        session_id: Option<ID> = session_of,
    }
    /// A message was recorded.
    SubmitMessagePayload {
        /// Its session.
        session_id: Option<ID> = session_of,
        /// The turn that it opened or joined, where it came to a lane.
        turn_id: Option<ID> = turn_of_message,
    }
    /// A turn was claimed.
    ClaimTurnPayload {
        /// Its id.
        turn_id: Option<ID> = turn_of_start,
        /// Its lane, as the other mutations about the turn name it.
        lane: Option<LaneName> = not_known,
        /// The lease under which the worker has it.
        lease: Option<Lease> = lease_of,
    }
    /// The lease was renewed.
    HeartbeatTurnPayload {
        /// The turn.
        turn_id: Option<ID> = turn_of,
        /// The lease as it is now.
        lease: Option<Lease> = lease_of,
    }
    /// The turn is over and its answer stands.
    CommitTurnPayload {
        /// Its id.
        turn_id: Option<ID> = turn_of,
    }
    /// The attempt failed.
    FailTurnPayload {
        /// Its turn.
        turn_id: Option<ID> = turn_of,
    }
    /// The turn is cancelled, or is going to be once what it did is undone.
    CancelTurnPayload {
        /// Its id.
        turn_id: Option<ID> = turn_of,
    }
    /// A turn was recorded.
    RecordTurnPayload {
        /// Its session.
        session_id: Option<ID> = session_of,
        /// Its id.
        turn_id: Option<ID> = turn_of,
    }
    /// A tool is registered so.
    RegisterToolPayload {}
    /// A configuration is published so.
    PublishConfigurationPayload {}
    /// Events were appended.
    AppendEventsPayload {}
    /// A session was scored.
    ScoreSessionPayload {
        /// Its id.
        session_id: Option<ID> = session_of,
    }
}

results! {
    /// What came of `startSession`.
    StartSessionResult = StartSessionPayload;
    /// What came of `endSession`.
    EndSessionResult = EndSessionPayload;
    /// What came of `submitMessage`.
    SubmitMessageResult = SubmitMessagePayload;
    /// What came of `recordTurn`.
    RecordTurnResult = RecordTurnPayload;
    /// What came of `registerTool`.
    RegisterToolResult = RegisterToolPayload;
    /// What came of `publishConfiguration`.
    PublishConfigurationResult = PublishConfigurationPayload;
    /// What came of `appendEvents`.
    AppendEventsResult = AppendEventsPayload;
    /// What came of `scoreSession`.
    ScoreSessionResult = ScoreSessionPayload;
    /// What came of `claimTurn`.
    ClaimTurnResult = ClaimTurnPayload;
    /// What came of `heartbeatTurn`.
    HeartbeatTurnResult = HeartbeatTurnPayload;
    /// What came of `commitTurn`.
    CommitTurnResult = CommitTurnPayload;
    /// What came of `failTurn`.
    FailTurnResult = FailTurnPayload;
    /// What came of `cancelTurn`.
    CancelTurnResult = CancelTurnPayload;
}

/// Who acts and why: from the key and the request, nothing from the input but its idempotency key.
pub(crate) fn command_context(
    caller: &Caller,
    provenance: Provenance,
    idempotency_key: &str,
) -> CommandContext {
    let actor = Actor {
        kind: ActorKind::Client,
        reference: Some(caller.principal.key_id.0),
    };
    CommandContext {
        trace: caller.trace,
        user: caller.principal.user.clone(),
        ..CommandContext::new(caller.principal.tenant, actor, provenance, idempotency_key)
    }
}

/// What a mutation works with.
struct Writing<'c> {
    caller: &'c Caller,
    services: &'c Arc<Services>,
}

impl<'c> Writing<'c> {
    fn of(ctx: &'c Context<'_>) -> Result<Self> {
        Self::for_roles(ctx, &[Role::Writer])
    }

    fn for_roles(ctx: &'c Context<'_>, roles: &[Role]) -> Result<Self> {
        require(ctx, roles)?;
        Ok(Self {
            caller: ctx.data_unchecked::<Caller>(),
            services: ctx.data_unchecked::<Arc<Services>>(),
        })
    }

    /// The receipts of a command with how far their proofs have come.
    async fn receipts(&self, receipt: &CommandReceipt) -> Result<Vec<Receipt>> {
        let ledger = self.caller.principal.ledger();
        let of = receipt.receipts();
        // What was written a moment ago is told as appended, without a look at the tree head. What was there before
        // stands side by side in one epoch, or is one record.
        let earlier = receipt.duplicate || receipt.unchanged;
        let sealed = match of.first() {
            Some(first) if earlier => sealed(self.services, ledger, first.position.epoch).await?,
            _ => TreeSize(0),
        };
        let wire = |of: ruche_ledger::store::Receipt| Receipt {
            ledger: id(ledger),
            position: PositionScalar(of.position),
            leaf_hash: Hash(of.leaf_hash.0),
            state: RecordState::under(sealed, of.position),
            duplicate: receipt.duplicate,
            recorded_at: DateTime(of.recorded_at),
        };
        Ok(of.into_iter().map(wire).collect())
    }

    /// Carries out a command. An inner error is a refusal that the client handles.
    async fn execute<C: Command>(
        &self,
        provenance: Provenance,
        idempotency_key: &str,
        command: std::result::Result<C, ruche_commands::CommandError>,
    ) -> Result<std::result::Result<CommandReceipt, refusals::Refusal>> {
        let context = command_context(self.caller, provenance, idempotency_key);
        let done = match command {
            Ok(command) => self.services.commands.execute(&context, &command).await,
            Err(refused) => Err(refused),
        };
        match done {
            Ok(receipt) => Ok(Ok(receipt)),
            Err(error) => refusals::of(&error).map(Err),
        }
    }
}

macro_rules! carry_out {
    ($ctx:ident, $provenance:ident, $input:ident, $result:ident, $payload:ident) => {
        carry_out!(
            $ctx,
            &[crate::auth::Role::Writer],
            $provenance,
            $input,
            $result,
            $payload
        )
    };
    ($ctx:ident, $roles:expr, $provenance:ident, $input:ident, $result:ident, $payload:ident) => {{
        let writing = Writing::for_roles($ctx, $roles)?;
        let key = $input.idempotency_key.clone();
        let done = writing
            .execute(Provenance::$provenance, &key, $input.into_command())
            .await?;
        Ok(match done {
            Ok(receipt) => $result::$payload($payload::of(&writing, &receipt).await?),
            Err(refusal) => $result::from(refusal),
        })
    }};
}

use carry_out;

/// Writes about sessions, turns, tools and configurations.
#[derive(Default)]
pub struct Mutation;

/// Writes about sessions, turns, tools and configurations.
#[Object(name = "SessionMutation")]
impl Mutation {
    /// Opens a session.
    async fn start_session(&self, ctx: &Context<'_>, input: StartSessionInput) -> Result<StartSessionResult> {
        carry_out!(ctx, Reported, input, StartSessionResult, StartSessionPayload)
    }

    /// Ends a session.
    async fn end_session(&self, ctx: &Context<'_>, input: EndSessionInput) -> Result<EndSessionResult> {
        carry_out!(ctx, Reported, input, EndSessionResult, EndSessionPayload)
    }

    /// Records a message that came in. With a `lane` it opens a turn, joins one, or takes the place of one, as the
    /// channel is set.
    async fn submit_message(
        &self,
        ctx: &Context<'_>,
        mut input: SubmitMessageInput,
    ) -> Result<SubmitMessageResult> {
        let Some(lane) = input.lane.take() else {
            return carry_out!(ctx, Reported, input, SubmitMessageResult, SubmitMessagePayload);
        };
        let writing = Writing::of(ctx)?;
        let key = input.idempotency_key.clone();
        let command = input.into_governed(lane);
        Ok(
            match writing.execute(Provenance::Attested, &key, command).await? {
                Ok(receipt) => SubmitMessageResult::SubmitMessagePayload(
                    SubmitMessagePayload::of(&writing, &receipt).await?,
                ),
                Err(refusal) => SubmitMessageResult::from(refusal),
            },
        )
    }

    /// Takes a turn that is ready, under a lease: that of a lane, or of all turns of an agent the one that waits longest.
    /// What is due in the lane by now, such as the end of a window or of a dead worker's lease, happens first. Where no
    /// turn is ready, and none gets ready for as long as `waitMs` says, try again under the same key.
    async fn claim_turn(&self, ctx: &Context<'_>, input: ClaimTurnInput) -> Result<ClaimTurnResult> {
        let writing = Writing::of(ctx)?;
        Ok(match writing.claim(input).await? {
            Ok(receipt) => {
                let mut payload = ClaimTurnPayload::of(&writing, &receipt).await?;
                payload.lane = writing.lane_of(&receipt).await?;
                ClaimTurnResult::ClaimTurnPayload(payload)
            }
            Err(refusal) => ClaimTurnResult::from(refusal),
        })
    }

    /// Renews the lease on a turn. One that is fresh stands as it is: `unchanged`, with the time at which it lapses.
    async fn heartbeat_turn(
        &self,
        ctx: &Context<'_>,
        input: HeartbeatTurnInput,
    ) -> Result<HeartbeatTurnResult> {
        carry_out!(ctx, Attested, input, HeartbeatTurnResult, HeartbeatTurnPayload)
    }

    /// Ends a turn whose answer stands. The next turn of the lane becomes ready.
    async fn commit_turn(&self, ctx: &Context<'_>, input: CommitTurnInput) -> Result<CommitTurnResult> {
        carry_out!(ctx, Attested, input, CommitTurnResult, CommitTurnPayload)
    }

    /// Ends an attempt at a turn, or the turn itself.
    async fn fail_turn(&self, ctx: &Context<'_>, input: FailTurnInput) -> Result<FailTurnResult> {
        carry_out!(ctx, Attested, input, FailTurnResult, FailTurnPayload)
    }

    /// Cancels a turn that did nothing yet that cannot be taken back.
    async fn cancel_turn(&self, ctx: &Context<'_>, input: CancelTurnInput) -> Result<CancelTurnResult> {
        carry_out!(ctx, Attested, input, CancelTurnResult, CancelTurnPayload)
    }

    /// Records a whole turn that happened elsewhere: messages, model calls, tool calls and how it came out. All or
    /// nothing, in the order given.
    async fn record_turn(&self, ctx: &Context<'_>, input: RecordTurnInput) -> Result<RecordTurnResult> {
        carry_out!(ctx, Reported, input, RecordTurnResult, RecordTurnPayload)
    }

    /// Registers a tool with what a call of it does to the world, or changes its registration. An agent may not say that
    /// what it wants to do is harmless, so this needs the role `admin`.
    async fn register_tool(&self, ctx: &Context<'_>, input: RegisterToolInput) -> Result<RegisterToolResult> {
        carry_out!(
            ctx,
            &[Role::Admin],
            Attested,
            input,
            RegisterToolResult,
            RegisterToolPayload
        )
    }

    /// Publishes a new version of a configuration. That of a channel may hold settings of turns (`turns.…`, docs/turns.md) and
    /// needs the role `admin`: an agent does not say how long it may hold a turn.
    async fn publish_configuration(
        &self,
        ctx: &Context<'_>,
        input: PublishConfigurationInput,
    ) -> Result<PublishConfigurationResult> {
        let roles = match input.is_of_a_channel() {
            true => &[Role::Admin],
            false => &[Role::Writer],
        };
        let result: Result<PublishConfigurationResult> = carry_out!(
            ctx,
            roles,
            Attested,
            input,
            PublishConfigurationResult,
            PublishConfigurationPayload
        );
        Ok(match result? {
            PublishConfigurationResult::WrongExpectedVersion(refusal) => {
                PublishConfigurationResult::WrongExpectedVersion(refusal.of_configuration())
            }
            other => other,
        })
    }

    /// Appends events of the families that are open to clients. All or nothing; the order given is the order kept.
    #[graphql(complexity = "10 + child_complexity")]
    async fn append_events(&self, ctx: &Context<'_>, input: AppendEventsInput) -> Result<AppendEventsResult> {
        carry_out!(ctx, Reported, input, AppendEventsResult, AppendEventsPayload)
    }

    /// Records scores of a session, open or ended.
    async fn score_session(&self, ctx: &Context<'_>, input: ScoreSessionInput) -> Result<ScoreSessionResult> {
        carry_out!(ctx, Reported, input, ScoreSessionResult, ScoreSessionPayload)
    }
}
