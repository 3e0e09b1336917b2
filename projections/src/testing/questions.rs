//! Questions that people ask of sessions, each with the answer that is known: named after the list of them.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]
#![expect(missing_docs, reason = "the name of a test says what it shows")]

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    GoalAchieved, GoalMissed, GoalProgressed, GoalSet, MessageReceived, Role, SealReason, SessionStarted,
    TurnOpened, TurnQueued, TurnReadied, TurnSealed, TurnStarted, TurnTrigger,
};
use ruche_domain::ids::{LaneId, LedgerId, SessionId, SubjectId, TurnId};
use ruche_domain::measures::Ratio;
use ruche_domain::numbers::Micros;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::{EventStore, PreparedEvent};
use uuid::Uuid;

use super::world::{Fresh, World};
use super::{START_US, Story};
use crate::event::ProjectedEvent;
use crate::goals::{self, GoalStatus};
use crate::lanes::{self, LaneFilter};
use crate::select::PageRequest;
use crate::sessions::{self, Activity, SessionFilter};
use crate::timeline::{self, TimelineFilter};
use crate::turns;

const SECOND: u64 = 1_000_000;

/// What is told to a ledger: at a time, of a session, in a lane where it is of one.
struct Told {
    story: Story,
    events: Vec<PreparedEvent>,
}

impl Told {
    fn new() -> Self {
        Self {
            story: Story::new(1),
            events: Vec::new(),
        }
    }

    fn event(&mut self, at: u64, session: SessionId, fact: impl Into<AgentEvent>) -> &mut PreparedEvent {
        self.story.enter(session);
        let mut event = self.story.event(fact);
        event.event.occurred_at = Micros(START_US + at * SECOND);
        event.event.stream = StreamId::new(Category::Session, session.0);
        self.events.push(event);
        self.events.last_mut().unwrap()
    }

    fn of_turn(&mut self, at: u64, session: SessionId, lane: u8, turn: u8, fact: impl Into<AgentEvent>) {
        let event = &mut self.event(at, session, fact).event;
        event.turn = Some(TurnId::from_bytes([turn; 16]));
        event.stream = StreamId::new(Category::Lane, Uuid::from_bytes([lane; 16]));
    }

    async fn projected(self, world: &World) -> LedgerId {
        let ledger = world.feed.open(1).await;
        world.feed.append(ledger, self.events).await;
        world.runner().catch_up(ledger).await.unwrap();
        ledger
    }
}

fn opened() -> TurnOpened {
    TurnOpened {
        agent_id: Some("support".to_owned()),
        channel: Some("web".to_owned()),
        ..TurnOpened::new(TurnTrigger::User)
    }
}

/// Turns that take one, two and three messages and wait 1, 2 and 3 seconds for them.
pub async fn query_09_messages_of_a_turn_and_what_gathering_them_added(fresh: Fresh) {
    let world = World::new(fresh).await;
    let mut told = Told::new();
    let session = told.story.session_id(1);
    for turn in 1..=3_u8 {
        let at = u64::from(turn) * 100;
        told.of_turn(at, session, 7, turn, opened());
        for message in 0..turn {
            let said = MessageReceived::new(Role::User);
            told.of_turn(at + u64::from(message), session, 7, turn, said);
        }
        let sealed = TurnSealed::new(vec![], SealReason::Deadline);
        told.of_turn(at + u64::from(turn), session, 7, turn, sealed);
    }
    told.of_turn(900, session, 7, 4, opened());
    let ledger = told.projected(&world).await;
    let lane = LaneId::from_bytes([7; 16]);
    let found = turns::gathering(world.reads(), ledger, lane).await.unwrap();
    assert_eq!((found.turns, found.messages), (3, 6), "the fourth still gathers");
    assert_eq!(found.added_wait_p50_us, Some(2 * SECOND));
    assert_eq!(found.added_wait_p95_us, Some(3 * SECOND));
    let none = turns::gathering(world.reads(), ledger, LaneId::from_bytes([8; 16])).await;
    assert_eq!(none.unwrap(), turns::Gathering::default());
}

