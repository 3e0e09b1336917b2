//! A connection to a server that is kept alive: one request behind the other.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::timeout;
use tower::ServiceExt;

use super::BenchError;
use crate::limits::{BENCH_ANSWER_BYTES_MAX, BENCH_ANSWER_WAIT_MAX};

/// Where requests go, and with which key.
pub struct Server {
    uri: Uri,
    host: HeaderValue,
    authorization: HeaderValue,
    connector: Connector,
}

/// Plain HTTP asks for no certificates, so that it works on a system that has none.
enum Connector {
    Plain(HttpConnector),
    Tls(HttpsConnector<HttpConnector>),
}

impl Server {
    /// The server at `http://host:port` or `https://host`; a path in front of `/graphql` is kept.
    ///
    /// # Errors
    /// When it is no such URL, or the key cannot be one.
    pub fn new(url: &str, key: &str) -> Result<Self, BenchError> {
        let form = "--url is of the form http://127.0.0.1:4000 or https://host, without user and query";
        let base = url.trim_end_matches('/').trim_end_matches("/graphql");
        let uri: Uri = format!("{base}/graphql")
            .parse()
            .map_err(|error| BenchError(format!("{form}: {error}")))?;
        let authority = uri.authority().map(http::uri::Authority::as_str);
        let authority = authority.filter(|name| !name.is_empty() && !name.contains('@'));
        let (Some(authority), None) = (authority, uri.query()) else {
            return Err(BenchError(form.to_owned()));
        };
        let mut plain = HttpConnector::new();
        plain.set_nodelay(true);
        plain.set_connect_timeout(Some(BENCH_ANSWER_WAIT_MAX));
        let connector = match uri.scheme_str() {
            Some("http") => Connector::Plain(plain),
            Some("https") => {
                plain.enforce_http(false);
                let tls = HttpsConnectorBuilder::new()
                    .with_native_roots()
                    .map_err(|error| BenchError(format!("no certificates to judge {authority} by: {error}")))?
                    .https_only()
                    .enable_http1()
                    .wrap_connector(plain);
                Connector::Tls(tls)
            }
            _ => return Err(BenchError(form.to_owned())),
        };
        let header = |text: String| HeaderValue::from_str(&text).ok();
        let host = header(authority.to_owned()).ok_or_else(|| BenchError(form.to_owned()))?;
        let authorization = header(format!("Bearer {key}")).ok_or_else(|| {
            BenchError("--key is not a key: `ruche keys new --role writer` makes one".into())
        })?;
        Ok(Self {
            uri,
            host,
            authorization,
            connector,
        })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let failed = |error: &dyn std::error::Error| crate::error::chain(error);
        let connecting = async {
            match &self.connector {
                Connector::Plain(connector) => {
                    let stream = connector.clone().oneshot(self.uri.clone()).await;
                    shake(stream.map_err(|error| failed(&error))?).await
                }
                Connector::Tls(connector) => {
                    let stream = connector.clone().oneshot(self.uri.clone()).await;
                    shake(stream.map_err(|error| failed(&*error))?).await
                }
            }
        };
        timeout(BENCH_ANSWER_WAIT_MAX, connecting)
            .await
            .unwrap_or_else(|_| Err(too_late()))
            .map_err(|reason| format!("no connection: {reason}"))
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::post(self.uri.path()).body(Full::new(body));
        if let Ok(request) = &mut request {
            let headers = request.headers_mut();
            headers.insert(HOST, self.host.clone());
            headers.insert(AUTHORIZATION, self.authorization.clone());
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let accept = HeaderValue::from_static("application/graphql-response+json");
            headers.insert(ACCEPT, accept);
        }
        request.expect("the path was part of a URL")
    }
}

async fn shake<T>(stream: T) -> Result<SendRequest<Full<Bytes>>, String>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(stream)
        .await
        .map_err(|error| crate::error::chain(&error))?;
    // Ends with the connection. What goes wrong there is told to whoever waits for the answer.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn too_late() -> String {
    format!("nothing within {} s", BENCH_ANSWER_WAIT_MAX.as_secs())
}

/// What a server answered.
pub struct Reply {
    /// Status of HTTP.
    pub status: StatusCode,
    /// `Retry-After`, seconds.
    pub retry_after_s: Option<u64>,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoReply {
    /// The request was not sent.
    NotSent(String),
    /// The request may have arrived.
    Lost,
}

/// One connection, made anew after it was lost.
pub struct Connection {
    server: Arc<Server>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// To this server, once it is needed.
    pub fn new(server: Arc<Server>) -> Self {
        Self { server, sender: None }
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// # Errors
    /// See [`NoReply`].
    pub async fn post(&mut self, body: Bytes) -> Result<Reply, NoReply> {
        let mut sender = self.sender().await.map_err(NoReply::NotSent)?;
        let answer = async {
            let answer = sender.send_request(self.server.request(body)).await;
            read(answer.map_err(|_| NoReply::Lost)?).await
        };
        let reply = timeout(BENCH_ANSWER_WAIT_MAX, answer)
            .await
            .unwrap_or(Err(NoReply::Lost))?;
        // A connection that did not answer in time, or that broke, is not used again.
        self.sender = Some(sender);
        Ok(reply)
    }

    /// A connection that takes a request now. One that the server closed while it was idle is made anew.
    async fn sender(&mut self) -> Result<SendRequest<Full<Bytes>>, String> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        self.server.connect().await
    }
}

async fn read(answer: Response<Incoming>) -> Result<Reply, NoReply> {
    let (head, body) = answer.into_parts();
    let retry_after = head.headers.get(RETRY_AFTER);
    let retry_after_s = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
    let body = Limited::new(body, BENCH_ANSWER_BYTES_MAX).collect().await;
    Ok(Reply {
        status: head.status,
        retry_after_s,
        body: body.map_err(|_| NoReply::Lost)?.to_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_with_and_without_its_path() {
        for (url, place) in [
            ("http://127.0.0.1:4000", "/graphql"),
            ("http://127.0.0.1:4000/", "/graphql"),
            ("http://127.0.0.1:4000/graphql", "/graphql"),
            ("http://[::1]:4000/ruche/graphql/", "/ruche/graphql"),
        ] {
            let server = Server::new(url, "ruche_key").unwrap();
            assert_eq!(server.uri.path(), place, "{url}");
        }
    }

    #[test]
    fn what_is_no_server_is_told_without_its_secrets() {
        for url in [
            "",
            "127.0.0.1:4000",
            "ftp://host",
            "http://me:pass@host",
            "http://host/?a=secret",
        ] {
            let Err(error) = Server::new(url, "ruche_key") else {
                panic!("{url} is taken")
            };
            assert!(error.0.starts_with("--url is of the form"), "{error}");
            assert!(
                !error.0.contains("pass") && !error.0.contains("secret"),
                "{error}"
            );
        }
        assert!(Server::new("http://host", "a\nkey").is_err());
    }
}
