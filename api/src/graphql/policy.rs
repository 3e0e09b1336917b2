//! What policy decided, and what came of it.

use async_graphql::SimpleObject;
use ruche_projections::policy;

use super::scalars::Long;
use super::time;
use super::words::PolicyVerdict;

/// Decisions of policy of one day that named the same rule and said the same. One that named several rules counts under each.
#[derive(SimpleObject)]
pub(super) struct PolicyVerdicts {
    /// The day, such as `2026-01-31`, UTC.
    day: String,
    /// The rule that had a say; empty where none is named.
    rule: String,
    /// What policy said; absent where that is erased.
    verdict: Option<PolicyVerdict>,
    /// How many decisions.
    decisions: Long,
    /// How many of them had people asked.
    approvals_requested: Long,
    /// How many of those people agreed to.
    approvals_granted: Long,
    /// How many of those people said no to.
    approvals_denied: Long,
    /// How many of those nobody decided in time.
    approvals_expired: Long,
}

impl From<policy::VerdictCount> for PolicyVerdicts {
    fn from(count: policy::VerdictCount) -> Self {
        Self {
            day: time::format_day(count.day),
            rule: count.rule,
            verdict: count.verdict.map(Into::into),
            decisions: Long::count(count.decisions),
            approvals_requested: Long::count(count.requested),
            approvals_granted: Long::count(count.granted),
            approvals_denied: Long::count(count.denied),
            approvals_expired: Long::count(count.expired),
        }
    }
}

/// Calls whose agent was about as unsure, and how often that turned out to be right.
#[derive(SimpleObject)]
pub(super) struct UncertaintyOutcomes {
    /// From this uncertainty on, 0 to 1; absent where no score was given.
    from: Option<f64>,
    /// Below this uncertainty; the last row has 1 as well.
    to: Option<f64>,
    /// How many decisions of policy about calls.
    decisions: Long,
    /// How many of those calls people said no to.
    rejected: Long,
    /// How many were started.
    started: Long,
    /// How many were undone, or should have been and could not be.
    compensated: Long,
    /// Part of them that was rejected or compensated.
    wrong_rate: f64,
}

impl From<policy::UncertaintyCount> for UncertaintyOutcomes {
    fn from(count: policy::UncertaintyCount) -> Self {
        let edge = |tenth: u64| tenth as f64 / 10.0;
        let wrong = count.rejected + count.compensated;
        Self {
            from: count.tenth.map(edge),
            to: count.tenth.map(|tenth| edge(tenth + 1)),
            decisions: Long::count(count.decisions),
            rejected: Long::count(count.rejected),
            started: Long::count(count.started),
            compensated: Long::count(count.compensated),
            wrong_rate: wrong as f64 / count.decisions.max(1) as f64,
        }
    }
}
