//! Business keys: one call stands under one, and what a tool is given tells it a repeat and nothing else.

use super::{GOOD, judged, line_of};
use crate::effect_key::effect_key;

/// Who takes back frees the key; what stands and cannot be taken back keeps it for ever.
#[test]
fn under_one_business_key_one_call_stands() {
    let keyed = |story: &str, start: &str, key: u8| {
        let with_key = format!(r#""attempt":1,"idempotency_key":"{key:032x}""#);
        let line = start.replace(r#""attempt":1"#, &with_key);
        assert!(story.contains(start));
        story.replacen(start, &line, 1)
    };
    let undone = r#"7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}"#;
    let stands = r#"18 tool.started 2 8 {"side_effect":"irreversible","attempt":1}"#;
    let later = r#"26 tool.started 3 9 {"side_effect":"idempotent","attempt":1}"#;
    let story = keyed(&keyed(GOOD, undone, 1), stands, 1);
    assert_eq!(judged(&story, &[]).0, [""; 0]);
    assert_eq!(judged(&keyed(&story, later, 2), &[]).0, [""; 0]);
    let told = judged(&keyed(&story, later, 1), &[]).0;
    assert_eq!(told, [format!("ILLEGAL_TRANSITION {}", line_of(later))]);
    // What was taken back held the key before.
    let early = story.replacen("14 tool.compensated 1 7\n", "", 1);
    let early = early.replacen("14 turn.superseded", "14 turn.failed", 1);
    let told = judged(&early, &[]).0;
    assert!(
        told.contains(&format!("ILLEGAL_TRANSITION {}", line_of(stands) - 1)),
        "{told:?}"
    );
}

/// The proposal says whether a key is needed, and not who starts the call.
#[test]
fn a_start_does_not_leave_its_key_out() {
    for start in [
        r#"7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}"#,
        r#"18 tool.started 2 8 {"side_effect":"irreversible","attempt":1}"#,
        r#"26 tool.started 3 9 {"side_effect":"idempotent","attempt":1}"#,
    ] {
        for key in ["null", r#""order-7""#] {
            let without = start.replace(
                r#""attempt":1"#,
                &format!(r#""attempt":1,"idempotency_key":{key}"#),
            );
            let told = judged(&GOOD.replacen(start, &without, 1), &[]).0;
            assert_eq!(
                told,
                [format!("ILLEGAL_TRANSITION {}", line_of(start))],
                "{without}"
            );
        }
    }
    let start = r#"26 tool.started 3 9 {"side_effect":"idempotent","attempt":1}"#;
    let pure = r#"26 tool.started 3 9 {"side_effect":"pure","attempt":1,"idempotency_key":null}"#;
    let story = GOOD.replacen(start, pure, 1);
    assert_eq!(judged(&story, &[]).0.len(), 1, "it was proposed as an effect");
    let story = story.replacen(
        r#"2 9 {"side_effect":"idempotent"}"#,
        r#"2 9 {"side_effect":"pure"}"#,
        1,
    );
    assert_eq!(judged(&story, &[]).0, [""; 0]);
}

/// A story of three calls under one key, one after the other: each start says its generation, if any, and the tool is
/// given the key that follows. In front of the second and third stands what became of the one before (`#`), which may have been
/// started again under the same key (`@`).
fn of_generations(generations: [Option<u32>; 3], before: [&str; 2]) -> String {
    let key = uuid::Uuid::from_bytes([1; 16]);
    let mut story = String::from(
        "1 message.received 1 -\n1 turn.opened 1 -\n3 turn.sealed 1 -\n3 config.effective_resolved 1 -\n\
        3 turn.readied 1 - {\"attempt\":1,\"not_before\":3}\n\
        4 turn.started 1 - {\"attempt\":1,\"lease_epoch\":1,\"lease_expires_at\":50}\n",
    );
    let mut last_key = String::new();
    for (number, generation) in generations.into_iter().enumerate() {
        let (call, before) = (number + 7, number.checked_sub(1).map(|number| before[number]));
        if let Some(before) = before {
            let last = call - 1;
            story += &before.replace('#', &last.to_string()).replace('@', &last_key);
            story.push('\n');
        }
        let counted = generation.map(|generation| {
            format!(
                r#","business_key_id":"{}","generation":{generation}"#,
                key.as_simple()
            )
        });
        let given = effect_key(key, generation.unwrap_or(1));
        last_key = format!(r#""idempotency_key":"{given}"{}"#, counted.unwrap_or_default());
        story += &format!(
            "5 tool.proposed 1 {call} {{\"side_effect\":\"idempotent\"}}\n\
            5 policy.evaluated 1 {call} {{\"verdict\":\"allow\"}}\n\
            6 tool.started 1 {call} {{\"side_effect\":\"idempotent\",\"attempt\":1,{last_key}}}\n"
        );
    }
    story
}

const FAILED: &str = r#"7 tool.failed 1 # {"attempt":1}"#;
const DENIED: &str = "7 tool.outcome_unknown 1 # {\"attempt\":1}\n\
    8 tool.outcome_asserted 1 # {\"outcome\":\"not_executed\"}";

/// The worker that was waited for too long says itself that its try failed.
const FAILED_LATE: &str = "7 tool.outcome_unknown 1 # {\"attempt\":1}\n7 tool.failed 1 # {\"attempt\":1}";
/// Nobody knows of the first try, and the second one failed.
const FAILED_AGAIN: &str = "7 tool.outcome_unknown 1 # {\"attempt\":1}\n\
    7 tool.started 1 # {\"side_effect\":\"idempotent\",\"attempt\":2,@}\n\
    8 tool.failed 1 # {\"attempt\":2}";
/// The same, and a person found out before the second try, or of both.
const FAILED_SETTLED: &str = "7 tool.outcome_unknown 1 # {\"attempt\":1}\n\
    7 tool.outcome_asserted 1 # {\"outcome\":\"not_executed\"}\n\
    7 tool.started 1 # {\"side_effect\":\"idempotent\",\"attempt\":2,@}\n\
    8 tool.failed 1 # {\"attempt\":2}";
const DONE_AGAIN: &str = "7 tool.outcome_unknown 1 # {\"attempt\":1}\n\
    7 tool.started 1 # {\"side_effect\":\"idempotent\",\"attempt\":2,@}\n\
    8 tool.completed 1 # {\"attempt\":2}";

/// A failure says nothing of a try before it.
#[test]
fn a_key_keeps_its_generation_while_a_try_under_it_is_in_doubt() {
    let cases = [
        ([1, 1, 1], [FAILED_AGAIN, FAILED], 0),
        ([1, 2, 3], [FAILED_AGAIN, FAILED], 1),
        ([1, 1, 2], [FAILED_AGAIN, FAILED], 1),
        ([1, 1, 1], [FAILED_AGAIN, DENIED], 0),
        ([2, 3, 3], [FAILED, FAILED_AGAIN], 0),
        ([2, 3, 4], [FAILED, FAILED_AGAIN], 1),
        // What is said of the try itself is no doubt any more.
        ([1, 2, 3], [FAILED_LATE, FAILED], 0),
        ([1, 1, 2], [FAILED_LATE, FAILED], 1),
        ([1, 2, 3], [FAILED_SETTLED, FAILED], 0),
        ([1, 1, 2], [FAILED_SETTLED, FAILED], 1),
        // The second call may have taken the key before the person settled it, or behind that.
        ([1, 1, 1], [DENIED, FAILED], 0),
        ([1, 1, 2], [DENIED, FAILED], 0),
    ];
    for (generations, before, faults) in cases {
        let told = judged(&of_generations(generations.map(Some), before), &[]).0;
        assert_eq!(told.len(), faults, "{generations:?} {before:?}: {told:?}");
    }
    // A day after it was done it is over, doubt or not.
    let late = |story: &str| {
        let day = ruche_domain::limits::BUSINESS_KEY_HELD_US + 10;
        let (done, behind) = story.split_at(story.find("5 tool.proposed 1 8").unwrap());
        let held = done.replace(
            r#""lease_expires_at":50"#,
            &format!(r#""lease_expires_at":{}"#, 2 * day),
        );
        let later = behind.replace("6 tool.started 1 8", &format!("{day} tool.started 1 8"));
        judged(&format!("{held}{later}"), &[]).0.len()
    };
    for (generations, faults) in [([1, 2, 3], 0), ([1, 1, 2], 1)] {
        let story = of_generations(generations.map(Some), [DONE_AGAIN, FAILED]);
        assert_eq!(late(&story), faults, "{generations:?}");
    }
}

/// What is gone must not be what the tool answers with; what may be there must be.
#[test]
fn a_key_gets_its_next_generation_where_what_was_done_is_gone_and_nowhere_else() {
    let cases = [
        ([Some(1), Some(2), Some(3)], [FAILED, FAILED], 0),
        ([Some(1), Some(1), Some(2)], [DENIED, FAILED], 0),
        ([Some(4), Some(5), Some(5)], [FAILED, DENIED], 0),
        ([Some(1), Some(1), Some(2)], [FAILED, FAILED], 1),
        ([Some(1), Some(2), Some(2)], [DENIED, DENIED], 1),
        ([Some(1), Some(2), Some(1)], [FAILED, DENIED], 1),
        // Written before generations were counted, up to the first that counts.
        ([None, None, Some(2)], [FAILED, FAILED], 0),
        ([None, Some(2), None], [FAILED, FAILED], 1),
    ];
    for (generations, before, faults) in cases {
        let told = judged(&of_generations(generations, before), &[]).0;
        assert_eq!(told.len(), faults, "{generations:?}: {told:?}");
    }
}

/// Where what a person found out is erased, the effect may have been there and be over.
#[test]
fn what_cannot_be_read_may_have_been_over() {
    let story = of_generations([Some(1), Some(2), Some(3)], [DENIED, FAILED]);
    let finding = r#"8 tool.outcome_asserted 1 7 {"outcome":"not_executed"}"#;
    assert_eq!(judged(&story, &[]).0.len(), 1);
    assert_eq!(judged(&story, &[finding]).0, [""; 0]);
}

#[test]
fn what_a_tool_is_given_follows_from_key_and_generation() {
    let start = r#"7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}"#;
    let second = "edd378b96da97a88133dcefd836f2267";
    for (generation, given, faults) in [(1, "00", 0), (2, "00", 1), (2, second, 0), (1, second, 1)] {
        let given = if given == "00" {
            "0".repeat(32)
        } else {
            given.to_owned()
        };
        let counted = format!(
            r#""attempt":1,"idempotency_key":"{given}","business_key_id":"{:032}","generation":{generation}"#,
            0
        );
        let line = start.replace(r#""attempt":1"#, &counted);
        let told = judged(&GOOD.replacen(start, &line, 1), &[]).0;
        assert_eq!(told.len(), faults, "{generation} {given}: {told:?}");
    }
}

/// Nobody knows whether a call of a turn that is over happened; another one has taken the key, and starts after a person found
/// out. To the tool that is a repeat.
#[test]
fn a_call_that_is_found_to_have_happened_does_not_take_its_key_back() {
    let key = "01".repeat(16);
    let story = format!(
        r#"1 message.received 1 -
1 turn.opened 1 -
3 turn.sealed 1 -
3 config.effective_resolved 1 -
3 turn.readied 1 - {{"attempt":1,"not_before":3}}
4 turn.started 1 - {{"attempt":1,"lease_epoch":1,"lease_expires_at":9}}
5 tool.proposed 1 7 {{"side_effect":"idempotent","business_key":"k"}}
5 policy.evaluated 1 7 {{"verdict":"allow"}}
6 tool.started 1 7 {{"side_effect":"idempotent","attempt":1,"idempotency_key":"{key}"}}
9 infra.lease_expired 1 - {{"lease_epoch":1}}
9 tool.outcome_unknown 1 7 {{"attempt":1}}
9 turn.failed 1 -
10 message.received 2 -
10 turn.opened 2 -
10 turn.sealed 2 -
10 config.effective_resolved 2 -
10 turn.readied 2 - {{"attempt":1,"not_before":10}}
11 turn.started 2 - {{"attempt":1,"lease_epoch":2,"lease_expires_at":60}}
12 tool.proposed 2 8 {{"side_effect":"idempotent","business_key":"k"}}
12 policy.evaluated 2 8 {{"verdict":"allow"}}
13 tool.outcome_asserted 1 7 {{"outcome":"completed"}}
14 tool.started 2 8 {{"side_effect":"idempotent","attempt":1,"idempotency_key":"{key}"}}"#
    );
    assert_eq!(judged(&story, &[]).0, [""; 0]);
    // The other one took the key while nobody knew, so its failure is not the last word of what is under the key.
    let third = |generation| {
        let given = effect_key(uuid::Uuid::from_bytes([1; 16]), generation);
        let counted = format!(r#""business_key_id":"{key}","generation":{generation}"#);
        let third = format!(
            r#"15 tool.failed 2 8 {{"attempt":1}}
16 tool.proposed 2 9 {{"side_effect":"idempotent","business_key":"k"}}
16 policy.evaluated 2 9 {{"verdict":"allow"}}
17 tool.started 2 9 {{"side_effect":"idempotent","attempt":1,"idempotency_key":"{given}",{counted}}}"#
        );
        judged(&format!("{story}\n{third}"), &[]).0
    };
    assert_eq!(third(1), [""; 0]);
    assert_eq!(third(2), ["ILLEGAL_TRANSITION 25"]);
    // A start does not get around its key by another word for what it does.
    let last = story.lines().last().unwrap();
    let done = story.replace("13 tool.outcome_asserted 1 7 {\"outcome\":\"completed\"}\n", "");
    let done = done.replace(
        "9 infra.lease_expired 1 - {\"lease_epoch\":1}\n9 tool.outcome_unknown 1 7",
        "9 tool.completed 1 7",
    );
    let pure = done.replace(last, &last.replace("idempotent", "pure"));
    for story in [&done, &pure] {
        assert_eq!(judged(story, &[]).0, ["ILLEGAL_TRANSITION 19"]);
    }
}
