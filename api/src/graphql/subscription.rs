//! The root of subscriptions: what was recorded and what is being recorded, in one stream without a gap.

use async_graphql::{Context, ID, Result, Subscription as SubscriptionRoot};
use futures_util::{Stream, StreamExt};
use ruche_domain::ids::{ApprovalId, SessionId};
use ruche_domain::numbers::{Epoch, Position};
use ruche_domain::stream::Category;
use ruche_ledger::subscribe::subscribe;
use ruche_projections::sessions;

use super::approval::{self, Approval};
use super::errors::{fault, of_store};
use super::ledger::with_states;
use super::read::{Reading, of_read_store};
use super::ready_turn::{self, ReadyTurn};
use super::record::Record;
use super::scalars::PositionScalar;
use crate::auth::Role;
use crate::error_codes as code;

/// Streams.
pub struct Subscription;

/// Streams.
#[SubscriptionRoot]
impl Subscription {
    /// Records of a session in the order of the ledger: first those that stand there, then new ones, each once and
    /// never before it is durable. After a break, give the position behind the last one that came as `from`.
    async fn session_events(
        &self,
        ctx: &Context<'_>,
        session_id: ID,
        #[graphql(desc = "Position to start at; the beginning of the ledger if absent.")] from: Option<
            PositionScalar,
        >,
    ) -> Result<impl Stream<Item = Result<Record>> + use<>> {
        let reading = Reading::of(ctx)?;
        let ledger = reading.ledger;
        let session: SessionId = session_id
            .parse()
            .map_err(|_| fault(code::INVALID_ARGUMENT, "`sessionId` is no id of a session"))?;
        let from = match from {
            Some(from) => from.0,
            None => first_position(&reading, session).await?,
        };
        let services = reading.services;
        let records = subscribe(services.stored.clone(), ledger, from);
        let of_session = records.filter(move |record| {
            let wanted = match record {
                Ok(record) => record.leaf.event.session == Some(session),
                Err(_) => true,
            };
            std::future::ready(wanted)
        });
        Ok(of_session.then(move |record| {
            let services = services.clone();
            async move {
                let record = record.map_err(|error| of_store(&error))?;
                let mut records = with_states(&services, ledger, vec![record]).await?;
                records
                    .pop()
                    .ok_or_else(|| fault(code::INTERNAL, "one record gives one record"))
            }
        }))
    }

    /// Requests for approval, each whenever something happened to it: it was asked for, voted on, decided, used up or is
    /// over. It is given as it stands when it is told, so the same state may come twice. First those that changed from
    /// `from` on; without it, what happens from now on: list `approvals` behind the beginning of the subscription, and
    /// none is missed.
    async fn approval_changes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Position to start at; the end of the ledger if absent.")] from: Option<
            PositionScalar,
        >,
    ) -> Result<impl Stream<Item = Result<Approval>> + use<>> {
        let reading = Reading::for_roles(ctx, approval::ROLES)?;
        let (services, ledger) = (reading.services, reading.ledger);
        let from = match from {
            Some(from) => from.0,
            None => {
                let head = services.events.head(ledger).await;
                let head = head.map_err(|error| of_store(&error))?;
                head.map_or(Position::START, |head| Position::new(head.epoch.0, head.size.0))
            }
        };
        let records = subscribe(services.stored.clone(), ledger, from);
        let of_requests = records.filter(|record| {
            std::future::ready(match record {
                Ok(record) => record.leaf.event.stream.category == Category::Approval,
                Err(_) => true,
            })
        });
        Ok(of_requests.then(move |record| {
            let services = services.clone();
            async move {
                let record = record.map_err(|error| of_store(&error))?;
                let id = ApprovalId(record.leaf.event.stream.id);
                let found = approval::load(&services, ledger, id).await?;
                found.ok_or_else(|| fault(code::INTERNAL, "a record of a request belongs to one"))
            }
        }))
    }

    /// Turns of an agent that wait for a worker: first those that may be claimed now, the longest waiting first, then
    /// each that gets so. A turn whose attempt failed comes again when it may be tried again. Who is told has not got
    /// the turn: `claimTurn` gives it to one of all that ask.
    async fn turns_ready(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The client's own id of the agent.")] agent: String,
        #[graphql(desc = "Only on this channel.")] channel: Option<String>,
    ) -> Result<impl Stream<Item = Result<ReadyTurn>> + use<>> {
        let reading = Reading::for_roles(ctx, &[Role::Writer, Role::Reader])?;
        Ok(ready_turn::listen(reading, agent, channel))
    }
}

/// Where the records of a session begin, so that nobody reads the ledger from its beginning for one session. What the
/// read model has not taken in yet is read from the ledger.
///
/// Each subscription reads every new record of its ledger and keeps those of its session. That is right for many
/// subscribers of quiet ledgers and wasteful for many of a busy one; one reader for all of them would take its place.
async fn first_position(reading: &Reading, session: SessionId) -> Result<Position> {
    // Looked at before the rows, so that what comes in between is behind it.
    let states = reading.services.runner.progress().states(reading.ledger);
    let found = sessions::get(reading.store(), reading.ledger, session).await;
    let found = found.map_err(|error| of_read_store(&error))?;
    let state = states.iter().find(|state| state.projection == "sessions");
    let taken_in = state.and_then(|state| state.checkpoint.position);
    let beginning = Position::new(Epoch::FIRST.0, 0);
    Ok(found
        .map(|session| session.first_position)
        .or(taken_in)
        .unwrap_or(beginning))
}