pub async fn query_10_depth_and_wait_of_lanes_and_the_turn_that_runs_longest(fresh: Fresh) {
    let world = World::new(fresh).await;
    let mut told = Told::new();
    let session = told.story.session_id(1);
    for (lane, at) in [(1, 10), (2, 20)] {
        told.of_turn(at, session, lane, lane, opened());
        told.of_turn(at + 1, session, lane, lane, TurnReadied::new(1, Micros(START_US)));
        told.of_turn(at + 2, session, lane, lane, TurnStarted::new(1));
    }
    for (turn, at) in [(11, 30), (12, 40)] {
        told.of_turn(at, session, 1, turn, opened());
        told.of_turn(at, session, 1, turn, TurnQueued::new(TurnId::from_bytes([1; 16])));
    }
    let ledger = told.projected(&world).await;
    let page = lanes::list(
        world.reads(),
        ledger,
        &LaneFilter::default(),
        &PageRequest::first(10),
    )
    .await;
    let of = |at: u64| Some(Micros(START_US + at * SECOND));
    let page = page.unwrap().items();
    let lanes: Vec<_> = page.iter().map(|lane| (lane.depth, lane.oldest_at)).collect();
    assert_eq!(lanes, [(2, of(30)), (0, None)]);
    let running: Vec<_> = page
        .iter()
        .map(|lane| lane.holder.as_ref().unwrap().running_since)
        .collect();
    assert_eq!(running, [of(12), of(22)]);
    let longest = lanes::running(world.reads(), ledger, 10).await.unwrap();
    let longest: Vec<_> = longest
        .into_iter()
        .map(|turn| (turn.turn, Some(turn.since)))
        .collect();
    let turn = |n: u8| TurnId::from_bytes([n; 16]);
    assert_eq!(longest, [(turn(1), of(12)), (turn(2), of(22))]);
    assert_eq!(lanes::running(world.reads(), ledger, 1).await.unwrap().len(), 1);
    let queue = lanes::queue(world.reads(), ledger).await.unwrap();
    assert_eq!((queue.ready, queue.queued), (0, 2));
}

/// The whole of a session forwards and backwards, three lines at a time, with every text and what each model call cost.
pub async fn query_17_the_timeline_of_a_session_with_text_and_cost(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.projected(1, 3).await;
    let session = Story::new(1).session_id(1);
    let mut both = Vec::new();
    for descending in [false, true] {
        let mut all = Vec::new();
        let mut request = PageRequest {
            descending,
            ..PageRequest::first(3)
        };
        loop {
            let filter = TimelineFilter::default();
            let page = timeline::of_session(world.reads(), ledger, session, filter, &request).await;
            let page = page.unwrap();
            request = request.after(page.end());
            let has_next = page.has_next;
            all.extend(page.items());
            if !has_next {
                break;
            }
        }
        both.push(all);
    }
    let mut backwards = both.pop().unwrap();
    backwards.reverse();
    let all = both.pop().unwrap();
    assert_eq!(all, backwards);
    assert_eq!(all.len(), 63);
    let costs: Vec<_> = all
        .iter()
        .filter_map(|entry| Some((&entry.event_type, entry.cost.as_ref()?)))
        .collect();
    assert_eq!(costs.len(), 10);
    for (event_type, cost) in &costs {
        assert_eq!(
            (event_type.as_str(), cost.currency.as_str(), cost.known),
            ("llm.responded", "USD", 1)
        );
    }
    assert_eq!(costs[0].1.amount.to_string(), "0.0035475000000000003");
    assert_eq!(costs[1].1.amount.to_string(), "0.00412");
    let mut texts = Vec::new();
    for entry in &all {
        let record = world
            .feed
            .store
            .read_ledger(ledger, entry.position, 1)
            .await
            .unwrap()
            .remove(0);
        let event = ProjectedEvent::new(ledger, record);
        texts.extend(
            event
                .agent()
                .unwrap()
                .and_then(timeline::text_of)
                .map(str::to_owned),
        );
    }
    assert_eq!(
        texts.len(),
        20,
        "of each turn: a question, a call, its answer, the agent's answer"
    );
    assert_eq!(
        texts[..4],
        [
            "Hello, this is customer 1. I would like to change flight 0 to next Tuesday, please.",
            "{\"flight\": \"HAT001\",  \"seats\": [0, 2], \"note\": \"caf\\u00e9\"}",
            "{\"reservation\": \"R1\", \"status\": \"changed\"}",
            "Your flight 0 is changed. The difference in price is 1 dollars.",
        ]
    );
}

fn goal_set(goal: &str) -> GoalSet {
    GoalSet::new(goal.to_owned(), format!("what {goal} is"))
}

