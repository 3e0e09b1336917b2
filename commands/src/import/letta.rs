//! Letta's set for the update of memory: JSON lines, each with statements and one that contradicts what an answer stood on.

use ruche_domain::Ext;
use ruche_domain::events::{Role, SessionEndReason};
use serde::Deserialize;

use super::BadRecord;
use super::chat::{ImportedSession, Message};
use super::memory::MemoryUpdate;
use super::record::{RawRecord, join, others};

#[derive(Deserialize)]
struct Row {
    input: String,
    ground_truth: String,
    agent_args: Arguments,
}

#[derive(Deserialize)]
struct Arguments {
    extra: Extra,
}

#[derive(Deserialize)]
struct Extra {
    facts: Vec<String>,
    contradicting_fact: String,
    contradicting_answer: String,
    supporting_fact_indices: Vec<usize>,
}

/// Statements of a line at most, and bytes of one at most: so many facts fit one append, as so many messages do.
const STATEMENTS_MAX: usize = 500;
const STATEMENT_BYTES_MAX: usize = 8_192;

/// What is wrong with a line, and where.
fn flaw(extra: &Extra) -> Option<(String, String)> {
    if extra.facts.is_empty() || extra.facts.len() > STATEMENTS_MAX {
        return Some((
            "/facts".to_owned(),
            format!("not 1 to {STATEMENTS_MAX} statements"),
        ));
    }
    let is_long = |text: &String| text.len() > STATEMENT_BYTES_MAX;
    let long = format!("longer than {STATEMENT_BYTES_MAX} bytes");
    if let Some(at) = extra.facts.iter().position(is_long) {
        return Some((format!("/facts/{at}"), long));
    }
    if is_long(&extra.contradicting_fact) {
        return Some(("/contradicting_fact".to_owned(), long));
    }
    if extra.supporting_fact_indices.len() > extra.facts.len() {
        return Some((
            "/supporting_fact_indices".to_owned(),
            "more than there are facts".to_owned(),
        ));
    }
    let mut indices = extra.supporting_fact_indices.iter();
    let beyond = indices.position(|index| *index >= extra.facts.len());
    beyond.map(|at| {
        (
            format!("/supporting_fact_indices/{at}"),
            "there is no such fact".to_owned(),
        )
    })
}

/// The session of a line: the statements are said first, then the one that contradicts.
pub(super) fn session(record: &RawRecord<'_>) -> Result<ImportedSession, BadRecord> {
    let row: Row = record.parse()?;
    let extra = row.agent_args.extra;
    if let Some((pointer, reason)) = flaw(&extra) {
        return Err(BadRecord {
            path: join(&record.place, &format!("/agent_args/extra{pointer}")),
            reason,
        });
    }
    let said = extra.facts.iter().chain([&extra.contradicting_fact]);
    let messages = said.map(|text| Message::new(Role::User, Some(text.clone())).into());
    let mut ext: Ext = others(
        &record.place,
        record.text,
        &["input", "ground_truth", "agent_args"],
    )?;
    for (name, value) in [
        ("input", row.input),
        ("ground_truth", row.ground_truth),
        ("contradicting_answer", extra.contradicting_answer),
    ] {
        ext.insert(name.to_owned(), value.into());
    }
    let indices = extra.supporting_fact_indices.clone();
    ext.insert("supporting_fact_indices".to_owned(), indices.into());
    let line = record.place.trim_start_matches("line ").to_owned();
    Ok(ImportedSession {
        path: record.place.clone(),
        external_id: line,
        agent: None,
        interlocutor: None,
        scenario: None,
        trial: None,
        messages: messages.collect(),
        scores: Vec::new(),
        started_at: None,
        ended_at: None,
        end: SessionEndReason::Unknown,
        end_detail: None,
        attributes: Ext::new(),
        ext,
        memory: Some(MemoryUpdate {
            statements: extra.facts,
            contradicting: unquoted(extra.contradicting_fact),
            supporting: extra.supporting_fact_indices,
        }),
    })
}

/// A statement without the quotes that some carry around them. Those in it stay.
fn unquoted(statement: String) -> String {
    let inner = statement
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match inner.filter(|inner| !inner.contains('"')) {
        Some(inner) => inner.to_owned(),
        None => statement,
    }
}
