//! What is asked, and whether the answer is right.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use ruche_domain::numbers::Micros;
use serde_json::{Value, json};

use super::asker::Asker;
use super::expected::Expected;
use super::story::{BEGINS_AT, DAY_US, DAYS, MODELS, external_id, person_id};
use crate::bench::BenchError;
use crate::bench::drive::{Answer, Caller};
use crate::demo::dice::Dice;
use crate::graphql::{format_time, parse_time};
use crate::limits::BENCH_SENDS_MAX;

/// Items of each page that is asked for.
const PAGE: u64 = 50;
/// Days of the analytics.
const MONTH: u64 = 30;

const SESSION_ID: &str =
    "query ($e: String!) { sessions(first: 2, filter: { externalId: $e }) { nodes { id } } }";
const SESSIONS: &str = "query ($t: DateTime!) { sessions(first: 50, filter: { startedBefore: $t }) { nodes { id externalId \
    agent interlocutor channel status startedAt lastAt turnCount messageCount } pageInfo { hasNextPage } } }";
const TIMELINE: &str = "query ($id: ID!) { session(id: $id) { externalId agent status turnCount timeline(first: 50) { nodes { \
    position type summary cost { currency amount } turnId callId occurredAt } pageInfo { hasNextPage } } } }";
const ANALYTICS: &str = "query ($from: DateTime!, $to: DateTime!) { analytics(metric: COST, groupBy: [MODEL], bucket: DAY, \
    from: $from, to: $to) { rows { bucket key { value } currency value known count } } }";
const MEMORY: &str = "query ($a: ID!) { memory(about: $a, first: 50) { nodes { recordId attribute content validFrom status } \
    pageInfo { hasNextPage } } }";

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The newest fifty sessions before a day.
    Sessions,
    /// A session with the first fifty events of it.
    Timeline,
    /// What each model cost on each day of a month.
    Analytics,
    /// What is known of a person.
    Memory,
}

impl Kind {
    /// In the order in which they are asked.
    pub const ALL: [Self; 4] = [Self::Sessions, Self::Timeline, Self::Analytics, Self::Memory];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Timeline => "timeline",
            Self::Analytics => "analytics",
            Self::Memory => "memory",
        }
    }

    /// What it asks, for people.
    pub const fn asks(self) -> &'static str {
        match self {
            Self::Sessions => "50 sessions before a day",
            Self::Timeline => "a session, 50 events of it",
            Self::Analytics => "a month by day and model",
            Self::Memory => "what is known of a person",
        }
    }

    /// What its 99th percentile is to stay below, ms.
    pub const fn wanted_p99_ms(self) -> f64 {
        match self {
            Self::Analytics => 200.0,
            Self::Sessions | Self::Timeline | Self::Memory => 20.0,
        }
    }
}

/// What can be asked of a data set.
pub(crate) struct Questions {
    expected: Expected,
    /// Ids of the sampled sessions.
    sessions: Vec<String>,
    people: Vec<u64>,
}

impl Questions {
    /// Finds the sampled sessions by the client's own ids.
    ///
    /// # Errors
    /// When they are not there, or nobody answers.
    pub async fn new(expected: Expected, asker: &mut Asker) -> Result<Self, BenchError> {
        let mut sessions = Vec::with_capacity(expected.sample.len());
        for sampled in &expected.sample {
            let id = external_id(sampled.number);
            let found = patient(asker, body(SESSION_ID, &json!({ "e": id }))).await?;
            let nodes = found["sessions"]["nodes"].as_array();
            match nodes.map(Vec::as_slice) {
                Some([session]) => sessions.push(session["id"].as_str().unwrap_or_default().to_owned()),
                _ => {
                    return Err(BenchError(format!(
                        "session {id} of the data set is not there: {found}. Are --events and --seed those that it was made \
                         with?"
                    )));
                }
            }
        }
        let people = expected.people();
        if sessions.is_empty() || people.is_empty() {
            return Err(BenchError(
                "the data set is too small to be asked; give more --events".to_owned(),
            ));
        }
        Ok(Self {
            expected,
            sessions,
            people,
        })
    }

