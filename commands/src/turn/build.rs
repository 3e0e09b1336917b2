//! From a turn as its source saw it to the events that say so.

use std::collections::HashMap;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    MessageDrafted, MessageReceived, MessageSent, ToolCallRequest, ToolProposed, ToolStarted, TurnEffect,
};
use ruche_domain::ids::{CallId, MessageId, SessionId, SubjectId, TurnId};
use ruche_domain::measures::{Digest, Usage};
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::EffectStatus;
use ruche_domain::stream::StreamId;
use sha2::{Digest as _, Sha256};

use super::calls::{self, MadeCall};
use super::{RecordedTurn, Said, Settled, ToolOutcome, TurnEnd, TurnStep};
use crate::command::NewEvent;
use crate::context::Ground;
use crate::session::observed_stream;
use crate::tool::{ToolTraits, tool_stream};

/// Where a turn stands in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnPlace {
    pub session: SessionId,
    pub subject: Option<SubjectId>,
    /// Number of the turn.
    pub turn: u64,
    /// Number of its first message.
    pub message: u64,
}

/// A turn as events.
pub(crate) struct BuiltTurn {
    pub events: Vec<NewEvent>,
    /// Number of the message that follows.
    pub next_message: u64,
}

/// A call of the turn.
struct Call {
    id: CallId,
    name: Option<String>,
    provider_call_id: Option<String>,
    traits: ToolTraits,
    /// Number of the event that proposed it.
    proposed: Option<usize>,
    status: Option<EffectStatus>,
}

impl Call {
    fn made(&self) -> MadeCall<'_> {
        MadeCall {
            name: self.name.as_deref(),
            provider_call_id: self.provider_call_id.as_deref(),
            is_settled: self.status.is_some(),
        }
    }
}

struct Builder<'a> {
    ground: &'a Ground<'a>,
    tools: &'a HashMap<StreamId, ToolTraits>,
    place: TurnPlace,
    turn: TurnId,
    next_message: u64,
    calls: Vec<Call>,
    responses: Vec<MessageId>,
    events: Vec<NewEvent>,
    /// Events of the same decision in front of the turn.
    first: usize,
    /// The latest time that the source told. What has none of its own happened no earlier.
    last_at: Option<Micros>,
}

/// The events of a turn at its place in the session. `first` events of the same decision come before them.
pub(crate) fn turn(
    turn: &RecordedTurn,
    place: TurnPlace,
    tools: &HashMap<StreamId, ToolTraits>,
    ground: &Ground<'_>,
    first: usize,
) -> BuiltTurn {
    let mut builder = Builder {
        ground,
        tools,
        place,
        turn: ground.references.turn(place.session, place.turn),
        next_message: place.message,
        calls: Vec::new(),
        responses: Vec::new(),
        events: Vec::with_capacity(turn.events_max()),
        first,
        last_at: None,
    };
    builder.opened(turn);
    for step in &turn.steps {
        match step {
            TurnStep::Received(message) => builder.received(&message.what, message.at),
            TurnStep::Said(said) => builder.said(said),
            TurnStep::ModelFailed(failed) => {
                builder.push(failed.what.clone(), failed.at);
            }
            TurnStep::Settled(settled) => builder.settled(settled),
        }
    }
    builder.ended(turn);
    BuiltTurn {
        events: builder.events,
        next_message: builder.next_message,
    }
}

