//! What is folded at every position of random courses is what a projection says that ran only to there.

use std::collections::{BTreeMap, BTreeSet};

use ruche_commands::configuration::config_stream;
use ruche_commands::tool::tool_stream;
use ruche_domain::events::ConfigScope;
use ruche_domain::ids::ApprovalId;
use ruche_ledger::store::Record;
use ruche_projections::approvals::{self, ApprovalFilter, RequestStatus};
use ruche_projections::runner::Runner;
use ruche_projections::scenarios::{PassageKind, ScenarioFilter, ScenarioStatus};
use ruche_projections::select::PageRequest;
use ruche_projections::{configuration, lanes, scenarios, sessions, tool_effects, turn_steps, turns};
use ruche_replay::{
    CallView, ConfigurationView, LaneView, ReadOnlyLedger, ScenarioOfSession, SessionBegun, SessionView,
    StepView, ToolView, TurnView,
};

use super::*;

/// Where requests stand, in the words of the read model, which are those of the folds.
const REQUESTS: [RequestStatus; 8] = [
    RequestStatus::Requested,
    RequestStatus::Approved,
    RequestStatus::Rejected,
    RequestStatus::Expired,
    RequestStatus::Cancelled,
    RequestStatus::Stale,
    RequestStatus::Voided,
    RequestStatus::Consumed,
];

/// The word of the read models for a state of the machine.
fn in_read_models(state: &str) -> &str {
    match state {
        "accumulating" => "gathering",
        "cancelling" => "draining",
        state => state,
    }
}

/// What the read model of lanes says, compared with the lane as it is folded.
async fn compare_lane(world: &World, lane: &LaneView, position: Position, now: Micros) {
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
    // A turn whose time was used up before it was claimed is overdue since then; the tables have it due before that.
    let is_overdue = lane.due_at.is_some_and(|due| due <= now) && row.due_at < lane.due_at;
    assert!(
        row.due_at == lane.due_at || (is_overdue && row.due_at.is_some()),
        "{position}: due {:?}, not {:?}",
        row.due_at,
        lane.due_at
    );
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
    assert_eq!(
        row.attempt_count,
        u64::from(turn.attempts),
        "{position}: {turn:?}"
    );
    assert_eq!(
        (row.opened_at, row.started_at),
        (turn.opened_at, turn.started_at),
        "{position}"
    );
    let told = &turn.told;
    assert_eq!(
        (row.ordinal, &row.external_id),
        (told.ordinal, &told.external_id),
        "{position}: {turn:?}"
    );
    assert_eq!(
        (row.session, &row.agent, row.outcome.map(|outcome| outcome.name())),
        (told.session, &told.agent, told.outcome),
        "{position}: {turn:?}"
    );
    assert_eq!(
        (&row.error_type, &row.error, row.ended_at),
        (&told.error_type, &told.error, told.ended_at),
        "{position}: {turn:?}"
    );
    let steps = turn_steps::of_turn(store, world.ledger, turn.id)
        .await
        .expect("rows");
    let steps = steps.into_iter().map(|step| StepView {
        id: step.step_id,
        name: step.name,
        attempt: u32::try_from(step.attempt).expect("it is small"),
        started_at: step.started_at,
        completed_at: step.completed_at,
        completed: step.completed_position,
        result: step.result,
    });
    assert_eq!(steps.collect::<Vec<_>>(), told.steps, "{position}");
    assert_eq!(
        row.status.name(),
        in_read_models(turn.state),
        "{position}: {turn:?}"
    );
    let ids: Vec<_> = turn.calls.iter().map(|call| call.id).collect();
    let effects = tool_effects::by_calls(store, world.ledger, &ids)
        .await
        .expect("rows");
    for call in &turn.calls {
        let effect = &effects[&call.id];
        let status = effect.status.name();
        assert_eq!(
            (
                effect.tool.as_ref(),
                effect.side_effect.map(|policy| policy.name()),
                effect.attempts
            ),
            (Some(&call.tool), Some(call.side_effect), u64::from(call.attempts)),
            "{position}: {call:?}"
        );
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
        (row.first_position, row.last_position, row.last_at),
        (session.first, session.last, session.last_at),
        "{position}"
    );
    assert_eq!(
        (row.end_reason.map(|reason| reason.name()), row.end_detail),
        (session.end_reason, session.end_detail.clone()),
        "{position}"
    );
    let begun = SessionBegun {
        external_id: row.external_id,
        app: row.app,
        agent: row.agent,
        agent_version: row.agent_version,
        interlocutor: row.interlocutor,
        channel: row.channel,
        scenario: row.scenario,
        trial: row.trial,
    };
    assert_eq!(begun, session.begun, "{position}");
    compare_scenarios(world, session, position).await;
}

