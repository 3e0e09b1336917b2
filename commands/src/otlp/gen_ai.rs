//! The `gen_ai` semantic conventions: `gen_ai.operation.name` says what a span is.

use ruche_domain::events::llm::LlmParams;
use ruche_domain::events::memory::{MemoryHit, RetrievedDocument};
use ruche_domain::measures::{Finite, Usage};
use serde_json::Value;

use super::attributes::{Attributes, as_text, digest};
use super::messages;
use super::seen::{MemoryOperation, MemoryUse, ModelCall, Retrieval, Seen, ToolRun};
use super::span::Span;

/// What the span is; nothing where it does not speak this dialect.
pub(super) fn seen(span: &Span) -> Option<Seen> {
    let of = &span.attributes;
    let operation = of.text("gen_ai.operation.name")?;
    Some(match operation {
        "invoke_agent" => Seen::Agent,
        "create_agent" => Seen::AgentCreated,
        "invoke_workflow" => {
            let name = of.first_text(&["gen_ai.workflow.name"]).unwrap_or(&span.name);
            Seen::Workflow(name.to_owned())
        }
        "plan" => Seen::Plan(
            of.json("gen_ai.output.messages")
                .unwrap_or_else(|| span.name.clone()),
        ),
        "chat" | "text_completion" | "generate_content" => Seen::Model(Box::new(model_call(of))),
        "embeddings" => Seen::Embedding(Box::new(model_call(of))),
        "execute_tool" => Seen::Tool(tool(span)),
        "retrieval" => Seen::Retrieval(retrieval(of)),
        "agent_step" => Seen::Structure,
        other => Seen::Memory(Box::new(memory(of, MemoryOperation::of(other)?))),
    })
}

/// A call of a model, by the attributes that span and log record share.
pub(super) fn model_call(of: &Attributes) -> ModelCall {
    let read = |name: &str| of.json(name).map(|json| messages::read(&json));
    ModelCall {
        model: of.text("gen_ai.request.model").map(str::to_owned),
        response_model: of.text("gen_ai.response.model").map(str::to_owned),
        provider: of
            .first_text(&["gen_ai.provider.name", "gen_ai.system"])
            .map(str::to_owned),
        response_id: of.text("gen_ai.response.id").map(str::to_owned),
        params: params(of),
        system_digest: of.digest("gen_ai.system_instructions"),
        tools_digest: of.digest("gen_ai.tool.definitions"),
        prompt_name: of.text("gen_ai.prompt.name").map(str::to_owned),
        finish_reasons: of.texts("gen_ai.response.finish_reasons"),
        usage: usage(of),
        first_chunk_us: seconds(of, "gen_ai.response.time_to_first_chunk"),
        dimensions: of.first_count(&["gen_ai.embeddings.dimension.count"]),
        input: read("gen_ai.input.messages").unwrap_or_default(),
        output: read("gen_ai.output.messages").unwrap_or_default(),
    }
}

fn params(of: &Attributes) -> LlmParams {
    LlmParams {
        temperature: of.number("gen_ai.request.temperature"),
        top_p: of.number("gen_ai.request.top_p"),
        top_k: of.first_count(&["gen_ai.request.top_k"]),
        max_tokens: of.first_count(&["gen_ai.request.max_tokens"]),
        seed: of.get("gen_ai.request.seed").and_then(Value::as_i64),
        stop: of.texts("gen_ai.request.stop_sequences"),
        frequency_penalty: of.number("gen_ai.request.frequency_penalty"),
        presence_penalty: of.number("gen_ai.request.presence_penalty"),
        ..LlmParams::default()
    }
}

/// Tokens of a span. The caller says whether it is one whose tokens count.
pub(super) fn usage(of: &Attributes) -> Usage {
    Usage {
        input: of.first_count(&["gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"]),
        output: of.first_count(&["gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"]),
        cache_read: of.first_count(&[
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_read_tokens",
        ]),
        cache_creation: of.first_count(&[
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_creation_tokens",
        ]),
        reasoning: of.first_count(&[
            "gen_ai.usage.reasoning.output_tokens",
            "gen_ai.usage.reasoning_tokens",
        ]),
    }
}

fn seconds(of: &Attributes, name: &str) -> Option<u64> {
    let seconds = of.number(name).map(Finite::get)?;
    // A float to a count of µs saturates, and no call takes longer than that.
    (seconds >= 0.0).then_some((seconds * 1e6) as u64)
}

fn tool(span: &Span) -> ToolRun {
    let of = &span.attributes;
    let named = span.name.strip_prefix("execute_tool ").unwrap_or(&span.name);
    ToolRun {
        name: of.text("gen_ai.tool.name").unwrap_or(named).to_owned(),
        id: of.text("gen_ai.tool.call.id").map(str::to_owned),
        arguments: of.json("gen_ai.tool.call.arguments"),
        result: of.json("gen_ai.tool.call.result"),
    }
}

fn retrieval(of: &Attributes) -> Retrieval {
    Retrieval {
        source: of.text("gen_ai.data_source.id").map(str::to_owned),
        query: of.text("gen_ai.retrieval.query.text").map(str::to_owned),
        documents: documents(of.read("gen_ai.retrieval.documents").unwrap_or_default()),
        model: of.text("gen_ai.request.model").map(str::to_owned),
    }
}

fn documents(list: Vec<Value>) -> Vec<RetrievedDocument> {
    let document = |(number, value): (usize, Value)| {
        let id = value.get("id").map(as_text).unwrap_or_else(|| number.to_string());
        let content = value.get("content").map(as_text);
        let mut document = RetrievedDocument::new(id);
        document.score = value.get("score").and_then(Value::as_f64).and_then(Finite::new);
        document.content_digest = content.as_ref().map(|text| digest(text.as_bytes()));
        document.content = content;
        document
    };
    list.into_iter().enumerate().map(document).collect()
}

fn memory(of: &Attributes, operation: MemoryOperation) -> MemoryUse {
    let records: Vec<Value> = of.read("gen_ai.memory.records").unwrap_or_default();
    let hit = |(number, value): (usize, &Value)| {
        let id = value.get("id").map(as_text).unwrap_or_else(|| number.to_string());
        let mut hit = MemoryHit::new(id);
        hit.score = value.get("score").and_then(Value::as_f64).and_then(Finite::new);
        hit.content_digest = value
            .get("content")
            .map(|content| digest(as_text(content).as_bytes()));
        hit
    };
    let first = records.first();
    let record = of.text("gen_ai.memory.record.id").map(str::to_owned);
    MemoryUse {
        operation,
        store: of.text("gen_ai.memory.store.id").map(str::to_owned),
        query: of
            .first_text(&["gen_ai.memory.query.text", "gen_ai.memory.query"])
            .map(str::to_owned),
        record: record.or_else(|| first?.get("id").map(as_text)),
        content: first.and_then(|record| record.get("content").cloned()),
        hits: records.iter().enumerate().map(hit).collect(),
    }
}
