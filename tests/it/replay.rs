//! Replay: what something was at any position, and the rules decided again, on a ledger that the real machinery wrote.

mod verified;

use std::sync::Arc;

use ruche_api::app::App;
use ruche_commands::governed::lane_stream;
use ruche_commands::{CommandContext, Commands, LedgerSecrets, SecretsOf};
use ruche_commands_schema::CatalogueValidator;
use ruche_domain::envelope::{Actor, Provenance};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::store::EventStore;
use ruche_ledger::testing::{Author, FixedClock, SeededRandom};
use ruche_projections::runner::Runner;
use ruche_projections::{lanes, sessions, tool_effects, turns};
use ruche_replay::testing::Crowd;
use ruche_replay::{Budget, CallView, LaneView, ReadOnlyLedger, SessionView, StateAt, TurnView, View, What};
use ruche_tests::server::Home;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");

/// Things that the crowd does: some hundred records, in which every kind of state occurs.
const STEPS: usize = 260;

/// 2026-01-05 00:00 UTC, µs.
const START_US: u64 = 1_767_571_200_000_000;

/// Secrets of the ledgers of an app, for a pipeline with a clock of its own.
struct SameSecrets(Arc<Commands>);

impl SecretsOf for SameSecrets {
    fn secrets_of(&self, ledger: LedgerId) -> LedgerSecrets {
        self.0.secrets_of(ledger)
    }
}

/// A store that nobody tends, in which a crowd did things.
struct World {
    _folder: tempfile::TempDir,
    home: Home,
    app: App,
    crowd: Crowd,
    ledger: LedgerId,
}

impl World {
    async fn of(seed: u64) -> Self {
        Self::with(seed, None).await
    }

    /// With the secrets of another master seed than the folder's, if one is given: then ids do not depend on the folder.
    async fn with(seed: u64, master: Option<MasterSeed>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let app = App::open(&home.common(), "test").await.expect("the store opens");
        let tenant = ruche_api::cli::tenant("acme");
        app.ensure_ledger(tenant).await.expect("a ledger");
        let clock = Arc::new(FixedClock::at(START_US));
        let same = || -> Arc<dyn SecretsOf> { Arc::new(SameSecrets(app.commands.clone())) };
        let commands = Commands::new(
            app.events.clone(),
            clock.clone(),
            Arc::new(SeededRandom::new(seed)),
            master.map_or_else(same, |master| Arc::new(master)),
            Arc::new(CatalogueValidator::new().expect("the schemas are there")),
        );
        let context = CommandContext::new(tenant, Actor::SYSTEM, Provenance::Reported, "crowd");
        let ledger = context.ledger;
        let crowd = Crowd::new(Arc::new(commands), app.events.clone(), clock, context, seed);
        let mut crowd = crowd.await;
        for _ in 0..STEPS {
            crowd.step().await;
        }
        crowd.end("voice").await.expect("a session ends");
        Self {
            _folder: folder,
            home,
            app,
            crowd,
            ledger,
        }
    }

    async fn last(&self) -> Position {
        let head = self.app.events.head(self.ledger).await.expect("a head");
        head.and_then(|head| head.last_position()).expect("a record")
    }

    async fn at(&self, position: Position) -> StateAt {
        let at = StateAt::new(
            self.app.events.clone(),
            self.ledger,
            position,
            Budget::unbounded(),
        )
        .await;
        at.expect("the ledger was there")
    }
}

async fn view(at: &StateAt, what: What) -> Option<View> {
    let state = at.of(what, None).await.expect("the ledger is read");
    assert_eq!(state.undecidable_from, None, "nothing is erased");
    state.state
}

/// The word of the read models for a state of the machine.
fn in_read_models(state: &str) -> &str {
    match state {
        "accumulating" => "gathering",
        "cancelling" => "draining",
        state => state,
    }
}

