//! What a session was.

use std::collections::HashMap;

use ruche_commands::lane::Lane;
use ruche_commands::scenario::Scenarios;
use ruche_commands::session::session_stream;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{Role, SessionStarted};
use ruche_domain::ids::{SessionId, SubjectId, TurnId};
use ruche_domain::numbers::{Micros, Position, StreamVersion};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::{EventStore, Record};
use serde::Serialize;

use super::{Found, StateAt};
use crate::error::ReplayError;
use crate::recorded::{OfLane, fact, of_lane};

/// A session.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionView {
    /// Which.
    pub id: SessionId,
    /// `open`, `input_required`, `continued` or `ended`.
    pub status: &'static str,
    /// Whose data it is.
    pub subject: Option<SubjectId>,
    /// How it was begun.
    #[serde(flatten)]
    pub begun: SessionBegun,
    /// When it began.
    pub started_at: Micros,
    /// When it ended.
    pub ended_at: Option<Micros>,
    /// Why it ended.
    pub end_reason: Option<&'static str>,
    /// Why it ended, in the source's own words.
    pub end_detail: Option<String>,
    /// Records that belong to it.
    pub records: u64,
    /// Its first record.
    pub first: Position,
    /// Its last record.
    pub last: Position,
    /// When that happened.
    pub last_at: Micros,
    /// Its turns, in the order of opening.
    pub turns: Vec<TurnOfSession>,
    /// Its scenarios that are under way, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scenarios: Vec<ScenarioOfSession>,
}

/// A scenario of a session that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScenarioOfSession {
    /// The client's own id.
    pub scenario: String,
    /// Version that it runs in.
    pub version: Option<String>,
    /// The step that it stands at; none between steps.
    pub step: Option<String>,
    /// Points that it passed, by name.
    pub passed: Vec<String>,
}

/// Who talks with whom and where, as the session was begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SessionBegun {
    /// The client's own id.
    pub external_id: Option<String>,
    /// Application that it runs in.
    pub app: Option<String>,
    /// The client's own id of the agent.
    pub agent: Option<String>,
    /// Version of the agent.
    pub agent_version: Option<String>,
    /// The client's own id of the interlocutor.
    pub interlocutor: Option<String>,
    /// Channel.
    pub channel: Option<String>,
    /// The client's own id of the scenario or task.
    pub scenario: Option<String>,
    /// Which repetition of the scenario.
    pub trial: Option<u64>,
}

impl SessionBegun {
    fn new(started: SessionStarted) -> Self {
        Self {
            external_id: started.external_id,
            app: started.app,
            agent: started.agent_id,
            agent_version: started.agent_version,
            interlocutor: started.interlocutor_id,
            channel: started.channel,
            scenario: started.scenario_id,
            trial: started.trial,
        }
    }
}

/// A turn of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TurnOfSession {
    /// Which.
    pub id: TurnId,
    /// The stream that it stands in.
    pub stream: String,
    /// Where it stands, in the words of `docs/turns.md`.
    pub state: &'static str,
    /// Attempts that began.
    pub attempts: u32,
    /// Calls that it may run or ran.
    pub calls: u64,
}

/// A session on the way to its last record.
struct Fold {
    view: SessionView,
    /// Its turns, by the stream that they stand in, and the streams in the order of opening.
    lanes: HashMap<StreamId, Lane>,
    opened: Vec<(TurnId, StreamId)>,
    scenarios: Scenarios,
    undecidable_from: Option<Position>,
}

impl StateAt {
    pub(super) async fn session(&self, session: SessionId) -> Result<Found<SessionView>, ReplayError> {
        let stream = session_stream(session);
        let first = self
            .store
            .read_stream(self.ledger, stream, StreamVersion::FIRST, 1)
            .await?;
        let Some(first) = first.into_iter().next() else {
            return Ok((None, None));
        };
        let mut fold = Fold::new(session, &first);
        let look = self.look_through(first.position, |record| {
            if record.leaf.event.session == Some(session) {
                fold.take(record);
            }
            false
        });
        look.await?;
        Ok(fold.end())
    }
}

