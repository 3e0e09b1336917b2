//! One WebSocket connection that speaks graphql-transport-ws.
//!
//! The life of a connection: upgrade → `connection_init` with the key, within [`SOCKET_INIT_WAIT_MAX`] → any number of
//! operations, at most [`OPERATIONS_PER_SOCKET_MAX`] at a time → closed by either side. All operations of a connection
//! run in its own task, and their answers go through one bounded place: a client that reads slowly makes its own
//! subscriptions wait, and nothing else. What waits is not lost: a subscription reads from the ledger, not from a
//! buffer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::RequestExt;
use axum::extract::Request;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{AbortHandle, Abortable, BoxStream, SelectAll, StreamExt};
use futures_util::{SinkExt as _, stream};
use http::StatusCode;
use metrics::gauge;
use ruche_domain::envelope::TraceContext;
use ruche_domain::ids::TenantId;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::protocol::{self, Close, FromClient, PROTOCOL};
use crate::auth::{Credential, Principal};
use crate::error_codes as code;
use crate::graphql::{Answer, OperationType, Params, ParamsFault};
use crate::http::{Caller, Edge, Refusal};
use crate::limits::{
    OPERATIONS_PER_SOCKET_MAX, SOCKET_INIT_WAIT_MAX, SOCKET_MESSAGE_BYTES_MAX, SOCKET_PING_INTERVAL,
    SOCKET_SILENCE_MAX, SOCKET_WRITE_WAIT_MAX, SOCKETS_MAX, SOCKETS_PER_TENANT_MAX,
};

/// Counts open connections.
#[derive(Clone, Default)]
pub struct Sockets(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    all: usize,
    by_tenant: HashMap<TenantId, usize>,
}

/// A connection's place among the counted ones.
struct Place {
    sockets: Sockets,
    tenant: Option<TenantId>,
}

impl Sockets {
    fn take(&self) -> Option<Place> {
        let mut counts = self.0.lock().expect("no holder of the lock panics");
        if counts.all >= SOCKETS_MAX {
            return None;
        }
        counts.all += 1;
        gauge!("ruche_websocket_connections").increment(1);
        Some(Place {
            sockets: self.clone(),
            tenant: None,
        })
    }
}

impl Place {
    /// Counts the connection for its tenant; false if the tenant has too many.
    fn belongs_to(&mut self, tenant: TenantId) -> bool {
        let mut counts = self.sockets.0.lock().expect("no holder of the lock panics");
        let count = counts.by_tenant.entry(tenant).or_default();
        if *count >= SOCKETS_PER_TENANT_MAX {
            return false;
        }
        *count += 1;
        self.tenant = Some(tenant);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.sockets.0.lock().expect("no holder of the lock panics");
        counts.all -= 1;
        gauge!("ruche_websocket_connections").decrement(1);
        let Some(tenant) = self.tenant else { return };
        if let Some(count) = counts.by_tenant.get_mut(&tenant) {
            *count -= 1;
            if *count == 0 {
                counts.by_tenant.remove(&tenant);
            }
        }
    }
}

/// Upgrades a request. The key comes in `connection_init`.
pub(super) async fn upgrade(edge: Edge, mut request: Request) -> Response {
    let trace = request.extensions().get::<TraceContext>().copied();
    let upgrade = match request.extract_parts::<WebSocketUpgrade>().await {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            let status = rejection.into_response().status();
            let message = "this is no WebSocket handshake";
            return Refusal::new(status, code::BAD_REQUEST, message).into_response();
        }
    };
    let Some(place) = edge.sockets.take() else {
        let message = "too many connections are open";
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code::OVERLOADED, message).into_response();
    };
    let open = edge.services.shutdown.hold();
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(SOCKET_MESSAGE_BYTES_MAX)
        .max_frame_size(SOCKET_MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            let spoken = socket.protocol().is_some_and(|protocol| protocol == PROTOCOL);
            let mut connection = Connection::new(edge, trace, socket, place);
            let close = if spoken {
                connection.run().await
            } else {
                Some(Close::subprotocol())
            };
            connection.end(close).await;
            // Closing waits up to here: the client has been told why.
            drop(open);
        })
}

