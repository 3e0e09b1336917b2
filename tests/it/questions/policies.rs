//! Questions 12, 14, 15 and 16 where policy has rules, agents say how unsure they are, and something ran that should not have.
//! No command writes that yet, so it is written past the commands, as a later version or a thief would.

use reqwest::blocking::Client;
use ruche_api::app::App;
use ruche_api::cli::{main_ledger, tenant};
use ruche_domain::envelope::{ACFEvent, Actor, Provenance};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::policy::{Ehi, EhiMethod};
use ruche_domain::events::{
    ApprovalConsumed, ApprovalDecision, ApprovalExpired, ApprovalMode, ApprovalOutcome, ApprovalRequested,
    ApprovalResolved, ApprovalRule, ApprovalVoted, InterventionPoint, PolicyEvaluated, PolicyReason,
    PolicyVerdict, SessionStarted, ToolCompensated, ToolCompleted, ToolProposed, ToolStarted,
};
use ruche_domain::ids::{CallId, EventId, SessionId, TurnId};
use ruche_domain::measures::{Digest, Ratio};
use ruche_domain::numbers::{Micros, SchemaVersion};
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::payload::{Fragment, JSON};
use ruche_ledger::store::{AppendOutcome, AppendRequest, PreparedEvent};
use ruche_ledger::testing::SeededRandom;
use ruche_tests::server::{Home, Server, graphql};
use serde_json::{Value, json};
use uuid::Uuid;

use super::asked::query;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;
/// 2026-01-05.
const START: u64 = 1_767_571_200 * SECOND;

/// Writes events of the calls of one turn.
struct Writer {
    random: SeededRandom,
    events: Vec<PreparedEvent>,
}

fn id(call: u8) -> CallId {
    CallId::from_bytes([call; 16])
}

impl Writer {
    /// An event of a call, in the stream of its approval, of its lane, or of a session where no lane decided.
    fn write(&mut self, call: u8, at: u64, fact: impl Into<AgentEvent>) {
        let category = |event_type: &str| match event_type.split('.').next() {
            Some("approval") => (Category::Approval, [call; 16]),
            Some("session") => (Category::Session, [7; 16]),
            _ => (Category::Lane, [8; 16]),
        };
        self.write_in(call, at, category, fact);
    }

    fn write_in(
        &mut self,
        call: u8,
        at: u64,
        place: impl Fn(&str) -> (Category, [u8; 16]),
        fact: impl Into<AgentEvent>,
    ) {
        let fact: AgentEvent = fact.into();
        let mut number = [0; 10];
        number[..8].copy_from_slice(&(self.events.len() as u64).to_be_bytes());
        let (category, stream) = place(fact.event_type());
        let event = ACFEvent {
            provenance: Provenance::Attested,
            session: Some(SessionId::from_bytes([7; 16])),
            turn: Some(TurnId::from_bytes([9; 16])),
            call: (category != Category::Session).then(|| id(call)),
            ..ACFEvent::new(
                EventId::v7((START + at) / 1_000, number),
                StreamId::new(category, Uuid::from_bytes(stream)),
                fact.event_type(),
                SchemaVersion(fact.schema_version().0),
                Micros(START + at),
                Actor::SYSTEM,
            )
        };
        let payload = Fragment::plain(&self.random, JSON, fact.to_payload()).expect("it is small");
        self.events.push(PreparedEvent {
            event,
            payload: vec![payload],
        });
    }

    fn proposed(&mut self, call: u8, at: u64, tool: &str, side_effect: SideEffectPolicy) {
        let arguments = json!({ "n": call }).to_string();
        let proposed = ToolProposed {
            side_effect: Some(side_effect),
            ..ToolProposed::new(tool.to_owned(), arguments)
        };
        self.write(call, at, proposed);
    }

    fn evaluated(&mut self, call: u8, at: u64, verdict: PolicyVerdict, rules: &[&str], unsure: f64) {
        let (point, digest) = (InterventionPoint::PreToolCall, Digest([1; 32]));
        let mut said = PolicyEvaluated::new("d".to_owned(), point, verdict, digest, digest);
        let rules = rules.iter().map(|rule| PolicyReason::new((*rule).to_owned()));
        said.reasons = rules.collect();
        let unsure = Ratio::new(unsure).expect("a part of one");
        said.ehi = Some(Ehi::new(unsure, EhiMethod::SelfReport));
        self.write(call, at, said);
    }

    fn requested(&mut self, call: u8, at: u64) {
        let (rule, mode) = (ApprovalRule::new(1), ApprovalMode::Blocking);
        let until = Micros(START + 30 * DAY);
        self.write(
            call,
            at,
            ApprovalRequested::new(Digest([1; 32]), rule, until, mode),
        );
    }

