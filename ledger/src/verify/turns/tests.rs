//! Stories of a lane, one line for each event: append, type, turn, call, payload. A good one has no finding; each fault
//! is a good one with a line changed, left out or put in.

use ruche_domain::numbers::Position;
use ruche_domain::stream::Category;

mod keys;

use super::table::Kind;
use super::{Step, TurnRules};
use crate::verify::finding::Findings;

/// Turn 1 calls for a payment that is taken back, tries again and commits; turn 2 waits and takes its place.
const GOOD: &str = r#"
1 message.received 1 -
1 turn.opened 1 -
2 turn.message_coalesced 1 -
3 turn.sealed 1 -
3 config.effective_resolved 1 -
3 turn.readied 1 - {"attempt":1,"not_before":3}
4 turn.started 1 - {"attempt":1,"lease_epoch":1,"lease_expires_at":50}
5 infra.lease_renewed 1 - {"lease_epoch":1,"expires_at":9}
5 turn.step_started 1 - {"step_id":"look","attempt":1}
5 turn.step_completed 1 - {"step_id":"look","attempt":1}
5 turn.step_started 1 - {"step_id":"pay","attempt":1}
6 tool.proposed 1 7 {"side_effect":"compensatable"}
6 policy.evaluated 1 7 {"verdict":"allow"}
7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}
8 tool.completed 1 7 {"attempt":1}
9 infra.lease_expired 1 - {"lease_epoch":1}
9 turn.readied 1 - {"attempt":2,"not_before":9}
10 turn.opened 2 -
10 turn.sealed 2 -
10 turn.queued 2 -
11 turn.started 1 - {"attempt":2,"lease_epoch":2,"lease_expires_at":60}
11 turn.step_started 1 - {"step_id":"pay","attempt":2}
12 turn.supersede_requested 1 - {"successor_turn_id":"02020202-0202-0202-0202-020202020202"}
12 turn.drained 1 -
12 turn.compensating 1 -
13 tool.compensation_started 1 7 {"attempt":1}
13 tool.compensation_failed 1 7 {"attempt":1,"exhausted":false}
14 tool.compensation_started 1 7 {"attempt":2}
14 tool.compensated 1 7
14 turn.superseded 1 - {"successor_turn_id":"02020202-0202-0202-0202-020202020202"}
14 turn.readied 2 - {"attempt":1,"not_before":14}
15 turn.started 2 - {"attempt":1,"lease_epoch":3,"lease_expires_at":60}
16 tool.proposed 2 8 {"side_effect":"irreversible"}
16 policy.evaluated 2 8 {"verdict":"require_approval"}
16 approval.requested 2 8 {"mode":"blocking"}
17 approval.resolved 2 8 {"outcome":"approved"}
17 infra.lease_renewed 2 - {"lease_epoch":3,"expires_at":70}
18 approval.consumed 2 8
18 tool.started 2 8 {"side_effect":"irreversible","attempt":1}
18 turn.commit_point_reached 2 8
19 tool.outcome_unknown 2 8 {"attempt":1}
19 turn.attempt_failed 2 - {"attempt":1,"retry_at":20}
19 infra.manual_intervention_required 2 8
20 tool.outcome_asserted 2 8 {"outcome":"completed"}
20 turn.readied 2 - {"attempt":2,"not_before":20}
21 turn.started 2 - {"attempt":2,"lease_epoch":4,"lease_expires_at":60}
22 tool.proposed 2 9 {"side_effect":"idempotent"}
22 policy.evaluated 2 9 {"verdict":"require_approval"}
22 approval.requested 2 9 {"mode":"detached"}
22 tool.deferred 2 9
23 turn.committed 2 -
23 message.sent 2 -
24 approval.resolved 2 9 {"outcome":"approved"}
24 turn.opened 3 9
24 config.effective_resolved 3 -
24 turn.readied 3 - {"attempt":1,"not_before":24}
25 turn.started 3 - {"attempt":1,"lease_epoch":5,"lease_expires_at":60}
26 approval.consumed 3 9
26 tool.started 3 9 {"side_effect":"idempotent","attempt":1}
"#;

fn id(text: &str) -> Option<[u8; 16]> {
    text.parse().ok().map(|byte| [byte; 16])
}

