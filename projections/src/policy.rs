//! Read model: what policy decided, for which rules, and what came of it.
//!
//! A row for each decision, and one for each rule that had a say in it. What people made of a call and what became of it stand
//! in the read models of approvals and of effects; questions put the three together by the call.

use std::collections::BTreeSet;

use ruche_domain::event::AgentEvent;
use ruche_domain::events::policy::EhiMethod;
use ruche_domain::events::{PolicyEvaluated, PolicyVerdict};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Micros;

use crate::bounds;
use crate::change::Change;
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};
use crate::select::{Fields, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Tables of this read model.
pub const TABLES: &[&str] = &["policy_decision", "policy_reason"];

/// Rows of an answer at most. One more is read, so that whoever asks sees that there are more.
pub const ROWS_MAX: usize = 10_000;

const DECIDED: &str = "INSERT INTO policy_decision (ledger, position, decided_at, verdict, session, turn, call, uncertainty) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const REASON: &str = "INSERT INTO policy_reason (ledger, position, rule) VALUES ($1, $2, $3)";

/// Uncertainty 1, in the column.
const WHOLE: i64 = 1_000_000;
/// Parts into which uncertainty is cut.
const PARTS: i64 = 10;

macro_rules! verdicts {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// What policy said.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Verdict { $($(#[$doc])* $variant,)* }

        impl Verdict {
            /// The word in the column.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::str::FromStr for Verdict {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($word => Ok(Self::$variant),)* _ => Err(()) }
            }
        }
    };
}

verdicts! {
    /// It may happen.
    Allow = "allow",
    /// It may not.
    Deny = "deny",
    /// A person has to agree first.
    RequireApproval = "require_approval",
    /// It may happen in another form.
    Transform = "transform",
    /// It could not answer, so it may not.
    FailedClosed = "failed_closed",
}

impl From<PolicyVerdict> for Verdict {
    fn from(said: PolicyVerdict) -> Self {
        match said {
            PolicyVerdict::Allow => Self::Allow,
            PolicyVerdict::Deny => Self::Deny,
            PolicyVerdict::RequireApproval => Self::RequireApproval,
            PolicyVerdict::Transform => Self::Transform,
        }
    }
}

/// The projection.
pub struct Policy;

impl Projection for Policy {
    fn name(&self) -> &'static str {
        "policy"
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        if event.family() != "policy" {
            return Ok(vec![]);
        }
        match (event.event_type(), event.agent()?) {
            ("policy.evaluated", Some(AgentEvent::PolicyEvaluated(said))) => {
                decided(event, Some(said.verdict.into()), Some(said))
            }
            // That policy was asked stands in the name, what it said does not.
            ("policy.evaluated", _) => decided(event, None, None),
            ("policy.failed_closed", _) => decided(event, Some(Verdict::FailedClosed), None),
            _ => Ok(vec![]),
        }
    }
}

fn decided(
    event: &ProjectedEvent,
    verdict: Option<Verdict>,
    said: Option<&PolicyEvaluated>,
) -> Result<Vec<Change>, PoisonReason> {
    let header = event.header();
    let params = vec![
        event.ledger_key().into(),
        event.place()?.into(),
        event.occurred_at()?.into(),
        verdict.map(Verdict::name).into(),
        header.session.map(|id| *id.as_bytes()).into(),
        header.turn.map(|id| *id.as_bytes()).into(),
        header.call.map(|id| *id.as_bytes()).into(),
        said.and_then(uncertainty).into(),
    ];
    let mut changes = vec![Change::alone(DECIDED, params)];
    let rules = said.into_iter().flat_map(|said| &said.reasons);
    let mut rules: BTreeSet<String> = rules
        .map(|reason| bounds::name(&reason.rule).into_owned())
        .collect();
    if rules.is_empty() {
        rules.insert(String::new());
    }
    for rule in rules {
        let params = vec![event.ledger_key().into(), event.place()?.into(), rule.into()];
        changes.push(Change::alone(REASON, params));
    }
    Ok(changes)
}

/// Millionths. A score that nobody gave counts as 1 where policy decides, and is no score here.
fn uncertainty(said: &PolicyEvaluated) -> Option<i64> {
    let ehi = said.ehi.as_ref().filter(|ehi| ehi.method != EhiMethod::Missing)?;
    Some((ehi.uncertainty.get() * WHOLE as f64).round() as i64)
}

/// Decisions of a day that had the same rule and the same verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictCount {
    /// The day, in days since 1970 UTC.
    pub day: i64,
    /// The rule that had a say; empty where none is named.
    pub rule: String,
    /// What policy said; nothing where that is erased.
    pub verdict: Option<Verdict>,
    /// How many decisions.
    pub decisions: u64,
    /// How many of them had people asked.
    pub requested: u64,
    /// How many of those people agreed to.
    pub granted: u64,
    /// How many of those people said no to.
    pub denied: u64,
    /// How many of those nobody decided in time.
    pub expired: u64,
}