    fn decided(&mut self, call: u8, at: u64, decision: ApprovalDecision) {
        let digest = Digest([1; 32]);
        let [by, key, envelope] = ["alice", "k", "{}"].map(str::to_owned);
        let voted = ApprovalVoted::new(by, decision, key, envelope, digest, digest);
        self.write(call, at, voted);
        let outcome = match decision {
            ApprovalDecision::Approve => ApprovalOutcome::Approved,
            ApprovalDecision::Reject => ApprovalOutcome::Rejected,
        };
        self.write(call, at, ApprovalResolved::new(outcome));
    }

    /// Six calls: 1 and 2 people are asked about, and say no and yes; 3 is allowed; 4 is denied, and 5 does it with another
    /// tool, without an approval; 6 nobody decides on. 7 was made elsewhere.
    fn all(&mut self) {
        use PolicyVerdict::{Allow, Deny, RequireApproval};
        use SideEffectPolicy::{Compensatable, Idempotent, Irreversible};
        self.write(1, 0, SessionStarted::default());
        self.proposed(1, 0, "refund", Irreversible);
        self.evaluated(1, 0, RequireApproval, &["amount"], 0.95);
        self.requested(1, 0);
        self.decided(1, 10 * SECOND, ApprovalDecision::Reject);
        self.proposed(2, 20 * SECOND, "refund", Irreversible);
        self.evaluated(2, 20 * SECOND, RequireApproval, &["amount", "night"], 1.0);
        self.requested(2, 20 * SECOND);
        self.decided(2, 30 * SECOND, ApprovalDecision::Approve);
        let consumed = ApprovalConsumed::new("t".to_owned(), id(2), Digest([1; 32]));
        self.write(2, 31 * SECOND, consumed);
        self.write(2, 31 * SECOND, ToolStarted::new("refund".to_owned()));
        self.write(2, 32 * SECOND, ToolCompleted::default());
        self.proposed(3, DAY, "book", Compensatable);
        self.evaluated(3, DAY, Allow, &["amount"], 0.9);
        self.write(3, DAY, ToolStarted::new("book".to_owned()));
        self.write(3, DAY, ToolCompleted::default());
        self.write(3, DAY, ToolCompensated::default());
        self.proposed(4, DAY, "transfer", Irreversible);
        self.evaluated(4, DAY, Deny, &["night"], 0.2);
        self.proposed(5, DAY + SECOND, "wire", Irreversible);
        self.evaluated(5, DAY + SECOND, Allow, &[], 0.05);
        self.write(5, DAY + SECOND, ToolStarted::new("wire".to_owned()));
        self.proposed(6, DAY + SECOND, "refund", Irreversible);
        self.evaluated(6, DAY + SECOND, RequireApproval, &["amount"], 0.25);
        self.requested(6, DAY + SECOND);
        self.write(6, DAY + 2 * SECOND, ApprovalExpired::new(Micros(START)));
        let elsewhere = |_: &str| (Category::Observed, [7; 16]);
        let told = ToolProposed {
            side_effect: Some(Irreversible),
            ..ToolProposed::new("wire".to_owned(), "{}".to_owned())
        };
        self.write_in(7, DAY + 3 * SECOND, elsewhere, told);
        self.write_in(7, DAY + 3 * SECOND, elsewhere, ToolCompleted::default());
        let harmless = ToolProposed {
            side_effect: Some(Idempotent),
            ..ToolProposed::new("look".to_owned(), "{}".to_owned())
        };
        self.write_in(8, DAY + 3 * SECOND, elsewhere, harmless);
        self.write_in(8, DAY + 3 * SECOND, elsewhere, ToolCompleted::default());
    }
}

/// A server on a ledger in which that stands.
struct Written {
    server: Server,
    key: String,
    last: String,
    _folder: tempfile::TempDir,
}

