use proptest::prelude::*;

use super::{KeyPossession, Nonce, RequestEnvelope, RequestFacts, Statement, StatementError, view};
use crate::events::{ApprovalDecision, ApprovalMode, ApprovalRequested, ApprovalRule};
use crate::ids::{ApprovalId, CallId, SessionId, TenantId, TurnId};
use crate::limits::VOTE_REASON_BYTES_MAX;
use crate::measures::Digest;
use crate::numbers::{Micros, Position, SchemaVersion};
use crate::side_effect::SideEffectPolicy;

fn facts() -> RequestFacts {
    RequestFacts {
        ledger: "example.org/k3f/e1".to_owned(),
        approval_id: ApprovalId::from_bytes([3; 16]),
        position: Position::new(1, 17),
        leaf_hash: Digest([4; 32]),
        action_digest: Digest([5; 32]),
        view_digest: Digest([6; 32]),
        policy_digest: None,
        config_digest: Some(Digest([7; 32])),
        nonce: Nonce([8; 16]),
        expires_at: Micros(1_700_000_000_000_000),
    }
}

fn statement(reason: Option<&str>) -> Result<Statement, StatementError> {
    Statement::new(
        facts(),
        "alice",
        &"9".repeat(64),
        ApprovalDecision::Approve,
        reason,
    )
}

fn request() -> ApprovalRequested {
    let rule = ApprovalRule::new(1);
    let mut request = ApprovalRequested::new(Digest([5; 32]), rule, Micros(9), ApprovalMode::Blocking);
    request.tool_name = Some("delete_file".to_owned());
    request.agent_id = Some("shop".to_owned());
    request.side_effect = Some(SideEffectPolicy::Irreversible);
    request.arguments = Some("{\"path\":\n\"/a\"}".to_owned());
    request.justification = Some("the user\nasked".to_owned());
    request
}

#[test]
fn a_statement_has_these_bytes() {
    let text = String::from_utf8(statement(Some("looked at it")).unwrap().to_bytes()).unwrap();
    let expected = format!(
        concat!(
            r#"{{"v":1,"request":{{"ledger":"example.org/k3f/e1","approval_id":"03030303-0303-0303-0303-030303030303","#,
            r#""position":"1:17","leaf_hash":"{four}","action_digest":"{five}","view_digest":"{six}","#,
            r#""config_digest":"{seven}","nonce":"{eight}","expires_at":1700000000000000}},"#,
            r#""reviewer":"alice","key_id":"{nine}","decision":"approve","reason":"looked at it"}}"#
        ),
        four = "04".repeat(32),
        five = "05".repeat(32),
        six = "06".repeat(32),
        seven = "07".repeat(32),
        eight = "08".repeat(16),
        nine = "9".repeat(64),
    );
    assert_eq!(text, expected, "docs/formats/approval.md describes these bytes");
    assert_eq!(Statement::parse(text.as_bytes()), statement(Some("looked at it")));
}

#[test]
fn a_statement_has_one_spelling() {
    let good = String::from_utf8(statement(None).unwrap().to_bytes()).unwrap();
    let spelled = [
        good.replace("\"v\":1", "\"v\": 1"),
        good.replace("\"v\":1,", "")
            .replace("\"reviewer\"", "\"v\":1,\"reviewer\""),
        good.replace("alice", "\\u0061lice"),
        good.replace("\"decision\"", "\"reason\":null,\"decision\""),
        format!("{good}\n"),
    ];
    for text in spelled {
        assert_eq!(
            Statement::parse(text.as_bytes()),
            Err(StatementError::Spelling),
            "{text}"
        );
    }
    let unread = [
        good.replace("\"v\":1", "\"v\":1,\"v\":1"),
        good.replace("\"decision\"", "\"quorum\":2,\"decision\""),
        good.replace("approve", "maybe"),
        good.replace("1700000000000000", "1.7e15"),
        good.replace("0505", "0A05"),
    ];
    for text in unread {
        let read = Statement::parse(text.as_bytes());
        assert!(matches!(read, Err(StatementError::Form(_))), "{text}: {read:?}");
    }
    let newer = good.replace("\"v\":1", "\"v\":2");
    assert_eq!(
        Statement::parse(newer.as_bytes()),
        Err(StatementError::Version(2))
    );
}

#[test]
fn texts_of_a_statement_are_bounded() {
    assert!(statement(Some(&"x".repeat(VOTE_REASON_BYTES_MAX))).is_ok());
    for reason in ["", "a\nb", &"x".repeat(VOTE_REASON_BYTES_MAX + 1)] {
        assert_eq!(statement(Some(reason)), Err(StatementError::Text("reason")));
    }
    let long = "x".repeat(100_000);
    assert!(matches!(
        Statement::parse(long.as_bytes()),
        Err(StatementError::TooLong(_))
    ));
}

