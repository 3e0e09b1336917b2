//! Which archives are used, by this verifier and by `verify.py`, and what they explain.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ruche_domain::envelope::{ACFEvent, Actor};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::infra::InfraPayloadsArchived;
use ruche_domain::ids::LedgerId;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Epoch, LeafIndex, Micros, Position, SchemaVersion};
use ruche_domain::ports::{Clock, event_id};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::epoch::Opener;
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::memory::{MemoryStore, MemoryTreeHeads};
use ruche_ledger::note::NoteSigner;
use ruche_ledger::payload::{Fragment, JSON, StoredFragment};
use ruche_ledger::seal::{LogKeys, Sealer};
use ruche_ledger::store::{AppendRequest, EventStore, PreparedEvent, Record};
use ruche_ledger::testing::{FixedClock, SeededRandom};
use ruche_ledger::tree_head::SignedTreeHead;
use serde_json::Value;
use uuid::Uuid;

use crate::archive::{Archive, ArchiveWriter};
use crate::{BundleWriter, Options, Trust, verify_bundle};

/// Records of conversations: two whole bundles, and some.
const RECORDS: u64 = 600;

struct Keys;

impl LogKeys for Keys {
    fn signer(&self, origin: &str) -> NoteSigner {
        seed().log_signer(origin).unwrap()
    }

    fn label(&self, ledger: LedgerId) -> [u8; 16] {
        seed().origin_label(ledger)
    }
}

fn seed() -> MasterSeed {
    MasterSeed::from_slice(&[7; 32]).unwrap()
}

/// Runs a future of the in-memory engine, which never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the in-memory engine does not wait"),
    }
}

/// A ledger with imported conversations.
struct Tenant {
    ledger: LedgerId,
    store: Arc<MemoryStore>,
    sealer: Arc<Sealer>,
    clock: Arc<FixedClock>,
    random: Arc<SeededRandom>,
}

impl Tenant {
    fn new(number: u64) -> Self {
        let clock = Arc::new(FixedClock::at(1_700_000_000_000_000));
        let random = Arc::new(SeededRandom::new(number));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let sealer = Arc::new(Sealer {
            events: store.clone(),
            trees: store.clone(),
            heads: Arc::new(MemoryTreeHeads::default()),
            keys: Arc::new(Keys),
        });
        let ledger = LedgerId(Uuid::from_u128(number.into()));
        let opener = Opener {
            sealer: sealer.clone(),
            clock: clock.clone(),
            random: random.clone(),
            deployment: "test.example".to_owned(),
        };
        now(opener.create(ledger)).unwrap();
        let tenant = Self {
            ledger,
            store,
            sealer,
            clock,
            random,
        };
        for _ in 0..RECORDS / 100 {
            let said = (0..100)
                .map(|_| tenant.event(Category::Observed, "message.sent", b"{\"text\":\"x\"}".to_vec()));
            tenant.append(said.collect());
        }
        tenant
    }

    fn event(&self, category: Category, event_type: &str, payload: Vec<u8>) -> PreparedEvent {
        let event = ACFEvent::new(
            event_id(&*self.clock, &*self.random),
            StreamId::new(category, self.ledger.0),
            event_type,
            SchemaVersion(1),
            Micros(self.clock.now().0),
            Actor::SYSTEM,
        );
        let payload = vec![Fragment::plain(&*self.random, JSON, payload).unwrap()];
        PreparedEvent { event, payload }
    }

    fn append(&self, events: Vec<PreparedEvent>) {
        now(self.store.append(
            self.ledger,
            AppendRequest::new(Vec::new(), events, Vec::new()).unwrap(),
        ))
        .unwrap();
    }

    fn seal(&self) -> SignedTreeHead {
        now(self.sealer.seal(self.ledger)).unwrap().unwrap()
    }

