//! The usual way: decide on what is known, and commit all ledgers with one statement that compares their heads.

use std::collections::HashMap;

use ruche_domain::ids::LedgerId;
use ruche_ledger::store::{LedgerHead, StoreError};
use uuid::Uuid;

use super::link::Moment;
use super::{Decided, Group, Round, Writer};
use crate::append::{self, Move, Moved};
use crate::cache::{Cache, Known};
use crate::error::store_error;
use crate::fence::Commit;

impl Writer {
    /// Decides on what is known or guessed and commits all ledgers with one statement. Returns the groups that have to be
    /// decided again, under the lock of their heads.
    pub(super) async fn optimistic(&mut self, groups: Vec<Group>, round: &mut Round) -> Vec<Group> {
        let decided = self.decided(groups, true).await;
        let (sure, unsure): (Vec<_>, Vec<_>) = decided.into_iter().partition(Decided::is_sure);
        let unsure = unsure.into_iter().map(|one| one.group).collect();
        let looked_up = self.decided(unsure, false).await;
        let (mut again, mut decided) = (Vec::new(), Vec::new());
        for one in sure.into_iter().chain(looked_up) {
            // A conflict is true of this head. If nothing moves that shows whether the head is still the last one, it
            // has to be looked at again.
            if one.has_conflicts() && !one.writes() {
                self.cache.forget(one.group.ledger);
                again.push(one.group);
            } else {
                decided.push(one);
            }
        }
        again.extend(self.commit_moves(decided, round).await);
        again
    }

    /// Decides groups on what is known of their ledgers, and on guesses where they may be made. Those of which nothing
    /// can be known are answered.
    async fn decided(&mut self, groups: Vec<Group>, guess: bool) -> Vec<Decided> {
        if groups.is_empty() {
            return Vec::new();
        }
        let (mut known, read_at) = match self.look_up(&groups, guess).await {
            Ok(read) => read,
            Err(error) => {
                for group in groups {
                    self.cache.forget(group.ledger);
                    group.fail(&error);
                }
                return Vec::new();
            }
        };
        let mut decided = Vec::with_capacity(groups.len());
        for group in groups {
            match known.remove(&group.ledger) {
                Some(known) => decided.push(self.decide(group, known, read_at)),
                None => group.fail(&StoreError::NoSuchLedger),
            }
        }
        decided
    }

    /// Commits what was decided. Returns the groups of ledgers that lost.
    async fn commit_moves(&mut self, decided: Vec<Decided>, round: &mut Round) -> Vec<Group> {
        let mut again = Vec::new();
        match self.send(&decided).await {
            Ok(Commit::Durable(moved)) => {
                for one in decided {
                    let ledger = one.group.ledger;
                    if !one.writes() || moved.ledgers.contains(&ledger) {
                        self.settle(one, round);
                        continue;
                    }
                    if moved.wrong.contains(&ledger) {
                        self.contention.guessed_wrong(ledger);
                    } else {
                        self.contention.lost(ledger);
                    }
                    self.cache.forget(ledger);
                    again.push(one.group);
                }
            }
            Ok(Commit::Refused(error)) => {
                let error = store_error("append", &error);
                tracing::warn!(%error, "a commit of several ledgers was refused; each is tried alone");
                for one in decided {
                    self.cache.forget(one.group.ledger);
                    again.push(one.group);
                }
            }
            Ok(Commit::Unknown) => self.resolve(decided, round).await,
            Err(error) => {
                for one in decided {
                    one.group.fail(&error);
                }
            }
        }
        again
    }

    /// Sends the batches that have records, as one statement that is a transaction: when it is answered, the ledgers that
    /// it names moved and are durable, and nothing was written of the others. A crash leaves all of it or nothing.
    ///
    /// # Errors
    /// `Unavailable` if it could not be sent.
    async fn send(&mut self, decided: &[Decided]) -> Result<Commit<Moved>, StoreError> {
        let moves = decided.iter().filter(|one| one.writes());
        let moves: Vec<Move<'_>> = moves.map(Decided::as_move).collect();
        if moves.is_empty() {
            return Ok(Commit::Durable(Moved::default()));
        }
        let session = self.link.session().await?;
        let sent = append::send(&session.line.client, &session.append, &moves);
        Ok(self
            .link
            .commit(&session, sent, |moved| !moved.ledgers.is_empty())
            .await)
    }

    /// Reads what is asked of the ledgers of these groups, save what is guessed. Those that do not exist are absent.
    async fn look_up(
        &mut self,
        groups: &[Group],
        guess: bool,
    ) -> Result<(HashMap<LedgerId, Known>, Moment), StoreError> {
        let session = self.link.session().await?;
        let read_at = self.link.now();
        let (cache, contention) = (&mut self.cache, &self.contention);
        let read = async {
            let client = &session.line.client;
            let (mut known, mut cold) = (HashMap::new(), Vec::new());
            for group in groups {
                match cache.known(group.ledger) {
                    Some(one) => drop(known.insert(group.ledger, one)),
                    None => cold.push(group.ledger.0),
                }
            }
            if !cold.is_empty() {
                let heads = session.lookups.heads(client, &cold).await?;
                known.extend(heads.into_iter().map(|head| remember(cache, head)));
            }
            for (ledger, known) in &mut known {
                known.guesses = guess && contention.may_guess(*ledger);
            }
            let asked: Vec<_> = groups.iter().flat_map(Group::asked).collect();
            session.lookups.fill(client, cache, &mut known, &asked).await?;
            Ok((known, read_at))
        };
        session.line.ask("look-up", read).await
    }

    /// Finds out what became of commits without an answer. A head that is ours says that the batch is there, and a fence
    /// that begins after it was read says that it stays there. Anything else says nothing for certain: the server may
    /// still be working on it, others may have moved on, or the standby may not have it. Then the callers ask again with
    /// their keys: if the batch is there they hear of a duplicate, and if it is not, what they append moves the head, so
    /// that it can never come later.
    pub(super) async fn resolve(&mut self, decided: Vec<Decided>, round: &mut Round) {
        let found = self.heads_behind_a_fence(&decided).await;
        let heads = found.unwrap_or_else(|error| {
            tracing::warn!(%error, "the fate of a commit cannot be found out");
            HashMap::new()
        });
        for one in decided {
            self.cache.forget(one.group.ledger);
            if heads.get(&one.group.ledger) == Some(&one.batch.head) {
                self.settle(one, round);
            } else {
                one.group.doubt();
            }
        }
    }

    async fn heads_behind_a_fence(
        &mut self,
        decided: &[Decided],
    ) -> Result<HashMap<LedgerId, LedgerHead>, StoreError> {
        let ledgers: Vec<Uuid> = decided.iter().map(|one| one.group.ledger.0).collect();
        let session = self.link.session().await?;
        let read = session.lookups.heads(&session.line.client, &ledgers);
        let heads: HashMap<_, _> = session.line.ask("table head", read).await?.into_iter().collect();
        let is_ours = |one: &Decided| heads.get(&one.group.ledger) == Some(&one.batch.head);
        if decided.iter().any(is_ours) {
            self.link.fence(&session).await?;
        }
        Ok(heads)
    }
}

fn remember(cache: &mut Cache, (ledger, head): (LedgerId, LedgerHead)) -> (LedgerId, Known) {
    (ledger, cache.read(ledger, head))
}
