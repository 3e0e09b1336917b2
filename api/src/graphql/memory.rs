//! What agents remember: what was known when, what held when, and why it is believed.

mod nearest;
mod uses;

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, InputObject, Object, OneofObject, Result, SimpleObject};
use ruche_domain::ids::{EventId, SessionId, TurnId};
use ruche_domain::numbers::{Micros, Position};
use ruche_projections::memory::{self, KnownAt};
use ruche_projections::runner::ProjectionState;
use ruche_replay::position_at;

use super::errors::{fault, of_store};
use super::page::{Cursor, Page, bad_cursor, cost};
use super::read::{Asked, Loading, Reading};
use super::record::Record;
use super::replay::of_replay;
use super::scalars::{DateTime, Hash, Json, PositionScalar};
use super::session::{Session, id, parse_id};
use super::turn::Turn;
use super::words::{FactEndKind, FactStatus, InvalidationReason};
use crate::error_codes as code;

pub(super) use nearest::{MemoryFilter, NearestFacts, NearestQuestion, nearest};
pub(super) use uses::{InvalidatedFacts, MemoryUse, MemoryUseFilter, invalidated, uses};

/// What fields of memory and those below them read.
const MODELS: &[&str] = &["memory", "timeline", "turns", "sessions"];

/// A moment in the ledger.
#[derive(OneofObject)]
pub(super) enum AsOf {
    /// When the ledger had this record.
    Position(PositionScalar),
    /// When the ledger had all that it took until then.
    Time(DateTime),
}

/// Of what memory is asked.
pub(super) struct MemoryQuestion {
    pub about: ID,
    pub valid_at: Option<DateTime>,
    pub known_at: Option<AsOf>,
    pub attribute: Option<String>,
    pub store: Option<String>,
}

/// Which versions of facts; all conditions have to hold.
#[derive(InputObject, Default)]
pub(super) struct FactFilter {
    /// About this: the client's own id.
    about: Option<ID>,
    /// This attribute.
    attribute: Option<String>,
    /// Of this store: the client's own id.
    store: Option<String>,
    /// Of the record with this id of the client.
    record_id: Option<ID>,
    /// Resting on this: id of an event of the ledger, or name of a source outside, as it was told.
    source: Option<String>,
    /// Drawn by this extractor.
    extractor_digest: Option<Hash>,
    /// Written by this turn.
    turn_id: Option<ID>,
    /// Written in this session.
    session_id: Option<ID>,
    /// Standing so. Another one than `CANDIDATE` and `DROPPED` needs another condition beside it.
    status: Option<FactStatus>,
    /// With all of these words, in any order and case. At most 16 of them count; none of their characters is an operator.
    text: Option<String>,
}

impl FactFilter {
    fn read(self) -> Result<memory::FactFilter> {
        let turn = self.turn_id.map(|id| parse_id::<TurnId>("turnId", &id));
        let session = self.session_id.map(|id| parse_id::<SessionId>("sessionId", &id));
        Ok(memory::FactFilter {
            about: self.about.map(|id| id.0),
            attribute: self.attribute,
            store: self.store,
            record_id: self.record_id.map(|id| id.0),
            source: self.source,
            extractor: self.extractor_digest.map(|digest| hex::encode(digest.0)),
            turn: turn.transpose()?,
            session: session.transpose()?,
            status: self.status.map(Into::into),
            text: self.text,
        })
    }
}

/// A place in the ledger and its time.
#[derive(SimpleObject)]
pub(super) struct Moment {
    /// The record.
    position: PositionScalar,
    /// When the ledger took it.
    at: DateTime,
}

impl Moment {
    fn new((position, at): (Position, Micros)) -> Self {
        Self {
            position: PositionScalar(position),
            at: DateTime(at),
        }
    }
}

/// What ended a version of a fact, or the time in which it holds.
pub(super) struct FactEnd(memory::FactEnd);

/// What ended a version of a fact, or the time in which it holds.
#[Object]
impl FactEnd {
    /// What it is.
    async fn kind(&self) -> FactEndKind {
        self.0.kind.into()
    }

    /// Why it was taken back.
    async fn reason(&self) -> Option<InvalidationReason> {
        self.0.reason.map(Into::into)
    }

