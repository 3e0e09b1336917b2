//! How turns came out, by day, agent, model and tool, against counts made by hand.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use ruche_domain::events::{
    LlmFailed, LlmResponded, OutcomeCategory, SessionStarted, ToolProposed, TurnCommitted, TurnFailed,
    TurnOpened, TurnTrigger,
};
use ruche_domain::ids::LedgerId;
use ruche_ledger::store::PreparedEvent;

use super::Story;
use super::world::{Fresh, World};
use crate::usage::{self, Dimension, OutcomeRow, UsageFilter};

const DAY_US: u64 = 86_400_000_000;
/// A day of 2026.
const DAY: i64 = 20_500;

/// One turn: its session's agent, the day after [`DAY`] on which it happens, what it used, how it came out.
struct Told {
    agent: &'static str,
    day: u64,
    models: &'static [&'static str],
    failed_model: Option<&'static str>,
    tools: &'static [&'static str],
    answered_in_us: Option<Option<u64>>,
}

/// Each turn in a session of its own. The first uses two models, one of them twice, and two tools; the last nothing.
const TURNS: [Told; 4] = [
    Told {
        agent: "shop",
        day: 0,
        models: &["m-1", "m-2", "m-1"],
        failed_model: None,
        tools: &["find", "refund"],
        answered_in_us: Some(Some(100)),
    },
    Told {
        agent: "shop",
        day: 0,
        models: &["m-1"],
        failed_model: None,
        tools: &["find", "find"],
        answered_in_us: Some(None),
    },
    Told {
        agent: "desk",
        day: 0,
        models: &[],
        failed_model: Some("m-2"),
        tools: &[],
        answered_in_us: None,
    },
    Told {
        agent: "desk",
        day: 1,
        models: &[],
        failed_model: None,
        tools: &[],
        answered_in_us: Some(Some(300)),
    },
];

fn events() -> Vec<PreparedEvent> {
    let mut story = Story::new(1);
    let mut events = Vec::new();
    for (n, told) in (0..).zip(&TURNS) {
        story.set_time((DAY as u64 + told.day) * DAY_US);
        let session = story.session_id(n);
        story.enter(session);
        events.push(story.event(SessionStarted {
            agent_id: Some(told.agent.to_owned()),
            ..SessionStarted::default()
        }));
        let turn = story.turn_id(session, 0);
        story.enter_call(turn, story.call_id(turn));
        events.push(story.event(TurnOpened::new(TurnTrigger::User)));
        for model in told.models {
            events.push(story.event(LlmResponded {
                model: Some((*model).to_owned()),
                ..LlmResponded::default()
            }));
        }
        if let Some(model) = told.failed_model {
            events.push(story.event(LlmFailed {
                model: Some(model.to_owned()),
                ..LlmFailed::new("timeout".to_owned())
            }));
        }
        for tool in told.tools {
            events.push(story.event(ToolProposed::new((*tool).to_owned(), "{}".to_owned())));
        }
        events.push(match told.answered_in_us {
            Some(duration_us) => story.event(TurnCommitted {
                outcome_category: Some(OutcomeCategory::Answered),
                duration_us,
                ..TurnCommitted::default()
            }),
            None => story.event(TurnFailed::new("timeout".to_owned())),
        });
    }
    events
}

async fn world(fresh: Fresh) -> (World, LedgerId) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, events()).await;
    let caught_up = world.runner().catch_up(ledger).await;
    caught_up.expect("nothing fails here");
    (world, ledger)
}

async fn rows(fresh: Fresh, by: &[Dimension], filter: UsageFilter) -> Vec<OutcomeRow> {
    let (world, ledger) = world(fresh).await;
    let rows = usage::outcomes(world.reads(), ledger, by, &filter).await;
    rows.expect("it can be read")
}

fn model(name: &str) -> UsageFilter {
    UsageFilter {
        model: Some(name.to_owned()),
        ..UsageFilter::default()
    }
}

