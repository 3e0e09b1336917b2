//! What reviewers are shown is so of the call that was proposed, and of the lane that it stands in.

use ruche_domain::events::{TurnOpened, TurnTrigger};

use super::*;

/// A turn of a lane whose names these are, the key, a proposal and its request.
async fn asked(
    names: (&str, &str, &str),
    propose: impl FnOnce(&mut PreparedEvent),
    said: ApprovalRequested,
) -> Story {
    let story = Story::new().await;
    let (agent, channel, interlocutor) = names;
    let opened = TurnOpened {
        agent_id: Some(agent.to_owned()),
        channel: Some(channel.to_owned()),
        interlocutor_id: Some(interlocutor.to_owned()),
        ..TurnOpened::new(TurnTrigger::User)
    };
    let opened = PreparedEvent {
        event: {
            let mut event = story.event(lane(), AGENT, opened.clone()).event;
            event.call = None;
            event
        },
        ..story.event(lane(), AGENT, opened)
    };
    story.append(vec![story.key(&alice()), opened]).await;
    let mut proposed = story.event(
        lane(),
        AGENT,
        ToolProposed {
            business_key: Some("7".to_owned()),
            ..ToolProposed::new("delete_file".to_owned(), r#"{"path":"/a"}"#.to_owned())
        },
    );
    propose(&mut proposed);
    story.append(vec![proposed, story.request(said)]).await;
    story
}

/// The request with all that reviewers are shown of the call.
fn shown(change: impl FnOnce(&mut ApprovalRequested)) -> ApprovalRequested {
    let mut said = requested();
    said.call_id = Some(CALL);
    said.channel = Some("web".to_owned());
    said.interlocutor_id = Some("ann".to_owned());
    said.business_key = Some("7".to_owned());
    change(&mut said);
    with_view(said)
}

const SHOP: (&str, &str, &str) = ("shop", "web", "ann");

#[tokio::test]
async fn what_is_shown_is_so() {
    asked(SHOP, |_| (), shown(|_| ())).await.finds(&[]).await;
}

#[tokio::test]
async fn a_call_of_another_lane_turn_or_effect_than_is_shown() {
    let mismatch = ["REQUEST_MISMATCH 4"];
    for names in [
        ("bank", "web", "ann"),
        ("shop", "api", "ann"),
        ("shop", "web", "eve"),
    ] {
        asked(names, |_| (), shown(|_| ())).await.finds(&mismatch).await;
    }
    let turn = |event: &mut PreparedEvent| event.event.turn = Some(TurnId(Uuid::from_u128(99)));
    asked(SHOP, turn, shown(|_| ())).await.finds(&mismatch).await;
    let session = |event: &mut PreparedEvent| event.event.session = Some(SessionId(Uuid::from_u128(99)));
    asked(SHOP, session, shown(|_| ())).await.finds(&mismatch).await;
    let key = shown(|said| said.business_key = Some("8".to_owned()));
    asked(SHOP, |_| (), key).await.finds(&mismatch).await;
    let call = shown(|said| said.call_id = Some(CallId(Uuid::from_u128(99))));
    asked(SHOP, |_| (), call).await.finds(&mismatch).await;
    // Nor is anything of it kept from them.
    for hide in [
        |said: &mut ApprovalRequested| said.tool_name = None,
        |said: &mut ApprovalRequested| said.arguments = None,
        |said: &mut ApprovalRequested| said.call_id = None,
        |said: &mut ApprovalRequested| said.business_key = None,
        |said: &mut ApprovalRequested| said.agent_id = None,
        |said: &mut ApprovalRequested| said.channel = None,
        |said: &mut ApprovalRequested| said.interlocutor_id = None,
    ] {
        asked(SHOP, |_| (), shown(hide)).await.finds(&mismatch).await;
    }
}

#[tokio::test]
async fn a_call_that_a_decision_opened_a_turn_for_did_not_run_by_that() {
    let story = asked(SHOP, |_| (), shown(|_| ())).await;
    let opened = TurnOpened::new(TurnTrigger::ApprovalResolution);
    story.append(vec![story.event(lane(), AGENT, opened)]).await;
    let (_, not_run) = story.judged_without(&[]).await;
    assert_eq!(not_run, [3], "it was asked for and did not start");
}

#[tokio::test]
async fn a_request_that_shows_something_else() {
    let mut other = requested();
    other.arguments = Some(r#"{"path":"/b"}"#.to_owned());
    let mut justified = requested();
    justified.justification = Some("harmless".to_owned());
    for request in [other, justified] {
        let story = Story::new().await;
        story.append(vec![story.request(request)]).await;
        story.finds(&["REQUEST_MISMATCH 1"]).await;
    }
}