impl Builder<'_> {
    /// Adds an event of the turn; gives its number.
    fn push(&mut self, event: impl Into<AgentEvent>, at: Option<Micros>) -> usize {
        let stream = observed_stream(self.place.session);
        let at = at.or(self.last_at);
        self.last_at = at;
        let mut event = NewEvent::fact(stream, event)
            .of_session(self.place.session, self.place.subject)
            .at(at);
        event.turn = Some(self.turn);
        self.events.push(event);
        self.events.len() - 1
    }

    fn push_of_call(
        &mut self,
        call: CallId,
        cause: Option<usize>,
        event: impl Into<AgentEvent>,
        at: Option<Micros>,
    ) -> usize {
        let number = self.push(event, at);
        self.events[number].call = Some(call);
        self.caused(number, cause);
        number
    }

    fn caused(&mut self, number: usize, cause: Option<usize>) {
        self.events[number].caused_by = cause.map(|cause| self.first + cause);
    }

    fn message(&mut self) -> (u64, MessageId) {
        let ordinal = self.next_message;
        self.next_message = ordinal.saturating_add(1);
        (
            ordinal,
            self.ground.references.message(self.place.session, ordinal),
        )
    }

    fn opened(&mut self, turn: &RecordedTurn) {
        let mut opened = turn.opened.clone();
        opened.turn_ordinal = Some(self.place.turn);
        // The messages in front of the agent's first word opened the turn.
        let mut ordinal = self.place.message;
        opened.message_ids.clear();
        for step in &turn.steps {
            match step {
                TurnStep::Received(_) => {
                    opened
                        .message_ids
                        .push(self.ground.references.message(self.place.session, ordinal));
                    ordinal = ordinal.saturating_add(1);
                }
                TurnStep::Settled(settled) => ordinal = ordinal.saturating_add(u64::from(settled.is_message)),
                TurnStep::Said(_) | TurnStep::ModelFailed(_) => break,
            }
        }
        self.push(opened, turn.opened_at);
    }

    fn received(&mut self, message: &MessageReceived, at: Option<Micros>) {
        let (ordinal, id) = self.message();
        let mut message = message.clone();
        message.message_ordinal = Some(ordinal);
        message.message_id = Some(id);
        let first = self.number_calls(&mut message.tool_calls);
        let calls = message.tool_calls.clone();
        let at = at.or(message.received_at);
        let cause = self.push(message, at);
        self.proposed(&calls, first, ordinal, cause, at);
    }

    fn said(&mut self, said: &Said) {
        let (ordinal, id) = self.message();
        let mut cause = None;
        if let Some(model_call) = &said.model_call {
            if let Some(requested) = &model_call.requested {
                cause = Some(self.push(requested.clone(), requested.requested_at));
            }
            let mut responded = model_call.responded.clone();
            responded.message_ordinal = Some(ordinal);
            let number = self.push(responded, model_call.responded_at.or(said.at));
            self.caused(number, cause);
            cause = Some(number);
        }
        let mut message = said.message.clone();
        message.message_ordinal = Some(ordinal);
        message.message_id = Some(id);
        let first = self.number_calls(&mut message.tool_calls);
        let calls = message.tool_calls.clone();
        if calls.is_empty() {
            self.responses.push(id);
        }
        let silent = message.text.as_deref().unwrap_or_default().is_empty() && message.parts.is_empty();
        let number = if silent && !calls.is_empty() {
            self.push(drafted(message), said.at)
        } else {
            self.push(message, said.at)
        };
        self.caused(number, cause);
        self.proposed(&calls, first, ordinal, number, said.at);
    }

    /// Numbers the calls of a message and gives them our ids; returns the number of the first in the turn.
    fn number_calls(&self, calls: &mut [ToolCallRequest]) -> usize {
        let first = self.calls.len();
        for (number, call) in calls.iter_mut().enumerate() {
            call.ordinal = u32::try_from(number).unwrap_or(u32::MAX);
            call.call_id = Some(self.ground.references.call(self.turn, (first + number) as u64));
        }
        first
    }

    fn proposed(
        &mut self,
        calls: &[ToolCallRequest],
        first: usize,
        message: u64,
        cause: usize,
        at: Option<Micros>,
    ) {
        for (number, call) in calls.iter().enumerate() {
            let id = self.ground.references.call(self.turn, (first + number) as u64);
            let traits = self.traits(&call.name);
            let mut proposed = ToolProposed::new(call.name.clone(), call.arguments.clone());
            proposed.arguments_form = call.arguments_form;
            proposed.ordinal = Some(call.ordinal);
            proposed.message_ordinal = Some(message);
            proposed.provider_call_id.clone_from(&call.provider_call_id);
            proposed.requestor = call.requestor;
            proposed.side_effect = Some(traits.side_effect);
            proposed.tool_kind = traits.kind;
            proposed.args_digest = Some(Digest(Sha256::digest(call.arguments.as_bytes()).into()));
            let event = self.push_of_call(id, Some(cause), proposed, at);
            self.calls.push(Call {
                id,
                name: Some(call.name.clone()),
                provider_call_id: call.provider_call_id.clone(),
                traits,
                proposed: Some(event),
                status: None,
            });
        }
    }

    fn traits(&self, tool: &str) -> ToolTraits {
        let stream = tool_stream(self.ground.references, tool);
        self.tools.get(&stream).copied().unwrap_or_default()
    }

    fn settled(&mut self, settled: &Settled) {
        let at = self.find_call(settled);
        let call = &mut self.calls[at];
        call.status = Some(match &settled.outcome {
            ToolOutcome::Completed(_) => EffectStatus::Completed,
            ToolOutcome::Failed(_) => EffectStatus::Failed,
            ToolOutcome::Unknown(_) => EffectStatus::OutcomeUnknown,
        });
        let (id, traits, cause) = (call.id, call.traits, call.proposed);
        let mut started = ToolStarted::new(call.name.clone().unwrap_or_default());
        started.side_effect = Some(traits.side_effect);
        started.provider_call_id.clone_from(&call.provider_call_id);
        started.started_at = settled.started_at;
        let ordinal = settled.is_message.then(|| self.message().0);
        let cause = Some(self.push_of_call(id, cause, started, settled.started_at));
        match settled.outcome.clone() {
            ToolOutcome::Completed(mut completed) => {
                completed.message_ordinal = ordinal;
                completed.side_effect = Some(traits.side_effect);
                let at = completed.ended_at;
                self.push_of_call(id, cause, completed, at);
            }
            ToolOutcome::Failed(mut failed) => {
                failed.message_ordinal = ordinal;
                failed.side_effect = Some(traits.side_effect);
                let at = failed.ended_at;
                self.push_of_call(id, cause, failed, at);
            }
            ToolOutcome::Unknown(unknown) => {
                self.push_of_call(id, cause, unknown, None);
            }
        }
    }

    /// The call that an outcome belongs to. One that nobody proposed, where such are kept, is a call all the same.
    fn find_call(&mut self, settled: &Settled) -> usize {
        calls::call_of(settled, self.calls.iter().map(Call::made)).unwrap_or_else(|| {
            let provider = settled.outcome.provider_call_id();
            let tool = settled.outcome.tool_name();
            let number = self.calls.len();
            self.calls.push(Call {
                id: self.ground.references.call(self.turn, number as u64),
                name: tool.map(str::to_owned),
                provider_call_id: provider.map(str::to_owned),
                traits: tool.map_or_else(ToolTraits::default, |name| self.traits(name)),
                proposed: None,
                status: None,
            });
            number
        })
    }

    fn ended(&mut self, turn: &RecordedTurn) {
        let effects: Vec<TurnEffect> = self.calls.iter().filter_map(effect).collect();
        let usage = usage_total(&turn.steps);
        match turn.end.clone() {
            TurnEnd::Committed(mut committed) => {
                committed.effects = effects;
                committed.response_message_ids = std::mem::take(&mut self.responses);
                committed.usage_total = committed.usage_total.or(usage);
                let at = committed.ended_at;
                self.push(committed, at);
            }
            TurnEnd::Failed(mut failed) => {
                failed.effects = effects;
                failed.usage_total = failed.usage_total.or(usage);
                let at = failed.ended_at;
                self.push(failed, at);
            }
        }
    }
}

