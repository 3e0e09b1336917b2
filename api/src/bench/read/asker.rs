//! Who answers: the schema in this process, or a server. Both get the same bodies and give the same bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics_exporter_prometheus::PrometheusBuilder;
use ruche_domain::ids::{ApiKeyId, TenantId};
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use crate::app::App;
use crate::auth::{Principal, Role, Roles};
use crate::bench::BenchError;
use crate::bench::connection::{Connection, NoReply, Server};
use crate::bench::drive::Answer;
use crate::error_codes as code;
use crate::graphql::{Engine, Params};
use crate::http::Caller;
use crate::services::Shutdown;

/// Pause after an answer that says that the read models are overloaded.
const OVERLOADED_WAIT: Duration = Duration::from_millis(10);

/// A server and the key to ask it with.
pub struct ServerPlace(pub(crate) Arc<Server>);

impl ServerPlace {
    /// The server at `url`, with a key that may read.
    ///
    /// # Errors
    /// When the URL or the key is none.
    pub fn new(url: &str, key: &str) -> Result<Self, BenchError> {
        Ok(Self(Arc::new(Server::new(url, key)?)))
    }
}

/// Where questions go.
pub(crate) enum Place {
    /// To the schema, as a caller that may read.
    Here(Engine, Caller),
    /// To a server.
    Server(Arc<Server>),
}

impl Place {
    /// The schema over the read models of an application. What is given beside it is kept as long as anybody asks.
    pub fn of_app(app: &App, tenant: TenantId) -> (Self, watch::Sender<bool>) {
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let (closing, shutdown) = Shutdown::channel();
        let engine = Engine::new(Arc::new(app.services(metrics, None, shutdown)));
        let caller = Caller {
            principal: Principal {
                tenant,
                key_id: ApiKeyId(Uuid::nil()),
                roles: Roles::of([Role::Reader]),
                user: None,
            },
            trace: None,
        };
        (Self::Here(engine, caller), closing)
    }

    /// One that asks; of a server over a connection of its own.
    pub fn asker(&self) -> Asker {
        match self {
            Self::Here(engine, caller) => Asker::Here(engine.clone(), caller.clone()),
            Self::Server(server) => Asker::Server(Connection::new(server.clone())),
        }
    }
}

/// Asks one question behind the other.
pub(crate) enum Asker {
    /// The schema in this process.
    Here(Engine, Caller),
    /// A server.
    Server(Connection),
}

impl Asker {
    /// The `data` of the answer to a request, which is JSON with `query` and `variables`.
    ///
    /// # Errors
    /// What came in its place.
    pub async fn ask(&mut self, body: Bytes) -> Result<Value, Answer> {
        let answered = match self {
            Self::Here(engine, caller) => {
                let params = Params::from_json(&body).map_err(|fault| Answer::Failed(fault.message))?;
                match engine.prepare(params) {
                    Ok(prepared) => engine.execute(prepared, caller.clone(), "bench").await,
                    Err(refused) => refused,
                }
                .to_json()
                .into()
            }
            Self::Server(connection) => match connection.post(body).await {
                Ok(reply) => reply.body,
                Err(NoReply::NotSent(reason)) => return Err(Answer::Failed(reason)),
                Err(NoReply::Lost) => return Err(Answer::Unknown { may_ask_again: true }),
            },
        };
        data(&answered)
    }
}

fn data(answered: &[u8]) -> Result<Value, Answer> {
    let Ok(mut answer) = serde_json::from_slice::<Value>(answered) else {
        let told = String::from_utf8_lossy(&answered[..answered.len().min(200)]).into_owned();
        return Err(Answer::Failed(format!("this is no answer: {told}")));
    };
    let Some(fault) = answer["errors"].get(0) else {
        return Ok(answer["data"].take());
    };
    match fault["extensions"]["code"].as_str() {
        Some(code::OVERLOADED) => Err(Answer::Overloaded(OVERLOADED_WAIT)),
        told => Err(Answer::Failed(format!(
            "{}: {}",
            told.unwrap_or_default(),
            fault["message"].as_str().unwrap_or_default()
        ))),
    }
}
