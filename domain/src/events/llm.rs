//! `llm.*`: calls of models. Usage and cost stand here and nowhere above, so that nothing is counted twice.

use super::common::Part;
use crate::measures::{BlobRef, Cost, Digest, Finite, Usage};
use crate::numbers::Micros;
use crate::payload::{Ext, payloads};

payloads! {
    /// Sampling parameters of a model call. Absent means not set by the caller.
    pub struct LlmParams {
        /// Temperature.
        pub temperature: Option<Finite>,
        /// Nucleus sampling.
        pub top_p: Option<Finite>,
        /// Number of candidates.
        pub top_k: Option<u64>,
        /// Bound on written tokens.
        pub max_tokens: Option<u64>,
        /// Seed.
        pub seed: Option<i64>,
        /// Texts that end the answer.
        pub stop: Vec<String>,
        /// How often a token may come again.
        pub frequency_penalty: Option<Finite>,
        /// Whether a token may come again.
        pub presence_penalty: Option<Finite>,
        /// Further parameters, by the provider's names.
        pub ext: Ext,
    }

    /// A model is about to be called.
    pub struct LlmRequested {
        /// Model asked for.
        pub model: String,
        /// Provider, such as `openai`.
        pub provider: Option<String>,
        /// The client's own id of the call, which pairs request and answer.
        pub request_id: Option<String>,
        /// Sampling parameters.
        pub params: Option<LlmParams>,
        /// SHA-256 of the system instructions.
        pub system_digest: Option<Digest>,
        /// SHA-256 of each message sent, in order.
        pub message_digests: Vec<Digest>,
        /// SHA-256 of the tool definitions sent.
        pub tool_definitions_digest: Option<Digest>,
        /// Name of the prompt template.
        pub prompt_name: Option<String>,
        /// Version of the prompt template.
        pub prompt_version: Option<String>,
        /// The exact request after templating.
        pub request: Option<BlobRef>,
        /// Key under which a re-run finds the recorded answer.
        pub cassette_key: Option<String>,
        /// When it was sent, µs since 1970 UTC.
        pub requested_at: Option<Micros>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A model answered.
    pub struct LlmResponded {
        /// Model that answered.
        pub response_model: Option<String>,
        /// Model asked for.
        pub model: Option<String>,
        /// Provider, such as `openai`.
        pub provider: Option<String>,
        /// The client's own id of the call, which pairs request and answer.
        pub request_id: Option<String>,
        /// The provider's id of the answer.
        pub response_id: Option<String>,
        /// Number of the message that the answer became, from 0 within the session.
        pub message_ordinal: Option<u64>,
        /// Why the model stopped, one for each choice, by the provider's words.
        pub finish_reasons: Vec<String>,
        /// What it answered.
        pub parts: Vec<Part>,
        /// The exact answer.
        pub response: Option<BlobRef>,
        /// Tokens; absent means unknown.
        pub usage: Option<Usage>,
        /// Cost; absent means unknown.
        pub cost: Option<Cost>,
        /// Time to the first chunk, µs.
        pub first_chunk_us: Option<u64>,
        /// How long it took, µs.
        pub duration_us: Option<u64>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// A model call failed.
    pub struct LlmFailed {
        /// Stable word for the kind of error.
        pub error_type: String,
        /// The error in words.
        pub error: Option<String>,
        /// HTTP status or code of the provider.
        pub status: Option<String>,
        /// Whether calling again may help.
        pub retryable: Option<bool>,
        /// Model asked for.
        pub model: Option<String>,
        /// Provider, such as `openai`.
        pub provider: Option<String>,
        /// The client's own id of the call, which pairs request and answer.
        pub request_id: Option<String>,
        /// Tokens that were spent all the same.
        pub usage: Option<Usage>,
        /// Cost that arose all the same.
        pub cost: Option<Cost>,
        /// How long it took, µs.
        pub duration_us: Option<u64>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }

    /// Texts were turned into vectors.
    pub struct LlmEmbedded {
        /// Model that did it.
        pub model: String,
        /// Provider, such as `openai`.
        pub provider: Option<String>,
        /// Number of texts.
        pub inputs: Option<u64>,
        /// SHA-256 of each text, in order.
        pub input_digests: Vec<Digest>,
        /// Numbers in each vector.
        pub dimensions: Option<u64>,
        /// Tokens; absent means unknown.
        pub usage: Option<Usage>,
        /// Cost; absent means unknown.
        pub cost: Option<Cost>,
        /// How long it took, µs.
        pub duration_us: Option<u64>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }
}
