//! Saved questions: of a running server, or of the store itself.

use ruche_commands::command::Command;
use ruche_commands::{CommandContext, CommandError, CommandReceipt, DropQuery, SaveQuery};
use ruche_domain::Object;
use ruche_domain::envelope::{Actor, ActorKind, Provenance};
use ruche_domain::ids::{LedgerId, TenantId};
use ruche_projections::saved_queries::{self, SavedQuery};
use ruche_projections::select::PageRequest;
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::{self, App, AppError};
use crate::cli::client::{Client, fresh_key};
use crate::cli::{CliError, Common, known_tenant, print};
use crate::graphql::{accepted_words, format_time};
use crate::out::{Table, harmless};

const LIST: &str = "query ($after: String) { savedQueries(first: 100, after: $after) {
    pageInfo { hasNextPage endCursor } nodes { name query savedAt position } } }";
const ONE: &str = "query ($name: String!) { savedQuery(name: $name) { query } }";
/// Questions that are read from a store at once.
const PAGE: usize = 100;

/// Who is asked.
pub(super) enum Place<'a> {
    /// A running server, with a key.
    Server(&'a str, &'a str),
    /// The store itself, about a tenant.
    Store(&'a Common, &'a str),
}

/// A saved question, as it is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    name: String,
    query: Value,
    saved_at: String,
    position: String,
}

impl From<SavedQuery> for Line {
    fn from(saved: SavedQuery) -> Self {
        Self {
            name: saved.name,
            query: Value::Object(saved.query.into_iter().collect()),
            saved_at: format_time(saved.saved_at),
            position: saved.position.to_string(),
        }
    }
}

/// What came of a change, as it is printed.
#[derive(Serialize)]
struct Done {
    position: String,
    unchanged: bool,
}

/// Saves a question.
pub(super) async fn save(
    common: &Common,
    place: &Place<'_>,
    name: &str,
    words: Object,
) -> Result<(), CliError> {
    let done = match place {
        Place::Server(server, key) => {
            let query = Value::Object(words.into_iter().collect());
            let input = json!({ "name": name, "query": query });
            of_server(server, key, "saveQuery", input).await?
        }
        Place::Store(common, tenant) => {
            let query = accepted_words(words).map_err(|error| refused(&error))?;
            let name = name.to_owned();
            on_store(common, tenant, SaveQuery { name, query }).await?
        }
    };
    print(common, &done, |done| {
        let name = harmless(name);
        match done.unchanged {
            true => format!("{name} stands so already, since record {}", done.position),
            false => format!(
                "{name} is saved, in record {}; `ruche query --saved` asks it",
                done.position
            ),
        }
    })
}

/// Drops a saved question.
pub(super) async fn drop(common: &Common, place: &Place<'_>, name: &str) -> Result<(), CliError> {
    let done = match place {
        Place::Server(server, key) => of_server(server, key, "dropQuery", json!({ "name": name })).await,
        Place::Store(common, tenant) => {
            let command = DropQuery {
                name: name.to_owned(),
            };
            on_store(common, tenant, command).await
        }
    };
    let done = done.map_err(|error| match error {
        CliError::NotFound(_) => not_there(name),
        error => error,
    })?;
    print(common, &done, |done| {
        format!("{} is dropped, in record {}", harmless(name), done.position)
    })
}

/// The words of a saved question.
pub(super) async fn found(place: &Place<'_>, name: &str) -> Result<Object, CliError> {
    let words = match place {
        Place::Server(server, key) => {
            let mut answer = Client::with(server, key)?
                .ask(ONE, json!({ "name": name }))
                .await?;
            match answer["savedQuery"]["query"].take() {
                Value::Object(members) => Some(members.into_iter().collect()),
                _ => None,
            }
        }
        Place::Store(common, tenant) => {
            let app = opened(common).await?;
            let found = on_app(&app, tenant, Some(name)).await;
            app.close().await?;
            found?.pop().map(|saved| saved.query)
        }
    };
    words.ok_or_else(|| not_there(name))
}

