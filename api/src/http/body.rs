//! Reading a request's body: never more bytes than the route takes, never longer than it may last, and never more
//! bytes over all requests than the process has room for.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use ruche_domain::limits::OVERLOADED_RETRY_AFTER_MS;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Refusal;
use crate::error_codes as code;
use crate::limits::{BODY_BYTES_IN_FLIGHT_MAX, BODY_WAIT_MAX, LINGER_BYTES_MAX, LINGER_WAIT_MAX};

const KIB: usize = 1_024;

/// Room for bodies in memory, in KiB, shared by all requests.
#[derive(Clone)]
pub struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BODY_BYTES_IN_FLIGHT_MAX / KIB)))
    }
}

/// A body, and its room in memory for as long as it is needed.
pub struct Read {
    /// The bytes as sent.
    pub bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl Budget {
    /// Reads the whole body.
    ///
    /// # Errors
    /// `BODY_TOO_LARGE`, `REQUEST_TIMEOUT`, `OVERLOADED`, or `BAD_REQUEST` for a body that breaks off.
    pub async fn read(&self, headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Read, Refusal> {
        // Without a length the body may grow to the limit, so that much room is taken.
        let announced = announced_length(headers)?.unwrap_or(bytes_max);
        if announced > bytes_max {
            linger(&mut body.into_data_stream()).await;
            return Err(too_large(bytes_max));
        }
        let room = self.hold(announced)?;
        let bytes = timeout(BODY_WAIT_MAX, collect(body, announced, bytes_max))
            .await
            .map_err(|_| {
                let message = format!("the body did not arrive within {} s", BODY_WAIT_MAX.as_secs());
                Refusal::new(StatusCode::REQUEST_TIMEOUT, code::REQUEST_TIMEOUT, message)
            })??;
        Ok(Read { bytes, _room: room })
    }

    /// Room for so many bytes, for as long as it is kept.
    ///
    /// # Errors
    /// `OVERLOADED`.
    pub fn hold(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let kib = u32::try_from(bytes.div_ceil(KIB).max(1)).unwrap_or(u32::MAX);
        self.0
            .clone()
            .try_acquire_many_owned(kib)
            .map_err(|_| Refusal::overloaded("too many bytes are being received", OVERLOADED_RETRY_AFTER_MS))
    }
}

/// Gives back what is not needed of a room, once so many bytes are known to be enough.
pub fn shrink(room: &mut OwnedSemaphorePermit, bytes: usize) {
    let needed = bytes.div_ceil(KIB).max(1);
    // What is split off comes free when it is dropped.
    drop(room.split(room.num_permits().saturating_sub(needed)));
}

async fn collect(body: Body, announced: usize, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let mut stream = body.into_data_stream();
    // The announced length is a claim; memory is taken as bytes come.
    let mut bytes = Vec::with_capacity(announced.min(64 * KIB));
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Refusal::bad_request("the body broke off"))?;
        if bytes.len() + chunk.len() > bytes_max {
            linger(&mut stream).await;
            return Err(too_large(bytes_max));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Reads on for a moment and throws away what comes, so that a client that is still sending gets to read the refusal
/// in place of a broken connection.
async fn linger(stream: &mut BodyDataStream) {
    let discard = async {
        let mut left = LINGER_BYTES_MAX;
        while let Some(Ok(chunk)) = stream.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // Who sends more, or more slowly, gets the broken connection.
    let _in_time = timeout(LINGER_WAIT_MAX, discard).await;
}

fn too_large(bytes_max: usize) -> Refusal {
    let message = format!("a body has at most {bytes_max} bytes here");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, code::BODY_TOO_LARGE, message)
}

fn announced_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(value) = headers.get(CONTENT_LENGTH) else {
        return Ok(None);
    };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length
        .map(Some)
        .ok_or_else(|| Refusal::bad_request("Content-Length is not a number"))
}

/// Refuses every body that is not plain text in UTF-8 of one of the media types. A form or plain text never passes:
/// those are what another site's page can send without being asked.
///
/// # Errors
/// `UNSUPPORTED_MEDIA_TYPE`.
pub fn require_media_type(headers: &HeaderMap, wanted: &[&str]) -> Result<(), Refusal> {
    let refuse = |what: String| {
        let message = format!("{what}; send {}", wanted.join(" or "));
        Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code::UNSUPPORTED_MEDIA_TYPE,
            message,
        )
    };
    let encoding = headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(refuse("encoded bodies are not taken".to_owned()));
    }
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let value = value.ok_or_else(|| refuse("Content-Type is missing".to_owned()))?;
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    if !wanted.iter().any(|wanted| essence.eq_ignore_ascii_case(wanted)) {
        return Err(refuse(format!("{essence:?} is not taken")));
    }
    for parameter in parts.filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let utf8 = value.trim_matches('"').eq_ignore_ascii_case("utf-8");
        if name.trim().eq_ignore_ascii_case("charset") && !utf8 {
            return Err(refuse("bodies are UTF-8".to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_gives_back_what_is_not_needed() {
        let budget = Budget::default();
        let mut room = budget
            .hold(BODY_BYTES_IN_FLIGHT_MAX)
            .unwrap_or_else(|_| panic!("there is room"));
        assert!(budget.hold(1).is_err(), "all of it is taken");
        shrink(&mut room, KIB + 1);
        assert_eq!(room.num_permits(), 2);
        assert!(budget.hold(BODY_BYTES_IN_FLIGHT_MAX - 2 * KIB).is_ok());
        shrink(&mut room, 8 * KIB);
        assert_eq!(room.num_permits(), 2, "it does not grow");
    }
}
