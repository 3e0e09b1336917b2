use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ScenarioCheckpointPassed, ScenarioCompleted, ScenarioEntered, ScenarioStepEntered, SessionEndReason,
    SessionEnded, SessionStarted,
};

use crate::testing::{Given, given};
use crate::{RecordScenario, ScenarioMove, SessionRef};

fn record(moves: Vec<ScenarioMove>) -> RecordScenario {
    RecordScenario {
        session: SessionRef::External("s".to_owned()),
        scenario: "refund".to_owned(),
        moves,
        occurred_at: None,
    }
}

fn enter() -> ScenarioMove {
    ScenarioMove::Enter {
        version: Some("1".to_owned()),
        reason: None,
    }
}

fn step(step: &str) -> ScenarioMove {
    ScenarioMove::EnterStep {
        step: step.to_owned(),
    }
}

fn migrate(behind: &[&str]) -> ScenarioMove {
    ScenarioMove::Migrate {
        version: "2".to_owned(),
        step: Some("look".to_owned()),
        behind: behind.iter().map(|point| (*point).to_owned()).collect(),
        reason: None,
    }
}

fn started() -> Given {
    given().in_session("s", SessionStarted::default())
}

/// At the step `check`, behind the point `identified`.
fn under_way() -> Given {
    let refund = || "refund".to_owned();
    started()
        .in_session("s", ScenarioEntered::new(refund()))
        .in_session("s", ScenarioStepEntered::new(refund(), "check".to_owned()))
        .in_session(
            "s",
            ScenarioCheckpointPassed::new(refund(), "identified".to_owned()),
        )
}

#[test]
fn moves_are_recorded_in_order_and_say_where_they_come_from() {
    let moves = vec![
        enter(),
        step("ask"),
        step("check"),
        migrate(&["identified", "new"]),
    ];
    let events = started().when(&record(moves)).events();
    let facts: Vec<_> = events.iter().map(|event| event.content.clone()).collect();
    let crate::command::Content::Fact(AgentEvent::ScenarioStepEntered(second)) = &facts[2] else {
        panic!("{facts:?}")
    };
    assert_eq!(
        (second.step_id.as_str(), second.from_step_id.as_deref()),
        ("check", Some("ask"))
    );
    let crate::command::Content::Fact(AgentEvent::ScenarioMigrated(to)) = &facts[3] else {
        panic!("{facts:?}")
    };
    assert_eq!(
        (to.from_version.as_deref(), to.from_step_id.as_deref()),
        (Some("1"), Some("check"))
    );
    assert!(
        events
            .iter()
            .all(|event| event.session.is_some() && event.stream.category.name() == "session")
    );
}

#[test]
fn a_migration_that_leaves_out_a_point_that_was_passed_is_refused() {
    let refused = under_way()
        .when(&record(vec![migrate(&["other"])]))
        .refused("INVALID_INPUT");
    assert!(refused.to_string().contains("identified"), "{refused}");
    assert_eq!(refused.path().unwrap().join("/"), "moves/0/migrate/behind");
    assert_eq!(
        under_way()
            .when(&record(vec![migrate(&["identified"])]))
            .events()
            .len(),
        1
    );
    // What a migration names behind the scenario is behind it, for the next one too.
    let twice = under_way().when(&record(vec![
        migrate(&["identified", "paid"]),
        migrate(&["identified"]),
    ]));
    assert!(twice.refused("INVALID_INPUT").to_string().contains("paid"));
    // The point was passed by the run before.
    let again = under_way().in_session("s", ScenarioCompleted::new("refund".to_owned()));
    assert_eq!(again.when(&record(vec![enter(), migrate(&[])])).events().len(), 2);
    // One that the list itself passes counts too, and nothing of the list is written.
    let passes = ScenarioMove::PassCheckpoint {
        checkpoint: "paid".to_owned(),
    };
    under_way()
        .when(&record(vec![passes, migrate(&["identified"])]))
        .refused("INVALID_INPUT");
}

#[test]
fn moves_fit_where_the_scenario_stands() {
    let exit = |step: &str| ScenarioMove::ExitStep {
        step: step.to_owned(),
        outcome: None,
        duration_us: None,
    };
    for early in [
        step("ask"),
        exit("ask"),
        migrate(&[]),
        ScenarioMove::Complete { outcome: None },
    ] {
        started().when(&record(vec![early])).refused("ILLEGAL_TRANSITION");
    }
    under_way()
        .when(&record(vec![enter()]))
        .refused("ILLEGAL_TRANSITION");
    under_way()
        .when(&record(vec![exit("ask")]))
        .refused("INVALID_INPUT");
    under_way()
        .when(&record(vec![exit("check"), exit("check")]))
        .refused("INVALID_INPUT");
    let passed = ScenarioMove::PassCheckpoint {
        checkpoint: "identified".to_owned(),
    };
    under_way().when(&record(vec![passed])).refused("INVALID_INPUT");
    let complete = ScenarioMove::Complete { outcome: None };
    under_way().when(&record(vec![complete, enter()])).events();
    let ended = under_way().in_session("s", SessionEnded::new(SessionEndReason::Completed));
    ended
        .when(&record(vec![step("pay")]))
        .refused("ILLEGAL_TRANSITION");
    started().when(&record(vec![])).refused("INVALID_INPUT");
    started()
        .when(&record(vec![enter(), step("")]))
        .refused("INVALID_INPUT");
    given().when(&record(vec![enter()])).refused("ILLEGAL_TRANSITION");
}
