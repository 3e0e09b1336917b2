//! What was told of a session while it went on is what is told of each of its positions afterwards. Read models that are
//! stopped at every single position: `tests/it/replay.rs`.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::{LEASE, Outside, Worker, World, lane};

/// Records that the session has at least.
const RECORDS_MIN: u64 = 40;
/// What time passes between two things that happen.
const STEP: Duration = Duration::from_millis(7);
/// The first turn: what it did is undone.
const SEATS: [&str; 2] = ["1A", "1B"];

/// What read models held when the ledger ended with a record.
struct Seen {
    position: String,
    told: Value,
}

/// A session while it goes on, and what was seen of it meanwhile.
struct Story {
    world: World,
    outside: RefCell<Outside>,
    lane: Value,
    session: Value,
    seen: RefCell<Vec<Seen>>,
}

impl Story {
    fn new() -> Self {
        let world = World::new();
        world.register("look_up", "PURE", None);
        world.register("release_seat", "IDEMPOTENT", None);
        world.register("reserve_seat", "COMPENSATABLE", Some("release_seat"));
        world.register("charge_card", "IRREVERSIBLE", None);
        world.clock.stand().expect("the clock stands");
        let lane = lane("ann", "web");
        world.session(&lane);
        let query = "{ sessions(first: 2) { nodes { id } } }";
        let sessions = world.read(query, &Value::Null)["sessions"]["nodes"].take();
        let [session] = sessions.as_array().expect("a list").as_slice() else {
            panic!("one session: {sessions}");
        };
        Self {
            session: session["id"].clone(),
            outside: RefCell::default(),
            seen: RefCell::default(),
            lane,
            world,
        }
    }

    /// Looks at everything that read models say of the session; again if a timer wrote something meanwhile.
    fn looks(&self) {
        let query = "query ($session: ID!) { ledger { lastPosition }
            lanes(first: 10) { nodes { id depth dueAt holder { turnId state attemptCount leaseExpiresAt } } }
            session(id: $session) { status endedAt firstPosition lastPosition
                turns(first: 20) { nodes { id status attemptCount startedAt } } }
            effects(first: 20) { nodes { callId status } } approvals(first: 20) { nodes { id state } } }";
        loop {
            let size = self.world.size();
            let told = self.world.read(query, &json!({ "session": self.session }));
            if self.world.size() == size {
                let position = told["ledger"]["lastPosition"].as_str().expect("a position");
                let position = position.to_owned();
                self.seen.borrow_mut().push(Seen { position, told });
                break;
            }
        }
        self.world.pass(STEP);
    }

    /// A message, and the turn that it made once that may be claimed.
    fn turn(&self, id: &str) -> Worker {
        self.world.message(&self.lane, id, "go on");
        self.looks();
        self.world.pass(Duration::from_secs(3));
        self.claim()
    }

    fn claim(&self) -> Worker {
        let worker = self.world.claim(&self.lane);
        self.looks();
        worker
    }

    /// A call from its proposal to its report.
    fn runs(&self, worker: &Worker, tool: &str, key: &str) -> Value {
        let call = self.world.propose(worker, tool, key);
        self.looks();
        self.starts(worker, &call, tool);
        call
    }

    fn starts(&self, worker: &Worker, call: &Value, tool: &str) {
        let started = self.world.start(worker, call);
        self.looks();
        self.outside.borrow_mut().execute(tool, &started);
        self.world.report(worker, &started);
        self.looks();
    }

    fn commits(&self, worker: &Worker) {
        self.world.commit(worker, "so it is");
        self.looks();
    }

    /// Two seats are reserved and given back, because a message takes the place of the turn.
    fn undone(&self) {
        self.looks();
        let first = self.turn("m-1");
        self.runs(&first, "look_up", "seats");
        let seats = SEATS.map(|seat| self.runs(&first, "reserve_seat", seat));
        self.world.message(&self.lane, "m-2", "never mind");
        self.looks();
        let failed = json!({ "failed": { "errorType": "busy" } });
        let undone = json!({ "compensated": { "externalRef": "R-1" } });
        for (seat, outcome) in [(1, &failed), (1, &undone), (0, &undone)] {
            self.world.undo(&self.lane, &seats[seat], outcome);
            self.looks();
        }
    }

    /// A charge that people agreed to, in a turn of its own, while a message waits.
    fn approved(&self) {
        self.world.pass(Duration::from_secs(3));
        let asking = self.claim();
        let call = self.world.propose(&asking, "charge_card", "order 7");
        self.looks();
        self.commits(&asking);
        self.world.approve(&call, "charge_card", "order 7");
        self.looks();
        let worker = self.claim();
        let started = self.world.start(&worker, &call);
        self.looks();
        self.outside.borrow_mut().execute("charge_card", &started);
        self.world.message(&self.lane, "m-3", "is it blue?");
        self.looks();
        self.world.report(&worker, &started);
        self.looks();
        self.commits(&worker);
    }

    /// The tool is another one from now on, and so are the settings; a worker dies, and another ends the session.
    fn changed(&self) {
        let mut tool = json!({ "name": "reserve_seat", "sideEffect": "COMPENSATABLE", "version": "2" });
        (tool["argumentSchema"], tool["compensationTool"]) =
            (json!({ "type": "object" }), json!("release_seat"));
        self.world.done("registerTool", &tool, "position");
        self.looks();
        let settings = json!({ "scope": "AGENT", "scopeId": "shop", "set": { "tone": "kind" } });
        self.world.done("publishConfiguration", &settings, "position");
        self.looks();
        self.world.pass(Duration::from_secs(3));
        self.claim();
        self.world.pass(LEASE);
        let heir = self.claim();
        self.runs(&heir, "reserve_seat", "2C");
        self.commits(&heir);
        let end = json!({ "session": { "id": self.session }, "reason": "COMPLETED" });
        self.world.done("endSession", &end, "position");
        self.looks();
    }
}

