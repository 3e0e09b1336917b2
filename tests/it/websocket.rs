//! graphql-transport-ws against a real server: close codes, and a subscription that catches up and goes on live.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::blocking::Client;
use ruche_tests::server::{Home, Server, graphql};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
/// Far above what an answer takes; bounds a test that would otherwise hang.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    _folder: tempfile::TempDir,
    server: Server,
    key: String,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let key = home.new_key("acme", &["writer", "reader"]).expect("a key");
        let server = home.serve().expect("the server starts");
        Self {
            _folder: folder,
            server,
            key,
        }
    }

    /// Runs a conversation over WebSockets, on a runtime of its own.
    fn run(&self, conversation: impl AsyncFnOnce(&Self)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(conversation(self));
    }

    async fn connect(&self, protocol: &str) -> Socket {
        let address = format!("{}/graphql", self.server.url.replacen("http", "ws", 1));
        let mut request = address.into_client_request().expect("an address");
        let protocol = HeaderValue::from_str(protocol).expect("a header");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let (socket, _) = connect_async(request).await.expect("an upgrade");
        Socket(socket)
    }

    async fn authenticated(&self) -> Socket {
        let mut socket = self.connect("graphql-transport-ws").await;
        socket
            .send(json!({ "type": "connection_init", "payload": { "apiKey": self.key } }))
            .await;
        assert_eq!(socket.next().await["type"], "connection_ack");
        socket
    }

    async fn ask(&self, query: &'static str, variables: Value) -> Value {
        let (url, key) = (self.server.url.clone(), self.key.clone());
        // The client brings a runtime of its own, which must not end inside of this one.
        let asked =
            tokio::task::spawn_blocking(move || graphql(&Client::new(), &url, &key, query, variables));
        asked.await.expect("no panic").expect("an answer")
    }

    async fn start(&self, external: &str) -> Value {
        let query = "mutation ($input: StartSessionInput!) { startSession(input: $input) {
            ... on StartSessionPayload { sessionId position } } }";
        let input = json!({ "input": { "idempotencyKey": external, "externalId": external } });
        self.ask(query, input).await["startSession"].clone()
    }

    async fn say(&self, external: &str, text: &str) {
        let query = "mutation ($input: SubmitMessageInput!) { submitMessage(input: $input) { __typename } }";
        let input = json!({ "input": { "idempotencyKey": text, "session": { "externalId": external }, "text": text } });
        assert_eq!(
            self.ask(query, input).await["submitMessage"]["__typename"],
            "SubmitMessagePayload"
        );
    }
}

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn send(&mut self, message: Value) {
        self.0
            .send(Message::text(message.to_string()))
            .await
            .expect("sent");
    }

    async fn message(&mut self) -> Message {
        loop {
            let message = timeout(PATIENCE, self.0.next())
                .await
                .expect("in time")
                .expect("open")
                .expect("a frame");
            if !matches!(message, Message::Ping(_) | Message::Pong(_)) {
                return message;
            }
        }
    }

    async fn next(&mut self) -> Value {
        match self.message().await {
            Message::Text(text) => serde_json::from_str(text.as_str()).expect("JSON"),
            other => panic!("{other:?}"),
        }
    }

    async fn close_code(&mut self) -> u16 {
        loop {
            match self.message().await {
                Message::Close(Some(frame)) => return frame.code.into(),
                Message::Close(None) => panic!("closed without a code"),
                _ => {}
            }
        }
    }
}

fn subscribe(id: &str, query: &str) -> Value {
    json!({ "type": "subscribe", "id": id, "payload": { "query": query } })
}

const ME: &str = "{ me { roles } }";

#[test]
fn close_codes_say_what_the_client_did_wrong() {
    World::new().run(async |world| {
        let mut other = world.connect("graphql-transport-ws").await;
        other.send(json!({ "type": "start" })).await;
        assert_eq!(other.close_code().await, 4400);

        for payload in [
            json!({}),
            json!({ "apiKey": "nonsense" }),
            json!({ "Authorization": "Basic x" }),
        ] {
            let mut stranger = world.connect("graphql-transport-ws").await;
            stranger
                .send(json!({ "type": "connection_init", "payload": payload }))
                .await;
            assert_eq!(stranger.close_code().await, 4401);
        }
        let mut early = world.connect("graphql-transport-ws").await;
        early.send(subscribe("1", ME)).await;
        assert_eq!(early.close_code().await, 4401);

        let mut twice = world.authenticated().await;
        twice
            .send(json!({ "type": "connection_init", "payload": { "apiKey": world.key } }))
            .await;
        assert_eq!(twice.close_code().await, 4429);

        let mut doubled = world.authenticated().await;
        let session = world.start("d").await;
        let live = format!(
            "subscription {{ sessionEvents(sessionId: {}) {{ type }} }}",
            session["sessionId"]
        );
        doubled.send(subscribe("1", &live)).await;
        doubled.send(subscribe("1", &live)).await;
        assert_eq!(doubled.close_code().await, 4409);
    });
}

