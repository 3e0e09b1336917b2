use ruche_domain::numbers::Position;

use crate::testing::given;
use crate::{DecideReadModel, ParkedEvent, ReadModelDecision, RequestRebuild};

fn about(decision: ReadModelDecision) -> DecideReadModel {
    DecideReadModel {
        projection: "sessions".to_owned(),
        decision,
    }
}

fn discard(reason: &str, parked: Option<ParkedEvent>) -> DecideReadModel {
    about(ReadModelDecision::Discard {
        position: Position::new(1, 17),
        reason: reason.to_owned(),
        parked,
    })
}

fn parked() -> ParkedEvent {
    ParkedEvent {
        event_type: "llm.responded".to_owned(),
        error: "a number is larger than a read model can hold".to_owned(),
    }
}

#[test]
fn what_was_decided_is_a_fact_in_the_stream_of_the_projection() {
    let redrive = about(ReadModelDecision::Redrive {
        position: Position::new(1, 17),
        reason: None,
        parked: Some(parked()),
    });
    let pause = about(ReadModelDecision::Pause {
        reason: "the disk is moved".to_owned(),
    });
    let resume = about(ReadModelDecision::Resume { reason: None });
    let discard = discard("a figure of the year 9999", Some(parked()));
    let cases = [
        (redrive, "infra.projection_redriven"),
        (discard, "infra.projection_discarded"),
        (pause, "infra.projection_paused"),
        (resume, "infra.projection_resumed"),
    ];
    let mut streams = Vec::new();
    for (command, event_type) in cases {
        assert_eq!(given().when(&command).types(), [event_type]);
        let events = given().when(&command).events();
        streams.extend(events.into_iter().map(|event| event.stream));
    }
    assert!(streams.iter().all(|stream| *stream == streams[0]));
    assert!(streams[0].to_string().starts_with("projection-"));
}

#[test]
fn an_event_that_nobody_waits_for_is_neither_tried_nor_left_out() {
    given().when(&discard("why not", None)).refused("NOT_FOUND");
}

#[test]
fn who_leaves_an_event_out_says_why() {
    given()
        .when(&discard(" ", Some(parked())))
        .refused("INVALID_INPUT");
}

#[test]
fn a_rebuild_is_asked_for_with_a_reason_and_not_while_one_is_under_way() {
    let asked = |reason: &str, is_under_way| RequestRebuild {
        reason: reason.to_owned(),
        is_under_way,
    };
    let decided = given().when(&asked("a column was added", false));
    assert_eq!(decided.types(), ["infra.rebuild_requested"]);
    given().when(&asked(" ", false)).refused("INVALID_INPUT");
    let busy = given().when(&asked("a column was added", true));
    let busy = busy.refused("ILLEGAL_TRANSITION");
    assert!(busy.retryable() && busy.retry_after_ms().is_some());
}