impl Fold {
    fn new(id: SessionId, first: &Record) -> Self {
        let event = &first.leaf.event;
        Self {
            view: SessionView {
                id,
                status: "open",
                subject: event.subject,
                begun: SessionBegun::default(),
                started_at: event.occurred_at,
                ended_at: None,
                end_reason: None,
                end_detail: None,
                records: 0,
                first: first.position,
                last: first.position,
                last_at: event.occurred_at,
                turns: Vec::new(),
                scenarios: Vec::new(),
            },
            lanes: HashMap::new(),
            opened: Vec::new(),
            scenarios: Scenarios::default(),
            undecidable_from: None,
        }
    }

    fn take(&mut self, record: &Record) {
        self.view.records += 1;
        self.view.last = record.position;
        let event = &record.leaf.event;
        self.view.last_at = event.occurred_at;
        if event.stream.category == Category::Session {
            self.take_session(record);
        }
        match of_lane(record) {
            OfLane::Event(of_turn) => {
                if let AgentEvent::MessageReceived(received) = &of_turn.fact
                    && received.role == Role::User
                    && self.view.status == "input_required"
                {
                    self.view.status = "open";
                }
                if let AgentEvent::TurnOpened(_) = of_turn.fact {
                    self.opened.push((of_turn.turn, event.stream));
                }
                // An approval has a stream of its own and belongs where its turn stands.
                let stream = match of_turn.approval {
                    None => Some(event.stream),
                    Some(_) => self.stream_of(of_turn.turn),
                };
                if let Some(stream) = stream {
                    self.lanes.entry(stream).or_default().apply(&of_turn);
                }
            }
            OfLane::Gone => self.undecidable_from = self.undecidable_from.or(Some(record.position)),
            OfLane::No | OfLane::ErasedWords => {}
        }
    }

    fn take_session(&mut self, record: &Record) {
        let fact = fact(record);
        if let Some(fact) = &fact {
            self.scenarios.evolve(fact);
        }
        match fact {
            Some(AgentEvent::SessionStarted(started)) => {
                self.view.started_at = started.started_at.unwrap_or(record.leaf.event.occurred_at);
                self.view.begun = SessionBegun::new(started);
            }
            Some(AgentEvent::SessionEnded(ended)) => {
                self.view.status = "ended";
                self.view.ended_at = ended.ended_at.or(Some(record.leaf.event.occurred_at));
                self.view.end_reason = Some(ended.reason.name());
                self.view.end_detail = ended.detail;
            }
            Some(AgentEvent::SessionContinuedAs(_)) => self.view.status = "continued",
            Some(AgentEvent::SessionInputRequired(_)) => self.view.status = "input_required",
            // Where a session stands goes by the type, so that it is known without its payloads.
            None if record.leaf.event.event_type == "session.ended" => {
                self.view.status = "ended";
                self.view.ended_at = Some(record.leaf.event.occurred_at);
            }
            _ => {}
        }
    }

    fn stream_of(&self, turn: TurnId) -> Option<StreamId> {
        self.opened
            .iter()
            .rev()
            .find(|(opened, _)| *opened == turn)
            .map(|(_, stream)| *stream)
    }

    fn end(mut self) -> Found<SessionView> {
        for (id, stream) in &self.opened {
            let lane = &self.lanes[stream];
            let Some(turn) = lane.turn(*id) else { continue };
            self.view.turns.push(TurnOfSession {
                id: *id,
                stream: stream.to_string(),
                state: turn.state.name(),
                attempts: turn.attempt,
                calls: lane.calls_of(*id).count() as u64,
            });
        }
        let scenarios = self.scenarios.iter();
        self.view.scenarios = scenarios
            .map(|(name, instance)| ScenarioOfSession {
                scenario: name.to_owned(),
                version: instance.version.clone(),
                step: instance.step.clone(),
                passed: instance.passed.iter().cloned().collect(),
            })
            .collect();
        (Some(self.view), self.undecidable_from)
    }
}
