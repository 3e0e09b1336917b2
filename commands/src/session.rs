//! Sessions: conversations between an agent and an interlocutor. One `session-…` stream each.
//!
//! Whether a session is over is found by reading its stream, which holds few events: what comes in numbers (turns,
//! messages, model calls) stands in the `observed-…` stream, of which only the newest events are read.

use ruche_domain::Ext;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{SessionEndReason, SessionEnded, SessionStarted};
use ruche_domain::ids::{SessionId, SubjectId};
use ruche_domain::numbers::Micros;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::references::ReferenceKey;
use serde::Serialize;

use crate::command::{Command, Decision, Load, NewEvent, PastEvent};
use crate::context::{Ground, check_external_id};
use crate::error::CommandError;

/// How a client names a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionRef {
    /// By our id.
    Id(SessionId),
    /// By the client's own id.
    External(String),
}

impl SessionRef {
    /// The session that is meant.
    ///
    /// # Errors
    /// `InvalidInput` for a client's id that is none.
    pub fn resolve(&self, references: &ReferenceKey) -> Result<SessionId, CommandError> {
        match self {
            Self::Id(id) => Ok(*id),
            Self::External(external) => {
                check_external_id("/session", external)?;
                Ok(references.session(external))
            }
        }
    }
}

/// The stream of a session: started, ended, scored, and what clients append about it.
pub fn session_stream(session: SessionId) -> StreamId {
    StreamId::new(Category::Session, session.0)
}

/// The stream of what was observed in a session: turns, messages, model and tool calls, in order.
pub fn observed_stream(session: SessionId) -> StreamId {
    StreamId::new(Category::Observed, session.0)
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionStatus {
    /// There is none.
    #[default]
    Absent,
    /// It was started and goes on.
    Open,
    /// It is over.
    Ended,
}

impl SessionStatus {
    /// The word in refusals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "not started",
            Self::Open => "open",
            Self::Ended => "ended",
        }
    }

    /// Commands that are possible in this state.
    pub const fn legal(self) -> &'static [&'static str] {
        match self {
            Self::Absent => &["StartSession"],
            Self::Open => &[
                "ReceiveMessage",
                "RecordTurn",
                "AppendEvents",
                "ScoreSession",
                "RecordScenario",
                "EndSession",
            ],
            Self::Ended => &["AppendEvents", "ScoreSession"],
        }
    }
}

/// What deciders know of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// Where it stands.
    pub status: SessionStatus,
    /// The interlocutor, whose data its records are.
    pub subject: Option<SubjectId>,
}

impl SessionState {
    /// Takes an event of the session's stream. Goes by the type: erased payloads do not change where a session
    /// stands, and the subject stands in the envelope.
    pub fn evolve(&mut self, event: &PastEvent) {
        match event.event_type() {
            "session.started" => {
                self.status = SessionStatus::Open;
                self.subject = event.recorded.event.subject;
            }
            "session.ended" => self.status = SessionStatus::Ended,
            _ => {}
        }
    }

    /// The refusal of a command that is not possible now. `field` of the command names the session.
    pub fn refuse(&self, field: &'static str) -> CommandError {
        CommandError::IllegalTransition {
            field,
            thing: "session",
            state: self.status.name(),
            obstacle: None,
            legal: self.status.legal().to_vec(),
            retry_after_ms: None,
        }
    }

    /// Whether the session goes on. `field` of the command names it.
    ///
    /// # Errors
    /// `IllegalTransition` otherwise.
    pub fn require_open(&self, field: &'static str) -> Result<(), CommandError> {
        match self.status {
            SessionStatus::Open => Ok(()),
            SessionStatus::Absent | SessionStatus::Ended => Err(self.refuse(field)),
        }
    }

