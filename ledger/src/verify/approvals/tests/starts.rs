//! What starts is what was proposed and signed, and does not hide.

use super::*;

#[tokio::test]
async fn an_irreversible_effect_without_an_approval_of_its_append() {
    let story = Story::asked().await;
    story.append(vec![story.started()]).await;
    story.finds(&["EFFECT_WITHOUT_APPROVAL 4"]).await;

    let story = Story::asked().await;
    story.append(story.vote(DESK, |_| ()).await).await;
    story.append(vec![story.consumed(action())]).await;
    story.append(vec![story.started()]).await;
    story
        .finds(&["APPROVAL_MISUSED 6", "EFFECT_WITHOUT_APPROVAL 7"])
        .await;
}

#[tokio::test]
async fn what_starts_is_what_was_proposed_and_signed() {
    let story = voted(|_| ()).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story.finds(&[]).await;

    // Other arguments than were signed were proposed.
    let found = ["REQUEST_MISMATCH 3", "EFFECT_WITHOUT_APPROVAL 7"];
    let story = voted(|said| said.action_digest = Some(Digest([7; 32]))).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story.finds(&found).await;

    // Something else was proposed and starts, under the digest of what was shown and signed.
    for change in [
        |said: &mut ToolProposed| said.name = "delete_all".to_owned(),
        |said: &mut ToolProposed| said.arguments = r#"{"path":"/"}"#.to_owned(),
    ] {
        let mut proposed = ToolProposed::new("delete_file".to_owned(), r#"{"path":"/a"}"#.to_owned());
        change(&mut proposed);
        let story = voted(change).await;
        let mut said = ToolStarted::new(proposed.name);
        said.side_effect = Some(SideEffectPolicy::Irreversible);
        said.args_digest = Some(digest(&proposed.arguments));
        let started = story.event(lane(), AGENT, said);
        story.append(vec![story.consumed(action()), started]).await;
        story.finds(&found).await;
    }

    for change in [
        |said: &mut ToolStarted| said.name = "delete_all".to_owned(),
        |said: &mut ToolStarted| said.args_digest = Some(Digest([7; 32])),
        |said: &mut ToolStarted| said.args_digest = None,
    ] {
        let story = voted(|_| ()).await;
        let mut said = ToolStarted::new("delete_file".to_owned());
        said.args_digest = Some(digest(r#"{"path":"/a"}"#));
        said.side_effect = Some(SideEffectPolicy::Irreversible);
        change(&mut said);
        let started = story.event(lane(), AGENT, said);
        story.append(vec![story.consumed(action()), started]).await;
        story.finds(&["EFFECT_WITHOUT_APPROVAL 7"]).await;
    }
}

#[tokio::test]
async fn a_start_does_not_hide_behind_a_weaker_word_or_behind_no_call() {
    let story = voted(|_| ()).await;
    let mut said = ToolStarted::new("delete_file".to_owned());
    said.side_effect = Some(SideEffectPolicy::Pure);
    let started = story.event(lane(), AGENT, said);
    story.append(vec![started]).await;
    story.finds(&["EFFECT_WITHOUT_APPROVAL 6"]).await;

    let story = voted(|_| ()).await;
    let mut started = story.started();
    started.event.call = None;
    story.append(vec![started]).await;
    story.finds(&["EFFECT_WITHOUT_APPROVAL 6"]).await;

    let story = voted(|_| ()).await;
    story
        .append(vec![story.consumed(action()), story.started(), story.started()])
        .await;
    story.finds(&["EFFECT_WITHOUT_APPROVAL 8"]).await;
}

/// A call that was proposed as less than irreversible and starts unasked; what is found where tools were registered so before.
async fn unasked(side_effect: SideEffectPolicy, tools: &[ToolRegistered], undo: Option<&str>) -> Vec<String> {
    let story = Story::new().await;
    for (number, tool) in tools.iter().enumerate() {
        let stream = StreamId::new(Category::Tool, Uuid::from_u128(500 + number as u128));
        story.append(vec![story.event(stream, DESK, tool.clone())]).await;
    }
    let mut proposed = ToolProposed::new("delete_file".to_owned(), "{}".to_owned());
    proposed.side_effect = Some(side_effect);
    story.append(vec![story.event(lane(), AGENT, proposed)]).await;
    let mut started = ToolStarted::new("delete_file".to_owned());
    started.side_effect = Some(side_effect);
    story.append(vec![story.event(lane(), AGENT, started)]).await;
    if let Some(undo) = undo {
        let mut said = ToolCompensationStarted::new(undo.to_owned());
        said.attempt = Some(1);
        story.append(vec![story.event(lane(), AGENT, said)]).await;
    }
    story.judged().await.0
}

#[tokio::test]
async fn what_a_tool_does_is_what_an_administrator_registered() {
    use SideEffectPolicy::{Compensatable, Idempotent, Irreversible, Pure};
    let tool = |name: &str, side_effect| ToolRegistered::new(name.to_owned(), side_effect);
    let undone_by = |name: &str| {
        let mut tool = tool("delete_file", Compensatable);
        tool.compensation_tool = Some(name.to_owned());
        tool
    };
    let nothing: [&str; 0] = [];
    assert_eq!(
        unasked(Pure, &[], None).await,
        ["ILLEGAL_TRANSITION 1", "EFFECT_WITHOUT_APPROVAL 2"],
        "nobody registered it"
    );
    assert_eq!(unasked(Pure, &[tool("delete_file", Pure)], None).await, nothing);
    let twice = [tool("delete_file", Pure), tool("delete_file", Irreversible)];
    let both = ["ILLEGAL_TRANSITION 3", "EFFECT_WITHOUT_APPROVAL 4"];
    assert_eq!(unasked(Pure, &twice, None).await, both);
    // One that is undone by something that people would have to be asked about, and one that is not.
    let undone = [tool("restore_file", Irreversible), undone_by("restore_file")];
    assert_eq!(unasked(Compensatable, &undone, None).await, both);
    let undone = [tool("restore_file", Idempotent), undone_by("restore_file")];
    assert_eq!(
        unasked(Compensatable, &undone, Some("restore_file")).await,
        nothing
    );
    assert_eq!(
        unasked(Compensatable, &undone, Some("wire_transfer")).await,
        ["EFFECT_WITHOUT_APPROVAL 5"]
    );
}

#[tokio::test]
async fn a_governed_call_does_not_run_outside_of_its_lane() {
    let story = Story::asked().await;
    let mut started = story.started();
    started.event.stream = StreamId::new(Category::Session, Uuid::from_u128(40));
    story.append(vec![started]).await;
    let found = vec!["EFFECT_WITHOUT_APPROVAL 4".to_owned()];
    assert_eq!(
        story.judged().await,
        (found, vec![]),
        "and nobody says that it did not run"
    );
}

/// An export that leaves out what a start says does not hide that nothing was used up for it.
#[tokio::test]
async fn an_unsigned_start_whose_payload_is_kept_back() {
    let story = voted(|said| said.side_effect = Some(SideEffectPolicy::Irreversible)).await;
    story.append(vec![story.started()]).await;
    let (found, _) = story.judged_without(&[6]).await;
    assert_eq!(found, ["PAYLOAD_MISSING 6", "EFFECT_WITHOUT_APPROVAL 6"]);
    // Nor where the approval is used up elsewhere.
    let story = voted(|said| said.side_effect = Some(SideEffectPolicy::Irreversible)).await;
    story.append(vec![story.consumed(action())]).await;
    story.append(vec![story.started()]).await;
    let (found, _) = story.judged_without(&[7]).await;
    let expected = [
        "APPROVAL_MISUSED 6",
        "PAYLOAD_MISSING 7",
        "EFFECT_WITHOUT_APPROVAL 7",
    ];
    assert_eq!(found, expected);
}
