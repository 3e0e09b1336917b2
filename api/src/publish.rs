//! Tree heads to somebody else: whoever keeps them can tell later if the ledger was rewritten.
//!
//! Below a folder or a URL, under `<hex SHA-256 of the origin>/`, the layout that C2SP tlog-witness gives to those who
//! watch many logs. The life of a tree head here:
//!
//! 1. The sealing loop puts it into [`Heads`], a place for one, and goes on at once.
//! 2. A task per ledger takes it to each target. While one target is slow, newer tree heads take the place of the one
//!    that waits: each says all that the one before said, and nothing grows. The last one of an epoch is said by record
//!    0 of the next epoch, which names it; as a file it is not delivered after the next epoch was opened.
//! 3. What fails is tried again, with pauses that double, until it gets through or the process closes. The next start
//!    publishes the tree head that stands then.

mod folder;
mod url;

use std::path::PathBuf;
use std::sync::Arc;

use metrics::counter;
use ruche_ledger::hash::Hash;
use ruche_ledger::tree_head::SignedTreeHead;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::limits::{
    PUBLISH_CLOSE_WAIT_MAX, PUBLISH_RETRY_FIRST, PUBLISH_RETRY_MAX, PUBLISH_WAIT_MAX, PUBLISHING_AT_ONCE_MAX,
};
use url::UrlTarget;

/// The newest tree head of a ledger, for whoever publishes it.
#[derive(Clone)]
pub struct Heads(Arc<watch::Sender<Option<SignedTreeHead>>>);

impl Heads {
    /// Puts a tree head in the place of the one before. Never waits.
    pub fn put(&self, head: &SignedTreeHead) {
        self.0.send_if_modified(|newest| {
            let is_new = newest.as_ref() != Some(head);
            if is_new {
                *newest = Some(head.clone());
            }
            is_new
        });
    }
}

/// Where tree heads go.
#[derive(Clone)]
pub struct Publisher {
    targets: Vec<Target>,
}

/// One place that tree heads go to.
#[derive(Clone)]
struct Target {
    kind: Kind,
    /// Publications to this place at the same time, over all ledgers.
    room: Arc<Semaphore>,
}

#[derive(Clone)]
enum Kind {
    Folder(PathBuf),
    Url(Box<UrlTarget>),
}

impl Publisher {
    /// To a folder, a URL, both or nowhere.
    ///
    /// # Errors
    /// When the URL is not one that tree heads can be sent to, or the system has no certificates to judge it by.
    pub fn new(dir: Option<PathBuf>, url: Option<&str>) -> Result<Self, String> {
        let url = url.map(UrlTarget::new).transpose()?.map(Box::new);
        let kinds = dir.map(Kind::Folder).into_iter().chain(url.map(Kind::Url));
        let targets = kinds.map(|kind| Target {
            kind,
            room: Arc::new(Semaphore::new(PUBLISHING_AT_ONCE_MAX)),
        });
        Ok(Self {
            targets: targets.collect(),
        })
    }

    /// A place for the tree heads of one ledger, and the task that publishes them. The task ends when the place is
    /// dropped, after one more try of what is not published, and not later than `PUBLISH_CLOSE_WAIT_MAX`.
    pub fn open(&self) -> (Heads, impl Future<Output = ()> + Send + use<>) {
        let (sender, heads) = watch::channel(None);
        let targets = self.targets.clone();
        let publishing = async move {
            let followed = targets.iter().map(|target| target.follow(heads.clone()));
            tokio::select! {
                _ = futures_util::future::join_all(followed) => {}
                () = closed_for_long(heads.clone()) => {
                    tracing::warn!("closing without publishing the last tree head; the next start publishes it");
                }
            }
        };
        (Heads(Arc::new(sender)), publishing)
    }
}

/// Resolves when the place of tree heads is gone.
async fn closed(mut heads: watch::Receiver<Option<SignedTreeHead>>) {
    while heads.changed().await.is_ok() {}
}

async fn closed_for_long(heads: watch::Receiver<Option<SignedTreeHead>>) {
    closed(heads).await;
    tokio::time::sleep(PUBLISH_CLOSE_WAIT_MAX).await;
}

impl Target {
    async fn follow(&self, mut heads: watch::Receiver<Option<SignedTreeHead>>) {
        let mut retry = PUBLISH_RETRY_FIRST;
        let turn = Arc::new(Semaphore::new(1));
        loop {
            // Asked before the place is read: once it is gone, what is read is the last there will be.
            let closing = heads.has_changed().is_err();
            let head = heads.borrow_and_update().clone();
            let done = match &head {
                Some(head) => self.publish(head, &turn).await,
                None => true,
            };
            if closing {
                return;
            }
            if done {
                retry = PUBLISH_RETRY_FIRST;
                if heads.changed().await.is_err() {
                    return;
                }
            } else {
                // A newer tree head does not end the pause: a busy ledger would hammer whoever is in trouble.
                tokio::select! {
                    () = tokio::time::sleep(retry) => {}
                    () = closed(heads.clone()) => {}
                }
                retry = PUBLISH_RETRY_MAX.min(retry * 2);
            }
        }
    }

    /// Whether the tree head got there. If not, that was told and counted. `turn` belongs to the ledger alone.
    async fn publish(&self, head: &SignedTreeHead, turn: &Arc<Semaphore>) -> bool {
        let name = Hash::sha256(head.head().origin.as_bytes()).to_string();
        let (label, place, done) = match &self.kind {
            Kind::Folder(folder) => {
                let folder = folder.join(name);
                let place = folder.display().to_string();
                // Also the waits: a place where every call hangs must not be silent.
                let kept = timeout(PUBLISH_WAIT_MAX, self.keep(folder, head.clone(), turn));
                let kept = kept.await.unwrap_or_else(|_| {
                    Err(format!(
                        "the folder hangs: not done within {} s",
                        PUBLISH_WAIT_MAX.as_secs()
                    ))
                });
                ("folder", place, kept)
            }
            Kind::Url(url) => {
                let _room = self.room.acquire().await.expect("nobody closes it");
                let (place, sent) = url.put(&name, head).await;
                ("url", place, sent)
            }
        };
        match &done {
            Ok(()) => counter!("ruche_published_tree_heads_total", "target" => label).increment(1),
            Err(error) => {
                counter!("ruche_publish_failures_total", "target" => label).increment(1);
                tracing::error!(place, error, "the tree head is not published; it is tried again");
            }
        }
        done.is_ok()
    }

    /// Keeps the tree head in a folder, on a thread that may hang there for ever. The thread holds the ledger's turn
    /// and its room until it comes back, so that tries of what hangs do not add threads.
    async fn keep(&self, folder: PathBuf, head: SignedTreeHead, turn: &Arc<Semaphore>) -> Result<(), String> {
        let turn = turn.clone().acquire_owned().await.expect("nobody closes it");
        let room = self.room.clone().acquire_owned().await.expect("nobody closes it");
        let kept = tokio::task::spawn_blocking(move || {
            let _held = (turn, room);
            let kept = folder::keep(&folder, &head)?;
            // Told here, because nobody may be waiting any more.
            if let folder::Kept::BesideAnother(both) = &kept {
                counter!("ruche_publish_conflicts_total").increment(1);
                tracing::error!(
                    new = %both.new.display(), earlier = %both.earlier.display(),
                    "another tree head of this size was published before: two histories were signed; both are kept"
                );
            }
            Ok::<_, std::io::Error>(())
        });
        let kept = kept
            .await
            .unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        kept.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests;
