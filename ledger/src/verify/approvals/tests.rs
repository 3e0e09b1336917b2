//! Faults that are planted in the story of one approval, as they come out of a store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ruche_domain::action::Action;
use ruche_domain::approval::{
    KeyPossession, POSSESSION_TYPE, RequestEnvelope, RequestFacts, STATEMENT_TYPE, Statement, view,
};
use ruche_domain::envelope::{Actor, ActorKind, Provenance};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalConsumed, ApprovalDecision, ApprovalExpired, ApprovalMode, ApprovalOutcome, ApprovalRequested,
    ApprovalResolved, ApprovalRule, ApprovalVoided, ApprovalVoted, InfraKeyRegistered, InfraKeyRevoked,
    ToolCompensationStarted, ToolProposed, ToolRegistered, ToolStarted,
};
use ruche_domain::ids::{ApprovalId, CallId, LedgerId, SessionId, TenantId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Epoch, Micros, Position, StreamVersion, TreeSize};
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::{Category, StreamId};
use uuid::Uuid;

use crate::dsse::PrivateKey;
use crate::hash::Hash;
use crate::memory::MemoryStore;
use crate::payload::StoredFragment;
use crate::store::{EventStore, PreparedEvent};
use crate::testing::{Author, FixedClock, appended, ledger};
use crate::verify::approvals::digest;
use crate::verify::{Finding, FindingKind, Findings, RecordChecker, ReviewerUse, TrustedReviewers};
use crate::vote::{key_id, key_stream};

const TENANT: TenantId = TenantId(Uuid::from_u128(1));
const CALL: CallId = CallId(Uuid::from_u128(20));
const APPROVAL: ApprovalId = ApprovalId(Uuid::from_u128(20));
const AGENT: u128 = 1;
const ADMIN: u128 = 2;
const DESK: u128 = 3;
/// When all events of `Author` happen.
const NOW: Micros = Micros(1_700_000_000_000_000);

mod epochs;
mod forged;
mod people;
mod shown;
mod starts;
mod unread;
mod uses;
mod votes;

/// A ledger that is written event by event, whatever they say.
struct Story {
    clock: Arc<FixedClock>,
    store: MemoryStore,
    author: Author,
    ledger: LedgerId,
}

/// What an auditor does not get. Indexes are those of any epoch.
#[derive(Clone, Copy, Default)]
struct Missing<'a> {
    /// Records whose payloads were erased.
    erased: &'a [u64],
    /// Records that cannot be read at all.
    unreadable: &'a [u64],
    /// The end of each epoch but the last, as their successors declare.
    is_end_lost: bool,
}

fn sha256(text: &str) -> Digest {
    Digest(Hash::sha256(text.as_bytes()).0)
}

fn alice() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

fn approval_stream() -> StreamId {
    StreamId::new(Category::Approval, APPROVAL.0)
}

fn lane() -> StreamId {
    StreamId::new(Category::Lane, Uuid::from_u128(30))
}

fn requested() -> ApprovalRequested {
    let arguments = r#"{"path":"/a"}"#;
    let action = Action {
        agent: "shop".to_owned(),
        arguments: sha256(arguments),
        schema: None,
        session: SessionId(Uuid::from_u128(40)),
        side_effect: SideEffectPolicy::Irreversible,
        tenant: TENANT,
        tool: "delete_file".to_owned(),
        turn: TurnId(Uuid::from_u128(41)),
    };
    let digest = sha256(&action.canonical());
    let expires_at = Micros(NOW.0 + 1_000);
    let mut request =
        ApprovalRequested::new(digest, ApprovalRule::new(1), expires_at, ApprovalMode::Blocking);
    request.call_id = Some(CALL);
    request.tool_name = Some(action.tool);
    request.arguments = Some(arguments.to_owned());
    request.side_effect = Some(action.side_effect);
    request.agent_id = Some(action.agent);
    request.tenant_id = Some(TENANT);
    request.nonce = Some("ab".repeat(16));
    with_view(request)
}

/// The request with the digest of what reviewers are shown of it.
fn with_view(mut said: ApprovalRequested) -> ApprovalRequested {
    let envelope = RequestEnvelope {
        approval: APPROVAL,
        schema_version: AgentEvent::from(said.clone()).schema_version(),
        session: Some(SessionId(Uuid::from_u128(40))),
        turn: Some(TurnId(Uuid::from_u128(41))),
    };
    said.view_digest = Some(sha256(&view(&envelope, &said)));
    said
}

impl Story {
    async fn new() -> Self {
        Self::of(ledger(1)).await
    }

