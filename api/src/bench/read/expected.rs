//! What the answers have to say: counted from the story, and from nothing that was stored.

use std::collections::BTreeSet;

use super::story::{BEGINS_AT, DAY_US, DAYS, MODELS, ReadSession, StoryName};
use crate::bench::pace::Stop;
use crate::demo::story::{DemoTurn, Step};
use crate::limits::BENCH_READ_SAMPLE_MAX;

/// Days that anything happens on: the last session may go on behind the half year.
const DAYS_MAX: usize = DAYS as usize + 2;

/// Calls of one model on one day, and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Answered calls.
    pub calls: u64,
    /// Millionths of a US dollar.
    pub micro_usd: u64,
}

/// A session that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampledSession {
    /// Its number.
    pub number: u64,
    /// Events that are about it.
    pub events: u64,
    /// Its turns.
    pub turns: u64,
}

/// The figures of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Of which.
    pub story: StoryName,
    /// Sessions.
    pub sessions: u64,
    /// Events of sessions and facts.
    pub events: u64,
    /// Facts that were written, whatever became of them.
    pub facts: u64,
    /// Facts that hold now, by person.
    pub facts_of: Vec<u32>,
    /// By day and model.
    pub spent: Vec<[Spent; MODELS.len()]>,
    /// Sessions that began on a day.
    pub started: Vec<u64>,
    /// Some sessions, evenly spread.
    pub sample: Vec<SampledSession>,
    /// Every so many sessions one is taken into the sample.
    every: u64,
}

impl Expected {
    /// Nothing yet.
    pub fn new(story: StoryName) -> Self {
        Self {
            story,
            sessions: 0,
            events: 0,
            facts: 0,
            facts_of: vec![0; usize::try_from(story.people()).unwrap_or(usize::MAX)],
            spent: vec![Default::default(); DAYS_MAX],
            started: vec![0; DAYS_MAX],
            sample: Vec::new(),
            every: 1,
        }
    }

    /// Of the whole story, or of what was counted when the run was stopped.
    pub fn counted(story: StoryName, stop: &Stop) -> Self {
        let mut expected = Self::new(story);
        while !expected.is_told() && !stop.is_set() {
            expected.add(&story.session(expected.sessions));
        }
        expected
    }

    /// Whether the story is at its end.
    pub fn is_told(&self) -> bool {
        self.events >= self.story.events
    }

    /// The next session.
    pub fn add(&mut self, session: &ReadSession) {
        let events = events_of_session(session);
        let turns = &session.told.turns;
        if self.sessions.is_multiple_of(self.every) {
            self.sample.push(SampledSession {
                number: self.sessions,
                events,
                turns: turns.len() as u64,
            });
        }
        if self.sample.len() > 2 * BENCH_READ_SAMPLE_MAX {
            // Every second one goes, so that what is left is spread evenly over what was told so far.
            let mut number = 0_usize;
            self.sample.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.every *= 2;
        }
        self.sessions += 1;
        self.events += events + events_of_facts(session);
        self.started[day(session.told.started_at.0)] += 1;
        for turn in turns {
            self.add_calls(turn);
        }
        let known = session.facts.iter().filter(|fact| !fact.is_taken_back).count();
        self.facts += session.facts.len() as u64;
        self.facts_of[session.person as usize] += known as u32;
    }

    fn add_calls(&mut self, turn: &DemoTurn) {
        for (number, step) in turn.steps.iter().enumerate() {
            let Step::Model(call) = step else { continue };
            if !is_answered(turn, number) {
                continue;
            }
            let model = MODELS.iter().position(|(name, ..)| *name == call.model);
            let spent = &mut self.spent[day(call.at.0 + call.took_us)][model.unwrap_or_default()];
            spent.calls += 1;
            spent.micro_usd += call.cost_micro_usd;
        }
    }

    /// Sessions that began before the start of a day.
    pub fn started_before(&self, day: usize) -> u64 {
        self.started[..day].iter().sum()
    }

    /// People of whom something is known, evenly spread.
    pub fn people(&self) -> Vec<u64> {
        let known: BTreeSet<u64> = (0..self.facts_of.len() as u64)
            .filter(|person| self.facts_of[*person as usize] > 0)
            .collect();
        let every = known.len().div_ceil(BENCH_READ_SAMPLE_MAX).max(1);
        known.into_iter().step_by(every).collect()
    }
}

/// Number of the day that a time is in, from 0.
fn day(at: u64) -> usize {
    ((at - BEGINS_AT) / DAY_US) as usize
}

/// A model call that nothing follows and that leads to no reply failed.
fn is_answered(turn: &DemoTurn, step: usize) -> bool {
    turn.reply.is_some() || step + 1 < turn.steps.len()
}

/// Events that recording a session gives.
pub fn events_of_session(session: &ReadSession) -> u64 {
    let turns = session.told.turns.iter().map(|turn| {
        let steps = turn.steps.iter().enumerate().map(|(number, step)| match step {
            // Asked, answered, and the message, which proposes a call where one follows.
            Step::Model(_) if is_answered(turn, number) => 3 + u64::from(number + 1 < turn.steps.len()),
            Step::Model(_) => 1,
            Step::Tool(_) => 2,
        });
        // Opened, the message that came in, and the end.
        3 + steps.sum::<u64>()
    });
    let around = 1 + u64::from(session.told.ended) + u64::from(session.told.rating.is_some());
    around + turns.sum::<u64>()
}

/// Events that writing its facts gives.
pub fn events_of_facts(session: &ReadSession) -> u64 {
    let facts = session.facts.iter();
    facts
        .map(|fact| 1 + u64::from(fact.is_updated) + u64::from(fact.is_taken_back))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_add_up_and_the_sample_stays_small_and_spread() {
        let story = StoryName {
            seed: 3,
            events: 200_000,
        };
        let expected = Expected::counted(story, &Stop::default());
        assert!(expected.events >= story.events && expected.events < story.events + 1_000);
        // The sessions that the times are spread over are about those that there are.
        let days = expected.started.iter().filter(|sessions| **sessions > 0).count();
        assert!((170..=181).contains(&days), "{days}");
        assert_eq!(expected.started_before(DAYS_MAX), expected.sessions);
        let (sampled, last) = (expected.sample.len(), expected.sample.last().unwrap().number);
        assert!((BENCH_READ_SAMPLE_MAX / 2..=2 * BENCH_READ_SAMPLE_MAX).contains(&sampled));
        assert!(
            last > expected.sessions * 9 / 10,
            "{last} of {}",
            expected.sessions
        );
        assert!(expected.people().len() <= BENCH_READ_SAMPLE_MAX);
        assert!(expected.facts_of.iter().map(|n| u64::from(*n)).sum::<u64>() < expected.facts);
    }
}