/// The scenarios that are under way, with the points that they passed.
async fn compare_scenarios(world: &World, session: &SessionView, position: Position) {
    let store = &**world.app.runner.store();
    let filter = ScenarioFilter {
        session: Some(session.id),
        status: Some(ScenarioStatus::Active),
        ..ScenarioFilter::default()
    };
    let page = PageRequest::first(100);
    let rows = scenarios::list(store, world.ledger, &filter, &page).await;
    let mut in_rows = Vec::new();
    for row in rows.expect("rows").items() {
        let of = (session.id, row.scenario.as_str(), row.first_position);
        let history = scenarios::history(store, world.ledger, of, &page)
            .await
            .expect("rows");
        let points = history
            .items()
            .into_iter()
            .filter(|passage| passage.kind == PassageKind::Checkpoint);
        in_rows.push(ScenarioOfSession {
            passed: points.map(|passage| passage.name).collect(),
            scenario: row.scenario,
            version: row.version,
            step: row.step,
        });
    }
    assert_eq!(in_rows, session.scenarios, "{position}");
}

/// Requests for approval, all of them: which there are, and where each stands.
async fn compare_approvals(world: &World, at: &StateAt, position: Position) -> BTreeSet<&'static str> {
    let store = &**world.app.runner.store();
    let mut in_rows: BTreeMap<ApprovalId, &'static str> = BTreeMap::new();
    for status in REQUESTS {
        let filter = ApprovalFilter {
            status: vec![status],
            session: None,
            ..ApprovalFilter::default()
        };
        let page = approvals::list(store, world.ledger, &filter, &PageRequest::first(200)).await;
        let page = page.expect("rows");
        assert!(!page.has_next, "one page holds all requests of this test");
        in_rows.extend(page.rows.into_iter().map(|(_, id)| (id, status.name())));
    }
    let mut folded = BTreeMap::new();
    for id in world.crowd.approvals() {
        if let Some(View::Approval(approval)) = view(at, What::Approval(*id)).await {
            folded.insert(*id, approval.state);
        }
    }
    assert_eq!(in_rows, folded, "{position}");
    folded.into_values().collect()
}

async fn compare_configuration(world: &World, config: &ConfigurationView, position: Position) {
    let store = &**world.app.runner.store();
    let (scope, id) = (ConfigScope::Agent, "shop");
    let values = configuration::values(store, world.ledger, scope, id, None).await;
    let values = values.expect("rows").into_iter().map(|change| {
        let value = change.value.expect("keys that were removed are left out");
        (change.key, serde_json::from_str(&value).expect("JSON"))
    });
    assert_eq!(values.collect::<BTreeMap<_, _>>(), config.values, "{position}");
    let filter = configuration::ConfigFilter {
        scope: Some(scope),
        scope_id: Some(id.to_owned()),
        key: None,
    };
    let newest = PageRequest::first(1).descending();
    let last = configuration::history(store, world.ledger, &filter, &newest).await;
    let (_, last) = last.expect("rows").rows.pop().expect("a change");
    assert_eq!(
        (last.version, last.position, last.digest, last.published_at),
        (
            config.version,
            config.published,
            Some(config.values_digest),
            config.published_at
        ),
        "{position}"
    );
    assert_eq!(
        (&last.author, &last.reason),
        (&config.author, &config.reason),
        "{position}"
    );
}

async fn compare_tool(world: &World, tool: &ToolView, position: Position) {
    let tools = tool_effects::tools(&**world.app.runner.store(), world.ledger).await;
    let row = tools.expect("rows").into_iter().find(|row| row.name == tool.name);
    let row = row.unwrap_or_else(|| panic!("{position}: no row of {}", tool.name));
    assert_eq!(
        (
            row.side_effect.name(),
            row.compensation_tool,
            row.version,
            row.position,
            row.decides
        ),
        (
            tool.side_effect,
            tool.compensation_tool.clone(),
            tool.version.clone(),
            tool.registered,
            tool.decides
        ),
        "{position}"
    );
    assert_eq!(
        (
            row.schema_digest,
            row.timeout_us,
            row.owner,
            row.tool_kind.map(|kind| kind.name())
        ),
        (tool.schema_digest, tool.timeout_us, tool.owner.clone(), tool.kind),
        "{position}"
    );
}

/// What was seen on the way.
#[derive(Default)]
struct Seen {
    turns: BTreeSet<&'static str>,
    /// Steps that were begun, and those that were done.
    begun: u64,
    done: u64,
    approvals: BTreeSet<&'static str>,
    versions: BTreeSet<u64>,
    ended: u64,
    /// Steps and versions that scenarios stood at.
    scenarios: BTreeSet<(Option<String>, Option<String>)>,
}

