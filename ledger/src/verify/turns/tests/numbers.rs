//! Attempts, leases, times and who acts: words of the good story that are changed.

use super::*;

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

#[test]
fn what_a_worker_does_is_done_by_the_credential_that_claimed() {
    for line in [
        r#"6 tool.proposed 1 7 {"side_effect":"compensatable"}"#,
        r#"7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}"#,
        r#"8 tool.completed 1 7 {"attempt":1}"#,
        r#"5 turn.step_started 1 - {"step_id":"look","attempt":1}"#,
        r#"5 turn.step_completed 1 - {"step_id":"look","attempt":1}"#,
        "23 turn.committed 2 -",
    ] {
        let at = line_of(line);
        let event_type = line.split(' ').nth(1).unwrap();
        let by_another = line.replacen(event_type, &format!("{event_type}!"), 1);
        let told = found(|lines| lines[at].clone_from(&by_another));
        assert_eq!(told.first(), Some(&format!("LEASE_OUT_OF_ORDER at {by_another}")));
    }
}