/// What the read model of lanes says, compared with the lane as it is folded.
async fn compare_lane(world: &World, lane: &LaneView, position: Position) {
    let store = world.app.runner.store();
    let row = lanes::by_id(&**store, world.ledger, lane.id).await.expect("rows");
    let row = row.unwrap_or_else(|| panic!("{position}: no row of {}", lane.id));
    let waits = |turn: &&TurnView| matches!(turn.state, "accumulating" | "queued" | "ready");
    let waiting: Vec<&TurnView> = lane.turns.iter().filter(waits).collect();
    assert_eq!(row.depth, waiting.len() as u64, "{position}: {lane:?}");
    assert_eq!(
        row.oldest_at,
        waiting.iter().map(|turn| turn.opened_at).min(),
        "{position}"
    );
    assert_eq!(row.due_at, lane.due_at, "{position}: {lane:?}");
    let names = (&row.agent, &row.interlocutor, &row.channel, &row.thread);
    assert_eq!(
        names,
        (&lane.agent, &lane.interlocutor, &lane.channel, &lane.thread)
    );
    let over = [
        "committed",
        "superseded",
        "cancelled",
        "failed",
        "accumulating",
        "queued",
    ];
    let holder = lane.turns.iter().find(|turn| !over.contains(&turn.state));
    let of_row = row.holder.as_ref().map(|holder| {
        let (attempts, lease) = (holder.attempts, holder.lease_expires_at);
        (
            holder.turn,
            holder.state.name(),
            holder.not_before,
            lease,
            attempts,
        )
    });
    let folded = holder.map(|turn| {
        let lease = turn.lease.as_ref().map(|lease| lease.expires_at);
        let attempts = u64::from(turn.attempts);
        (
            turn.id,
            in_read_models(turn.state),
            turn.not_before,
            lease,
            attempts,
        )
    });
    assert_eq!(of_row, folded, "{position}");
}

/// What the read models of turns and effects say, compared with the turns as they are folded.
async fn compare_turn(world: &World, turn: &TurnView, position: Position) {
    let store = &**world.app.runner.store();
    let row = turns::get(store, world.ledger, turn.id)
        .await
        .expect("rows")
        .expect("a row");
    assert_eq!(row.attempts, u64::from(turn.attempts), "{position}: {turn:?}");
    assert_eq!(
        (row.opened_at, row.started_at),
        (turn.opened_at, turn.started_at),
        "{position}"
    );
    let over = ["committed", "superseded", "cancelled", "failed"];
    let ends = [turn.state, row.status.name()].map(|state| over.contains(&state).then_some(state));
    assert_eq!(ends[0], ends[1], "{position}: {turn:?}");
    let ids: Vec<_> = turn.calls.iter().map(|call| call.id).collect();
    let effects = tool_effects::by_calls(store, world.ledger, &ids)
        .await
        .expect("rows");
    for call in &turn.calls {
        let status = effects[&call.id].status.name();
        assert!(
            is_status(call, status),
            "{position}: {call:?} is {status} in the read model"
        );
    }
}

/// Whether the read model of effects has this word for a call.
fn is_status(call: &CallView, status: &str) -> bool {
    match call.effect {
        None => matches!(status, "proposed" | "deferred"),
        Some("not_executed") => status == "not_executed",
        Some("in_flight") => status == "started",
        // What a person found not to have happened may happen again, as after a failure.
        Some("failed") => matches!(status, "failed" | "not_executed"),
        Some(effect) => status == effect,
    }
}

async fn compare_session(world: &World, session: &SessionView, position: Position) {
    let store = &**world.app.runner.store();
    let row = sessions::get(store, world.ledger, session.id)
        .await
        .expect("rows")
        .expect("a row");
    assert_eq!(row.status.name(), session.status, "{position}");
    assert_eq!(
        (row.started_at, row.ended_at),
        (session.started_at, session.ended_at),
        "{position}"
    );
    assert_eq!(
        (row.first_position, row.last_position),
        (session.first, session.last),
        "{position}"
    );
}

