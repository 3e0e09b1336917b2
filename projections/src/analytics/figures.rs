//! What an event adds, and to which rows.

use ruche_domain::envelope::Provenance;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::ApprovalOutcome;
use ruche_domain::measures::Usage;
use ruche_domain::stream::Category;

use super::family::{
    APPROVALS, COSTS, INGEST, MODEL_LATENCY, MODELS, SCORES, SINCE_OPENED, SINCE_REQUESTED, SINCE_SEALED,
    SINCE_START, TOOL_LATENCY, TOOLS, TURN_LATENCY, TURNS,
};
use super::metric::Measure;
use super::{Grain, bins};
use crate::change::SqlValue;
use crate::counter::Upsert;
use crate::event::ProjectedEvent;
use crate::money::Money;
use crate::projection::PoisonReason;
use crate::tally::{self, Tally};
use crate::{bounds, usage};

/// An event that the ledger took so much later than it happened is late, unless it was imported.
const LATE_US: i64 = 60_000_000;

/// An addition to the rows of a family, one at every grain.
pub(super) struct Addition {
    pub(super) about: Vec<[u8; 16]>,
    pub(super) upsert: &'static Upsert,
    pub(super) sums: Vec<i64>,
    pub(super) money: Option<Money>,
    /// The time that says which rows.
    at: i64,
    /// Whether the family is told apart by who its rows are about.
    of_someone: bool,
    /// The parameters of the key behind those.
    tail: Vec<SqlValue>,
}

impl Addition {
    /// The parameters of the key of the rows. All that happens in a minute is one addition.
    pub(super) fn key(&self, event: &ProjectedEvent) -> Vec<SqlValue> {
        let ledger = || SqlValue::from(event.ledger_key());
        let minute = Grain::Minute.start(self.at);
        let mut key = vec![ledger(), minute.into(), minute.into()];
        if self.of_someone {
            let session: SqlValue = session(event).into();
            for _ in 0..3 {
                key.extend([ledger(), session.clone()]);
            }
            let config = event.header().config_digest.map(|digest| digest_text(&digest));
            key.extend([
                ledger(),
                lane_turn(event).into(),
                config.unwrap_or_default().into(),
            ]);
        }
        key.extend(self.tail.iter().cloned());
        key
    }
}

fn digest_text(digest: &[u8; 32]) -> String {
    ruche_domain::measures::Digest(*digest).to_string()
}

fn session(event: &ProjectedEvent) -> Option<[u8; 16]> {
    event.header().session.map(|id| *id.as_bytes())
}

fn call(event: &ProjectedEvent) -> Option<[u8; 16]> {
    event.header().call.map(|id| *id.as_bytes())
}

/// The turn, where something is known of it: that of a lane. What its worker says of it, such as model calls, and what others
/// think of it, such as scores, stands elsewhere; the id of the turn says whose it is.
fn lane_turn(event: &ProjectedEvent) -> Option<[u8; 16]> {
    let is_of_lane = matches!(
        event.header().stream.category,
        Category::Lane | Category::Approval
    );
    event
        .header()
        .turn
        .filter(|turn| is_of_lane || turn.is_governed())
        .map(|id| *id.as_bytes())
}

/// All that the event adds.
pub(super) fn of(event: &ProjectedEvent) -> Result<Vec<Addition>, PoisonReason> {
    let mut all = Additions {
        event,
        all: Vec::new(),
    };
    let tally = Tally::of(event)?;
    if tally.llm_calls > 0 {
        all.model_call(&tally)?;
    }
    match event.family() {
        "tool" => all.tool(&tally)?,
        "turn" => all.turn(&tally)?,
        "approval" if event.header().stream.category == Category::Approval => all.approval()?,
        "eval" => all.score()?,
        _ => {}
    }
    all.intake()?;
    Ok(all.all)
}

struct Additions<'a> {
    event: &'a ProjectedEvent,
    all: Vec<Addition>,
}

