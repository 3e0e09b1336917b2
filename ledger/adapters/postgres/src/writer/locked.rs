//! The other way, for a ledger that lost a race or keeps losing them: decide with its head row locked.

use std::collections::HashMap;

use ruche_domain::ids::LedgerId;
use ruche_ledger::store::StoreError;
use tokio_postgres::types::Type;

use super::{Decided, Group, Round, Writer};
use crate::append;
use crate::cache::Known;
use crate::error::store_error;
use crate::fence::Commit;
use crate::writer::link::Session;

/// Why a group was not committed under its lock.
enum NotCommitted {
    /// Nothing was written, nor will be.
    Failed(Group, StoreError),
    /// Nobody said.
    Unknown(Box<Decided>),
}

impl Writer {
    /// Decides one ledger with its head row locked, in a transaction of its own.
    pub(super) async fn under_lock(&mut self, group: Group, round: &mut Round) {
        let ledger = group.ledger;
        self.cache.forget(ledger);
        match self.locked(group).await {
            Ok(one) => self.settle(one, round),
            Err(NotCommitted::Failed(group, error)) => {
                self.cache.forget(ledger);
                // The server said no, perhaps because somebody holds the head, and may hold it for long: next time this
                // ledger does not hold others up.
                if self.link.is_open() && error != StoreError::NoSuchLedger {
                    self.contention.stuck(ledger);
                }
                self.link.end_transaction().await;
                group.fail(&error);
            }
            Err(NotCommitted::Unknown(one)) => self.resolve(vec![*one], round).await,
        }
    }

    async fn locked(&mut self, group: Group) -> Result<Decided, NotCommitted> {
        let begun = async {
            let session = self.link.session().await?;
            let read_at = self.link.now();
            let known = self.lock_and_look_up(&session, &group).await?;
            Ok((session, known, read_at))
        };
        let (session, known, read_at) = match begun.await {
            Ok(begun) => begun,
            Err(error) => return Err(NotCommitted::Failed(group, error)),
        };
        let one = self.decide(group, known, read_at);
        if !one.writes() {
            // What was decided is true of this moment. The lock goes, and nothing of ours could be lost; what was read could,
            // so refusals and repeats wait for a fence.
            self.link.end_transaction().await;
            return Ok(one);
        }
        if let Err(error) = self.write(&session, &one).await {
            return Err(NotCommitted::Failed(one.group, error));
        }
        // From here the append is durable or not, and only an answer tells. A crash leaves all of it or nothing.
        let commit = session.line.client.batch_execute("COMMIT");
        match self.link.commit(&session, commit, |()| true).await {
            Commit::Durable(()) => Ok(one),
            Commit::Refused(error) => {
                let error = store_error("commit", &error);
                Err(NotCommitted::Failed(one.group, error))
            }
            Commit::Unknown => Err(NotCommitted::Unknown(Box::new(one))),
        }
    }

    /// Begins a transaction that holds the head, and reads what is asked. Nothing is written if the process dies in it:
    /// the server ends a transaction that nobody goes on with.
    async fn lock_and_look_up(&mut self, session: &Session, group: &Group) -> Result<Known, StoreError> {
        let (client, lookups, ledger) = (&session.line.client, &session.lookups, group.ledger);
        let head = session.line.ask("lock", lookups.lock(client, ledger)).await?;
        let head = head.ok_or(StoreError::NoSuchLedger)?;
        let mut known: HashMap<LedgerId, Known> = HashMap::from([(ledger, self.cache.read(ledger, head))]);
        let asked = group.asked();
        let fill = lookups.fill(client, &mut self.cache, &mut known, &asked);
        session.line.ask("look-up", fill).await?;
        known.remove(&ledger).ok_or(StoreError::NoSuchLedger)
    }

    /// Whether the head of a ledger says that it is halted.
    async fn is_halted(&self, session: &Session, ledger: LedgerId) -> Result<bool, StoreError> {
        let sql = "SELECT FROM head WHERE ledger = $1 AND halted = epoch";
        let parameters = [(&ledger.0 as _, Type::UUID)];
        let look = async {
            let row = session.line.client.query_typed_opt(sql, &parameters).await;
            Ok(row.map_err(|e| store_error("table head", &e))?.is_some())
        };
        session.line.ask("table head", look).await
    }

    /// Writes a batch into the open transaction. Without an answer it is certain that nothing will stand: the transaction
    /// is never committed.
    async fn write(&mut self, session: &Session, one: &Decided) -> Result<(), StoreError> {
        let moves = [one.as_move()];
        let sent = async {
            let sent = append::send(&session.line.client, &session.append, &moves).await;
            sent.map_err(|e| store_error("append", &e))
        };
        let moved = session.line.ask("append", sent).await?;
        if moved.ledgers.contains(&one.group.ledger) {
            return Ok(());
        }
        // A halt whose row the owner took away stands in the head yet, where the statement compares it.
        if moved.wrong.contains(&one.group.ledger) || self.is_halted(session, one.group.ledger).await? {
            // Under the lock nothing is guessed.
            let reason = "the ledger takes no appends in this epoch: it was restored from a backup and the next one is \
                          not open yet, or a node halted it, whose log says why"
                .to_owned();
            return Err(StoreError::Unavailable { reason });
        }
        Err(StoreError::Corrupt {
            place: format!("head of ledger {}", one.group.ledger),
            reason: "it moved while it was locked".into(),
        })
    }
}
