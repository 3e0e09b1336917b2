//! Faults that an operator with the keys plants in copies of the ledger that the conversations made. All that is changed is
//! hashed, linked, voted on and signed again, so that nothing but the rule can find it; where hashes and signatures are the
//! fault, they are not. The auditor's own program and R1 say what is wrong and where, and nothing else.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ruche_domain::ids::SessionId;
use ruche_domain::numbers::{Epoch, Position};
use ruche_ledger::hash::leaf_hash;
use ruche_ledger::memory::{MemoryStore, MemoryTreeHeads};
use ruche_ledger::payload::{Fragment, StoredFragment};
use ruche_ledger::seal::Sealer;
use ruche_ledger::store::{AppendOutcome, AppendRequest, EpochOpening, EventStore, PreparedEvent};
use ruche_ledger::testing::FixedClock;
use ruche_ledger_keys::{MasterSeedFile, ReviewerKeyFile};
use ruche_replay::Budget;
use ruche_replay::verify::{Range, Report, Verification};
use ruche_tests::server::Home;
use serde_json::{Value, json};

use super::{VERIFIER, story};
use crate::approvals::script;
use crate::verification::planted::faults::{CALLS, Expected, Fault, SIGNED, STORED, TURNS, UNSIGNED};
use crate::verification::planted::work::{Operator, Planted, Work};
use crate::verification::rewritten::records;

/// Faults at least, as was promised.
const FAULTS_MIN: usize = 20;
/// What R1 calls an append that the machine does not decide so.
const NOT_DECIDED: &str = "ILLEGAL_TRANSITION";

/// What is wrong, and at which index.
type Found = BTreeSet<(String, Option<u64>)>;

/// The ledger, to be copied.
pub struct Copies {
    folder: PathBuf,
    operator: Operator,
    seed: Arc<MasterSeedFile>,
    runtime: tokio::runtime::Runtime,
    pub whole: Work,
}

impl Copies {
    /// Of what a server left, with an export beside it.
    pub fn of(home: &Home, folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let (ledger, all) = runtime.block_on(records(home));
        let seed = MasterSeedFile::load_or_create(&home.keys).expect("the seed");
        let reviewers = ["alice"].iter().chain(&story::ONCE).map(|name| {
            let file = ReviewerKeyFile::load(&folder.join(format!("{name}.key")));
            file.expect("the reviewer's key").key
        });
        Self {
            folder: folder.to_owned(),
            operator: Operator::of(ledger, &all, &seed),
            seed: Arc::new(seed),
            whole: Work::of(all, reviewers.collect()),
            runtime,
        }
    }

    /// Plants them all, many in a copy: each in a session of its own.
    pub fn each_fault_is_found(&self) {
        let mut same = self.whole.clone();
        same.link();
        self.operator.assert_same(&same, &self.folder.join("export"));
        self.nothing_is_found_where_nothing_is_wrong();
        self.a_turn_without_its_end_is_told();
        let people: Vec<&Fault> = SIGNED.iter().chain(UNSIGNED).collect();
        let copies = [
            ("turns", TURNS.iter().collect()),
            ("calls", CALLS.iter().collect()),
            ("people", people),
        ];
        let mut planted = STORED.len() + self.tree_heads_are_judged(&same);
        for (name, faults) in &copies {
            let (work, expected) = self.planted(faults);
            let found = self.auditor_finds(name, &work);
            assert_eq!(found, places(&expected, &work), "{name}");
            self.replay_finds(&work, &expected, &found);
            planted += faults.len();
        }
        let (work, expected) = self.planted(&STORED.iter().collect::<Vec<_>>());
        assert_eq!(self.auditor_finds("stored", &work), places(&expected, &work));
        assert!(planted >= FAULTS_MIN, "{planted}");
    }

    fn planted(&self, faults: &[&Fault]) -> (Work, Vec<Expected>) {
        let mut work = self.whole.clone();
        let expected = faults.iter().map(|fault| fault.planted(&mut work)).collect();
        work.link();
        (work, expected)
    }

    /// One record more in front of all others is no fault: what is found in copies is not what making them does.
    fn nothing_is_found_where_nothing_is_wrong(&self) {
        let mut work = self.whole.clone();
        let like = work.at("tool.registered", 0);
        work.insert(like + 1, like, None);
        work.link();
        assert_eq!(self.auditor_finds("good", &work), Found::new());
        self.the_script_says_what_became_of(&work, "good");
        let report = self.replay(&work);
        assert_eq!((report.findings, report.unsealed), (Vec::new(), 0));
    }

