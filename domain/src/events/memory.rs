//! `memory.*`: what agents remember. Validity (`valid_from`, `valid_to`) is when a fact holds in the world; when it was
//! known is the position of the record in the ledger.

use crate::ids::EventId;
use crate::measures::{Digest, Finite, Ratio, Usage};
use crate::numbers::{Micros, Position};
use crate::payload::{Ext, List, payloads};
use crate::vector::Vector;
use crate::words::words;

words! {
    /// Why a memory record was taken back.
    pub enum InvalidationReason {
        /// A newer fact contradicts it.
        Contradicted = "contradicted",
        /// It no longer holds.
        Expired = "expired",
        /// Its source is not trusted any more.
        SourceRetired = "source_retired",
        /// It was a mistake of the extractor.
        ExtractionError = "extraction_error",
        /// A person corrected it.
        Corrected = "corrected",
        /// Another reason.
        Other = "other",
    }
}

payloads! {
    /// One record that a search of memory gave.
    pub struct MemoryHit {
        /// Id of the record in its store.
        pub record_id: String,
        /// Version of the record.
        pub version: Option<u64>,
        /// Score of the search.
        pub score: Option<Finite>,
        /// SHA-256 of the content as read.
        pub content_digest: Option<Digest>,
    }

    /// One document that a retrieval gave.
    pub struct RetrievedDocument {
        /// Id of the document in its source.
        pub document_id: String,
        /// Version of the document.
        pub version: Option<String>,
        /// Score of the retrieval.
        pub score: Option<Finite>,
        /// SHA-256 of the text as read.
        pub content_digest: Option<Digest>,
        /// The text as read.
        pub content: Option<String>,
        /// Where it can be fetched.
        pub uri: Option<String>,
    }

    /// Memory was searched.
    pub struct MemorySearched {
        /// The client's own id of the store.
        pub store: String,
        /// SHA-256 of the query text.
        pub query_digest: Option<Digest>,
        /// The query text.
        pub query: Option<String>,
        /// What the search could know: last record that the store had taken in, `epoch:index`.
        pub as_of: Option<Position>,
        /// When the facts asked for hold, µs since 1970 UTC.
        pub valid_at: Option<Micros>,
        /// What it gave, best first.
        pub results: Vec<MemoryHit>,
        /// How long it took, µs.
        pub duration_us: Option<u64>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A fact was written.
    pub struct MemoryWritten {
        /// The client's own id of the record.
        pub record_id: String,
        /// The fact, in words or as data.
        pub content: serde_json::Value,
        /// The events that the fact rests on. An empty list says that there are none.
        pub source_event_ids: List<EventId>,
        /// Sources outside the ledger that the fact rests on.
        pub source_refs: Vec<String>,
        /// The client's own id of the store.
        pub store: Option<String>,
        /// The client's own id of whom or what the fact is about.
        pub about: Option<String>,
        /// Name of the attribute or relation, where the fact is one.
        pub attribute: Option<String>,
        /// From when the fact holds, µs since 1970 UTC.
        pub valid_from: Option<Micros>,
        /// Until when the fact holds, µs since 1970 UTC; absent means open.
        pub valid_to: Option<Micros>,
        /// How sure the writer is.
        pub confidence: Option<Ratio>,
        /// SHA-256 of the program, prompt and model that drew the fact from its sources.
        pub extractor_digest: Option<Digest>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A fact was changed.
    pub struct MemoryUpdated {
        /// The client's own id of the record.
        pub record_id: String,
        /// The fact as it is now.
        pub content: serde_json::Value,
        /// The events that the change rests on. An empty list says that there are none.
        pub source_event_ids: List<EventId>,
        /// Sources outside the ledger that the change rests on.
        pub source_refs: Vec<String>,
        /// The fact as it was.
        pub previous_content: Option<serde_json::Value>,
        /// The client's own id of the store.
        pub store: Option<String>,
        /// The client's own id of whom or what the fact is about.
        pub about: Option<String>,
        /// Name of the attribute or relation, where the fact is one.
        pub attribute: Option<String>,
        /// From when the fact holds, µs since 1970 UTC.
        pub valid_from: Option<Micros>,
        /// Until when the fact holds, µs since 1970 UTC; absent means open.
        pub valid_to: Option<Micros>,
        /// How sure the writer is.
        pub confidence: Option<Ratio>,
        /// SHA-256 of the program, prompt and model that drew the fact from its sources.
        pub extractor_digest: Option<Digest>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A fact was written or changed; the source does not say which.
    pub struct MemoryUpserted {
        /// The client's own id of the record.
        pub record_id: String,
        /// The fact as it is now.
        pub content: serde_json::Value,
        /// The events that the fact rests on. An empty list says that there are none.
        pub source_event_ids: List<EventId>,
        /// Sources outside the ledger that the fact rests on.
        pub source_refs: Vec<String>,
        /// The client's own id of the store.
        pub store: Option<String>,
        /// The client's own id of whom or what the fact is about.
        pub about: Option<String>,
        /// Name of the attribute or relation, where the fact is one.
        pub attribute: Option<String>,
        /// From when the fact holds, µs since 1970 UTC.
        pub valid_from: Option<Micros>,
        /// Until when the fact holds, µs since 1970 UTC; absent means open.
        pub valid_to: Option<Micros>,
        /// How sure the writer is.
        pub confidence: Option<Ratio>,
        /// SHA-256 of the program, prompt and model that drew the fact from its sources.
        pub extractor_digest: Option<Digest>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A fact was taken back: it stays known that it was believed.
    pub struct MemoryInvalidated {
        /// The client's own id of the record.
        pub record_id: String,
        /// Why.
        pub reason: InvalidationReason,
        /// The reason in words.
        pub detail: Option<String>,
        /// When the fact stopped holding, µs since 1970 UTC.
        pub valid_to: Option<Micros>,
        /// The record that contradicts it.
        pub by_record_id: Option<String>,
        /// The events that it rests on.
        pub source_event_ids: Vec<EventId>,
        /// SHA-256 of the program, prompt and model that decided it.
        pub extractor_digest: Option<Digest>,
        /// The client's own id of the store.
        pub store: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A record was deleted from its store.
    pub struct MemoryDeleted {
        /// The client's own id of the record.
        pub record_id: String,
        /// The client's own id of the store.
        pub store: Option<String>,
        /// Why.
        pub reason: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// Documents were retrieved.
    pub struct MemoryRetrieved {
        /// The client's own id of the source of documents.
        pub source: String,
        /// SHA-256 of the query text.
        pub query_digest: Option<Digest>,
        /// The query text.
        pub query: Option<String>,
        /// What it gave, best first.
        pub documents: Vec<RetrievedDocument>,
        /// Model that ranked or embedded.
        pub model: Option<String>,
        /// Tokens; absent means unknown.
        pub usage: Option<Usage>,
        /// How long it took, µs.
        pub duration_us: Option<u64>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// Older memory was replaced by a summary.
    pub struct MemoryCompacted {
        /// The summary.
        pub summary: String,
        /// First record of the ledger that it covers, `epoch:index`.
        pub from: Option<Position>,
        /// Last record of the ledger that it covers, `epoch:index`.
        pub to: Option<Position>,
        /// The memory records that it replaces.
        pub replaced_record_ids: Vec<String>,
        /// The record that holds the summary.
        pub record_id: Option<String>,
        /// SHA-256 of the program, prompt and model that wrote it.
        pub extractor_digest: Option<Digest>,
        /// The client's own id of the store.
        pub store: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// Facts were drawn anew from their sources.
    pub struct MemoryReextracted {
        /// SHA-256 of the program, prompt and model that did it.
        pub extractor_digest: Digest,
        /// SHA-256 of those that did it before.
        pub previous_extractor_digest: Option<Digest>,
        /// The records concerned.
        pub record_ids: Vec<String>,
        /// First record of the ledger that was read, `epoch:index`.
        pub from: Option<Position>,
        /// Last record of the ledger that was read, `epoch:index`.
        pub to: Option<Position>,
        /// The client's own id of the store.
        pub store: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A text of a fact was turned into a vector. It is told of the version that the record has when it is said: the last one
    /// that is known, or that the same turn has written.
    pub struct MemoryEmbedded {
        /// The client's own id of the record.
        pub record_id: String,
        /// The model that made the vector, with whatever tells its vectors from others: vectors of one name are compared.
        pub model: String,
        /// The vector: base64 of 32-bit floats, the lowest byte first; from 1 to 4,096 numbers, finite and not all zero.
        pub vector: Vector,
        /// The client's own id of the store.
        pub store: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A store of memory was made.
    pub struct MemoryStoreCreated {
        /// The client's own id of the store.
        pub store: String,
        /// What it is for.
        pub description: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A store of memory was deleted.
    pub struct MemoryStoreDeleted {
        /// The client's own id of the store.
        pub store: String,
        /// Why.
        pub reason: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }
}

/// The lists of an event of memory whose length is bounded: the JSON pointer of each, and how many items it has.
pub(crate) type Lists = Vec<(&'static str, usize)>;

macro_rules! lists {
    ($($name:ident: $($field:ident),*;)*) => {$(
        impl $name {
            pub(crate) fn lists(&self) -> Lists {
                vec![$((concat!("/", stringify!($field)), self.$field.len())),*]
            }
        }
    )*};
}

lists! {
    MemoryWritten: source_event_ids, source_refs;
    MemoryUpdated: source_event_ids, source_refs;
    MemoryUpserted: source_event_ids, source_refs;
    MemoryInvalidated: source_event_ids;
    MemorySearched: results;
    MemoryRetrieved: documents;
    MemoryCompacted: replaced_record_ids;
    MemoryReextracted: record_ids;
}
