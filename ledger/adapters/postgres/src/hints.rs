//! Hints between nodes: `NOTIFY` on one channel, a line of ledgers and where they end.
//!
//! `<ledger>=<epoch>:<index>,…`, as many as fit a notification. A hint holds no record and proves nothing; one that is lost,
//! cut, late or invented costs a look at a head at most.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_postgres::AsyncMessage;
use tokio_postgres::types::Type;

use crate::ends::Ends;
use crate::error::OpenError;
use crate::served::{ANSWER_WAIT, until_silent};
use crate::session::{self, Database, Purpose, Session};

const CHANNEL: &str = "ruche";
/// Commits within this time are told together.
const TELL_INTERVAL: Duration = Duration::from_millis(15);
/// PostgreSQL takes less than 8000 bytes in a notification.
const HINT_BYTES_MAX: usize = 7_900;
/// Between two attempts to connect.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Tells other nodes what this one appended, for as long as the store is open.
pub(crate) async fn tell(ends: Arc<Ends>, database: Database) {
    let mut session = None;
    loop {
        ends.tell.notified().await;
        sleep(TELL_INTERVAL).await;
        let lines = lines(&ends.take_untold());
        if lines.is_empty() {
            continue;
        }
        if let Err(error) = send(&mut session, &database, &lines).await {
            tracing::warn!(%error, "other nodes are not told what was appended; their readers wait longer");
            session = None;
            sleep(RETRY_INTERVAL).await;
        }
    }
}

async fn send(session: &mut Option<Session>, database: &Database, lines: &[String]) -> Result<(), OpenError> {
    let session = match session {
        Some(open) if !open.is_closed() => open,
        none => none.insert(database.session(Purpose::Hint, |_| ()).await?),
    };
    // Its commit waits for no flush and no standby, so a server that does not answer is in trouble.
    let parameters = [(&CHANNEL as _, Type::TEXT), (&lines as _, Type::TEXT_ARRAY)];
    let told = session.query_typed(
        "SELECT pg_notify($1, line)::text FROM unnest($2) AS u(line)",
        &parameters,
    );
    match timeout(ANSWER_WAIT, told).await {
        Ok(told) => told.map(drop).map_err(OpenError::database("notify")),
        Err(_) => {
            session.cut();
            Err(OpenError::NoAnswer {
                seconds: ANSWER_WAIT.as_secs(),
            })
        }
    }
}

/// Hears what other nodes append, for as long as the store is open.
pub(crate) async fn listen(ends: Arc<Ends>, database: Database) {
    loop {
        let ended = Arc::new(Notify::new());
        match subscribe(&ends, &database, &ended).await {
            Ok(session) => {
                ends.set_listening(true);
                until_silent(&session, &ended).await;
                ends.set_listening(false);
            }
            Err(error) => {
                let error = session::unavailable(error);
                tracing::warn!(%error, "what other nodes append is not heard; readers wait longer");
            }
        }
        sleep(RETRY_INTERVAL).await;
    }
}

/// Tells `ended` when the task that drives the connection is gone, whatever ended it.
struct Ended(Arc<Notify>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

async fn subscribe(ends: &Arc<Ends>, database: &Database, ended: &Arc<Notify>) -> Result<Session, OpenError> {
    let (ends, ended) = (Arc::clone(ends), Ended(Arc::clone(ended)));
    let heard = move |message| {
        let _until_the_end = &ended;
        if let AsyncMessage::Notification(hint) = message {
            parse(hint.payload()).for_each(|(ledger, last)| ends.hear(ledger, last));
        }
    };
    let session = database.session(Purpose::Hint, heard).await?;
    session
        .batch_execute(&format!("LISTEN {CHANNEL}"))
        .await
        .map_err(OpenError::database("listen"))?;
    Ok(session)
}

/// Hints as lines, each short enough for a notification.
fn lines(untold: &HashMap<LedgerId, Position>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (ledger, last) in untold {
        let hint = format!("{}={}:{}", ledger.0, last.epoch.0, last.index.0);
        match lines.last_mut() {
            Some(line) if line.len() + 1 + hint.len() <= HINT_BYTES_MAX => {
                line.push(',');
                line.push_str(&hint);
            }
            _ => lines.push(hint),
        }
    }
    lines
}

/// Hints of a line; what is not one is passed over.
fn parse(line: &str) -> impl Iterator<Item = (LedgerId, Position)> {
    line.split(',').filter_map(|hint| {
        let (ledger, last) = hint.split_once('=')?;
        let (epoch, index) = last.split_once(':')?;
        let last = Position::new(epoch.parse().ok()?, index.parse().ok()?);
        Some((LedgerId(ledger.parse().ok()?), last))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn hints_fit_notifications_and_come_back() {
        let untold: HashMap<_, _> = (0..1_000_u128)
            .map(|n| {
                let last = Position::new(u32::MAX, u64::MAX - n as u64);
                (LedgerId(Uuid::from_u128(u128::MAX - n)), last)
            })
            .collect();
        let lines = lines(&untold);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() < 8_000));
        let back: HashMap<_, _> = lines.iter().flat_map(|line| parse(line)).collect();
        assert_eq!(back, untold);
    }

    #[test]
    fn what_is_not_a_hint_is_passed_over() {
        let ledger = Uuid::from_u128(7);
        let line = format!("x,{ledger}=1,{ledger}=a:2,=1:2,{ledger}=3:4,{ledger}=5:");
        let found: Vec<_> = parse(&line).collect();
        assert_eq!(found, [(LedgerId(ledger), Position::new(3, 4))]);
        assert_eq!(parse("").count(), 0);
    }
}
