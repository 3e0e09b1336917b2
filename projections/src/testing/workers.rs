//! What workers and those who look after them read: messages that moved to another turn, steps, and what is urgent.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use ruche_domain::envelope::Provenance;
use ruche_domain::events::tool::AssertedOutcome;
use ruche_domain::events::{
    MessageReceived, Role, ToolCompleted, ToolFailed, ToolOutcomeAsserted, ToolOutcomeUnknown, ToolProposed,
    ToolRegistered, ToolStarted, TurnOpened, TurnStepCompleted, TurnStepStarted, TurnSupersedeRequested,
    TurnTrigger,
};
use ruche_domain::ids::{CallId, LedgerId, SessionId, TurnId};
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_ledger::hash::Hash;
use ruche_ledger::store::PreparedEvent;

use super::Story;
use super::world::{Fresh, World};
use crate::rebuild::{OnDifference, RebuildProgress};
use crate::select::PageRequest;
use crate::tool_effects::{EffectFilter, EffectState, ToolEffect};
use crate::{messages, tool_effects, turn_steps};

/// A world that has these events, followed and rebuilt with the same rows.
pub(super) async fn told(fresh: Fresh, events: Vec<PreparedEvent>, batch: usize) -> (World, LedgerId) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, events).await;
    let runner = world.runner().batch_events_max(batch);
    runner.catch_up(ledger).await.expect("nothing fails here");
    let rebuilt = world
        .models
        .rebuild(
            world.feed_store(),
            OnDifference::Keep,
            &RebuildProgress::default(),
        )
        .await;
    let differences = rebuilt.expect("it is rebuilt").differences;
    assert_eq!(differences, [], "batches of {batch}");
    (world, ledger)
}

fn said(story: &mut Story, text: &str) -> PreparedEvent {
    story.event(MessageReceived {
        text: Some(text.to_owned()),
        ..MessageReceived::new(Role::User)
    })
}

fn opened(story: &mut Story, session: SessionId, turn: TurnId) -> PreparedEvent {
    story.enter(session);
    story.enter_call(turn, story.call_id(turn));
    story.event(TurnOpened::new(TurnTrigger::User))
}

async fn texts(world: &World, ledger: LedgerId, session: SessionId, turn: TurnId) -> Vec<String> {
    let page = messages::of_turn(world.reads(), ledger, session, turn, &PageRequest::first(10)).await;
    let said = page.expect("it can be read").items().into_iter();
    said.map(|message| message.text.expect("a text")).collect()
}

pub async fn messages_go_over_to_a_turn_of_another_session(fresh: Fresh) {
    let mut story = Story::new(1);
    let sessions = [1, 2, 3, 4].map(|n| story.session_id(n));
    let turns = sessions.map(|session| story.turn_id(session, 0));
    let mut events = Vec::new();
    for n in 0..3 {
        events.push(opened(&mut story, sessions[n], turns[n]));
        events.push(said(&mut story, &format!("m-{n}")));
        if n > 0 {
            story.enter(sessions[n - 1]);
            story.enter_call(turns[n - 1], story.call_id(turns[n - 1]));
            events.push(story.event(TurnSupersedeRequested::new(turns[n], vec![])));
        }
    }
    // A stranger speaks under the turn of somebody else.
    story.enter(sessions[3]);
    story.enter_call(turns[2], story.call_id(turns[2]));
    events.push(said(&mut story, "stranger"));
    for batch in [1, 3, 100] {
        let (world, ledger) = told(fresh, events.clone(), batch).await;
        assert_eq!(
            texts(&world, ledger, sessions[2], turns[2]).await,
            ["m-0", "m-1", "m-2"]
        );
        assert_eq!(texts(&world, ledger, sessions[1], turns[1]).await, [""; 0]);
        let page = messages::of_session(world.reads(), ledger, sessions[0], &PageRequest::first(10)).await;
        let kept = page.expect("it can be read").items();
        assert_eq!(
            (kept.len(), kept[0].turn),
            (1, Some(turns[2])),
            "it stays in its conversation"
        );
    }
}

pub async fn steps_are_told_in_the_order_in_which_they_were_begun(fresh: Fresh) {
    let mut story = Story::new(1);
    let session = story.session_id(1);
    let (turn, other) = (story.turn_id(session, 0), story.turn_id(session, 1));
    let mut events = vec![opened(&mut story, session, turn)];
    let started = |step: &str, attempt| TurnStepStarted::new(step.to_owned(), attempt);
    let completed = |step: &str, attempt| TurnStepCompleted {
        result: Some(format!("{step} is done")),
        ..TurnStepCompleted::new(step.to_owned(), attempt)
    };
    events.push(story.event(TurnStepStarted {
        name: Some("look it up".to_owned()),
        ..started("z", 1)
    }));
    events.push(story.event(completed("z", 1)));
    events.push(story.event(started("a", 1)));
    events.push(story.event(started("a", 2)));
    story.enter_call(other, story.call_id(other));
    events.push(story.event(started("a", 7)));
    let (world, ledger) = told(fresh, events, 2).await;
    let steps = turn_steps::of_turn(world.reads(), ledger, turn)
        .await
        .expect("steps");
    let told: Vec<_> = steps
        .iter()
        .map(|step| (step.step_id.as_str(), step.attempt, step.result.as_deref()))
        .collect();
    assert_eq!(told, [("z", 1, Some("z is done")), ("a", 2, None)]);
    assert_eq!(steps[0].name.as_deref(), Some("look it up"));
    let is_done = steps.iter().map(|step| step.completed_position.is_some());
    assert_eq!(is_done.collect::<Vec<_>>(), [true, false]);
}

