//! `config.*`: configuration of agents. Layers are merged tenant → agent → channel → scenario → step.

use crate::ids::EventId;
use crate::measures::Digest;
use crate::numbers::Micros;
use crate::payload::{Ext, List, Object, payloads};
use crate::words::words;

words! {
    /// Level at which a value is set; a later one overrides an earlier one.
    pub enum ConfigScope {
        /// The whole tenant.
        Tenant = "tenant",
        /// One agent.
        Agent = "agent",
        /// One channel.
        Channel = "channel",
        /// One scenario.
        Scenario = "scenario",
        /// One step of a scenario.
        Step = "step",
    }
}

payloads! {
    /// One layer of an effective configuration.
    pub struct ConfigLayer {
        /// Level.
        pub scope: ConfigScope,
        /// The client's own id of the agent, channel, scenario or step.
        pub scope_id: Option<String>,
        /// Version of the layer.
        pub version: u64,
        /// SHA-256 of the layer.
        pub digest: Digest,
    }

    /// Somebody proposed a change of configuration.
    pub struct ConfigProposed {
        /// Id of the proposal.
        pub proposal_id: String,
        /// Level.
        pub scope: ConfigScope,
        /// The client's own id of the agent, channel, scenario or step.
        pub scope_id: Option<String>,
        /// Version that it changes.
        pub base_version: Option<u64>,
        /// Values to set, by key.
        pub set: Ext,
        /// Keys to remove.
        pub removed: Vec<String>,
        /// Opaque reference of the author.
        pub author: Option<String>,
        /// Why.
        pub reason: Option<String>,
    }

    /// A new version of a configuration was published. It takes effect when activated, at the latest at the next turn.
    pub struct ConfigPublished {
        /// Level.
        pub scope: ConfigScope,
        /// Version, from 1 within the scope.
        pub version: u64,
        /// The client's own id of the agent, channel, scenario or step.
        pub scope_id: Option<String>,
        /// SHA-256 of the whole configuration of the scope at this version.
        pub digest: Option<Digest>,
        /// Values that were set, by key.
        pub set: Ext,
        /// Keys that were removed.
        pub removed: Vec<String>,
        /// Values that stood there before, by key.
        pub previous: Ext,
        /// Opaque reference of the author.
        pub author: Option<String>,
        /// Why.
        pub reason: Option<String>,
        /// The approval that allowed it.
        pub approval_id: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A published version took effect.
    pub struct ConfigActivated {
        /// Level.
        pub scope: ConfigScope,
        /// Version that is in effect now.
        pub version: u64,
        /// The client's own id of the agent, channel, scenario or step.
        pub scope_id: Option<String>,
        /// SHA-256 of the configuration.
        pub digest: Option<Digest>,
        /// From when, µs since 1970 UTC.
        pub effective_from: Option<Micros>,
    }

    /// An earlier version was put back in effect.
    pub struct ConfigRolledBack {
        /// Level.
        pub scope: ConfigScope,
        /// Version that was in effect.
        pub from_version: u64,
        /// Version that is in effect now.
        pub to_version: u64,
        /// The client's own id of the agent, channel, scenario or step.
        pub scope_id: Option<String>,
        /// Opaque reference of who did it.
        pub author: Option<String>,
        /// Why.
        pub reason: Option<String>,
    }

    /// The configuration of a turn was worked out and pinned.
    pub struct ConfigEffectiveResolved {
        /// The layers, from the most general to the most special.
        pub layers: List<ConfigLayer>,
        /// SHA-256 of the merged configuration.
        pub result_digest: Digest,
        /// The merged values, by key.
        pub values: Ext,
    }

    /// An agent came to be.
    pub struct ConfigAgentCreated {
        /// The client's own id of the agent.
        pub agent_id: String,
        /// Name for people.
        pub name: Option<String>,
        /// What it is for.
        pub description: Option<String>,
        /// Version.
        pub version: Option<String>,
        /// Model that it uses.
        pub model: Option<String>,
        /// Provider of the model.
        pub provider: Option<String>,
        /// Names of the tools that it may use.
        pub tools: Vec<String>,
        /// SHA-256 of its configuration.
        pub config_digest: Option<Digest>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// The schema of a tool's arguments changed.
    pub struct ConfigToolSchemaChanged {
        /// Name of the tool.
        pub name: String,
        /// SHA-256 of the new schema.
        pub schema_digest: Digest,
        /// SHA-256 of the old schema.
        pub previous_digest: Option<Digest>,
        /// The registration that it changes.
        pub registered_event_id: Option<EventId>,
    }

    /// A prompt changed.
    pub struct ConfigPromptChanged {
        /// Name of the prompt.
        pub prompt_name: String,
        /// SHA-256 of the new text.
        pub digest: Digest,
        /// Version.
        pub version: Option<String>,
        /// SHA-256 of the old text.
        pub previous_digest: Option<Digest>,
        /// The new text.
        pub text: Option<String>,
    }

    /// The table of prices changed from which costs are computed.
    pub struct ConfigPriceTableChanged {
        /// SHA-256 of the new table.
        pub digest: Digest,
        /// SHA-256 of the old table.
        pub previous_digest: Option<Digest>,
        /// From when it holds, µs since 1970 UTC.
        pub effective_from: Option<Micros>,
        /// The table.
        pub table: Option<serde_json::Value>,
    }

    /// A question of analytics was saved under a name. It takes the place of one that stood there.
    pub struct ConfigQuerySaved {
        /// Its name.
        pub name: String,
        /// The question, in the words of the GraphQL input `AnalyticsQueryInput`.
        pub query: Object,
    }

    /// A saved question was dropped.
    pub struct ConfigQueryDropped {
        /// Its name.
        pub name: String,
    }
}
