//! Tree heads to somebody else: whoever keeps them can tell later if the ledger was rewritten.
//!
//! `<hex SHA-256 of the origin>/checkpoint` below a folder or a URL, the layout that C2SP tlog-witness gives to those who
//! watch many logs. A failure is told and counted; the next tree head is tried again and says all that this one said.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ruche_ledger::hash::Hash;
use ruche_ledger::tree_head::SignedTreeHead;

/// Longest wait for whoever takes the tree head. The sealing of this ledger waits as long.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Where tree heads go.
#[derive(Clone)]
pub struct Publisher {
    dir: Option<PathBuf>,
    url: Option<(reqwest::Client, String)>,
}

impl Publisher {
    /// To a folder, a URL, both or nowhere. The URL is plain HTTP; TLS is for a proxy on this host.
    ///
    /// # Errors
    /// When the URL is not one, or the HTTP client cannot be made.
    pub fn new(dir: Option<PathBuf>, url: Option<String>) -> Result<Self, String> {
        let url = match url {
            None => None,
            Some(url) if url.starts_with("http://") => {
                let client = reqwest::Client::builder().timeout(WAIT_MAX).build();
                Some((
                    client.map_err(|error| error.to_string())?,
                    url.trim_end_matches('/').to_owned(),
                ))
            }
            Some(url) => return Err(format!("{url:?} does not start with http://")),
        };
        Ok(Self { dir, url })
    }

    /// Publishes a tree head everywhere.
    pub async fn publish(&self, head: &SignedTreeHead) {
        let name = Hash::sha256(head.head().origin.as_bytes()).to_string();
        if let Some(dir) = &self.dir {
            let dir = dir.join(&name);
            told(
                &dir.display().to_string(),
                write(&dir, head).await.map_err(|error| error.to_string()),
            );
        }
        if let Some((client, url)) = &self.url {
            let url = format!("{url}/{name}/checkpoint");
            let sent = put(client, &url, head)
                .await
                .map_err(|error| crate::error::chain(&error));
            told(&url, sent);
        }
    }
}

fn told(target: &str, done: Result<(), String>) {
    if let Err(error) = done {
        metrics::counter!("ruche_publish_failures_total").increment(1);
        tracing::error!(target, error, "the tree head is not published");
    }
}

async fn write(dir: &Path, head: &SignedTreeHead) -> std::io::Result<()> {
    let (new, path) = (dir.join("checkpoint.new"), dir.join("checkpoint"));
    tokio::fs::create_dir_all(dir).await?;
    tokio::fs::write(&new, head.as_bytes()).await?;
    // Readers see the old tree head or the new one, never a part.
    tokio::fs::rename(&new, &path).await
}

async fn put(client: &reqwest::Client, url: &str, head: &SignedTreeHead) -> reqwest::Result<()> {
    let request = client
        .put(url)
        .header("content-type", "text/plain; charset=utf-8");
    request
        .body(head.as_bytes().to_vec())
        .send()
        .await?
        .error_for_status()
        .map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::{Path as UrlPath, State};
    use axum::routing::put;
    use ruche_ledger::keys::MasterSeed;
    use ruche_ledger::tree::TreeRoot;
    use ruche_ledger::tree_head::TreeHead;

    use super::*;

    fn head() -> SignedTreeHead {
        let signer = MasterSeed::from_slice(&[7; 32])
            .unwrap()
            .log_signer("log.example/x/e1")
            .unwrap();
        SignedTreeHead::sign(TreeHead::new("log.example/x/e1", TreeRoot::EMPTY), &signer).unwrap()
    }

    #[tokio::test]
    async fn a_folder_and_a_url_get_the_same_bytes_under_the_same_name() {
        type Taken = Arc<Mutex<Vec<(String, Vec<u8>)>>>;
        async fn take(State(taken): State<Taken>, UrlPath(name): UrlPath<String>, body: axum::body::Bytes) {
            taken.lock().unwrap().push((name, body.to_vec()));
        }
        let taken = Taken::default();
        let router = Router::new()
            .route("/heads/{name}/checkpoint", put(take))
            .with_state(taken.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/heads/", listener.local_addr().unwrap());
        let server = tokio::spawn(async { axum::serve(listener, router).await });
        let folder = tempfile::tempdir().unwrap();

        let publisher = Publisher::new(Some(folder.path().into()), Some(url)).unwrap();
        publisher.publish(&head()).await;
        server.abort();

        let name = Hash::sha256(b"log.example/x/e1").to_string();
        assert_eq!(
            *taken.lock().unwrap(),
            [(name.clone(), head().as_bytes().to_vec())]
        );
        let written = std::fs::read(folder.path().join(name).join("checkpoint")).unwrap();
        assert_eq!(written, head().as_bytes());
    }

    #[test]
    fn only_plain_http_is_taken() {
        assert!(Publisher::new(None, Some("https://x.example".into())).is_err());
    }
}
