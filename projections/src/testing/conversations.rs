//! What the queries of sessions, messages, turns, the timeline, effects and scores give for conversations that are known.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]
#![expect(missing_docs, reason = "the name of a test says what it shows")]

use ruche_domain::events::{EvalScored, EvalTarget, OutcomeCategory, Role};
use ruche_domain::measures::Finite;
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::SideEffectPolicy;

use super::world::{Fresh, World};
use super::{START_US, Story, TURNS};
use crate::select::{Page, PageRequest};
use crate::sessions::{SessionFilter, SessionStatus};
use crate::timeline::{PayloadState, TimelineFilter};
use crate::tool_effects::{EffectFilter, EffectState};
use crate::turns::{TurnFilter, TurnStatus};
use crate::{messages, scores, sessions, timeline, tool_effects, turns};

const SESSIONS: u64 = 20;

pub async fn a_session_tells_who_and_how_much(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, SESSIONS).await;
    let id = Story::new(1).session_id(3);
    let session = sessions::get(world.reads(), ledger, id).await.unwrap().unwrap();
    assert_eq!(session.external_id.as_deref(), Some("session-3"));
    assert_eq!(session.agent.as_deref(), Some("agent-0"));
    assert_eq!(session.status, SessionStatus::Ended);
    assert_eq!(session.provenance, "imported");
    let tally = &session.tally;
    assert_eq!(
        (tally.turns, tally.turns_committed, tally.turns_failed),
        (5, 5, 0)
    );
    // A turn has four messages: of the person, the step that calls the tool, the tool's answer, the agent's answer.
    assert_eq!((tally.messages, tally.user_messages), (20, 5));
    // Policies go round; of five calls from number 3 on, one is pure.
    assert_eq!(
        (tally.tool_calls, tally.write_calls, tally.tool_errors),
        (5, 4, 1)
    );
    assert_eq!(tally.llm_calls, 10);
    assert_eq!(tally.input().tokens, Some(5 * (903 + 1103)));
    assert_eq!(tally.output().tokens, Some(800));
    assert_eq!(
        (
            tally.reasoning().tokens,
            tally.reasoning().known,
            tally.reasoning().calls
        ),
        (None, 0, 10)
    );
    assert_eq!(session.costs.len(), 1);
    assert_eq!(session.costs[0].currency, "USD");
    assert_eq!(session.costs[0].amount.to_string(), "0.0383375000000000015");
    assert!(
        sessions::get(world.reads(), ledger, Story::new(1).session_id(99))
            .await
            .unwrap()
            .is_none()
    );
}

pub async fn totals_are_the_sums_of_the_sessions(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, SESSIONS).await;
    let (count, tally) = sessions::totals(world.reads(), ledger, &SessionFilter::default())
        .await
        .unwrap();
    assert_eq!(count, SESSIONS);
    assert_eq!(tally.messages, (SESSIONS * TURNS * 4) as i64);
    assert_eq!(tally.tool_calls, (SESSIONS * TURNS) as i64);
    let failed = (0..SESSIONS)
        .flat_map(|n| (0..TURNS).map(move |t| n + t))
        .filter(|n| n % 7 == 0)
        .count();
    assert_eq!(tally.tool_errors, failed as i64);
    let none = SessionFilter {
        agent: Some("nobody".into()),
        ..SessionFilter::default()
    };
    let (count, tally) = sessions::totals(world.reads(), ledger, &none).await.unwrap();
    assert_eq!((count, tally.events), (0, 0));
}

pub async fn sessions_are_filtered_and_given_page_by_page(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, SESSIONS).await;
    let all = sessions::list(
        world.reads(),
        ledger,
        &SessionFilter::default(),
        &PageRequest::first(1_000),
    )
    .await;
    let all: Vec<_> = all
        .unwrap()
        .items()
        .into_iter()
        .map(|session| session.id)
        .collect();
    assert_eq!(all.len() as u64, SESSIONS);
    for descending in [false, true] {
        let mut expected = all.clone();
        if descending {
            expected.reverse();
        }
        let mut got = Vec::new();
        let mut after = None;
        loop {
            // A cursor goes to the client and comes back as text.
            let cursor = after.map(|text: String| text.parse().unwrap());
            let request = PageRequest {
                descending,
                ..PageRequest::first(3).after(cursor)
            };
            let page: Page<_> = sessions::list(world.reads(), ledger, &SessionFilter::default(), &request)
                .await
                .unwrap();
            after = page.end().map(|cursor| cursor.to_string());
            let has_next = page.has_next;
            got.extend(page.items().into_iter().map(|session| session.id));
            if !has_next {
                break;
            }
        }
        assert_eq!(got, expected);
    }
    let day = 86_400_000_000;
    let filter = SessionFilter {
        agent: Some("agent-1".into()),
        status: Some(SessionStatus::Ended),
        started_from: Some(Micros(START_US + day)),
        started_before: Some(Micros(START_US + 5 * day)),
        ..SessionFilter::default()
    };
    let page = sessions::list(world.reads(), ledger, &filter, &PageRequest::first(10))
        .await
        .unwrap();
    let mut names: Vec<_> = page
        .items()
        .into_iter()
        .filter_map(|session| session.external_id)
        .collect();
    names.sort();
    // Numbers that are 1 modulo 3 and whose day (modulo 14) is 1 to 4.
    assert_eq!(names, ["session-1", "session-16", "session-4"]);
}

