//! Why a lane refuses a command. Nothing was decided then.

use std::borrow::Cow;

use ruche_domain::events::CommitPointKind;
use ruche_domain::ids::CallId;
use ruche_domain::limits::{CALLS_PER_TURN_MAX, MESSAGES_TO_RETRACT_MAX, STEPS_PER_TURN_MAX};
use ruche_domain::numbers::Micros;

use super::state::TurnState;
use super::transitions::legal;

/// What stands in the way of a command that the state allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Something happened that cannot be taken back.
    CommitPoint(CommitPointKind),
    /// An effect is under way, or nobody knows how it came out.
    EffectUnsettled,
    /// The call is known already.
    CallKnown,
    /// The call is another turn's.
    CallOfAnotherTurn,
    /// The call ran already, or does not run.
    CallNotThere,
    /// Nobody knows how the call came out, and only a person may say.
    OutcomeForPerson,
    /// Policy or people said no, or the approval is gone.
    Denied,
    /// It needs an approval that people gave and nobody used.
    ApprovalMissing,
    /// The approval is too old.
    ApprovalExpired,
    /// The approval was decided already, or withdrawn.
    ApprovalDecided,
    /// What is about to run is not what was approved.
    ActionChanged,
    /// The key that approved was revoked.
    KeyRevoked,
    /// What the call was proposed on is not what holds now.
    Changed,
    /// It was tried as often as it may be.
    TriesUsedUp,
    /// Somebody else is undoing the effect.
    BeingUndone,
    /// What was done after it is undone before it.
    UndoneLater {
        /// The call that is to be undone now.
        due: CallId,
    },
    /// The step is done already.
    StepCompleted,
    /// This attempt began the step already.
    StepBegun,
    /// An earlier attempt began the step, this one did not.
    StepNotBegun,
    /// The message came in before.
    MessageKnown,
    /// A new id was used before.
    IdKnown,
}

impl Obstacle {
    /// Whether it can be out of the way later, by what others do or the sender does beside.
    pub(crate) fn passes(self) -> bool {
        matches!(
            self,
            Self::EffectUnsettled | Self::BeingUndone | Self::UndoneLater { .. }
        )
    }

    /// In words, for refusals.
    pub fn words(self) -> Cow<'static, str> {
        let words = match self {
            Self::UndoneLater { due } => {
                return format!("the last effect is undone first, and that is call {due}").into();
            }
            Self::CommitPoint(_) => "past its commit point",
            Self::EffectUnsettled => "an effect is not settled",
            Self::CallKnown => "the call is known already",
            Self::CallOfAnotherTurn => "the call is of another turn",
            Self::CallNotThere => "the call is not in a state for this",
            Self::OutcomeForPerson => {
                "the outcome of the call is unknown, and it is irreversible: give what you know of it to a person with the role \
                 admin, who says so with resolveOutcome; the turn goes on from there"
            }
            Self::Denied => "the call was denied",
            Self::ApprovalMissing => "an unused approval is needed",
            Self::ApprovalExpired => "the approval has expired",
            Self::ApprovalDecided => "the approval was decided already",
            Self::ActionChanged => "the action is not the one approved",
            Self::KeyRevoked => "the key that approved was revoked",
            Self::Changed => {
                "what was approved is not what would run now, or it was asked for before a restore; propose it anew"
            }
            Self::BeingUndone => "another try at undoing it is under way",
            Self::TriesUsedUp => "it was tried as often as it may be",
            Self::StepCompleted => "the step is completed already",
            Self::StepBegun => "the step was begun by this attempt already",
            Self::StepNotBegun => "the step was not begun by this attempt",
            Self::MessageKnown => "the message came in before",
            Self::IdKnown => "the new id was used before",
        };
        words.into()
    }
}

/// What a turn waits for whose people were asked.
pub(super) const UNDECIDED: &str = "people are still to decide";

/// Why a lane refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// `ILLEGAL_TRANSITION`: the turn is in a state that does not know the command.
    #[error("not possible while the turn is {}", .state.name())]
    IllegalTransition {
        /// The state.
        state: TurnState,
        /// Names of the commands that it knows.
        legal: &'static [&'static str],
        /// What is waited for, in words, where the turn comes to a state that knows the command without another one of
        /// who sent it.
        waits: Option<&'static str>,
    },
    /// The state knows the command, and something stands in its way.
    #[error("not possible while the turn is {}: {}", .state.name(), .obstacle.words())]
    Blocked {
        /// The state.
        state: TurnState,
        /// What stands in the way.
        obstacle: Obstacle,
        /// Names of the commands that the state knows.
        legal: &'static [&'static str],
    },
    /// The worker shows a lease that is not the turn's: it lapsed, or another worker has the turn.
    #[error("the lease on the turn is lost")]
    LeaseLost {
        /// The state of the turn.
        state: TurnState,
        /// The fencing number of the lease that holds now.
        epoch: Option<u64>,
    },
    /// The channel refuses messages while a turn holds the lane.
    #[error("the lane is held by a turn that is {}; the channel takes no message meanwhile", .state.name())]
    LaneHeld {
        /// The state of that turn.
        state: TurnState,
    },
    /// No turn of the lane may be claimed.
    #[error("no turn may be claimed now")]
    NothingReady {
        /// From when one may be, where that is known.
        not_before: Option<Micros>,
    },
    /// No timer of the lane is due.
    #[error("no timer is due")]
    NothingDue {
        /// When the next one is.
        next: Option<Micros>,
    },
    /// There is no such thing in the lane.
    #[error("no such {thing}")]
    NoSuch {
        /// What kind of thing.
        thing: &'static str,
    },
    /// A call that leaves a trace needs the caller's business key.
    #[error("a call that is not pure needs a business key")]
    BusinessKeyMissing,
    /// The turn owns as many messages as one may (`carried_max`).
    #[error("a turn owns at most {limit} messages")]
    TurnFull {
        /// So many.
        limit: u32,
    },
    /// As many turns of the lane wait as may (`queue_max`).
    #[error("at most {limit} turns of a lane wait")]
    LaneFull {
        /// So many.
        limit: u32,
    },
    /// The turn has sent as many messages as it could take back at once.
    #[error("a turn has at most {MESSAGES_TO_RETRACT_MAX} messages that can be taken back")]
    TooManySent,
    /// The turn has as many calls as one may have.
    #[error("a turn has at most {CALLS_PER_TURN_MAX} calls")]
    TooManyCalls,
    /// The turn has as many steps as one may have.
    #[error("a turn has at most {STEPS_PER_TURN_MAX} steps")]
    TooManySteps,
}

impl Rejection {
    pub(crate) fn illegal(state: TurnState) -> Self {
        Self::IllegalTransition {
            state,
            legal: legal(state),
            waits: None,
        }
    }

    /// Illegal for now.
    pub(crate) fn not_yet(state: TurnState, waits: &'static str) -> Self {
        Self::IllegalTransition {
            state,
            legal: legal(state),
            waits: Some(waits),
        }
    }

    pub(crate) fn blocked(state: TurnState, obstacle: Obstacle) -> Self {
        Self::Blocked {
            state,
            obstacle,
            legal: legal(state),
        }
    }
}