/// Mia on three channels, and somebody else whom the same name was given once.
pub async fn query_18_sessions_of_an_interlocutor_on_all_channels_and_those_with_open_goals(fresh: Fresh) {
    let world = World::new(fresh).await;
    let mut told = Told::new();
    let mia = SubjectId::from_bytes([5; 16]);
    let [web, phone, mail, other] = [1, 2, 3, 4].map(|n| told.story.session_id(n));
    for (at, session, channel, subject) in [
        (10, web, "web", mia),
        (20, phone, "phone", mia),
        (30, mail, "mail", mia),
        (40, other, "web", SubjectId::from_bytes([6; 16])),
    ] {
        let started = SessionStarted {
            interlocutor_id: Some("mia".to_owned()),
            channel: Some(channel.to_owned()),
            ..SessionStarted::default()
        };
        told.event(at, session, started).event.subject = Some(subject);
    }
    told.event(50, web, goal_set("refund"));
    told.event(51, web, goal_set("call back"));
    told.event(52, web, GoalAchieved::new("refund".to_owned()));
    told.event(53, phone, goal_set("refund"));
    let progress = GoalProgressed {
        progress: Ratio::new(0.25),
        ..GoalProgressed::new("refund".to_owned())
    };
    told.event(54, phone, progress);
    told.event(55, mail, goal_set("refund"));
    told.event(56, mail, GoalMissed::new("refund".to_owned()));
    told.event(57, other, goal_set("refund"));
    let ledger = told.projected(&world).await;
    let channels = async |open_goals, first| {
        let filter = SessionFilter {
            subject: Some(mia),
            open_goals,
            ..SessionFilter::default()
        };
        let page = sessions::list(
            world.reads(),
            ledger,
            &filter,
            &PageRequest::first(first).descending(),
        )
        .await;
        let sessions = page.unwrap().items().into_iter();
        sessions
            .map(|session| session.channel.unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(channels(None, 10).await, ["mail", "phone", "web"]);
    assert_eq!(channels(Some(true), 10).await, ["phone", "web"]);
    assert_eq!(channels(Some(true), 1).await, ["phone"], "the last one");
    assert_eq!(channels(Some(false), 10).await, ["mail"]);
    let goals = async |session, status| {
        let page = goals::of_session(world.reads(), ledger, session, status, &PageRequest::first(10)).await;
        let goals = page.unwrap().items().into_iter();
        goals
            .map(|goal| (goal.goal, goal.status, goal.progress))
            .collect::<Vec<_>>()
    };
    let goal =
        |name: &str, status, progress: Option<&str>| (name.to_owned(), status, progress.map(str::to_owned));
    let of_web = [
        goal("refund", GoalStatus::Achieved, None),
        goal("call back", GoalStatus::Open, None),
    ];
    assert_eq!(goals(web, None).await, of_web);
    assert_eq!(goals(web, Some(GoalStatus::Open)).await, of_web[1..]);
    assert_eq!(
        goals(phone, None).await,
        [goal("refund", GoalStatus::Open, Some("0.25"))]
    );
    assert_eq!(
        goals(mail, None).await,
        [goal("refund", GoalStatus::Missed, None)]
    );
}

/// Three sessions whose lanes hold a turn, silent since 30, 60 and 90 seconds, and one that waits in its lane.
pub async fn query_19_sessions_whose_lane_holds_a_turn_and_in_which_nothing_happens(fresh: Fresh) {
    let world = World::new(fresh).await;
    let mut told = Told::new();
    for n in 1..=3_u8 {
        let session = told.story.session_id(u64::from(n));
        told.event(1, session, SessionStarted::default());
        told.of_turn(2, session, n, n, opened());
        told.of_turn(3, session, n, n, TurnReadied::new(1, Micros(START_US)));
        told.of_turn(u64::from(n) * 30, session, n, n, TurnStarted::new(1));
    }
    let [waits, quiet] = [4, 5].map(|n| told.story.session_id(n));
    told.event(1, waits, SessionStarted::default());
    told.of_turn(2, waits, 1, 9, opened());
    told.event(1, quiet, SessionStarted::default());
    let ids = [1, 2, 3].map(|n| told.story.session_id(n));
    let ledger = told.projected(&world).await;
    let found = async |activity| {
        let filter = SessionFilter {
            activity: Some(activity),
            ..SessionFilter::default()
        };
        let page = sessions::list(world.reads(), ledger, &filter, &PageRequest::first(10)).await;
        let mut found: Vec<_> = page
            .unwrap()
            .items()
            .into_iter()
            .map(|session| session.id)
            .collect();
        found.sort_by_key(|id| ids.iter().position(|known| known == id));
        found
    };
    let at = |seconds: u64| Micros(START_US + seconds * SECOND);
    assert_eq!(found(Activity::FrozenSince(at(60))).await, ids[..1]);
    assert_eq!(found(Activity::FrozenSince(at(61))).await, ids[..2]);
    assert_eq!(found(Activity::ActiveSince(at(60))).await, ids[1..]);
    assert_eq!(
        found(Activity::FrozenSince(at(1_000))).await,
        ids,
        "who waits in a lane is not frozen"
    );
    let filter = SessionFilter {
        activity: Some(Activity::FrozenSince(at(61))),
        ..SessionFilter::default()
    };
    assert_eq!(
        sessions::totals(world.reads(), ledger, &filter).await.unwrap().0,
        2
    );
}
