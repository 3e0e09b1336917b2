//! The conversations of a data set: made up, each from its number and the seed alone, so that they can be told in any order
//! and at the same time.
//!
//! They are shaped like those of a platform: sessions of one to six turns and a few long ones, turns with up to three
//! tools, a model call before and behind each, failures, half a year of times, and facts about people who come again.

use ruche_domain::numbers::Micros;
use serde::Serialize;

use crate::demo::dice::Dice;
use crate::demo::story::{DemoModelCall, DemoSession, DemoToolCall, DemoTurn, Step, TOOLS, ToolOutcome};

/// A day, µs.
pub const DAY_US: u64 = 86_400_000_000;
/// Days that the sessions begin on.
pub const DAYS: u64 = 180;
/// When they are over: 2026-01-01, so that no clock of a machine that asks makes another data set of it.
pub const ENDS_AT: u64 = 1_767_225_600_000_000;
/// When the first begins.
pub const BEGINS_AT: u64 = ENDS_AT - DAYS * DAY_US;
/// Events of a session and of the facts that it leaves, about. Decides how sessions are spread over the days.
const EVENTS_OF_SESSION: u64 = 56;
/// Sessions of one person, on average.
const SESSIONS_OF_PERSON: u64 = 5;
const SECOND_US: u64 = 1_000_000;

/// Models with the price of a million tokens in and out, US cents.
pub const MODELS: [(&str, u64, u64); 6] = [
    ("large-3", 250, 1_000),
    ("large-2", 300, 1_500),
    ("small-3", 15, 60),
    ("small-2", 20, 80),
    ("think-1", 1_000, 4_000),
    ("fast-1", 5, 20),
];
const AGENTS: [&str; 8] = [
    "support", "sales", "workshop", "billing", "returns", "travel", "desk", "night",
];
const CHANNELS: [&str; 4] = ["web", "email", "whatsapp", "phone"];
const ATTRIBUTES: [&str; 6] = ["lives_in", "prefers", "owns", "size", "language", "works_as"];
const WORDS: [&str; 48] = [
    "order", "bicycle", "wheel", "brake", "delivery", "address", "tomorrow", "refund", "broken", "invoice",
    "please", "store", "colour", "frame", "saddle", "light", "repair", "morning", "evening", "number",
    "customer", "ticket", "waiting", "arrived", "missing", "parcel", "street", "change", "cancel", "confirm",
    "payment", "card", "transfer", "winter", "summer", "helmet", "chain", "gear", "tyre", "pump", "lock",
    "child", "seat", "basket", "answer", "question", "today", "soon",
];

/// Which data set: the same name is the same one, wherever and whenever it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StoryName {
    /// Seed of the dice.
    pub seed: u64,
    /// Events at least; the session that reaches it is told to its end.
    pub events: u64,
}

/// One conversation and what it teaches.
pub struct ReadSession {
    /// The conversation.
    pub told: DemoSession,
    /// Number of the person.
    pub person: u64,
    /// Facts about the person, in the order in which they are written.
    pub facts: Vec<Fact>,
}

/// A fact about somebody, and what becomes of it.
pub struct Fact {
    /// The client's own id of its record.
    pub record: String,
    /// Of this kind.
    pub attribute: &'static str,
    /// What it says.
    pub content: String,
    /// When it was learned, and from when it holds.
    pub at: Micros,
    /// Whether it is written once more, with other words.
    pub is_updated: bool,
    /// Whether it is taken back at once.
    pub is_taken_back: bool,
}

impl StoryName {
    /// Sessions over which the times are spread.
    fn sessions(self) -> u64 {
        (self.events / EVENTS_OF_SESSION).max(1)
    }

    /// How many people there are.
    pub fn people(self) -> u64 {
        (self.sessions() / SESSIONS_OF_PERSON).max(1)
    }

    /// Session number `n`, from 0.
    pub fn session(self, n: u64) -> ReadSession {
        // One seed for each session, far from those of its neighbours.
        let dice = &mut Dice::new(self.seed.wrapping_add(n.wrapping_mul(0xd134_2543_de82_ef95)));
        let span = DAYS * DAY_US - 3_600 * SECOND_US;
        let slot = (u128::from(n) * u128::from(span) / u128::from(self.sessions())) as u64 % span;
        let started_at = BEGINS_AT + slot;
        // Some people come more often than others.
        let person = dice.below(self.people()).min(dice.below(self.people()));
        let mut clock = started_at;
        let turns = match dice.one_in(64) {
            true => 12 + dice.below(20),
            false => 1 + dice.below(6),
        };
        let turns = (0..turns).map(|_| turn(dice, &mut clock)).collect();
        let told = DemoSession {
            external_id: external_id(n),
            agent: dice.pick(&AGENTS),
            interlocutor: person_id(person),
            channel: dice.pick(&CHANNELS),
            started_at: Micros(started_at),
            turns,
            ended: !dice.one_in(8),
            rating: dice.one_in(4).then(|| 1 + dice.below(5) as u8),
        };
        let facts = match dice.one_in(2) {
            true => (0..1 + dice.below(3)).map(|k| fact(dice, n, k, clock)).collect(),
            false => Vec::new(),
        };
        ReadSession { told, person, facts }
    }
}

