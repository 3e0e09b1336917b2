//! Stories that somebody made up who holds the ledger's key: what is told fits record by record, and did not happen so.

use ruche_domain::events::{AssertedOutcome, ToolCompleted, ToolOutcomeAsserted, ToolOutcomeUnknown};

use super::*;

fn elsewhere(mut event: PreparedEvent, category: Category) -> PreparedEvent {
    event.event.stream = StreamId::new(category, Uuid::from_u128(77));
    event
}

/// A start that stands elsewhere does not stand for one in the lane, and what has an outcome is not said not to have run.
#[tokio::test]
async fn a_call_is_not_started_outside_of_its_lane() {
    let done = |story: &Story| story.event(lane(), AGENT, ToolCompleted::default());
    for category in [Category::Observed, Category::Lane] {
        let story = Story::new().await;
        story.append(vec![elsewhere(story.started(), category)]).await;
        story.append(vec![story.proposed(), done(&story)]).await;
        let (found, not_run) = story.judged().await;
        let in_lane = ["EFFECT_WITHOUT_APPROVAL 1", "EFFECT_WITHOUT_INTENT 3"];
        let observed = ["EFFECT_WITHOUT_APPROVAL 2", "EFFECT_WITHOUT_INTENT 3"];
        let expected = if category == Category::Lane {
            in_lane
        } else {
            observed
        };
        assert_eq!(found, expected);
        assert_eq!(not_run, [0; 0]);
    }

    let story = Story::asked().await;
    let unknown = ToolOutcomeUnknown::new("crash".to_owned());
    let asserted = ToolOutcomeAsserted::new(AssertedOutcome::Completed, "root".to_owned(), "seen".to_owned());
    let unknown = story.event(lane(), AGENT, unknown);
    story
        .append(vec![unknown, story.event(lane(), ADMIN, asserted)])
        .await;
    let found = vec!["EFFECT_WITHOUT_INTENT 4".to_owned()];
    assert_eq!(story.judged().await, (found, vec![]));
}

/// Whoever signed is told that it was used, and an auditor that it did not run.
#[tokio::test]
async fn an_approval_is_not_used_up_without_a_start() {
    for is_last in [true, false] {
        let story = voted(|_| ()).await;
        story.append(vec![story.consumed(action())]).await;
        if !is_last {
            story.append(vec![story.revoked()]).await;
        }
        let found = vec!["APPROVAL_MISUSED 6".to_owned()];
        assert_eq!(story.judged().await, (found, vec![]), "{is_last}");
    }
    // A start that is not there is not one that was not made.
    let story = voted(|_| ()).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story.append(vec![story.revoked()]).await;
    assert_eq!(story.judged_with(&[], &[7]).await.0, [""; 0]);
    let records = story.store.read_ledger(story.ledger, Position::START, 100);
    let records = records.await.unwrap();
    let (mut checker, mut findings) = (RecordChecker::new(), Findings::keeping(100));
    checker.begin_epoch(
        records[0].position.epoch,
        &records[0].leaf.origin,
        TreeSize(records.len() as u64),
    );
    for record in records.iter().filter(|record| record.position.index.0 != 7) {
        checker.record(record, &mut findings);
    }
    checker.end_epoch(&mut findings);
    assert!(findings.has(FindingKind::RecordMissing));
    assert!(!findings.has(FindingKind::ApprovalMisused), "{findings:?}");
}

/// Nobody said no, somebody said yes, or a no is told that other systems are to have said.
#[tokio::test]
async fn a_no_is_a_vote_as_well() {
    let resolved = |story: &Story, outcome| {
        let mut said = ApprovalResolved::new(outcome);
        said.by = Some("alice".to_owned());
        story.event(approval_stream(), DESK, said)
    };
    for outcome in [ApprovalOutcome::Rejected, ApprovalOutcome::Reported] {
        let story = Story::asked().await;
        story.append(vec![resolved(&story, outcome)]).await;
        story.finds(&["DECISION_WITHOUT_VOTE 4"]).await;
    }
    for (decision, found) in [
        (ApprovalDecision::Reject, &[][..]),
        (ApprovalDecision::Approve, &["DECISION_WITHOUT_VOTE 5"]),
    ] {
        let story = Story::asked().await;
        let vote = story.signed(&requested(), decision).await;
        let vote = story.event(approval_stream(), DESK, vote);
        story
            .append(vec![vote, resolved(&story, ApprovalOutcome::Rejected)])
            .await;
        story.finds(found).await;
    }
}

