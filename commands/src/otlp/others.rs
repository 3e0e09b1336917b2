//! The events of spans that are neither agents, model calls nor tools.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::config::ConfigAgentCreated;
use ruche_domain::events::llm::LlmEmbedded;
use ruche_domain::events::memory::*;
use ruche_domain::events::plan::{PlanProposed, PlanStep};
use ruche_domain::events::scenario::{ScenarioStepEntered, ScenarioStepExited};
use serde_json::Value;

use super::attributes::digest;
use super::events::{Draft, Place, ext, told};
use super::seen::{MemoryOperation, MemoryUse, ModelCall, Retrieval};
use super::span::Span;

/// Texts that were turned into vectors.
pub(super) fn embedded(span: &Span, call: &ModelCall) -> Draft {
    let name = call.model.as_ref().or(call.response_model.as_ref());
    let mut embedded = LlmEmbedded::new(name.cloned().unwrap_or_default());
    embedded.provider.clone_from(&call.provider);
    embedded.dimensions = call.dimensions;
    embedded.usage = told(&call.usage);
    embedded.duration_us = span.duration_us();
    embedded.ext = ext(span);
    Draft::new(embedded, span.end)
}

/// Documents that were looked up.
pub(super) fn retrieved(span: &Span, of: &Retrieval) -> Draft {
    let source = of.source.clone().unwrap_or_else(|| span.name.clone());
    let mut retrieved = MemoryRetrieved::new(source);
    retrieved.query_digest = of.query.as_ref().map(|text| digest(text.as_bytes()));
    retrieved.query.clone_from(&of.query);
    retrieved.documents.clone_from(&of.documents);
    retrieved.model.clone_from(&of.model);
    retrieved.duration_us = span.duration_us();
    retrieved.ext = ext(span);
    Draft::new(retrieved, span.end)
}

/// Memory that was searched or changed.
pub(super) fn memory(span: &Span, of: &MemoryUse) -> Draft {
    let store = of.store.clone();
    let named = || store.clone().unwrap_or_else(|| span.name.clone());
    let record = of.record.clone().unwrap_or_else(|| hex::encode(span.id.span_id));
    let content = of.content.clone().unwrap_or(Value::Null);
    let ext = ext(span);
    let event: AgentEvent = match of.operation {
        MemoryOperation::Search => {
            let mut searched = MemorySearched::new(named());
            searched.query_digest = of.query.as_ref().map(|text| digest(text.as_bytes()));
            searched.query.clone_from(&of.query);
            searched.results.clone_from(&of.hits);
            searched.duration_us = span.duration_us();
            searched.ext = ext;
            searched.into()
        }
        MemoryOperation::Create => {
            let mut written = MemoryWritten::new(record, content, vec![]);
            (written.store, written.ext) = (store, ext);
            written.into()
        }
        MemoryOperation::Update => {
            let mut updated = MemoryUpdated::new(record, content, vec![]);
            (updated.store, updated.ext) = (store, ext);
            updated.into()
        }
        MemoryOperation::Upsert => {
            let mut upserted = MemoryUpserted::new(record, content, vec![]);
            (upserted.store, upserted.ext) = (store, ext);
            upserted.into()
        }
        MemoryOperation::Delete => {
            let mut deleted = MemoryDeleted::new(record);
            (deleted.store, deleted.ext) = (store, ext);
            deleted.into()
        }
        MemoryOperation::CreateStore => {
            let mut created = MemoryStoreCreated::new(named());
            created.ext = ext;
            created.into()
        }
        MemoryOperation::DeleteStore => {
            let mut deleted = MemoryStoreDeleted::new(named());
            deleted.ext = ext;
            deleted.into()
        }
    };
    Draft::new(event, span.end)
}

/// A step of a workflow, from its beginning to its end.
pub(super) fn workflow(span: &Span, name: &str) -> Vec<Draft> {
    let step = hex::encode(span.id.span_id);
    let mut entered = ScenarioStepEntered::new(name.to_owned(), step.clone());
    entered.ext = ext(span);
    let mut exited = ScenarioStepExited::new(name.to_owned(), step);
    exited.outcome = span.error_type();
    exited.duration_us = span.duration_us();
    vec![
        Draft::new(entered, span.start),
        Draft::new(exited, span.end).after(0),
    ]
}

/// A plan in words.
pub(super) fn plan(span: &Span, text: &str) -> Draft {
    let id = hex::encode(span.id.span_id);
    let mut proposed = PlanProposed::new(id, vec![PlanStep::new(text.to_owned())]);
    proposed.ext = ext(span);
    Draft::new(proposed, span.end)
}

/// An agent that was made.
pub(super) fn agent_created(span: &Span, place: &Place) -> Draft {
    let of = &span.attributes;
    let name = place.agent.clone().unwrap_or_else(|| span.name.clone());
    let id = of.text("gen_ai.agent.id").map(str::to_owned);
    let mut created = ConfigAgentCreated::new(id.unwrap_or_else(|| name.clone()));
    created.name = Some(name);
    created.description = of.text("gen_ai.agent.description").map(str::to_owned);
    created.version = of.text("gen_ai.agent.version").map(str::to_owned);
    created.model = of.text("gen_ai.request.model").map(str::to_owned);
    Draft::new(created, span.end)
}