/// What a call did to the world, if it ran and does something.
fn effect(call: &Call) -> Option<TurnEffect> {
    let status = call.status?;
    if !call.traits.side_effect.has_effect() {
        return None;
    }
    let mut effect = TurnEffect::new(call.id, call.traits.side_effect, status);
    effect.name.clone_from(&call.name);
    Some(effect)
}

/// Tokens of all model calls; a figure that one call lacks is unknown for the turn.
fn usage_total(steps: &[TurnStep]) -> Option<Usage> {
    let mut calls = steps.iter().filter_map(|step| match step {
        TurnStep::Said(said) => said.model_call.as_ref().map(|call| call.responded.usage.as_ref()),
        TurnStep::ModelFailed(failed) => Some(failed.what.usage.as_ref()),
        TurnStep::Received(_) | TurnStep::Settled(_) => None,
    });
    let add = |a: Option<u64>, b: Option<u64>| a?.checked_add(b?);
    let sum = |a: Usage, b: &Usage| Usage {
        input: add(a.input, b.input),
        output: add(a.output, b.output),
        cache_read: add(a.cache_read, b.cache_read),
        cache_creation: add(a.cache_creation, b.cache_creation),
        reasoning: add(a.reasoning, b.reasoning),
    };
    let first = calls.next()??.clone();
    let total = calls.try_fold(first, |total, usage| Some(sum(total, usage?)))?;
    (total != Usage::default()).then_some(total)
}

fn drafted(sent: MessageSent) -> MessageDrafted {
    MessageDrafted {
        role: sent.role,
        message_ordinal: sent.message_ordinal,
        text: sent.text,
        parts: sent.parts,
        tool_calls: sent.tool_calls,
        message_id: sent.message_id,
        external_id: sent.external_id,
        name: sent.name,
        ext: sent.ext,
    }
}
