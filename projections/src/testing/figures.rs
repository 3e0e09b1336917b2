//! What the queries of configuration, usage and ledger health give, and that tenants see nothing of each other.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]
#![expect(missing_docs, reason = "the name of a test says what it shows")]

use ruche_domain::events::ConfigScope;
use ruche_domain::numbers::Position;

use super::world::{Fresh, World};
use super::{Story, TURNS};
use crate::select::PageRequest;
use crate::sessions::SessionFilter;
use crate::timeline::TimelineFilter;
use crate::usage::{Dimension, UsageFilter};
use crate::{configuration, ledger_health, messages, sessions, timeline, tool_effects, turns, usage};

const SESSIONS: u64 = 20;

pub async fn configuration_has_a_history_and_values_at_each_version(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, 0).await;
    let filter = configuration::ConfigFilter::default();
    let mut request = PageRequest::first(2);
    let mut history = Vec::new();
    loop {
        let page = configuration::history(world.reads(), ledger, &filter, &request)
            .await
            .unwrap();
        request = request.after(page.end().map(|cursor| cursor.to_string().parse().unwrap()));
        let has_next = page.has_next;
        history.extend(page.items());
        if !has_next {
            break;
        }
    }
    let changes: Vec<_> = history
        .iter()
        .map(|c| (c.version, c.key.as_str(), c.value.as_deref()))
        .collect();
    let expected = [
        (1, "model", Some("\"small\"")),
        (1, "only-1", Some("1")),
        (2, "model", Some("\"large\"")),
        (2, "only-1", None),
        (2, "only-2", Some("2")),
    ];
    assert_eq!(changes, expected);
    for (version, expected) in [
        (Some(1), vec!["model", "only-1"]),
        (None, vec!["model", "only-2"]),
    ] {
        let values = configuration::values(world.reads(), ledger, ConfigScope::Tenant, "", version)
            .await
            .unwrap();
        assert_eq!(
            values.iter().map(|v| v.key.as_str()).collect::<Vec<_>>(),
            expected
        );
    }
    let active = configuration::active_version(world.reads(), ledger, ConfigScope::Tenant, "")
        .await
        .unwrap();
    assert_eq!(
        active.map(|(version, position, _)| (version, position)),
        Some((2, Position::new(1, 7)))
    );
}

pub async fn usage_adds_up_by_every_dimension(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, SESSIONS).await;
    let none = UsageFilter::default();
    let total = usage::by(world.reads(), ledger, &[], &none)
        .await
        .unwrap()
        .remove(0);
    let (_, sessions) = sessions::totals(world.reads(), ledger, &SessionFilter::default())
        .await
        .unwrap();
    assert_eq!(total.tally, sessions, "every event of a session is counted once");
    assert_eq!(total.costs[0].known, (SESSIONS * TURNS * 2) as i64);
    for dimension in [
        Dimension::Day,
        Dimension::Agent,
        Dimension::Model,
        Dimension::Tool,
    ] {
        let rows = usage::by(world.reads(), ledger, &[dimension], &none)
            .await
            .unwrap();
        let events: i64 = rows.iter().map(|row| row.tally.events).sum();
        assert_eq!(events, total.tally.events, "{dimension:?}");
        let costs: i64 = rows
            .iter()
            .flat_map(|row| &row.costs)
            .map(|cost| cost.known)
            .sum();
        assert_eq!(costs, total.costs[0].known, "{dimension:?}");
    }
    let tools = usage::by(world.reads(), ledger, &[Dimension::Tool], &none)
        .await
        .unwrap();
    let names: Vec<_> = tools.iter().map(|row| row.key.tool.clone().unwrap()).collect();
    assert_eq!(
        names,
        ["", "book_flight", "get_flight", "send_money", "set_label"]
    );
    let calls: i64 = tools.iter().map(|row| row.tally.tool_calls).sum();
    assert_eq!(calls, total.tally.tool_calls);
    let ended: i64 = tools[1..]
        .iter()
        .map(|row| row.tally.tool_results + row.tally.tool_errors)
        .sum();
    assert_eq!(
        ended, calls,
        "answers that do not name their tool are counted to it"
    );
    let agent = UsageFilter {
        agent: Some("agent-2".into()),
        ..UsageFilter::default()
    };
    let outcomes = usage::outcomes(world.reads(), ledger, &[], &agent).await.unwrap();
    let turns: u64 = outcomes.iter().map(|row| row.turns).sum();
    assert_eq!(turns, (0..SESSIONS).filter(|n| n % 3 == 2).count() as u64 * TURNS);
    assert!(outcomes.iter().any(|row| row.outcome == "failed"));
    assert!(outcomes.iter().any(|row| row.outcome == "answered"));
}

pub async fn the_health_of_a_ledger_counts_every_record(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, 4).await;
    let health = ledger_health::of_ledger(world.reads(), ledger)
        .await
        .unwrap()
        .unwrap();
    let end = world.feed.end(ledger).await;
    assert_eq!((health.records, health.last_position), (end.index.0 + 1, end));
    let types = ledger_health::by_type(world.reads(), ledger).await.unwrap();
    assert_eq!(
        types.iter().map(|(_, held)| held.records).sum::<u64>(),
        health.records
    );
    assert_eq!(
        types.iter().map(|(_, held)| held.payload_bytes).sum::<u64>(),
        health.payload_bytes
    );
    let lags = world.runner().lag(ledger).await.unwrap();
    assert_eq!(lags.len(), crate::projection::all().len());
    assert!(
        lags.iter()
            .all(|lag| lag.is_gapless() && lag.records == 0 && lag.checkpoint.position == Some(end))
    );
}

pub async fn a_tenant_sees_nothing_of_another(fresh: Fresh) {
    let world = World::new(fresh).await;
    let a = world.projected(1, 2).await;
    let b = world.feed.open(2).await;
    // The same sessions, told to both ledgers: the same ids stand in both.
    let mut story = Story::new(9);
    let mut events = story.session(0);
    events.extend(story.session(5));
    world.feed.append(b, events).await;
    world.runner().catch_up(b).await.unwrap();
    let (of_a, of_b) = (Story::new(1).session_id(1), story.session_id(5));
    let models = world.reads();
    assert!(sessions::get(models, a, of_b).await.unwrap().is_none());
    assert!(sessions::get(models, b, of_a).await.unwrap().is_none());
    let page = PageRequest::first(100);
    assert!(
        messages::of_session(models, a, of_b, &page)
            .await
            .unwrap()
            .rows
            .is_empty()
    );
    assert!(
        timeline::of_session(models, b, of_a, TimelineFilter::default(), &page)
            .await
            .unwrap()
            .rows
            .is_empty()
    );
    let turn = story.turn_id(of_b, 0);
    assert!(turns::get(models, a, turn).await.unwrap().is_none());
    assert!(turns::get(models, b, turn).await.unwrap().is_some());
    assert!(
        tool_effects::by_calls(models, a, &[story.call_id(turn)])
            .await
            .unwrap()
            .is_empty()
    );
    assert!(tool_effects::tools(models, b).await.unwrap().is_empty());
    for (ledger, sessions) in [(a, 2), (b, 2)] {
        let (count, _) = sessions::totals(models, ledger, &SessionFilter::default())
            .await
            .unwrap();
        assert_eq!(count, sessions);
        let total = usage::by(models, ledger, &[], &UsageFilter::default())
            .await
            .unwrap()
            .remove(0);
        assert_eq!(total.tally.turns as u64, sessions * TURNS);
    }
}