    async fn of(ledger: LedgerId) -> Self {
        let clock = Arc::new(FixedClock::at(NOW.0));
        let story = Self {
            store: MemoryStore::new(clock.clone()),
            clock,
            author: Author::new(1),
            ledger,
        };
        let opening = story.author.opening(story.ledger, 1, None);
        story.store.open_epoch(story.ledger, opening).await.unwrap();
        story
    }

    /// One with the key at 1 and the request at 2 and 3, as they should be.
    async fn asked() -> Self {
        let story = Self::new().await;
        story.append(vec![story.key(&alice())]).await;
        story
            .append(vec![story.proposed(), story.request(requested())])
            .await;
        story
    }

    fn event(&self, stream: StreamId, who: u128, fact: impl Into<AgentEvent>) -> PreparedEvent {
        let fact = fact.into();
        let mut event = self
            .author
            .typed_event(stream, fact.event_type(), fact.to_payload());
        event.event.schema_version = fact.schema_version();
        event.event.actor = Actor {
            kind: ActorKind::Client,
            reference: Some(Uuid::from_u128(who)),
        };
        event.event.session = Some(SessionId(Uuid::from_u128(40)));
        event.event.turn = Some(TurnId(Uuid::from_u128(41)));
        event.event.call = Some(CALL);
        event
    }

    fn key(&self, signer: &PrivateKey) -> PreparedEvent {
        let public = alice().public();
        let proven = KeyPossession::new(TENANT, "alice", *public.as_bytes()).unwrap();
        let proof = signer.sign(POSSESSION_TYPE, &proven.to_bytes()).unwrap();
        let bytes = Digest(*public.as_bytes());
        let said = InfraKeyRegistered::new(key_id(&public), "alice".to_owned(), bytes, proof.to_json());
        self.event(key_stream(key_id(&public)), ADMIN, said)
    }

    fn revoked(&self) -> PreparedEvent {
        let id = key_id(&alice().public());
        self.event(key_stream(id), ADMIN, InfraKeyRevoked::new(id))
    }

