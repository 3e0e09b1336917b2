//! Messages and close codes of graphql-transport-ws (the protocol of the library graphql-ws, `PROTOCOL.md`).

use ruche_domain::strict_json::{self, Profile};
use serde_json::{Map, Value, json};

use crate::graphql::{Params, ParamsFault};
use crate::limits::SOCKET_MESSAGE_BYTES_MAX;

/// Name of the sub-protocol.
pub(super) const PROTOCOL: &str = "graphql-transport-ws";
/// Longest id of an operation.
const ID_BYTES_MAX: usize = 256;

/// Why the server closes a connection: code and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Close {
    pub code: u16,
    pub reason: String,
}

impl Close {
    fn new(code: u16, reason: impl Into<String>) -> Self {
        // A reason has at most 123 bytes (RFC 6455 §5.5); ours are ASCII apart from ids.
        let mut reason: String = reason.into();
        while reason.len() > 123 {
            reason.pop();
        }
        Self { code, reason }
    }

    /// The process is closing; come back later.
    pub(super) fn going_away() -> Self {
        Self::new(1001, "the server is closing")
    }

    /// A message that is none of the protocol's.
    pub(super) fn invalid_message(why: &str) -> Self {
        Self::new(4400, format!("Invalid message: {why}"))
    }

    /// What cannot be read as a WebSocket message at all. Nothing if the connection is simply gone.
    pub(super) fn unreadable(error: &str) -> Option<Self> {
        // The words of tungstenite (`src/error.rs`); a test holds them.
        let kinds = [
            (1009, "Space limit exceeded: "),
            (1007, "UTF-8 encoding error: "),
            (1002, "WebSocket protocol error: "),
        ];
        // A connection that ends without a word is an error of the protocol for the library, too.
        if error.contains("without closing handshake") {
            return None;
        }
        let known = kinds.iter().find(|(_, kind)| error.starts_with(kind));
        known.map(|(code, kind)| Self::new(*code, &error[kind.len()..]))
    }

    /// An operation before the key was accepted, or a key that is not or no longer good.
    pub(super) fn unauthorized() -> Self {
        Self::new(4401, "Unauthorized")
    }

    /// The client does not speak the protocol.
    pub(super) fn subprotocol() -> Self {
        Self::new(4406, "Subprotocol not acceptable")
    }

    /// `connection_init` did not come in time.
    pub(super) fn init_timeout() -> Self {
        Self::new(4408, "Connection initialisation timeout")
    }

    /// An id that is in use.
    pub(super) fn duplicate(id: &str) -> Self {
        Self::new(4409, format!("Subscriber for {id} already exists"))
    }

    /// A second `connection_init`.
    pub(super) fn too_many_inits() -> Self {
        Self::new(4429, "Too many initialisation requests")
    }

    /// Too many connections; come back later.
    pub(super) fn overloaded() -> Self {
        Self::new(1013, "too many connections; try again later")
    }

    /// The store failed while the key was looked up.
    pub(super) fn unavailable() -> Self {
        Self::new(1013, "the server cannot look up the key; try again later")
    }
}

/// A message of a client.
#[derive(Debug, PartialEq)]
pub(super) enum FromClient {
    /// `connection_init`, with the key if the payload has one.
    Init { key: Option<String> },
    /// `ping`, with its payload.
    Ping(Option<Value>),
    /// `pong`.
    Pong,
    /// `subscribe`: an operation of any kind. One that cannot be read is answered with an error of its own.
    Subscribe {
        id: String,
        params: Result<Params, ParamsFault>,
    },
    /// `complete`: the client wants no more of an operation.
    Complete { id: String },
}

impl FromClient {
    /// Reads a message.
    ///
    /// # Errors
    /// The connection is to be closed: this is no message of the protocol.
    pub(super) fn read(text: &str) -> Result<Self, Close> {
        let invalid = Close::invalid_message;
        let value = strict_json::read(text.as_bytes(), SOCKET_MESSAGE_BYTES_MAX, Profile::Exact)
            .map_err(|fault| invalid(fault.kind.reason()))?;
        let Value::Object(mut members) = value else {
            return Err(invalid("not an object"));
        };
        let Some(Value::String(kind)) = members.remove("type") else {
            return Err(invalid("no type"));
        };
        let payload = members.remove("payload");
        match kind.as_str() {
            "connection_init" => Ok(Self::Init {
                key: key_of(object(payload)?),
            }),
            "ping" => object(payload).map(|payload| Self::Ping(payload.map(Value::Object))),
            "pong" => object(payload).map(|_| Self::Pong),
            "subscribe" => {
                let id = id_of(members.remove("id"))?;
                let payload = object(payload)?.ok_or_else(|| invalid("subscribe without payload"))?;
                if !payload.get("query").is_some_and(Value::is_string) {
                    return Err(invalid("subscribe without query"));
                }
                let params = Params::from_value(Value::Object(payload));
                Ok(Self::Subscribe { id, params })
            }
            "complete" => Ok(Self::Complete {
                id: id_of(members.remove("id"))?,
            }),
            _ => Err(invalid("unknown type")),
        }
    }
}

