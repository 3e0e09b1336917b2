//! A command that the machine of lanes rejects, as its sender is told.

use std::borrow::Cow;
use std::sync::LazyLock;

use ruche_domain::limits::{
    CALLS_PER_TURN_MAX, MESSAGES_TO_RETRACT_MAX, STATE_RETRY_AFTER_MS, STEPS_PER_TURN_MAX,
};
use ruche_domain::numbers::Micros;

use super::room::one_more;
use crate::error::CommandError;
use crate::lane::{Rejection, TurnState, legal};

/// Commands of the machine that a client can send. The others come with tools and approvals.
const SENDABLE: [&str; 15] = [
    "CancelTurn",
    "ClaimTurn",
    "CommitTurn",
    "CompleteStep",
    "FailTurn",
    "HeartbeatTurn",
    "ProposeAction",
    "ReportCompensation",
    "ReportEffect",
    "ResolveOutcome",
    "SendMessage",
    "StartCompensation",
    "StartEffect",
    "StartStep",
    "SubmitMessage",
];

/// Names of the commands that a client can send in a state.
pub fn sendable(state: TurnState) -> &'static [&'static str] {
    static BY_STATE: LazyLock<Vec<Vec<&'static str>>> = LazyLock::new(|| {
        let of = |state: TurnState| {
            legal(state)
                .iter()
                .copied()
                .filter(|name| SENDABLE.contains(name))
                .collect()
        };
        TurnState::ALL.into_iter().map(of).collect()
    });
    let index = TurnState::ALL.iter().position(|known| *known == state);
    index.map_or(&[], |index| &BY_STATE[index])
}

/// What the machine answers, as a client is told: what stands in the way, what can be sent instead, and when waiting helps.
pub(super) fn refusal(rejection: Rejection, now: Micros) -> CommandError {
    let illegal = |field, thing, state, legal: &[&'static str]| CommandError::IllegalTransition {
        field,
        thing,
        state,
        obstacle: None,
        legal: legal.to_vec(),
        retry_after_ms: None,
    };
    // Where waiting helps: why, and how long if that is known.
    let later = |told: CommandError, why: Option<Cow<'static, str>>, at: Option<Micros>| {
        refused_for_now(told, why, at.map(|at| at.0.saturating_sub(now.0)))
    };
    match rejection {
        Rejection::NoSuch { thing } => CommandError::NotFound { thing },
        Rejection::IllegalTransition { state, waits, .. } => {
            let told = illegal("/turn", "turn", state.name(), sendable(state));
            match waits {
                Some(why) => later(told, Some(why.into()), None),
                None => told,
            }
        }
        Rejection::Blocked { state, obstacle, .. } => {
            let told = illegal("/turn", "turn", state.name(), sendable(state));
            match obstacle.passes() {
                true => later(told, Some(obstacle.words()), None),
                false => explained(told, obstacle.words()),
            }
        }
        Rejection::LeaseLost { .. } => illegal("/lease", "lease", "lost", &["ClaimTurn"]),
        Rejection::LaneHeld { state } => {
            let told = illegal("/lane", "lane", "held by a turn", sendable(state));
            later(told, Some("the channel takes no message meanwhile".into()), None)
        }
        Rejection::NothingReady { not_before: at } | Rejection::NothingDue { next: at } => {
            let told = illegal(
                "/lane",
                "lane",
                "without a turn that is ready",
                &["SubmitMessage"],
            );
            later(told, None, at)
        }
        Rejection::BusinessKeyMissing => CommandError::input("/businessKey", "is needed"),
        Rejection::TooManyCalls => one_more("turn", CALLS_PER_TURN_MAX as u64, "calls"),
        Rejection::TooManySent => one_more("turn", MESSAGES_TO_RETRACT_MAX as u64, "messages to take back"),
        Rejection::TooManySteps => one_more("turn", STEPS_PER_TURN_MAX as u64, "steps"),
        Rejection::TurnFull { limit } => one_more("turn (turns.carried_max)", limit.into(), "messages"),
        Rejection::LaneFull { limit } => one_more("lane (turns.queue_max)", limit.into(), "turns that wait"),
    }
}

/// The refusal with what stands in the way, in words.
pub(super) fn explained(mut told: CommandError, why: Cow<'static, str>) -> CommandError {
    if let CommandError::IllegalTransition { obstacle, .. } = &mut told {
        *obstacle = Some(why);
    }
    told
}

/// The refusal of what can be carried out later, as it is. Where nobody knows when, it is worth a try after a while.
pub(super) fn refused_for_now(
    told: CommandError,
    why: Option<Cow<'static, str>>,
    wait_us: Option<u64>,
) -> CommandError {
    let mut told = match why {
        Some(why) => explained(told, why),
        None => told,
    };
    if let CommandError::IllegalTransition { retry_after_ms, .. } = &mut told {
        *retry_after_ms = Some(wait_us.map_or(STATE_RETRY_AFTER_MS, |us| us.div_ceil(1_000).max(1)));
    }
    told
}
