//! The root of mutations. Each takes one input with its idempotency key, carries out one command and answers with
//! receipts or a refusal. Nothing is decided here.

mod inputs;
mod turn_input;

use std::sync::Arc;

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use ruche_commands::command::Command;
use ruche_commands::{CommandContext, CommandReceipt};
use ruche_domain::envelope::{Actor, ActorKind, Provenance};
use ruche_domain::numbers::TreeSize;

use super::ledger::sealed;
use super::query::require;
use super::record::RecordState;
use super::refusals::{self, results};
use super::scalars::{DateTime, Hash, PositionScalar};
use super::session::id;
use crate::auth::Role;
use crate::http::Caller;
use crate::services::Services;

use inputs::{
    AppendEventsInput, EndSessionInput, PublishConfigurationInput, RegisterToolInput, ScoreSessionInput,
    StartSessionInput, SubmitMessageInput,
};
use turn_input::RecordTurnInput;

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

fn session_of(receipt: &CommandReceipt) -> Option<ID> {
    receipt.session().map(id)
}

fn turn_of(receipt: &CommandReceipt) -> Option<ID> {
    receipt.turn().map(id)
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
        require(ctx, &[Role::Writer])?;
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
    ($ctx:ident, $provenance:ident, $input:ident, $result:ident, $payload:ident) => {{
        let writing = Writing::of($ctx)?;
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

/// Writes. Each mutation takes an `idempotencyKey`: sent again with the same input it gives the first answer, marked
/// `duplicate`; with another input it is refused. One that changes nothing writes nothing and claims no key: it is
/// `unchanged`, and the key stays free.
pub struct Mutation;

/// Writes. Each mutation takes an `idempotencyKey`: sent again with the same input it gives the first answer, marked
/// `duplicate`; with another input it is refused. One that changes nothing writes nothing and claims no key: it is
/// `unchanged`, and the key stays free.
#[Object]
impl Mutation {
    /// Opens a session.
    async fn start_session(&self, ctx: &Context<'_>, input: StartSessionInput) -> Result<StartSessionResult> {
        carry_out!(ctx, Reported, input, StartSessionResult, StartSessionPayload)
    }

    /// Ends a session.
    async fn end_session(&self, ctx: &Context<'_>, input: EndSessionInput) -> Result<EndSessionResult> {
        carry_out!(ctx, Reported, input, EndSessionResult, EndSessionPayload)
    }

    /// Records a message that came in.
    async fn submit_message(
        &self,
        ctx: &Context<'_>,
        input: SubmitMessageInput,
    ) -> Result<SubmitMessageResult> {
        carry_out!(ctx, Reported, input, SubmitMessageResult, SubmitMessagePayload)
    }

    /// Records a whole turn that happened elsewhere: messages, model calls, tool calls and how it came out. All or
    /// nothing, in the order given.
    async fn record_turn(&self, ctx: &Context<'_>, input: RecordTurnInput) -> Result<RecordTurnResult> {
        carry_out!(ctx, Reported, input, RecordTurnResult, RecordTurnPayload)
    }

    /// Registers a tool with what a call of it does to the world, or changes its registration.
    async fn register_tool(&self, ctx: &Context<'_>, input: RegisterToolInput) -> Result<RegisterToolResult> {
        carry_out!(ctx, Attested, input, RegisterToolResult, RegisterToolPayload)
    }

    /// Publishes a new version of a configuration.
    async fn publish_configuration(
        &self,
        ctx: &Context<'_>,
        input: PublishConfigurationInput,
    ) -> Result<PublishConfigurationResult> {
        let result: Result<PublishConfigurationResult> = carry_out!(
            ctx,
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
