//! The record checker: what must hold in a ledger, said of stored bytes as they pass by.
//!
//! [`RecordChecker`] is rules 3 to 9 of `docs/formats/record.md`, "What must hold in an epoch". It is fed leaves and
//! payload fragments in the order in which they are stored, of one epoch after the other, and names what does not
//! hold. Rules 1 and 2 (signature and root) need a tree and a key and belong to the caller, who gets every leaf hash.
//!
//! # The life of a record in the checker
//!
//! 1. [`RecordChecker::leaf`] hashes the bytes and reads them without copying ([`view`]).
//! 2. The record is put in its place ([`order`]). One that says its own index is placed at once. Any other waits for
//!    the record behind it: only then can it be told whether a record is missing, two are swapped or one is surplus.
//! 3. [`RecordChecker::fragment`] checks the payload against the commitments of the leaf that was read last. What it says
//!    of governed turns ([`turns`]) and of approvals ([`approvals`]) is judged then.
//!
//! Memory: 16 bytes of event id for each record, 33 for each tool call and 25 for each stream, and a byte of bookkeeping
//! for each of them, in hash tables that are between seven sixteenths and seven eighths full. That is at most 39 bytes
//! per record where streams have many events, and half as much again for the moment in which a table grows. Ids are
//! chosen by whoever wrote the records, so the tables keep the keyed hash function of the standard library.
//! A payload that is not there and may be in an archive costs 24 bytes until the ledger ends. Governed turns
//! cost some hundred bytes more for each turn, call, key and request, as their rules say, and 32 for each outcome that a person asserted.

use std::collections::{HashMap, HashSet};

use ruche_domain::ids::{CallId, TurnId};
use ruche_domain::numbers::{Epoch, LeafIndex, Position, TreeSize};
use ruche_domain::stream::Category;

use crate::archive::{ARCHIVED_EVENT, may_leave};
use crate::hash::{Hash, leaf_hash};
use crate::leaf::Leaf;
use crate::payload::{Algorithm, StoredFragment, commit};
use crate::store::Record;

mod absent;
mod approvals;
mod finding;
mod order;
mod reviewers;
mod turns;
mod view;

pub use absent::ArchiveTold;
pub use finding::{Finding, FindingKind, Findings, KindCount};
pub use reviewers::{ReviewerUse, TrustedReviewers, TrustedReviewersError};

use absent::Absent;
use approvals::ApprovalRules;
use order::{Entry, Order};
use turns::{Kind, Step, TurnRules};
use view::{FragmentViews, LeafView, StreamKey};

/// What a leaf was read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafChecked {
    /// Leaf hash of the bytes, whatever they are.
    pub hash: Hash,
    /// How many payload fragments the leaf commits to; `None` if the bytes are not a leaf.
    pub fragments: Option<usize>,
}

/// A payload fragment as it is stored beside the leaf.
#[derive(Clone, Copy, Debug)]
pub enum FragmentFound<'a> {
    /// Opening and bytes are there.
    Present {
        /// Key of the commitment.
        opening: &'a [u8; 32],
        /// Stored bytes.
        bytes: &'a [u8],
    },
    /// They are not there.
    Missing,
}

/// What the checker remembers of the whole ledger, from its first epoch on.
#[derive(Debug, Default)]
struct History {
    event_ids: HashSet<[u8; 16]>,
    /// Version of the last event of each stream.
    streams: HashMap<StreamKey, u64>,
    /// Tool calls that have a `tool.started`, and the lane that it stands in. What stands elsewhere is the start of no call of
    /// a lane.
    started_calls: HashMap<[u8; 16], Option<[u8; 16]>>,
    last_recorded_at: u64,
    approvals: ApprovalRules,
    turns: TurnRules,
    /// Payloads that are not there and may be in an archive, and which archives the ledger tells of.
    absent: Absent,
    /// Where a person said how a call in doubt came out.
    asserted: Vec<(Position, CallId)>,
    /// Records before this point could not be read. What they would explain is not a finding.
    has_holes: bool,
}

impl History {
    /// Whether something of a governed call stands where no rule of turns would look, or stood there before the call was
    /// proposed.
    fn strays(&mut self, event_type: &str, category: Category, call: [u8; 16]) -> bool {
        if event_type == "tool.proposed" && category == Category::Lane {
            return self.started_calls.get(&call) == Some(&None);
        }
        self.approvals
            .strays(event_type, category, CallId::from_bytes(call))
    }