/// A call for each of these outcomes, oldest first.
fn calls(story: &mut Story, turn: TurnId) -> (Vec<CallId>, Vec<PreparedEvent>) {
    let mut events = Vec::new();
    let calls: Vec<CallId> = (0..6).map(|n| story.references.call(turn, n)).collect();
    for (n, call) in calls.iter().enumerate() {
        story.enter_call(turn, *call);
        let arguments = if n < 2 { "{\"a\": 1}" } else { "{\"a\":  1}" };
        events.push(story.event(ToolProposed::new("refund".to_owned(), arguments.to_owned())));
        if n == 2 {
            continue;
        }
        events.push(story.event(ToolStarted::new("refund".to_owned())));
        let result = Some(format!("r-{n}"));
        events.extend(match n {
            0 => Some(story.event(ToolCompleted {
                result,
                ..ToolCompleted::default()
            })),
            1 | 5 => Some(story.event(ToolOutcomeUnknown::new("timeout".to_owned()))),
            3 => Some(story.event(ToolFailed {
                result,
                ..ToolFailed::default()
            })),
            _ => None,
        });
        if n == 5 {
            let found = AssertedOutcome::Completed;
            let asserted = ToolOutcomeAsserted::new(found, "ann".to_owned(), "seen".to_owned());
            events.push(story.event(ToolOutcomeAsserted {
                result: Some("r-5".to_owned()),
                ..asserted
            }));
        }
    }
    (calls, events)
}

async fn urgent(world: &World, ledger: LedgerId) -> Vec<ToolEffect> {
    let (mut all, mut request) = (Vec::new(), PageRequest::first(2));
    loop {
        let page = tool_effects::urgent(world.reads(), ledger, &EffectFilter::default(), &request).await;
        let page = page.expect("it can be read");
        request = request.after(page.end());
        let has_next = page.has_next;
        all.extend(page.items());
        if !has_next {
            return all;
        }
    }
}

pub async fn what_nobody_knows_the_outcome_of_comes_first(fresh: Fresh) {
    let mut story = Story::new(1);
    let session = story.session_id(1);
    let turn = story.turn_id(session, 0);
    let mut events = vec![opened(&mut story, session, turn)];
    let (calls, of_calls) = calls(&mut story, turn);
    events.extend(of_calls);
    let (world, ledger) = told(fresh, events, 3).await;
    let all = urgent(&world, ledger).await;
    let order = |effect: &ToolEffect| calls.iter().position(|call| *call == effect.call).expect("known");
    assert_eq!(all.iter().map(order).collect::<Vec<_>>(), [1, 4, 5, 3, 2, 0]);
    assert_eq!(all[0].status, EffectState::OutcomeUnknown);
    // What came of a call has a digest, however it came out.
    for (effect, result) in [(&all[2], "r-5"), (&all[3], "r-3"), (&all[5], "r-0")] {
        let digest = effect.result_digest.expect("a digest").0;
        assert_eq!(Hash(digest), Hash::sha256(result.as_bytes()), "{result}");
    }
    assert_eq!(all[0].result_digest, None);
    // The same to the byte, in the same turn.
    let same = tool_effects::same_arguments(world.reads(), ledger, &all[0]).await;
    assert_eq!(same.expect("calls"), [calls[0]]);
    let same = tool_effects::same_arguments(world.reads(), ledger, &all[1]).await;
    assert_eq!(same.expect("calls"), [calls[2], calls[3], calls[5]]);
}

pub async fn a_tool_says_who_answers_for_it_and_how_long_it_may_take(fresh: Fresh) {
    let mut story = Story::new(1);
    let tool = ToolRegistered {
        timeout_us: Some(30_000_000),
        owner: Some("shop team".to_owned()),
        ..ToolRegistered::new("refund".to_owned(), SideEffectPolicy::Irreversible)
    };
    let without = ToolRegistered::new("look".to_owned(), SideEffectPolicy::Pure);
    let events = vec![story.event(tool), story.event(without)];
    let (world, ledger) = told(fresh, events, 10).await;
    let tools = tool_effects::tools(world.reads(), ledger).await.expect("tools");
    let told: Vec<_> = tools
        .iter()
        .map(|tool| (tool.timeout_us, tool.owner.as_deref()))
        .collect();
    assert_eq!(told, [(None, None), (Some(30_000_000), Some("shop team"))]);
}

pub async fn what_an_import_said_of_a_tool_decides_nothing(fresh: Fresh) {
    let mut story = Story::new(1);
    let mut registered = |name: &str, side_effect, provenance| {
        let mut event = story.event(ToolRegistered::new(name.to_owned(), side_effect));
        event.event.provenance = provenance;
        event
    };
    let (pure, irreversible) = (SideEffectPolicy::Pure, SideEffectPolicy::Irreversible);
    let (imported, attested) = (Provenance::Imported, Provenance::Attested);
    let events = vec![
        registered("by_both", pure, imported),
        registered("by_both", irreversible, attested),
        registered("by_both", pure, imported),
        registered("by_import", irreversible, imported),
        registered("by_import", pure, imported),
    ];
    let (world, ledger) = told(fresh, events, 2).await;
    let tools = tool_effects::tools(world.reads(), ledger).await.expect("tools");
    let told: Vec<_> = tools
        .iter()
        .map(|tool| (tool.name.as_str(), tool.side_effect, tool.decides))
        .collect();
    assert_eq!(
        told,
        [("by_both", irreversible, true), ("by_import", pure, false)]
    );
}