#[test]
fn differences_are_named() {
    let mut other = facts();
    assert!(facts().differences(&other).is_empty());
    other.action_digest = Digest([0; 32]);
    other.nonce = Nonce([0; 16]);
    other.policy_digest = Some(Digest([0; 32]));
    assert_eq!(
        facts().differences(&other),
        ["action_digest", "policy_digest", "nonce"]
    );
}

fn envelope(schema_version: u32) -> RequestEnvelope {
    RequestEnvelope {
        approval: ApprovalId::from_bytes([3; 16]),
        schema_version: SchemaVersion(schema_version),
        session: Some(SessionId::from_bytes([10; 16])),
        turn: Some(TurnId::from_bytes([11; 16])),
    }
}

/// A request that says all that can be said.
fn whole_request() -> ApprovalRequested {
    let digest = |byte| Some(Digest([byte; 32]));
    ApprovalRequested {
        rule: ApprovalRule {
            approvals_required: 1,
            groups: vec!["finance".to_owned(), "it".to_owned()],
            excluded: vec!["requester".to_owned()],
            assurance: Some("high".to_owned()),
        },
        expires_at: Micros(1_700_000_000_999_999),
        call_id: Some(CallId::from_bytes([12; 16])),
        decision_id: Some("d-1".to_owned()),
        policy_digest: digest(0x13),
        config_digest: digest(0x14),
        schema_digest: digest(0x15),
        tenant_id: Some(TenantId::from_bytes([16; 16])),
        channel: Some("web".to_owned()),
        business_key: Some("order 7".to_owned()),
        ordinal: Some(2),
        tool_version: Some("1.4".to_owned()),
        tool_owner: Some("shop team".to_owned()),
        interlocutor_id: Some("ann".to_owned()),
        requested_by: Some("carol".to_owned()),
        ..request()
    }
}

#[test]
fn a_view_shows_one_line_per_fact_and_the_arguments_as_they_are() {
    let shown = view(&envelope(4), &whole_request());
    let expected = format!(
        "Ruche approval request, view 3\n\
         request: 03030303-0303-0303-0303-030303030303\n\
         tenant: 10101010-1010-1010-1010-101010101010\n\
         session: 0a0a0a0a-0a0a-0a0a-0a0a-0a0a0a0a0a0a\n\
         turn: 0b0b0b0b-0b0b-0b0b-0b0b-0b0b0b0b0b0b\n\
         call: 0c0c0c0c-0c0c-0c0c-0c0c-0c0c0c0c0c0c\n\
         number in the turn: 2\n\
         tool: delete_file\n\
         tool version, as registered: 1.4\n\
         who answers for the tool: shop team\n\
         schema digest: {}\n\
         agent: shop\n\
         asked for by: carol\n\
         talks with: ann\n\
         channel: web\n\
         effect: irreversible\n\
         business key: order 7\n\
         expires: 2023-11-14T22:13:20Z, 1700000000999999 µs\n\
         the turn waits: blocking\n\
         action digest: {}\n\
         policy digest: {}\n\
         config digest: {}\n\
         policy decision: d-1\n\
         approvals needed: 1\n\
         from groups: finance, it\n\
         may not decide: requester\n\
         assurance: high\n\
         reason of the agent, not checked: the user\\u{{a}}asked\n\
         arguments, 14 bytes:\n\
         | {{\"path\":\n\
         | \"/a\"}}\n",
        "15".repeat(32),
        "05".repeat(32),
        "13".repeat(32),
        "14".repeat(32),
    );
    assert_eq!(shown, expected, "docs/formats/approval.md describes this text");
    // Votes were given on it, and have to verify for ever.
    let before = expected
        .replace("view 3", "view 2")
        .replace("asked for by: carol\n", "");
    assert_eq!(view(&envelope(3), &whole_request()), before);
}

/// Votes were given on it, and have to verify for ever.
#[test]
fn records_before_version_3_are_shown_as_they_were() {
    let expected = format!(
        "Ruche approval request, view 1\n\
         request: 03030303-0303-0303-0303-030303030303\n\
         tool: delete_file\n\
         agent: shop\n\
         effect: irreversible\n\
         action digest: {}\n\
         approvals needed: 1\n\
         reason of the agent, not checked: the user\\u{{a}}asked\n\
         arguments, 14 bytes:\n\
         | {{\"path\":\n\
         | \"/a\"}}\n",
        "05".repeat(32)
    );
    let mut later = request();
    later.expires_at = Micros(77);
    later.mode = ApprovalMode::Detached;
    for version in [1, 2] {
        assert_eq!(view(&envelope(version), &request()), expected);
        assert_eq!(view(&envelope(version), &later), expected);
    }
}