fn tool(name: &str) -> UsageFilter {
    UsageFilter {
        tool: Some(name.to_owned()),
        ..UsageFilter::default()
    }
}

/// Outcome and number of turns of each row, behind the text that `key` takes from it.
fn told(rows: &[OutcomeRow], key: impl Fn(&OutcomeRow) -> Option<String>) -> Vec<(String, &str, u64)> {
    let told = rows.iter();
    told.map(|row| (key(row).unwrap_or_default(), row.outcome.as_str(), row.turns))
        .collect()
}

fn expected<'a>(rows: &[(&str, &'a str, u64)]) -> Vec<(String, &'a str, u64)> {
    let rows = rows.iter();
    rows.map(|(key, outcome, turns)| ((*key).to_owned(), *outcome, *turns))
        .collect()
}

pub async fn turns_are_counted_under_each_dimension(fresh: Fresh) {
    let all = rows(fresh, &[], UsageFilter::default()).await;
    assert_eq!(
        told(&all, |_| None),
        expected(&[("", "answered", 3), ("", "failed", 1)])
    );
    // Durations of 100, unknown and 300 µs.
    assert_eq!((all[0].duration_us, all[0].durations), (400, 2));
    let by_day = rows(fresh, &[Dimension::Day], UsageFilter::default()).await;
    assert_eq!(
        told(&by_day, |row| row.key.day.map(|day| (day - DAY).to_string())),
        expected(&[("0", "answered", 2), ("0", "failed", 1), ("1", "answered", 1)])
    );
    let by_agent = rows(fresh, &[Dimension::Agent], UsageFilter::default()).await;
    assert_eq!(
        told(&by_agent, |row| row.key.agent.clone()),
        expected(&[
            ("desk", "answered", 1),
            ("desk", "failed", 1),
            ("shop", "answered", 2)
        ])
    );
    let by_model = rows(fresh, &[Dimension::Model], UsageFilter::default()).await;
    assert_eq!(
        told(&by_model, |row| row.key.model.clone()),
        expected(&[
            ("", "answered", 1),
            ("m-1", "answered", 2),
            ("m-2", "answered", 1),
            ("m-2", "failed", 1)
        ])
    );
    let by_tool = rows(fresh, &[Dimension::Tool], UsageFilter::default()).await;
    assert_eq!(
        told(&by_tool, |row| row.key.tool.clone()),
        expected(&[
            ("", "answered", 1),
            ("", "failed", 1),
            ("find", "answered", 2),
            ("refund", "answered", 1)
        ])
    );
}

pub async fn all_conditions_of_a_filter_hold(fresh: Fresh) {
    let by_model = rows(fresh, &[], model("m-2")).await;
    assert_eq!(
        told(&by_model, |_| None),
        expected(&[("", "answered", 1), ("", "failed", 1)])
    );
    let by_tool = rows(fresh, &[Dimension::Tool], tool("find")).await;
    assert_eq!(
        told(&by_tool, |row| row.key.tool.clone()),
        expected(&[("find", "answered", 2)])
    );
    // Both at once, and by a dimension that is not in the filter.
    let both = UsageFilter {
        tool: Some("refund".to_owned()),
        agent: Some("shop".to_owned()),
        ..UsageFilter::default()
    };
    let rows_of_both = rows(fresh, &[Dimension::Model], both).await;
    assert_eq!(
        told(&rows_of_both, |row| row.key.model.clone()),
        expected(&[("m-1", "answered", 1), ("m-2", "answered", 1)])
    );
    let used_none = rows(fresh, &[], tool("")).await;
    assert_eq!(
        told(&used_none, |_| None),
        expected(&[("", "answered", 1), ("", "failed", 1)])
    );
    let later = UsageFilter {
        from_day: Some(DAY + 1),
        ..UsageFilter::default()
    };
    assert_eq!(rows(fresh, &[], later).await.len(), 1);
    assert_eq!(rows(fresh, &[], model("m-9")).await, []);
}
