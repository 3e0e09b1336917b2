//! `goal.*`: what is to be reached, and how it went.

use crate::ids::EventId;
use crate::measures::Ratio;
use crate::numbers::Micros;
use crate::payload::{Ext, payloads};

payloads! {
    /// A goal was set.
    pub struct GoalSet {
        /// The client's own id of the goal.
        pub goal_id: String,
        /// The goal in words.
        pub description: String,
        /// What has to hold for it to be reached.
        pub criteria: Vec<String>,
        /// Until when, µs since 1970 UTC.
        pub due: Option<Micros>,
        /// The goal that it serves.
        pub parent_goal_id: Option<String>,
        /// Opaque reference of who set it.
        pub set_by: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A goal came nearer.
    pub struct GoalProgressed {
        /// The client's own id of the goal.
        pub goal_id: String,
        /// How much of it is reached.
        pub progress: Option<Ratio>,
        /// What happened.
        pub note: Option<String>,
        /// The events that show it.
        pub evidence_event_ids: Vec<EventId>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A goal was reached.
    pub struct GoalAchieved {
        /// The client's own id of the goal.
        pub goal_id: String,
        /// What happened.
        pub note: Option<String>,
        /// The events that show it.
        pub evidence_event_ids: Vec<EventId>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A goal was not reached.
    pub struct GoalMissed {
        /// The client's own id of the goal.
        pub goal_id: String,
        /// Why.
        pub reason: Option<String>,
        /// The events that show it.
        pub evidence_event_ids: Vec<EventId>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }
}