/// Decisions by day, rule and verdict, in that order. One with several rules counts under each. There is one row more than
/// [`ROWS_MAX`] where there are too many.
///
/// # Errors
/// Those of the store; so for all queries.
pub async fn verdicts(
    store: &dyn ReadStore,
    ledger: LedgerId,
    from: Option<Micros>,
    before: Option<Micros>,
) -> Result<Vec<VerdictCount>, ReadStoreError> {
    const DAY: &str = "policy_decision.decided_at / 86400000000";
    let columns = [
        DAY.to_owned(),
        "r.rule".to_owned(),
        "policy_decision.verdict".to_owned(),
        "COUNT(*)".to_owned(),
        number_of("a.approval IS NOT NULL"),
        number_of("a.decision = 'approve'"),
        number_of("a.decision = 'reject'"),
        number_of("a.status = 'expired'"),
    ];
    let table = "policy_decision \
        JOIN policy_reason r ON r.ledger = policy_decision.ledger AND r.position = policy_decision.position \
        LEFT JOIN approval a ON a.ledger = policy_decision.ledger AND a.call = policy_decision.call";
    let rows = of_time(Select::of(&columns.join(", "), table, ledger), from, before)
        .text(&format!(
            " GROUP BY {DAY}, r.rule, policy_decision.verdict \
             ORDER BY {DAY}, r.rule, COALESCE(policy_decision.verdict, '') LIMIT "
        ))
        .bind(ROWS_MAX as i64 + 1)
        .rows(store)
        .await?;
    let count = |row| {
        let fields = &mut Fields::new(row);
        Ok(VerdictCount {
            day: fields.int()?,
            rule: fields.text()?,
            verdict: fields.optional_word()?,
            decisions: fields.count()?,
            requested: fields.count()?,
            granted: fields.count()?,
            denied: fields.count()?,
            expired: fields.count()?,
        })
    };
    rows.into_iter().map(count).collect()
}

/// Decisions about calls whose agent was about as unsure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UncertaintyCount {
    /// Which tenth of the scale from 0 to 1, from 0; the last one has 1 as well. Nothing where no score was given.
    pub tenth: Option<u64>,
    /// How many decisions about calls.
    pub decisions: u64,
    /// How many of those calls people said no to.
    pub rejected: u64,
    /// How many were started.
    pub started: u64,
    /// How many were undone, or should have been and could not be.
    pub compensated: u64,
}

/// Decisions about calls by how unsure the agent was, those without a score first.
///
/// # Errors
/// Those of the store.
pub async fn by_uncertainty(
    store: &dyn ReadStore,
    ledger: LedgerId,
    from: Option<Micros>,
    before: Option<Micros>,
) -> Result<Vec<UncertaintyCount>, ReadStoreError> {
    let tenth = format!(
        "CASE WHEN uncertainty >= {WHOLE} THEN {} ELSE uncertainty / {} END",
        PARTS - 1,
        WHOLE / PARTS
    );
    let columns = [
        tenth.clone(),
        "COUNT(*)".to_owned(),
        number_of("a.decision = 'reject'"),
        number_of("e.started_position IS NOT NULL"),
        number_of("e.status IN ('compensated', 'compensation_failed')"),
    ];
    let table = "policy_decision \
        LEFT JOIN approval a ON a.ledger = policy_decision.ledger AND a.call = policy_decision.call \
        LEFT JOIN tool_effect e ON e.ledger = policy_decision.ledger AND e.call = policy_decision.call";
    let rows = of_time(Select::of(&columns.join(", "), table, ledger), from, before)
        .text(" AND policy_decision.call IS NOT NULL")
        .text(&format!(" GROUP BY {tenth} ORDER BY COALESCE({tenth}, -1)"))
        .rows(store)
        .await?;
    let count = |row| {
        let fields = &mut Fields::new(row);
        Ok(UncertaintyCount {
            tenth: fields.optional_count()?,
            decisions: fields.count()?,
            rejected: fields.count()?,
            started: fields.count()?,
            compensated: fields.count()?,
        })
    };
    rows.into_iter().map(count).collect()
}

fn number_of(what: &str) -> String {
    format!("CAST(SUM(CASE WHEN {what} THEN 1 ELSE 0 END) AS BIGINT)")
}

fn of_time(select: Select, from: Option<Micros>, before: Option<Micros>) -> Select {
    let column = |time: Micros| i64::try_from(time.0).unwrap_or(i64::MAX);
    select
        .and_if("policy_decision.decided_at >= ", from.map(column))
        .and_if("policy_decision.decided_at < ", before.map(column))
}
