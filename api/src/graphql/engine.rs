//! The schema and the only way to run operations on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextExecute, NextParseQuery, NextResolve, NextValidation,
    ResolveInfo,
};
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, OperationType,
};
use async_graphql::{
    Request, Response, Schema, SchemaBuilder, ServerError, ServerResult, ValidationResult, Variables,
};
use futures_util::stream::{BoxStream, StreamExt};
use metrics::counter;
use serde_json::{Value, json};

use super::budget::Budget;
use super::document::DocumentFault;
use super::documents::Documents;
use super::errors::with_code;
use super::mutation::Mutations;
use super::params::Params;
use super::parked::ParkedModels;
use super::query::Queries;
use super::read::{Loading, ReadLoader, Reading};
use super::refusals::Refusal;
use super::root_field;
use super::subscription::Subscription;
use super::variables;
use crate::error_codes as code;
use crate::http::Caller;
use crate::limits::{FIELD_DIRECTIVES_MAX, QUERY_COST_MAX, QUERY_DEPTH_MAX};
use crate::services::Services;

type RucheSchema = Schema<Queries, Mutations, Subscription>;

/// Runs operations. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    schema: RucheSchema,
    services: Arc<Services>,
    documents: Arc<Documents>,
}

/// An operation whose document was looked at and parsed.
pub struct Prepared {
    request: Request,
    /// What kind of operation it is; absent where the document does not say which one is meant.
    pub kind: Option<OperationType>,
}

/// The answer to an operation, or one item of a subscription.
#[derive(Debug)]
pub struct Answer {
    /// Boxed, so that results stay small.
    response: Box<Response>,
    /// Whether execution began. Without it the answer has no `data` (GraphQL, October 2021, §7.1.2).
    pub executed: bool,
}

impl Engine {
    /// The schema over these services.
    pub fn new(services: Arc<Services>) -> Self {
        let schema = builder()
            .data(services.clone())
            .extension(Stages)
            .limit_depth(QUERY_DEPTH_MAX)
            .limit_complexity(QUERY_COST_MAX)
            .limit_directives(FIELD_DIRECTIVES_MAX)
            // A suggestion quotes names that the caller did not write and makes one error cost much.
            .disable_suggestions()
            .finish();
        Self {
            schema,
            services,
            documents: Arc::new(Documents::new()),
        }
    }

    /// The schema in the schema definition language, as `api/schema.graphql` holds it.
    pub fn sdl() -> String {
        let schema = builder().finish();
        let options = async_graphql::SDLExportOptions::new()
            .prefer_single_line_descriptions()
            .use_space_ident()
            .include_specified_by();
        format!("{}\n", schema.sdl_with_options(options).trim_end())
    }

    /// Looks at the document, parses it, and looks how large it is with its fragments written out: validation is never
    /// entered with more.
    ///
    /// # Errors
    /// The answer: too large, not GraphQL, or a variable has no value that needs one.
    pub fn prepare(&self, params: Params) -> Result<Prepared, Answer> {
        let document = self.documents.read(&params.query).map_err(Answer::refused)?;
        let mut request =
            Request::new(params.query).variables(Variables::from_json(Value::Object(params.variables)));
        request.operation_name = params.operation_name;
        let operation = operation_of(&document, request.operation_name.as_deref());
        if let Some(operation) = operation {
            root_field::check(operation, &document).map_err(Answer::faulty)?;
            variables::check(operation, &request.variables).map_err(Answer::faulty)?;
        }
        let kind = operation.map(|operation| operation.ty);
        request.set_parsed_query(ExecutableDocument::clone(&document));
        Ok(Prepared { request, kind })
    }

    /// Loads what fields name, once for many, for one caller.
    fn loading(&self, caller: &Caller, parked: &ParkedModels, budget: &Budget) -> Loading {
        let (services, ledger) = (self.services.clone(), caller.principal.ledger());
        let reading = Reading::new(services, ledger, parked.clone(), budget.clone());
        Loading::new(ReadLoader(reading), tokio::spawn)
    }

    /// Runs a query or a mutation.
    pub async fn execute(&self, prepared: Prepared, caller: Caller, transport: &'static str) -> Answer {
        count(prepared.kind, transport);
        let (begun, parked, budget) = (Begun::default(), ParkedModels::default(), Budget::default());
        let request = prepared
            .request
            .data(self.loading(&caller, &parked, &budget))
            .data(parked.clone())
            .data(budget.clone())
            .data(caller)
            .data(begun.clone());
        let response = self.schema.execute(request).await;
        Answer::of(parked.tell(budget.bound(response)), begun.is_set())
    }

    /// Runs any operation; a query or a mutation gives one answer.
    pub fn stream(
        &self,
        prepared: Prepared,
        caller: Caller,
        transport: &'static str,
    ) -> BoxStream<'static, Answer> {
        count(prepared.kind, transport);
        let (begun, parked) = (Begun::default(), ParkedModels::default());
        let subscription = prepared.kind == Some(OperationType::Subscription);
        let budget = match subscription {
            true => Budget::endless(),
            false => Budget::default(),
        };
        let request = prepared
            .request
            .data(self.loading(&caller, &parked, &budget))
            .data(parked.clone())
            .data(budget.clone())
            .data(caller)
            .data(begun.clone());
        let answers = self.schema.execute_stream(request);
        answers
            .map(move |response| {
                // Subscriptions pass no execute stage; what they yield with data has run.
                let ran = subscription && (response.is_ok() || response.data != async_graphql::Value::Null);
                Answer::of(parked.tell(budget.bound(response)), begun.is_set() || ran)
            })
            .boxed()
    }
}

