//! The AI SDK's own names: `ai.operationId` says what a span is. Its newer telemetry speaks `gen_ai`.

use ruche_domain::measures::Usage;

use super::attributes::Attributes;
use super::gen_ai;
use super::messages;
use super::seen::{ModelCall, Said, Seen, ToolRun};
use super::span::Span;

/// What the span is; nothing where it does not speak this dialect.
pub(super) fn seen(span: &Span) -> Option<Seen> {
    let of = &span.attributes;
    let operation = of.text("ai.operationId")?;
    Some(match operation {
        "ai.toolCall" => Seen::Tool(ToolRun {
            name: of.text("ai.toolCall.name").unwrap_or(&span.name).to_owned(),
            id: of.text("ai.toolCall.id").map(str::to_owned),
            arguments: of.json("ai.toolCall.args"),
            result: of.json("ai.toolCall.result"),
        }),
        "ai.embed.doEmbed" | "ai.embedMany.doEmbed" => Seen::Embedding(Box::new(model_call(of))),
        call if is_leaf(call) => Seen::Model(Box::new(model_call(of))),
        // The whole of a request: it holds the calls above, whose tokens it sums up.
        "ai.generateText" | "ai.streamText" | "ai.generateObject" | "ai.streamObject" => Seen::Agent,
        _ => Seen::Structure,
    })
}

fn is_leaf(operation: &str) -> bool {
    operation.ends_with(".doGenerate") || operation.ends_with(".doStream")
}

fn model_call(of: &Attributes) -> ModelCall {
    let general = gen_ai::model_call(of);
    let mut answer = Said {
        role: "assistant".to_owned(),
        text: of
            .first_text(&["ai.response.text", "ai.response.object"])
            .map(str::to_owned),
        ..Said::default()
    };
    let calls = of.json("ai.response.toolCalls");
    answer.calls = calls.map(|json| messages::calls(&json)).unwrap_or_default();
    let has_answer = answer.text.is_some() || !answer.calls.is_empty();
    let input = of.json("ai.prompt.messages").or_else(|| of.json("ai.prompt"));
    ModelCall {
        model: general
            .model
            .or_else(|| of.text("ai.model.id").map(str::to_owned)),
        response_model: general
            .response_model
            .or_else(|| of.text("ai.response.model").map(str::to_owned)),
        provider: general
            .provider
            .or_else(|| of.text("ai.model.provider").map(str::to_owned)),
        tools_digest: of.digest("ai.prompt.tools"),
        usage: usage(of, &general.usage),
        first_chunk_us: of
            .first_count(&["ai.response.msToFirstChunk"])
            .map(|ms| ms.saturating_mul(1_000)),
        input: input.map(|json| messages::read(&json)).unwrap_or_default(),
        output: has_answer.then_some(answer).into_iter().collect(),
        ..general
    }
}

fn usage(of: &Attributes, general: &Usage) -> Usage {
    Usage {
        input: general.input.or_else(|| {
            of.first_count(&["ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"])
        }),
        output: general
            .output
            .or_else(|| of.first_count(&["ai.usage.outputTokens", "ai.usage.completionTokens"])),
        cache_read: general.cache_read.or_else(|| {
            of.first_count(&[
                "ai.usage.inputTokenDetails.cacheReadTokens",
                "ai.usage.cachedInputTokens",
            ])
        }),
        cache_creation: general
            .cache_creation
            .or_else(|| of.first_count(&["ai.usage.inputTokenDetails.cacheWriteTokens"])),
        reasoning: general.reasoning.or_else(|| {
            of.first_count(&[
                "ai.usage.outputTokenDetails.reasoningTokens",
                "ai.usage.reasoningTokens",
            ])
        }),
    }
}
