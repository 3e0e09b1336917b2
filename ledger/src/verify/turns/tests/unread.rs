//! Payloads and records that are not there.

use super::*;

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
