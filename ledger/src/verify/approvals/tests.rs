//! Faults that are planted in the story of one approval, as they come out of a store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ruche_domain::action::Action;
use ruche_domain::approval::{
    KeyPossession, POSSESSION_TYPE, RequestEnvelope, RequestFacts, STATEMENT_TYPE, Statement, view,
};
use ruche_domain::envelope::{Actor, ActorKind};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalConsumed, ApprovalDecision, ApprovalExpired, ApprovalMode, ApprovalOutcome, ApprovalRequested,
    ApprovalResolved, ApprovalRule, ApprovalVoided, ApprovalVoted, InfraKeyRegistered, InfraKeyRevoked,
    ToolCompensationStarted, ToolProposed, ToolRegistered, ToolStarted,
};
use ruche_domain::ids::{ApprovalId, CallId, LedgerId, SessionId, TenantId, TurnId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Micros, Position, StreamVersion, TreeSize};
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

mod people;
mod shown;
mod starts;

/// A ledger that is written event by event, whatever they say.
struct Story {
    clock: Arc<FixedClock>,
    store: MemoryStore,
    author: Author,
    ledger: LedgerId,
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
        let (found, checker) = self.checked(RecordChecker::new(), erased, unreadable).await;
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
        let (found, checker) = self.checked(checker, &[], &[]).await;
        (found, checker.reviewers())
    }

    async fn checked(
        &self,
        mut checker: RecordChecker,
        erased: &[u64],
        unreadable: &[u64],
    ) -> (Vec<String>, RecordChecker) {
        let records = self
            .store
            .read_ledger(self.ledger, Position::START, 100)
            .await
            .unwrap();
        let mut findings = Findings::keeping(100);
        let first = &records[0];
        checker.begin_epoch(
            first.position.epoch,
            &first.leaf.origin,
            TreeSize(records.len() as u64),
        );
        for mut record in records {
            if unreadable.contains(&record.position.index.0) {
                checker.skip_records(1, &mut findings);
                continue;
            }
            if erased.contains(&record.position.index.0) {
                record.payload = vec![StoredFragment::Missing];
            }
            checker.record(&record, &mut findings);
        }
        checker.end_epoch(&mut findings);
        // The turn of these stories is not told: what turns may do is judged by other rules.
        let of_turn = |found: &&Finding| {
            found.kind == FindingKind::IllegalTransition && !found.detail.contains("settled before")
        };
        let kept = findings.kept().iter().filter(|found| !of_turn(found));
        let told = kept.map(|found| format!("{} {}", found.kind, found.index.unwrap()));
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

/// A ledger says whose key a key is; an auditor knows it from the people.
#[tokio::test]
async fn an_approval_under_a_key_that_nobody_vouched_for() {
    let story = Story::asked().await;
    let bob = PrivateKey::from_seed(&[77; 32]).public().to_hex();
    let alice = alice().public();
    assert_eq!(story.audited(None).await, (vec![], vec![]), "nothing was decided");
    story.append(story.vote(DESK, |_| ()).await).await;
    let (found, used) = story.audited(Some(&format!("bob {bob}"))).await;
    assert_eq!(found, [""; 0], "decided and not used");
    let expected = ReviewerUse {
        key_id: key_id(&alice),
        public_key: alice.to_hex(),
        reviewer: "alice".to_owned(),
        registered_at: Position::new(1, 1),
        revoked_at: None,
        decisions: 1,
        is_trusted: Some(false),
    };
    assert_eq!(used, std::slice::from_ref(&expected));
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story.append(vec![story.revoked()]).await;
    let revoked_at = Some(Position::new(1, 8));
    for (trusted, found, is_trusted) in [
        (None, &[][..], None),
        (Some(format!("alice {}", alice.to_hex())), &[], Some(true)),
        (Some(format!("bob {bob}")), &["REVIEWER_UNTRUSTED 6"], Some(false)),
        (
            Some(format!("bob {}", alice.to_hex())),
            &["REVIEWER_UNTRUSTED 6"],
            Some(false),
        ),
    ] {
        let audited = story.audited(trusted.as_deref()).await;
        assert_eq!(audited.0, found, "{trusted:?}");
        let used = ReviewerUse {
            revoked_at,
            is_trusted,
            ..expected.clone()
        };
        assert_eq!(audited.1, [used], "{trusted:?}");
    }
}

#[tokio::test]
async fn an_approval_of_another_action_or_that_nobody_gave() {
    let story = Story::asked().await;
    story.append(story.vote(DESK, |_| ()).await).await;
    story
        .append(vec![story.consumed(Digest([0; 32])), story.started()])
        .await;
    story
        .finds(&["APPROVAL_MISUSED 6", "EFFECT_WITHOUT_APPROVAL 7"])
        .await;

    let story = Story::asked().await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story
        .finds(&["APPROVAL_MISUSED 4", "EFFECT_WITHOUT_APPROVAL 5"])
        .await;

    let story = Story::asked().await;
    story.append(vec![story.resolved()]).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story.finds(&["DECISION_WITHOUT_VOTE 4"]).await;
}

#[tokio::test]
async fn an_approval_is_used_once() {
    let story = Story::asked().await;
    story.append(story.vote(DESK, |_| ()).await).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story
        .finds(&["APPROVAL_USED_TWICE 8", "EFFECT_WITHOUT_APPROVAL 9"])
        .await;
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

#[tokio::test]
async fn what_was_decided_is_not_decided_again() {
    let story = voted(|_| ()).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story.append(vec![story.resolved()]).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    let found = [
        "DECISION_WITHOUT_VOTE 8",
        "APPROVAL_USED_TWICE 9",
        "EFFECT_WITHOUT_APPROVAL 10",
    ];
    story.finds(&found).await;
}

/// A payload that nobody can read is no way around the rules.
#[tokio::test]
async fn payloads_that_say_nothing_are_told_and_a_revocation_counts_all_the_same() {
    let unreadable = |story: &Story, event: PreparedEvent| {
        let broken = story
            .author
            .typed_event(event.event.stream, &event.event.event_type, b"[]".to_vec());
        PreparedEvent {
            event: event.event,
            payload: broken.payload,
        }
    };
    let story = Story::asked().await;
    let vote = story.vote(DESK, |_| ()).await;
    story.append(vec![unreadable(&story, story.revoked())]).await;
    story.append(vote).await;
    let found = ["PAYLOAD_MALFORMED 4", "VOTE_INVALID 5", "DECISION_WITHOUT_VOTE 6"];
    story.finds(&found).await;

    let story = voted(|_| ()).await;
    story.append(vec![unreadable(&story, story.started())]).await;
    // That it started its leaf says, and that nothing was used up for that no leaf denies.
    let found = ["PAYLOAD_MALFORMED 6", "EFFECT_WITHOUT_APPROVAL 6"];
    story.finds(&found).await;
}

#[tokio::test]
async fn votes_that_do_not_count() {
    let both = &["VOTE_INVALID 4", "DECISION_WITHOUT_VOTE 5"];
    let story = Story::asked().await;
    story.append(story.vote(AGENT, |_| ()).await).await;
    story.finds(both).await;

    let story = Story::asked().await;
    let vote = story.vote(DESK, |voted| {
        voted.signature = voted.signature.replace("\"sig\":\"", "\"sig\":\"AAAA")
    });
    story.append(vote.await).await;
    story.finds(both).await;

    let story = Story::asked().await;
    let vote = story.vote(DESK, |voted| voted.reviewer = "bob".to_owned());
    story.append(vote.await).await;
    story.finds(both).await;

    let story = Story::asked().await;
    let vote = story.vote(DESK, |_| ()).await;
    story.append(vec![story.revoked()]).await;
    story.append(vote).await;
    story.finds(&["VOTE_INVALID 5", "DECISION_WITHOUT_VOTE 6"]).await;

    let story = Story::new().await;
    story.append(vec![story.request(requested())]).await;
    story.append(story.vote(DESK, |_| ()).await).await;
    story.finds(&["VOTE_INVALID 2", "DECISION_WITHOUT_VOTE 3"]).await;
}

#[tokio::test]
async fn a_key_of_which_nobody_shows_the_private_half() {
    let story = Story::new().await;
    story
        .append(vec![story.key(&PrivateKey::from_seed(&[9; 32]))])
        .await;
    story.finds(&["REVIEWER_KEY_INVALID 1"]).await;
}

#[tokio::test]
async fn a_request_that_shows_something_else() {
    let mut other = requested();
    other.arguments = Some(r#"{"path":"/b"}"#.to_owned());
    let mut justified = requested();
    justified.justification = Some("harmless".to_owned());
    for request in [other, justified] {
        let story = Story::new().await;
        story.append(vec![story.request(request)]).await;
        story.finds(&["REQUEST_MISMATCH 1"]).await;
    }
}

/// What was erased is missing, and nothing is concluded from that.
#[tokio::test]
async fn an_erased_payload_is_no_evidence_against_what_rests_on_it() {
    let story = voted(|_| ()).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    // The key, the proposal, the request, the vote, the decision, the use and the start.
    for at in 1..=7 {
        let (found, not_run) = story.judged_without(&[at]).await;
        assert_eq!(found, [format!("PAYLOAD_MISSING {at}")]);
        assert!(not_run.is_empty(), "that it started, the leaf says");
    }
    // What is not erased is judged: a start that nobody allowed is found beside it.
    let story = Story::asked().await;
    story.append(vec![story.started()]).await;
    let (found, _) = story.judged_without(&[2]).await;
    assert_eq!(found, ["PAYLOAD_MISSING 2", "EFFECT_WITHOUT_APPROVAL 4"]);
}

/// What commits to no payload was never written by Ruche, and was not erased either.
#[tokio::test]
async fn a_record_that_never_had_a_payload_is_not_taken_for_an_erased_one() {
    let story = voted(|_| ()).await;
    let mut started = story.started();
    started.payload.clear();
    story.append(vec![started]).await;
    // That it started its leaf says, and that nothing was used up for that no leaf denies.
    let found = ["PAYLOAD_MALFORMED 6", "EFFECT_WITHOUT_APPROVAL 6"];
    story.finds(&found).await;
}

#[tokio::test]
async fn a_request_is_settled_once() {
    let lapsed = |story: &Story| {
        let said = ApprovalExpired::new(Micros(NOW.0 + 1_000));
        story.event(approval_stream(), AGENT, said)
    };
    let story = voted(|_| ()).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story.append(vec![lapsed(&story)]).await;
    story.finds(&["ILLEGAL_TRANSITION 8"]).await;

    let story = Story::asked().await;
    story.append(vec![lapsed(&story)]).await;
    let voided = story.event(approval_stream(), AGENT, ApprovalVoided::default());
    story.append(vec![voided]).await;
    story.append(story.vote(DESK, |_| ()).await).await;
    let found = [
        "ILLEGAL_TRANSITION 5",
        "VOTE_INVALID 6",
        "DECISION_WITHOUT_VOTE 7",
    ];
    story.finds(&found).await;
}

#[tokio::test]
async fn a_hole_excuses_what_began_before_it_and_nothing_behind_it() {
    // Proposed, asked for and never voted on: the start is found, whatever cannot be read in front of the proposal.
    let story = Story::asked().await;
    story.append(vec![story.started()]).await;
    let found = vec!["EFFECT_WITHOUT_APPROVAL 4".to_owned()];
    assert_eq!(story.judged().await.0, found);
    assert_eq!(story.judged_with(&[], &[1]).await.0, found);
    // The vote and the use may have stood in what lies between. Whether the call ran before is not known either.
    let nothing: (Vec<String>, Vec<u64>) = (vec![], vec![]);
    assert_eq!(story.judged_with(&[], &[3]).await, nothing);

    // A whole story in which single records cannot be read.
    let story = voted(|_| ()).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    for unreadable in 1..=7 {
        assert_eq!(
            story.judged_with(&[], &[unreadable]).await,
            nothing,
            "{unreadable}"
        );
    }
}

#[tokio::test]
async fn nobody_is_in_time_by_their_own_word() {
    // Recorded six minutes behind the end of the request, said to be in time.
    let used = async |late: u64| {
        let story = voted(|_| ()).await;
        story.clock.0.store(NOW.0 + 1_000 + late, Ordering::SeqCst);
        story
            .append(vec![story.consumed(action()), story.started()])
            .await;
        story.judged().await.0
    };
    assert_eq!(used(60 * 1_000_000).await, [""; 0]);
    assert_eq!(
        used(6 * 60 * 1_000_000).await,
        ["APPROVAL_MISUSED 6", "EFFECT_WITHOUT_APPROVAL 7"]
    );
}

#[tokio::test]
async fn an_approval_whose_key_is_revoked_before_the_start() {
    let story = voted(|_| ()).await;
    story.append(vec![story.revoked()]).await;
    story
        .append(vec![story.consumed(action()), story.started()])
        .await;
    story
        .finds(&["APPROVAL_MISUSED 7", "EFFECT_WITHOUT_APPROVAL 8"])
        .await;
}

/// A ledger has the id of its tenant, and record 0 says it.
#[tokio::test]
async fn a_key_and_a_request_of_another_tenant() {
    let story = Story::of(ledger(2)).await;
    story.append(vec![story.key(&alice())]).await;
    story
        .append(vec![story.proposed(), story.request(requested())])
        .await;
    story
        .finds(&["REVIEWER_KEY_INVALID 1", "REQUEST_MISMATCH 3"])
        .await;
}

/// The first vote that counts decides. A no that nobody acted on is a no.
#[tokio::test]
async fn a_no_is_not_stepped_over() {
    let story = Story::asked().await;
    let no = story.signed(&requested(), ApprovalDecision::Reject).await;
    story.append(vec![story.event(approval_stream(), DESK, no)]).await;
    story.append(story.vote(DESK, |_| ()).await).await;
    let found = ["VOTE_INVALID 5", "DECISION_WITHOUT_VOTE 6"];
    story.finds(&found).await;
}