    /// Whether the session was ever started. `field` of the command names it.
    ///
    /// # Errors
    /// `IllegalTransition` otherwise.
    pub fn require_started(&self, field: &'static str) -> Result<(), CommandError> {
        match self.status {
            SessionStatus::Open | SessionStatus::Ended => Ok(()),
            SessionStatus::Absent => Err(self.refuse(field)),
        }
    }
}

/// Starts a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartSession {
    /// What is recorded. `external_id` names the session; without it the session is named after the idempotency key,
    /// and only our id leads to it.
    pub started: SessionStarted,
}

impl StartSession {
    /// A session that the client calls `external_id`.
    pub fn new(external_id: impl Into<String>) -> Self {
        Self {
            started: SessionStarted {
                external_id: Some(external_id.into()),
                ..SessionStarted::default()
            },
        }
    }

    /// The id that the session gets.
    pub fn session(&self, ground: &Ground<'_>) -> SessionId {
        match &self.started.external_id {
            Some(external) => ground.references.session(external),
            None => SessionId(ground.references.other("session-of-key", ground.idempotency_key)),
        }
    }

    /// The event, which the session's stream begins with.
    pub(crate) fn event(&self, ground: &Ground<'_>) -> NewEvent {
        let session = self.session(ground);
        let interlocutor = self.started.interlocutor_id.as_deref();
        let subject = interlocutor.map(|id| ground.references.subject(id));
        NewEvent::fact(session_stream(session), self.started.clone())
            .of_session(session, subject)
            .at(self.started.started_at)
    }

    pub(crate) fn check(&self) -> Result<(), CommandError> {
        let named = [
            ("/externalId", &self.started.external_id),
            ("/agentId", &self.started.agent_id),
            ("/interlocutorId", &self.started.interlocutor_id),
        ];
        for (field, id) in named {
            if let Some(id) = id {
                check_external_id(field, id)?;
            }
        }
        Ok(())
    }
}

impl Command for StartSession {
    type State = SessionState;
    const NAME: &'static str = "StartSession";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        self.check()?;
        Ok(vec![Load::whole(session_stream(self.session(ground)))])
    }

    fn evolve(&self, state: &mut SessionState, event: &PastEvent) {
        state.evolve(event);
    }

    fn decide(&self, state: &SessionState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        match state.status {
            SessionStatus::Absent => Ok(Decision::Append(vec![self.event(ground)])),
            SessionStatus::Open | SessionStatus::Ended => Err(state.refuse("/externalId")),
        }
    }
}

/// Ends a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndSession {
    /// Which session.
    pub session: SessionRef,
    /// Why.
    pub reason: SessionEndReason,
    /// The reason in the source's own words.
    pub detail: Option<String>,
    /// When it ended by the source's clock.
    pub ended_at: Option<Micros>,
    /// Free fields of the source.
    pub ext: Ext,
}

impl EndSession {
    /// Ends `session` for `reason`.
    pub fn new(session: SessionRef, reason: SessionEndReason) -> Self {
        Self {
            session,
            reason,
            detail: None,
            ended_at: None,
            ext: Ext::new(),
        }
    }

    pub(crate) fn event(&self, session: SessionId, subject: Option<SubjectId>) -> NewEvent {
        let ended = SessionEnded {
            reason: self.reason,
            detail: self.detail.clone(),
            ended_at: self.ended_at,
            ext: self.ext.clone(),
        };
        NewEvent::fact(session_stream(session), AgentEvent::SessionEnded(ended))
            .of_session(session, subject)
            .at(self.ended_at)
    }
}

impl Command for EndSession {
    type State = SessionState;
    const NAME: &'static str = "EndSession";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        let session = self.session.resolve(ground.references)?;
        Ok(vec![Load::whole(session_stream(session))])
    }

    fn evolve(&self, state: &mut SessionState, event: &PastEvent) {
        state.evolve(event);
    }

    fn decide(&self, state: &SessionState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        state.require_open("/session")?;
        let session = self.session.resolve(ground.references)?;
        Ok(Decision::Append(vec![self.event(session, state.subject)]))
    }
}
