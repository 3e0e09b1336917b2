//! What was asked of a lane, worked out from what came of it. A command is not recorded, but what it says stands in the
//! events that it led to, so that the machine can be asked again.

use ruche_commands::lane::{
    CancelTurn, ClaimTurn, CommitTurn, CompleteStep, EffectOutcome, FailTurn, Held, Intent, Lane, LaneEvent,
    LeaseProof, ProposeAction, ReportCompensation, ReportEffect, ResolveApproval, ResolveOutcome,
    SentMessage, StartCompensation, StartEffect, StartStep, SubmitMessage, Undone,
};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalOutcome, ApprovalResolved, MessageReceived, MessageSent, PolicyEvaluated, Role, StaleCause,
    StartRefusal, ToolStarted, TurnTrigger,
};
use ruche_domain::ids::{ApprovalId, CallId, MessageId, TurnId};
use ruche_domain::measures::Digest;

/// Events of an append that nothing has been asked for yet.
pub(super) struct Rest<'a> {
    pub events: &'a [LaneEvent],
    pub lane: &'a Lane,
    /// Digest of the settings that a turn runs under.
    pub config_of: &'a dyn Fn(TurnId) -> Option<Digest>,
}

impl Rest<'_> {
    /// What may have been asked, so that one of these events came of it.
    pub fn intents_of(&self, event: &LaneEvent) -> Vec<Intent> {
        self.of_refused_start(event)
            .or_else(|| self.of_message(event))
            .or_else(|| self.of_worker(event))
            .or_else(|| self.of_call(event))
            .or_else(|| self.of_end(event))
            .unwrap_or_default()
    }

    /// The turn that a decision or a timer opened.
    pub fn new_turn(&self) -> TurnId {
        let opened = self.events.iter().find(|event| match &event.fact {
            AgentEvent::TurnOpened(opened) => opened.trigger == TurnTrigger::ApprovalResolution,
            _ => false,
        });
        // Where none was opened its id is not asked for.
        opened.map_or(TurnId::from_bytes([0; 16]), |event| event.turn)
    }

    fn held<T>(&self, turn: TurnId, what: T) -> Held<T> {
        // The lease that is shown is not recorded; one that did not hold would have been refused.
        let lease = self.lane.turn(turn).and_then(|turn| turn.lease.as_ref());
        let (id, epoch) = lease.map_or_else(Default::default, |lease| (lease.id.clone(), lease.epoch));
        Held {
            turn,
            lease: LeaseProof { id, epoch },
            what,
        }
    }

    /// A start that was refused is recorded behind the end of the approval that it would have used up.
    fn of_refused_start(&self, event: &LaneEvent) -> Option<Vec<Intent>> {
        let ends_approval = matches!(
            event.fact,
            AgentEvent::ApprovalStale(_) | AgentEvent::ApprovalVoided(_)
        );
        if !ends_approval && !matches!(event.fact, AgentEvent::ToolStartRefused(_)) {
            return None;
        }
        let (turn, call, refused) = self.events.iter().find_map(|event| match &event.fact {
            AgentEvent::ToolStartRefused(refused) => Some((event.turn, event.call?, refused)),
            _ => None,
        })?;
        let causes = self.events.iter().find_map(|event| match &event.fact {
            AgentEvent::ApprovalStale(stale) => Some(stale.what_changed.to_vec()),
            _ => None,
        });
        // What changed is recorded with the approval. Where there is none, that something did is all that is known.
        let changed = match refused.refusal {
            StartRefusal::RevokedKey => causes.unwrap_or_else(|| vec![StaleCause::ReviewerKey]),
            StartRefusal::Stale => causes.unwrap_or_else(|| vec![StaleCause::Action]),
            _ => Vec::new(),
        };
        let start = StartEffect {
            call,
            started: ToolStarted::new(refused.name.clone()),
            changed,
        };
        Some(vec![Intent::StartEffect(self.held(turn, start))])
    }

    fn of_message(&self, event: &LaneEvent) -> Option<Vec<Intent>> {
        let (message_id, agent_id) = match &event.fact {
            AgentEvent::TurnOpened(opened) => (opened.message_ids.first().copied()?, opened.agent_id.clone()),
            AgentEvent::TurnMessageCoalesced(coalesced) => (coalesced.message_id, None),
            _ => return None,
        };
        let message = self.events.iter().find_map(|event| match &event.fact {
            AgentEvent::MessageReceived(received) => Some(received.clone()),
            _ => None,
        });
        Some(vec![Intent::SubmitMessage(SubmitMessage {
            message_id,
            // Words that are erased are not compared.
            message: message.unwrap_or_else(|| MessageReceived::new(Role::User)),
            agent_id,
            new_turn: event.turn,
            // That the turn was sealed at once is found as a command of its own.
            flush: false,
        })])
    }

    fn of_worker(&self, event: &LaneEvent) -> Option<Vec<Intent>> {
        let turn = event.turn;
        let sent = |id: MessageId, message: MessageSent| {
            let message = SentMessage {
                message_id: id,
                message,
            };
            Intent::SendMessage(self.held(turn, message))
        };
        let intent = match &event.fact {
            AgentEvent::TurnSealed(_) => Intent::FlushTurn { turn },
            AgentEvent::TurnStarted(started) => Intent::ClaimTurn(ClaimTurn {
                lease_id: started.lease_id.clone().unwrap_or_default(),
                brain_build: started.brain_build.clone(),
            }),
            AgentEvent::InfraLeaseRenewed(_) => Intent::HeartbeatTurn(self.held(turn, ())),
            AgentEvent::TurnStepStarted(started) => {
                let (step_id, name) = (started.step_id.clone(), started.name.clone());
                Intent::StartStep(self.held(turn, StartStep { step_id, name }))
            }
            AgentEvent::TurnStepCompleted(completed) => {
                let completed = completed.clone();
                Intent::CompleteStep(self.held(turn, CompleteStep { completed }))
            }
            AgentEvent::MessageSent(message) => sent(message.message_id?, message.clone()),
            AgentEvent::TurnCommitPointReached(reached) => {
                sent(reached.message_id?, MessageSent::new(Role::Assistant))
            }
            AgentEvent::TurnCommitted(committed) => {
                let response = committed.response_message_ids.first().map(|id| SentMessage {
                    message_id: *id,
                    message: self.sent_in(*id),
                });
                let committed = committed.clone();
                Intent::CommitTurn(self.held(turn, CommitTurn { committed, response }))
            }
            _ => return None,
        };
        Some(vec![intent])
    }

    fn sent_in(&self, id: MessageId) -> MessageSent {
        let found = self.events.iter().find_map(|event| match &event.fact {
            AgentEvent::MessageSent(sent) if sent.message_id == Some(id) => Some(sent.clone()),
            _ => None,
        });
        found.unwrap_or_else(|| MessageSent::new(Role::Assistant))
    }

    fn of_call(&self, event: &LaneEvent) -> Option<Vec<Intent>> {
        if let Some(approval) = event.approval {
            return self.of_approval(event, approval);
        }
        let (turn, call) = (event.turn, event.call?);
        let report = |outcome| Intent::ReportEffect(self.held(turn, ReportEffect { call, outcome }));
        let intent = match event.fact.clone() {
            AgentEvent::ToolProposed(proposed) => {
                let wanted = ProposeAction {
                    call,
                    proposed,
                    evaluated: self.evaluated(call)?,
                    approval: self.request_of(call),
                };
                Intent::ProposeAction(self.held(turn, wanted))
            }
            AgentEvent::ToolStarted(started) => {
                // A start that is recorded found nothing changed.
                let changed = Vec::new();
                Intent::StartEffect(self.held(
                    turn,
                    StartEffect {
                        call,
                        started,
                        changed,
                    },
                ))
            }
            AgentEvent::ToolCompensationStarted(started) => {
                Intent::StartCompensation(StartCompensation { call, started })
            }
            AgentEvent::ToolCompleted(completed) => report(EffectOutcome::Completed(completed)),
            AgentEvent::ToolFailed(failed) => report(EffectOutcome::Failed(failed)),
            AgentEvent::ToolOutcomeUnknown(unknown) => report(EffectOutcome::Unknown(unknown)),
            AgentEvent::ToolOutcomeAsserted(asserted) => {
                Intent::ResolveOutcome(ResolveOutcome { call, asserted })
            }
            AgentEvent::ToolCompensated(compensated) => Intent::ReportCompensation(ReportCompensation {
                call,
                outcome: Undone::Compensated(compensated),
            }),
            AgentEvent::ToolCompensationFailed(failed) => Intent::ReportCompensation(ReportCompensation {
                call,
                outcome: Undone::Failed(failed),
            }),
            _ => return None,
        };
        Some(vec![intent])
    }

    fn evaluated(&self, call: CallId) -> Option<PolicyEvaluated> {
        self.events.iter().find_map(|event| match &event.fact {
            AgentEvent::PolicyEvaluated(evaluated) if event.call == Some(call) => Some(evaluated.clone()),
            _ => None,
        })
    }

    fn request_of(&self, call: CallId) -> Option<(ApprovalId, ruche_domain::events::ApprovalRequested)> {
        self.events
            .iter()
            .find_map(|event| match (&event.fact, event.approval) {
                (AgentEvent::ApprovalRequested(requested), Some(approval)) if event.call == Some(call) => {
                    Some((approval, requested.clone()))
                }
                _ => None,
            })
    }

    fn of_approval(&self, event: &LaneEvent, approval: ApprovalId) -> Option<Vec<Intent>> {
        let resolved = match &event.fact {
            AgentEvent::ApprovalResolved(resolved) => resolved.clone(),
            AgentEvent::ApprovalStale(_) => ApprovalResolved::new(ApprovalOutcome::Approved),
            AgentEvent::ApprovalExpired(_) => ApprovalResolved::new(ApprovalOutcome::Rejected),
            _ => return None,
        };
        let known = self.lane.approvals.get(&approval)?;
        let (mut binding, mut changed) = (known.binding, Vec::new());
        binding.config = (self.config_of)(known.turn);
        if let AgentEvent::ApprovalStale(stale) = &event.fact {
            let other =
                |digest: Option<Digest>| Some(Digest(digest.map_or([1; 32], |of| of.0.map(|byte| !byte))));
            // What changed is taken as it is recorded; that a change ends the request is decided again.
            for cause in stale.what_changed.iter() {
                match cause {
                    StaleCause::Action => binding.action = Digest(binding.action.0.map(|byte| !byte)),
                    StaleCause::Policy => binding.policy = other(known.binding.policy),
                    StaleCause::Config => binding.config = other(known.binding.config),
                    StaleCause::Session => binding.session_head = other(known.binding.session_head),
                    StaleCause::Epoch => changed.push(*cause),
                    _ => {}
                }
            }
        }
        Some(vec![Intent::ResolveApproval(ResolveApproval {
            approval,
            resolved,
            binding,
            changed,
            new_turn: self.new_turn(),
        })])
    }

    fn of_end(&self, event: &LaneEvent) -> Option<Vec<Intent>> {
        let turn = event.turn;
        let fail = |error_type: &String, error: &Option<String>| {
            let failed = |retryable| FailTurn {
                error_type: error_type.clone(),
                error: error.clone(),
                retryable,
            };
            let failed = [failed(true), failed(false)];
            failed
                .map(|failed| Intent::FailTurn(self.held(turn, failed)))
                .to_vec()
        };
        let cancel = |by: &Option<String>, reason: &Option<String>| {
            let (by, reason) = (by.clone(), reason.clone());
            vec![Intent::CancelTurn(CancelTurn { turn, by, reason })]
        };
        match &event.fact {
            AgentEvent::TurnAttemptFailed(failed) => Some(fail(&failed.error_type, &failed.error)),
            AgentEvent::TurnFailed(failed) => Some(fail(&failed.error_type, &failed.error)),
            AgentEvent::TurnCancelRequested(requested) => Some(cancel(&requested.by, &requested.reason)),
            AgentEvent::TurnCancelled(cancelled) => Some(cancel(&cancelled.by, &cancelled.reason)),
            _ => None,
        }
    }
}
