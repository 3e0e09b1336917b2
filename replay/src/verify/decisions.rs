//! Every append of a lane decided again: the machine is asked, on nothing but the records before it, what it is told to have
//! been asked then, and must say what was recorded, event by event.
//!
//! Which worker showed which lease is not recorded, nor what a client said beside what stands in the events; so it is
//! decided that there is a command that leads to these records, not which client sent it. Settings of channels are those
//! of this program with what was published over them, or those that the append pins. What an earlier version wrote otherwise
//! is decided by its rules (`same`, `Audited::expected`).

use std::collections::{BTreeMap, HashMap};

use ruche_commands::channel;
use ruche_commands::lane::{self, ChannelSettings, Intent, Lane, LaneCommand, LaneEvent};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ConfigScope, TurnCancelRefused, TurnTrigger};
use ruche_domain::ids::TurnId;
use ruche_domain::limits::EVENTS_PER_APPEND_MAX;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Position;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::Record;
use serde_json::Value;

use super::intents::Rest;
use super::report::{Collected, Fault, ILLEGAL_TRANSITION, JUDGEMENT_STOPPED};
use super::settled::Settled;
use super::sound::{AT_HAND_MAX, TRIES_PER_EVENT_MAX, at_hand, caught};
use crate::recorded::{OfLane, fact, of_lane};

const GONE: &str = "appends of lanes behind a payload that is gone";
const UNSOUND: &str = "appends of lanes that stand as no command leaves them";
const TOO_MUCH: &str = "appends of lanes with more that is not over than is decided on";

/// The record that a message could not take the place of a turn, since there is one.
const SUPERSEDE_REFUSED: &str = "turn.supersede_refused";

/// All lanes, as far as the ledger was read.
#[derive(Default)]
pub(super) struct Decisions {
    lanes: HashMap<StreamId, Audited>,
    /// The lane of each turn; an approval says its turn.
    lane_of: HashMap<TurnId, StreamId>,
    /// What was published of channels so far, by channel.
    channels: HashMap<String, BTreeMap<String, Value>>,
    /// First record of the append that is being read.
    append: Option<Position>,
    /// Its events, by lane, in the order of the ledger.
    waiting: Vec<(StreamId, Position, OfLane)>,
    /// A record could not be read: it may have been of any lane.
    lost: bool,
    /// A version wrote here that knows [`SUPERSEDE_REFUSED`].
    has_refusals: bool,
}

/// A lane.
#[derive(Default)]
struct Audited {
    /// What may still move in it, and what the last events were about.
    lane: Lane,
    /// The rest.
    settled: Settled,
    channel: String,
    /// What its channel is set to.
    set: ChannelSettings,
    configs: HashMap<TurnId, Digest>,
    /// Words of messages are erased, so that messages cannot be compared any more.
    is_wordless: bool,
    /// Something that the machine needs is gone.
    is_gone: bool,
    /// There was more in it than is decided on: it is not followed any more.
    is_too_much: bool,
    /// What was recorded may be of a version that did not know [`SUPERSEDE_REFUSED`].
    may_be_old: bool,
}

impl Decisions {
    /// Takes the next record.
    pub fn take(&mut self, record: &Record, collected: &mut Collected) {
        let append = Position {
            index: record.leaf.append.first,
            ..record.position
        };
        // More than an append can have are none, whatever they say.
        if self.append != Some(append) || self.waiting.len() >= EVENTS_PER_APPEND_MAX {
            self.end(collected);
            self.append = Some(append);
        }
        let event = &record.leaf.event;
        self.has_refusals |= event.event_type == SUPERSEDE_REFUSED;
        if event.stream.category == Category::Config {
            return self.publish(record);
        }
        let Some(turn) = event.turn else { return };
        let lane = match event.stream.category {
            Category::Lane => Some(event.stream),
            Category::Approval => self.lane_of.get(&turn).copied(),
            _ => None,
        };
        let Some(lane) = lane else { return };
        if event.stream.category == Category::Lane {
            self.lane_of.insert(turn, lane);
        }
        self.waiting.push((lane, record.position, of_lane(record)));
    }