/// The client's own id of session number `n`.
pub fn external_id(n: u64) -> String {
    format!("read-{n}")
}

/// The client's own id of a person.
pub fn person_id(person: u64) -> String {
    format!("person-{person}")
}

fn turn(dice: &mut Dice, clock: &mut u64) -> DemoTurn {
    let at = Micros(*clock);
    let text = words(dice, 6, 18);
    let tools = [0, 0, 0, 1, 1, 1, 1, 2, 2, 3][dice.below(10) as usize];
    let (model, cents_in, cents_out) = dice.pick(&MODELS);
    let mut steps = vec![model_call(dice, (model, cents_in, cents_out), clock)];
    for _ in 0..tools {
        steps.push(tool_call(dice, clock));
        steps.push(model_call(dice, (model, cents_in, cents_out), clock));
    }
    let reply = (!dice.one_in(40)).then(|| words(dice, 12, 40));
    let ended_at = Micros(*clock);
    *clock += (20 + dice.below(120)) * SECOND_US;
    DemoTurn {
        text: text.into(),
        at,
        steps,
        reply,
        ended_at,
    }
}

fn model_call(
    dice: &mut Dice,
    (model, cents_in, cents_out): (&'static str, u64, u64),
    clock: &mut u64,
) -> Step {
    let (input, output) = (600 + dice.below(8_000), 20 + dice.below(700));
    let took_us = 300_000 + output * 9_000 + dice.below(900_000);
    let at = Micros(*clock);
    *clock += took_us;
    Step::Model(DemoModelCall {
        model,
        at,
        took_us,
        input,
        output,
        // Cents for a million tokens are hundredths of a micro-dollar for one.
        cost_micro_usd: (input * cents_in + output * cents_out) / 100,
    })
}

fn tool_call(dice: &mut Dice, clock: &mut u64) -> Step {
    let tool = &TOOLS[dice.below(TOOLS.len() as u64) as usize];
    let order = 10_000 + dice.below(90_000);
    let took_us = 20_000 + dice.below(600_000);
    let at = Micros(*clock);
    *clock += took_us;
    let outcome = match dice.below(16) {
        0 => ToolOutcome::Failed("upstream timed out"),
        _ => ToolOutcome::Completed(format!(
            r#"{{"order": {order}, "note": "{}"}}"#,
            words(dice, 4, 16)
        )),
    };
    Step::Tool(DemoToolCall {
        name: tool.name,
        arguments: format!(r#"{{"order": {order}, "why": "{}"}}"#, words(dice, 2, 8)),
        at,
        took_us,
        outcome,
    })
}

fn fact(dice: &mut Dice, session: u64, k: u64, at: u64) -> Fact {
    Fact {
        record: format!("fact-{session}-{k}"),
        attribute: dice.pick(&ATTRIBUTES),
        content: words(dice, 3, 9),
        at: Micros(at + k * SECOND_US),
        is_updated: dice.one_in(4),
        is_taken_back: dice.one_in(5),
    }
}

/// From `least` to `most` words.
fn words(dice: &mut Dice, least: u64, most: u64) -> String {
    let mut text = String::new();
    for n in 0..least + dice.below(most - least + 1) {
        if n > 0 {
            text.push(' ');
        }
        text.push_str(dice.pick(&WORDS));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORY: StoryName = StoryName {
        seed: 7,
        events: 20_000,
    };

    #[test]
    fn a_session_is_the_same_whenever_it_is_told() {
        let told = |n| {
            let session = STORY.session(n);
            let texts: Vec<_> = session
                .told
                .turns
                .iter()
                .map(|turn| turn.text.to_string())
                .collect();
            (
                texts,
                session.told.started_at,
                session.person,
                session.facts.len(),
            )
        };
        assert_eq!(told(5), told(5));
        assert_ne!(told(5), told(6));
        let other = StoryName { seed: 8, ..STORY };
        assert_ne!(
            other.session(5).told.turns[0].text,
            STORY.session(5).told.turns[0].text
        );
    }

    #[test]
    fn sessions_lie_within_the_half_year() {
        for n in 0..STORY.sessions() * 2 {
            let session = STORY.session(n).told;
            assert!((BEGINS_AT..ENDS_AT).contains(&session.started_at.0), "{n}");
        }
    }
}