impl Seen {
    /// Everything that there is at a position.
    async fn compare(&mut self, world: &World, record: &Record) {
        let (position, at) = (record.position, world.at(record.position).await);
        for lane in world.crowd.lanes() {
            let Some(View::Lane(lane)) = view(&at, What::Lane(lane)).await else {
                let row = lanes::by_id(&**world.app.runner.store(), world.ledger, lane).await;
                assert_eq!(row.expect("rows"), None, "{position}");
                continue;
            };
            compare_lane(world, &lane, position, record.leaf.event.occurred_at).await;
            for turn in &lane.turns {
                self.turns.insert(turn.state);
                let done = turn
                    .told
                    .steps
                    .iter()
                    .filter(|step| step.completed.is_some())
                    .count() as u64;
                self.done += done;
                self.begun += turn.told.steps.len() as u64 - done;
                let is_about = record.leaf.event.turn == Some(turn.id);
                // Most of the others are as they were; all of them now and then.
                if is_about || position.index.0 % 10 == 0 {
                    compare_turn(world, turn, position).await;
                }
                // What is said of it alone, too.
                if is_about {
                    let alone = view(&at, What::Turn(turn.id)).await;
                    assert_eq!(alone, Some(View::Turn(turn.clone())), "{position}");
                }
            }
        }
        for session in world.crowd.sessions() {
            if let Some(View::Session(session)) = view(&at, What::Session(session)).await {
                compare_session(world, &session, position).await;
                self.ended += u64::from(session.status == "ended");
                let scenarios = session.scenarios.into_iter();
                self.scenarios
                    .extend(scenarios.map(|scenario| (scenario.version, scenario.step)));
            }
        }
        self.approvals
            .extend(compare_approvals(world, &at, position).await);
        let references = world.crowd.commands.secrets_of(world.ledger).references;
        let config = config_stream(&references, ConfigScope::Agent, Some("shop"));
        if let Some(View::Configuration(config)) = view(&at, What::Configuration(config)).await {
            compare_configuration(world, &config, position).await;
            self.versions.insert(config.version);
        }
        if let Some(View::Tool(tool)) = view(&at, What::Tool(tool_stream(&references, "book_seat"))).await {
            compare_tool(world, &tool, position).await;
        }
    }
}

/// Every position: what is folded is what a projection says that ran only to there.
async fn states_are_those_of_projections(seed: u64, seen: &mut Seen) {
    let world = World::again(seed).await;
    let (last, mut position) = (world.last().await, Position::START);
    loop {
        let until = Arc::new(ReadOnlyLedger::as_of(world.app.events.clone(), position));
        let runner = Runner::new(until, world.app.runner.store().clone());
        runner.catch_up(world.ledger).await.expect("projections run");
        let record = world.app.events.read_ledger(world.ledger, position, 1).await;
        seen.compare(&world, &record.expect("the ledger is read")[0])
            .await;
        if position == last {
            break;
        }
        position = position.next();
    }
    assert!(last.index.0 > 200, "the crowd did little: {last}");
    world.app.close().await.expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_21_state_at_every_position_is_that_of_a_projection_stopped_there() {
    let mut seen = Seen::default();
    // In these courses all of that happens which is asked for below.
    for seed in [5, 20, 38] {
        states_are_those_of_projections(seed, &mut seen).await;
    }
    let turns = [
        "accumulating",
        "queued",
        "ready",
        "processing",
        "awaiting_approval",
        "compensating",
        "committed",
        "superseded",
        "failed",
    ];
    let missing: Vec<_> = turns
        .iter()
        .filter(|state| !seen.turns.contains(*state))
        .collect();
    assert!(missing.is_empty(), "no turn was ever {missing:?}");
    let requests = [
        "requested",
        "approved",
        "rejected",
        "expired",
        "cancelled",
        "voided",
        "consumed",
    ];
    let missing: Vec<_> = requests
        .iter()
        .filter(|state| !seen.approvals.contains(*state))
        .collect();
    assert!(missing.is_empty(), "no request was ever {missing:?}");
    assert!(
        seen.versions.len() > 5 && seen.ended > 0,
        "{:?} {}",
        seen.versions,
        seen.ended
    );
    let stood = [
        ("1", Some("ask")),
        ("1", Some("check")),
        ("1", None),
        ("2", Some("pay")),
    ];
    for (version, step) in stood {
        let at = (Some(version.to_owned()), step.map(str::to_owned));
        assert!(seen.scenarios.contains(&at), "no scenario stood at {at:?}");
    }
    assert!(
        seen.begun > 0 && seen.done > 0,
        "steps: {} {}",
        seen.begun,
        seen.done
    );
}
