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
