//! Replay: what something was at any position, and the rules decided again, on a ledger that the real machinery wrote.

mod compared;
mod planted;
mod verified;

use std::sync::Arc;

use ruche_api::app::App;
use ruche_commands::configuration::config_stream;
use ruche_commands::governed::lane_stream;
use ruche_commands::tool::tool_stream;
use ruche_commands::{CommandContext, Commands, LedgerSecrets, SecretsOf};
use ruche_commands_schema::CatalogueValidator;
use ruche_domain::envelope::{Actor, Provenance};
use ruche_domain::events::ConfigScope;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, Position};
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::memory::MemoryStore;
use ruche_ledger::store::EventStore;
use ruche_ledger::testing::{Author, FixedClock, SeededRandom};
use ruche_replay::testing::Crowd;
use ruche_replay::{Budget, StateAt, View, What};
use ruche_tests::server::Home;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");

/// Things that the crowd does: some hundred records, in which every kind of state occurs.
const STEPS: usize = 260;

/// Secrets of the ledgers of an app, for a pipeline with a clock of its own.
struct SameSecrets(Arc<Commands>);

impl SecretsOf for SameSecrets {
    fn secrets_of(&self, ledger: LedgerId) -> LedgerSecrets {
        self.0.secrets_of(ledger)
    }
}

/// A store that nobody tends, in which a crowd did things.
struct World {
    /// Gone with the world, where it has one of its own.
    _folder: Option<tempfile::TempDir>,
    home: Home,
    app: App,
    crowd: Crowd,
    ledger: LedgerId,
    /// When the crowd came together.
    start: Micros,
}

impl World {
    async fn of(seed: u64) -> Self {
        Self::with(seed, None).await
    }

    /// The same ids whatever the folder is, so that the same things happen.
    async fn again(seed: u64) -> Self {
        Self::with(seed, Some(master())).await
    }

    /// With the secrets of another master seed than the folder's, if one is given: then ids do not depend on the folder.
    async fn with(seed: u64, master: Option<MasterSeed>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        Self {
            _folder: Some(folder),
            ..Self::in_home(seed, master, home).await
        }
    }

    async fn in_home(seed: u64, master: Option<MasterSeed>, home: Home) -> Self {
        let app = App::open(&home.common(), "test").await.expect("the store opens");
        let tenant = ruche_api::cli::tenant("acme");
        app.ensure_ledger(tenant).await.expect("a ledger");
        // The store has a clock of its own, and a vote is late that was not recorded when it was given.
        let start = app.clock.now();
        let clock = Arc::new(FixedClock::at(start.0));
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
        for step in 0..STEPS {
            crowd.step().await;
            if step % 20 == 7 {
                crowd.publish(step as u64).await;
                crowd.tell_scenario(step / 20).await;
            }
        }
        crowd.end("voice").await.expect("a session ends");
        Self {
            _folder: None,
            home,
            app,
            crowd,
            ledger,
            start,
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
    let references = world.crowd.commands.secrets_of(world.ledger).references;
    let config = config_stream(&references, ConfigScope::Agent, Some("shop"));
    let of_config = at.of(What::Configuration(config), None).await.expect("a state");
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
        (["--configuration", "agent:shop"], &of_config),
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

fn master() -> MasterSeed {
    MasterSeed::from_slice(&[9; 32]).expect("32 bytes")
}

/// The same things done in memory.
async fn in_memory(seed: u64, master: MasterSeed, start: Micros) -> (Arc<MemoryStore>, Crowd) {
    let clock = Arc::new(FixedClock::at(start.0));
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
    for step in 0..STEPS {
        crowd.step().await;
        if step % 20 == 7 {
            crowd.publish(step as u64).await;
            crowd.tell_scenario(step / 20).await;
        }
    }
    (store, crowd)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_21_state_has_the_same_digest_on_every_engine() {
    let world = World::again(7).await;
    let (memory, crowd) = in_memory(7, master(), world.start).await;
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
        let references = world.crowd.commands.secrets_of(world.ledger).references;
        let config = config_stream(&references, ConfigScope::Agent, Some("shop"));
        let rest = [
            What::Configuration(config),
            What::Tool(tool_stream(&references, "book_seat")),
        ];
        for what in lanes.chain(sessions).chain(approvals).chain(rest) {
            let [a, b] = [&here, &there].map(|at| at.of(what, None));
            let (a, b) = (a.await.expect("a state"), b.await.expect("a state"));
            assert_eq!((a.state, a.digest), (b.state, b.digest), "{position}: {what:?}");
            compared += 1;
        }
    }
    assert!(compared > 200, "{compared}");
    world.app.close().await.expect("it closes");
}