    fn records(&self) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        loop {
            let from = records
                .last()
                .map_or(Position::new(1, 0), |last| last.position.next());
            let page = now(self.store.read_ledger(self.ledger, from, 1_000)).unwrap();
            if page.is_empty() {
                return records;
            }
            records.extend(page);
        }
    }

    /// An archive of the first records up to `to`, with the payloads that `has` says.
    fn archive(&self, root: &Path, to: u64, has: impl Fn(u64) -> bool) -> Archive {
        let head = self.seal();
        let range = (LeafIndex(0), LeafIndex(to));
        let mut writer =
            ArchiveWriter::create(root, self.ledger, (Epoch(1), &head.head().origin), range).unwrap();
        let records: Vec<_> = self
            .records()
            .iter()
            .map(|record| without(record, &|index| index == 0 || !has(index)))
            .collect();
        for bundle in records[..to as usize].chunks_exact(256) {
            writer.bundle(bundle).unwrap();
        }
        writer.finish(b"a tree head").unwrap()
    }

    /// Records that the archive was made.
    fn tell(&self, archive: &Archive) {
        let (range, manifest) = (archive.range(), archive.manifest());
        let (from, to) = (Position::new(1, 0), Position::new(1, range.to.0 - 1));
        let digest = Digest(range.digest.0);
        let said =
            InfraPayloadsArchived::new(range.archive, digest, from, to, manifest.payloads, manifest.bytes);
        let said = AgentEvent::from(said);
        self.append(vec![self.event(
            Category::Ledger,
            said.event_type(),
            said.to_payload(),
        )]);
    }

    /// An export without the payloads that `lacks` says.
    fn export(&self, folder: &Path, lacks: impl Fn(u64) -> bool) {
        let head = self.seal();
        let mut writer = BundleWriter::create(folder, self.ledger).unwrap();
        let key = Keys.signer(&head.head().origin);
        writer.begin_epoch(Epoch(1), &head, key.verifier()).unwrap();
        for record in self.records() {
            writer
                .record(&record.leaf_bytes, &without(&record, &lacks))
                .unwrap();
        }
        writer.end_epoch().unwrap();
        writer.finish().unwrap();
    }

    /// What both verifiers say of such an export: exit code, kinds of findings, and archives that were not used.
    fn verdict(&self, lacks: impl Fn(u64) -> bool, archives: &[&Path]) -> (i64, Vec<String>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let export = folder.path().join("export");
        self.export(&export, lacks);
        let key = Keys.signer(&self.seal().head().origin).verifier().to_string();
        let options = Options {
            archives: archives.iter().map(|path| PathBuf::from(*path)).collect(),
            ..Options::default()
        };
        let trust = Trust::keys(vec![key.parse().unwrap()]);
        let report = verify_bundle(&export, &trust, &options, &mut |_| {}).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/formats/verify.py");
        let mut python = Command::new("python3");
        python
            .arg("-B")
            .arg(script)
            .arg(&export)
            .args(["--json", "--key", &key]);
        for archive in archives {
            python.arg("--archive").arg(archive);
        }
        let said = python.output().unwrap().stdout;
        let said = summary(&serde_json::from_slice(&said).unwrap());
        assert_eq!(summary(&report.to_json()), said, "ruche-verify, and verify.py");
        said
    }
}

fn summary(report: &Value) -> (i64, Vec<String>, Vec<String>) {
    let texts = |values: &Value, text: &dyn Fn(&Value) -> String| {
        values.as_array().unwrap().iter().map(text).collect()
    };
    let mut kinds: Vec<String> = texts(&report["findings"], &|found| {
        found["kind"].as_str().unwrap().to_owned()
    });
    kinds.dedup();
    let not_used = texts(&report["archives_not_told"], &|name| {
        name.as_str().unwrap().to_owned()
    });
    (report["exit_code"].as_i64().unwrap(), kinds, not_used)
}