/// What is asked of a position.
fn subjects(story: &Story) -> Vec<Value> {
    let seen = story.seen.borrow();
    let last = &seen.last().expect("much was seen").told;
    let mut all = vec![
        json!({ "laneNamed": story.lane }),
        json!({ "session": story.session }),
        json!({ "tool": "reserve_seat" }),
        json!({ "configuration": { "scope": "AGENT", "scopeId": "shop" } }),
    ];
    let approvals = last["approvals"]["nodes"].as_array().expect("a list");
    all.extend(
        approvals
            .iter()
            .map(|approval| json!({ "approval": approval["id"] })),
    );
    all
}

/// What a thing was at a position, as both nodes say.
fn state(world: &World, of: &Value, position: &str) -> Value {
    let query = "query ($of: StateOf!, $position: Position) { stateAt(of: $of, position: $position) {
        position recordedAt state digest undecidableFrom } }";
    let ask = || {
        let variables = json!({ "of": of, "position": position });
        world.agent().ask(query, variables)["stateAt"].take()
    };
    let (one, other) = (ask(), ask());
    assert_eq!(one, other, "{position}: nodes disagree");
    assert_eq!(
        (&one["position"], &one["undecidableFrom"]),
        (&json!(position), &Value::Null)
    );
    one
}

#[test]
fn a_21_what_was_told_while_it_went_on_is_told_of_each_position_for_ever() {
    let story = Story::new();
    story.undone();
    story.approved();
    story.changed();
    let world = &story.world;
    let subjects = subjects(&story);
    let size = world.size();
    let mut all: Vec<Vec<Value>> = Vec::new();
    for index in 0..size {
        let position = format!("1:{index}");
        let states = subjects.iter().map(|of| state(world, of, &position));
        all.push(states.collect());
    }
    let seen = story.seen.borrow();
    assert!(seen.len() > 30, "{} looks", seen.len());
    for seen in &*seen {
        let index = seen
            .position
            .strip_prefix("1:")
            .and_then(|index| index.parse().ok());
        let index: usize = index.expect("a position of the first epoch");
        compare(seen, &all[index]);
    }
    let session = &all.last().expect("records")[1]["state"]["session"];
    assert!(session["records"].as_u64() >= Some(RECORDS_MIN), "{session}");
    times(world, &subjects[0], &all);
    let tools = all.iter().map(|states| &states[2]["state"]["tool"]["version"]);
    let tools: Vec<&Value> = tools.collect();
    assert!(tools.contains(&&json!("2")) && tools.contains(&&Value::Null));
    let closed = story.world.closed();
    closed.audit();
    for (index, states) in all.iter().enumerate().step_by(9) {
        let at = format!("1:{index}");
        let asked = [
            "replay",
            "state",
            "--tenant",
            "acme",
            "--at",
            &at,
            "--lane",
            "shop/ann/web",
        ];
        let told = closed.home.run(&asked).expect("a state");
        assert_eq!(
            (&told["state"], &told["digest"]),
            (&states[0]["state"], &states[0]["digest"]),
            "{at}: on the command line"
        );
    }
}

/// A time means the last record that was taken by then, and the answer says which.
fn times(world: &World, of: &Value, all: &[Vec<Value>]) {
    let taken: Vec<&str> = all
        .iter()
        .map(|states| states[0]["recordedAt"].as_str().expect("a time"))
        .collect();
    assert!(taken.is_sorted(), "{taken:?}");
    let query =
        "query ($of: StateOf!, $time: DateTime) { stateAt(of: $of, time: $time) { position digest } }";
    let mut asked = 0;
    for (index, time) in taken.iter().enumerate() {
        if taken.get(index + 1) == Some(time) {
            continue;
        }
        asked += 1;
        let told = world.agent().ask(query, json!({ "of": of, "time": time }))["stateAt"].take();
        let expected = json!({ "position": format!("1:{index}"), "digest": all[index][0]["digest"] });
        assert_eq!(told, expected, "{time}");
    }
    assert!(asked > 30, "{asked} moments");
}

