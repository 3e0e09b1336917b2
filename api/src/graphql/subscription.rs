//! The root of subscriptions: what was recorded and what is being recorded, in one stream without a gap.

use async_graphql::{Context, ID, Result, Subscription as SubscriptionRoot};
use futures_util::{Stream, StreamExt};
use ruche_domain::ids::SessionId;
use ruche_domain::numbers::{Epoch, Position};
use ruche_ledger::subscribe::subscribe;

use super::errors::{fault, of_store};
use super::ledger::{services, with_states};
use super::query::require;
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
        let ledger = require(ctx, &[Role::Reader])?.ledger();
        let session: SessionId = session_id
            .parse()
            .map_err(|_| fault(code::INVALID_ARGUMENT, "`sessionId` is no id of a session"))?;
        let from = from.map_or(Position::new(Epoch::FIRST.0, 0), |from| from.0);
        let services = services(ctx).clone();
        let records = subscribe(services.events.clone(), ledger, from);
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
}
