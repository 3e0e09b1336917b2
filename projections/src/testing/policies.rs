//! What policy decided, what people made of it, and what came of the calls.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]
#![expect(missing_docs, reason = "the name of a test says what it shows")]

use std::sync::Arc;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::policy::{Ehi, EhiMethod};
use ruche_domain::events::{
    ApprovalConsumed, ApprovalDecision, ApprovalExpired, ApprovalMode, ApprovalOutcome, ApprovalRequested,
    ApprovalResolved, ApprovalRule, ApprovalVoted, InterventionPoint, PolicyEvaluated, PolicyFailedClosed,
    PolicyReason, PolicyVerdict, ToolCompensated, ToolCompleted, ToolProposed, ToolStarted,
};
use ruche_domain::ids::{CallId, LedgerId};
use ruche_domain::measures::{Digest, Ratio};
use ruche_domain::numbers::{Micros, Position};
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::PreparedEvent;
use uuid::Uuid;

use super::erased::Erased;
use super::world::{Fresh, World};
use super::{START_US, Story};
use crate::analytics::{self, Dimension, Metric, Question};
use crate::policy::{self, UncertaintyCount, Verdict, VerdictCount};
use crate::runner::Runner;
use crate::select::PageRequest;
use crate::tool_effects::{self, EffectFilter};

const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;
/// 2026-01-05, in days since 1970.
const FIRST: i64 = (START_US / DAY) as i64;

struct Telling {
    story: Story,
    events: Vec<PreparedEvent>,
}

impl Telling {
    /// An event of a call of a turn, in the stream of the lane or of the call's approval.
    fn tell(&mut self, (turn, call): (u64, u8), at: u64, fact: impl Into<AgentEvent>) {
        let session = self.story.session_id(1);
        self.story.enter(session);
        let mut event = self.story.event(fact);
        let header = &mut event.event;
        header.occurred_at = Micros(START_US + at);
        header.stream = match header.event_type.starts_with("approval.") {
            true => StreamId::new(Category::Approval, Uuid::from_bytes([call; 16])),
            false => StreamId::new(Category::Lane, Uuid::from_bytes([99; 16])),
        };
        header.turn = Some(self.story.turn_id(session, turn));
        header.call = Some(id(call));
        self.events.push(event);
    }

    fn proposed(
        &mut self,
        of: (u64, u8),
        at: u64,
        tool: &str,
        side_effect: SideEffectPolicy,
        arguments: &str,
    ) {
        let proposed = ToolProposed {
            side_effect: Some(side_effect),
            ..ToolProposed::new(tool.to_owned(), arguments.to_owned())
        };
        self.tell(of, at, proposed);
    }

    fn evaluated(
        &mut self,
        of: (u64, u8),
        at: u64,
        verdict: PolicyVerdict,
        rules: &[&str],
        ehi: Option<f64>,
    ) {
        let (point, digest) = (InterventionPoint::PreToolCall, Digest([1; 32]));
        let mut said = PolicyEvaluated::new("d".to_owned(), point, verdict, digest, digest);
        let rules = rules.iter().map(|rule| PolicyReason::new((*rule).to_owned()));
        said.reasons = rules.collect();
        // What nobody scored counts as 1 where it is decided.
        let (told, method) = match ehi {
            Some(told) => (told, EhiMethod::SelfReport),
            None => (1.0, EhiMethod::Missing),
        };
        said.ehi = Some(Ehi::new(Ratio::new(told).unwrap(), method));
        self.tell(of, at, said);
    }

    fn requested(&mut self, of: (u64, u8), at: u64) {
        let (rule, mode) = (ApprovalRule::new(1), ApprovalMode::Blocking);
        let said = ApprovalRequested::new(Digest([1; 32]), rule, Micros(START_US + 9 * DAY), mode);
        self.tell(of, at, said);
    }

    fn decided(&mut self, of: (u64, u8), at: u64, by: &str, decision: ApprovalDecision) {
        let digest = Digest([1; 32]);
        let voted = ApprovalVoted::new(
            by.to_owned(),
            decision,
            "k".to_owned(),
            "{}".to_owned(),
            digest,
            digest,
        );
        self.tell(of, at, voted);
        let outcome = match decision {
            ApprovalDecision::Approve => ApprovalOutcome::Approved,
            ApprovalDecision::Reject => ApprovalOutcome::Rejected,
        };
        self.tell(of, at, ApprovalResolved::new(outcome));
    }
}

fn id(call: u8) -> CallId {
    CallId::from_bytes([call; 16])
}