/// Every position: what is folded is what a projection says that ran only to there.
async fn states_are_those_of_projections(seed: u64) {
    let world = World::of(seed).await;
    let (last, mut position) = (world.last().await, Position::START);
    let mut seen = std::collections::BTreeSet::new();
    loop {
        let until = Arc::new(ReadOnlyLedger::as_of(world.app.events.clone(), position));
        let runner = Runner::new(until, world.app.runner.store().clone());
        runner.catch_up(world.ledger).await.expect("projections run");
        let at = world.at(position).await;
        for lane in world.crowd.lanes() {
            let Some(View::Lane(lane)) = view(&at, What::Lane(lane)).await else {
                let row = lanes::by_id(&**world.app.runner.store(), world.ledger, lane).await;
                assert_eq!(row.expect("rows"), None, "{position}");
                continue;
            };
            compare_lane(&world, &lane, position).await;
            for turn in &lane.turns {
                seen.insert(turn.state);
                compare_turn(&world, turn, position).await;
            }
        }
        for session in world.crowd.sessions() {
            if let Some(View::Session(session)) = view(&at, What::Session(session)).await {
                compare_session(&world, &session, position).await;
            }
        }
        if position == last {
            break;
        }
        position = position.next();
    }
    assert!(last.index.0 > 200, "the crowd did little: {last}");
    let missing: Vec<_> = [
        "accumulating",
        "queued",
        "awaiting_approval",
        "compensating",
        "superseded",
        "failed",
    ]
    .into_iter()
    .filter(|state| !seen.contains(state))
    .collect();
    assert!(missing.is_empty(), "no turn was ever {missing:?}");
    world.app.close().await.expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_21_state_at_every_position_is_that_of_a_projection_stopped_there() {
    for seed in [1] {
        states_are_those_of_projections(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_21_state_of_a_turn_is_found_without_being_told_where_it_is() {
    let world = World::of(3).await;
    let last = world.last().await;
    let at = world.at(last).await;
    for lane in world.crowd.lanes() {
        let Some(View::Lane(lane)) = view(&at, What::Lane(lane)).await else {
            continue;
        };
        for turn in &lane.turns {
            assert_eq!(turn.stream, lane_stream(lane.id).to_string());
            let hints = [None, Some(last), Some(Position::START), Some(Position::new(9, 9))];
            for first in hints {
                let found = at
                    .of(What::Turn(turn.id), first)
                    .await
                    .expect("the ledger is read");
                assert_eq!(found.state, Some(View::Turn(turn.clone())), "{first:?}");
            }
        }
    }
    world.app.close().await.expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_21_state_is_shown_on_the_command_line() {
    let world = World::of(4).await;
    let last = world.last().await;
    let position = Position::new(1, last.index.0 / 2);
    let at = world.at(position).await;
    let web = world.crowd.lanes()[0];
    let of_lane = at.of(What::Lane(web), None).await.expect("a state");
    let Some(View::Lane(lane)) = &of_lane.state else {
        panic!("the lane was there by then");
    };
    let turn = lane.turns[0].id;
    let of_turn = at.of(What::Turn(turn), None).await.expect("a state");
    let session = world.crowd.sessions()[0];
    let of_session = at.of(What::Session(session), None).await.expect("a state");
    world.app.close().await.expect("it closes");

    let (place, turn) = (position.to_string(), turn.to_string());
    let ask = |subject: &[&str]| {
        let arguments = [&["replay", "state", "--tenant", "acme", "--at", &place], subject].concat();
        world.home.end_of(&arguments).expect("it starts")
    };
    for (subject, state) in [
        (["--lane", "shop/ann/web"], &of_lane),
        (["--lane", &web.to_string()], &of_lane),
        (["--turn", &turn], &of_turn),
        (["--session", "web"], &of_session),
    ] {
        let told = ask(&subject);
        assert_eq!(told.code, Some(0), "{}", told.said);
        assert_eq!(
            told.json,
            serde_json::to_value(state).expect("JSON"),
            "{subject:?}"
        );
    }
    let tool = ask(&["--tool", "book_seat"]).json;
    assert_eq!(tool["state"]["tool"]["side_effect"], "compensatable", "{tool}");
    let config = ask(&["--configuration", "agent:shop"]).json;
    assert_eq!(
        config["state"]["configuration"]["values"],
        serde_json::json!({ "tone": "kind" })
    );
    let nobody = ask(&["--tool", "nobody"]).json;
    assert_eq!(nobody["state"], serde_json::Value::Null, "{nobody}");

    // A time means the last record that was taken by then, and the answer says which.
    let time = [
        "replay",
        "state",
        "--tenant",
        "acme",
        "--at",
        "2100-01-01T00:00:00Z",
        "--tool",
        "book_seat",
    ];
    assert_eq!(
        world.home.run(&time).expect("a state")["position"],
        last.to_string()
    );
    let before = [
        "replay",
        "state",
        "--tenant",
        "acme",
        "--at",
        "1999-01-01T00:00:00Z",
        "--tool",
        "book_seat",
    ];
    let told = world.home.end_of(&before).expect("it starts");
    assert_eq!(told.code, Some(1), "{}", told.said);
    let far = [
        "replay",
        "state",
        "--tenant",
        "acme",
        "--at",
        "1:999999",
        "--tool",
        "book_seat",
    ];
    let told = world.home.end_of(&far).expect("it starts");
    assert!(
        told.code == Some(1) && told.said.contains("NOT_FOUND"),
        "{}",
        told.said
    );
}

/// The same things done in memory.
async fn in_memory(seed: u64, master: MasterSeed, steps: usize) -> (Arc<MemoryStore>, Crowd) {
    let clock = Arc::new(FixedClock::at(START_US));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let commands = Commands::new(
        store.clone(),
        clock.clone(),
        Arc::new(SeededRandom::new(seed)),
        Arc::new(master),
        Arc::new(CatalogueValidator::new().expect("the schemas are there")),
    );
    let tenant = ruche_api::cli::tenant("acme");
    let context = CommandContext::new(tenant, Actor::SYSTEM, Provenance::Reported, "crowd");
    let opening = Author::new(1).opening(context.ledger, 1, None);
    store.open_epoch(context.ledger, opening).await.expect("a ledger");
    let mut crowd = Crowd::new(Arc::new(commands), store.clone(), clock, context, seed).await;
    for _ in 0..steps {
        crowd.step().await;
    }
    (store, crowd)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_21_state_has_the_same_digest_on_every_engine() {
    let master = || MasterSeed::from_slice(&[9; 32]).expect("32 bytes");
    let world = World::with(7, Some(master())).await;
    let (memory, crowd) = in_memory(7, master(), STEPS).await;
    let memory: Arc<dyn EventStore> = memory;
    let mut compared = 0;
    for index in (0..world.last().await.index.0).step_by(7) {
        let position = Position::new(1, index);
        let here = world.at(position).await;
        let there = StateAt::new(memory.clone(), world.ledger, position, Budget::unbounded()).await;
        let there = there.expect("the same ledger");
        let lanes = crowd.lanes().into_iter().map(What::Lane);
        let sessions = crowd.sessions().into_iter().map(What::Session);
        let approvals = crowd.approvals().iter().copied().map(What::Approval);
        for what in lanes.chain(sessions).chain(approvals) {
            let [a, b] = [&here, &there].map(|at| at.of(what, None));
            let (a, b) = (a.await.expect("a state"), b.await.expect("a state"));
            assert_eq!((a.state, a.digest), (b.state, b.digest), "{position}: {what:?}");
            compared += 1;
        }
    }
    assert!(compared > 200, "{compared}");
    world.app.close().await.expect("it closes");
}
