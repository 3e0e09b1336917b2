//! Votes on requests of an epoch that is over, as after a restore.

use ruche_domain::numbers::Position;
use ruche_ledger::testing::Author;

use super::*;

impl World {
    /// The ledger goes on in another epoch.
    async fn restored(&self) {
        let ledger = self.ledger.context.ledger;
        let end = self
            .ledger
            .store
            .head(ledger)
            .await
            .unwrap()
            .unwrap()
            .last_position();
        let opening = Author::new(2).opening(ledger, 2, end);
        self.ledger.store.open_epoch(ledger, opening).await.unwrap();
    }
}

/// Neither a yes nor a no decides; nobody waits for it any more, and people are asked anew.
#[tokio::test]
async fn a_request_of_an_epoch_that_is_over_is_stale_and_not_voted_on() {
    for (channel, goes_on) in [("webchat", "infra.lease_renewed"), ("whatsapp", "turn.opened")] {
        for decision in [ApprovalDecision::Approve, ApprovalDecision::Reject] {
            let world = World::on(channel).await;
            world.register().await;
            let envelope = world.statement(decision, |_| ()).await;
            world.restored().await;
            let receipt = world.vote(DESK, "vote", envelope.clone()).await.unwrap();
            let told = types(&receipt);
            assert_eq!(told[..3], ["approval.vote_refused", "approval.stale", goes_on]);
            assert!(
                receipt
                    .receipts()
                    .iter()
                    .all(|receipt| receipt.position >= Position::new(2, 1))
            );
            let fact = |index: usize| receipt.events[index].agent_event().unwrap().unwrap();
            let (AgentEvent::ApprovalVoteRefused(refused), AgentEvent::ApprovalStale(stale)) =
                (fact(0), fact(1))
            else {
                panic!("{told:?}")
            };
            assert_eq!(refused.refusal, VoteRefusal::Epoch);
            let detail = refused.detail.unwrap();
            assert!(detail.ends_with("the call has to be proposed anew"), "{detail}");
            assert_eq!(stale.what_changed, [StaleCause::Epoch]);
            let late = world.statement(decision, |said| said.reason = None).await;
            assert_eq!(world.refused(DESK, "late", late).await, VoteRefusal::Decided);
        }
    }
}

/// Whoever is nobody's reviewer does not end a request by sending something.
#[tokio::test]
async fn what_would_not_count_anyway_leaves_the_request_alone() {
    let world = World::new().await;
    world.register().await;
    let own = world.approve().await;
    world.restored().await;
    let junk = world.refused(DESK, "junk", "{}".to_owned()).await;
    assert_eq!(junk, VoteRefusal::Malformed);
    assert_eq!(world.refused(AGENT, "own", own).await, VoteRefusal::Requester);
}