    /// What rules know of turns, calls and requests may have changed in records that are not there.
    /// That are of epochs that are over, or `within` this one.
    fn forget(&mut self, within: Option<Epoch>) {
        self.turns.forget();
        self.approvals.forget(within);
    }
}

/// Checks the records of one ledger, epoch after epoch.
#[derive(Debug, Default)]
pub struct RecordChecker {
    history: History,
    epoch: Option<EpochState>,
}

/// The epoch that is being read.
#[derive(Debug)]
struct EpochState {
    epoch: Epoch,
    origin: String,
    order: Order,
    /// Index under which findings about the last leaf are reported.
    at: u64,
    /// Index behind the last record of its append.
    append_end: u64,
    fragments: FragmentViews,
    /// Next of them.
    fragment: usize,
    /// A record that the rules of approvals look at, until its payload was seen.
    pending: Option<(Box<Leaf>, Position, Hash)>,
    /// The same for those that the rules of turns look at.
    step: Option<Step>,
    /// Whether the payload of the leaf that was read last may have left for an archive.
    may_leave: bool,
    /// Whether the leaf that was read last tells of an archive.
    tells: bool,
}

impl EpochState {
    /// Lets the rules of approvals and turns judge the record that waits for its payload.
    fn settle(&mut self, payload: Option<&[u8]>, history: &mut History, findings: &mut Findings) {
        if let Some(step) = self.step.take() {
            history.turns.record(&step, payload, findings);
        }
        let Some((leaf, position, hash)) = self.pending.take() else {
            return;
        };
        history
            .approvals
            .record(&leaf, (position, hash), payload, findings);
    }
}

impl EpochState {
    const fn position(&self, index: u64) -> Position {
        Position {
            epoch: self.epoch,
            index: LeafIndex(index),
        }
    }

    /// Puts a record that rules look at aside until its payload is there.
    fn await_payload(&mut self, view: &LeafView<'_>, (bytes, hash): (&[u8], Hash), findings: &mut Findings) {
        let category = view.stream.category();
        let position = self.position(view.index);
        self.step = Kind::of(view.event_type, category).map(|kind| Step {
            kind,
            stream: view.stream.bytes(),
            session: view.session.copied(),
            turn: view.turn.copied(),
            call: view.call.copied(),
            actor: view.actor.copied(),
            occurred_at: view.occurred_at,
            position,
            append: view.append_first,
        });
        let is_read = approvals::concern(view.event_type, category);
        if is_read {
            // The view accepts what this accepts.
            let leaf = Leaf::decode(bytes).ok();
            self.pending = leaf.map(|leaf| (Box::new(leaf), position, hash));
        }
        // What says nothing must not pass for something that was erased.
        let reads = is_read || self.step.is_some_and(|step| step.kind.reads_payload());
        if reads && view.fragments.count == 0 {
            let reason = format!("{} without a payload", view.event_type);
            findings.push(Finding::at(
                FindingKind::PayloadMalformed,
                self.epoch,
                view.index,
                reason,
            ));
        }
    }
}

impl RecordChecker {
    /// A checker that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whose signatures the auditor believes: an approval that is used under any other key is a finding from now on.
    pub fn trust_reviewers(&mut self, trusted: TrustedReviewers) {
        self.history.approvals.trust_reviewers(trusted);
    }

    /// Keys of reviewers that decided something so far, in the order in which they were registered.
    #[must_use]
    pub fn reviewers(&self) -> Vec<ReviewerUse> {
        self.history.approvals.reviewers()
    }

    /// Starts an epoch. `size` is what its tree head says.
    pub fn begin_epoch(&mut self, epoch: Epoch, origin: &str, size: TreeSize) {
        self.epoch = Some(EpochState {
            epoch,
            origin: origin.to_owned(),
            order: Order::new(epoch, size),
            at: 0,
            append_end: 0,
            fragments: FragmentViews::default(),
            fragment: 0,
            pending: None,
            step: None,
            may_leave: false,
            tells: false,
        });
    }

    /// Says that records before the next epoch are not there, and that this is known already: the epoch before is
    /// missing, or it declares lost records.
    pub fn skip_epoch(&mut self) {
        self.history.has_holes = true;
        self.history.forget(None);
    }

