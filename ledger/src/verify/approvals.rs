//! Signatures before the irreversible: whether what people decided was decided by them, on exactly that, and used once.
//!
//! Rules of `docs/formats/approval.md`, "What must hold". They are judged in the order of the ledger, which is what
//! decides whether a key was registered, revoked or used before. A payload that was erased is no evidence either way:
//! what it would have said is not a finding here. Memory: some hundred bytes for each key, request and governed call.

use std::collections::{BTreeMap, HashMap, HashSet};

use ruche_domain::approval::{RequestEnvelope, RequestFacts};
use ruche_domain::envelope::Provenance;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalDecision, ApprovalExpired, ApprovalOutcome, ApprovalRequested, ApprovalResolved, ApprovalVoted,
    InfraKeyRegistered,
};
use ruche_domain::ids::{ApprovalId, CallId, TenantId};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Epoch, Micros, Position};
use ruche_domain::stream::Category;
use uuid::Uuid;

use super::finding::{Finding, FindingKind, Findings};
use super::reviewers::{ReviewerUse, TrustedReviewers};
use crate::hash::Hash;
use crate::leaf::Leaf;
use crate::vote::{
    Ballot, RequestFault, RequestPlace, ReviewerKey, Sender, hinted_key, judge, key_stream, request_facts,
};

mod catalogue;
mod credentials;
mod keys;
mod proposals;
mod starts;
mod uses;

use catalogue::Catalogue;
use credentials::Credentials;
use keys::Keys;
use proposals::{Names, Proposal};

/// Longest time from a decision to its record that is believed, µs: waiting, trying again and finding out what became of
/// an append take less.
const RECORDING_US_MAX: u64 = 5 * 60 * 1_000_000;

/// What is known of requests, keys and proposed calls up to a position.
#[derive(Debug, Default)]
pub(super) struct ApprovalRules {
    /// The tenant whose ledger it is: a ledger has the id of its tenant.
    tenant: Option<TenantId>,
    credentials: Credentials,
    keys: Keys,
    requests: HashMap<ApprovalId, Request>,
    /// Requests of which something was erased: what they say is no evidence either way. With the epoch that they stand in.
    unknown: HashMap<ApprovalId, Epoch>,
    /// Calls whose use of an approval was erased.
    unknown_uses: HashSet<CallId>,
    /// What each call of a governed turn was proposed as.
    proposals: HashMap<CallId, Proposal>,
    /// Whose each lane is.
    names: HashMap<Uuid, Names>,
    /// The approval that each call used up and did not start with yet.
    consumed: HashMap<CallId, Use>,
    /// Calls of governed turns that were asked for and did not start.
    waiting: BTreeMap<Position, CallId>,
    asked_at: HashMap<CallId, Position>,
    catalogue: Catalogue,
    /// Records before this point could not be read.
    has_holes: bool,
    /// The last epoch in which that was so.
    holes_in: Option<Epoch>,
}

/// An approval that was used up.
#[derive(Debug)]
struct Use {
    approval: ApprovalId,
    /// The record that says so, and the first one of its append.
    at: Position,
    append: Position,
    action: Digest,
    /// Tool and arguments of the request that was signed; nothing where the request was erased.
    signed: Option<(String, Digest)>,
}

/// A request, and how far it is.
#[derive(Debug)]
struct Request {
    facts: Result<RequestFacts, RequestFault>,
    /// The epoch that it stands in.
    epoch: Epoch,
    action: Digest,
    /// What is to run, where the request says it; nobody can vote on one that does not.
    runs: Option<(String, Digest)>,
    call: Option<CallId>,
    requester: Option<Uuid>,
    /// The user of that credential, if it names one; where nothing is known of it, as the request says.
    requested_by: Option<String>,
    expires_at: Micros,
    state: State,
    /// First record of the append that holds a vote that counts, and what it says.
    vote: Option<(Position, ApprovalDecision)>,
    /// Stream of the key that the vote was signed with.
    key: Option<Uuid>,
    /// The credential that brought it.
    voter: Option<Uuid>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Requested,
    Approved,
    Closed,
    Consumed,
}