    fn proposed(&self) -> PreparedEvent {
        let said = ToolProposed::new("delete_file".to_owned(), r#"{"path":"/a"}"#.to_owned());
        self.event(lane(), AGENT, said)
    }

    fn request(&self, said: ApprovalRequested) -> PreparedEvent {
        self.event(approval_stream(), AGENT, said)
    }

    async fn append(&self, events: Vec<PreparedEvent>) {
        appended(self.store.append(self.ledger, self.author.append(events)).await);
    }

    /// A vote and the decision that follows from it.
    async fn vote(&self, who: u128, change: impl FnOnce(&mut ApprovalVoted)) -> Vec<PreparedEvent> {
        self.vote_on(&requested(), who, change).await
    }

    /// The same on a request that says this.
    async fn vote_on(
        &self,
        said: &ApprovalRequested,
        who: u128,
        change: impl FnOnce(&mut ApprovalVoted),
    ) -> Vec<PreparedEvent> {
        let mut voted = self.signed(said, ApprovalDecision::Approve).await;
        change(&mut voted);
        vec![self.event(approval_stream(), who, voted), self.resolved()]
    }

    /// What alice signs.
    async fn signed(&self, said: &ApprovalRequested, decision: ApprovalDecision) -> ApprovalVoted {
        let record = &self
            .store
            .read_stream(self.ledger, approval_stream(), StreamVersion::FIRST, 1)
            .await
            .unwrap()[0];
        let facts = RequestFacts {
            ledger: record.leaf.origin.clone(),
            approval_id: APPROVAL,
            position: record.position,
            leaf_hash: Digest(record.leaf_hash().0),
            action_digest: said.action_digest,
            view_digest: said.view_digest.unwrap(),
            policy_digest: said.policy_digest,
            config_digest: said.config_digest,
            nonce: said.nonce.as_ref().unwrap().parse().unwrap(),
            expires_at: said.expires_at,
        };
        let (action, shown) = (facts.action_digest, facts.view_digest);
        let id = alice().public().id();
        let statement = Statement::new(facts, "alice", &id, decision, None).unwrap();
        let envelope = alice()
            .sign(STATEMENT_TYPE, &statement.to_bytes())
            .unwrap()
            .to_json();
        ApprovalVoted::new("alice".to_owned(), decision, id, envelope, action, shown)
    }

    fn resolved(&self) -> PreparedEvent {
        let said = ApprovalResolved::new(ApprovalOutcome::Approved);
        self.event(approval_stream(), DESK, said)
    }

    fn consumed(&self, digest: Digest) -> PreparedEvent {
        let said = ApprovalConsumed::new(APPROVAL.to_string(), CALL, digest);
        self.event(approval_stream(), AGENT, said)
    }

    fn started(&self) -> PreparedEvent {
        let mut said = ToolStarted::new("delete_file".to_owned());
        said.args_digest = Some(digest(r#"{"path":"/a"}"#));
        said.side_effect = Some(SideEffectPolicy::Irreversible);
        self.event(lane(), AGENT, said)
    }

    /// The names and places of what is wrong, and what did not run.
    async fn judged(&self) -> (Vec<String>, Vec<u64>) {
        self.judged_without(&[]).await
    }

    /// The same where the payloads of these records were erased.
    async fn judged_without(&self, erased: &[u64]) -> (Vec<String>, Vec<u64>) {
        self.judged_with(erased, &[]).await
    }

    /// The same where these records cannot be read at all.
    async fn judged_with(&self, erased: &[u64], unreadable: &[u64]) -> (Vec<String>, Vec<u64>) {
        let missing = Missing {
            erased,
            unreadable,
            ..Missing::default()
        };
        let (found, checker) = self.checked(RecordChecker::new(), missing).await;
        let not_run = checker
            .proposed_and_not_run()
            .map(|(position, _)| position.index.0);
        (found, not_run.collect())
    }

    /// What is found by an auditor who trusts these people's keys, and which keys decided.
    async fn audited(&self, trusted: Option<&str>) -> (Vec<String>, Vec<ReviewerUse>) {
        let mut checker = RecordChecker::new();
        if let Some(trusted) = trusted {
            checker.trust_reviewers(TrustedReviewers::parse(trusted).unwrap());
        }
        let (found, checker) = self.checked(checker, Missing::default()).await;
        (found, checker.reviewers())
    }

    async fn checked(
        &self,
        mut checker: RecordChecker,
        missing: Missing<'_>,
    ) -> (Vec<String>, RecordChecker) {
        let records = self
            .store
            .read_ledger(self.ledger, Position::START, 100)
            .await
            .unwrap();
        let mut findings = Findings::keeping(100);
        for records in records.chunk_by(|one, next| one.position.epoch == next.position.epoch) {
            let first = &records[0];
            if first.position.epoch > Epoch(1) && missing.is_end_lost {
                checker.skip_epoch();
            }
            let size = TreeSize(records.len() as u64);
            checker.begin_epoch(first.position.epoch, &first.leaf.origin, size);
            for record in records {
                let index = &record.position.index.0;
                if missing.unreadable.contains(index) {
                    checker.skip_records(1, &mut findings);
                    continue;
                }
                let mut record = record.clone();
                if missing.erased.contains(index) {
                    record.payload = vec![StoredFragment::Missing];
                }
                checker.record(&record, &mut findings);
            }
            checker.end_epoch(&mut findings);
        }
        checker.end(&mut findings);
        // The turn of these stories is not told: what turns may do is judged by other rules.
        let of_turn = |found: &&Finding| {
            let is_ours = ["settled before", "registered", "lapsed"].map(|told| found.detail.contains(told));
            found.kind == FindingKind::IllegalTransition && !is_ours.contains(&true)
        };
        // What is not there is told at the end of the ledger, and here in its place.
        let is_missing = |found: &&Finding| found.kind == FindingKind::PayloadMissing;
        let kept = findings.kept().iter().filter(|found| !of_turn(found));
        let (missing, mut told): (Vec<_>, Vec<_>) = kept.partition(is_missing);
        for found in missing {
            let behind = told.iter().position(|told| told.index >= found.index);
            told.insert(behind.unwrap_or(told.len()), found);
        }
        let told = told
            .iter()
            .map(|found| format!("{} {}", found.kind, found.index.unwrap()));
        (told.collect(), checker)
    }

    async fn finds(&self, expected: &[&str]) {
        let (found, _) = self.judged().await;
        assert_eq!(found, expected);
    }
}

fn action() -> Digest {
    requested().action_digest
}

#[tokio::test]
async fn a_whole_story_has_no_finding() {
    let story = Story::asked().await;
    assert_eq!(story.judged().await, (vec![], vec![2]), "asked and not run");
    story.append(story.vote(DESK, |_| ()).await).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story.append(vec![story.revoked()]).await;
    assert_eq!(
        story.judged().await,
        (vec![], vec![]),
        "a later revocation changes nothing"
    );
}

/// A story up to the vote, whose call is proposed as `propose` says.
async fn voted(propose: impl FnOnce(&mut ToolProposed)) -> Story {
    let story = Story::new().await;
    story.append(vec![story.key(&alice())]).await;
    let mut said = ToolProposed::new("delete_file".to_owned(), r#"{"path":"/a"}"#.to_owned());
    said.side_effect = Some(SideEffectPolicy::Irreversible);
    said.action_digest = Some(action());
    propose(&mut said);
    let proposed = story.event(lane(), AGENT, said);
    story.append(vec![proposed, story.request(requested())]).await;
    story.append(story.vote(DESK, |_| ()).await).await;
    story
}
