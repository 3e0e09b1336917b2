//! `schedule.*`: things that are to happen at a time.

use crate::ids::TurnId;
use crate::numbers::Micros;
use crate::payload::{Ext, payloads};

payloads! {
    /// A schedule was made.
    pub struct ScheduleCreated {
        /// Id of the schedule.
        pub schedule_id: String,
        /// When it fires first, µs since 1970 UTC.
        pub first_at: Micros,
        /// How it repeats: a cron expression; absent means once.
        pub cron: Option<String>,
        /// IANA name of the time zone of the expression; absent means UTC.
        pub time_zone: Option<String>,
        /// Until when it repeats, µs since 1970 UTC.
        pub until: Option<Micros>,
        /// What it does, in words.
        pub purpose: Option<String>,
        /// What it hands to the turn that it opens.
        pub payload: Option<serde_json::Value>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A schedule fired.
    pub struct ScheduleFired {
        /// Id of the schedule.
        pub schedule_id: String,
        /// When it was due, µs since 1970 UTC.
        pub due_at: Micros,
        /// Number of the firing, from 1.
        pub occurrence: u64,
        /// The turn that it opened.
        pub turn_id: Option<TurnId>,
    }

    /// A schedule was due and did not fire.
    pub struct ScheduleSkipped {
        /// Id of the schedule.
        pub schedule_id: String,
        /// When it was due, µs since 1970 UTC.
        pub due_at: Micros,
        /// Number of the firing, from 1.
        pub occurrence: u64,
        /// Why.
        pub reason: String,
    }

    /// A schedule was cancelled.
    pub struct ScheduleCancelled {
        /// Id of the schedule.
        pub schedule_id: String,
        /// Why.
        pub reason: Option<String>,
        /// Opaque reference of who cancelled it.
        pub by: Option<String>,
    }
}