    /// The script of the documents on a request of a real conversation.
    fn the_script_says_what_became_of(&self, work: &Work, name: &str) {
        let used = work.records.iter().find(|record| record.is("approval.consumed"));
        let approval = used.expect("an approval").leaf.event.stream.id.to_string();
        let folder = self.folder.join(name);
        let key = self.operator.signer.verifier().to_string();
        let told = script(folder.to_str().expect("a path in UTF-8"), &approval, &key);
        let told = told.expect("it verifies");
        assert!(
            told.contains(r#""outcome": "used", "reviewer": "alice""#),
            "{told}"
        );
    }

    /// Tree heads of somebody else, and of other records; how many.
    fn tree_heads_are_judged(&self, same: &Work) -> usize {
        let nowhere = |name: &str| Found::from([(name.to_owned(), None)]);
        let mut other = same.clone();
        let at = other.at("message.sent", 9);
        other.say(at, |said| {
            said["text"] = "Nothing of the kind was ever said.".into()
        });
        other.link();
        let folder = self.folder.join("changed");
        self.operator
            .write_under(&self.operator.head(same), &other, &folder);
        assert_eq!(found(&self.audited(&folder)), nowhere("ROOT_MISMATCH"));

        let mut swapped = same.clone();
        swapped.records.swap(at, at + 1);
        let folder = self.folder.join("swapped");
        self.operator
            .write_under(&self.operator.head(same), &swapped, &folder);
        let told = found(&self.audited(&folder));
        for place in [at, at + 1] {
            let swapped = ("RECORDS_SWAPPED".to_owned(), Some(place as u64));
            assert!(told.contains(&swapped), "{told:?}");
        }

        let stranger = ruche_ledger::keys::MasterSeed::from_slice(&[7; 32]).expect("32 bytes");
        let stranger = Operator {
            ledger: self.operator.ledger,
            signer: stranger.log_signer(&self.operator.origin).expect("an origin"),
            origin: self.operator.origin.clone(),
        };
        let folder = self.folder.join("stranger");
        stranger.write(same, &folder);
        assert_eq!(found(&self.audited(&folder)), nowhere("TREE_HEAD_UNTRUSTED"));
        3
    }

    /// What did not come to its end is no fault, and told.
    fn a_turn_without_its_end_is_told(&self) {
        let mut work = self.whole.clone();
        let committed = work
            .records
            .iter()
            .rposition(|record| record.is("turn.committed"));
        let committed = committed.expect("a turn");
        let of = work.records[committed].leaf.event.turn;
        let is_opened = |record: &&Planted| record.is("turn.opened") && record.leaf.event.turn == of;
        let opened = work.records.iter().find(is_opened).expect("it was opened").mark;
        let end = work.behind(committed);
        work.records.drain(work.front(committed)..end);
        work.link();
        let folder = self.folder.join("endless");
        self.operator.write(&work, &folder);
        let report = self.audited(&folder);
        assert_eq!(found(&report), Found::new());
        let place = Position::new(1, work.place(opened) as u64);
        let open = json!([{ "position": place, "turn": of, "state": "PROCESSING" }]);
        assert_eq!(report["turns_not_over"], json!({ "total": 1, "turns": open }));
    }

    fn auditor_finds(&self, name: &str, work: &Work) -> Found {
        let folder = self.folder.join(name);
        self.operator.write(work, &folder);
        found(&self.audited(&folder))
    }

    /// What the auditor's program says of an export under the key that the auditor knows.
    fn audited(&self, export: &Path) -> Value {
        let key = self.operator.signer.verifier().to_string();
        let output = Command::new(VERIFIER)
            .arg(export)
            .args(["--key", &key, "--json"])
            .output();
        let output = output.expect("the verifier starts");
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        let code = if found(&report).is_empty() { 0 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{report}");
        report
    }

    /// R1 finds what the auditor does, at the same places. Beside that it finds what the machine, which goes on from what is
    /// there, does not decide so: in sessions with a fault, and nowhere else.
    fn replay_finds(&self, work: &Work, expected: &[Expected], found: &Found) {
        let report = self.replay(work);
        assert_eq!(
            report.total(),
            report.findings.len() as u64,
            "all of them are told"
        );
        let at = |position: Option<Position>| position.map(|position| position.index.0);
        let all = report.findings.iter();
        let all: Found = all
            .map(|fault| (fault.name.to_owned(), at(fault.position)))
            .collect();
        let missing: Vec<_> = found.difference(&all).collect();
        assert!(missing.is_empty(), "R1 does not find {missing:?}");
        let wrong: HashSet<SessionId> = expected.iter().filter_map(|fault| fault.session).collect();
        for (name, index) in all.difference(found) {
            let at = index
                .and_then(|index| work.records.get(index as usize))
                .expect("a record");
            let session = at.leaf.event.session.expect("a record of a session");
            assert!(
                name == NOT_DECIDED && wrong.contains(&session),
                "{name} at {index:?}"
            );
        }
    }

    /// What R1 says of these records.
    fn replay(&self, work: &Work) -> Report {
        self.runtime.block_on(async {
            let events = self.stored(work).await;
            let heads = Arc::new(MemoryTreeHeads::default());
            let sealer = Sealer {
                events: events.clone(),
                trees: events.clone(),
                heads: heads.clone(),
                keys: self.seed.clone(),
            };
            sealer.seal(self.operator.ledger).await.expect("it is sealed");
            let verification = Verification {
                events: events.clone(),
                trees: events,
                heads,
                keys: self.seed.clone(),
            };
            let (range, budget) = (Range::default(), Budget::unbounded());
            let report = verification.verify(self.operator.ledger, range, &budget, &|_, _| ());
            report.await.expect("the ledger is read")
        })
    }

    /// A store that holds exactly these records.
    async fn stored(&self, work: &Work) -> Arc<MemoryStore> {
        let clock = Arc::new(FixedClock::at(0));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let ledger = self.operator.ledger;
        for append in work.records.chunk_by(|a, b| a.append == b.append) {
            let first = &append[0].leaf;
            clock.0.store(first.recorded_at.0, Ordering::SeqCst);
            let mut events: Vec<_> = append.iter().map(prepared).collect();
            if first.index.0 == 0 {
                let opening = EpochOpening {
                    origin: self.operator.origin.clone(),
                    expected_end: None,
                    epoch: Epoch(1),
                    record: events.remove(0),
                };
                store.open_epoch(ledger, opening).await.expect("a new ledger");
                continue;
            }
            let request = AppendRequest::new(Vec::new(), events, first.keys.clone());
            let outcome = store.append(ledger, request.expect("within the limits")).await;
            assert!(
                matches!(outcome, Ok(AppendOutcome::Appended { duplicate: false, .. })),
                "{outcome:?}"
            );
        }
        let head = store.head(ledger).await.expect("a head").expect("records");
        let last = work.records.last().expect("records");
        let last = leaf_hash(&last.leaf.encode());
        assert_eq!(head.last_leaf_hash, Some(last), "it holds other records");
        store
    }
}

/// An event as it stands, with its payload.
fn prepared(record: &Planted) -> PreparedEvent {
    let fragments = record.payload.iter().zip(&record.leaf.payload);
    let payload = fragments.map(|(stored, commitment)| match stored {
        StoredFragment::Present { opening, bytes } => Fragment {
            commitment: commitment.clone(),
            opening: *opening,
            bytes: bytes.clone().into(),
        },
        StoredFragment::Missing | StoredFragment::Archived(_) => panic!("nothing was erased"),
    });
    PreparedEvent {
        event: record.leaf.event.clone(),
        payload: payload.collect(),
    }
}

/// What a report finds, and where.
fn found(report: &Value) -> Found {
    let findings = report["findings"].as_array().expect("findings");
    assert_eq!(report["findings_total"], findings.len(), "all of them are told");
    let found = |finding: &Value| {
        let kind = finding["kind"].as_str().expect("a kind").to_owned();
        (kind, finding["index"].as_u64())
    };
    findings.iter().map(found).collect()
}

/// What has to be found, and where.
fn places(expected: &[Expected], work: &Work) -> Found {
    let places = expected.iter().flat_map(|fault| fault.places(work));
    places
        .map(|(kind, place)| (kind.name().to_owned(), Some(place)))
        .collect()
}