/// A start that says nothing of a key runs under one that is its call's alone.
fn with_key(step: &Step, payload: &str) -> String {
    match (payload.strip_suffix('}'), step.call) {
        (Some(said), Some(call)) if step.kind == Kind::CallStarted && !said.contains("_key") => {
            format!(r#"{said},"idempotency_key":"{}"}}"#, hex::encode(call))
        }
        _ => payload.to_owned(),
    }
}

/// What is found in a story: names and numbers of lines; then the turns that are not over.
fn judged(story: &str, erased: &[&str]) -> (Vec<String>, Vec<String>) {
    let (mut rules, mut findings) = (TurnRules::default(), Findings::keeping(100));
    let lines = story.lines().filter(|line| !line.is_empty());
    for (index, line) in lines.enumerate() {
        if line == "hole" {
            rules.forget();
            continue;
        }
        let mut words = line.splitn(5, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (append, event_type, turn, call, payload) = (word(), word(), word(), word(), word());
        // `!` behind a type: another credential recorded it.
        let (event_type, by_another) = event_type
            .strip_suffix('!')
            .map_or((event_type, false), |name| (name, true));
        let is_approval = event_type.starts_with("approval.");
        let (category, stream) = if is_approval {
            (Category::Approval, id(call).unwrap())
        } else {
            (Category::Lane, [99; 16])
        };
        let at: u64 = append.parse().unwrap();
        let step = Step {
            kind: Kind::of(event_type, category).unwrap_or_else(|| panic!("{event_type}")),
            stream,
            turn: id(turn),
            call: id(call),
            actor: Some([if by_another { 2 } else { 1 }; 16]),
            occurred_at: at,
            position: Position::new(1, index as u64),
            append: at,
        };
        let payload = with_key(&step, payload);
        let payload = Some(payload.as_bytes()).filter(|_| !erased.contains(&line));
        rules.record(&step, payload, &mut findings);
    }
    let kept = findings.kept().iter();
    let found = kept.map(|found| format!("{} {}", found.kind, found.index.unwrap()));
    let open = rules.not_over().into_iter();
    let open = open.map(|(at, turn, state)| format!("{} {} {state}", at.index, turn.0.as_bytes()[0]));
    (found.collect(), open.collect())
}

fn line_of(line: &str) -> usize {
    let found = GOOD.trim().lines().position(|known| known == line);
    found.unwrap_or_else(|| panic!("{line}"))
}

/// The good story without some lines, with others in front of one. Gives what is found, in the words of the good story.
fn found(change: impl FnOnce(&mut Vec<String>)) -> Vec<String> {
    let mut lines: Vec<String> = GOOD.trim().lines().map(str::to_owned).collect();
    change(&mut lines);
    let story = lines.join("\n");
    let told = judged(&story, &[]).0.into_iter().map(|told| {
        let (kind, at) = told.split_once(' ').unwrap();
        format!("{kind} at {}", lines[at.parse::<usize>().unwrap()])
    });
    told.collect()
}

#[test]
fn a_good_story_has_no_finding_and_says_which_turn_is_not_over() {
    assert_eq!(judged(GOOD, &[]), (vec![], vec!["53 3 PROCESSING".to_owned()]));
}

/// Each line left out that something later rests on.
#[test]
fn what_is_left_out_is_missed_where_it_is_needed() {
    let without = |line: &str| {
        let at = line_of(line);
        found(|lines| drop(lines.remove(at)))
    };
    let cases = [
        (
            "1 turn.opened 1 -",
            "ILLEGAL_TRANSITION at 2 turn.message_coalesced 1 -",
        ),
        (
            "3 turn.sealed 1 -",
            r#"ILLEGAL_TRANSITION at 3 turn.readied 1 - {"attempt":1,"not_before":3}"#,
        ),
        (
            r#"4 turn.started 1 - {"attempt":1,"lease_epoch":1,"lease_expires_at":50}"#,
            r#"ILLEGAL_TRANSITION at 5 infra.lease_renewed 1 - {"lease_epoch":1,"expires_at":9}"#,
        ),
        (
            r#"6 policy.evaluated 1 7 {"verdict":"allow"}"#,
            r#"ILLEGAL_TRANSITION at 7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}"#,
        ),
        (
            r#"6 tool.proposed 1 7 {"side_effect":"compensatable"}"#,
            r#"ILLEGAL_TRANSITION at 6 policy.evaluated 1 7 {"verdict":"allow"}"#,
        ),
        (
            r#"8 tool.completed 1 7 {"attempt":1}"#,
            r#"ILLEGAL_TRANSITION at 9 turn.readied 1 - {"attempt":2,"not_before":9}"#,
        ),
        (
            r#"13 tool.compensation_started 1 7 {"attempt":1}"#,
            r#"EFFECT_WITHOUT_INTENT at 13 tool.compensation_failed 1 7 {"attempt":1,"exhausted":false}"#,
        ),
        (
            r#"14 tool.compensation_started 1 7 {"attempt":2}"#,
            "EFFECT_WITHOUT_INTENT at 14 tool.compensated 1 7",
        ),
        (
            "14 tool.compensated 1 7",
            r#"ILLEGAL_TRANSITION at 14 turn.superseded 1 - {"successor_turn_id":"02020202-0202-0202-0202-020202020202"}"#,
        ),
        (
            r#"24 approval.resolved 2 9 {"outcome":"approved"}"#,
            "ILLEGAL_TRANSITION at 24 turn.opened 3 9",
        ),
        (
            "26 approval.consumed 3 9",
            r#"EFFECT_WITHOUT_APPROVAL at 26 tool.started 3 9 {"side_effect":"idempotent","attempt":1}"#,
        ),
    ];
    for (line, expected) in cases {
        let told = without(line);
        assert_eq!(
            told.first().map(String::as_str),
            Some(expected),
            "without {line}: {told:?}"
        );
    }
}

/// What a refused start leaves of a call: one that lacked an approval may still start.
#[test]
fn a_call_whose_start_was_refused_starts_no_more() {
    let with = |refusal: &str| {
        let at = line_of(r#"6 policy.evaluated 1 7 {"verdict":"allow"}"#);
        let line = format!(r#"6 tool.start_refused 1 7 {{"refusal":"{refusal}"}}"#);
        found(|lines| lines.insert(at + 1, line))
    };
    assert_eq!(with("not_approved"), [""; 0]);
    for refusal in ["denied", "expired", "other_action", "revoked_key", "stale"] {
        assert_eq!(
            with(refusal)[0],
            r#"ILLEGAL_TRANSITION at 7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}"#,
            "{refusal}"
        );
    }
}

/// Lines put in behind others.
#[test]
fn what_may_not_stand_there_is_found() {
    let expired = r#"9 infra.lease_expired 1 - {"lease_epoch":1}"#;
    let cases = [
        // Terminal states absorb.
        (
            "23 turn.committed 2 -",
            "24 message.sent 2 -",
            "ILLEGAL_TRANSITION",
        ),
        (
            "23 turn.committed 2 -",
            "24 turn.cancelled 2 -",
            "ILLEGAL_TRANSITION",
        ),
        (
            "23 turn.committed 2 -",
            r#"24 tool.proposed 2 66 {"side_effect":"pure"}"#,
            "ILLEGAL_TRANSITION",
        ),
        // A lane has one holder, and the oldest comes first.
        (
            "10 turn.queued 2 -",
            r#"10 turn.readied 2 - {"attempt":1,"not_before":1}"#,
            "ILLEGAL_TRANSITION",
        ),
        // Under an old lease, or none.
        (
            r#"11 turn.started 1 - {"attempt":2,"lease_epoch":2,"lease_expires_at":60}"#,
            r#"11 infra.lease_renewed 1 - {"lease_epoch":1,"expires_at":90}"#,
            "LEASE_OUT_OF_ORDER",
        ),
        (
            r#"7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}"#,
            r#"7 infra.lease_expired 1 - {"lease_epoch":1}"#,
            "LEASE_OUT_OF_ORDER",
        ),
        (
            expired,
            r#"9 infra.lease_renewed 1 - {"lease_epoch":1,"expires_at":90}"#,
            "LEASE_OUT_OF_ORDER",
        ),
        // One attempt starts once and has one outcome.
        (
            r#"7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}"#,
            r#"7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}"#,
            "ATTEMPT_OUT_OF_ORDER",
        ),
        (
            r#"7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}"#,
            r#"7 tool.started 1 7 {"side_effect":"compensatable","attempt":2}"#,
            "ILLEGAL_TRANSITION",
        ),
        (
            r#"8 tool.completed 1 7 {"attempt":1}"#,
            r#"8 tool.failed 1 7 {"attempt":1}"#,
            "ILLEGAL_TRANSITION",
        ),
        // Undoing is one try behind the other, when the turn has come to that.
        (
            r#"14 tool.compensation_started 1 7 {"attempt":2}"#,
            r#"14 tool.compensation_started 1 7 {"attempt":2}"#,
            "ATTEMPT_OUT_OF_ORDER",
        ),
        (
            r#"8 tool.completed 1 7 {"attempt":1}"#,
            r#"8 tool.compensation_started 1 7 {"attempt":1}"#,
            "ILLEGAL_TRANSITION",
        ),
        // A step is done once, by the attempt that began it.
        (
            r#"5 turn.step_completed 1 - {"step_id":"look","attempt":1}"#,
            r#"5 turn.step_completed 1 - {"step_id":"look","attempt":1} "#,
            "ILLEGAL_TRANSITION",
        ),
        (
            r#"5 turn.step_completed 1 - {"step_id":"look","attempt":1}"#,
            r#"5 turn.step_started 1 - {"step_id":"look","attempt":1} "#,
            "ILLEGAL_TRANSITION",
        ),
        (
            r#"11 turn.started 1 - {"attempt":2,"lease_epoch":2,"lease_expires_at":60}"#,
            r#"11 turn.step_completed 1 - {"step_id":"pay","attempt":2}"#,
            "ILLEGAL_TRANSITION",
        ),
        (
            r#"11 turn.step_started 1 - {"step_id":"pay","attempt":2}"#,
            r#"11 turn.step_completed 1 - {"step_id":"pay","attempt":1}"#,
            "ATTEMPT_OUT_OF_ORDER",
        ),
        // Behind a commit point nobody takes the turn's place.
        (
            "18 turn.commit_point_reached 2 8",
            "18 turn.cancel_requested 2 -",
            "ILLEGAL_TRANSITION",
        ),
        (
            "5 infra.lease_renewed 1 - {\"lease_epoch\":1,\"expires_at\":9}",
            "5 turn.cancel_refused 1 -",
            "ILLEGAL_TRANSITION",
        ),
        // With a call under way nothing is committed.
        (
            r#"18 tool.started 2 8 {"side_effect":"irreversible","attempt":1}"#,
            "18 turn.committed 2 -",
            "ILLEGAL_TRANSITION",
        ),
        ("1 turn.opened 1 -", "1 turn.opened 4 -", "ILLEGAL_TRANSITION"),
        ("1 turn.opened 1 -", "1 turn.opened 1 -", "ILLEGAL_TRANSITION"),
        (
            "3 turn.sealed 1 -",
            "3 turn.message_coalesced 1 -",
            "ILLEGAL_TRANSITION",
        ),
        (
            "1 turn.opened 1 -",
            "2 tool.completed - 7 {}",
            "ILLEGAL_TRANSITION",
        ),
        (
            "1 turn.opened 1 -",
            "2 tool.completed 1 - {}",
            "ILLEGAL_TRANSITION",
        ),
        (
            "12 turn.drained 1 -",
            "12 turn.cancelled 1 -",
            "ILLEGAL_TRANSITION",
        ),
    ];
    for (behind, line, kind) in cases {
        let at = line_of(behind) + 1;
        let told = found(|lines| lines.insert(at, line.to_owned()));
        let expected = format!("{kind} at {line}");
        assert_eq!(told.first(), Some(&expected), "{told:?}");
    }
}

/// Words that are changed.
#[test]
fn numbers_that_do_not_follow_are_found() {
    let cases = [
        (
            r#"{"attempt":2,"not_before":9}"#,
            r#"{"attempt":3,"not_before":9}"#,
            "ATTEMPT_OUT_OF_ORDER",
        ),
        (
            r#""attempt":2,"lease_epoch":2"#,
            r#""attempt":3,"lease_epoch":2"#,
            "ATTEMPT_OUT_OF_ORDER",
        ),
        (r#""lease_epoch":2"#, r#""lease_epoch":1"#, "LEASE_OUT_OF_ORDER"),
        (r#""lease_epoch":2"#, r#""no_lease":2"#, "LEASE_OUT_OF_ORDER"),
        (
            r#"{"lease_epoch":1,"expires_at":9}"#,
            r#"{"lease_epoch":1,"expires_at":10}"#,
            "LEASE_OUT_OF_ORDER",
        ),
        (
            r#"{"attempt":2,"not_before":9}"#,
            r#"{"attempt":2,"not_before":12}"#,
            "ILLEGAL_TRANSITION",
        ),
        (
            r#"8 tool.completed 1 7 {"attempt":1}"#,
            r#"8 tool.completed 1 7 {"attempt":2}"#,
            "ATTEMPT_OUT_OF_ORDER",
        ),
        (
            r#"{"attempt":1,"exhausted":false}"#,
            r#"{"attempt":2,"exhausted":false}"#,
            "ATTEMPT_OUT_OF_ORDER",
        ),
        (
            r#"{"verdict":"allow"}"#,
            r#"{"verdict":"deny"}"#,
            "ILLEGAL_TRANSITION",
        ),
        (r#"{"verdict":"allow"}"#, r#"{"verdict":1}"#, "PAYLOAD_MALFORMED"),
        (r#"{"verdict":"allow"}"#, "[]", "PAYLOAD_MALFORMED"),
        ("14 turn.superseded", "14 turn.failed", "ILLEGAL_TRANSITION"),
        ("24 turn.opened 3 9", "24 turn.opened 3 8", "ILLEGAL_TRANSITION"),
        (r#"{"side_effect":"idempotent"}"#, r#"{"side_effect":"pure"}"#, ""),
    ];
    for (from, to, kind) in cases {
        let told = judged(&GOOD.replacen(from, to, 1), &[]).0;
        let first = told
            .first()
            .and_then(|told| told.split(' ').next())
            .unwrap_or_default();
        assert_eq!(first, kind, "{to}: {told:?}");
    }
}

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

/// A payload that is gone makes one thing undecidable, whichever it is, and nothing else.
#[test]
fn an_erased_payload_is_no_finding_and_hides_nothing_of_others() {
    for line in GOOD.trim().lines() {
        let (found, open) = judged(GOOD, &[line]);
        assert_eq!((found.len(), open.len()), (0, 1), "{line}: {found:?} {open:?}");
    }
    let erased = r#"4 turn.started 1 - {"attempt":1,"lease_epoch":1,"lease_expires_at":50}"#;
    let other = GOOD.replacen(
        r#""attempt":1,"lease_epoch":3"#,
        r#""attempt":2,"lease_epoch":3"#,
        1,
    );
    let told = judged(&other, &[erased]).0;
    assert_eq!(
        told,
        ["ATTEMPT_OUT_OF_ORDER 31"],
        "the other turn of the lane is judged"
    );
}

/// Behind records that are not there, turns that opened before are not judged, and those that open later are.
#[test]
fn holes_explain_what_is_not_known() {
    let lines: Vec<&str> = GOOD.trim().lines().collect();
    for hole in 1..lines.len() {
        let story = format!("hole\n{}", lines[hole..].join("\n"));
        let found = judged(&story, &[]).0;
        assert!(found.is_empty(), "from {}: {found:?}", lines[hole]);
    }
    let story = GOOD.replace("10 turn.opened 2 -", "hole\n10 turn.opened 2 -");
    let story = story.replacen(
        r#""attempt":1,"lease_epoch":3"#,
        r#""attempt":2,"lease_epoch":3"#,
        1,
    );
    assert_eq!(judged(&story, &[]).0, ["ATTEMPT_OUT_OF_ORDER 32"]);
}

#[test]
fn what_a_worker_does_is_done_by_the_credential_that_claimed() {
    for line in [
        r#"6 tool.proposed 1 7 {"side_effect":"compensatable"}"#,
        r#"7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}"#,
        r#"8 tool.completed 1 7 {"attempt":1}"#,
        "23 turn.committed 2 -",
    ] {
        let at = line_of(line);
        let event_type = line.split(' ').nth(1).unwrap();
        let by_another = line.replacen(event_type, &format!("{event_type}!"), 1);
        let told = found(|lines| lines[at].clone_from(&by_another));
        assert_eq!(told.first(), Some(&format!("LEASE_OUT_OF_ORDER at {by_another}")));
    }
}
