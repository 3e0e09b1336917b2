//! The answer of the verifier.

use ruche_domain::ids::{CallId, LedgerId, TurnId};
use ruche_domain::numbers::{Epoch, Position, TreeSize};
use ruche_ledger::hash::Hash;
use ruche_ledger::verify::{FindingKind, Findings, ReviewerUse};
use serde_json::{Value, json};

/// What a verifier answers (`docs/formats/bundle.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything holds, and every tree head is signed by a key that the auditor brought.
    Verified,
    /// At least one finding.
    Tampered,
    /// Everything else holds, but payloads are missing and no erasure explains them.
    PayloadsMissing,
    /// Everything else holds, but payloads are in archives that the ledger names and the auditor did not bring.
    PayloadsArchived,
    /// Everything holds, but the key comes from the export itself: nothing is authenticated.
    SelfConsistent,
}

impl Verdict {
    /// Name in reports and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verified => "VERIFIED",
            Self::Tampered => "TAMPERED",
            Self::PayloadsMissing => "PAYLOADS_MISSING",
            Self::PayloadsArchived => "PAYLOADS_ARCHIVED",
            Self::SelfConsistent => "SELF_CONSISTENT",
        }
    }

    /// Exit code of the process. 1 is for those that could not run.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Tampered => 2,
            Self::PayloadsMissing => 3,
            Self::SelfConsistent => 4,
            Self::PayloadsArchived => 5,
        }
    }
}

/// What was found out about an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochReport {
    /// Its number. `None` for a single proof: it names a log by its origin, and an origin says no number.
    pub epoch: Option<Epoch>,
    /// Origin of its tree head; empty if that cannot be read.
    pub origin: String,
    /// Size of its tree head.
    pub size: TreeSize,
    /// Root over the records that were read; `None` if some could not be.
    pub root: Option<Hash>,
    /// Records that were read.
    pub records: u64,
    /// Verifier key that the auditor brought and that signed the tree head.
    pub authenticated_by: Option<String>,
}

/// What was found out about an export.
#[derive(Clone, Debug)]
pub struct Report {
    /// The answer.
    pub verdict: Verdict,
    /// What is wrong.
    pub findings: Findings,
    /// Which ledger the manifest names. Not authenticated by itself: what authenticates are origins and keys.
    pub ledger: Option<LedgerId>,
    /// Its epochs.
    pub epochs: Vec<EpochReport>,
    /// Records that were read.
    pub records: u64,
    /// How long it took.
    pub seconds: f64,
    /// Calls of governed turns that were asked for and did not run; as many as findings are kept.
    pub not_run: NotRun,
    /// Governed turns that are not over; as many as findings are kept. A ledger that is in use has some.
    pub not_over: NotOver,
    /// Outcomes that a person asserted; as many as findings are kept. They are no findings, and rest on that person's word.
    pub asserted: Asserted,
    /// Keys of reviewers that decided something, in the order in which they were registered.
    pub reviewers: Vec<ReviewerUse>,
    /// Archives of this ledger that were brought and not used, since it does not tell of them. They are no findings.
    pub archives_not_told: Vec<String>,
}

/// Turns that began and have not come to an end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotOver {
    /// How many turns.
    pub total: u64,
    /// The first of them: where they opened, which they are, and the state in which they stand.
    pub turns: Vec<(Position, TurnId, &'static str)>,
}

/// The negative: what was asked for and did not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotRun {
    /// How many calls.
    pub total: u64,
    /// The first of them, with the places where they were asked for.
    pub calls: Vec<(Position, CallId)>,
}

/// What persons said of calls in doubt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asserted {
    /// How many outcomes.
    pub total: u64,
    /// The first of them: where the assertion stands, and of which call it is.
    pub outcomes: Vec<(Position, CallId)>,
}

impl Report {
    pub(crate) fn new(
        findings: Findings,
        ledger: Option<LedgerId>,
        epochs: Vec<EpochReport>,
        seconds: f64,
    ) -> Self {
        let is_tampered = findings.by_kind().keys().any(|kind| kind.is_tampering());
        let is_authenticated =
            !epochs.is_empty() && epochs.iter().all(|epoch| epoch.authenticated_by.is_some());
        let verdict = if is_tampered {
            Verdict::Tampered
        } else if findings
            .by_kind()
            .keys()
            .any(|kind| *kind != FindingKind::PayloadArchived)
        {
            Verdict::PayloadsMissing
        } else if !findings.is_empty() {
            Verdict::PayloadsArchived
        } else if is_authenticated {
            Verdict::Verified
        } else {
            Verdict::SelfConsistent
        };
        let records = epochs.iter().map(|epoch| epoch.records).sum();
        Self {
            verdict,
            findings,
            ledger,
            epochs,
            records,
            seconds,
            not_run: NotRun::default(),
            not_over: NotOver::default(),
            asserted: Asserted::default(),
            reviewers: Vec::new(),
            archives_not_told: Vec::new(),
        }
    }

    /// Whether a kind was found.
    #[must_use]
    pub fn has(&self, kind: FindingKind) -> bool {
        self.findings.has(kind)
    }

    /// The report for programs. Members are added, never renamed.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let epoch = |epoch: &EpochReport| {
            json!({
                "epoch": epoch.epoch, "origin": epoch.origin, "size": epoch.size, "records": epoch.records,
                "root": epoch.root.map(|root| root.to_string()), "authenticated_by": epoch.authenticated_by,
            })
        };
        let finding = |finding: &ruche_ledger::verify::Finding| {
            json!({
                "kind": finding.kind.name(), "epoch": finding.epoch, "index": finding.index,
                "detail": finding.detail,
            })
        };
        let call = |(position, call): &(Position, CallId)| json!({ "position": position, "call": call });
        let turn = |open: &(Position, TurnId, &'static str)| {
            let (position, turn, state) = open;
            json!({ "position": position, "turn": turn, "state": state })
        };
        let reviewer = |used: &ReviewerUse| {
            json!({
                "key_id": used.key_id, "reviewer": used.reviewer, "public_key": used.public_key,
                "registered_at": used.registered_at, "revoked_at": used.revoked_at,
                "decisions": used.decisions, "trusted": used.is_trusted,
            })
        };
        let by_kind = self.findings.by_kind().iter();
        let by_kind = by_kind.map(|(kind, known)| (kind.name().to_owned(), Value::from(known.count)));
        json!({
            "verdict": self.verdict.name(),
            "exit_code": self.verdict.exit_code(),
            "ledger": self.ledger,
            "epochs": self.epochs.iter().map(epoch).collect::<Vec<_>>(),
            "records": self.records,
            "seconds": self.seconds,
            "findings_total": self.findings.total(),
            "findings_by_kind": by_kind.collect::<serde_json::Map<_, _>>(),
            "findings": self.findings.kept().iter().map(finding).collect::<Vec<_>>(),
            "proposed_and_not_run": {
                "total": self.not_run.total,
                "calls": self.not_run.calls.iter().map(call).collect::<Vec<_>>(),
            },
            "turns_not_over": {
                "total": self.not_over.total,
                "turns": self.not_over.turns.iter().map(turn).collect::<Vec<_>>(),
            },
            "outcomes_asserted": {
                "total": self.asserted.total,
                "outcomes": self.asserted.outcomes.iter().map(call).collect::<Vec<_>>(),
            },
            "archives_not_told": self.archives_not_told,
            "reviewer_keys": self.reviewers.iter().map(reviewer).collect::<Vec<_>>(),
        })
    }
}