    /// Lanes are decided under what was published of their channel, and guard it.
    fn publish(&mut self, record: &Record) {
        match fact(record) {
            Some(AgentEvent::ConfigPublished(published)) if published.scope == ConfigScope::Channel => {
                let channel = published.scope_id.clone().unwrap_or_default();
                let values = self.channels.entry(channel).or_default();
                for key in &published.removed {
                    values.remove(key);
                }
                values.extend(published.set);
            }
            Some(_) => {}
            // It may have been of any channel.
            None => self.lost = true,
        }
    }

    /// A record could not be read.
    pub fn lose(&mut self, _: Position) {
        self.lost = true;
    }

    /// Turns of a lane that a decision looks at.
    #[cfg(test)]
    pub fn at_hand(&self, stream: StreamId) -> usize {
        self.lanes
            .get(&stream)
            .map_or(0, |audited| audited.lane.turns.len())
    }

    /// A lane with all that was put away.
    #[cfg(test)]
    pub fn whole(&mut self, stream: StreamId) -> Lane {
        let audited = self.lanes.get_mut(&stream).expect("a lane");
        audited.settled.bring_back_all(&mut audited.lane);
        audited.lane.clone()
    }

    /// Decides on the append that was read last.
    pub fn end(&mut self, collected: &mut Collected) {
        let mut waiting = std::mem::take(&mut self.waiting);
        while let Some((lane, ..)) = waiting.first() {
            let lane = *lane;
            let (of_lane, others) = waiting.into_iter().partition(|(of, ..)| *of == lane);
            waiting = others;
            let audited = self.lanes.entry(lane).or_default();
            audited.is_gone |= self.lost;
            audited.may_be_old = !self.has_refusals;
            audited.append(of_lane, &self.channels, collected);
        }
    }
}

impl Audited {
    fn append(
        &mut self,
        recorded: Vec<(StreamId, Position, OfLane)>,
        channels: &HashMap<String, BTreeMap<String, Value>>,
        collected: &mut Collected,
    ) {
        let first = recorded[0].1;
        if self.is_too_much {
            return collected.not_covered(TOO_MUCH, first);
        }
        self.is_gone |= recorded.iter().any(|(.., of_lane)| *of_lane == OfLane::Gone);
        self.is_wordless |= recorded
            .iter()
            .any(|(.., of_lane)| *of_lane == OfLane::ErasedWords);
        let all: Vec<(Position, LaneEvent)> = recorded
            .into_iter()
            .filter_map(|(_, position, of_lane)| match of_lane {
                OfLane::Event(event) => Some((position, event)),
                _ => None,
            })
            .collect();
        self.name(&all);
        self.set = channel::settings(&self.channel, channels.get(&self.channel));
        self.settled
            .bring_back(&mut self.lane, all.iter().map(|(_, event)| event));
        let (places, events): (Vec<_>, Vec<_>) = all
            .iter()
            .filter(|(_, event)| self.is_compared(event))
            .cloned()
            .unzip();
        if self.is_gone {
            collected.not_covered(GONE, first);
        } else if events.is_empty() {
            // Nothing that the machine would say.
        } else if self.lane.flaw().is_some() {
            collected.not_covered(UNSOUND, first);
        } else {
            self.judge(&places, &events, first, collected);
        }
        for (_, event) in &all {
            if let AgentEvent::ConfigEffectiveResolved(resolved) = &event.fact {
                self.configs.insert(event.turn, resolved.result_digest);
            }
            self.lane.apply(event);
        }
        self.settled.put_away(&mut self.lane);
        if at_hand(&self.lane) > AT_HAND_MAX {
            *self = Self {
                is_too_much: true,
                ..Self::default()
            };
        }
    }

