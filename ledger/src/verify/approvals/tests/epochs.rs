//! Approvals over the end of an epoch: what was asked for before it starts nothing behind it.

use super::*;

impl Story {
    /// The ledger goes on in another epoch, as after a restore.
    async fn restored(&self) {
        let end = self
            .store
            .head(self.ledger)
            .await
            .unwrap()
            .unwrap()
            .last_position();
        let opening = self.author.opening(self.ledger, 2, end);
        self.store.open_epoch(self.ledger, opening).await.unwrap();
    }

    /// The same story without fault, from the request on, in epoch 2.
    async fn is_approved_and_used(&self) {
        self.append(vec![self.proposed(), self.request(requested())])
            .await;
        self.append(self.vote(DESK, |_| ()).await).await;
        self.append(vec![self.consumed(action()), self.started()]).await;
    }

    /// What is found where the end of epoch 1 is there, and where it is lost.
    async fn found_whole_and_lost(&self, erased: &[u64]) -> [Vec<String>; 2] {
        let mut found = [Vec::new(), Vec::new()];
        for (is_end_lost, found) in [false, true].into_iter().zip(&mut found) {
            let missing = Missing {
                erased,
                is_end_lost,
                ..Missing::default()
            };
            *found = self.checked(RecordChecker::new(), missing).await.0;
        }
        found
    }
}

#[tokio::test]
async fn what_is_asked_for_and_used_behind_a_restore_has_no_finding() {
    let story = Story::new().await;
    story.append(vec![story.key(&alice())]).await;
    story.restored().await;
    story.is_approved_and_used().await;
    assert_eq!(story.found_whole_and_lost(&[]).await, [[""; 0]; 2]);
}

/// It may have been used in what was lost, whether that was much, nothing, or nobody knows what.
#[tokio::test]
async fn an_approval_of_an_epoch_that_is_over_is_not_used() {
    let story = Story::asked().await;
    story.append(story.vote(DESK, |_| ()).await).await;
    story.restored().await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    let [whole, lost] = story.found_whole_and_lost(&[]).await;
    assert_eq!(whole, ["APPROVAL_MISUSED 1", "EFFECT_WITHOUT_APPROVAL 2"]);
    assert_eq!(lost, ["APPROVAL_MISUSED 1"], "nor is the proposal known then");
    // Leaves tell which request, and that it is of another epoch.
    for erased in [1, 3] {
        for found in story.found_whole_and_lost(&[erased]).await {
            assert!(
                found.contains(&"APPROVAL_MISUSED 1".to_owned()),
                "{erased}: {found:?}"
            );
        }
    }
}

/// Nor voted on: the bytes of a vote that was lost could be sent once more.
#[tokio::test]
async fn nobody_votes_on_a_request_of_an_epoch_that_is_over() {
    let story = Story::asked().await;
    story.restored().await;
    story.append(story.vote(DESK, |_| ()).await).await;
    story.finds(&["VOTE_INVALID 1", "DECISION_WITHOUT_VOTE 2"]).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    let [whole, lost] = story.found_whole_and_lost(&[]).await;
    assert!(whole.contains(&"APPROVAL_MISUSED 3".to_owned()), "{whole:?}");
    assert_eq!(lost, ["APPROVAL_MISUSED 3"]);
}

/// The request may stand in what cannot be read, as long as that is of this epoch.
#[tokio::test]
async fn a_request_that_cannot_be_read_is_of_its_epoch() {
    let story = Story::new().await;
    story.append(vec![story.key(&alice())]).await;
    story.restored().await;
    story.is_approved_and_used().await;
    let missing = |unreadable| Missing {
        unreadable,
        is_end_lost: true,
        ..Missing::default()
    };
    let checked = async |unreadable| story.checked(RecordChecker::new(), missing(unreadable)).await.0;
    assert_eq!(checked(&[2]).await, [""; 0]);
}