/// A record as the rules see it.
struct Seen<'a> {
    leaf: &'a Leaf,
    position: Position,
    hash: Hash,
    findings: &'a mut Findings,
}

impl Seen<'_> {
    fn found(&mut self, kind: FindingKind, detail: impl Into<String>) {
        let finding = Finding::at(kind, self.position.epoch, self.position.index.0, detail.into());
        self.findings.push(finding);
    }

    /// When it happened, by its own word, but not long before it was recorded: nobody may say so to be in time.
    fn now(&self) -> Micros {
        let recorded = self.leaf.recorded_at.0.saturating_sub(RECORDING_US_MAX);
        Micros(self.leaf.event.occurred_at.0.max(recorded))
    }

    /// First record of the append that it came in.
    fn append(&self) -> Position {
        Position {
            index: self.leaf.append.first,
            ..self.position
        }
    }
}

/// Whether the rules look at records of this type in this kind of stream. Turns that were only observed or imported are
/// not governed by anybody here.
pub(super) fn concern(event_type: &str, category: Category) -> bool {
    match category {
        Category::Approval | Category::Key => true,
        Category::Lane => matches!(
            event_type,
            "turn.opened" | "tool.proposed" | "tool.started" | "tool.compensation_started"
        ),
        Category::Tool => event_type == "tool.registered",
        Category::Access => event_type == "infra.api_key.created",
        _ => false,
    }
}

impl ApprovalRules {
    /// Says whose ledger it is, as record 0 does.
    pub(super) fn ledger(&mut self, ledger: Uuid) {
        self.tenant = Some(TenantId(ledger));
    }

    /// Says whose signatures the auditor believes.
    pub(super) fn trust_reviewers(&mut self, trusted: TrustedReviewers) {
        self.keys.trust(trusted);
    }

    /// Keys that decided something, in the order in which they were registered.
    pub(super) fn reviewers(&self) -> Vec<ReviewerUse> {
        self.keys.uses()
    }

    /// Says that records are not there. What is known of requests and calls may have changed in them, so nothing is judged
    /// of those; what is proposed and asked for from now on is. A key counts as registered as it was: that it was revoked
    /// there nobody can say. `within` is the epoch whose records they are; nothing where they are those of epochs that are over.
    pub(super) fn forget(&mut self, within: Option<Epoch>) {
        self.has_holes = true;
        self.holes_in = within.or(self.holes_in);
        self.catalogue.forget();
        let requests = self.requests.drain();
        self.unknown
            .extend(requests.map(|(approval, request)| (approval, request.epoch)));
        self.proposals.clear();
        self.consumed.clear();
        self.waiting.clear();
        self.asked_at.clear();
    }