    /// Decides again, and says what came of it.
    fn judge(
        &mut self,
        places: &[Position],
        events: &[LaneEvent],
        first: Position,
        collected: &mut Collected,
    ) {
        match caught(|| self.decide(events)) {
            Some(Ok(())) => collected.decided(first, |decided| decided.appends += 1),
            Some(Err((number, detail))) => {
                let last = places.len() - 1;
                collected.push(Fault::at(ILLEGAL_TRANSITION, places[number.min(last)], detail));
            }
            None => {
                let detail = "what follows in the lane is not decided again";
                collected.push(Fault::at(JUDGEMENT_STOPPED, first, detail));
                self.is_gone = true;
            }
        }
    }

    /// The channel of the lane, as the turns that messages opened say.
    fn name(&mut self, events: &[(Position, LaneEvent)]) {
        for (_, event) in events {
            if let AgentEvent::TurnOpened(opened) = &event.fact
                && let Some(channel) = &opened.channel
            {
                self.channel.clone_from(channel);
            }
        }
    }

    fn is_compared(&self, event: &LaneEvent) -> bool {
        match &event.fact {
            AgentEvent::MessageReceived(_) | AgentEvent::MessageSent(_) | AgentEvent::MessageRetracted(_) => {
                !self.is_wordless
            }
            // What people said and saw moves nothing; votes are judged where signatures are.
            AgentEvent::ApprovalVoted(_)
            | AgentEvent::ApprovalVoteRefused(_)
            | AgentEvent::ApprovalUseRefused(_) => false,
            _ => true,
        }
    }

    /// Finds commands that lead to these events, one after the other.
    ///
    /// # Errors
    /// The number of the first event that no command leads to, and why.
    fn decide(&self, events: &[LaneEvent]) -> Result<(), (usize, String)> {
        let (mut lane, mut done) = (self.lane.clone(), 0);
        let mut pinned: Vec<(TurnId, Digest)> = Vec::new();
        let mut tries = TRIES_PER_EVENT_MAX * (events.len() + 1);
        while done < events.len() {
            let config_of = |turn| {
                let now = pinned.iter().rev().find(|(of, _)| *of == turn);
                now.map(|(_, digest)| *digest)
                    .or(self.configs.get(&turn).copied())
            };
            let rest = Rest {
                events: &events[done..],
                lane: &lane,
                config_of: &config_of,
            };
            let step = self
                .step(&rest, &mut tries)
                .map_err(|(number, detail)| (done + number, detail))?;
            for event in &events[done..done + step.count] {
                if let AgentEvent::ConfigEffectiveResolved(resolved) = &event.fact {
                    pinned.push((event.turn, resolved.result_digest));
                }
            }
            done += step.count;
            lane = step.lane;
        }
        Ok(())
    }

    /// The next command: one whose events are the next ones, all of them. `tries` is how often one may still be looked for.
    fn step(&self, rest: &Rest<'_>, tries: &mut usize) -> Result<Step, (usize, String)> {
        let fire = Intent::FireTimer {
            new_turn: rest.new_turn(),
        };
        let mut best = (
            0,
            format!("nothing that may happen leads to {}", told(&rest.events[0])),
        );
        let settings = self.settings(rest.events);
        let by_event = rest.events.iter().map(|event| rest.intents_of(event));
        for intents in std::iter::once(vec![fire]).chain(by_event) {
            // An event that nothing follows from is looked at, too.
            if *tries == 0 {
                break;
            }
            *tries -= 1;
            for (intent, settings) in intents
                .iter()
                .flat_map(|one| settings.iter().map(move |set| (one, set)))
            {
                if *tries == 0 {
                    break;
                }
                *tries -= 1;
                match self.try_out(rest, intent, settings) {
                    Ok(step) => return Ok(step),
                    Err(Some(miss)) if miss.0 > best.0 => best = miss,
                    Err(Some(miss)) if best.0 == 0 && miss.0 == 0 => best = miss,
                    Err(_) => {}
                }
            }
        }
        Err(best)
    }