#[test]
fn what_is_no_websocket_message_is_told_too() {
    let frame = |payload: Vec<u8>, code, last| Message::Frame(Frame::message(payload, code, last));
    let text = OpCode::Data(Data::Text);
    let more = OpCode::Data(Data::Continue);
    World::new().run(async |world| {
        for (frames, code) in [
            (vec![frame(vec![0xff], text, true)], 1007),
            (vec![frame(vec![b'x'], more, true)], 1002),
            // In two frames, so that all of it has been read when the server closes.
            (
                vec![
                    frame(vec![b'x'; 1_048_576], text, false),
                    frame(vec![b'x'], more, true),
                ],
                1009,
            ),
        ] {
            let mut socket = world.connect("graphql-transport-ws").await;
            for frame in frames {
                socket.0.send(frame).await.expect("sent");
            }
            assert_eq!(socket.close_code().await, code);
        }
    });
}

#[test]
fn silence_before_init_is_ended_with_4408() {
    World::new().run(async |world| {
        let mut silent = world.connect("graphql-transport-ws").await;
        assert_eq!(silent.close_code().await, 4408);
    });
}

#[test]
fn queries_mutations_and_faults_run_over_the_socket() {
    World::new().run(async |world| {
        let mut socket = world.authenticated().await;
        socket
            .send(json!({ "type": "ping", "payload": { "n": 1 } }))
            .await;
        assert_eq!(
            socket.next().await,
            json!({ "type": "pong", "payload": { "n": 1 } })
        );
        socket.send(subscribe("q", ME)).await;
        let next = socket.next().await;
        assert_eq!((&next["type"], &next["id"]), (&json!("next"), &json!("q")));
        assert_eq!(
            next["payload"]["data"]["me"]["roles"],
            json!(["reader", "writer"])
        );
        assert_eq!(socket.next().await, json!({ "type": "complete", "id": "q" }));
        let levels = (0..29).map(|n| format!("fragment F{n} on Query{{...F{0} ...F{0}}}", n + 1));
        let levels = levels.collect::<String>();
        let multiplied = format!("{{...F0}}{levels}fragment F29 on Query{{me{{tenant}}}}");
        for (query, code) in [
            ("{", "GRAPHQL_PARSE_FAILED"),
            ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
            (&multiplied, "QUERY_LIMIT_EXCEEDED"),
        ] {
            socket.send(subscribe("e", query)).await;
            let error = socket.next().await;
            assert_eq!(
                (&error["type"], &error["payload"][0]["extensions"]["code"]),
                (&json!("error"), &json!(code))
            );
        }
    });
}

#[test]
fn a_subscription_catches_up_and_goes_on_live_without_a_gap() {
    World::new().run(async |world| {
        let session = world.start("s").await;
        world.say("s", "before").await;
        world.start("another").await;
        let mut socket = world.authenticated().await;
        let query = format!(
            "subscription {{ sessionEvents(sessionId: {}) {{ position type payload }} }}",
            session["sessionId"]
        );
        socket.send(subscribe("live", &query)).await;
        let mut positions = Vec::new();
        let mut seen = async |socket: &mut Socket, kind: &str| {
            let next = socket.next().await;
            let record = next["payload"]["data"]["sessionEvents"].clone();
            assert_eq!(record["type"], kind, "{next}");
            positions.push(record["position"].clone());
            record
        };
        seen(&mut socket, "session.started").await;
        assert_eq!(
            seen(&mut socket, "message.received").await["payload"]["text"],
            "before"
        );
        world.say("s", "live").await;
        let live = seen(&mut socket, "message.received").await;
        assert_eq!(live["payload"]["text"], "live");

        let from = format!(
            "subscription {{ sessionEvents(sessionId: {}, from: {}) {{ payload }} }}",
            session["sessionId"], live["position"]
        );
        socket.send(json!({ "type": "complete", "id": "live" })).await;
        socket.send(subscribe("again", &from)).await;
        let next = socket.next().await;
        assert_eq!(
            (
                &next["id"],
                &next["payload"]["data"]["sessionEvents"]["payload"]["text"]
            ),
            (&json!("again"), &json!("live"))
        );
        let bad = "subscription { sessionEvents(sessionId: \"x\") { type } }";
        socket.send(subscribe("bad", bad)).await;
        let error = socket.next().await;
        assert_eq!(
            (&error["id"], &error["type"]),
            (&json!("bad"), &json!("error")),
            "{error}"
        );
    });
}

