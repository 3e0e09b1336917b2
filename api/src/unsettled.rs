//! Effects that were started and of which a ledger has no result. After a restore that lost records nobody but the tools
//! knows how they came out, so somebody has to ask there.
//!
//! Read from the ledger itself: read models are rebuilt after a restore, and may be behind. One page is in memory at a time,
//! and a place for each call that was started and has no result. Calls that were proposed and never started are many, so
//! what a call was proposed with is looked up in the end, in its stream.

use std::collections::HashMap;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::infra::EpochReason;
use ruche_domain::ids::{CallId, LedgerId};
use ruche_domain::limits::READ_RECORDS_MAX;
use ruche_domain::numbers::{LeafIndex, Position, StreamVersion};
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::StreamId;
use ruche_ledger::store::{EventStore, Record, StoreError};
use serde::Serialize;

use crate::out::{Table, time};

/// How far an effect without a result came, as the ledger has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It was started.
    Started,
    /// It was started, and somebody said that the outcome is not known.
    OutcomeUnknown,
    /// It was done, and undoing it was started.
    Undoing,
}

impl Standing {
    const fn words(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::OutcomeUnknown => "outcome unknown",
            Self::Undoing => "undoing",
        }
    }
}

/// An effect without a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unsettled {
    /// Whose ledger it is in.
    pub ledger: LedgerId,
    /// Its turn, if it belongs to one.
    pub turn: Option<String>,
    /// Its call.
    pub call: CallId,
    /// How far it came.
    pub standing: Standing,
    /// The tool that was started last: for the effect, or to undo it. Nothing where that is erased.
    pub tool: Option<String>,
    /// The business key of the call.
    pub business_key: Option<String>,
    /// The key that the tool was given to tell a repeat: what to ask it for.
    pub effect_key: Option<String>,
    /// When the start was recorded, RFC 3339.
    pub started_at: String,
    /// The record of the start.
    pub position: String,
}

/// What has begun and did not end.
#[derive(Clone, Copy)]
struct Begun {
    at: Position,
    standing: Standing,
    stream: StreamId,
    version: StreamVersion,
}

/// The tool and the business key that a call was proposed with.
type Proposals = HashMap<CallId, (String, Option<String>)>;

/// What is known of calls that have no result, up to a record.
#[derive(Default)]
struct Calls {
    begun: HashMap<CallId, Begun>,
}

impl Calls {
    /// A simulated event has another type, and begins nothing in the world.
    fn take(&mut self, record: &Record) {
        let header = &record.leaf.event;
        let (Some(call), at) = (header.call, record.position) else {
            return;
        };
        let begun = |standing| Begun {
            at,
            standing,
            stream: header.stream,
            version: record.leaf.stream_version,
        };
        match header.event_type.as_str() {
            "tool.started" => {
                self.begun.insert(call, begun(Standing::Started));
            }
            "tool.compensation_started" => {
                self.begun.insert(call, begun(Standing::Undoing));
            }
            "tool.outcome_unknown" => {
                let known = self.begun.entry(call);
                known.or_insert(begun(Standing::OutcomeUnknown)).standing = Standing::OutcomeUnknown;
            }
            "tool.completed"
            | "tool.failed"
            | "tool.outcome_asserted"
            | "tool.not_executed"
            | "tool.compensated"
            | "tool.compensation_failed" => {
                self.begun.remove(&call);
            }
            _ => {}
        }
    }
}

/// The effects of a ledger that were started and have no result, in the order of their starts; with `before`, those alone
/// that were started before that record. Calls of tools that change nothing are left out.
///
/// # Errors
/// If the ledger cannot be read.
pub async fn without_result(
    events: &dyn EventStore,
    ledger: LedgerId,
    before: Option<Position>,
) -> Result<Vec<Unsettled>, StoreError> {
    let (mut calls, mut from) = (Calls::default(), Position::START);
    loop {
        let page = events.read_ledger(ledger, from, READ_RECORDS_MAX).await?;
        let Some(last) = page.last() else { break };
        from = last.position.next();
        page.iter().for_each(|record| calls.take(record));
    }
    let mut begun: Vec<_> = calls.begun.into_iter().collect();
    begun.retain(|(_, begun)| before.is_none_or(|before| begun.at < before));
    begun.sort_by_key(|(_, begun)| begun.at);
    let mut proposals = proposals(events, ledger, &begun).await?;
    let mut unsettled = Vec::new();
    for (call, begun) in begun {
        let start = event_at(events, ledger, begun.at).await?;
        unsettled.extend(of_call(ledger, call, begun, start, proposals.remove(&call)));
    }
    Ok(unsettled)
}

