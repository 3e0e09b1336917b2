//! What a span is, whatever dialect says so.

use ruche_domain::events::common::TextForm;
use ruche_domain::events::eval::EvalScored;
use ruche_domain::events::llm::LlmParams;
use ruche_domain::events::memory::{MemoryHit, RetrievedDocument};
use ruche_domain::measures::{Digest, Usage};

/// What a span is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    /// An agent's work on one request.
    Agent,
    /// A call of a model.
    Model(Box<ModelCall>),
    /// Texts that were turned into vectors.
    Embedding(Box<ModelCall>),
    /// A tool that ran, or was to.
    Tool(ToolRun),
    /// Documents that were looked up.
    Retrieval(Retrieval),
    /// Memory that was searched or changed.
    Memory(Box<MemoryUse>),
    /// A score.
    Evaluation(Box<EvalScored>),
    /// A step of a workflow.
    Workflow(String),
    /// A plan in words.
    Plan(String),
    /// An agent that was made.
    AgentCreated,
    /// A node that only holds others together.
    Structure,
}

/// A call of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ModelCall {
    pub model: Option<String>,
    pub response_model: Option<String>,
    pub provider: Option<String>,
    pub response_id: Option<String>,
    pub params: LlmParams,
    pub system_digest: Option<Digest>,
    pub tools_digest: Option<Digest>,
    pub prompt_name: Option<String>,
    pub finish_reasons: Vec<String>,
    pub usage: Usage,
    pub first_chunk_us: Option<u64>,
    pub dimensions: Option<u64>,
    /// What the model was told, oldest first.
    pub input: Vec<Said>,
    /// What it answered.
    pub output: Vec<Said>,
}

/// A message of a model call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    pub role: String,
    pub text: Option<String>,
    pub reasoning: Option<String>,
    /// Whether it gives the answer of a tool.
    pub is_answer: bool,
    pub calls: Vec<AskedCall>,
    /// SHA-256 of the message as it came.
    pub digest: Option<Digest>,
}

/// A tool call that a model asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AskedCall {
    pub id: Option<String>,
    pub name: String,
    pub arguments: String,
    pub form: Option<TextForm>,
}

/// A tool that ran, or was to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ToolRun {
    pub name: String,
    pub id: Option<String>,
    pub arguments: Option<String>,
    pub result: Option<String>,
}

/// Documents that were looked up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Retrieval {
    pub source: Option<String>,
    pub query: Option<String>,
    pub documents: Vec<RetrievedDocument>,
    pub model: Option<String>,
}

/// Memory that was searched or changed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MemoryUse {
    pub operation: MemoryOperation,
    pub store: Option<String>,
    pub query: Option<String>,
    pub record: Option<String>,
    pub content: Option<serde_json::Value>,
    pub hits: Vec<MemoryHit>,
}

/// What is done with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryOperation {
    Search,
    Create,
    Update,
    Upsert,
    Delete,
    CreateStore,
    DeleteStore,
}

impl MemoryOperation {
    /// Of the word of the `gen_ai` convention.
    pub fn of(word: &str) -> Option<Self> {
        Some(match word {
            "search_memory" => Self::Search,
            "create_memory" => Self::Create,
            "update_memory" => Self::Update,
            "upsert_memory" => Self::Upsert,
            "delete_memory" => Self::Delete,
            "create_memory_store" => Self::CreateStore,
            "delete_memory_store" => Self::DeleteStore,
            _ => return None,
        })
    }
}