    /// Takes a record.
    pub(super) fn record(
        &mut self,
        leaf: &Leaf,
        (position, hash): (Position, Hash),
        payload: Option<&[u8]>,
        findings: &mut Findings,
    ) {
        let event = &leaf.event;
        let mut seen = Seen {
            leaf,
            position,
            hash,
            findings,
        };
        let Some(payload) = payload else {
            self.unseen(&mut seen);
            return;
        };
        let fact = match AgentEvent::from_payload(&event.event_type, event.schema_version, payload) {
            Ok(fact) => fact,
            Err(error) => {
                // It says what it says to nobody: a start must not hide behind that, nor a revocation.
                seen.found(FindingKind::PayloadMalformed, error.to_string());
                self.unseen(&mut seen);
                return;
            }
        };
        match fact {
            AgentEvent::InfraApiKeyCreated(said) => self.credentials.made(said),
            AgentEvent::InfraKeyRegistered(said) => self.registered(&said, &mut seen),
            AgentEvent::InfraKeyRevoked(_) => self.keys.revoke(event.stream.id, position),
            // What an import says of a tool is about calls that were made elsewhere.
            AgentEvent::ToolRegistered(_) if event.provenance == Provenance::Imported => {}
            AgentEvent::ToolRegistered(said) => self.catalogue.registered(event.stream.id, said),
            AgentEvent::TurnOpened(said) => self.opened(said, leaf),
            AgentEvent::ToolProposed(said) => self.proposed(said, &mut seen),
            AgentEvent::ToolCompensationStarted(said) => self.undoing(&said, &mut seen),
            AgentEvent::ApprovalRequested(said) => self.requested(&said, &mut seen),
            AgentEvent::ApprovalVoted(said) => self.voted(&said, &mut seen),
            AgentEvent::ApprovalResolved(said) => self.resolved(&said, &mut seen),
            AgentEvent::ApprovalConsumed(said) => self.used(&said, &mut seen),
            AgentEvent::ApprovalExpired(said) => self.lapsed(&said, &mut seen),
            AgentEvent::ApprovalCancelled(_)
            | AgentEvent::ApprovalVoided(_)
            | AgentEvent::ApprovalStale(_) => self.close(&mut seen),
            AgentEvent::ToolStarted(said) => self.started(&said, &mut seen),
            _ => {}
        }
    }

    /// Whether a record says something of a governed call in a place where no rule of turns would look. Then nobody can say
    /// that it did not run.
    pub(super) fn strays(&mut self, event_type: &str, category: Category, call: CallId) -> bool {
        let strays = category != Category::Lane
            && event_type.starts_with("tool.")
            && self.proposals.contains_key(&call);
        if strays {
            self.ran(call);
        }
        strays
    }

    /// Calls of governed turns that were asked for and did not start, with their places, in order.
    pub(super) fn not_run(&self) -> impl Iterator<Item = (Position, CallId)> {
        self.waiting.iter().map(|(position, call)| (*position, *call))
    }

    /// What the leaf of an event says of a call: that it was asked for, or that it ran. That a decision opened a turn for it is
    /// neither here nor there, nor is that people are asked, or that a start was refused.
    pub(super) fn heard(&mut self, call: CallId, event_type: &str, category: Category, position: Position) {
        match (category, event_type) {
            (Category::Lane, "tool.proposed") => {
                self.asked_at.insert(call, position);
                self.waiting.insert(position, call);
            }
            (Category::Lane, "tool.deferred" | "tool.start_refused") => {}
            (Category::Lane, told) if told.starts_with("tool.") => self.ran(call),
            // It is used up by a start and by nothing else.
            (Category::Approval, "approval.consumed") => self.ran(call),
            _ => {}
        }
    }

    /// Nobody can say any more that it did not run.
    fn ran(&mut self, call: CallId) {
        if let Some(asked) = self.asked_at.remove(&call) {
            self.waiting.remove(&asked);
        }
    }

