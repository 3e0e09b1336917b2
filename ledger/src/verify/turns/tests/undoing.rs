//! Effects that are undone, and what is left of them when the turn is over.

use super::*;

/// A second effect in turn 1, started after the first: it is undone before it, unless it was settled otherwise.
#[test]
fn the_last_effect_is_undone_first() {
    let done = r#"8 tool.completed 1 7 {"attempt":1}"#;
    let second = r#"8 tool.proposed 1 6 {"side_effect":"compensatable"}
8 policy.evaluated 1 6 {"verdict":"allow"}
8 tool.started 1 6 {"side_effect":"compensatable","attempt":1}
8 tool.completed 1 6 {"attempt":1}"#;
    let story = GOOD.replacen(done, &format!("{done}\n{second}"), 1);
    let begins = "12 turn.compensating 1 -";
    let with = |lines: &str, end: &str| {
        let story = story.replacen(begins, &format!("{begins}\n{lines}"), 1);
        let story = story.replacen("14 turn.superseded 1 -", &format!("14 {end} 1 -"), 1);
        judged(&story, &[]).0
    };
    let undone = "12 tool.compensation_started 1 6 {\"attempt\":1}\n12 tool.compensated 1 6";
    assert_eq!(with(undone, "turn.superseded"), [""; 0]);
    let given_up = "12 tool.compensation_failed 1 6 {\"attempt\":1,\"exhausted\":true}\n12 infra.manual_intervention_required 1 6";
    assert_eq!(with(given_up, "turn.failed"), [""; 0]);
    assert_eq!(with(given_up, "turn.superseded").len(), 1, "it fails");
    let early = with("", "turn.superseded");
    assert!(early[0].starts_with("UNDO_OUT_OF_ORDER"), "{early:?}");
    let not_there = "12 tool.outcome_asserted 1 6 {\"outcome\":\"not_executed\"}";
    assert_eq!(with(not_there, "turn.superseded").len(), 1, "nobody doubted it");
}

/// What a turn left open when it ended a person settles once; nothing else of a call moves then.
#[test]
fn behind_the_end_of_a_turn_a_person_may_say_what_became_of_a_call() {
    let failed = |exhausted: bool, behind: &str| {
        let undone = "14 tool.compensated 1 7\n";
        let stuck = format!(
            "14 tool.compensation_failed 1 7 {{\"attempt\":2,\"exhausted\":{exhausted}}}\n\
             14 infra.manual_intervention_required 1 7\n"
        );
        let story = GOOD.replacen(undone, &stuck, 1);
        let over = r#"14 turn.superseded 1 - {"successor_turn_id":"02020202-0202-0202-0202-020202020202"}"#;
        let story = story.replacen(over, &format!("14 turn.failed 1 -\n{behind}"), 1);
        judged(&story, &[]).0
    };
    let said = |outcome: &str| format!("14 tool.outcome_asserted 1 7 {{\"outcome\":\"{outcome}\"}}");
    assert_eq!(failed(true, ""), [""; 0]);
    for outcome in ["completed", "not_executed"] {
        assert_eq!(failed(true, &said(outcome)), [""; 0]);
        let twice = format!("{}\n{}", said(outcome), said(outcome));
        assert_eq!(failed(true, &twice).len(), 1, "it was said");
    }
    let settled = GOOD.replacen(
        "23 message.sent 2 -",
        "23 message.sent 2 -\n24 tool.outcome_asserted 2 8 {\"outcome\":\"completed\"}",
        1,
    );
    assert_eq!(judged(&settled, &[]).0.len(), 1, "nothing was in doubt");
}

#[test]
fn a_try_at_undoing_has_its_time() {
    let failed = r#"13 tool.compensation_failed 1 7 {"attempt":1,"exhausted":false}"#;
    for (lapses_at, findings) in [(14, 0), (15, 1)] {
        let first = format!(r#"13 tool.compensation_started 1 7 {{"attempt":1,"lapses_at":{lapses_at}}}"#);
        let story = GOOD.replacen(r#"13 tool.compensation_started 1 7 {"attempt":1}"#, &first, 1);
        assert_eq!(
            judged(&story, &[]).0,
            [""; 0],
            "it failed before the next one started"
        );
        let told = judged(&story.replacen(&format!("{failed}\n"), "", 1), &[]).0;
        assert_eq!(told.len(), findings, "{told:?}");
    }
}