/// The tools of these tests: `undo` takes back what `refund` did, `noop` does nothing.
async fn tools(story: &Story, change: impl FnOnce(&mut ToolRegistered)) {
    use SideEffectPolicy::{Compensatable, Idempotent, Pure};
    let mut refund = ToolRegistered::new("refund".to_owned(), Compensatable);
    refund.compensation_tool = Some("undo".to_owned());
    change(&mut refund);
    let undo = ToolRegistered::new("undo".to_owned(), Idempotent);
    let noop = ToolRegistered::new("noop".to_owned(), Pure);
    let events = [undo, noop, refund]
        .into_iter()
        .zip(500..)
        .map(|(tool, id)| registration(story, id, tool));
    story.append(events.collect()).await;
}

fn registration(story: &Story, id: u128, tool: ToolRegistered) -> PreparedEvent {
    let stream = StreamId::new(Category::Tool, Uuid::from_u128(id));
    let mut event = story.event(stream, ADMIN, tool);
    event.event.call = None;
    event
}

/// A call of `refund`, proposed so and started so.
fn refund(
    story: &Story,
    side_effect: SideEffectPolicy,
    change: impl FnOnce(&mut ToolProposed),
) -> [PreparedEvent; 2] {
    let mut proposed = ToolProposed::new("refund".to_owned(), "{}".to_owned());
    proposed.side_effect = Some(side_effect);
    change(&mut proposed);
    let mut started = ToolStarted::new("refund".to_owned());
    started.side_effect = Some(side_effect);
    [
        story.event(lane(), AGENT, proposed),
        story.event(lane(), AGENT, started),
    ]
}

/// Something that has to be undone under a word that says that nothing has to be; and what people need not be asked for.
#[tokio::test]
async fn a_call_is_proposed_as_its_tool_is_registered() {
    use SideEffectPolicy::{Compensatable, Idempotent, Irreversible, Pure};
    let found = async |side_effect, schema: Option<Digest>| {
        let story = Story::new().await;
        tools(&story, |tool| tool.schema_digest = Some(Digest([3; 32]))).await;
        let [proposed, _] = refund(&story, side_effect, |said| said.schema_digest = schema);
        story.append(vec![proposed]).await;
        story.judged().await.0
    };
    let schema = Some(Digest([3; 32]));
    assert_eq!(found(Compensatable, schema).await, [""; 0]);
    for side_effect in [Pure, Idempotent, Irreversible] {
        assert_eq!(found(side_effect, schema).await, ["ILLEGAL_TRANSITION 4"]);
    }
    for schema in [None, Some(Digest([4; 32]))] {
        assert_eq!(found(Compensatable, schema).await, ["ILLEGAL_TRANSITION 4"]);
    }
    // Where what would undo it may not run, nobody is to say less than that it cannot be undone.
    let story = Story::new().await;
    tools(&story, |tool| tool.compensation_tool = Some("wire".to_owned())).await;
    let [proposed, _] = refund(&story, Compensatable, |_| ());
    story.append(vec![proposed]).await;
    story.finds(&["ILLEGAL_TRANSITION 4"]).await;
}

/// It was signed, and does not have to start in order to be found.
#[tokio::test]
async fn a_request_shows_what_was_proposed() {
    for change in [
        |said: &mut ToolProposed| said.name = "delete_all".to_owned(),
        |said: &mut ToolProposed| said.arguments = r#"{"path":"/"}"#.to_owned(),
        |said: &mut ToolProposed| said.action_digest = Some(Digest([7; 32])),
    ] {
        voted(change).await.finds(&["REQUEST_MISMATCH 3"]).await;
    }
}

