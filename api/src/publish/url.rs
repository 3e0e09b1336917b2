//! Tree heads to a URL, with PUT: `<url>/<name>/checkpoint`.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ruche_ledger::tree_head::SignedTreeHead;
use tokio::time::timeout;

use crate::limits::PUBLISH_WAIT_MAX;

/// Whoever takes tree heads over HTTP.
#[derive(Clone)]
pub struct UrlTarget {
    base: String,
    /// What of the URL is told: a path may hold a token.
    host: String,
    client: Sender,
}

/// Plain HTTP asks for no certificates, so that it works on a system that has none.
#[derive(Clone)]
enum Sender {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl UrlTarget {
    /// A target below an `http://` or `https://` URL. TLS trusts the certificates of the system, or those of the file
    /// that `SSL_CERT_FILE` names.
    ///
    /// # Errors
    /// When it is no such URL, or the system has no certificates.
    pub fn new(url: &str) -> Result<Self, String> {
        // What is refused is not printed: it may hold a password, and ends in a journal.
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("--publish-url is not a URL: {error}"))?;
        let authority = uri
            .authority()
            .map(http::uri::Authority::as_str)
            .unwrap_or_default();
        if authority.is_empty() || authority.contains('@') || uri.query().is_some() {
            return Err(
                "--publish-url is not of the form https://host/path, without user and query".to_owned(),
            );
        }
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new());
        let client = match uri.scheme_str() {
            Some("http") => Sender::Plain(builder.build(HttpConnector::new())),
            Some("https") => {
                let connector = HttpsConnectorBuilder::new()
                    .with_native_roots()
                    .map_err(|error| format!("no certificates to judge {authority} by: {error}"))?
                    .https_only()
                    .enable_http1()
                    .build();
                Sender::Tls(builder.build(connector))
            }
            _ => return Err("--publish-url does not start with https:// or http://".to_owned()),
        };
        Ok(Self {
            host: authority.to_owned(),
            base: url.trim_end_matches('/').to_owned(),
            client,
        })
    }

    /// Sends a tree head; tells to which host, and what went wrong.
    pub async fn put(&self, name: &str, head: &SignedTreeHead) -> (String, Result<(), String>) {
        let sent = self.send(&format!("{}/{name}/checkpoint", self.base), head).await;
        (format!("{}, {name}", self.host), sent)
    }

    async fn send(&self, place: &str, head: &SignedTreeHead) -> Result<(), String> {
        let request = Request::builder()
            .method(Method::PUT)
            .uri(place)
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::new(Bytes::copy_from_slice(head.as_bytes())))
            .map_err(|error| error.to_string())?;
        let answer = match &self.client {
            Sender::Plain(client) => client.request(request),
            Sender::Tls(client) => client.request(request),
        };
        let answer = timeout(PUBLISH_WAIT_MAX, answer)
            .await
            .map_err(|_| format!("no answer within {} s", PUBLISH_WAIT_MAX.as_secs()))?
            .map_err(|error| crate::error::chain(&error))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("answered {status}")),
        }
    }
}