    /// The reason in words.
    async fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// The client's own id of the record that contradicts it, or stands for it.
    async fn by_record_id(&self) -> Option<ID> {
        self.0.by_record.as_deref().map(id)
    }

    /// SHA-256 of the program, prompt and model that decided it.
    async fn extractor_digest(&self) -> Option<&str> {
        self.0.extractor.as_deref()
    }

    /// Where that became known.
    async fn known_from(&self) -> Moment {
        Moment::new((self.0.known, self.0.known_at))
    }

    /// The record of the ledger that says so.
    #[graphql(complexity = "5 + child_complexity")]
    async fn source(&self, ctx: &Context<'_>) -> Result<Option<Record>> {
        ctx.data_unchecked::<Loading>().load_one(self.0.position).await
    }

    /// Id of the turn that said so.
    async fn turn_id(&self) -> Option<ID> {
        self.0.turn.map(id)
    }
}

/// What a fact rests on: an event of the ledger, or a source outside.
#[derive(Clone, Default)]
pub(super) struct FactSource {
    event: Option<EventId>,
    position: Option<Position>,
    name: Option<String>,
}

/// What a fact rests on: an event of the ledger, or a source outside.
#[Object]
impl FactSource {
    /// Id of the event.
    async fn event_id(&self) -> Option<ID> {
        self.event.map(id)
    }

    /// Where it stands; nothing where the ledger has no such event of a session or of a client's own stream.
    async fn position(&self) -> Option<PositionScalar> {
        self.position.map(PositionScalar)
    }

    /// Its record.
    #[graphql(complexity = "5 + child_complexity")]
    async fn record(&self, ctx: &Context<'_>) -> Result<Option<Record>> {
        match self.position {
            Some(position) => ctx.data_unchecked::<Loading>().load_one(position).await,
            None => Ok(None),
        }
    }

    /// Name of a source outside the ledger, as the writer told it.
    async fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

async fn turn_of(ctx: &Context<'_>, turn: Option<TurnId>) -> Result<Option<Turn>> {
    let Some(turn) = turn else { return Ok(None) };
    Reading::below(ctx, "turns")?;
    Ok(ctx.data_unchecked::<Loading>().load_one(turn).await?.map(Turn))
}

/// A version of a fact, as it stood at the moment that was asked for.
pub(super) struct Fact(memory::Fact);

impl Fact {
    /// What it rests on behind a cursor, each with its place. What a version rests on never changes, so a place is a good name.
    fn sources_behind(&self, after: Option<&str>) -> Result<Vec<(usize, FactSource)>> {
        let behind = after.map(|place| place.parse::<usize>().map_err(|_| bad_cursor()));
        let events = self.0.sources.iter().map(|event| FactSource {
            event: Some(*event),
            ..FactSource::default()
        });
        let names = self.0.refs.iter().map(|name| FactSource {
            name: Some(name.clone()),
            ..FactSource::default()
        });
        let skipped = behind.transpose()?.map_or(0, |place| place.saturating_add(1));
        Ok(events.chain(names).enumerate().skip(skipped).collect())
    }
}

/// A version of a fact, as it stood at the moment that was asked for.
#[Object]
impl Fact {
    /// The record of the ledger that wrote it, which names the version.
    async fn position(&self) -> PositionScalar {
        PositionScalar(self.0.position)
    }

    /// The client's own id of the record that it is a version of.
    async fn record_id(&self) -> ID {
        id(&self.0.record_id)
    }

    /// The client's own id of the store.
    async fn store(&self) -> Option<&str> {
        self.0.store.as_deref()
    }

    /// The client's own id of whom or what it is about.
    async fn about(&self) -> Option<ID> {
        self.0.about.as_deref().map(id)
    }

    /// Name of the attribute or relation.
    async fn attribute(&self) -> Option<&str> {
        self.0.attribute.as_deref()
    }

    /// What it says, in words or as data.
    async fn content(&self) -> Json {
        Json(self.0.content.clone())
    }

    /// How sure the writer was, from 0 to 1.
    async fn confidence(&self) -> Option<f64> {
        self.0.confidence.map(|confidence| confidence.get())
    }

