//! What a tool does to the world.

use crate::words::words;

words! {
    /// What a tool call does to the world, and so what may be done with it: repeated, cancelled, undone. A tool that
    /// nobody classified is irreversible.
    pub enum SideEffectPolicy {
        /// Changes nothing; may be repeated or dropped at will.
        Pure = "pure",
        /// Doing it twice under one key is doing it once.
        Idempotent = "idempotent",
        /// Can be undone by another tool call.
        Compensatable = "compensatable",
        /// Cannot be undone. Its start is a commit point of the turn.
        Irreversible = "irreversible",
    }

    /// What kind of work a tool does. Absent means unknown, which is not `other`.
    pub enum ToolKind {
        /// Reads data.
        Read = "read",
        /// Changes data.
        Edit = "edit",
        /// Removes data.
        Delete = "delete",
        /// Moves or renames data.
        Move = "move",
        /// Searches.
        Search = "search",
        /// Runs a program or a transaction.
        Execute = "execute",
        /// Reasons without touching anything.
        Think = "think",
        /// Fetches from outside.
        Fetch = "fetch",
        /// Switches the mode of the agent.
        SwitchMode = "switch_mode",
        /// None of these, said so by the source.
        Other = "other",
    }

    /// Where an effect stands.
    pub enum EffectStatus {
        /// Started, outcome not yet known.
        InFlight = "in_flight",
        /// Done.
        Completed = "completed",
        /// Did not happen.
        Failed = "failed",
        /// Nobody can say; a person has to.
        OutcomeUnknown = "outcome_unknown",
        /// Done and undone.
        Compensated = "compensated",
        /// Done, and undoing it failed.
        CompensationFailed = "compensation_failed",
    }
}

impl Default for SideEffectPolicy {
    /// Unknown tools are irreversible (design §5).
    fn default() -> Self {
        Self::Irreversible
    }
}

impl SideEffectPolicy {
    /// Whether a call leaves a trace in the world at all.
    pub const fn has_effect(self) -> bool {
        !matches!(self, Self::Pure)
    }
}
