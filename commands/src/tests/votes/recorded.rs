//! Which of the votes that do not count leave a record.

use ruche_domain::limits::VOTE_REFUSALS_PER_REQUEST_MAX;

use super::*;

#[tokio::test]
async fn votes_that_do_not_count_are_recorded_for_a_bounded_number_of_attempts() {
    let world = World::new().await;
    let first = world.vote(DESK, "1", "{}".to_owned()).await.unwrap();
    let size = world.ledger.size().await;
    let again = world.vote(DESK, "2", "{ }".to_owned()).await.unwrap();
    assert!(again.unchanged, "the same cause and credential");
    assert_eq!(again.receipts(), first.receipts());
    assert_eq!(world.ledger.size().await, size);
    for who in 100.. {
        let answer = world.vote(who, &who.to_string(), "{}".to_owned()).await;
        let recorded = world.events().await.len() - 1;
        if let Err(refused) = answer {
            assert_eq!(
                (refused.code(), recorded),
                ("LIMIT_EXCEEDED", VOTE_REFUSALS_PER_REQUEST_MAX)
            );
            break;
        }
        assert!(recorded <= VOTE_REFUSALS_PER_REQUEST_MAX);
    }
    // Attempts do not keep a good vote from deciding.
    world.register().await;
    let voted = world.vote(DESK, "good", world.approve().await).await.unwrap();
    assert_eq!(types(&voted)[..2], ["approval.voted", "approval.resolved"]);
}

/// Three reviewers who decide at the same time, at one desk: all three find the request open, and one of them decides. Before
/// each append the store lets the others come as far, so they meet every time.
#[tokio::test]
async fn whoever_loses_a_race_of_votes_leaves_a_record() {
    let world = World::new().await;
    let names = ["alice", "bob", "carol"];
    let signers = [7, 8, 9].map(|seed| PrivateKey::from_seed(&[seed; 32]));
    let mut votes = Vec::new();
    for (name, signer) in names.into_iter().zip(&signers) {
        let command = world.registration(signer, name);
        world.send(ADMIN, name, &command).await.unwrap();
        let decision = ApprovalDecision::Approve;
        votes.push(world.signed_by((name, signer), decision, |_| ()).await);
    }
    world.store.appends();
    let [alice, bob, carol] = votes.try_into().unwrap();
    let (alice, bob, carol) = tokio::join!(
        world.vote(DESK, "vote-0", alice),
        world.vote(DESK, "vote-1", bob),
        world.vote(DESK, "vote-2", carol),
    );
    assert!(world.store.appends() > 3, "they did not meet");
    let answers = [alice, bob, carol].map(Result::unwrap);
    let decided = answers
        .iter()
        .filter(|answer| types(answer)[0] == "approval.voted");
    assert_eq!(decided.count(), 1);
    let of = |record: &Record| {
        let event = &record.leaf.event;
        let payload = record.payload_bytes().unwrap();
        match AgentEvent::from_payload(&event.event_type, event.schema_version, payload).unwrap() {
            AgentEvent::ApprovalVoted(voted) => Some(voted.reviewer),
            AgentEvent::ApprovalVoteRefused(refused) => {
                assert_eq!(refused.refusal, VoteRefusal::Decided);
                refused.reviewer
            }
            _ => None,
        }
    };
    let mut told: Vec<String> = world.events().await.iter().filter_map(of).collect();
    told.sort();
    assert_eq!(told, names, "each of them is told of");
}

/// What anybody can send does not use up the room of what a reviewer signed, nor the other way round.
#[tokio::test]
async fn signed_votes_are_recorded_whatever_else_was_tried() {
    let world = World::new().await;
    world.register().await;
    let voted = world.vote(DESK, "good", world.approve().await).await.unwrap();
    assert_eq!(types(&voted)[0], "approval.voted");
    for who in 0..VOTE_REFUSALS_PER_REQUEST_MAX {
        let key = format!("junk-{who}");
        world.refused(100 + who as u128, &key, "{}".to_owned()).await;
    }
    let full = world.vote(99, "more junk", "{}".to_owned()).await.unwrap_err();
    assert_eq!(full.code(), "LIMIT_EXCEEDED");
    let late = async |number: usize| {
        let change = |statement: &mut Statement| statement.reason = Some(format!("late {number}"));
        world.statement(ApprovalDecision::Reject, change).await
    };
    for number in 0..VOTE_REFUSALS_PER_REQUEST_MAX {
        let refused = world
            .refused(DESK, &format!("late-{number}"), late(number).await)
            .await;
        assert_eq!(refused, VoteRefusal::Decided);
    }
    let again = world.vote(DESK, "late again", late(0).await).await.unwrap();
    assert!(again.unchanged, "the same envelope");
    let full = world.vote(DESK, "too many", late(64).await).await.unwrap_err();
    assert_eq!(full.code(), "LIMIT_EXCEEDED");
}
