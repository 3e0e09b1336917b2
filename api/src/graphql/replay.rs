//! Replay: what something was at any position, and a range held against the rules. Both read records and no read model.

use std::future::Future;
use std::sync::Arc;

use async_graphql::{Context, Error, ID, InputObject, OneofObject, Result, SimpleObject};
use ruche_commands::SessionRef;
use ruche_commands::configuration::config_stream;
use ruche_commands::governed::LaneName;
use ruche_commands::tool::tool_stream;
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::references::ReferenceKey;
use ruche_projections::turns;
use ruche_replay::verify::{Decided, Fault, NotCovered, Range, Report, Verification};
use ruche_replay::{Budget, ReplayError, State, StateAt, What, position_at};

use super::errors::{fault, of_refusal, of_store};
use super::mutation::LaneInput;
use super::read::of_read_store;
use super::scalars::{DateTime, Hash, Json, Long, PositionScalar};
use super::session::parse_id;
use super::words::ConfigScope;
use crate::error_codes as code;
use crate::http::Refusal;
use crate::limits::REPLAY_RETRY_AFTER_MS;
use crate::replays::Busy;
use crate::services::Services;

/// Of what the state is asked.
#[derive(OneofObject)]
pub(super) enum StateOf {
    /// A lane, by its id.
    Lane(ID),
    /// A lane, as commands name it.
    LaneNamed(LaneInput),
    /// A turn.
    Turn(ID),
    /// A request for approval.
    Approval(ID),
    /// A session, by its id.
    Session(ID),
    /// A session, by the client's own id.
    SessionNamed(String),
    /// A registered tool, by its name.
    Tool(String),
    /// The configuration of a scope.
    Configuration(ScopeInput),
}

/// A level of configuration.
#[derive(InputObject)]
pub(super) struct ScopeInput {
    /// Level.
    scope: ConfigScope,
    /// The client's own id of the agent or channel; absent for the tenant.
    scope_id: Option<String>,
}

/// What something was at a position, folded from its records by the code that decided live.
#[derive(SimpleObject)]
pub(super) struct StateAtPosition {
    /// The last record that counts.
    position: PositionScalar,
    /// When the ledger took it.
    recorded_at: DateTime,
    /// What it was, in an object under the name of its kind (`docs/replay.md`); nothing where there was none yet.
    state: Option<Json>,
    /// SHA-256 of the state: equal states have equal digests, on every engine.
    digest: Hash,
    /// The first record whose payload is gone: what followed from it is not in the state.
    undecidable_from: Option<PositionScalar>,
}

impl From<State> for StateAtPosition {
    fn from(state: State) -> Self {
        let view = state.state.as_ref();
        let json = view.map(|view| serde_json::to_value(view).expect("views have text keys"));
        Self {
            position: PositionScalar(state.position),
            recorded_at: DateTime(state.recorded_at),
            state: json.map(Json),
            digest: Hash(state.digest.0),
            undecidable_from: state.undecidable_from.map(PositionScalar),
        }
    }
}

/// Something that is wrong in a ledger.
#[derive(SimpleObject)]
struct RangeFinding {
    /// Stable name, that of `ruche-verify` where it has one.
    name: String,
    /// The record, if it is about one.
    position: Option<PositionScalar>,
    /// The epoch, if it is about one.
    epoch: Option<u32>,
    /// What was found, for people.
    detail: String,
}

impl From<Fault> for RangeFinding {
    fn from(found: Fault) -> Self {
        Self {
            name: found.name.to_owned(),
            position: found.position.map(PositionScalar),
            epoch: found.epoch,
            detail: found.detail,
        }
    }
}

/// What a verification says nothing about.
#[derive(SimpleObject)]
struct RangeNotCovered {
    /// What, and why.
    what: String,
    /// How often.
    count: Long,
    /// The first record.
    first: PositionScalar,
}

impl From<NotCovered> for RangeNotCovered {
    fn from(not: NotCovered) -> Self {
        Self {
            what: not.what.to_owned(),
            count: Long::count(not.count),
            first: PositionScalar(not.first),
        }
    }
}

/// A range of the ledger, held against the rules.
#[derive(SimpleObject)]
pub(super) struct RangeVerification {
    /// The first record of the range.
    from: PositionScalar,
    /// The last record of the range, which ends an append.
    to: PositionScalar,
    /// Whether nothing is wrong.
    holds: bool,
    /// Records of the range.
    records: Long,
    /// Records that were read, those before the range among them.
    records_read: Long,
    /// What is wrong: the first hundred.
    findings: Vec<RangeFinding>,
    /// How many findings there are.
    findings_total: Long,
    /// Appends of lanes that were decided again, and came out the same.
    appends_decided_again: Long,
    /// Idempotency keys that stand for one append.
    keys: Long,
    /// Votes that were judged again.
    votes: Long,
    /// Records of the range that no tree head signs yet.
    unsealed: Long,
    /// What nothing is said about.
    not_covered: Vec<RangeNotCovered>,
    /// The first record that was not looked at, where more was asked for than one answer may take; `to` is in front of it
    /// then. What comes from there on, `ruche replay verify --from` verifies.
    next: Option<PositionScalar>,
}

impl From<Report> for RangeVerification {
    fn from(report: Report) -> Self {
        let Decided { appends, keys, votes } = report.decided;
        let total = report.total();
        Self {
            from: PositionScalar(report.from),
            to: PositionScalar(report.to),
            holds: total == 0,
            records: Long::count(report.records),
            records_read: Long::count(report.records_read),
            findings_total: Long::count(total),
            findings: report.findings.into_iter().map(Into::into).collect(),
            appends_decided_again: Long::count(appends),
            keys: Long::count(keys),
            votes: Long::count(votes),
            unsealed: Long::count(report.unsealed),
            not_covered: report.not_covered.into_iter().map(Into::into).collect(),
            next: report.next.map(PositionScalar),
        }
    }
}