/// What an operation has for its client.
enum Output {
    Message {
        id: String,
        text: String,
    },
    /// The last of an operation.
    End {
        id: String,
        text: Option<String>,
    },
}

struct Connection {
    edge: Edge,
    trace: Option<TraceContext>,
    socket: WebSocket,
    place: Place,
    principal: Option<Principal>,
    outputs: SelectAll<BoxStream<'static, Output>>,
    operations: HashMap<String, AbortHandle>,
    heard: Instant,
}

impl Connection {
    fn new(edge: Edge, trace: Option<TraceContext>, socket: WebSocket, place: Place) -> Self {
        Self {
            edge,
            trace,
            socket,
            place,
            principal: None,
            outputs: SelectAll::new(),
            operations: HashMap::new(),
            heard: Instant::now(),
        }
    }

    /// Serves until the connection ends. What it gives is what to tell the client; nothing if the client went first.
    async fn run(&mut self) -> Option<Close> {
        let init = sleep(SOCKET_INIT_WAIT_MAX);
        tokio::pin!(init);
        let mut pings = interval_at(Instant::now() + SOCKET_PING_INTERVAL, SOCKET_PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shutdown = self.edge.services.shutdown.clone();
        let closing = shutdown.begun();
        tokio::pin!(closing);
        loop {
            let ended = tokio::select! {
                () = &mut closing => Err(Some(Close::going_away())),
                () = &mut init, if self.principal.is_none() => Err(Some(Close::init_timeout())),
                _ = pings.tick() => self.tick().await,
                message = self.socket.recv() => self.received(message).await,
                Some(output) = self.outputs.next() => self.give(output).await,
            };
            if let Err(close) = ended {
                return close;
            }
        }
    }

    /// Looks whether the client and its key are still good, and keeps the connection from looking idle.
    async fn tick(&mut self) -> Result<(), Option<Close>> {
        if self.heard.elapsed() > SOCKET_SILENCE_MAX {
            return Err(None);
        }
        if let Some(principal) = &self.principal
            && !self.edge.services.access.is_live(principal.key_id)
        {
            return Err(Some(Close::unauthorized()));
        }
        self.send(Message::Ping(Default::default())).await
    }

    async fn received(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Option<Close>> {
        self.heard = Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => {
                let message = FromClient::read(text.as_str()).map_err(Some)?;
                self.handle(message).await
            }
            Some(Ok(Message::Binary(_))) => Err(Some(Close::invalid_message("binary"))),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Err(error)) => Err(Close::unreadable(&error.to_string())),
            Some(Ok(Message::Close(_))) | None => Err(None),
        }
    }

    async fn handle(&mut self, message: FromClient) -> Result<(), Option<Close>> {
        match message {
            FromClient::Init { .. } if self.principal.is_some() => Err(Some(Close::too_many_inits())),
            FromClient::Init { key } => {
                self.authenticate(key).await.map_err(Some)?;
                self.text(protocol::ack()).await
            }
            FromClient::Ping(payload) => self.text(protocol::pong(payload)).await,
            FromClient::Pong => Ok(()),
            FromClient::Subscribe { id, params } => self.subscribe(id, params).await,
            FromClient::Complete { id } => {
                if let Some(operation) = self.operations.remove(&id) {
                    operation.abort();
                    gauge!("ruche_websocket_operations").decrement(1);
                }
                Ok(())
            }
        }
    }

    async fn authenticate(&mut self, key: Option<String>) -> Result<(), Close> {
        let credential = key
            .as_deref()
            .and_then(Credential::parse)
            .ok_or_else(Close::unauthorized)?;
        let found = self.edge.services.access.authenticate(&credential).await;
        let principal = found.map_err(|error| {
            tracing::warn!(error = %error, "a key could not be looked up");
            Close::unavailable()
        })?;
        let principal = principal.ok_or_else(Close::unauthorized)?;
        if !self.place.belongs_to(principal.tenant) {
            return Err(Close::overloaded());
        }
        self.principal = Some(principal);
        Ok(())
    }