/// A tool that is registered anew between proposal and start: by its effect, by its schema, and by what undoes it.
#[tokio::test]
async fn a_call_starts_under_the_registration_that_it_was_proposed_under() {
    let found = async |change: fn(&mut ToolRegistered)| {
        let story = Story::new().await;
        tools(&story, |_| ()).await;
        let [proposed, started] = refund(&story, SideEffectPolicy::Compensatable, |_| ());
        story.append(vec![proposed]).await;
        tools(&story, change).await;
        story.append(vec![started]).await;
        story.judged().await.0
    };
    assert_eq!(found(|_| ()).await, [""; 0]);
    assert_eq!(found(|tool| tool.version = Some("2".to_owned())).await, [""; 0]);
    for change in [
        |tool: &mut ToolRegistered| tool.side_effect = SideEffectPolicy::Idempotent,
        |tool: &mut ToolRegistered| tool.schema_digest = Some(Digest([3; 32])),
        |tool: &mut ToolRegistered| tool.schema = Some(false.into()),
        |tool: &mut ToolRegistered| tool.compensation_tool = Some("wire".to_owned()),
    ] {
        assert_eq!(found(change).await, ["EFFECT_WITHOUT_APPROVAL 8"]);
    }
    // What was signed is no more than what was proposed.
    let story = voted(|_| ()).await;
    let mut tool = ToolRegistered::new("delete_file".to_owned(), SideEffectPolicy::Irreversible);
    tool.schema_digest = Some(Digest([3; 32]));
    story.append(vec![registration(&story, 502, tool)]).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story.finds(&["EFFECT_WITHOUT_APPROVAL 8"]).await;
}

/// One that changes nothing leaves the effect where it is.
#[tokio::test]
async fn an_effect_is_undone_by_the_tool_that_is_registered_for_that() {
    for (undo, found) in [("undo", &[][..]), ("noop", &["EFFECT_WITHOUT_APPROVAL 6"])] {
        let story = Story::new().await;
        tools(&story, |_| ()).await;
        let events = refund(&story, SideEffectPolicy::Compensatable, |_| ());
        story.append(Vec::from(events)).await;
        let mut said = ToolCompensationStarted::new(undo.to_owned());
        said.attempt = Some(1);
        story.append(vec![story.event(lane(), AGENT, said)]).await;
        story.finds(found).await;
    }
}

#[tokio::test]
async fn a_ticket_is_of_the_approval_that_is_used() {
    for (consumed, started, found) in [
        (APPROVAL, Some(APPROVAL), &[][..]),
        (
            APPROVAL,
            Some(ApprovalId(Uuid::from_u128(9))),
            &["EFFECT_WITHOUT_APPROVAL 7"],
        ),
        (
            ApprovalId(Uuid::from_u128(9)),
            None,
            &["APPROVAL_MISUSED 6", "EFFECT_WITHOUT_APPROVAL 7"],
        ),
    ] {
        let story = voted(|_| ()).await;
        let said = ApprovalConsumed::new(consumed.to_string(), CALL, action());
        let used = story.event(approval_stream(), AGENT, said);
        let mut said = ToolStarted::new("delete_file".to_owned());
        said.args_digest = Some(digest(r#"{"path":"/a"}"#));
        said.side_effect = Some(SideEffectPolicy::Irreversible);
        said.ticket = started.map(|approval| approval.to_string());
        story.append(vec![used, story.event(lane(), AGENT, said)]).await;
        story.finds(found).await;
    }
}

/// People had until then, and so had the agent.
#[tokio::test]
async fn a_request_lapses_when_it_says() {
    let expires = NOW.0 + 1_000;
    for (said, at, found) in [
        (expires, expires, &[][..]),
        (expires, expires + 5, &[]),
        (expires, expires - 1, &["ILLEGAL_TRANSITION 6"]),
        (NOW.0, expires, &["ILLEGAL_TRANSITION 6"]),
    ] {
        let story = voted(|_| ()).await;
        let mut lapsed = story.event(approval_stream(), AGENT, ApprovalExpired::new(Micros(said)));
        lapsed.event.occurred_at = Micros(at);
        story.append(vec![lapsed]).await;
        story.finds(found).await;
    }
}
