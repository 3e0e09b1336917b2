//! What looks like the work of an agent, and is not.

use super::*;

/// The good story with a line put in behind another one: what is found first.
fn put(line: &str, behind: &str) -> Option<String> {
    let at = line_of(behind) + 1;
    found(|lines| lines.insert(at, line.to_owned()))
        .into_iter()
        .next()
}

/// Between the end of a lease and the next claim nobody works on the turn, the worker that had it not either.
#[test]
fn what_is_done_without_a_lease() {
    let expired = r#"9 infra.lease_expired 1 - {"lease_epoch":1}"#;
    for line in [
        r#"9 tool.proposed 1 66 {"side_effect":"pure"}"#,
        r#"9 tool.completed 1 7 {"attempt":1}"#,
        r#"9 turn.step_completed 1 - {"step_id":"pay","attempt":1}"#,
        "9 message.sent 1 -",
        "9 turn.committed 1 -",
    ] {
        let expected = format!("LEASE_OUT_OF_ORDER at {line}");
        assert_eq!(put(line, expired), Some(expected));
    }
    let start = line_of(r#"7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}"#);
    let at = line_of(expired);
    // By who had the lease, and by a stranger.
    for event_type in ["tool.started", "tool.started!"] {
        let line = format!(r#"9 {event_type} 1 7 {{"side_effect":"compensatable","attempt":1}}"#);
        let told = found(|lines| {
            lines.insert(at + 1, line.clone());
            lines.drain(start..start + 2);
        });
        let expected = format!("LEASE_OUT_OF_ORDER at {line}");
        assert_eq!(told.first(), Some(&expected), "{told:?}");
    }
}

/// What was denied, or refused for good, is not let through by another word of policy, nor by asking people later.
#[test]
fn what_was_decided_is_not_decided_again() {
    let allow = r#"6 policy.evaluated 1 7 {"verdict":"allow"}"#;
    let deny = r#"6 policy.evaluated 1 7 {"verdict":"deny"}"#;
    let stale = r#"7 tool.start_refused 1 7 {"refusal":"stale"}"#;
    let asked = r#"7 approval.requested 1 7 {"mode":"detached"}"#;
    let at = line_of(allow);
    for (before, again) in [
        (vec![deny], allow.to_owned()),
        (vec![deny], allow.replacen('6', "7", 1)),
        (vec![allow, stale], allow.replacen('6', "7", 1)),
        (vec![allow, stale], asked.to_owned()),
        (vec![], allow.replacen('6', "7", 1)),
    ] {
        let lines = before.into_iter().map(str::to_owned).chain([again.clone()]);
        let told = found(|story| drop(story.splice(at..=at, lines)));
        let expected = format!("ILLEGAL_TRANSITION at {again}");
        assert_eq!(told.first(), Some(&expected), "{told:?}");
    }
}

#[test]
fn a_turn_is_superseded_by_one_of_its_lane() {
    let line =
        r#"12 turn.supersede_requested 1 - {"successor_turn_id":"02020202-0202-0202-0202-020202020202"}"#;
    let at = line_of(line);
    // One that nobody opened, and itself.
    for other in ["04", "01"] {
        let forged = line.replace("02", other);
        let told = found(|lines| lines[at].clone_from(&forged));
        let expected = format!("ILLEGAL_TRANSITION at {forged}");
        assert_eq!(told.first(), Some(&expected), "{told:?}");
    }
}

#[test]
fn the_digest_of_a_result_is_its_own() {
    let line = r#"8 tool.completed 1 7 {"attempt":1}"#;
    let at = line_of(line);
    let told = |result: &str, digest: &str| {
        let digest = crate::hash::Hash::sha256(digest.as_bytes()).to_string();
        let said = format!(r#"{{"attempt":1,"result":"{result}","result_digest":"{digest}"}}"#);
        let line = format!("8 tool.completed 1 7 {said}");
        let told = found(|lines| lines[at].clone_from(&line));
        told.first()
            .map(|told| *told == format!("ILLEGAL_TRANSITION at {line}"))
    };
    assert_eq!(told("done", "done"), None);
    assert_eq!(told("refunded 1000", "refunded 10"), Some(true));
}

/// Whatever is governed is of a session, and of that of its turn: by it people find what an agent did for whom.
#[test]
fn everything_of_a_turn_is_of_its_session() {
    let first = |line: &str, mark: char| {
        let at = line_of(line);
        let mut words: Vec<String> = line.splitn(3, ' ').map(str::to_owned).collect();
        words[1].push(mark);
        let changed = words.join(" ");
        let told = found(|lines| lines[at].clone_from(&changed)).into_iter().next();
        (told, format!("ILLEGAL_TRANSITION at {changed}"))
    };
    // What is wrong with the session of a request is said of what it shows.
    for line in GOOD
        .trim()
        .lines()
        .filter(|line| !line.contains("approval.requested"))
    {
        let (told, expected) = first(line, '~');
        assert_eq!(told, Some(expected));
    }
    for line in [
        "3 turn.sealed 1 -",
        r#"7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}"#,
        r#"8 tool.completed 1 7 {"attempt":1}"#,
        r#"17 approval.resolved 2 8 {"outcome":"approved"}"#,
        "18 approval.consumed 2 8",
        "23 turn.committed 2 -",
    ] {
        let (told, expected) = first(line, '@');
        assert_eq!(told, Some(expected));
    }
}