    /// Says that the next `count` records of the epoch cannot be read.
    ///
    /// # Panics
    /// Outside [`RecordChecker::begin_epoch`] and [`RecordChecker::end_epoch`].
    pub fn skip_records(&mut self, count: u64, findings: &mut Findings) {
        let state = self.epoch.as_mut().expect("records are skipped within an epoch");
        state.settle(None, &mut self.history, findings);
        state.order.skip(count, &mut self.history, findings);
        self.history.has_holes = true;
        self.history.forget(Some(state.epoch));
    }

    /// Takes the next leaf of the epoch. That there are more than its size is the caller's finding.
    ///
    /// # Panics
    /// Outside [`RecordChecker::begin_epoch`] and [`RecordChecker::end_epoch`].
    pub fn leaf(&mut self, bytes: &[u8], findings: &mut Findings) -> LeafChecked {
        let state = self.epoch.as_mut().expect("a leaf belongs to an epoch");
        state.settle(None, &mut self.history, findings);
        let hash = leaf_hash(bytes);
        state.at = state.order.next_index();
        state.fragment = 0;
        (state.may_leave, state.tells) = (false, false);
        let Some(view) = LeafView::read(bytes) else {
            let reason = Leaf::decode(bytes)
                .err()
                .map_or_else(String::new, |error| error.to_string());
            findings.push(Finding::at(
                FindingKind::LeafMalformed,
                state.epoch,
                state.at,
                reason,
            ));
            state.fragments = FragmentViews::default();
            self.history.forget(Some(state.epoch));
            state
                .order
                .entry(Entry::unreadable(hash), &mut self.history, findings);
            return LeafChecked {
                hash,
                fragments: None,
            };
        };
        state.fragments = view.fragments;
        let fragments = Some(view.fragments.count);
        if view.origin != state.origin {
            let reason = format!("the leaf is record {} of {}", view.index, view.origin);
            findings.push(Finding::at(
                FindingKind::ForeignRecord,
                state.epoch,
                state.at,
                reason,
            ));
            self.history.forget(Some(state.epoch));
            state
                .order
                .entry(Entry::unreadable(hash), &mut self.history, findings);
            return LeafChecked { hash, fragments };
        }
        // What could not be placed yet may stand behind records that are missing.
        let is_in_place = state.at == view.index;
        state.at = view.index;
        if !self.history.event_ids.insert(*view.event_id) {
            let reason = format!("event id {}", hex::encode(view.event_id));
            findings.push(Finding::at(
                FindingKind::EventIdRepeated,
                state.epoch,
                state.at,
                reason,
            ));
        }
        if view.index == 0 && view.stream.category() == Category::Ledger {
            self.history.approvals.ledger(view.stream.id().id);
        }
        let (event_type, category) = (view.event_type, view.stream.category());
        state.may_leave = may_leave(category);
        state.tells = category == Category::Ledger && event_type == ARCHIVED_EVENT;
        if let Some(call) = view.call
            && self.history.strays(event_type, category, *call)
        {
            let detail = match event_type {
                "tool.proposed" => "the call was started before, outside of its lane".to_owned(),
                _ => format!("{event_type} of a governed call outside of its lane"),
            };
            let found = Finding::at(
                FindingKind::EffectWithoutApproval,
                state.epoch,
                view.index,
                detail,
            );
            findings.push(found);
        }
        state.append_end = view.append_first + u64::from(view.append_count);
        if is_in_place {
            let append = state.position(view.append_first);
            self.history.approvals.append_is(Some(append), findings);
        }
        state.await_payload(&view, (bytes, hash), findings);
        state
            .order
            .entry(Entry::of(&view, hash), &mut self.history, findings);
        if let Some(call) = view.call {
            let (call, at) = (CallId::from_bytes(*call), state.position(view.index));
            self.history.approvals.heard(call, event_type, category, at);
            if event_type == "tool.outcome_asserted" && category == Category::Lane {
                self.history.asserted.push((at, call));
            }
        }
        LeafChecked { hash, fragments }
    }