/// The payload of a record, without what is not there.
fn without(record: &Record, lacks: &dyn Fn(u64) -> bool) -> Vec<StoredFragment> {
    match lacks(record.position.index.0) {
        true => vec![StoredFragment::Missing; record.payload.len()],
        false => record.payload.clone(),
    }
}

fn said(code: i64, kinds: &[&str], not_used: &[&str]) -> (i64, Vec<String>, Vec<String>) {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    (code, owned(kinds), owned(not_used))
}

/// What left the store in these tests: all of the first two bundles but the opening of the ledger.
fn left(index: u64) -> bool {
    (1..512).contains(&index)
}

#[test]
fn archives_of_several_ledgers_share_a_folder() {
    let root = tempfile::tempdir().unwrap();
    for tenant in [Tenant::new(1), Tenant::new(2)] {
        tenant.tell(&tenant.archive(root.path(), 512, |_| true));
        // The other one may not be told of yet.
        assert_eq!(tenant.verdict(left, &[root.path()]), said(0, &[], &[]));
        assert_eq!(tenant.verdict(left, &[]), said(5, &["PAYLOAD_ARCHIVED"], &[]));
    }
}

#[test]
fn an_archive_of_which_the_ledger_does_not_tell_is_as_good_as_none() {
    let (told, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tenant = Tenant::new(1);
    let archive = tenant.archive(told.path(), 256, |_| true);
    tenant.tell(&archive);
    let untold = tenant.archive(other.path(), 512, |_| true).range().archive;
    let both = [told.path(), other.path()];
    assert_eq!(tenant.verdict(|_| false, &both), said(0, &[], &[&untold]));
    assert_eq!(
        tenant.verdict(|index| index == 300, &both),
        said(3, &["PAYLOAD_MISSING"], &[&untold])
    );
    // It is another one in the place of the one that is told of, too.
    fs::remove_dir_all(told.path().join(&archive.range().archive)).unwrap();
    let changed = tenant
        .archive(told.path(), 256, |index| index != 3)
        .range()
        .archive;
    assert_eq!(
        tenant.verdict(|index| index == 4, &[told.path()]),
        said(5, &["PAYLOAD_ARCHIVED"], &[&changed])
    );
}

#[test]
fn what_an_archive_lacks_that_was_brought_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let tenant = Tenant::new(1);
    tenant.tell(&tenant.archive(root.path(), 512, |index| index != 300));
    assert_eq!(tenant.verdict(left, &[]), said(5, &["PAYLOAD_ARCHIVED"], &[]));
    assert_eq!(
        tenant.verdict(left, &[root.path()]),
        said(3, &["PAYLOAD_MISSING"], &[])
    );
    assert_eq!(
        tenant.verdict(|index| left(index) && index != 300, &[root.path()]),
        said(0, &[], &[])
    );
}

#[test]
fn of_several_archives_of_a_range_all_are_looked_into() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tenant = Tenant::new(1);
    tenant.tell(&tenant.archive(first.path(), 256, |index| index < 100));
    tenant.tell(&tenant.archive(second.path(), 512, |index| index >= 100));
    let both = [first.path(), second.path()];
    assert_eq!(tenant.verdict(left, &both), said(0, &[], &[]));
    // What one of them lacks may be in the other.
    assert_eq!(
        tenant.verdict(left, &both[..1]),
        said(5, &["PAYLOAD_ARCHIVED"], &[])
    );
}

#[test]
fn a_bundle_that_is_not_what_it_was_is_a_finding() {
    let root = tempfile::tempdir().unwrap();
    let tenant = Tenant::new(1);
    let archive = tenant.archive(root.path(), 512, |_| true);
    tenant.tell(&archive);
    let bundle = root.path().join(archive.range().archive).join("e1/payload/001");
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[50] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let found = said(2, &["PAYLOAD_MISMATCH", "PAYLOAD_ARCHIVED"], &[]);
    assert_eq!(tenant.verdict(left, &[root.path()]), found);
}
