//! Approvals that are used: given, in time, of this action, once.

use super::*;

#[tokio::test]
async fn an_approval_of_another_action_or_that_nobody_gave() {
    let story = Story::asked().await;
    story.append(story.vote(DESK, |_| ()).await).await;
    story
        .append(vec![story.consumed(Digest([0; 32])), story.started()])
        .await;
    story
        .finds(&["APPROVAL_MISUSED 6", "EFFECT_WITHOUT_APPROVAL 7"])
        .await;

    let story = Story::asked().await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story
        .finds(&["APPROVAL_MISUSED 4", "EFFECT_WITHOUT_APPROVAL 5"])
        .await;

    let story = Story::asked().await;
    story.append(vec![story.resolved()]).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story.finds(&["DECISION_WITHOUT_VOTE 4"]).await;
}

#[tokio::test]
async fn an_approval_is_used_once() {
    let story = Story::asked().await;
    story.append(story.vote(DESK, |_| ()).await).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story
        .finds(&["APPROVAL_USED_TWICE 8", "EFFECT_WITHOUT_APPROVAL 9"])
        .await;
}

#[tokio::test]
async fn nobody_is_in_time_by_their_own_word() {
    // Recorded six minutes behind the end of the request, said to be in time.
    let used = async |late: u64| {
        let story = voted(|_| ()).await;
        story.clock.0.store(NOW.0 + 1_000 + late, Ordering::SeqCst);
        story
            .append(vec![story.consumed(action()), story.started()])
            .await;
        story.judged().await.0
    };
    assert_eq!(used(60 * 1_000_000).await, [""; 0]);
    assert_eq!(
        used(6 * 60 * 1_000_000).await,
        ["APPROVAL_MISUSED 6", "EFFECT_WITHOUT_APPROVAL 7"]
    );
}

#[tokio::test]
async fn an_approval_whose_key_is_revoked_before_the_start() {
    let story = voted(|_| ()).await;
    story.append(vec![story.revoked()]).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story
        .finds(&["APPROVAL_MISUSED 7", "EFFECT_WITHOUT_APPROVAL 8"])
        .await;
}