pub async fn messages_come_back_as_they_went(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, 8).await;
    let story = Story::new(1);
    let session = story.session_id(7);
    let page = messages::of_session(world.reads(), ledger, session, &PageRequest::first(100))
        .await
        .unwrap();
    assert!(!page.has_next);
    let all = page.items();
    assert_eq!(
        all.iter().map(|m| m.ordinal).collect::<Vec<_>>(),
        (0..20).map(Some).collect::<Vec<_>>()
    );
    let roles: Vec<_> = all[..4].iter().map(|m| m.role).collect();
    assert_eq!(
        roles,
        [Role::User, Role::Assistant, Role::Tool, Role::Assistant].map(Some)
    );
    let step = &all[1];
    assert_eq!(step.text, None, "no text is not an empty one");
    assert_eq!(
        step.tool_calls[0].arguments,
        "{\"flight\": \"HAT007\",  \"seats\": [0, 2], \"note\": \"caf\\u00e9\"}"
    );
    assert_eq!(step.tool_calls[0].provider_call_id.as_deref(), Some("call_1"));
    let answer = &all[2];
    assert!(answer.is_error);
    assert_eq!(answer.text.as_deref(), Some("Error: no such flight"));
    assert_eq!(answer.call, Some(story.call_id(story.turn_id(session, 0))));
    let turn = story.turn_id(session, 2);
    let of_turn = messages::of_turn(world.reads(), ledger, session, turn, &PageRequest::first(100))
        .await
        .unwrap();
    assert_eq!(of_turn.items(), all[8..12]);
}

pub async fn turns_tell_how_they_came_out(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, 8).await;
    let story = Story::new(1);
    let session = story.session_id(6);
    let filter = TurnFilter {
        session: Some(session),
        ..TurnFilter::default()
    };
    let page = turns::list(world.reads(), ledger, &filter, &PageRequest::first(10))
        .await
        .unwrap();
    let turns = page.items();
    assert_eq!(
        turns.iter().map(|t| t.ordinal).collect::<Vec<_>>(),
        (0..5).map(Some).collect::<Vec<_>>()
    );
    let (committed, failed) = (&turns[0], &turns[4]);
    assert_eq!(committed.status, TurnStatus::Committed);
    assert_eq!(committed.outcome, Some(OutcomeCategory::Answered));
    assert_eq!(
        (committed.attempt_count, committed.duration_us),
        (1, Some(1_500_000))
    );
    assert_eq!(committed.tally.messages, 4);
    assert_eq!(committed.costs[0].amount.to_string(), "0.0076675000000000003");
    assert_eq!(
        (failed.status, failed.error_type.as_deref()),
        (TurnStatus::Failed, Some("model_gave_up"))
    );
    let filter = TurnFilter {
        status: Some(TurnStatus::Failed),
        ..TurnFilter::default()
    };
    let page = turns::list(world.reads(), ledger, &filter, &PageRequest::first(10))
        .await
        .unwrap();
    // Of eight sessions of five turns, numbers that add up to 0 or 10.
    assert_eq!(page.rows.len(), 3);
}