/// Calls 1 to 3 of a turn on the first day, 4 to 6 of another on the second, and call 7 of a third.
pub fn told() -> Vec<PreparedEvent> {
    use PolicyVerdict::{Allow, Deny, RequireApproval};
    use SideEffectPolicy::{Idempotent, Irreversible};
    let mut telling = Telling {
        story: Story::new(1),
        events: Vec::new(),
    };
    let t = &mut telling;
    t.proposed((1, 1), 0, "refund", Irreversible, "{\"n\":1}");
    t.evaluated((1, 1), 0, RequireApproval, &["amount"], Some(0.95));
    t.requested((1, 1), 0);
    t.decided((1, 1), 10 * SECOND, "bob", ApprovalDecision::Reject);
    t.proposed((1, 2), 20 * SECOND, "refund", Irreversible, "{\"n\":2}");
    t.evaluated(
        (1, 2),
        20 * SECOND,
        RequireApproval,
        &["night", "amount"],
        Some(1.0),
    );
    t.requested((1, 2), 20 * SECOND);
    t.decided((1, 2), 21 * SECOND, "alice", ApprovalDecision::Approve);
    let consumed = ApprovalConsumed::new("t".to_owned(), id(2), Digest([1; 32]));
    t.tell((1, 2), 22 * SECOND, consumed);
    t.tell((1, 2), 22 * SECOND, ToolStarted::new("refund".to_owned()));
    t.tell((1, 2), 23 * SECOND, ToolCompleted::default());
    t.tell((1, 2), 24 * SECOND, ToolCompensated::default());
    t.proposed((1, 3), DAY, "charge", Idempotent, "{\"n\":3}");
    t.evaluated((1, 3), DAY, Allow, &["amount"], Some(0.1));
    t.tell((1, 3), DAY, ToolStarted::new("charge".to_owned()));
    t.tell((1, 3), DAY, ToolCompleted::default());
    t.proposed((2, 4), DAY, "refund", Irreversible, "{\"n\":4}");
    t.evaluated((2, 4), DAY, Deny, &["night"], None);
    t.proposed((2, 5), DAY + 1, "transfer", Irreversible, "{\"n\":5}");
    t.evaluated((2, 5), DAY + 1, Allow, &[], None);
    t.tell((2, 5), DAY + 2, ToolStarted::new("transfer".to_owned()));
    t.proposed((2, 6), DAY + 3, "transfer", Irreversible, "{\"n\":6}");
    t.evaluated((2, 6), DAY + 3, RequireApproval, &["amount"], Some(0.05));
    t.requested((2, 6), DAY + 3);
    t.tell((2, 6), DAY + 4, ApprovalExpired::new(Micros(START_US)));
    let arguments = "{\"n\":1}";
    t.proposed((3, 7), DAY + 5, "credit", Idempotent, arguments);
    let closed = PolicyFailedClosed::new("no bundle".to_owned(), InterventionPoint::PreToolCall);
    t.tell((3, 7), 2 * DAY, closed);
    telling.events
}

async fn world(fresh: Fresh) -> (World, LedgerId) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, told()).await;
    world.runner().catch_up(ledger).await.unwrap();
    (world, ledger)
}

/// A row: day from the first on, rule, verdict, and decisions, requests, grants, denials, requests that lapsed.
fn row(day: i64, rule: &str, verdict: Verdict, counts: [u64; 5]) -> VerdictCount {
    let [decisions, requested, granted, denied, expired] = counts;
    VerdictCount {
        day: FIRST + day,
        rule: rule.to_owned(),
        verdict: Some(verdict),
        decisions,
        requested,
        granted,
        denied,
        expired,
    }
}

pub async fn query_14_verdicts_by_rule_and_day_and_what_people_made_of_them(fresh: Fresh) {
    use Verdict::{Allow, Deny, FailedClosed, RequireApproval};
    let (world, ledger) = world(fresh).await;
    let all = policy::verdicts(world.reads(), ledger, None, None).await.unwrap();
    let expected = [
        row(0, "amount", RequireApproval, [2, 2, 1, 1, 0]),
        row(0, "night", RequireApproval, [1, 1, 1, 0, 0]),
        row(1, "", Allow, [1, 0, 0, 0, 0]),
        row(1, "amount", Allow, [1, 0, 0, 0, 0]),
        row(1, "amount", RequireApproval, [1, 1, 0, 0, 1]),
        row(1, "night", Deny, [1, 0, 0, 0, 0]),
        row(2, "", FailedClosed, [1, 0, 0, 0, 0]),
    ];
    assert_eq!(all, expected);
    let day = |n: u64| Some(Micros(START_US + n * DAY));
    let second = policy::verdicts(world.reads(), ledger, day(1), day(2)).await;
    assert_eq!(second.unwrap(), expected[2..6]);
}