impl Additions<'_> {
    fn add(
        &mut self,
        upsert: &'static Upsert,
        tail: Vec<SqlValue>,
        sums: Vec<i64>,
    ) -> Result<(), PoisonReason> {
        let about = [session(self.event), lane_turn(self.event)];
        self.all.push(Addition {
            about: about.into_iter().flatten().collect(),
            upsert,
            sums,
            money: None,
            at: self.event.occurred_at()?,
            of_someone: true,
            tail,
        });
        Ok(())
    }

    /// Has the last addition depend on one more thing.
    fn given(&mut self, id: Option<[u8; 16]>) {
        if let Some(last) = self.all.last_mut() {
            last.about.extend(id);
        }
    }

    fn with_money(&mut self, money: Money) {
        if let Some(last) = self.all.last_mut() {
            last.money = Some(money);
        }
    }

    fn model_call(&mut self, tally: &Tally) -> Result<(), PoisonReason> {
        let model = usage::model(self.event)?;
        // Prices change at full minutes, so that the calls of a minute are one row.
        let minute = Grain::Minute.start(self.event.occurred_at()?);
        let tail = vec![
            model.clone().into(),
            self.event.ledger_key().into(),
            minute.into(),
        ];
        let mut sums = vec![
            tally.llm_calls,
            tally.llm_errors,
            tally.input_tokens,
            tally.input_known,
            tally.output_tokens,
            tally.output_known,
            tally.cache_read_tokens,
            tally.cache_read_known,
            tally.cache_creation_tokens,
            tally.cache_creation_known,
            tally.reasoning_tokens,
            tally.reasoning_known,
            tally.costs_known,
        ];
        sums.extend(self.priced()?);
        self.add(&MODELS, tail, sums)?;
        if let Some((currency, amount)) = tally::cost_of(self.event)? {
            let tail = vec![model.clone().into(), currency.into()];
            self.add(&COSTS, tail, vec![1])?;
            self.with_money(amount);
        }
        let (told, first_chunk) = match self.event.agent()? {
            Some(AgentEvent::LlmResponded(l)) => (l.duration_us, Some(l.first_chunk_us)),
            Some(AgentEvent::LlmEmbedded(l)) => (l.duration_us, None),
            Some(AgentEvent::LlmFailed(l)) => (l.duration_us, None),
            _ => (None, (self.event.event_type() == "llm.responded").then_some(None)),
        };
        let mut latency = |measure: Measure, told| {
            let bin = bins::of(bounds::duration(told));
            let tail = vec![measure.name().into(), model.clone().into(), bin.into()];
            self.add(&MODEL_LATENCY, tail, vec![1])
        };
        latency(Measure::Model, told)?;
        first_chunk.map_or(Ok(()), |told| latency(Measure::FirstChunk, told))
    }

    /// Of a call that told all that a price needs: that it did, and its tokens by what they are charged as. Tokens of a cache
    /// are part of those that were read, so a call that tells more of them than of all tells nothing.
    fn priced(&self) -> Result<[i64; 5], PoisonReason> {
        let (usage, writes) = match self.event.agent()? {
            Some(AgentEvent::LlmResponded(l)) => (l.usage.as_ref(), true),
            Some(AgentEvent::LlmFailed(l)) => (l.usage.as_ref(), true),
            Some(AgentEvent::LlmEmbedded(l)) => (l.usage.as_ref(), false),
            _ => (None, true),
        };
        let charged = |usage: &Usage| {
            let input = bounds::tokens(usage.input)?;
            let output = match writes {
                true => bounds::tokens(usage.output)?,
                false => bounds::tokens(usage.output).unwrap_or(0),
            };
            let cache_read = bounds::tokens(usage.cache_read).unwrap_or(0);
            let cache_creation = bounds::tokens(usage.cache_creation).unwrap_or(0);
            let plain = input - cache_read - cache_creation;
            (plain >= 0).then_some([1, plain, output, cache_read, cache_creation])
        };
        Ok(usage.and_then(charged).unwrap_or_default())
    }

    fn tool(&mut self, tally: &Tally) -> Result<(), PoisonReason> {
        let event = self.event;
        let (mut unclassified, mut starts, mut retries) = (0, 0, 0);
        match event.agent()? {
            Some(AgentEvent::ToolProposed(told)) => unclassified = i64::from(told.side_effect.is_none()),
            Some(AgentEvent::ToolStarted(told)) => {
                starts = 1;
                retries = i64::from(told.attempt.is_some_and(|attempt| attempt > 1));
            }
            None if event.event_type() == "tool.started" => starts = 1,
            _ => {}
        }
        let not_executed = i64::from(event.event_type() == "tool.not_executed");
        let sums = vec![
            tally.tool_calls,
            unclassified,
            starts,
            retries,
            tally.tool_results,
            tally.tool_errors,
            tally.tool_unknowns,
            not_executed,
        ];
        if sums.iter().all(|sum| *sum == 0) {
            return Ok(());
        }
        let name = usage::tool(event)?;
        let tool = || -> Vec<SqlValue> {
            vec![
                event.ledger_key().into(),
                session(event).into(),
                call(event).into(),
                name.clone().into(),
            ]
        };
        self.add(&TOOLS, tool(), sums)?;
        self.given(call(event));
        if tally.tool_results + tally.tool_errors == 0 {
            return Ok(());
        }
        let mut tail = vec![Measure::Tool.name().into()];
        tail.extend(tool());
        let is_told = tally.tool_durations > 0;
        if !is_told && event.header().stream.category == Category::Lane {
            tail.push(event.occurred_at()?.into());
            tail.extend([
                event.ledger_key().into(),
                session(event).into(),
                call(event).into(),
            ]);
            self.add(&SINCE_START, tail, vec![1])?;
        } else {
            let told = is_told.then_some(tally.tool_duration_us);
            tail.push(bins::of(told).into());
            self.add(&TOOL_LATENCY, tail, vec![1])?;
        }
        self.given(call(event));
        Ok(())
    }

    fn turn(&mut self, tally: &Tally) -> Result<(), PoisonReason> {
        let event = self.event;
        let in_lane = event.header().stream.category == Category::Lane;
        let (mut outcome, mut stop) = (String::new(), String::new());
        // Opened, sealed, messages of those, ended, attempts that failed.
        let mut sums = vec![tally.turns, 0, 0, 0, 0];
        match (event.event_type(), event.agent()?) {
            ("turn.sealed", Some(AgentEvent::TurnSealed(told))) => {
                (sums[1], sums[2]) = (1, told.message_ids.len() as i64);
            }
            ("turn.attempt_failed", _) => sums[4] = 1,
            (_, told) => {
                if let Some(AgentEvent::TurnFailed(failed)) = told {
                    stop = bounds::name(&failed.error_type).into_owned();
                }
                if let Some(how) = usage::outcome(event)? {
                    outcome = how.to_owned();
                    sums[3] = 1;
                }
            }
        }
        let ended = tally.turns_committed + tally.turns_failed > 0;
        if sums.iter().any(|sum| *sum > 0) {
            self.add(&TURNS, vec![outcome.into(), stop.into()], sums)?;
        }
        if ended && tally.turn_durations == 0 && in_lane {
            return self.since_mark(Measure::Turn, &SINCE_OPENED);
        }
        if ended {
            let told = (tally.turn_durations > 0).then_some(tally.turn_duration_us);
            let tail = vec![Measure::Turn.name().into(), bins::of(told).into()];
            return self.add(&TURN_LATENCY, tail, vec![1]);
        }
        match (event.event_type(), event.agent()?) {
            ("turn.sealed", _) if in_lane => self.since_mark(Measure::GatherWait, &SINCE_OPENED),
            // What is waited before another attempt is no queue.
            ("turn.started", Some(AgentEvent::TurnStarted(told))) if in_lane && told.attempt == 1 => {
                self.since_mark(Measure::QueueWait, &SINCE_SEALED)
            }
            _ => Ok(()),
        }
    }

    fn since_mark(&mut self, measure: Measure, upsert: &'static Upsert) -> Result<(), PoisonReason> {
        let tail = vec![
            measure.name().into(),
            self.event.occurred_at()?.into(),
            self.event.ledger_key().into(),
            lane_turn(self.event).into(),
        ];
        self.add(upsert, tail, vec![1])
    }

    fn approval(&mut self) -> Result<(), PoisonReason> {
        let resolved = match self.event.agent()? {
            Some(AgentEvent::ApprovalResolved(told)) => Some(told.outcome),
            _ => None,
        };
        // Requested, approved, rejected, expired, withdrawn, consumed.
        let column = match (self.event.event_type(), resolved) {
            ("approval.requested", _) => 0,
            (_, Some(ApprovalOutcome::Approved)) => 1,
            (_, Some(ApprovalOutcome::Rejected | ApprovalOutcome::Reported)) => 2,
            ("approval.expired", _) => 3,
            ("approval.cancelled" | "approval.voided" | "approval.stale", _) => 4,
            ("approval.consumed", _) => 5,
            _ => return Ok(()),
        };
        let mut sums = vec![0; 6];
        sums[column] = 1;
        let id = self.event.header().stream.id.into_bytes();
        let request = || -> [SqlValue; 2] { [self.event.ledger_key().into(), id.into()] };
        let mut tail = vec![Measure::Approval.name().into()];
        tail.extend(request());
        tail.push(self.event.occurred_at()?.into());
        tail.extend(request());
        let key = request().to_vec();
        self.add(&APPROVALS, key, sums)?;
        self.given(Some(id));
        if matches!(column, 1 | 2) {
            self.add(&SINCE_REQUESTED, tail, vec![1])?;
            self.given(Some(id));
        }
        Ok(())
    }

    fn score(&mut self) -> Result<(), PoisonReason> {
        let Some(AgentEvent::EvalScored(score)) = self.event.agent()? else {
            return Ok(());
        };
        // Decimal text of a finite number has no exponent. One that is too long to be kept exactly is unknown.
        let amount = score.value.and_then(|value| value.get().to_string().parse().ok());
        let value = amount.and_then(|amount| Money::of(&amount));
        let tail = vec![bounds::name(&score.name).into_owned().into()];
        self.add(&SCORES, tail, vec![1, i64::from(value.is_some())])?;
        self.with_money(value.unwrap_or_default());
        Ok(())
    }

    fn intake(&mut self) -> Result<(), PoisonReason> {
        let event = self.event;
        let provenance = event.header().provenance;
        let recorded_at = event.recorded_at()?;
        let is_late = recorded_at - event.occurred_at()? > LATE_US && provenance != Provenance::Imported;
        let (gaps, missing) = match (event.event_type(), event.agent()?) {
            ("infra.ingest_gap", Some(AgentEvent::InfraIngestGap(told))) => {
                (1, bounds::ordinal(told.missing).unwrap_or(0))
            }
            ("infra.ingest_gap", _) => (1, 0),
            _ => (0, 0),
        };
        let unclassified = i64::from(event.event_type() == "infra.span_unclassified");
        self.all.push(Addition {
            about: vec![],
            upsert: &INGEST,
            sums: vec![
                1,
                i64::from(is_late),
                gaps,
                missing,
                unclassified,
                i64::from(event.is_erased()),
            ],
            money: None,
            at: recorded_at,
            of_someone: false,
            tail: vec![provenance.name().into()],
        });
        Ok(())
    }
}