fn builder() -> SchemaBuilder<Queries, Mutations, Subscription> {
    // Nothing returns the interface itself, so it is made known here.
    Schema::build(Queries::default(), Mutations::default(), Subscription).register_output_type::<Refusal>()
}

/// The operation that is meant.
fn operation_of<'d>(document: &'d ExecutableDocument, name: Option<&str>) -> Option<&'d OperationDefinition> {
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Some(&operation.node),
        (DocumentOperations::Single(_), Some(_)) => None,
        (DocumentOperations::Multiple(operations), Some(name)) => {
            operations.get(name).map(|operation| &operation.node)
        }
        (DocumentOperations::Multiple(operations), None) => {
            let mut all = operations.values();
            all.next()
                .filter(|_| operations.len() == 1)
                .map(|operation| &operation.node)
        }
    }
}

fn count(kind: Option<OperationType>, transport: &'static str) {
    let kind = match kind {
        Some(OperationType::Query) => "query",
        Some(OperationType::Mutation) => "mutation",
        Some(OperationType::Subscription) => "subscription",
        None => "refused",
    };
    counter!("ruche_graphql_operations_total", "kind" => kind, "transport" => transport).increment(1);
}

impl Answer {
    fn refused(error: ServerError) -> Self {
        Self {
            response: Box::new(Response::from_errors(vec![error])),
            executed: false,
        }
    }

    fn faulty(fault: DocumentFault) -> Self {
        Self::refused(fault.into_error())
    }

    fn of(mut response: Response, executed: bool) -> Self {
        // After execution began, what still has no code is an argument that could not be read.
        let rest = if executed {
            code::INVALID_ARGUMENT
        } else {
            code::GRAPHQL_VALIDATION_FAILED
        };
        let errors = std::mem::take(&mut response.errors).into_iter();
        response.errors = errors.map(|error| with_code(error, rest)).collect();
        Self {
            response: Box::new(response),
            executed,
        }
    }

    /// An answer that only refuses.
    pub fn refusal(code: &'static str, message: impl Into<String>) -> Self {
        Self::refused(with_code(ServerError::new(message, None), code))
    }

    /// Whether it holds errors.
    pub fn has_errors(&self) -> bool {
        self.response.is_err()
    }

    /// The errors as JSON.
    pub fn errors(&self) -> Value {
        json!(self.response.errors)
    }

    /// The JSON of the answer: `data` only if execution began.
    pub fn to_json(&self) -> Vec<u8> {
        let written = if self.executed {
            serde_json::to_vec(&self.response)
        } else {
            serde_json::to_vec(&json!({ "errors": self.response.errors }))
        };
        written.expect("an answer has text keys and finite numbers")
    }

    /// The answer as a JSON value.
    pub fn to_value(&self) -> Value {
        serde_json::from_slice(&self.to_json()).expect("what was just written is JSON")
    }
}

/// An error of validation with its code; one of a bound names the bound.
fn of_validation(mut error: ServerError) -> ServerError {
    // The words of async-graphql 7.2 (`src/validation/mod.rs`); a test holds them.
    let bound = match error.message.as_str() {
        "Query is too complex." => format!(
            "the operation costs more than {QUERY_COST_MAX}: one for each field, times the page size below a connection"
        ),
        "Query is nested too deep." => {
            format!("the operation selects fields more than {QUERY_DEPTH_MAX} deep")
        }
        _ => return with_code(error, code::GRAPHQL_VALIDATION_FAILED),
    };
    error.message = bound;
    with_code(error, code::QUERY_LIMIT_EXCEEDED)
}

/// Set when execution begins.
#[derive(Clone, Default)]
struct Begun(Arc<AtomicBool>);

impl Begun {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Says which stage an error came from, and whether execution began; counts what is answered.
struct Stages;

impl ExtensionFactory for Stages {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Stages)
    }
}

#[async_trait::async_trait]
impl Extension for Stages {
    async fn parse_query(
        &self,
        ctx: &ExtensionContext<'_>,
        query: &str,
        variables: &Variables,
        next: NextParseQuery<'_>,
    ) -> ServerResult<ExecutableDocument> {
        let parsed = next.run(ctx, query, variables).await;
        // The document was parsed before; what fails here is a bound of the schema.
        parsed.map_err(|error| with_code(error, code::QUERY_LIMIT_EXCEEDED))
    }

    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let validated = next.run(ctx).await;
        validated.map_err(|errors| errors.into_iter().map(of_validation).collect())
    }

    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        if let Some(begun) = ctx.data_opt::<Begun>() {
            begun.0.store(true, Ordering::Release);
        }
        next.run(ctx, operation_name).await
    }

    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<async_graphql::Value>> {
        let is_leaf = info.field.selection_set.node.items.is_empty();
        let budget = ctx.data_opt::<Budget>();
        // What is left of an operation that is refused does no more work.
        if let Some(budget) = budget.filter(|budget| budget.is_spent()) {
            return Err(budget.error());
        }
        let value = next.run(ctx, info).await?;
        match budget.filter(|_| is_leaf) {
            Some(budget) => budget.answer(value.as_ref()).map(|()| value),
            None => Ok(value),
        }
    }
}