    fn question(&self, kind: Kind, dice: &mut Dice) -> Question {
        match kind {
            Kind::Sessions => {
                // From the second day on: before it there may be none.
                let day = 1 + dice.below(DAYS);
                Question::Sessions(day as usize)
            }
            Kind::Timeline => Question::Timeline(dice.below(self.sessions.len() as u64) as usize),
            Kind::Analytics => Question::Analytics(dice.below(DAYS - MONTH + 1) as usize),
            Kind::Memory => Question::Memory(self.people[dice.below(self.people.len() as u64) as usize]),
        }
    }

    fn body(&self, question: Question) -> Bytes {
        match question {
            Question::Sessions(day) => body(SESSIONS, &json!({ "t": start_of(day) })),
            Question::Timeline(n) => body(TIMELINE, &json!({ "id": self.sessions[n] })),
            Question::Analytics(day) => {
                let (from, to) = (start_of(day), start_of(day + MONTH as usize));
                body(ANALYTICS, &json!({ "from": from, "to": to }))
            }
            Question::Memory(person) => body(MEMORY, &json!({ "a": person_id(person) })),
        }
    }

    /// Holds an answer against what was counted.
    fn check(&self, question: Question, data: &Value) -> Result<(), String> {
        match question {
            Question::Sessions(day) => self.check_sessions(day, &data["sessions"]),
            Question::Timeline(n) => self.check_timeline(n, &data["session"]),
            Question::Analytics(day) => self.check_analytics(day, &data["analytics"]),
            Question::Memory(person) => {
                let known = u64::from(self.expected.facts_of[person as usize]);
                page("facts", known, &data["memory"])
            }
        }
    }

    fn check_sessions(&self, day: usize, found: &Value) -> Result<(), String> {
        page("sessions", self.expected.started_before(day), found)?;
        let mut before = BEGINS_AT + day as u64 * DAY_US;
        for session in nodes(found) {
            let at = session["startedAt"].as_str().and_then(parse_time);
            let at = at.ok_or_else(|| format!("{session} has no start"))?;
            if at.0 > before {
                return Err(format!("{session} is out of order"));
            }
            before = at.0;
        }
        Ok(())
    }

    fn check_timeline(&self, n: usize, found: &Value) -> Result<(), String> {
        let sampled = &self.expected.sample[n];
        same("externalId", &found["externalId"], &external_id(sampled.number))?;
        same("turnCount", &found["turnCount"], &sampled.turns.to_string())?;
        page("events", sampled.events, &found["timeline"])
    }

    fn check_analytics(&self, first: usize, found: &Value) -> Result<(), String> {
        let rows = found["rows"].as_array().map_or(&[][..], Vec::as_slice);
        let month = &self.expected.spent[first..first + MONTH as usize];
        let mut wanted = 0;
        for (day, models) in month.iter().enumerate() {
            for (spent, (model, ..)) in models.iter().zip(MODELS) {
                if spent.calls == 0 {
                    continue;
                }
                wanted += 1;
                let bucket = start_of(first + day);
                let is_it = |row: &&Value| {
                    row["bucket"] == bucket && row["key"][0]["value"] == model && row["known"] != "0"
                };
                let row = rows.iter().find(is_it);
                let row = row.ok_or_else(|| format!("there is no row of {model} on {bucket}"))?;
                same("value", &row["value"], &dollars(spent.micro_usd))?;
                same("known", &row["known"], &spent.calls.to_string())?;
            }
        }
        // A failed call tells no cost: its row has no currency.
        let priced = rows.iter().filter(|row| row["known"] != "0").count();
        match priced == wanted {
            true => Ok(()),
            false => Err(format!("{priced} rows with costs, and {wanted} were counted")),
        }
    }
}

/// A question with what it is about.
#[derive(Clone, Copy)]
enum Question {
    /// Before the start of this day.
    Sessions(usize),
    /// Of this one of the sampled sessions.
    Timeline(usize),
    /// From this day on.
    Analytics(usize),
    /// About this person.
    Memory(u64),
}