fn object(payload: Option<Value>) -> Result<Option<Map<String, Value>>, Close> {
    match payload {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(members)) => Ok(Some(members)),
        Some(_) => Err(Close::invalid_message("payload is not an object")),
    }
}

fn id_of(id: Option<Value>) -> Result<String, Close> {
    match id {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= ID_BYTES_MAX => Ok(id),
        _ => Err(Close::invalid_message("no id")),
    }
}

/// The key in the payload of `connection_init`: `{"Authorization": "Bearer <key>"}` as clients send it, or
/// `{"apiKey": "<key>"}`. Headers of the upgrade are not looked at: a browser adds those for any site.
fn key_of(payload: Option<Map<String, Value>>) -> Option<String> {
    let payload = payload?;
    let text = |name: &str| payload.get(name).and_then(Value::as_str);
    if let Some(key) = text("apiKey") {
        return Some(key.to_owned());
    }
    let value = text("Authorization").or_else(|| text("authorization"))?;
    let (scheme, key) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| key.trim().to_owned())
}

/// `connection_ack`.
pub(super) fn ack() -> String {
    json!({ "type": "connection_ack" }).to_string()
}

/// `pong` with the payload of its ping.
pub(super) fn pong(payload: Option<Value>) -> String {
    match payload {
        Some(payload) => json!({ "type": "pong", "payload": payload }).to_string(),
        None => json!({ "type": "pong" }).to_string(),
    }
}

/// `next`: an answer, or one item of a subscription.
pub(super) fn next(id: &str, answer: Value) -> String {
    json!({ "id": id, "type": "next", "payload": answer }).to_string()
}

/// `error`: the operation did not run; it ends with this.
pub(super) fn error(id: &str, errors: Value) -> String {
    json!({ "id": id, "type": "error", "payload": errors }).to_string()
}

/// `complete`: nothing more comes of the operation.
pub(super) fn complete(id: &str) -> String {
    json!({ "id": id, "type": "complete" }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_protocol_are_read() {
        let read = |text: &str| FromClient::read(text).unwrap();
        let init = |text: &str| match read(text) {
            FromClient::Init { key } => key,
            other => panic!("{other:?}"),
        };
        assert_eq!(init(r#"{"type":"connection_init"}"#), None);
        assert_eq!(
            init(r#"{"type":"connection_init","payload":{"apiKey":"k"}}"#).as_deref(),
            Some("k")
        );
        let bearer = r#"{"type":"connection_init","payload":{"Authorization":"Bearer k"}}"#;
        assert_eq!(init(bearer).as_deref(), Some("k"));
        assert_eq!(read(r#"{"type":"pong","payload":null}"#), FromClient::Pong);
        let subscribe = r#"{"type":"subscribe","id":"1","payload":{"query":"{ me }"}}"#;
        assert!(matches!(read(subscribe), FromClient::Subscribe { id, params: Ok(_) } if id == "1"));
    }

    #[test]
    fn everything_else_closes_with_4400() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"type":"start"}"#,
            r#"{"type":"subscribe","id":"1"}"#,
            r#"{"type":"subscribe","payload":{"query":"{ me }"}}"#,
            r#"{"type":"subscribe","id":"","payload":{"query":"{ me }"}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":1}}"#,
            r#"{"type":"complete"}"#,
            r#"{"type":"ping","payload":1}"#,
            r#"{"type":"ping","type":"ping"}"#,
        ] {
            assert_eq!(FromClient::read(text).expect_err(text).code, 4400, "{text}");
        }
    }

    #[test]
    fn reasons_fit_a_close_frame() {
        assert!(Close::duplicate(&"é".repeat(200)).reason.len() <= 123);
    }
}
