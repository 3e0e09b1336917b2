//! Where the effect of a call stands, and why it never ran.

use ruche_domain::events::tool::NotExecutedCause as ToldCause;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in the column.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                Self::ALL.iter().copied().find(|word| word.name() == text).ok_or(())
            }
        }
    )*};
}

words! {
    /// Where the effect of a call stands.
    EffectState {
        /// Asked for; nothing ran yet.
        Proposed = "proposed",
        /// It waits for an approval while the turn goes on.
        Deferred = "deferred",
        /// Started, outcome not yet known.
        Started = "started",
        /// Done.
        Completed = "completed",
        /// It failed.
        Failed = "failed",
        /// Nobody can say; a person has to.
        OutcomeUnknown = "outcome_unknown",
        /// A person said how it came out, and what they said was erased.
        Asserted = "asserted",
        /// It never ran and never will, or a person found that nothing of it is there.
        NotExecuted = "not_executed",
        /// Done and undone.
        Compensated = "compensated",
        /// Done, and undoing it failed.
        CompensationFailed = "compensation_failed",
    }

    /// Why a call never ran.
    NotExecutedCause {
        /// Policy said no.
        Denied = "denied",
        /// A reviewer said no.
        Rejected = "rejected",
        /// Nobody decided in time, or the approval lapsed before the start.
        Expired = "expired",
        /// What it was proposed and approved on is not so any more.
        Stale = "stale",
        /// Its turn was over first, whatever way it ended.
        TurnGone = "turn_gone",
        /// Derived from the absence of an execution.
        NoExecutionSeen = "no_execution_seen",
    }
}

impl EffectState {
    /// Whether nobody knows yet how it ends.
    pub const fn is_unsettled(self) -> bool {
        matches!(
            self,
            Self::Proposed | Self::Deferred | Self::Started | Self::OutcomeUnknown
        )
    }
}

impl From<ToldCause> for NotExecutedCause {
    fn from(cause: ToldCause) -> Self {
        match cause {
            ToldCause::Denied => Self::Denied,
            ToldCause::Rejected => Self::Rejected,
            ToldCause::Expired => Self::Expired,
            ToldCause::TurnGone => Self::TurnGone,
            ToldCause::NoExecutionSeen => Self::NoExecutionSeen,
        }
    }
}