/// What these calls were proposed with: before they were started, and in the same stream, each of which is read once.
async fn proposals(
    events: &dyn EventStore,
    ledger: LedgerId,
    begun: &[(CallId, Begun)],
) -> Result<Proposals, StoreError> {
    let mut starts: HashMap<StreamId, HashMap<CallId, StreamVersion>> = HashMap::new();
    for (call, begun) in begun {
        let of_stream = starts.entry(begun.stream).or_default();
        of_stream.insert(*call, begun.version);
    }
    let mut proposals = Proposals::new();
    for (stream, calls) in starts {
        let end = calls.values().max().copied().unwrap_or(StreamVersion::FIRST);
        let mut from = StreamVersion::FIRST;
        while from < end {
            let page = events.read_stream(ledger, stream, from, READ_RECORDS_MAX).await?;
            let Some(last) = page.last() else { break };
            from = last.leaf.stream_version.next();
            for record in &page {
                let header = &record.leaf.event;
                if let Some(call) = header.call
                    && header.event_type == "tool.proposed"
                    && calls.contains_key(&call)
                    && let Some(AgentEvent::ToolProposed(proposed)) = event_of(record)
                {
                    proposals.insert(call, (proposed.name, proposed.business_key));
                }
            }
        }
    }
    Ok(proposals)
}

/// The record at a place, with its payload if that is there and can be read.
async fn event_at(
    events: &dyn EventStore,
    ledger: LedgerId,
    at: Position,
) -> Result<(Record, Option<AgentEvent>), StoreError> {
    let record = events.read_ledger(ledger, at, 1).await?.into_iter().next();
    let record = record.ok_or_else(|| StoreError::Corrupt {
        place: format!("record {at}"),
        reason: "it was there and is not any more".to_owned(),
    })?;
    let event = event_of(&record);
    Ok((record, event))
}

/// The payload of a record. One that is erased, or of a newer version, belongs to an effect all the same.
fn event_of(record: &Record) -> Option<AgentEvent> {
    let header = &record.leaf.event;
    let read = |bytes| AgentEvent::from_payload(&header.event_type, header.schema_version, bytes).ok();
    record.payload_bytes().and_then(read)
}

fn of_call(
    ledger: LedgerId,
    call: CallId,
    begun: Begun,
    (record, start): (Record, Option<AgentEvent>),
    proposed: Option<(String, Option<String>)>,
) -> Option<Unsettled> {
    let (proposed_tool, business_key) = proposed.map_or((None, None), |(tool, key)| (Some(tool), key));
    let (tool, effect_key) = match start {
        Some(AgentEvent::ToolStarted(start)) if start.side_effect == Some(SideEffectPolicy::Pure) => {
            return None;
        }
        Some(AgentEvent::ToolStarted(start)) => (Some(start.name), start.idempotency_key),
        Some(AgentEvent::ToolCompensationStarted(start)) => {
            (Some(start.compensation_tool), start.idempotency_key)
        }
        _ => (proposed_tool, None),
    };
    Some(Unsettled {
        ledger,
        turn: record.leaf.event.turn.map(|turn| turn.to_string()),
        call,
        standing: begun.standing,
        tool,
        business_key,
        effect_key,
        started_at: time(record.leaf.recorded_at),
        position: begun.at.to_string(),
    })
}

/// Record 0 of the last epoch that was opened because records were restored; nothing where none was.
///
/// # Errors
/// If the ledger cannot be read.
pub async fn last_restore(events: &dyn EventStore, ledger: LedgerId) -> Result<Option<Position>, StoreError> {
    for epoch in events.epochs(ledger).await?.iter().rev() {
        let first = Position {
            epoch: epoch.epoch,
            index: LeafIndex(0),
        };
        if let (_, Some(AgentEvent::InfraLedgerOpened(opened))) = event_at(events, ledger, first).await?
            && opened.reason == EpochReason::Restored
        {
            return Ok(Some(first));
        }
    }
    Ok(None)
}

/// What a person is told of them.
pub fn text(unsettled: &[Unsettled]) -> String {
    if unsettled.is_empty() {
        return "Every effect that was started has a result in the ledger.".to_owned();
    }
    let mut table = Table::new([
        "started",
        "standing",
        "tool",
        "business key",
        "key at the tool",
        "turn",
        "call",
    ]);
    let or_none = |told: &Option<String>| told.clone().unwrap_or_else(|| "–".to_owned());
    for effect in unsettled {
        table.row([
            effect.started_at.clone(),
            effect.standing.words().to_owned(),
            or_none(&effect.tool),
            or_none(&effect.business_key),
            or_none(&effect.effect_key),
            or_none(&effect.turn),
            effect.call.to_string(),
        ]);
    }
    format!(
        "Effects that were started and have no result in the ledger. Ask the tools how they came out; once the lease of a \
         call is over, `resolveOutcome` says so.\n{table}"
    )
}

impl std::fmt::Display for Unsettled {
    /// One line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = |told: &Option<String>| told.clone().unwrap_or_else(|| "unknown".to_owned());
        write!(
            f,
            "{} at {} by {} with business key {}, turn {}; it has no result",
            self.standing.words(),
            self.started_at,
            known(&self.tool),
            known(&self.business_key),
            known(&self.turn)
        )
    }
}
