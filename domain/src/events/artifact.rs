//! `artifact.*`: things that agents made.

use crate::ids::EventId;
use crate::measures::Digest;
use crate::payload::{Ext, payloads};

payloads! {
    /// An agent made something.
    pub struct ArtifactCreated {
        /// SHA-256 of its bytes.
        pub digest: Digest,
        /// Media type of its bytes.
        pub media_type: String,
        /// Length in bytes.
        pub bytes: Option<u64>,
        /// The client's own id of the artifact.
        pub artifact_id: Option<String>,
        /// Number of the version, from 1.
        pub version: Option<u64>,
        /// Name for people.
        pub name: Option<String>,
        /// Where it can be fetched.
        pub uri: Option<String>,
        /// The events that it was made from.
        pub source_event_ids: Vec<EventId>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }
}