pub async fn the_timeline_has_every_event_in_order(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, 3).await;
    let story = Story::new(1);
    let session = story.session_id(1);
    let mut all = Vec::new();
    let mut request = PageRequest::first(10);
    loop {
        let page = timeline::of_session(
            world.reads(),
            ledger,
            session,
            TimelineFilter::default(),
            &request,
        );
        let page = page.await.unwrap();
        request = request.after(page.end());
        let has_next = page.has_next;
        all.extend(page.items());
        if !has_next {
            break;
        }
    }
    assert_eq!(
        all.len() as i64,
        sessions::get(world.reads(), ledger, session)
            .await
            .unwrap()
            .unwrap()
            .tally
            .events
    );
    assert!(
        all.windows(2)
            .all(|pair| pair[1].position == pair[0].position.next())
    );
    assert_eq!(all[0].event_type, "session.started");
    assert_eq!(all[0].summary.as_deref(), Some("agent-1"));
    assert_eq!(all[0].payload_state, PayloadState::Present);
    let call = story.call_id(story.turn_id(session, 0));
    let filter = TimelineFilter {
        call: Some(call),
        ..TimelineFilter::default()
    };
    let of_call = timeline::of_session(world.reads(), ledger, session, filter, &PageRequest::first(10))
        .await
        .unwrap();
    let types: Vec<_> = of_call
        .items()
        .into_iter()
        .map(|entry| entry.event_type)
        .collect();
    assert_eq!(types, ["tool.proposed", "tool.started", "tool.completed"]);
}

pub async fn an_effect_goes_from_intent_to_outcome(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, 8).await;
    let story = Story::new(1);
    let session = story.session_id(1);
    let call = story.call_id(story.turn_id(session, 2));
    let effect = tool_effects::by_calls(world.reads(), ledger, &[call])
        .await
        .unwrap()
        .remove(&call)
        .unwrap();
    assert_eq!(effect.status, EffectState::Completed);
    assert_eq!(effect.tool.as_deref(), Some("send_money"));
    assert_eq!(effect.side_effect, Some(SideEffectPolicy::Irreversible));
    assert_eq!(
        effect.result.as_deref(),
        Some("{\"reservation\": \"R1\", \"status\": \"changed\"}")
    );
    assert!(effect.intent_position < effect.started_position);
    assert!(effect.started_position < effect.outcome_position);
    assert_eq!((effect.attempts, effect.duration_us), (1, Some(120_000)));
    let filter = EffectFilter {
        session: Some(session),
        ..EffectFilter::default()
    };
    let page = tool_effects::list(world.reads(), ledger, &filter, &PageRequest::first(10))
        .await
        .unwrap();
    assert_eq!(page.rows.len() as u64, TURNS);
    let filter = EffectFilter {
        status: Some(EffectState::Failed),
        ..EffectFilter::default()
    };
    let page = tool_effects::list(world.reads(), ledger, &filter, &PageRequest::first(100))
        .await
        .unwrap();
    assert_eq!(page.rows.len(), 6);
    let tools = tool_effects::tools(world.reads(), ledger).await.unwrap();
    let names: Vec<_> = tools
        .iter()
        .map(|tool| (tool.name.as_str(), tool.side_effect))
        .collect();
    assert_eq!(names[0], ("book_flight", SideEffectPolicy::Compensatable));
    assert_eq!(names.len(), 4);
}

pub async fn scores_stand_with_their_session_page_by_page(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, 2).await;
    let mut story = Story::new(1);
    let session = story.session_id(1);
    let turn = story.turn_id(session, 2);
    story.enter(session);
    let precise = EvalScored {
        value: Finite::new(0.1 + 0.2),
        label: Some("pass".to_owned()),
        evaluator: Some("judge".to_owned()),
        target: Some(EvalTarget::Turn),
        turn_id: Some(turn),
        attributes: [("votes".to_owned(), 3.into())].into(),
        ..EvalScored::new("helpful".to_owned())
    };
    let events = vec![
        story.event(precise.clone()),
        story.event(EvalScored::new("bare".to_owned())),
    ];
    world.feed.append(ledger, events).await;
    world.runner().catch_up(ledger).await.unwrap();
    let mut all = Vec::new();
    let mut request = PageRequest::first(1);
    loop {
        let page = scores::of_session(world.reads(), ledger, session, &request)
            .await
            .unwrap();
        request = request.after(page.end());
        let has_next = page.has_next;
        all.extend(page.items());
        if !has_next {
            break;
        }
    }
    let told: Vec<_> = all.iter().map(|s| (s.name.as_str(), s.value, s.target)).collect();
    let expected = [
        ("reward", Finite::new(0.5), EvalTarget::Session),
        ("helpful", precise.value, EvalTarget::Turn),
        ("bare", None, EvalTarget::Session),
    ];
    assert_eq!(told, expected);
    let helpful = &all[1];
    assert_eq!((helpful.turn, &helpful.label), (Some(turn), &precise.label));
    assert_eq!(helpful.attributes.as_ref(), Some(&precise.attributes));
    let other = story.session_id(0);
    let page = scores::of_session(world.reads(), ledger, other, &PageRequest::first(10)).await;
    assert_eq!(page.unwrap().rows.len(), 1, "each session has its own");
}