    async fn subscribe(
        &mut self,
        id: String,
        params: Result<Params, ParamsFault>,
    ) -> Result<(), Option<Close>> {
        let principal = self.principal.clone();
        let principal = principal.ok_or_else(|| Some(Close::unauthorized()))?;
        if self.operations.contains_key(&id) {
            return Err(Some(Close::duplicate(&id)));
        }
        if self.operations.len() >= OPERATIONS_PER_SOCKET_MAX {
            let message =
                format!("a connection runs at most {OPERATIONS_PER_SOCKET_MAX} operations at a time");
            let refused = Answer::refusal(code::OVERLOADED, message);
            return self.text(protocol::error(&id, refused.errors())).await;
        }
        let prepared = params
            .map_err(|fault| Answer::refusal(fault.code, fault.message))
            .and_then(|params| self.edge.engine.prepare(params));
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(refused) => return self.text(protocol::error(&id, refused.errors())).await,
        };
        let caller = Caller {
            principal,
            trace: self.trace,
        };
        let once = prepared.kind != Some(OperationType::Subscription);
        let answers = self.edge.engine.stream(prepared, caller, "websocket");
        let (abort, registration) = AbortHandle::new_pair();
        let outputs = Abortable::new(outputs(id.clone(), answers, once), registration);
        self.operations.insert(id, abort);
        gauge!("ruche_websocket_operations").increment(1);
        self.outputs.push(outputs.boxed());
        Ok(())
    }

    async fn give(&mut self, output: Output) -> Result<(), Option<Close>> {
        match output {
            Output::Message { id, text } if self.operations.contains_key(&id) => self.text(text).await,
            Output::End { id, text } if self.operations.remove(&id).is_some() => {
                gauge!("ruche_websocket_operations").decrement(1);
                if let Some(text) = text {
                    self.text(text).await?;
                }
                Ok(())
            }
            // The client has completed it meanwhile.
            Output::Message { .. } | Output::End { .. } => Ok(()),
        }
    }

    async fn text(&mut self, text: String) -> Result<(), Option<Close>> {
        self.send(Message::Text(text.into())).await
    }

    /// Sends one message, or gives the connection up when the client does not take it.
    async fn send(&mut self, message: Message) -> Result<(), Option<Close>> {
        match timeout(SOCKET_WRITE_WAIT_MAX, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(None),
        }
    }

    async fn end(mut self, close: Option<Close>) {
        gauge!("ruche_websocket_operations").decrement(self.operations.len() as f64);
        let Some(close) = close else { return };
        let frame = CloseFrame {
            code: close.code,
            reason: close.reason.into(),
        };
        // The client may be gone; then there is nobody to tell.
        let _told = timeout(
            SOCKET_WRITE_WAIT_MAX,
            self.socket.send(Message::Close(Some(frame))),
        )
        .await;
        let _flushed = timeout(SOCKET_WRITE_WAIT_MAX, self.socket.close()).await;
    }
}

/// The messages of an operation: its answers, and its end. An answer that did not run is an `error` and the end.
fn outputs(id: String, answers: BoxStream<'static, Answer>, once: bool) -> BoxStream<'static, Output> {
    let last = id.clone();
    let messages = answers.map(move |answer| {
        if !answer.executed {
            let text = protocol::error(&id, answer.errors());
            return Output::End {
                id: id.clone(),
                text: Some(text),
            };
        }
        let text = protocol::next(&id, answer.to_value());
        Output::Message { id: id.clone(), text }
    });
    let messages = if once {
        messages.take(1).boxed()
    } else {
        messages.boxed()
    };
    let end = stream::once(async move {
        let text = protocol::complete(&last);
        Output::End {
            id: last,
            text: Some(text),
        }
    });
    messages.chain(end).boxed()
}