#[test]
fn a_closing_server_tells_its_connections() {
    let world = World::new();
    let World { _folder, server, key } = world;
    let (url, key) = (server.url.clone(), key);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async move {
        let address = format!("{}/graphql", url.replacen("http", "ws", 1));
        let mut request = address.into_client_request().expect("an address");
        request.headers_mut().insert(
            "sec-websocket-protocol",
            HeaderValue::from_static("graphql-transport-ws"),
        );
        let (socket, _) = connect_async(request).await.expect("an upgrade");
        let mut socket = Socket(socket);
        socket
            .send(json!({ "type": "connection_init", "payload": { "apiKey": key } }))
            .await;
        assert_eq!(socket.next().await["type"], "connection_ack");
        let stopped = tokio::task::spawn_blocking(move || server.stop());
        assert_eq!(socket.close_code().await, 1001);
        drop(socket);
        assert!(
            stopped.await.expect("no panic").expect("stopped"),
            "the server ended well"
        );
    });
}

#[test]
fn turns_that_get_ready_are_told_as_they_do() {
    World::new().run(async |world| {
        let submit = async |id: &'static str, agent: &str| {
            let query = "mutation ($input: SubmitMessageInput!) { submitMessage(input: $input) {
                __typename ... on SubmitMessagePayload { turnId } ... on Refusal { message } } }";
            world.start(id).await;
            let lane = json!({ "agent": agent, "interlocutor": id, "channel": "web" });
            let input =
                json!({ "idempotencyKey": format!("turn-{id}"), "session": { "externalId": id }, "lane": lane, "text": "hello" });
            let told = world.ask(query, json!({ "input": input })).await["submitMessage"].clone();
            assert_eq!(told["__typename"], "SubmitMessagePayload", "{told}");
            told["turnId"].clone()
        };
        // One before anybody listens, one of somebody else, and one that comes while somebody does.
        let first = submit("c-1", "shop").await;
        submit("c-2", "bank").await;
        let mut socket = world.authenticated().await;
        let query =
            "subscription { turnsReady(agent: \"shop\") { turnId notBefore lane { interlocutor channel } } }";
        socket.send(subscribe("ready", query)).await;
        let told = socket.next().await["payload"]["data"]["turnsReady"].clone();
        assert_eq!(
            (&told["turnId"], &told["lane"]["interlocutor"]),
            (&first, &json!("c-1")),
            "{told}"
        );
        let second = submit("c-3", "shop").await;
        let told = socket.next().await["payload"]["data"]["turnsReady"].clone();
        assert_eq!(
            (&told["turnId"], &told["lane"]["interlocutor"]),
            (&second, &json!("c-3")),
            "{told}"
        );
    });
}

#[test]
fn a_request_for_approval_is_told_when_it_is_made() {
    World::new().run(async |world| {
        let mut socket = world.authenticated().await;
        let query = "subscription { approvalChanges(from: \"1:0\") { id state record { type } } }";
        socket.send(subscribe("asked", query)).await;
        world.start("s").await;
        let lane = json!({ "agent": "shop", "interlocutor": "ann", "channel": "api" });
        let submit = "mutation ($lane: LaneInput!) {
            submitMessage(input: { idempotencyKey: \"m\", session: { externalId: \"s\" }, lane: $lane, text: \"x\" }) {
                __typename }
            claimTurn(input: { idempotencyKey: \"c\", lane: $lane }) {
                ... on ClaimTurnPayload { turnId lease { id epoch } } } }";
        let claim = world.ask(submit, json!({ "lane": lane })).await["claimTurn"].clone();
        let propose = "mutation ($input: ProposeActionInput!) { proposeAction(input: $input) {
            ... on ProposeActionPayload { approval { id } } ... on Refusal { message } } }";
        let input = json!({ "idempotencyKey": "p", "lane": lane, "turnId": claim["turnId"], "lease": claim["lease"],
            "tool": "delete_file", "arguments": "{}", "businessKey": "a" });
        let asked = world.ask(propose, json!({ "input": input })).await["proposeAction"].clone();
        let told = socket.next().await["payload"]["data"]["approvalChanges"].clone();
        assert_eq!(
            told,
            json!({ "id": asked["approval"]["id"], "state": "REQUESTED", "record": { "type": "approval.requested" } }),
            "{asked}"
        );
    });
}
