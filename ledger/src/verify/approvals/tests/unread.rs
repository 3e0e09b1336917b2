//! Payloads and records that are not there or say nothing: no evidence either way, and no way around the rules.

use super::*;

/// A payload that nobody can read is no way around the rules.
#[tokio::test]
async fn payloads_that_say_nothing_are_told_and_a_revocation_counts_all_the_same() {
    let unreadable = |story: &Story, event: PreparedEvent| {
        let broken = story
            .author
            .typed_event(event.event.stream, &event.event.event_type, b"[]".to_vec());
        PreparedEvent {
            event: event.event,
            payload: broken.payload,
        }
    };
    let story = Story::asked().await;
    let vote = story.vote(DESK, |_| ()).await;
    story.append(vec![unreadable(&story, story.revoked())]).await;
    story.append(vote).await;
    let found = ["PAYLOAD_MALFORMED 4", "VOTE_INVALID 5", "DECISION_WITHOUT_VOTE 6"];
    story.finds(&found).await;

    let story = voted(|_| ()).await;
    story.append(vec![unreadable(&story, story.started())]).await;
    // That it started its leaf says, and that nothing was used up for that no leaf denies.
    let found = ["PAYLOAD_MALFORMED 6", "EFFECT_WITHOUT_APPROVAL 6"];
    story.finds(&found).await;
}

/// What was erased is missing, and nothing is concluded from that.
#[tokio::test]
async fn an_erased_payload_is_no_evidence_against_what_rests_on_it() {
    let story = voted(|_| ()).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    // The key, the proposal, the request, the vote, the decision, the use and the start.
    for at in 1..=7 {
        let (found, not_run) = story.judged_without(&[at]).await;
        assert_eq!(found, [format!("PAYLOAD_MISSING {at}")]);
        assert!(not_run.is_empty(), "that it started, the leaf says");
    }
    // What is not erased is judged: a start that nobody allowed is found beside it.
    let story = Story::asked().await;
    story.append(vec![story.started()]).await;
    let (found, _) = story.judged_without(&[2]).await;
    assert_eq!(found, ["PAYLOAD_MISSING 2", "EFFECT_WITHOUT_APPROVAL 4"]);
}

/// What commits to no payload was never written by Ruche, and was not erased either.
#[tokio::test]
async fn a_record_that_never_had_a_payload_is_not_taken_for_an_erased_one() {
    let story = voted(|_| ()).await;
    let mut started = story.started();
    started.payload.clear();
    story.append(vec![started]).await;
    // That it started its leaf says, and that nothing was used up for that no leaf denies.
    let found = ["PAYLOAD_MALFORMED 6", "EFFECT_WITHOUT_APPROVAL 6"];
    story.finds(&found).await;
}

#[tokio::test]
async fn a_hole_excuses_what_began_before_it_and_nothing_behind_it() {
    // Proposed, asked for and never voted on: the start is found, whatever cannot be read in front of the proposal.
    let story = Story::asked().await;
    story.append(vec![story.started()]).await;
    let found = vec!["EFFECT_WITHOUT_APPROVAL 4".to_owned()];
    assert_eq!(story.judged().await.0, found);
    assert_eq!(story.judged_with(&[], &[1]).await.0, found);
    // The vote and the use may have stood in what lies between. Whether the call ran before is not known either.
    let nothing: (Vec<String>, Vec<u64>) = (vec![], vec![]);
    assert_eq!(story.judged_with(&[], &[3]).await, nothing);

    // A whole story in which single records cannot be read.
    let story = voted(|_| ()).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    for unreadable in 1..=7 {
        assert_eq!(
            story.judged_with(&[], &[unreadable]).await,
            nothing,
            "{unreadable}"
        );
    }
}

/// What an import said of a tool decides nothing, so that it was erased makes nothing doubtful either: a tool that nobody
/// registered is one that has to be asked for.
#[tokio::test]
async fn an_imported_registration_that_was_erased_hides_no_start() {
    for (provenance, is_found) in [(Provenance::Imported, true), (Provenance::Attested, false)] {
        let story = Story::new().await;
        let tool = ToolRegistered::new("look_up".to_owned(), SideEffectPolicy::Pure);
        let mut registered = story.event(StreamId::new(Category::Tool, Uuid::from_u128(500)), ADMIN, tool);
        registered.event.call = None;
        registered.event.provenance = provenance;
        story.append(vec![registered]).await;
        let mut proposed = ToolProposed::new("delete_file".to_owned(), r#"{"path":"/a"}"#.to_owned());
        proposed.side_effect = Some(SideEffectPolicy::Pure);
        let mut started = ToolStarted::new("delete_file".to_owned());
        started.side_effect = Some(SideEffectPolicy::Pure);
        let (proposed, started) = (
            story.event(lane(), AGENT, proposed),
            story.event(lane(), AGENT, started),
        );
        story.append(vec![proposed, started]).await;
        let (found, _) = story.judged_without(&[1]).await;
        let mut expected = vec!["PAYLOAD_MISSING 1"];
        if is_found {
            expected.extend(["ILLEGAL_TRANSITION 2", "EFFECT_WITHOUT_APPROVAL 3"]);
        }
        assert_eq!(found, expected, "{provenance:?}");
    }
}
