//! Findings: the stable names of what can be wrong with a ledger (`docs/formats/bundle.md`).

use std::collections::BTreeMap;
use std::fmt;

use ruche_domain::numbers::Epoch;

macro_rules! kinds {
    ($($variant:ident = $name:literal: $meaning:literal,)*) => {
        /// What is wrong, in the order in which causes come before consequences. Names are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FindingKind {
            $(#[doc = $meaning] $variant,)*
        }

        impl FindingKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in reports and documents.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it says, in a sentence for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

kinds! {
    EpochMissing = "EPOCH_MISSING": "an epoch before the last one, or one that the auditor has a key of, is not there",
    TreeHeadMalformed = "TREE_HEAD_MALFORMED": "`checkpoint` is not a signed note with a tree head",
    TreeHeadSignatureInvalid = "TREE_HEAD_SIGNATURE_INVALID": "the signature of the tree head does not verify",
    TreeHeadUntrusted = "TREE_HEAD_UNTRUSTED": "the tree head is not signed by the key that was brought",
    OriginMismatch = "ORIGIN_MISMATCH": "tree head, key or previous epoch name another origin",
    InconsistentWithKnownHead = "INCONSISTENT_WITH_KNOWN_HEAD": "the tree does not extend the head that is known",
    KnownHeadUnrelated = "KNOWN_HEAD_UNRELATED": "the known head belongs to no epoch here, or no trusted key signed it",
    SmallerThanExpected = "SMALLER_THAN_EXPECTED": "fewer records than expected",
    FirstRecordMissing = "FIRST_RECORD_MISSING": "entry 0 is a later record, and what follows is in order",
    RecordMissing = "RECORD_MISSING": "the record of this index is skipped",
    TailMissing = "TAIL_MISSING": "records end before the size of the tree head",
    RecordsSwapped = "RECORDS_SWAPPED": "this index and another one hold each other's records",
    ForeignRecord = "FOREIGN_RECORD": "a leaf has the origin of another log",
    RecordOutOfPlace = "RECORD_OUT_OF_PLACE": "the record has another index",
    SurplusRecords = "SURPLUS_RECORDS": "records go on behind the size of the tree head",
    LeafMalformed = "LEAF_MALFORMED": "an entry is not a leaf in canonical form",
    FileMissing = "FILE_MISSING": "a file that the size asks for is not there",
    FileMalformed = "FILE_MALFORMED": "a file has the wrong length, or an entry runs over its end",
    TileMismatch = "TILE_MISMATCH": "a hash in a tile is not what the leaves give",
    RootMismatch = "ROOT_MISMATCH": "the root over the leaves is not the root of the tree head",
    EpochLinkBroken = "EPOCH_LINK_BROKEN": "record 0 names another end of the epoch before than it has",
    RecordsLost = "RECORDS_LOST": "record 0 of the next epoch declares a lost range",
    ManifestMismatch = "MANIFEST_MISMATCH": "the manifest says otherwise than the checkpoints",
    ChainBroken = "CHAIN_BROKEN": "`previous` is not the leaf hash of the record before",
    AppendBroken = "APPEND_BROKEN": "records of one append do not stand together",
    TimeReversed = "TIME_REVERSED": "recorded-at decreases",
    EventIdRepeated = "EVENT_ID_REPEATED": "an event id stands twice",
    StreamBroken = "STREAM_BROKEN": "a stream skips or repeats a version",
    OpeningRecordWrong = "OPENING_RECORD_WRONG": "record 0, and only it, opens the epoch and fits it",
    EffectWithoutIntent = "EFFECT_WITHOUT_INTENT": "the outcome of a tool call, or of undoing it, without the start before it",
    IllegalTransition = "ILLEGAL_TRANSITION": "a governed turn or call does what it may not do where it stands",
    AttemptOutOfOrder = "ATTEMPT_OUT_OF_ORDER": "an attempt that is skipped, comes twice, or is another one's",
    UndoOutOfOrder = "UNDO_OUT_OF_ORDER": "an effect is undone while one that was started after it is still to be undone",
    LeaseOutOfOrder = "LEASE_OUT_OF_ORDER": "a lease whose number does not rise, or that is over, another one's or taken too early",
    ReviewerKeyInvalid = "REVIEWER_KEY_INVALID": "a reviewer's key whose registration does not hold",
    RequestMismatch = "REQUEST_MISMATCH": "a request for approval with digests of something else than it shows",
    VoteInvalid = "VOTE_INVALID": "a vote that does not count: signature, key, request, requester or time",
    DecisionWithoutVote = "DECISION_WITHOUT_VOTE": "an approval, or a rejection, that no vote in its append gives",
    ApprovalMisused = "APPROVAL_MISUSED": "an approval that is used and not given, lapsed, of another action or epoch, or without a start",
    ApprovalUsedTwice = "APPROVAL_USED_TWICE": "an approval that is used a second time",
    ReviewerUntrusted = "REVIEWER_UNTRUSTED": "an approval that is used and signed by a key that the auditor did not bring",
    EffectWithoutApproval = "EFFECT_WITHOUT_APPROVAL": "an effect without its approval, or another one than was proposed",
    PayloadMalformed = "PAYLOAD_MALFORMED": "a payload bundle, or what a governed record says, cannot be read",
    PayloadMismatch = "PAYLOAD_MISMATCH": "a fragment does not open its commitment",
    PayloadMissing = "PAYLOAD_MISSING": "a fragment is not there and no erasure explains it",
    PayloadArchived = "PAYLOAD_ARCHIVED": "fragments are in an archive that the ledger names, and the archive was not brought",
    PayloadNotChecked = "PAYLOAD_NOT_CHECKED": "a fragment has an algorithm that is not known here",
}

impl FindingKind {
    /// Whether the ledger was changed, or is not what it claims to be. The others say that something is not there.
    #[must_use]
    pub const fn is_tampering(self) -> bool {
        !matches!(
            self,
            Self::PayloadMissing | Self::PayloadArchived | Self::PayloadNotChecked
        )
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// In which epoch, if it concerns one.
    pub epoch: Option<Epoch>,
    /// At which index, if it concerns a record.
    pub index: Option<u64>,
    /// What was found, for people. Not stable.
    pub detail: String,
}

impl Finding {
    /// About a record.
    #[must_use]
    pub fn at(kind: FindingKind, epoch: Epoch, index: u64, detail: String) -> Self {
        Self {
            kind,
            epoch: Some(epoch),
            index: Some(index),
            detail,
        }
    }

    /// About an epoch.
    #[must_use]
    pub fn of_epoch(kind: FindingKind, epoch: Epoch, detail: String) -> Self {
        Self {
            kind,
            epoch: Some(epoch),
            index: None,
            detail,
        }
    }

    /// About the whole.
    #[must_use]
    pub const fn of_ledger(kind: FindingKind, detail: String) -> Self {
        Self {
            kind,
            epoch: None,
            index: None,
            detail,
        }
    }

    /// `epoch:index`, `epoch` or nothing.
    #[must_use]
    pub fn place(&self) -> String {
        match (self.epoch, self.index) {
            (Some(epoch), Some(index)) => format!("{epoch}:{index}"),
            (Some(epoch), None) => epoch.to_string(),
            (None, _) => String::new(),
        }
    }
}

/// How often a kind was found, and where first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindCount {
    /// How often.
    pub count: u64,
    /// The first one.
    pub first: Finding,
}

/// Findings as they are collected: all are counted, the first of each kind is kept, and of the rest the first few.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    kept_max: usize,
    kept: Vec<Finding>,
    by_kind: BTreeMap<FindingKind, KindCount>,
    total: u64,
}

impl Findings {
    /// A collection that keeps `kept_max` findings, and the first of each kind besides.
    #[must_use]
    pub fn keeping(kept_max: usize) -> Self {
        Self {
            kept_max,
            ..Self::default()
        }
    }

    /// Adds one.
    pub fn push(&mut self, finding: Finding) {
        self.total += 1;
        let mut keep = self.kept.len() < self.kept_max;
        match self.by_kind.get_mut(&finding.kind) {
            Some(known) => known.count += 1,
            None => {
                keep = true;
                self.by_kind.insert(
                    finding.kind,
                    KindCount {
                        count: 1,
                        first: finding.clone(),
                    },
                );
            }
        }
        if keep {
            self.kept.push(finding);
        }
    }

    /// Those that were kept, in the order of epochs and indexes in which they were found.
    #[must_use]
    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }

    /// Count and first finding of each kind, causes before consequences.
    #[must_use]
    pub const fn by_kind(&self) -> &BTreeMap<FindingKind, KindCount> {
        &self.by_kind
    }

    /// How many there are, those not kept included.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Whether one of this kind was found.
    #[must_use]
    pub fn has(&self, kind: FindingKind) -> bool {
        self.by_kind.contains_key(&kind)
    }
}