    fn registered(&mut self, said: &InfraKeyRegistered, seen: &mut Seen<'_>) {
        let stream = seen.leaf.event.stream;
        let by = seen.leaf.event.actor.reference;
        let registered = match ReviewerKey::read(said, by) {
            Ok(_) if stream != key_stream(said.key_id) => {
                Err("it stands in the stream of another key".to_owned())
            }
            Ok(mut key) => {
                if let Some(user) = self.credentials.user(by) {
                    key.registrar = user.map(str::to_owned);
                }
                let registered = self.keys.register(stream.id, key, seen.position, self.tenant);
                registered.map_err(str::to_owned)
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(fault) = registered {
            seen.found(FindingKind::ReviewerKeyInvalid, fault);
        }
    }

    /// Takes a record of which only the leaf is there.
    fn unseen(&mut self, seen: &mut Seen<'_>) {
        self.used_unseen(seen);
        self.without_payload(seen.leaf, seen.position);
        self.started_unseen(seen);
    }

    /// What a record means without its payload, by its leaf alone.
    fn without_payload(&mut self, leaf: &Leaf, position: Position) {
        let stream = leaf.event.stream.id;
        match leaf.event.event_type.as_str() {
            "infra.key.registered" => self.keys.lose(stream),
            "tool.registered" if leaf.event.provenance == Provenance::Imported => {}
            "tool.registered" => self.catalogue.erased(stream),
            "infra.key.revoked" => self.keys.revoke(stream, position),
            "approval.requested" | "approval.voted" | "approval.resolved" => {
                self.doubt(ApprovalId(stream), position.epoch);
            }
            "approval.consumed" => {
                self.unknown_uses.extend(leaf.event.call);
                self.set_state(ApprovalId(stream), State::Consumed);
            }
            "approval.expired" | "approval.cancelled" | "approval.voided" | "approval.stale" => {
                self.set_state(ApprovalId(stream), State::Closed);
            }
            _ => {}
        }
    }

    /// Nothing more is judged about a request, save that it is of its epoch: that of the first record of it that was seen.
    fn doubt(&mut self, approval: ApprovalId, seen_in: Epoch) {
        let request = self.requests.remove(&approval);
        let epoch = request.map_or(seen_in, |request| request.epoch);
        self.unknown.entry(approval).or_insert(epoch);
    }

    fn set_state(&mut self, approval: ApprovalId, state: State) {
        if let Some(request) = self.requests.get_mut(&approval) {
            request.state = state;
        }
    }

    fn requested(&mut self, said: &ApprovalRequested, seen: &mut Seen<'_>) {
        let event = &seen.leaf.event;
        let approval = ApprovalId(event.stream.id);
        let place = RequestPlace {
            origin: seen.leaf.origin.clone(),
            position: seen.position,
            leaf_hash: seen.hash,
            envelope: RequestEnvelope::of(event),
        };
        let user = self.credentials.user(event.actor.reference);
        let request = Request {
            facts: request_facts(&place, said),
            epoch: seen.position.epoch,
            action: said.action_digest,
            runs: said.tool_name.clone().zip(said.arguments.as_deref().map(digest)),
            call: event.call,
            requester: event.actor.reference,
            requested_by: user.unwrap_or(said.requested_by.as_deref()).map(str::to_owned),
            expires_at: said.expires_at,
            state: State::Requested,
            vote: None,
            key: None,
            voter: None,
        };
        // A request that lacks something cannot be voted on; one whose digests do not fit shows something else.
        let tenants = self.tenant.zip(said.tenant_id);
        if tenants.is_some_and(|(tenant, said)| tenant != said) {
            seen.found(FindingKind::RequestMismatch, "it names another tenant");
        }
        if request.requested_by != said.requested_by {
            let detail = "who asked is not whose credential it is";
            seen.found(FindingKind::RequestMismatch, detail);
        }
        if let Some(what) = self.shown_otherwise(said, seen.leaf) {
            seen.found(
                FindingKind::RequestMismatch,
                format!("the call was proposed otherwise: {what}"),
            );
        } else if let Err(fault @ (RequestFault::ActionDigest | RequestFault::ViewDigest)) = request.facts {
            seen.found(FindingKind::RequestMismatch, fault.to_string());
        }
        self.requests.insert(approval, request);
    }

    fn voted(&mut self, said: &ApprovalVoted, seen: &mut Seen<'_>) {
        let event = &seen.leaf.event;
        let Some(request) = self.requests.get_mut(&ApprovalId(event.stream.id)) else {
            if !self.has_holes && !self.unknown.contains_key(&ApprovalId(event.stream.id)) {
                seen.found(FindingKind::VoteInvalid, "there is no such request before it");
            }
            return;
        };
        let Ok(facts) = &request.facts else {
            seen.found(FindingKind::VoteInvalid, "nobody can vote on the request");
            return;
        };
        let hinted = hinted_key(&said.signature).map(|key| key_stream(key).id);
        let key = hinted.and_then(|id| self.keys.get(id));
        let may_be_unknown = self.has_holes || hinted.is_some_and(|id| self.keys.may_be(id));
        if key.is_none() && may_be_unknown {
            return self.doubt(ApprovalId(event.stream.id), seen.position.epoch);
        }
        let judged = judge(&Ballot {
            envelope: &said.signature,
            key,
            request: facts,
            requester: Sender {
                credential: request.requester,
                user: request.requested_by.as_deref(),
            },
            voter: Sender {
                credential: event.actor.reference,
                user: self.credentials.user(event.actor.reference).flatten(),
            },
            now: seen.now(),
            // The first vote that counts decides, whatever else is recorded: a no is not stepped over.
            is_open: request.state == State::Requested && request.vote.is_none(),
            now_in: Some(seen.position.epoch),
        });
        match judged {
            Ok(statement)
                if statement.decision == said.decision
                    && statement.reviewer == said.reviewer
                    && statement.key_id == said.key_id =>
            {
                request.vote = Some((seen.append(), statement.decision));
                request.key = hinted;
                request.voter = event.actor.reference;
                hinted.into_iter().for_each(|key| self.keys.decided(key));
            }
            Ok(_) => seen.found(
                FindingKind::VoteInvalid,
                "the record says otherwise than what is signed",
            ),
            Err(refused) => {
                let detail = format!("{}: {}", refused.refusal.name(), refused.detail);
                seen.found(FindingKind::VoteInvalid, detail);
            }
        }
    }

    fn resolved(&mut self, said: &ApprovalResolved, seen: &mut Seen<'_>) {
        let append = seen.append();
        let Some(request) = self.requests.get_mut(&ApprovalId(seen.leaf.event.stream.id)) else {
            return;
        };
        let approved = said.outcome == ApprovalOutcome::Approved;
        if request.state != State::Requested {
            let detail = "the request was decided before";
            seen.found(FindingKind::DecisionWithoutVote, detail);
            return;
        }
        let (state, decision) = match approved {
            true => (State::Approved, ApprovalDecision::Approve),
            // A no is somebody's word as well.
            false => (State::Closed, ApprovalDecision::Reject),
        };
        request.state = state;
        if request.vote != Some((append, decision)) {
            let detail = "no vote that counts and says so stands in its append";
            seen.found(FindingKind::DecisionWithoutVote, detail);
        }
    }

    /// Nobody is cut short: a request lapses when it says, and not before.
    fn lapsed(&mut self, said: &ApprovalExpired, seen: &mut Seen<'_>) {
        let request = self.requests.get(&ApprovalId(seen.leaf.event.stream.id));
        let open = request.filter(|request| matches!(request.state, State::Requested | State::Approved));
        let is_early = open.is_some_and(|request| {
            seen.leaf.event.occurred_at < request.expires_at || said.expired_at != request.expires_at
        });
        if is_early {
            let detail = "approval.expired: it lapsed at another time";
            seen.found(FindingKind::IllegalTransition, detail);
        }
        self.close(seen);
    }

    /// A request that is settled stays so.
    fn close(&mut self, seen: &mut Seen<'_>) {
        let approval = ApprovalId(seen.leaf.event.stream.id);
        let Some(request) = self.requests.get_mut(&approval) else {
            return;
        };
        if matches!(request.state, State::Closed | State::Consumed) {
            let detail = format!("{}: the request was settled before", seen.leaf.event.event_type);
            seen.found(FindingKind::IllegalTransition, detail);
        } else {
            request.state = State::Closed;
        }
    }
}

fn digest(text: &str) -> Digest {
    Digest(Hash::sha256(text.as_bytes()).0)
}

#[cfg(test)]
mod tests;
