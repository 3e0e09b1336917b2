//! Votes that count and that do not, the keys that they are signed with, and what is decided with them.

use super::*;

/// A ledger says whose key a key is; an auditor knows it from the people.
#[tokio::test]
async fn an_approval_under_a_key_that_nobody_vouched_for() {
    let story = Story::asked().await;
    let bob = PrivateKey::from_seed(&[77; 32]).public().to_hex();
    let alice = alice().public();
    assert_eq!(story.audited(None).await, (vec![], vec![]), "nothing was decided");
    story.append(story.vote(DESK, |_| ()).await).await;
    let (found, used) = story.audited(Some(&format!("bob {bob}"))).await;
    assert_eq!(found, [""; 0], "decided and not used");
    let expected = ReviewerUse {
        key_id: key_id(&alice),
        public_key: alice.to_hex(),
        reviewer: "alice".to_owned(),
        registered_at: Position::new(1, 1),
        revoked_at: None,
        decisions: 1,
        is_trusted: Some(false),
    };
    assert_eq!(used, std::slice::from_ref(&expected));
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story.append(vec![story.revoked()]).await;
    let revoked_at = Some(Position::new(1, 8));
    for (trusted, found, is_trusted) in [
        (None, &[][..], None),
        (Some(format!("alice {}", alice.to_hex())), &[], Some(true)),
        (Some(format!("bob {bob}")), &["REVIEWER_UNTRUSTED 6"], Some(false)),
        (
            Some(format!("bob {}", alice.to_hex())),
            &["REVIEWER_UNTRUSTED 6"],
            Some(false),
        ),
    ] {
        let audited = story.audited(trusted.as_deref()).await;
        assert_eq!(audited.0, found, "{trusted:?}");
        let used = ReviewerUse {
            revoked_at,
            is_trusted,
            ..expected.clone()
        };
        assert_eq!(audited.1, [used], "{trusted:?}");
    }
}

#[tokio::test]
async fn what_was_decided_is_not_decided_again() {
    let story = voted(|_| ()).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story.append(vec![story.resolved()]).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    let found = [
        "DECISION_WITHOUT_VOTE 8",
        "APPROVAL_USED_TWICE 9",
        "EFFECT_WITHOUT_APPROVAL 10",
    ];
    story.finds(&found).await;
}

#[tokio::test]
async fn votes_that_do_not_count() {
    let both = &["VOTE_INVALID 4", "DECISION_WITHOUT_VOTE 5"];
    let story = Story::asked().await;
    story.append(story.vote(AGENT, |_| ()).await).await;
    story.finds(both).await;

    let story = Story::asked().await;
    let vote = story.vote(DESK, |voted| {
        voted.signature = voted.signature.replace("\"sig\":\"", "\"sig\":\"AAAA")
    });
    story.append(vote.await).await;
    story.finds(both).await;

    let story = Story::asked().await;
    let vote = story.vote(DESK, |voted| voted.reviewer = "bob".to_owned());
    story.append(vote.await).await;
    story.finds(both).await;

    let story = Story::asked().await;
    let vote = story.vote(DESK, |_| ()).await;
    story.append(vec![story.revoked()]).await;
    story.append(vote).await;
    story.finds(&["VOTE_INVALID 5", "DECISION_WITHOUT_VOTE 6"]).await;

    let story = Story::new().await;
    story.append(vec![story.request(requested())]).await;
    story.append(story.vote(DESK, |_| ()).await).await;
    story.finds(&["VOTE_INVALID 2", "DECISION_WITHOUT_VOTE 3"]).await;
}

#[tokio::test]
async fn a_key_of_which_nobody_shows_the_private_half() {
    let story = Story::new().await;
    story
        .append(vec![story.key(&PrivateKey::from_seed(&[9; 32]))])
        .await;
    story.finds(&["REVIEWER_KEY_INVALID 1"]).await;
}

#[tokio::test]
async fn a_request_is_settled_once() {
    let lapsed = |story: &Story| {
        let said = ApprovalExpired::new(Micros(NOW.0 + 1_000));
        let mut event = story.event(approval_stream(), AGENT, said);
        event.event.occurred_at = Micros(NOW.0 + 1_000);
        event
    };
    let story = voted(|_| ()).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story.append(vec![lapsed(&story)]).await;
    story.finds(&["ILLEGAL_TRANSITION 8"]).await;

    let story = Story::asked().await;
    story.append(vec![lapsed(&story)]).await;
    let voided = story.event(approval_stream(), AGENT, ApprovalVoided::default());
    story.append(vec![voided]).await;
    story.append(story.vote(DESK, |_| ()).await).await;
    let found = [
        "ILLEGAL_TRANSITION 5",
        "VOTE_INVALID 6",
        "DECISION_WITHOUT_VOTE 7",
    ];
    story.finds(&found).await;
}

/// A ledger has the id of its tenant, and record 0 says it.
#[tokio::test]
async fn a_key_and_a_request_of_another_tenant() {
    let story = Story::of(ledger(2)).await;
    story.append(vec![story.key(&alice())]).await;
    story
        .append(vec![story.proposed(), story.request(requested())])
        .await;
    story
        .finds(&["REVIEWER_KEY_INVALID 1", "REQUEST_MISMATCH 3"])
        .await;
}

/// The first vote that counts decides. A no that nobody acted on is a no.
#[tokio::test]
async fn a_no_is_not_stepped_over() {
    let story = Story::asked().await;
    let no = story.signed(&requested(), ApprovalDecision::Reject).await;
    story.append(vec![story.event(approval_stream(), DESK, no)]).await;
    story.append(story.vote(DESK, |_| ()).await).await;
    let found = ["VOTE_INVALID 5", "DECISION_WITHOUT_VOTE 6"];
    story.finds(&found).await;
}
