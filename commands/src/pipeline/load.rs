//! Loading: the streams that a command looks at, folded into its state.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use ruche_domain::limits::{NEWEST_PAGE_RECORDS, READ_RECORDS_MAX};
use ruche_domain::numbers::{Micros, StreamVersion};
use ruche_domain::stream::StreamId;
use ruche_ledger::store::{Expectation, ExpectedVersion, Record};

use super::recent::Kept;
use super::{Commands, recorded};
use crate::command::{Command, Depth, Load, PastEvent, Seen};
use crate::context::{CommandContext, Ground};
use crate::error::CommandError;

/// What a command is decided on.
pub(super) struct Loaded<S> {
    pub state: S,
    pub guards: Vec<Expectation>,
    /// When the last event of the lane was decided. Nothing is decided at an earlier time, so the time of a lane goes
    /// forward though its nodes have clocks of their own.
    pub lane_time: Micros,
}

impl Commands {
    pub(super) async fn load<C: Command>(
        &self,
        context: &CommandContext,
        command: &C,
        loads: &[Load],
        ground: &Ground<'_>,
    ) -> Result<Loaded<C::State>, CommandError> {
        let mut state = C::State::default();
        let mut guards = Vec::new();
        let mut lane_time = Micros(0);
        let mut waiting: VecDeque<Load> = loads.iter().copied().collect();
        let mut known: HashSet<StreamId> = loads.iter().map(|load| load.stream).collect();
        loop {
            let Some(load) = waiting.pop_front() else {
                let more = command.more_loads(&state, ground);
                waiting.extend(more.into_iter().filter(|load| known.insert(load.stream)));
                if waiting.is_empty() {
                    return Ok(Loaded {
                        state,
                        guards,
                        lane_time,
                    });
                }
                continue;
            };
            let version = match load.depth {
                Depth::Version => self.store.stream_version(context.ledger, load.stream).await?,
                Depth::First => {
                    for record in self.range(context, load.stream, 0, 1).await? {
                        command.evolve(&mut state, &past(record)?);
                    }
                    continue;
                }
                Depth::Whole => {
                    let last = self.whole(context, command, &mut state, load.stream).await?;
                    if load.goes_forward {
                        lane_time = last.map_or(lane_time, |(_, at)| lane_time.max(at));
                    }
                    last.map(|(version, _)| version)
                }
                Depth::Newest => self.newest(context, command, &mut state, load.stream).await?,
            };
            let stream = load.stream;
            command.seen(&mut state, Seen { stream, version });
            if load.guarded {
                let version = version.map_or(ExpectedVersion::NoStream, ExpectedVersion::Exact);
                guards.push(Expectation { stream, version });
            }
        }
    }

    /// All events of a stream: those that are kept of it, and from the store the others. Tells the last one's version and
    /// when it happened.
    async fn whole<C: Command>(
        &self,
        context: &CommandContext,
        command: &C,
        state: &mut C::State,
        stream: StreamId,
    ) -> Result<Option<(StreamVersion, Micros)>, CommandError> {
        let (ledger, now) = (context.ledger, self.clock.now());
        let mut kept = self.recent.get(ledger, stream, now);
        let fresh = match self.behind(context, stream, kept.last()).await? {
            Some(fresh) => fresh,
            None => {
                self.recent.forget(ledger, stream);
                kept = Kept::default();
                let all = self.behind(context, stream, None).await?;
                all.expect("nothing is asked of a stream of which nothing is known")
            }
        };
        let events = kept.iter().chain(&fresh);
        events.for_each(|event| command.evolve(state, event));
        let last = fresh.last().or(kept.last());
        let last = last.map(|last| (last.version, last.recorded.event.occurred_at));
        self.recent.put((ledger, stream), kept, fresh, now);
        Ok(last)
    }

    /// The events of a stream behind one that is known, or all of them. Reads from that one on, so that the store says
    /// that it still stands there; nothing where it does not.
    async fn behind(
        &self,
        context: &CommandContext,
        stream: StreamId,
        known: Option<&Arc<PastEvent>>,
    ) -> Result<Option<Vec<Arc<PastEvent>>>, CommandError> {
        let mut events = Vec::new();
        let mut from = known.map_or(StreamVersion::FIRST, |known| known.version);
        let mut unseen = known;
        loop {
            let page = self
                .store
                .read_stream(context.ledger, stream, from, READ_RECORDS_MAX)
                .await?;
            let mut records = page.into_iter();
            if let Some(known) = unseen.take() {
                let first = records.next();
                // Its hash covers all records before it, so what stands before it is what is kept, too.
                if first.is_none_or(|first| first.leaf_hash() != known.recorded.receipt.leaf_hash) {
                    return Ok(None);
                }
                from = known.version.next();
                if records.len() == 0 {
                    continue;
                }
            }
            let before = events.len();
            for record in records {
                from = record.leaf.stream_version.next();
                events.push(Arc::new(past(record)?));
            }
            if events.len() == before {
                return Ok(Some(events));
            }
        }
    }

    async fn newest<C: Command>(
        &self,
        context: &CommandContext,
        command: &C,
        state: &mut C::State,
        stream: StreamId,
    ) -> Result<Option<StreamVersion>, CommandError> {
        let version = self.store.stream_version(context.ledger, stream).await?;
        // First record that was not yet looked at, counted from the end.
        let mut end = version.map_or(0, |v| v.0 + 1);
        while end > 0 {
            let start = end.saturating_sub(NEWEST_PAGE_RECORDS);
            let page = self.range(context, stream, start, end).await?;
            for record in page.into_iter().rev() {
                if command.is_settled(state, stream) {
                    return Ok(version);
                }
                command.evolve(state, &past(record)?);
            }
            end = start;
        }
        Ok(version)
    }

    /// Records of a stream from version `start` up to, without, `end`. An engine ends a read early where payloads are
    /// large, so it may take several.
    async fn range(
        &self,
        context: &CommandContext,
        stream: StreamId,
        start: u64,
        end: u64,
    ) -> Result<Vec<Record>, CommandError> {
        let mut records: Vec<Record> = Vec::new();
        let mut from = start;
        while from < end {
            let wanted = usize::try_from(end - from).unwrap_or(READ_RECORDS_MAX);
            let page = self
                .store
                .read_stream(context.ledger, stream, StreamVersion(from), wanted)
                .await?;
            let Some(last) = page.last() else { break };
            from = last.leaf.stream_version.0 + 1;
            records.extend(page);
        }
        Ok(records)
    }
}

fn past(mut record: Record) -> Result<PastEvent, CommandError> {
    let version = record.leaf.stream_version;
    let origin = std::mem::take(&mut record.leaf.origin);
    let recorded = recorded(record);
    let event = recorded.agent_event().map_err(|error| {
        // Which record of which stream it is, the operator's log has to say.
        let (stream, position) = (recorded.event.stream, recorded.receipt.position);
        match error {
            CommandError::Internal(source) => {
                CommandError::Internal(format!("{stream} cannot be decided on: {position}: {source}").into())
            }
            other => other,
        }
    })?;
    Ok(PastEvent::new(recorded, origin, version, event))
}