/// A caller of a bench that asks questions of one kind.
pub(crate) struct Asking {
    asker: Asker,
    questions: Arc<Questions>,
    kind: Kind,
    dice: Dice,
    asked: (Question, Bytes),
}

impl Asking {
    /// With dice of its own.
    pub fn new(asker: Asker, questions: Arc<Questions>, kind: Kind, number: u64) -> Self {
        Self {
            asker,
            questions,
            kind,
            dice: Dice::new(number.wrapping_mul(0x9e37_79b9).wrapping_add(1)),
            asked: (Question::Memory(0), Bytes::new()),
        }
    }
}

#[async_trait]
impl Caller for Asking {
    fn prepare(&mut self) -> Result<(), String> {
        let question = self.questions.question(self.kind, &mut self.dice);
        self.asked = (question, self.questions.body(question));
        Ok(())
    }

    async fn send(&mut self) -> Answer {
        let (question, body) = &self.asked;
        match self.asker.ask(body.clone()).await {
            Ok(data) => match self.questions.check(*question, &data) {
                Ok(()) => Answer::Durable,
                Err(wrong) => Answer::Failed(format!("WRONG ANSWER to {}: {wrong}", self.kind.name())),
            },
            Err(answer) => answer,
        }
    }

    fn events(&self) -> u64 {
        1
    }
}

fn body(query: &str, variables: &Value) -> Bytes {
    json!({ "query": query, "variables": variables })
        .to_string()
        .into()
}

/// Asks until there is an answer, so often.
async fn patient(asker: &mut Asker, body: Bytes) -> Result<Value, BenchError> {
    for _ in 0..BENCH_SENDS_MAX {
        match asker.ask(body.clone()).await {
            Ok(data) => return Ok(data),
            Err(Answer::Overloaded(wait)) => tokio::time::sleep(wait).await,
            Err(Answer::Failed(reason)) => {
                return Err(BenchError(format!(
                    "the questions are not answered: {reason}. A server needs to run, and its key the role reader"
                )));
            }
            Err(_) => {}
        }
    }
    Err(BenchError("nobody answers".to_owned()))
}

fn start_of(day: usize) -> String {
    format_time(Micros(BEGINS_AT + day as u64 * DAY_US))
}

/// Decimal text without needless zeros, as answers have it.
fn dollars(micro: u64) -> String {
    let text = format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn nodes(found: &Value) -> &[Value] {
    found["nodes"].as_array().map_or(&[], Vec::as_slice)
}

/// Whether a page has as many items as there are, or is full and says that there are more.
fn page(what: &str, all: u64, found: &Value) -> Result<(), String> {
    let items = nodes(found).len() as u64;
    let more = &found["pageInfo"]["hasNextPage"];
    match items == all.min(PAGE) && *more == Value::Bool(all > PAGE) {
        true => Ok(()),
        false => Err(format!("{items} {what}, more: {more}; {all} were counted")),
    }
}

fn same(what: &str, found: &Value, counted: &str) -> Result<(), String> {
    let text = match found {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text == counted {
        true => Ok(()),
        false => Err(format!("{what} is {text}, and {counted} was counted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_short_or_does_not_say_that_there_is_more_is_wrong() {
        let found = |items: usize, more: bool| json!({ "nodes": vec![Value::Null; items], "pageInfo": { "hasNextPage": more } });
        for (all, items, more, is_right) in [
            (7, 7, false, true),
            (50, 50, false, true),
            (51, 50, true, true),
            (51, 50, false, false),
            (7, 6, false, false),
            (0, 1, false, false),
        ] {
            assert_eq!(
                page("facts", all, &found(items, more)).is_ok(),
                is_right,
                "{all} {items}"
            );
        }
    }

    #[test]
    fn money_is_told_as_answers_tell_it() {
        for (micro, text) in [(0, "0"), (1_500_000, "1.5"), (12_000_000, "12"), (7, "0.000007")] {
            assert_eq!(dollars(micro), text);
        }
    }
}