/// Whatever of a request changes, what was signed is another view.
#[test]
fn nothing_that_matters_is_left_out_of_a_view() {
    type Change = fn(&mut ApprovalRequested);
    let changes: [Change; 22] = [
        |it| it.action_digest = Digest([0; 32]),
        |it| it.rule.approvals_required = 2,
        |it| it.rule.groups.clear(),
        |it| it.rule.excluded.clear(),
        |it| it.rule.assurance = None,
        |it| it.expires_at.0 += 1,
        |it| it.mode = ApprovalMode::Detached,
        |it| it.call_id = None,
        |it| it.tool_name = None,
        |it| it.arguments = Some("{\"path\": \"/a\"}".to_owned()),
        |it| it.side_effect = None,
        |it| it.policy_digest = None,
        |it| it.config_digest = None,
        |it| it.schema_digest = None,
        |it| it.agent_id = None,
        |it| it.tenant_id = None,
        |it| it.channel = None,
        |it| it.business_key = None,
        |it| it.ordinal = Some(3),
        |it| it.tool_owner = None,
        |it| it.interlocutor_id = None,
        |it| it.requested_by = None,
    ];
    let shown = view(&envelope(4), &whole_request());
    for (number, change) in changes.iter().enumerate() {
        let mut other = whole_request();
        change(&mut other);
        assert_ne!(view(&envelope(4), &other), shown, "change {number}");
    }
    let elsewhere = [
        RequestEnvelope {
            session: None,
            ..envelope(4)
        },
        RequestEnvelope {
            turn: None,
            ..envelope(4)
        },
    ];
    for envelope in elsewhere {
        assert_ne!(view(&envelope, &whole_request()), shown, "{envelope:?}");
    }
}

#[test]
fn possession_names_tenant_reviewer_and_key() {
    let possession = KeyPossession::new(TenantId::from_bytes([1; 16]), "alice", [2; 32]).unwrap();
    let text = String::from_utf8(possession.to_bytes()).unwrap();
    let key = "02".repeat(32);
    let expected = format!(
        r#"{{"v":1,"tenant":"01010101-0101-0101-0101-010101010101","reviewer":"alice","public_key":"{key}"}}"#
    );
    assert_eq!(text, expected);
    assert_eq!(KeyPossession::parse(text.as_bytes()), Ok(possession));
    let spaced = text.replace(',', ", ");
    assert_eq!(
        KeyPossession::parse(spaced.as_bytes()),
        Err(StatementError::Spelling)
    );
    assert!(KeyPossession::new(TenantId::from_bytes([1; 16]), "", [2; 32]).is_err());
}

proptest! {
    /// No text in a request can look like another line, hide characters or turn the writing round.
    #[test]
    fn nothing_in_a_request_passes_for_a_fact(text in "(\\PC|[\n\r\t\u{1b}\u{200b}\u{202e}\u{2028}\u{85}]|tool: ){0,40}") {
        let mut plain = request();
        plain.arguments = Some("x".to_owned());
        let mut odd = plain.clone();
        odd.justification = Some(text.clone());
        odd.tool_name = Some(text.clone());
        odd.arguments = Some(text.clone());
        odd.business_key = Some(text.clone());
        odd.rule.groups = vec![text.clone()];
        plain.business_key = Some("x".to_owned());
        plain.rule.groups = vec!["x".to_owned()];
        let (plain, odd) = (view(&envelope(3), &plain), view(&envelope(3), &odd));
        let heads = |view: &str| -> Vec<String> {
            let facts = view.lines().filter(|line| !line.starts_with("| "));
            facts.map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect()
        };
        let number_of_bytes = |line: &String| !line.starts_with("arguments, ");
        let (mut plain, mut odd_heads) = (heads(&plain), heads(&odd));
        plain.retain(number_of_bytes);
        odd_heads.retain(number_of_bytes);
        prop_assert_eq!(plain, odd_heads);
        let hidden = ['\r', '\t', '\u{1b}', '\u{200b}', '\u{202e}', '\u{2028}', '\u{85}'];
        prop_assert!(!odd.contains(hidden), "{odd:?}");
    }

    /// What is read says what was written.
    #[test]
    fn a_statement_survives_the_way(reviewer in "\\PC{1,40}", reason in prop::option::of("\\PC{1,40}"), approve: bool, at: u64) {
        let decision = if approve { ApprovalDecision::Approve } else { ApprovalDecision::Reject };
        let mut facts = facts();
        facts.expires_at = Micros(at);
        let made = Statement::new(facts, &reviewer, "k", decision, reason.as_deref());
        prop_assume!(made.is_ok());
        let made = made.unwrap();
        prop_assert_eq!(Statement::parse(&made.to_bytes()), Ok(made));
    }
}
