//! Subscriptions of tenants and roles, over graphql-transport-ws.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{World, operation, unknown};

/// Far above what an answer takes; bounds a test that would otherwise hang.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub async fn open(url: &str, key: &str) -> Self {
        let address = format!("{}/graphql", url.replacen("http", "ws", 1));
        let mut request = address.into_client_request().expect("an address");
        let protocol = HeaderValue::from_static("graphql-transport-ws");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let (socket, _) = connect_async(request).await.expect("an upgrade");
        let mut socket = Self(socket);
        socket
            .send(json!({ "type": "connection_init", "payload": { "apiKey": key } }))
            .await;
        assert_eq!(socket.next().await["type"], "connection_ack");
        socket
    }

    pub async fn send(&mut self, message: Value) {
        self.0
            .send(Message::text(message.to_string()))
            .await
            .expect("sent");
    }

    async fn subscribe(&mut self, id: &str, session: &Value) {
        let payload = json!({ "query": operation("sessionEvents"), "variables": { "session": session } });
        self.send(json!({ "id": id, "type": "subscribe", "payload": payload }))
            .await;
    }

    async fn subscribe_to_turns(&mut self, id: &str) {
        let payload = json!({ "query": operation("turnsReady") });
        self.send(json!({ "id": id, "type": "subscribe", "payload": payload }))
            .await;
    }

    pub async fn next(&mut self) -> Value {
        loop {
            let message = timeout(PATIENCE, self.0.next())
                .await
                .expect("in time")
                .expect("open")
                .expect("a frame");
            if let Message::Text(text) = message {
                return serde_json::from_str(text.as_str()).expect("JSON");
            }
        }
    }
}

fn run(conversation: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(conversation);
}

/// Gives the agent `shop` a turn in the ledger of a key.
fn give_turn(world: &World, key: &str, interlocutor: &str) {
    let submit = "mutation ($who: String!, $key: String!) {
        startSession(input: { idempotencyKey: $who, externalId: $who }) { __typename }
        submitMessage(input: { idempotencyKey: $key, text: \"x\", session: { externalId: $who },
            lane: { agent: \"shop\", interlocutor: $who, channel: \"web\" } }) { __typename } }";
    let (_, body) = world.ask(
        key,
        submit,
        &json!({ "who": interlocutor, "key": format!("turn-{interlocutor}") }),
    );
    assert!(body.contains("SubmitMessagePayload"), "{body}");
}

/// Events come to readers; others are told that they may not.
pub(super) fn each_role(world: &World, keys: &[(&str, String)], ids: &Value) {
    let admin = &keys.iter().find(|(role, _)| *role == "admin").expect("a key").1;
    give_turn(world, admin, "ann");
    run(async {
        for (role, key) in keys {
            let mut socket = Socket::open(&world.server.url, key).await;
            socket.subscribe("1", &ids["session"]).await;
            let first = socket.next().await;
            let told = first.to_string();
            if matches!(*role, "reader" | "admin") {
                assert_eq!(
                    first["payload"]["data"]["sessionEvents"]["type"], "session.started",
                    "{role}: {told}"
                );
            } else {
                assert!(told.contains("\"FORBIDDEN\""), "{role}: {told}");
            }
            let mut socket = Socket::open(&world.server.url, key).await;
            socket.subscribe_to_turns("1").await;
            let first = socket.next().await;
            if matches!(*role, "reader" | "writer" | "admin") {
                let turn = &first["payload"]["data"]["turnsReady"];
                assert!(turn["turnId"].is_string(), "{role}: {first}");
            } else {
                assert!(first.to_string().contains("\"FORBIDDEN\""), "{role}: {first}");
            }
        }
    });
}

#[test]
fn the_sessions_of_another_tenant_are_as_silent_as_those_of_nobody() {
    let world = World::new();
    let theirs = world.ids();
    world.record_as_other();
    // The other tenant's own session of the same name.
    let own = "{ sessions { nodes { id } } }";
    let (_, body) = world.ask(&world.other, own, &Value::Null);
    let own: Value = serde_json::from_str(&body).expect("JSON");
    let own = &own["data"]["sessions"]["nodes"][0]["id"];
    assert_ne!(*own, theirs["session"]);
    run(async {
        let mut socket = Socket::open(&world.server.url, &world.other).await;
        socket.subscribe("theirs", &theirs["session"]).await;
        socket.subscribe("nobody's", &unknown(&theirs)["session"]).await;
        socket.subscribe("own", own).await;
        // All three read the same ledger from its beginning; when the own one has told its last record, the others,
        // begun before it, had every chance.
        let mut count = 0;
        while count < 9 {
            let message = socket.next().await;
            assert_eq!(message["id"], "own", "{message}");
            assert_eq!(message["type"], "next", "{message}");
            count += 1;
        }
    });
}

#[test]
fn the_turns_of_another_tenant_are_nobodys() {
    let (world, [(_, theirs)]) = World::new().with_keys(["writer"]);
    // Both have an agent of this name; the turn that waits longest is the other tenant's.
    give_turn(&world, &theirs, "ann");
    give_turn(&world, &world.other, "bob");
    run(async {
        let mut socket = Socket::open(&world.server.url, &world.other).await;
        socket.subscribe_to_turns("own").await;
        let first = socket.next().await;
        let turn = &first["payload"]["data"]["turnsReady"];
        assert_eq!(turn["lane"]["interlocutor"], "bob", "{first}");
    });
}
