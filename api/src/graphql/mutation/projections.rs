//! Mutations about projections: what to do with an event that one cannot apply, and whether it goes on.

use async_graphql::{Context, Error, InputObject, Object, Result, SimpleObject};
use ruche_domain::envelope::Provenance;
use ruche_projections::rebuild::RebuildError;

use super::super::errors::fault;
use super::super::read::of_read_store;
use super::super::rebuild::of_all_tenants;
use super::super::refusals::{self, results};
use super::super::scalars::PositionScalar;
use super::{CommandReceipt, Receipt, Writing, command_context, payloads};
use crate::auth::Role;
use crate::error_codes as code;
use crate::read_models::{DecideError, ReadModels, Wish};
use crate::rebuilds::RequestError;

/// Input of `redriveEvent`.
#[derive(InputObject)]
pub(in crate::graphql) struct RedriveEventInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Name of the projection.
    projection: String,
    /// The event that it waits for.
    position: PositionScalar,
    /// What is expected of it now.
    reason: Option<String>,
}

/// Input of `discardEvent`.
#[derive(InputObject)]
pub(in crate::graphql) struct DiscardEventInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Name of the projection.
    projection: String,
    /// The event that it waits for.
    position: PositionScalar,
    /// Why the read model goes without it.
    reason: String,
}

/// Input of `pauseProjection`.
#[derive(InputObject)]
pub(in crate::graphql) struct PauseProjectionInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Name of the projection.
    projection: String,
    /// Why.
    reason: String,
}

/// Input of `resumeProjection`.
#[derive(InputObject)]
pub(in crate::graphql) struct ResumeProjectionInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Name of the projection.
    projection: String,
    /// Why.
    reason: Option<String>,
}

/// Input of `rebuildReadModels`.
#[derive(InputObject)]
pub(in crate::graphql) struct RebuildReadModelsInput {
    /// The client's own key of this request.
    pub(super) idempotency_key: String,
    /// Why.
    reason: String,
}

payloads! {
    /// The projection tries the event again.
    RedriveEventPayload {}
    /// The projection goes on without the event.
    DiscardEventPayload {}
    /// The projection stands still.
    PauseProjectionPayload {}
    /// The projection goes on.
    ResumeProjectionPayload {}
    /// The rebuild has begun.
    RebuildReadModelsPayload {}
}

results! {
    /// What came of `redriveEvent`.
    RedriveEventResult = RedriveEventPayload;
    /// What came of `discardEvent`.
    DiscardEventResult = DiscardEventPayload;
    /// What came of `pauseProjection`.
    PauseProjectionResult = PauseProjectionPayload;
    /// What came of `resumeProjection`.
    ResumeProjectionResult = ResumeProjectionPayload;
    /// What came of `rebuildReadModels`.
    RebuildReadModelsResult = RebuildReadModelsPayload;
}

impl Writing<'_> {
    /// Records a decision, and carries it out. An inner error is a refusal that the client handles.
    async fn decide(
        &self,
        key: &str,
        projection: &str,
        wish: Wish,
    ) -> Result<std::result::Result<CommandReceipt, refusals::Refusal>> {
        let models = ReadModels {
            commands: &self.services.commands,
            runner: &self.services.runner,
        };
        let context = command_context(self.caller, Provenance::Attested, key);
        match models.decide(&context, projection, wish).await {
            Ok(receipt) => Ok(Ok(receipt)),
            Err(DecideError::Refused(error)) => refusals::of(&error).map(Err),
            Err(DecideError::ReadModels(error)) => Err(of_read_store(&error)),
        }
    }
}

macro_rules! decide {
    ($ctx:ident, $input:ident, $wish:expr, $result:ident, $payload:ident) => {{
        let writing = Writing::for_roles($ctx, &[Role::Admin])?;
        let done = writing
            .decide(&$input.idempotency_key, &$input.projection, $wish)
            .await?;
        Ok(match done {
            Ok(receipt) => $result::$payload($payload::of(&writing, &receipt).await?),
            Err(refusal) => $result::from(refusal),
        })
    }};
}

/// Writes about projections.
#[derive(Default)]
pub(in crate::graphql) struct ProjectionMutation;

/// Writes about projections.
#[Object]
impl ProjectionMutation {
    /// A parked projection tries its event again, after an upgrade that knows it for example. For administrators.
    async fn redrive_event(&self, ctx: &Context<'_>, input: RedriveEventInput) -> Result<RedriveEventResult> {
        let wish = Wish::Redrive {
            position: input.position.0,
            reason: input.reason,
        };
        decide!(ctx, input, wish, RedriveEventResult, RedriveEventPayload)
    }

    /// A parked projection goes on without its event, for ever: its read model then lacks what the event says. The ledger
    /// keeps it, and a rebuild goes on without it, too. For administrators.
    async fn discard_event(&self, ctx: &Context<'_>, input: DiscardEventInput) -> Result<DiscardEventResult> {
        let wish = Wish::Discard {
            position: input.position.0,
            reason: input.reason,
        };
        decide!(ctx, input, wish, DiscardEventResult, DiscardEventPayload)
    }

    /// A projection stands still: its read model stays as it is, and who waits for later records is told so. For
    /// administrators.
    async fn pause_projection(
        &self,
        ctx: &Context<'_>,
        input: PauseProjectionInput,
    ) -> Result<PauseProjectionResult> {
        let wish = Wish::Pause { reason: input.reason };
        decide!(ctx, input, wish, PauseProjectionResult, PauseProjectionPayload)
    }

    /// A paused projection goes on from where it stands. For administrators.
    async fn resume_projection(
        &self,
        ctx: &Context<'_>,
        input: ResumeProjectionInput,
    ) -> Result<ResumeProjectionResult> {
        let wish = Wish::Resume { reason: input.reason };
        decide!(ctx, input, wish, ResumeProjectionResult, ResumeProjectionPayload)
    }

    /// All read models are made anew from the ledger, beside those that are there; `rebuild` tells how far that is. Reads go on,
    /// and so do writes. For administrators, where there is one tenant.
    async fn rebuild_read_models(
        &self,
        ctx: &Context<'_>,
        input: RebuildReadModelsInput,
    ) -> Result<RebuildReadModelsResult> {
        let writing = Writing::for_roles(ctx, &[Role::Admin])?;
        of_all_tenants(writing.services)?;
        let context = command_context(writing.caller, Provenance::Attested, &input.idempotency_key);
        let requested = writing.services.rebuilds.request(&context, input.reason).await;
        Ok(match requested {
            Ok(receipt) => RebuildReadModelsResult::RebuildReadModelsPayload(
                RebuildReadModelsPayload::of(&writing, &receipt).await?,
            ),
            Err(RequestError::Refused(error)) => refusals::of(&error)?.into(),
            Err(RequestError::Rebuild(error)) => return Err(not_begun(&error)),
        })
    }
}

/// The error of a server that cannot make read models anew. What it says is for whoever runs it.
fn not_begun(error: &RebuildError) -> Error {
    match error {
        RebuildError::NotOwner { .. } => fault(code::FORBIDDEN, error.to_string()),
        error => {
            tracing::error!(error = %crate::error::chain(error), "whether the read models can be made anew is not known");
            fault(
                code::UNAVAILABLE,
                "the read models cannot be looked at; try again later",
            )
        }
    }
}