    /// SHA-256 of the program, prompt and model that drew it from its sources.
    async fn extractor_digest(&self) -> Option<&str> {
        self.0.extractor.as_deref()
    }

    /// From when it holds; open if absent.
    async fn valid_from(&self) -> Option<DateTime> {
        self.0.valid_from.map(DateTime)
    }

    /// Until when it holds, as far as that was known at the moment that was asked for; open if absent.
    async fn valid_to(&self) -> Option<DateTime> {
        self.0.valid_to().map(DateTime)
    }

    /// Where it became known; nothing where it is not known yet, or never was.
    async fn known_from(&self) -> Option<Moment> {
        self.0.known.zip(self.0.known_at).map(Moment::new)
    }

    /// Where it was not known any more; nothing where it is.
    async fn known_until(&self) -> Option<Moment> {
        let end = self.0.forgotten_by();
        end.map(|end| Moment::new((end.known, end.known_at)))
    }

    /// Where it stands.
    async fn status(&self) -> FactStatus {
        self.0.status().into()
    }

    /// What ended it, or the time in which it holds.
    async fn ended_by(&self) -> Option<FactEnd> {
        self.0.ended_by().cloned().map(FactEnd)
    }

    /// Its record in the ledger.
    #[graphql(complexity = "5 + child_complexity")]
    async fn source(&self, ctx: &Context<'_>) -> Result<Option<Record>> {
        ctx.data_unchecked::<Loading>().load_one(self.0.position).await
    }

    /// Id of its event.
    async fn event_id(&self) -> ID {
        id(self.0.event_id)
    }

    /// Type of its event.
    async fn r#type(&self) -> &str {
        &self.0.event_type
    }