/// What something was at a position, at a time, or at the end of the ledger.
pub(super) async fn state_at(
    ctx: &Context<'_>,
    ledger: LedgerId,
    of: StateOf,
    position: Option<PositionScalar>,
    time: Option<DateTime>,
) -> Result<StateAtPosition> {
    let services = ctx.data_unchecked::<Arc<Services>>();
    let what = what(of, &services.commands.secrets_of(ledger).references)?;
    let asked = services.clone();
    let replay = move |budget| async move {
        let services = &*asked;
        let position = moment(services, ledger, position, time).await?;
        let at = StateAt::new(services.events.clone(), ledger, position, budget).await;
        let at = at.map_err(|error| of_replay(&error))?;
        // Only a hint of where to look: the record there says whether it is so.
        let first = match what {
            What::Turn(turn) => {
                let row = turns::get(services.runner.store().as_ref(), ledger, turn).await;
                row.map_err(|error| of_read_store(&error))?
                    .map(|turn| turn.first_position)
            }
            _ => None,
        };
        at.of(what, first).await.map_err(|error| of_replay(&error))
    };
    run(services, ledger, replay).await.map(Into::into)
}

/// A range of the ledger, held against the rules.
pub(super) async fn verify_range(
    ctx: &Context<'_>,
    ledger: LedgerId,
    from: Option<PositionScalar>,
    to: Option<PositionScalar>,
) -> Result<RangeVerification> {
    let services = ctx.data_unchecked::<Arc<Services>>();
    let verification = Verification {
        events: services.events.clone(),
        trees: services.trees.clone(),
        heads: services.sealer.heads.clone(),
        keys: services.sealer.keys.clone(),
    };
    let range = Range {
        from: from.map(|position| position.0),
        to: to.map(|position| position.0),
    };
    let replay = move |budget| async move {
        let verified = verification.verify(ledger, range, &budget, &|_, _| ()).await;
        verified.map_err(|error| of_replay(&error))
    };
    run(services, ledger, replay).await.map(Into::into)
}

fn what(of: StateOf, references: &ReferenceKey) -> Result<What> {
    Ok(match of {
        StateOf::Lane(id) => What::Lane(parse_id("lane", &id)?),
        StateOf::LaneNamed(lane) => What::Lane(LaneName::from(lane).id(references)),
        StateOf::Turn(id) => What::Turn(parse_id("turn", &id)?),
        StateOf::Approval(id) => What::Approval(parse_id("approval", &id)?),
        StateOf::Session(id) => What::Session(parse_id("session", &id)?),
        StateOf::SessionNamed(name) => {
            let session = SessionRef::External(name).resolve(references);
            What::Session(session.map_err(|error| fault(code::INVALID_ARGUMENT, error.to_string()))?)
        }
        StateOf::Tool(name) => What::Tool(tool_stream(references, &name)),
        StateOf::Configuration(scope) => {
            let id = scope.scope_id.as_deref();
            What::Configuration(config_stream(references, scope.scope.into(), id))
        }
    })
}

/// The position that is meant.
async fn moment(
    services: &Services,
    ledger: LedgerId,
    position: Option<PositionScalar>,
    time: Option<DateTime>,
) -> Result<Position> {
    let found = match (position, time) {
        (Some(_), Some(_)) => {
            return Err(fault(
                code::INVALID_ARGUMENT,
                "`position` and `time` exclude each other",
            ));
        }
        (Some(position), None) => return Ok(position.0),
        (None, Some(time)) => {
            let found = position_at(&*services.events, ledger, time.0).await;
            found.map_err(|error| of_replay(&error))?
        }
        (None, None) => {
            let head = services.events.head(ledger).await;
            head.map_err(|error| of_store(&error))?
                .and_then(|head| head.last_position())
        }
    };
    found.ok_or_else(|| fault(code::NOT_FOUND, "the ledger had no record at that time"))
}

/// Replays when it is its turn.
async fn run<T, F, R>(services: &Services, ledger: LedgerId, replay: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce(Budget) -> R + Send + 'static,
    R: Future<Output = Result<T>>,
{
    let done = services.replays.run(ledger, replay).await;
    done.unwrap_or_else(|busy| Err(of_busy(&busy)))
}

fn of_busy(Busy: &Busy) -> Error {
    let message = "another replay of this tenant runs, or this node has no room for one more now; ask again, or use \
        `ruche replay`";
    of_refusal(Refusal::overloaded(message, REPLAY_RETRY_AFTER_MS))
}

pub(super) fn of_replay(error: &ReplayError) -> Error {
    match error {
        ReplayError::Store(error) => of_store(error),
        ReplayError::TreeHeads(error) => {
            tracing::warn!(error = %error, "the tree heads are not available");
            of_refusal(Refusal::unavailable("the tree heads are not available"))
        }
        ReplayError::NoRecord(_) => fault(code::NOT_FOUND, "the ledger has no such record"),
        ReplayError::OutOfBudget { .. } => fault(
            code::QUERY_LIMIT_EXCEEDED,
            format!("{error}; `ruche replay` has no such bound"),
        ),
        ReplayError::EmptyRange { .. } => fault(code::INVALID_ARGUMENT, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_is_told_when_to_ask_again() {
        let error = of_busy(&Busy);
        let extensions = error.extensions.expect("a code");
        let told = [extensions.get("code"), extensions.get("retryAfterMs")];
        let told = told.map(|value| value.map(ToString::to_string));
        let expected = [
            format!("{:?}", code::OVERLOADED),
            REPLAY_RETRY_AFTER_MS.to_string(),
        ];
        assert_eq!(told, expected.map(Some));
    }
}
