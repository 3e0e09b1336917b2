//! Approvals that are used: given, in time, of this action, once.

use super::people::credential;
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

/// By whoever brought the vote or registered the key, or by another credential of one of these people.
#[tokio::test]
async fn an_approval_is_not_used_by_who_gave_it() {
    const OTHER: u128 = 9;
    let used = async |who: u128, user: Option<&str>| {
        let story = Story::asked().await;
        story.append(vec![credential(&story, who, user)]).await;
        story.append(story.vote(DESK, |_| ()).await).await;
        let mut consumed = story.consumed(action());
        consumed.event.actor.reference = Some(Uuid::from_u128(who));
        story.append(vec![consumed, story.started()]).await;
        story.judged().await.0
    };
    let found = ["APPROVAL_MISUSED 7", "EFFECT_WITHOUT_APPROVAL 8"];
    for (who, user) in [(DESK, None), (ADMIN, None), (OTHER, Some("alice"))] {
        assert_eq!(used(who, user).await, found, "{who} {user:?}");
    }
    assert_eq!(used(OTHER, Some("carol")).await, [""; 0]);
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