    /// What it rests on, as its writer said, each once: events of the ledger, then sources outside. Of each the first thousand.
    #[graphql(complexity = "5 + cost(first, child_complexity)")]
    async fn rests_on(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Cursor, FactSource>> {
        Reading::below(ctx, "memory")?;
        let page = Page::new("source", first, after.as_deref())?;
        let sources = self.sources_behind(page.after.as_deref())?;
        let sources = &sources[..sources.len().min(page.limit())];
        let events = sources.iter().filter_map(|(_, source)| source.event);
        let positions = ctx.data_unchecked::<Loading>().load_many(events).await?;
        let items = sources.iter().map(|(place, source)| {
            let position = source.event.and_then(|event| positions.get(&event).copied());
            let cursor = Cursor::new("source", &place.to_string());
            (
                cursor,
                FactSource {
                    position,
                    ..source.clone()
                },
            )
        });
        Ok(page.connection(items.collect()))
    }

    /// All versions of its record as they stand now, in the order in which they were written.
    #[graphql(complexity = "20 + cost(first, child_complexity)")]
    async fn history(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Cursor, Fact>> {
        let reading = Reading::below(ctx, "memory")?;
        let asked = Asked::new("fact", first, after.as_deref())?;
        let versions = memory::history(reading.store(), reading.ledger, &self.0, &asked.request).await;
        asked.connection(versions, Fact)
    }

    /// The searches and retrievals that gave it: those of its record from where this version became known to where the
    /// next one did.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn used_by(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Cursor, MemoryUse>> {
        let reading = Reading::below(ctx, "memory")?;
        let asked = Asked::new("use", first, after.as_deref())?;
        let uses = memory::used_by(reading.store(), reading.ledger, &self.0, &asked.request).await;
        asked.connection(uses, MemoryUse)
    }

    /// The turn that wrote it.
    async fn turn(&self, ctx: &Context<'_>) -> Result<Option<Turn>> {
        turn_of(ctx, self.0.turn).await
    }

    /// Id of that turn.
    async fn turn_id(&self) -> Option<ID> {
        self.0.turn.map(id)
    }

    /// The session that it was written in.
    async fn session(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        let Some(session) = self.0.session else {
            return Ok(None);
        };
        Reading::below(ctx, "sessions")?;
        let found = ctx.data_unchecked::<Loading>().load_one(session).await?;
        Ok(found.map(Session))
    }

    /// Id of that session.
    async fn session_id(&self) -> Option<ID> {
        self.0.session.map(id)
    }

    /// When it was written, by the clock of who wrote it.
    async fn occurred_at(&self) -> DateTime {
        DateTime(self.0.occurred_at)
    }
}

/// What was known at a moment of what holds at another.
pub(super) async fn known(
    ctx: &Context<'_>,
    question: MemoryQuestion,
    (first, after): (Option<i32>, Option<&str>),
    min_position: Option<PositionScalar>,
) -> Result<Connection<Cursor, Fact>> {
    let reading = Reading::at(ctx, MODELS, min_position).await?;
    let asked = Asked::new("fact", first, after)?;
    let (known_at, then) = moment(&reading, question.known_at).await?;
    let question = memory::Asked {
        about: question.about.0,
        valid_at: question.valid_at.map_or(then, |time| time.0),
        known_at,
        attribute: question.attribute,
        store: question.store,
    };
    let facts = memory::known(reading.store(), reading.ledger, &question, &asked.request).await;
    asked.connection(facts, Fact)
}

/// The time of this node, or that of the last record that the read model holds: what another node, whose clock is ahead, has taken
/// as holding from now on is not in the future.
fn now(clock: Micros, states: &[ProjectionState]) -> Micros {
    let memory = states.iter().filter(|state| state.projection == MODELS[0]);
    memory
        .map(|state| state.checkpoint.recorded_at)
        .fold(clock, Micros::max)
}

/// What may be known, and the time of that. The read model has to hold all of it, or the answer would be another one later.
async fn moment(reading: &Reading, as_of: Option<AsOf>) -> Result<(KnownAt, Micros)> {
    let (services, ledger) = (&reading.services, reading.ledger);
    match as_of {
        None => {
            let states = services.runner.progress().states(ledger);
            Ok((KnownAt::Now, now(services.clock.now(), &states)))
        }
        Some(AsOf::Time(DateTime(time))) => {
            let found = position_at(&*services.events, ledger, time).await;
            let found = found.map_err(|error| of_replay(&error))?;
            reading.wait_if(MODELS, found.map(PositionScalar)).await?;
            Ok((KnownAt::Time(time), time))
        }
        Some(AsOf::Position(PositionScalar(position))) => {
            let found = services.events.read_ledger(ledger, position, 1).await;
            let found = found.map_err(|error| of_store(&error))?;
            let record = found.first().filter(|record| record.position == position);
            let record = record.ok_or_else(|| {
                fault(
                    code::NOT_FOUND,
                    format!("`knownAt` is {position}, and the ledger has no such record"),
                )
            })?;
            reading.wait_if(MODELS, Some(PositionScalar(position))).await?;
            Ok((KnownAt::Position(position), record.leaf.recorded_at))
        }
    }
}

/// Versions of facts.
pub(super) async fn facts(
    ctx: &Context<'_>,
    filter: Option<FactFilter>,
    (first, after): (Option<i32>, Option<&str>),
    min_position: Option<PositionScalar>,
) -> Result<Connection<Cursor, Fact>> {
    let reading = Reading::at(ctx, MODELS, min_position).await?;
    let asked = Asked::new("fact", first, after)?;
    let filter = filter.unwrap_or_default().read()?;
    if !filter.has_index() {
        let message =
            "`status` alone is CANDIDATE or DROPPED; any other one needs another condition beside it";
        return Err(fault(code::INVALID_ARGUMENT, message));
    }
    let facts = memory::facts(reading.store(), reading.ledger, &filter, &asked.request).await;
    asked.connection(facts, Fact)
}

#[cfg(test)]
mod tests {
    use ruche_projections::store::ProjectionCheckpoint;

    use super::*;

    fn state(projection: &'static str, recorded_at: u64) -> ProjectionState {
        let checkpoint = ProjectionCheckpoint {
            recorded_at: Micros(recorded_at),
            ..ProjectionCheckpoint::default()
        };
        ProjectionState {
            projection,
            checkpoint,
            parked: None,
            paused: false,
        }
    }

    #[test]
    fn now_is_not_before_what_the_read_model_holds() {
        let states = [state("turns", 90), state("memory", 50)];
        assert_eq!(now(Micros(40), &states), Micros(50), "the clock is behind");
        assert_eq!(now(Micros(60), &states), Micros(60));
        assert_eq!(now(Micros(60), &[]), Micros(60));
    }
}
