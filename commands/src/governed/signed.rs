//! What a reviewer signed, judged once more when the approval is used. Between vote and start a key may be revoked, a request
//! may lapse, and who can write to the database may have changed what the records say. So nothing is believed that was found
//! out at the vote: the bytes that would run are hashed, and the vote is held against them by the judge that it passed then.

use ruche_domain::action::Action;
use ruche_domain::approval::RequestFacts;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalDecision, ApprovalVoted, StaleCause, ToolProposed, VoteRefusal};
use ruche_domain::numbers::Epoch;
use ruche_ledger::vote::{Ballot, ReviewerKey, Sender, judge, part_in_vote, request_facts};
use uuid::Uuid;

use super::propose::sha256;
use super::votes::Request;
use crate::command::PastEvent;
use crate::context::Ground;

/// The request for approval of a call, and the vote that approved it.
#[derive(Clone, Debug, Default)]
pub(super) struct Signed {
    request: Option<Request>,
    vote: Option<Vote>,
}

#[derive(Clone, Debug)]
struct Vote {
    said: ApprovalVoted,
    /// The credential that brought it.
    by: Option<Uuid>,
}

impl Signed {
    /// Takes an event of the request's stream.
    pub fn evolve(&mut self, past: &PastEvent) {
        match &past.event {
            Some(AgentEvent::ApprovalRequested(_)) => self.request = Request::of(past),
            Some(AgentEvent::ApprovalVoted(said)) if said.decision == ApprovalDecision::Approve => {
                let (said, by) = (said.clone(), past.recorded.event.actor.reference);
                self.vote = Some(Vote { said, by });
            }
            _ => {}
        }
    }

    /// The epoch in which people were asked.
    pub fn asked_in(&self) -> Option<Epoch> {
        Some(self.request.as_ref()?.place.position.epoch)
    }

    /// Why the approval does not hold for this proposal under this key in this epoch now; nothing if it does. That it has not
    /// lapsed the lane says first.
    pub fn changed(
        &self,
        proposed: &ToolProposed,
        key: Option<&ReviewerKey>,
        now_in: Option<Epoch>,
        ground: &Ground<'_>,
    ) -> Option<StaleCause> {
        // An approval without a vote, or under a key that is not there, is none.
        let (Some(request), Some(vote), Some(key)) =
            (&self.request, &self.vote, key.filter(|key| !key.revoked))
        else {
            return Some(StaleCause::ReviewerKey);
        };
        // An epoch ends where records were lost, and a vote, a start and its effect may have been among them. The same bytes
        // could be sent once more, so it is the request that has to be of this epoch.
        if now_in != Some(request.place.position.epoch) {
            return Some(StaleCause::Epoch);
        }
        let facts = request_facts(&request.place, &request.said).ok();
        let Some(facts) = facts.filter(|facts| request.is_of(proposed, facts, ground)) else {
            return Some(StaleCause::Action);
        };
        let voter = Sender {
            credential: vote.by,
            // Whose else that credential is does not matter here. The rule is that who asks, or uses, is not who decides, and
            // who decides is who signed: the envelope is good whoever carries it. That the one credential which brought it
            // uses nothing is more than the rule asks; another one of the same person may, in the verifier, too.
            user: None,
        };
        let judged = judge(&Ballot {
            envelope: &vote.said.signature,
            key: Some(key),
            request: &facts,
            requester: request.requester(),
            voter,
            now: ground.now,
            is_open: true,
            now_in,
        });
        match judged {
            Ok(statement) if statement.decision == ApprovalDecision::Approve => {
                // Who uses an approval did not give it, either: credentials of one person may be known for that by now.
                let starter = Sender {
                    credential: ground.actor.reference,
                    user: ground.user,
                };
                part_in_vote(starter, voter, key).map(|_| StaleCause::Requester)
            }
            Err(refused) => Some(match refused.refusal {
                VoteRefusal::Mismatch => StaleCause::Action,
                VoteRefusal::Requester => StaleCause::Requester,
                VoteRefusal::Epoch => StaleCause::Epoch,
                _ => StaleCause::ReviewerKey,
            }),
            Ok(_) => Some(StaleCause::ReviewerKey),
        }
    }
}

impl Request {
    /// Whether the action that it is about is this proposal, by the bytes of the arguments that an executor is given.
    fn is_of(&self, proposed: &ToolProposed, facts: &RequestFacts, ground: &Ground<'_>) -> bool {
        let envelope = &self.place.envelope;
        let (Some(agent), Some(session), Some(turn)) =
            (self.said.agent_id.clone(), envelope.session, envelope.turn)
        else {
            return false;
        };
        let action = Action {
            agent,
            arguments: sha256(proposed.arguments.as_bytes()),
            schema: proposed.schema_digest,
            session,
            side_effect: proposed.side_effect.unwrap_or_default(),
            tenant: ground.tenant,
            tool: proposed.name.clone(),
            turn,
        };
        sha256(action.canonical().as_bytes()) == facts.action_digest
    }
}
