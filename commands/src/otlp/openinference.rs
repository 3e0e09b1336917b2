//! OpenInference: `openinference.span.kind` says what a span is, lists are written out as `name.0.member`.

use ruche_domain::events::eval::EvalScored;
use ruche_domain::events::memory::RetrievedDocument;
use ruche_domain::measures::{Finite, Usage};
use serde_json::Value;

use super::attributes::{Attributes, as_text, digest};
use super::messages;
use super::seen::{ModelCall, Retrieval, Said, Seen, ToolRun};
use super::span::Span;

/// What the span is; nothing where it does not speak this dialect.
pub(super) fn seen(span: &Span) -> Option<Seen> {
    let of = &span.attributes;
    Some(match of.text("openinference.span.kind")? {
        "AGENT" => Seen::Agent,
        "LLM" => Seen::Model(Box::new(model_call(of))),
        "EMBEDDING" => Seen::Embedding(Box::new(ModelCall {
            model: of.text("embedding.model_name").map(str::to_owned),
            ..model_call(of)
        })),
        "TOOL" => Seen::Tool(tool(span)),
        "RETRIEVER" | "RERANKER" => Seen::Retrieval(retrieval(of)),
        "EVALUATOR" => Seen::Evaluation(Box::new(evaluation(span))),
        // A chain is any piece of a program: every runnable of LangChain is one. It is no step of a scenario.
        "CHAIN" | "PROMPT" | "GUARDRAIL" => Seen::Structure,
        _ => return None,
    })
}

fn model_call(of: &Attributes) -> ModelCall {
    let parameters: Option<serde_json::Map<String, Value>> = of.read("llm.invocation_parameters");
    let mut call = ModelCall {
        model: of.text("llm.model_name").map(str::to_owned),
        provider: of.first_text(&["llm.provider", "llm.system"]).map(str::to_owned),
        usage: usage(of),
        input: said(of, "llm.input_messages"),
        output: said(of, "llm.output_messages"),
        ..ModelCall::default()
    };
    if call.input.is_empty() {
        call.input = of
            .json("input.value")
            .map(|json| messages::read(&json))
            .unwrap_or_default();
    }
    // An instrumentation that does not know the form of an answer leaves its JSON alone.
    if call
        .output
        .iter()
        .all(|said| said.text.is_none() && said.calls.is_empty())
    {
        call.output = of
            .json("output.value")
            .map(|json| messages::read(&json))
            .unwrap_or_default();
    }
    if let Some(parameters) = parameters {
        let number = |name: &str| parameters.get(name).and_then(Value::as_f64).and_then(Finite::new);
        call.params.temperature = number("temperature");
        call.params.top_p = number("top_p");
        call.params.max_tokens = parameters.get("max_tokens").and_then(Value::as_u64);
    }
    call
}

fn usage(of: &Attributes) -> Usage {
    Usage {
        input: of.first_count(&["llm.token_count.prompt"]),
        output: of.first_count(&["llm.token_count.completion"]),
        cache_read: of.first_count(&["llm.token_count.prompt_details.cache_read"]),
        cache_creation: of.first_count(&["llm.token_count.prompt_details.cache_write"]),
        reasoning: of.first_count(&["llm.token_count.completion_details.reasoning"]),
    }
}

/// Numbered members of a list, as far as they go without a gap.
fn numbered<'a, T>(of: &'a Attributes, list: &'a str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
    (0..)
        .map(|number| format!("{list}.{number}."))
        .take_while(|prefix| of.has_any(prefix))
        .filter_map(|prefix| read(&prefix))
        .collect()
}

fn said(of: &Attributes, list: &str) -> Vec<Said> {
    numbered(of, list, |prefix| {
        let at = format!("{prefix}message.");
        let role = of.text(&format!("{at}role")).unwrap_or("assistant").to_owned();
        let parts = numbered(of, &format!("{at}contents"), |part| {
            of.text(&format!("{part}message_content.text")).map(str::to_owned)
        });
        let text = of.text(&format!("{at}content")).map(str::to_owned);
        let text = text.or_else(|| (!parts.is_empty()).then(|| parts.join("\n")));
        let is_answer = role == "tool" || of.get(&format!("{at}tool_call_id")).is_some();
        let calls = numbered(of, &format!("{at}tool_calls"), |call| {
            let of_call = |name: &str| of.text(&format!("{call}tool_call.{name}"));
            let arguments = of.json(&format!("{call}tool_call.function.arguments"));
            Some(messages::call(
                of_call("id"),
                of_call("function.name")?,
                &arguments.unwrap_or_default(),
            ))
        });
        let whole = format!("{role}\n{}\n{calls:?}", text.as_deref().unwrap_or_default());
        Some(Said {
            role,
            text,
            is_answer,
            calls,
            digest: Some(digest(whole.as_bytes())),
            ..Said::default()
        })
    })
}

fn tool(span: &Span) -> ToolRun {
    let of = &span.attributes;
    ToolRun {
        name: of.text("tool.name").unwrap_or(&span.name).to_owned(),
        id: of.first_text(&["tool_call.id", "tool.id"]).map(str::to_owned),
        arguments: of.json("input.value"),
        result: of.json("output.value"),
    }
}

fn retrieval(of: &Attributes) -> Retrieval {
    let list = if of.get("reranker.model_name").is_some() {
        "reranker.output_documents"
    } else {
        "retrieval.documents"
    };
    let documents = numbered(of, list, |prefix| {
        let at = |name: &str| format!("{prefix}document.{name}");
        let content = of.json(&at("content"));
        let id = of.get(&at("id")).map(as_text);
        let mut document =
            RetrievedDocument::new(id.unwrap_or_else(|| prefix.trim_end_matches('.').to_owned()));
        document.score = of.number(&at("score"));
        document.content_digest = content.as_ref().map(|text| digest(text.as_bytes()));
        document.content = content;
        Some(document)
    });
    Retrieval {
        source: None,
        query: of
            .first_text(&["reranker.query", "input.value"])
            .map(str::to_owned),
        documents,
        model: of.text("reranker.model_name").map(str::to_owned),
    }
}

fn evaluation(span: &Span) -> EvalScored {
    let of = &span.attributes;
    let mut scored = EvalScored::new(of.text("eval.name").unwrap_or(&span.name).to_owned());
    scored.value = of.number("eval.score");
    scored.label = of.text("eval.label").map(str::to_owned);
    scored.explanation = of.text("eval.explanation").map(str::to_owned);
    scored
}
