//! Answers as exporters read them: in the encoding of the request, errors as `google.rpc.Status`.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use prost::Message;
use serde_json::json;

use super::wire;

/// Encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl Encoding {
    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// The encoding that a request says it has.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        let known = [Self::Protobuf, Self::Json];
        known
            .into_iter()
            .find(|encoding| essence.eq_ignore_ascii_case(encoding.media_type()))
    }
}

/// What of a request was refused by itself, while the rest was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// How many.
    pub count: usize,
    /// Why the first was.
    pub why: Option<String>,
}

impl Rejected {
    /// One more.
    pub fn add(&mut self, why: String) {
        self.count += 1;
        self.why.get_or_insert(why);
    }

    /// These and those.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.why = self.why.take().or(other.why);
    }

    fn message(&self) -> String {
        let why = self.why.as_deref().unwrap_or_default();
        match self.count {
            0 | 1 => why.to_owned(),
            count => format!("{why} (the first of {count})"),
        }
    }
}

/// Body of a 200. `what` is the member of JSON that counts: `rejectedSpans` or `rejectedLogRecords`.
pub fn success(encoding: Encoding, what: &str, rejected: &Rejected) -> Vec<u8> {
    let count = i64::try_from(rejected.count).unwrap_or(i64::MAX);
    match (encoding, count) {
        (Encoding::Protobuf, 0) => Vec::new(),
        (Encoding::Json, 0) => b"{}".to_vec(),
        (Encoding::Protobuf, rejected_count) => wire::Response {
            partial_success: Some(wire::PartialSuccess {
                rejected: rejected_count,
                error_message: rejected.message(),
            }),
        }
        .encode_to_vec(),
        (Encoding::Json, count) => {
            // 64-bit numbers are text in the JSON form of protobuf.
            let partial = json!({ what: count.to_string(), "errorMessage": rejected.message() });
            json!({ "partialSuccess": partial }).to_string().into_bytes()
        }
    }
}

/// Body of an answer that is none of success.
pub fn status_body(encoding: Encoding, status: u16, message: &str) -> Vec<u8> {
    let code = grpc_code(status);
    match encoding {
        Encoding::Protobuf => wire::RpcStatus {
            code,
            message: message.to_owned(),
        }
        .encode_to_vec(),
        Encoding::Json => json!({ "code": code, "message": message })
            .to_string()
            .into_bytes(),
    }
}

/// The code of gRPC that says what the status says.
const fn grpc_code(status: u16) -> i32 {
    match status {
        400 | 413 | 415 => 3,
        401 => 16,
        403 => 7,
        404 => 5,
        405 => 12,
        408 => 4,
        429 => 8,
        503 => 14,
        _ => 13,
    }
}
