//! `state.*`: checkpoints of outside frameworks. Their bytes are opaque and never re-encoded.

use crate::measures::{BlobRef, Digest};
use crate::payload::{Ext, List, payloads};
use crate::words::words;

words! {
    /// What made a checkpoint.
    pub enum CheckpointSource {
        /// The input of a run.
        Input = "input",
        /// A step of a run.
        Loop = "loop",
        /// An update from outside.
        Update = "update",
        /// A fork.
        Fork = "fork",
    }
}

payloads! {
    /// One channel or key of a checkpoint.
    pub struct StateChannel {
        /// Name of the channel.
        pub name: String,
        /// Version of the channel, in the framework's form.
        pub version: Option<String>,
        /// How the framework encoded the value, such as `msgpack`.
        pub encoding: Option<String>,
        /// The value.
        pub blob: Option<BlobRef>,
    }

    /// A framework saved its state.
    pub struct StateCheckpointed {
        /// The framework's id of the thread.
        pub thread_id: String,
        /// The framework's id of the checkpoint.
        pub checkpoint_id: String,
        /// Name space of the checkpoint within the thread.
        pub namespace: Option<String>,
        /// What made it.
        pub source: Option<CheckpointSource>,
        /// Number of the step.
        pub step: Option<i64>,
        /// Checkpoints that it follows.
        pub parents: Vec<String>,
        /// The channels.
        pub channels: Vec<StateChannel>,
        /// SHA-256 of the whole state.
        pub digest: Option<Digest>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A framework saved what a task wrote between two checkpoints.
    pub struct StateWritten {
        /// The framework's id of the thread.
        pub thread_id: String,
        /// The checkpoint that the writes belong to.
        pub checkpoint_id: String,
        /// The framework's id of the task.
        pub task_id: String,
        /// What was written.
        pub writes: List<StateChannel>,
        /// Name space of the checkpoint within the thread.
        pub namespace: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A framework made a new thread from an old state.
    pub struct StateForked {
        /// The framework's id of the new thread.
        pub thread_id: String,
        /// The framework's id of the old thread.
        pub from_thread_id: String,
        /// The checkpoint that it starts from.
        pub from_checkpoint_id: String,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }
}
