//! Answers: first what is durable, then what was refused for something that stands there, last what repeats earlier
//! appends. The last two may have to wait for a fence.

use futures_util::{StreamExt, stream};
use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::Position;
use ruche_ledger::sequencer::Decision;
use ruche_ledger::store::{AppendOutcome, Receipt, StoreError};
use tokio::time::timeout;

use super::link::{Link, Moment, Standing, gone};
use super::{Decided, Round, Writer};
use crate::queue::Answer;

/// Earlier appends that are read at the same time.
const PIPELINED_MAX: usize = 16;

/// A request that was refused, when nothing was written with what it was decided on.
pub(super) struct Refusal {
    outcome: AppendOutcome,
    answer: Answer,
    /// When it was decided.
    read_at: Moment,
}

/// A request that repeats an append of an earlier commit.
pub(super) struct Repeat {
    ledger: LedgerId,
    first: Position,
    count: u32,
    answer: Answer,
    /// When it was found.
    read_at: Moment,
}

impl Writer {
    /// Wakes readers and answers a group whose batch is durable. Its repeats are answered at the end of the round, and so
    /// is what was refused if there was no batch.
    pub(super) fn settle(&mut self, one: Decided, round: &mut Round) {
        let Decided {
            group,
            reading,
            decisions,
            batch,
            read_at,
            ..
        } = one;
        let ledger = group.ledger;
        let receipts: Vec<Receipt> = batch
            .records
            .iter()
            .map(|record| Receipt {
                position: record.position,
                leaf_hash: record.leaf_hash,
                recorded_at: batch.head.last_recorded_at,
            })
            .collect();
        let written = batch.head.last_position().filter(|_| !receipts.is_empty());
        if let (Some(last), Some(server)) = (written, self.link.server()) {
            self.ends.publish(server, ledger, last);
        }
        self.cache.moved(ledger, reading, batch.head, batch.streams);
        for ((_, answer), decision) in group.requests.into_iter().zip(decisions) {
            let outcome = match decision {
                Decision::Append(receipts) => AppendOutcome::Appended {
                    receipts,
                    duplicate: false,
                },
                Decision::KeyMismatch { layer } => AppendOutcome::KeyMismatch { layer },
                Decision::Conflict {
                    stream,
                    expected,
                    actual,
                } => AppendOutcome::Conflict {
                    stream,
                    expected,
                    actual,
                },
                Decision::Duplicate { first, count } => {
                    let here = receipts.iter().position(|receipt| receipt.position == first);
                    let Some(here) = here.and_then(|at| receipts.get(at..at + count as usize)) else {
                        round.repeats.push(Repeat {
                            ledger,
                            first,
                            count,
                            answer,
                            read_at,
                        });
                        continue;
                    };
                    AppendOutcome::Appended {
                        receipts: here.to_vec(),
                        duplicate: true,
                    }
                }
            };
            // The batch that a refusal was decided with is durable, and with it all that was seen before.
            let is_refused = matches!(
                outcome,
                AppendOutcome::KeyMismatch { .. } | AppendOutcome::Conflict { .. }
            );
            if is_refused && receipts.is_empty() {
                round.refusals.push(Refusal {
                    outcome,
                    answer,
                    read_at,
                });
                continue;
            }
            // A caller that went away does not hear it; what was decided stands all the same.
            drop(answer.send(Ok(outcome)));
        }
    }

    /// Answers what was refused. A version or a key can be seen before the standby has it, and be lost in a failover; a
    /// client whose append was unknown would take it for its own. So nobody hears of it before a commit of this session
    /// that began after it was seen. Without one it is only certain that nothing was written.
    pub(super) async fn refuse(&mut self, refusals: Vec<Refusal>) {
        let standings: Vec<_> = refusals
            .iter()
            .map(|one| self.link.standing(one.read_at))
            .collect();
        let fenced = match standings.contains(&Standing::Seen) {
            true => self.link.fence_reads().await,
            false => Ok(()),
        };
        if let Err(error) = &fenced {
            tracing::warn!(%error, "what requests were refused for cannot be confirmed");
        }
        for (one, standing) in refusals.into_iter().zip(standings) {
            let confirmed = match standing {
                Standing::Durable => Ok(()),
                Standing::Seen => fenced.clone(),
                Standing::Gone => Err(gone()),
            };
            drop(one.answer.send(confirmed.map(|()| one.outcome)));
        }
    }

    /// Answers repeats with the receipts of the appends that they repeat. On a synchronous cluster a row can be seen
    /// before the standby has it, and be lost in a failover: nobody is told of it before a commit of this session that
    /// began after it was seen, with the receipts read in between. Without one, nothing is certain.
    pub(super) async fn repeat(&mut self, repeats: Vec<Repeat>) {
        if repeats.is_empty() {
            return;
        }
        match self.earlier(&repeats).await {
            Ok(found) => {
                for (one, receipts) in repeats.into_iter().zip(found) {
                    one.settle(receipts);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "earlier appends cannot be confirmed");
                repeats.into_iter().for_each(Repeat::doubt);
            }
        }
    }

    /// Receipts of earlier appends, of which none can be lost any more.
    async fn earlier(
        &mut self,
        repeats: &[Repeat],
    ) -> Result<Vec<Result<Vec<Receipt>, StoreError>>, StoreError> {
        let standing = |link: &Link| repeats.iter().map(|one| link.standing(one.read_at)).max();
        if standing(&self.link) == Some(Standing::Gone) {
            // Another server may hold other records in these places.
            return Err(gone());
        }
        let (reader, wanted) = (self.reader.clone(), repeats.iter().map(Repeat::place));
        let reads = stream::iter(wanted.collect::<Vec<_>>()).map(move |(ledger, first, count)| {
            let reader = reader.clone();
            async move { reader.receipts(ledger, first, count).await }
        });
        // In a task of its own: reads that hang keep their connections, so that nobody else gets these.
        let all = tokio::spawn(reads.buffered(PIPELINED_MAX).collect::<Vec<_>>());
        let Ok(Ok(receipts)) = timeout(self.limit, all).await else {
            let reason = "earlier appends: no answer in time".to_owned();
            return Err(StoreError::Unavailable { reason });
        };
        // The reads went over other connections, and what they found is durable on the server that they were to. A fence of
        // this session makes what was looked up durable, too; of two servers that do so the later one has all of the earlier.
        let session = self.link.session().await?;
        match standing(&self.link) {
            Some(Standing::Gone) => return Err(gone()),
            _ => self.link.fence(&session).await?,
        }
        Ok(receipts)
    }
}

impl Repeat {
    /// Where its receipts are.
    fn place(&self) -> (LedgerId, Position, u32) {
        (self.ledger, self.first, self.count)
    }

    fn settle(self, receipts: Result<Vec<Receipt>, StoreError>) {
        let outcome = match receipts {
            Ok(receipts) => Ok(AppendOutcome::Appended {
                receipts,
                duplicate: true,
            }),
            // The append is there, so it would be wrong to say that nothing was written.
            Err(StoreError::Unavailable { .. }) => Ok(AppendOutcome::Unknown),
            Err(error) => Err(error),
        };
        drop(self.answer.send(outcome));
    }

    fn doubt(self) {
        drop(self.answer.send(Ok(AppendOutcome::Unknown)));
    }
}