pub async fn query_16_how_unsure_agents_were_and_how_often_that_was_right(fresh: Fresh) {
    let (world, ledger) = world(fresh).await;
    let all = policy::by_uncertainty(world.reads(), ledger, None, None).await;
    let row = |tenth, [decisions, rejected, started, compensated]: [u64; 4]| UncertaintyCount {
        tenth,
        decisions,
        rejected,
        started,
        compensated,
    };
    assert_eq!(
        all.unwrap(),
        [
            // Calls 4, 5 and 7.
            row(None, [3, 0, 1, 0]),
            row(Some(0), [1, 0, 0, 0]),
            row(Some(1), [1, 0, 1, 0]),
            row(Some(9), [2, 1, 1, 1]),
        ]
    );
}

pub async fn query_15_what_ran_without_an_approval_and_14_what_was_tried_for_what_was_denied(fresh: Fresh) {
    let (world, ledger) = world(fresh).await;
    let listed = async |filter: EffectFilter| {
        let page = tool_effects::list(world.reads(), ledger, &filter, &PageRequest::first(10)).await;
        page.unwrap().items()
    };
    let calls = |effects: &[tool_effects::ToolEffect]| -> Vec<CallId> {
        effects.iter().map(|effect| effect.call).collect()
    };
    let end = world.feed.end(ledger).await;
    let unapproved = |up_to| EffectFilter {
        unapproved_up_to: Some(up_to),
        ..EffectFilter::default()
    };
    let all = listed(unapproved(end)).await;
    assert_eq!(calls(&all), [id(5)]);
    let started = all[0].started_position.unwrap();
    let before = Position::new(started.epoch.0, started.index.0 - 1);
    assert_eq!(
        calls(&listed(unapproved(before)).await),
        [],
        "approvals may be behind there"
    );
    let denied = listed(EffectFilter {
        retried_elsewhere: true,
        ..EffectFilter::default()
    })
    .await;
    assert_eq!(calls(&denied), [id(1), id(4)]);
    for (denied, tried) in denied.iter().zip([[id(3), id(7)], [id(5), id(6)]]) {
        let found = tool_effects::retried_as(world.reads(), ledger, denied).await;
        assert_eq!(calls(&found.unwrap()), tried);
    }
    let found = tool_effects::retried_as(world.reads(), ledger, &all[0]).await;
    assert_eq!(calls(&found.unwrap()), [], "it was not denied");
}

pub async fn query_11_how_long_each_reviewer_takes(fresh: Fresh) {
    let (world, ledger) = world(fresh).await;
    let start = START_US.cast_signed();
    let question = |metric, filter| Question {
        metric,
        group_by: vec![Dimension::Reviewer],
        bucket: None,
        from: start,
        to: start + DAY.cast_signed(),
        filter,
        per_mille: 500,
    };
    let asked = async |metric, filter| {
        let rows = analytics::rows(world.reads(), ledger, &question(metric, filter)).await;
        let rows = rows.unwrap().into_iter();
        let told = rows.map(|row| (row.key[0].clone(), row.figure.value.unwrap(), row.figure.count));
        told.collect::<Vec<_>>()
    };
    let close = |told: &str, us: i64| (told.parse::<i64>().unwrap() - us).abs() * 1_000 <= us * 16;
    let all = asked(Metric::ApprovalLatency, vec![]).await;
    let who: Vec<_> = all.iter().map(|(who, _, count)| (who.as_str(), *count)).collect();
    assert_eq!(who, [("alice", 1), ("bob", 1)]);
    assert!(
        close(&all[0].1, 1_000_000) && close(&all[1].1, 10_000_000),
        "{all:?}"
    );
    let of_bob = vec![(Dimension::Reviewer, "bob".to_owned())];
    assert_eq!(asked(Metric::ApprovalLatency, of_bob).await, all[1..]);
    let quick = asked(Metric::QuickDecisionRate, vec![]).await;
    let quick: Vec<_> = quick.iter().map(|(_, value, _)| value.as_str()).collect();
    assert_eq!(quick, ["1", "0"]);
}

/// That policy was asked stands in the names of events.
pub async fn verdicts_that_were_erased_are_still_decisions(fresh: Fresh) {
    let world = World::new(fresh).await;
    let ledger = world.feed.open(1).await;
    world.feed.append(ledger, told()).await;
    let runner = Runner::new(Arc::new(Erased(world.feed_store())), world.read_store());
    runner.catch_up(ledger).await.unwrap();
    let all = policy::verdicts(world.reads(), ledger, None, None).await.unwrap();
    let told: Vec<_> = all
        .iter()
        .map(|row| (row.day - FIRST, row.rule.as_str(), row.verdict, row.decisions))
        .collect();
    let closed = Some(Verdict::FailedClosed);
    assert_eq!(told, [(0, "", None, 2), (1, "", None, 4), (2, "", closed, 1)]);
}