/// What read models said when the ledger ended there, against what is folded from the records up to there.
fn compare(seen: &Seen, states: &[Value]) {
    let (at, told) = (&seen.position, &seen.told);
    let nothing = Vec::new();
    let list = |value: &Value| value.as_array().unwrap_or(&nothing).clone();
    let lane = &states[0]["state"]["lane"];
    let turns = list(&lane["turns"]);
    let rows = list(&told["lanes"]["nodes"]);
    assert_eq!(rows.is_empty(), turns.is_empty(), "{at}: {told}");
    if let [row] = rows.as_slice() {
        compare_lane(at, row, lane, &turns);
    }
    let rows = list(&told["session"]["turns"]["nodes"]);
    assert_eq!(rows.len(), turns.len(), "{at}: {told}");
    for turn in &turns {
        let row = rows.iter().find(|row| row["id"] == turn["id"]);
        let row = row.unwrap_or_else(|| panic!("{at}: {turn} is not in {told}"));
        assert_eq!(row["attemptCount"], json!(turn["attempts"].to_string()), "{at}");
        assert_eq!(row["startedAt"].is_null(), turn["started_at"].is_null(), "{at}");
        assert_eq!(
            end_of(&row["status"]),
            end_of(&turn["state"]),
            "{at}: {row} {turn}"
        );
    }
    let calls = turns.iter().flat_map(|turn| list(&turn["calls"]));
    let calls: Vec<Value> = calls.collect();
    let rows = list(&told["effects"]["nodes"]);
    assert_eq!(rows.len(), calls.len(), "{at}: {told}");
    for call in &calls {
        let row = rows.iter().find(|row| row["callId"] == call["id"]);
        let row = row.unwrap_or_else(|| panic!("{at}: {call} is not in {told}"));
        assert!(is_status(call, &row["status"]), "{at}: {call} is {row}");
    }
    let session = &states[1]["state"]["session"];
    let row = &told["session"];
    assert_eq!(row["status"], upper(&session["status"]), "{at}: {told}");
    assert_eq!(row["endedAt"].is_null(), session["ended_at"].is_null(), "{at}");
    assert_eq!(
        (&row["firstPosition"], &row["lastPosition"]),
        (&session["first"], &session["last"]),
        "{at}: {told}"
    );
    let approvals = states[4..].iter().map(|state| &state["state"]["approval"]);
    let approvals = approvals.filter(|approval| !approval.is_null());
    let folded: Vec<Value> = approvals
        .map(|approval| json!({ "id": approval["id"], "state": upper(&approval["state"]) }))
        .collect();
    assert_eq!(told["approvals"]["nodes"], json!(folded), "{at}");
}

fn compare_lane(at: &str, row: &Value, lane: &Value, turns: &[Value]) {
    let waits = |turn: &&Value| {
        ["accumulating", "queued", "ready"]
            .map(Value::from)
            .contains(&turn["state"])
    };
    let depth = turns.iter().filter(waits).count();
    assert_eq!(
        (&row["id"], &row["depth"]),
        (&lane["id"], &json!(depth.to_string())),
        "{at}: {lane}"
    );
    assert_eq!(row["dueAt"].is_null(), lane["due_at"].is_null(), "{at}: {lane}");
    let holds = |turn: &&Value| {
        let waits = ["accumulating", "queued"].map(Value::from);
        end_of(&turn["state"]).is_none() && !waits.contains(&turn["state"])
    };
    let holder = turns.iter().find(holds).map(|turn| {
        let state = match turn["state"].as_str() {
            Some("cancelling") => json!("CANCELLING"),
            _ => upper(&turn["state"]),
        };
        let attempts = turn["attempts"].to_string();
        (
            turn["id"].clone(),
            state,
            json!(attempts),
            turn["lease"].is_null(),
        )
    });
    let told = &row["holder"];
    let told = (!told.is_null()).then(|| {
        let is_free = told["leaseExpiresAt"].is_null();
        (
            told["turnId"].clone(),
            told["state"].clone(),
            told["attemptCount"].clone(),
            is_free,
        )
    });
    assert_eq!(told, holder, "{at}: {lane}");
}

/// How a turn ended, if it did.
fn end_of(state: &Value) -> Option<Value> {
    let state = upper(state);
    let ends = ["COMMITTED", "SUPERSEDED", "CANCELLED", "FAILED"].map(Value::from);
    ends.contains(&state).then_some(state)
}

/// Whether the read model of effects has this word for a call.
fn is_status(call: &Value, status: &Value) -> bool {
    match call["effect"].as_str() {
        None => ["PROPOSED", "DEFERRED"].map(Value::from).contains(status),
        Some("in_flight") => status == "STARTED",
        Some(_) => *status == upper(&call["effect"]),
    }
}

fn upper(word: &Value) -> Value {
    json!(word.as_str().map(str::to_uppercase))
}
