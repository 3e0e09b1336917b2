//! Lines that are left out of the good story, or put in: each event stands where its turn and its call allow it.

use super::*;

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