impl Written {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let key = home.new_key("acme", &["reader"]).expect("a key");
        let mut writer = Writer {
            random: SeededRandom::new(5),
            events: Vec::new(),
        };
        writer.all();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let last = runtime.block_on(async {
            let app = App::open(&home.common(), "test").await.expect("the store opens");
            app.ensure_ledger(tenant("acme")).await.expect("a ledger");
            let request = AppendRequest::new(vec![], writer.events, vec![]).expect("events");
            let appended = app.events.append(main_ledger("acme"), request).await;
            let last = match appended.expect("it is appended") {
                AppendOutcome::Appended { receipts, .. } => {
                    receipts.last().map(|receipt| receipt.position.to_string())
                }
                other => panic!("{other:?}"),
            };
            app.close().await.expect("it closes and seals");
            last.expect("a record")
        });
        let server = home.serve().expect("the server starts");
        Self {
            server,
            key,
            last,
            _folder: folder,
        }
    }

    fn answer(&self, number: usize) -> Value {
        let variables =
            json!({ "from": "2026-01-05T00:00:00Z", "to": "2026-01-12T00:00:00Z", "p": self.last });
        let answer = graphql(
            &Client::new(),
            &self.server.url,
            &self.key,
            &query(number),
            variables,
        );
        answer.expect("an answer without errors")
    }
}

#[test]
fn q_12_q_14_verdicts_by_rule_and_day() {
    let written = Written::new();
    let row = |day: &str, rule: &str, verdict: &str, counts: [u64; 5]| {
        let [decisions, requested, granted, denied, expired] = counts.map(|count| count.to_string());
        json!({ "day": day, "rule": rule, "verdict": verdict, "decisions": decisions, "approvalsRequested": requested,
            "approvalsGranted": granted, "approvalsDenied": denied, "approvalsExpired": expired })
    };
    let (monday, tuesday) = ("2026-01-05", "2026-01-06");
    assert_eq!(
        written.answer(12)["policyVerdicts"],
        json!([
            row(monday, "amount", "REQUIRE_APPROVAL", [2, 2, 1, 1, 0]),
            row(monday, "night", "REQUIRE_APPROVAL", [1, 1, 1, 0, 0]),
            row(tuesday, "", "ALLOW", [1, 0, 0, 0, 0]),
            row(tuesday, "amount", "ALLOW", [1, 0, 0, 0, 0]),
            row(tuesday, "amount", "REQUIRE_APPROVAL", [1, 1, 0, 0, 1]),
            row(tuesday, "night", "DENY", [1, 0, 0, 0, 0]),
        ])
    );
    // The refund that alice rejected came first; booking and wiring stand behind it in the same turn.
    let answer = written.answer(14);
    let nodes = answer["effects"]["nodes"].as_array().expect("effects").iter();
    let told: Vec<Value> = nodes
        .map(|denied| {
            let tried = denied["retriedAs"].as_array().expect("effects").iter();
            let tried: Vec<&Value> = tried.map(|tried| &tried["tool"]).collect();
            json!([denied["tool"], denied["notExecutedCause"], tried])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!(["transfer", "DENIED", ["wire", "refund", "wire", "look"]]),
            json!(["refund", "REJECTED", ["book", "transfer", "wire", "wire", "look"]]),
        ],
        "the newest denial first"
    );
}

#[test]
fn q_15_what_ran_without_an_approval_is_found() {
    let answer = Written::new().answer(15);
    let nodes = answer["effects"]["nodes"].as_array().expect("effects").iter();
    let told: Vec<Value> = nodes
        .map(|effect| {
            json!([
                effect["callId"],
                effect["tool"],
                effect["status"],
                effect["laneId"].is_null()
            ])
        })
        .collect();
    // What runs comes first. The other one was made elsewhere.
    assert_eq!(
        told,
        [
            json!([id(5).to_string(), "wire", "STARTED", false]),
            json!([id(7).to_string(), "wire", "COMPLETED", true]),
        ]
    );
}

#[test]
fn q_16_uncertainty_beside_what_came_of_it() {
    let answer = Written::new().answer(16);
    let row = |[from, to]: [f64; 2], [decisions, rejected, started, compensated]: [u64; 4], wrong: f64| {
        let [decisions, rejected, started, compensated] =
            [decisions, rejected, started, compensated].map(|count| count.to_string());
        json!({ "from": from, "to": to, "decisions": decisions, "rejected": rejected, "started": started,
            "compensated": compensated, "wrongRate": wrong })
    };
    assert_eq!(
        answer["uncertaintyOutcomes"],
        json!([
            row([0.0, 0.1], [1, 0, 1, 0], 0.0),
            row([0.2, 0.3], [2, 0, 0, 0], 0.0),
            // One rejected, one that stands, one undone.
            row([0.9, 1.0], [3, 1, 2, 1], 2.0 / 3.0),
        ])
    );
    let story = super::story::story();
    assert_eq!(
        story.answer(16)["uncertaintyOutcomes"],
        json!([{ "from": null, "to": null, "decisions": "8", "rejected": "1", "started": "6", "compensated": "0",
            "wrongRate": 0.125 }]),
        "no command takes a score yet"
    );
}
