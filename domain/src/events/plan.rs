//! `plan.*`: what an agent intends to do.

use crate::payload::{Ext, List, payloads};
use crate::words::words;

words! {
    /// Where a step of a plan stands.
    pub enum PlanStepStatus {
        /// Not begun.
        Pending = "pending",
        /// Begun.
        InProgress = "in_progress",
        /// Done.
        Completed = "completed",
        /// Not to be done any more.
        Dropped = "dropped",
    }
}

payloads! {
    /// One step of a plan.
    pub struct PlanStep {
        /// The step in words.
        pub description: String,
        /// The client's own id of the step.
        pub step_id: Option<String>,
        /// Where it stands.
        pub status: Option<PlanStepStatus>,
        /// Name of the tool that it will use.
        pub tool_name: Option<String>,
        /// Steps that have to be done before.
        pub depends_on: Vec<String>,
    }

    /// An agent made a plan.
    pub struct PlanProposed {
        /// The client's own id of the plan.
        pub plan_id: String,
        /// The steps, in order.
        pub steps: List<PlanStep>,
        /// What the plan is for.
        pub goal: Option<String>,
        /// The client's own id of the goal.
        pub goal_id: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// An agent changed its plan.
    pub struct PlanRevised {
        /// The client's own id of the plan.
        pub plan_id: String,
        /// Number of the revision, from 1.
        pub revision: u64,
        /// The steps as they are now, in order.
        pub steps: List<PlanStep>,
        /// Why.
        pub reason: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }
}