    /// Asks the machine what it would say to a command.
    ///
    /// # Errors
    /// How many of the next events it would say, and why it is not them; nothing where that tells nobody anything.
    fn try_out(
        &self,
        rest: &Rest<'_>,
        intent: &Intent,
        settings: &ChannelSettings,
    ) -> Result<Step, Option<(usize, String)>> {
        let command = LaneCommand {
            now: rest.events[0].at,
            settings: settings.clone(),
            layers: Vec::new(),
            intent: intent.clone(),
        };
        let decided = lane::explain(rest.lane, &command).map_err(|refusal| {
            let detail = || format!("{}: {}: {refusal}", told(&rest.events[0]), intent.name());
            (!matches!(intent, Intent::FireTimer { .. })).then(|| (0, detail()))
        })?;
        let expected = self.expected(rest.lane, &decided.events);
        let pairs = expected.iter().zip(rest.events);
        let alike = pairs.take_while(|(a, b)| self.same(a, b)).count();
        match expected.get(alike) {
            None if alike > 0 => Ok(Step {
                count: alike,
                lane: decided.lane,
            }),
            Some(other) if alike > 0 => {
                let found = rest.events.get(alike).map_or("nothing".to_owned(), told);
                let detail = format!("{} leads to {} here, not to {found}", intent.name(), told(other));
                Err(Some((alike, detail)))
            }
            _ => Err(None),
        }
    }

    /// What of a decision has to be recorded.
    fn expected<'e>(&self, lane: &Lane, decided: &'e [LaneEvent]) -> Vec<&'e LaneEvent> {
        // Of a turn that a decision opened, it was not recorded before there was a word for it.
        let is_new = |event: &LaneEvent| {
            let turn = lane.turn(event.turn).map(|turn| turn.trigger);
            event.fact.event_type() == SUPERSEDE_REFUSED && turn == Some(TurnTrigger::ApprovalResolution)
        };
        decided
            .iter()
            .filter(|event| self.is_compared(event) && !(self.may_be_old && is_new(event)))
            .collect()
    }

    /// Whether the machine says what was recorded. The names of a lane are put in behind it.
    fn same(&self, decided: &LaneEvent, recorded: &LaneEvent) -> bool {
        let fact: AgentEvent = match (&decided.fact, &recorded.fact) {
            (AgentEvent::TurnOpened(a), AgentEvent::TurnOpened(b)) => {
                let mut named = a.clone();
                named.interlocutor_id.clone_from(&b.interlocutor_id);
                named.channel.clone_from(&b.channel);
                named.thread_id.clone_from(&b.thread_id);
                named.into()
            }
            // It was called so, and said less.
            (AgentEvent::TurnSupersedeRefused(a), AgentEvent::TurnCancelRefused(_)) if self.may_be_old => {
                let mut refused = TurnCancelRefused::new(a.commit_point);
                refused.call_id = a.call_id;
                refused.into()
            }
            _ => return decided == recorded,
        };
        let decided = LaneEvent {
            fact,
            ..decided.clone()
        };
        decided == *recorded
    }

    /// The settings that the events may have been decided under.
    fn settings(&self, events: &[LaneEvent]) -> Vec<ChannelSettings> {
        let of_channel = self.set.clone();
        let pinned = events.iter().find_map(|event| match &event.fact {
            AgentEvent::ConfigEffectiveResolved(resolved) => {
                Some(ChannelSettings::from_values(&resolved.values))
            }
            _ => None,
        });
        let other = pinned.filter(|pinned| *pinned != of_channel);
        std::iter::once(of_channel).chain(other).collect()
    }
}

/// A command that was found, and the lane after it.
struct Step {
    count: usize,
    lane: Lane,
}

fn told(event: &LaneEvent) -> String {
    format!("{} of turn {}", event.fact.event_type(), event.turn)
}
