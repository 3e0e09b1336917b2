//! A running server, asked by commands that work over the network.

use std::sync::Arc;

use clap::Args;
use ruche_ledger::hash::Hash;
use serde_json::{Value, json};

use super::CliError;
use crate::bench::connection::{Connection, NoReply, Server};

/// A server, and who asks it.
#[derive(Args)]
pub struct ServerArgs {
    /// The server, such as http://127.0.0.1:4000
    #[arg(long, value_name = "URL")]
    server: String,
    /// API key with the role reviewer
    #[arg(long, env = "RUCHE_KEY", hide_env_values = true)]
    key: String,
}

/// A server, and an administrator of its tenant.
#[derive(Args)]
pub struct AdminArgs {
    /// The server, such as http://127.0.0.1:4000
    #[arg(long, value_name = "URL")]
    pub(super) server: String,
    /// API key with the role admin
    #[arg(long, env = "RUCHE_KEY", hide_env_values = true)]
    pub(super) key: String,
}

/// A server that is asked.
pub(super) struct Client(Connection);

impl Client {
    pub(super) fn of(args: &ServerArgs) -> Result<Self, CliError> {
        Self::with(&args.server, &args.key)
    }

    /// The server at an address, asked with a key.
    pub(super) fn with(address: &str, key: &str) -> Result<Self, CliError> {
        let server = Server::new(address, key);
        let server =
            server.map_err(|error| CliError::Usage(error.to_string().replace("--url", "--server")))?;
        Ok(Self(Connection::new(Arc::new(server))))
    }

    /// The data of an answer without errors.
    pub(super) async fn ask(&mut self, query: &str, variables: Value) -> Result<Value, CliError> {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let reply = self.0.post(body.into()).await.map_err(|error| {
            CliError::Failed(match error {
                NoReply::NotSent(reason) => format!("the server was not reached: {reason}"),
                NoReply::Lost => "the server did not answer; send the same again".to_owned(),
            })
        })?;
        let answer: Value = serde_json::from_slice(&reply.body)
            .map_err(|_| CliError::Failed(format!("the server answered {} without GraphQL", reply.status)))?;
        match answer["errors"][0]["message"].as_str() {
            Some(message) => Err(CliError::Failed(message.to_owned())),
            None => Ok(answer["data"].clone()),
        }
    }

    /// What a mutation that is carried out answers of these fields. The input has its idempotency key.
    pub(super) async fn mutate(
        &mut self,
        name: &str,
        input: &Value,
        fields: &str,
    ) -> Result<Value, CliError> {
        let kind = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        let query = format!(
            "mutation ($input: {kind}Input!) {{ {name}(input: $input) {{ ... on {kind}Payload {{ {fields} }} \
             ... on Refusal {{ code message retryable }} }} }}"
        );
        let answer = self.ask(&query, json!({ "input": input })).await?[name].take();
        let Some(message) = answer["message"].as_str() else {
            return Ok(answer);
        };
        let code = answer["code"].as_str().unwrap_or_default();
        let again = match answer["retryable"] == true {
            true => "; send the same again",
            false => "",
        };
        let told = format!("{code}: {message}{again}");
        Err(match code {
            "NOT_FOUND" => CliError::NotFound(told),
            _ => CliError::Failed(told),
        })
    }

    /// The nodes of all pages of a field. The query takes `$after` and asks for `pageInfo`.
    pub(super) async fn all(&mut self, query: &str, field: &str) -> Result<Vec<Value>, CliError> {
        let mut all = Vec::new();
        self.pages(query, field, |nodes| {
            all.extend(nodes);
            true
        })
        .await?;
        Ok(all)
    }

    /// No more than `most` nodes of a field, from its first page on, and whether there are more.
    pub(super) async fn up_to(
        &mut self,
        most: usize,
        query: &str,
        field: &str,
    ) -> Result<(Vec<Value>, bool), CliError> {
        let mut some = Vec::new();
        let is_more = self
            .pages(query, field, |nodes| {
                some.extend(nodes);
                some.len() < most
            })
            .await?;
        let is_cut = some.len() > most;
        some.truncate(most);
        Ok((some, is_more || is_cut))
    }

    /// The first node of a field that is the one. What is behind its page is not asked for.
    pub(super) async fn find(
        &mut self,
        query: &str,
        field: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Option<Value>, CliError> {
        let mut found = None;
        self.pages(query, field, |nodes| {
            found = nodes.into_iter().find(&is_it);
            found.is_none()
        })
        .await?;
        Ok(found)
    }

    /// Gives the nodes of each page away, as long as more are wanted. Whether there are more pages.
    async fn pages(
        &mut self,
        query: &str,
        field: &str,
        mut wants_more: impl FnMut(Vec<Value>) -> bool,
    ) -> Result<bool, CliError> {
        let mut after = Value::Null;
        loop {
            let mut answer = self.ask(query, json!({ "after": after })).await?;
            let page = &mut answer[field];
            let nodes = match page["nodes"].take() {
                Value::Array(nodes) => nodes,
                _ => Vec::new(),
            };
            let next = page["pageInfo"]["endCursor"].take();
            // A page without rows names no place to go on from.
            let is_more = page["pageInfo"]["hasNextPage"] == true && !next.is_null();
            if !wants_more(nodes) || !is_more {
                return Ok(is_more);
            }
            after = next;
        }
    }
}

/// An idempotency key that no other call has.
pub(super) fn fresh_key(mutation: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_nanos());
    let key = Hash::sha256(format!("{mutation} {now} {}", std::process::id()).as_bytes());
    format!("{mutation}-{key}")
}