/// Lists those that stand.
pub(super) async fn list(common: &Common, place: &Place<'_>) -> Result<(), CliError> {
    let lines: Vec<Line> = match place {
        Place::Server(server, key) => {
            let nodes = Client::with(server, key)?.all(LIST, "savedQueries").await?;
            nodes.into_iter().map(read).collect()
        }
        Place::Store(common, tenant) => {
            let app = opened(common).await?;
            let found = on_app(&app, tenant, None).await;
            app.close().await?;
            found?.into_iter().map(Line::from).collect()
        }
    };
    print(common, &lines, |lines| text(lines))
}

fn not_there(name: &str) -> CliError {
    CliError::NotFound(format!(
        "no query is saved as {name}; `ruche query --list-saved` shows those that are"
    ))
}

fn refused(error: &CommandError) -> CliError {
    let told = format!("{}: {error}", error.code());
    match error {
        CommandError::NotFound { .. } => CliError::NotFound(told),
        _ => CliError::Failed(told),
    }
}

async fn of_server(server: &str, key: &str, mutation: &str, mut input: Value) -> Result<Done, CliError> {
    // Whoever says the same again later means it again.
    input["idempotencyKey"] = json!(fresh_key(mutation));
    let told = Client::with(server, key)?
        .mutate(mutation, &input, "unchanged receipts { position }")
        .await?;
    Ok(Done {
        position: word(&told["receipts"][0]["position"]),
        unchanged: told["unchanged"] == true,
    })
}

async fn opened(common: &Common) -> Result<App, CliError> {
    app::must_exist(common).await?;
    Ok(App::open(common, "ruche query").await?)
}

/// Carries out a command as whoever has the store in hand: no credential says who that is.
async fn on_store<C: Command>(common: &Common, tenant: &str, command: C) -> Result<Done, CliError> {
    let app = opened(common).await?;
    let done = executed(&app, tenant, command).await;
    app.close().await?;
    let receipt = done?;
    let first = receipt.events.first().map(|event| event.receipt.position);
    Ok(Done {
        position: first.map(|position| position.to_string()).unwrap_or_default(),
        unchanged: receipt.unchanged,
    })
}

async fn executed<C: Command>(app: &App, tenant: &str, command: C) -> Result<CommandReceipt, CliError> {
    let tenant: TenantId = known_tenant(app, tenant).await?;
    let operator = Actor {
        kind: ActorKind::Client,
        reference: None,
    };
    let context = CommandContext::new(tenant, operator, Provenance::Attested, fresh_key(C::NAME));
    let done = app.commands.execute(&context, &command).await;
    let receipt = done.map_err(|error| refused(&error))?;
    app.catch_up(LedgerId::main_of(tenant)).await?;
    Ok(receipt)
}

/// Those of a store, or the one of a name.
async fn on_app(app: &App, tenant: &str, name: Option<&str>) -> Result<Vec<SavedQuery>, CliError> {
    let ledger = LedgerId::main_of(known_tenant(app, tenant).await?);
    app.catch_up(ledger).await?;
    let store = app.runner.store();
    if let Some(name) = name {
        let found = saved_queries::by_name(store.as_ref(), ledger, name).await;
        return Ok(found.map_err(AppError::from)?.into_iter().collect());
    }
    let (mut all, mut request) = (Vec::new(), PageRequest::first(PAGE));
    loop {
        let page = saved_queries::list(store.as_ref(), ledger, &request)
            .await
            .map_err(AppError::from)?;
        request = request.after(page.end());
        let has_next = page.has_next;
        all.extend(page.items());
        if !has_next {
            return Ok(all);
        }
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn read(mut node: Value) -> Line {
    Line {
        name: word(&node["name"]),
        query: node["query"].take(),
        saved_at: word(&node["savedAt"]),
        position: word(&node["position"]),
    }
}

fn text(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "no query is saved; `ruche query … --save NAME` saves one".to_owned();
    }
    let mut table = Table::new(["name", "saved", "record", "query"]);
    for line in lines {
        table.row([
            line.name.clone(),
            line.saved_at.clone(),
            line.position.clone(),
            line.query.to_string(),
        ]);
    }
    table.to_string()
}
