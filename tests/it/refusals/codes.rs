//! For which codes each mutation is refused. All of them have to be seen, and no other: a check that is never reached
//! says nothing, and a code that is new has to be known here. Which request is refused for which: `answers.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::known::MUTATIONS;

/// What every mutation is refused for: the form of the request, the credential, the input, a key that is taken.
const OF_ALL: [&str; 6] = [
    "BAD_REQUEST",
    "FORBIDDEN",
    "GRAPHQL_VALIDATION_FAILED",
    "IDEMPOTENCY_MISMATCH",
    "INVALID_INPUT",
    "UNAUTHENTICATED",
];

/// What else it is refused for.
fn others(mutation: &str) -> &'static [&'static str] {
    match mutation {
        "appendEvents" => &[
            "ILLEGAL_TRANSITION",
            "INVALID_ARGUMENT",
            "INVALID_PAYLOAD",
            "LIMIT_EXCEEDED",
            "RESERVED_NAMESPACE",
            "SCHEMA_VIOLATION",
            "UNKNOWN_EVENT_TYPE",
            "WRONG_EXPECTED_VERSION",
        ],
        "publishConfiguration" => &["LIMIT_EXCEEDED", "WRONG_EXPECTED_VERSION"],
        "recordTurn" => &["ILLEGAL_TRANSITION", "INVALID_ARGUMENT", "LIMIT_EXCEEDED"],
        "startSession" => &["ILLEGAL_TRANSITION", "INVALID_ARGUMENT"],
        "registerReviewerKey" | "endSession" | "claimTurn" | "submitMessage" => &["ILLEGAL_TRANSITION"],
        "registerTool" => &["INVALID_ARGUMENT"],
        "saveQuery" => &["INVALID_ARGUMENT", "LIMIT_EXCEEDED"],
        "dropQuery" => &["NOT_FOUND"],
        "revokeReviewerKey" => &["INVALID_ARGUMENT", "LIMIT_EXCEEDED", "NOT_FOUND"],
        "scoreSession" => &["ILLEGAL_TRANSITION", "LIMIT_EXCEEDED"],
        "recordScenario" => &["ILLEGAL_TRANSITION", "LIMIT_EXCEEDED"],
        "voteOnApproval" => &["LIMIT_EXCEEDED", "NOT_FOUND"],
        "startCompensation" => &["ILLEGAL_TRANSITION", "NOT_FOUND"],
        "resolveOutcome" => &["ILLEGAL_TRANSITION", "LIMIT_EXCEEDED", "NOT_FOUND"],
        "settleIntervention" => &["ILLEGAL_TRANSITION", "NOT_FOUND"],
        "redriveEvent" | "discardEvent" => &["INVALID_ARGUMENT", "NOT_FOUND"],
        "pauseProjection" | "resumeProjection" => &[],
        "cancelTurn" => &["ILLEGAL_TRANSITION", "LIMIT_EXCEEDED", "NOT_FOUND"],
        "startEffect" => &[
            "APPROVAL_MISMATCH",
            "ILLEGAL_TRANSITION",
            "INVALID_ARGUMENT",
            "NOT_FOUND",
        ],
        "heartbeatTurn" | "proposeAction" | "startStep" | "completeStep" => {
            &["ILLEGAL_TRANSITION", "INVALID_ARGUMENT", "NOT_FOUND"]
        }
        "reportCompensation" | "reportEffect" | "sendMessage" | "commitTurn" | "failTurn" => &[
            "ILLEGAL_TRANSITION",
            "INVALID_ARGUMENT",
            "LIMIT_EXCEEDED",
            "NOT_FOUND",
        ],
        other => panic!("nobody knows what {other} is refused for"),
    }
}

/// What a mutation may be refused for besides, where random requests come to that, and need not.
fn at_times(mutation: &str) -> &'static [&'static str] {
    match mutation {
        // Whose lease is lost is told that and not that the key is taken.
        "startEffect" | "heartbeatTurn" => &["IDEMPOTENCY_MISMATCH"],
        "startStep" => &["IDEMPOTENCY_MISMATCH", "LIMIT_EXCEEDED"],
        // A text that is too long for an append, where it was to be a good one otherwise.
        "submitMessage" | "completeStep" => &["LIMIT_EXCEEDED"],
        _ => &[],
    }
}

/// Fails where a code of the tables was not seen, or one was seen that is not there.
pub fn compare(seen: &BTreeMap<&'static str, BTreeSet<String>>) {
    let mut wrong = Vec::new();
    for mutation in MUTATIONS {
        let may: BTreeSet<&str> = at_times(mutation).iter().copied().collect();
        let all = OF_ALL.iter().chain(others(mutation)).copied();
        let must: BTreeSet<&str> = all.filter(|code| !may.contains(code)).collect();
        let seen: BTreeSet<&str> = seen[mutation].iter().map(String::as_str).collect();
        let missing: Vec<_> = must.difference(&seen).collect();
        let new = seen.difference(&must).filter(|code| !may.contains(*code));
        let new: Vec<_> = new.collect();
        if !missing.is_empty() || !new.is_empty() {
            wrong.push(format!("{mutation}: never seen {missing:?}, not known {new:?}"));
        }
    }
    assert!(wrong.is_empty(), "codes of refusals:\n{}", wrong.join("\n"));
}
