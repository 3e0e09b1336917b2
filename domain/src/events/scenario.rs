//! `scenario.*`: guided courses of a conversation.

use crate::payload::{Ext, payloads};

payloads! {
    /// A session entered a scenario.
    pub struct ScenarioEntered {
        /// The client's own id of the scenario.
        pub scenario_id: String,
        /// Version of the scenario.
        pub version: Option<String>,
        /// Why this one.
        pub reason: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A step began.
    pub struct ScenarioStepEntered {
        /// The client's own id of the scenario.
        pub scenario_id: String,
        /// The client's own id of the step.
        pub step_id: String,
        /// The step before.
        pub from_step_id: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A step ended.
    pub struct ScenarioStepExited {
        /// The client's own id of the scenario.
        pub scenario_id: String,
        /// The client's own id of the step.
        pub step_id: String,
        /// How it ended, by the client's word.
        pub outcome: Option<String>,
        /// How long it took, µs.
        pub duration_us: Option<u64>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A point was passed behind which the scenario does not go back.
    pub struct ScenarioCheckpointPassed {
        /// The client's own id of the scenario.
        pub scenario_id: String,
        /// The client's own id of the point.
        pub checkpoint_id: String,
        /// The step it belongs to.
        pub step_id: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A scenario that is under way went over to another version of itself.
    pub struct ScenarioMigrated {
        /// The client's own id of the scenario.
        pub scenario_id: String,
        /// The version that it ran in.
        pub from_version: Option<String>,
        /// The version that it runs in from here on.
        pub to_version: String,
        /// The step that it stood at.
        pub from_step_id: Option<String>,
        /// The step of the new version that it goes on at; absent where it stands between steps.
        pub to_step_id: Option<String>,
        /// Points of the new version that lie behind that step. Every point that was passed is among them.
        pub checkpoint_ids: Vec<String>,
        /// Why.
        pub reason: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A scenario came to its end.
    pub struct ScenarioCompleted {
        /// The client's own id of the scenario.
        pub scenario_id: String,
        /// How it ended, by the client's word.
        pub outcome: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A scenario was left before its end.
    pub struct ScenarioAbandoned {
        /// The client's own id of the scenario.
        pub scenario_id: String,
        /// The step it was left at.
        pub step_id: Option<String>,
        /// Why.
        pub reason: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }
}