    /// Takes the next payload fragment of the leaf that was read last. Not called for fragments that cannot be read:
    /// that is the caller's finding.
    ///
    /// # Panics
    /// When the leaf does not commit to so many fragments.
    pub fn fragment(&mut self, found: FragmentFound<'_>, findings: &mut Findings) {
        let state = self.epoch.as_mut().expect("a fragment belongs to an epoch");
        let number = state.fragment;
        let committed = &state
            .fragments
            .get(number)
            .expect("the caller counts the fragments");
        state.fragment += 1;
        let (kind, reason) = match found {
            FragmentFound::Missing if state.may_leave => {
                self.history.absent.fragment(state.position(state.at), number);
                return;
            }
            FragmentFound::Missing => (FindingKind::PayloadMissing, "is not there"),
            FragmentFound::Present { .. } if committed.algorithm == Algorithm::Encrypted => (
                FindingKind::PayloadNotChecked,
                "has algorithm 1, which is not known here",
            ),
            FragmentFound::Present { bytes, .. } if bytes.len() as u64 != committed.stored_length => (
                FindingKind::PayloadMismatch,
                "has another length than the leaf says",
            ),
            FragmentFound::Present { opening, bytes } if commit(opening, bytes) != committed.commitment => {
                (FindingKind::PayloadMismatch, "does not open its commitment")
            }
            FragmentFound::Present { bytes, .. } => {
                if number == 0 && state.tells {
                    self.history.absent.told(bytes);
                }
                if number == 0 {
                    state.settle(Some(bytes), &mut self.history, findings);
                }
                return;
            }
        };
        findings.push(Finding::at(
            kind,
            state.epoch,
            state.at,
            format!("payload fragment {number} {reason}"),
        ));
    }

    /// Takes a record as an [`EventStore`](crate::store::EventStore) returns it, and gives its leaf hash.
    pub fn record(&mut self, record: &Record, findings: &mut Findings) -> Hash {
        let checked = self.leaf(&record.leaf_bytes, findings);
        for fragment in record.payload.iter().take(checked.fragments.unwrap_or(0)) {
            let found = match fragment {
                StoredFragment::Present { opening, bytes } => FragmentFound::Present { opening, bytes },
                StoredFragment::Missing | StoredFragment::Archived(_) => FragmentFound::Missing,
            };
            self.fragment(found, findings);
        }
        checked.hash
    }

    /// Ends the epoch: what is still waiting is judged, and so is the end.
    ///
    /// # Panics
    /// When no epoch was begun.
    pub fn end_epoch(&mut self, findings: &mut Findings) {
        let mut state = self.epoch.take().expect("an epoch ends once, after it began");
        state.settle(None, &mut self.history, findings);
        state.order.end(&mut self.history, findings);
        if state.append_end == state.at.saturating_add(1) {
            self.history.approvals.append_is(None, findings);
        }
    }

    /// Ends the ledger: of payloads that are not there and might be archived, the whole ledger says whether they are.
    pub fn end(&mut self, findings: &mut Findings) {
        std::mem::take(&mut self.history.absent).judge(findings);
    }

    /// Whether payloads of the leaf that was read last may be in an archive.
    #[must_use]
    pub fn may_be_archived(&self) -> bool {
        self.epoch.as_ref().is_some_and(|state| state.may_leave)
    }

    /// Says that an archive was brought, and that all fragments that are not there were looked for in it. What it lacks, it
    /// does not explain.
    pub fn archive_searched(&mut self, archive: String, digest: Hash) {
        self.history.absent.searched(archive, digest);
    }

    /// Archives that the ledger tells of, in its order, up to [`RecordChecker::end`].
    #[must_use]
    pub fn archives(&self) -> &[ArchiveTold] {
        self.history.absent.archives()
    }

    /// Calls of governed turns that were asked for and did not start, with the places where they were asked for, in
    /// order. That nothing started is as sure as the end of the ledger is.
    pub fn proposed_and_not_run(&self) -> impl Iterator<Item = (Position, CallId)> {
        self.history.approvals.not_run()
    }

    /// Outcomes of governed calls that a person asserted, with the places of the assertions, in order. They rest on that person's
    /// word: no record of the call says so.
    #[must_use]
    pub fn outcomes_asserted(&self) -> &[(Position, CallId)] {
        &self.history.asserted
    }

    /// Governed turns that are not over, with the places where they opened, in order, and the state in which they stand. A
    /// ledger that is in use has some.
    #[must_use]
    pub fn turns_not_over(&self) -> Vec<(Position, TurnId, &'static str)> {
        self.history.turns.not_over()
    }

    /// Index under which findings about the leaf that was read last are reported.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.epoch.as_ref().map_or(0, |state| state.at)
    }
}

#[cfg(test)]
mod tests;
