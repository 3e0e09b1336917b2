//! The runtime event log of a tau2 batch: what it alone knows of tool calls.

use std::collections::HashMap;

use ruche_domain::numbers::Micros;
use serde::Deserialize;
use serde_json::Value;

use super::super::BadRecord;
use super::super::chat::SeenCall;
use super::super::record::RawRecord;
use super::super::times;

/// Calls by session, as the log saw them.
#[derive(Default)]
pub(in crate::import) struct EventLog {
    sessions: HashMap<String, SeenSession>,
    current: Option<String>,
    open: Option<Open>,
}

/// A session as the log saw it.
#[derive(Default)]
pub(in crate::import) struct SeenSession {
    started_at: Option<Micros>,
    calls: Vec<(Option<String>, SeenCall)>,
}

/// A call that was asked for and whose answer was not yet observed.
struct Open {
    id: Option<String>,
    tool: Option<String>,
    seen: SeenCall,
}

/// Calls of a session that were not yet matched to an answer.
pub(in crate::import) struct Calls<'a> {
    left: Vec<&'a (Option<String>, SeenCall)>,
}

#[derive(Deserialize)]
struct Event {
    event_type: String,
    timestamp: Option<String>,
    tool_name: Option<String>,
    message_role: Option<String>,
    #[serde(default)]
    payload: Value,
}

/// Whether a file is an event log: JSON lines that begin with an event.
pub(in crate::import) fn is_log(bytes: &[u8]) -> bool {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice::<Event>(first).is_ok()
}

impl EventLog {
    /// Reads a log. Lines that cannot be read are told and left out.
    pub fn read(bytes: &[u8]) -> (Self, Vec<BadRecord>) {
        let mut log = Self::default();
        let mut bad = Vec::new();
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let record = RawRecord::new(format!("line {}", number + 1), line);
            match record.and_then(|record| record.parse::<Event>()) {
                Ok(event) => log.take(event),
                Err(fault) => bad.push(fault),
            }
        }
        (log, bad)
    }

    /// What was seen of a simulation.
    pub fn session(&self, simulation: &str) -> Option<&SeenSession> {
        self.sessions.get(simulation)
    }

    /// A simulation begins with `orchestrator_run_start`. A call goes from `tool_call_requested` to the tool's
    /// observed message; in between the same call is told at two levels, of which `toolkit_dispatch` is the inner one
    /// and carries the digests. What the evaluator replays afterwards has no such frame and is not taken.
    fn take(&mut self, event: Event) {
        let at = event
            .timestamp
            .as_deref()
            .and_then(times::read)
            .and_then(|time| time.moment(None));
        let trace = event.payload.get("runtime_trace");
        let text = |pointer: &str| Some(trace?.pointer(pointer)?.as_str()?.to_owned());
        match event.event_type.as_str() {
            "orchestrator_run_start" => {
                self.current = text("/simulation_id");
                self.open = None;
                if let Some(id) = &self.current {
                    self.sessions.entry(id.clone()).or_default().started_at = at;
                }
            }
            "orchestrator_run_end" => {
                self.close();
                self.current = None;
            }
            "tool_call_requested" => {
                self.close();
                self.open = Some(Open {
                    id: text("/tool_call/id"),
                    tool: event.tool_name,
                    seen: SeenCall::default(),
                });
            }
            "toolkit_dispatch_start" => {
                if let Some(open) = self.open.as_mut().filter(|open| open.tool == event.tool_name) {
                    open.seen.started_at = at;
                }
            }
            "toolkit_dispatch_end" => {
                if let Some(open) = self.open.as_mut().filter(|open| open.tool == event.tool_name) {
                    open.seen.ended_at = at;
                    open.seen.state_hash_before = text("/state_hash_before");
                    open.seen.state_hash_after = text("/state_hash_after");
                }
            }
            "message_observed" if event.message_role.as_deref() == Some("tool") => self.close(),
            _ => {}
        }
    }

    fn close(&mut self) {
        if let (Some(session), Some(open)) = (&self.current, self.open.take()) {
            let session = self.sessions.entry(session.clone()).or_default();
            session.calls.push((open.id, open.seen));
        }
    }
}

impl SeenSession {
    /// How far the clock of the results file was from UTC, by the start that both files tell.
    pub fn offset(&self, wall_start: Option<&str>) -> Option<i64> {
        let wall = times::read(wall_start?)?;
        let utc = i64::try_from(self.started_at?.0).ok()?;
        Some(super::nearest_offset(wall.wall_us, utc))
    }
}

impl<'a> Calls<'a> {
    /// All calls of a session.
    pub fn new(session: &'a SeenSession) -> Self {
        Self {
            left: session.calls.iter().collect(),
        }
    }

    /// The next call with the provider's id; calls and answers come in the same order.
    pub fn of(&mut self, provider_call_id: Option<&str>) -> Option<SeenCall> {
        let at = self
            .left
            .iter()
            .position(|(id, _)| id.is_some() && id.as_deref() == provider_call_id)?;
        Some(self.left.remove(at).1.clone())
    }
}
