//! A worker wants to call a tool. What the call does to the world comes from the catalogue and not from the worker; what
//! nobody registered is irreversible. The arguments are held against the tool's schema, the action gets its digest, and
//! what is irreversible opens a request for approval.

use std::collections::VecDeque;

use ruche_domain::action::Action;
use ruche_domain::approval::{self, RequestEnvelope};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ApprovalMode, ApprovalRequested, ApprovalRule, InterventionPoint, PolicyEvaluated, PolicyReason,
    PolicyVerdict, ToolProposed, ToolRegistered,
};
use ruche_domain::ids::{CallId, SessionId, TurnId};
use ruche_domain::limits::PAYLOAD_BYTES_MAX;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::SideEffectPolicy;
use ruche_domain::stream::{Category, StreamId};
use ruche_domain::strict_json::{self, Profile};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::calls::{EffectName, KeyedCalls, TakenKey, Wants};
use super::{Asked, GovernedState, LaneName, LeaseRef, approval_of, held, refusal};
use crate::command::{Command, Decision, Load, PastEvent, RecordedEvent};
use crate::context::{Ground, check_external_id};
use crate::error::CommandError;
use crate::lane::{self, Intent, Lane};
use crate::tool::{Catalogue, schema_digest};

/// A worker wants to call a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProposeAction {
    /// Which lane.
    pub lane: LaneName,
    /// Which turn.
    pub turn: TurnId,
    /// The lease on it.
    pub lease: LeaseRef,
    /// Name of the tool.
    pub tool: String,
    /// The arguments, JSON text: exactly what the executor is going to be given.
    pub arguments: String,
    /// The caller's key of the effect: what has one key happens once. Needed unless the tool is pure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub business_key: Option<String>,
    /// The model provider's id of the call; it names nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_call_id: Option<String>,
    /// The agent's stated reason, for reviewers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
}

/// What a proposal is decided on.
#[derive(Clone, Debug, Default)]
pub struct ProposeState {
    governed: GovernedState,
    catalogue: Catalogue,
    keyed: KeyedCalls,
    key: TakenKey,
    /// Proposals of the turn with the same tool and arguments, the last few of them.
    alike: VecDeque<RecordedEvent>,
}

/// Calls with the same arguments that an answer names at most.
const SAME_ARGUMENTS_MAX: usize = 16;

impl Command for ProposeAction {
    type State = ProposeState;
    const NAME: &'static str = "ProposeAction";

    fn loads(&self, ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        check_external_id("/tool", &self.tool)?;
        let key = self.business_key.as_deref();
        key.map_or(Ok(()), |key| check_external_id("/businessKey", key))?;
        self.read_arguments()?;
        let tool = Catalogue::load(ground.references, &self.tool);
        Ok(vec![tool, self.lane.load(ground)?])
    }

    fn more_loads(&self, state: &ProposeState, ground: &Ground<'_>) -> Vec<Load> {
        let mut loads = state.catalogue.more_loads(ground.references);
        loads.extend(state.governed.more_loads(ground));
        let own = self.lane.id(ground.references);
        loads.extend(state.key.loads(self.effect_name(state, ground), own, ground));
        loads
    }

    fn evolve(&self, state: &mut ProposeState, event: &PastEvent) {
        if state.key.evolve(event) {
            return;
        }
        if event.stream().category == Category::Tool {
            state.catalogue.evolve(event);
            return;
        }
        let same = |call: &ToolProposed| call.name == self.tool && call.business_key == self.business_key;
        if let Some(AgentEvent::ToolProposed(call)) = &event.event
            && event.recorded.event.turn == Some(self.turn)
            && (&call.name, &call.arguments) == (&self.tool, &self.arguments)
        {
            state.alike.push_back(event.recorded.clone());
            if state.alike.len() > SAME_ARGUMENTS_MAX {
                state.alike.pop_front();
            }
        }
        state.keyed.evolve(same, event);
        state.governed.evolve(event);
    }

    fn is_settled(&self, state: &ProposeState, stream: StreamId) -> bool {
        match stream.category {
            Category::Effect => state.key.is_settled(),
            _ => state.catalogue.is_settled(stream),
        }
    }

    /// Two equal calls may both be meant, so this only warns.
    fn beside(&self, state: &ProposeState) -> Vec<RecordedEvent> {
        state.alike.iter().cloned().collect()
    }

    fn decide(&self, state: &ProposeState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        self.check_schema(state.catalogue.tool(ground.references, &self.tool), ground)?;
        let governed = &state.governed;
        let lane = governed.lane()?;
        governed.require_lease(&lane, &self.lane, self.turn, &self.lease, ground)?;
        if let Some(events) = state
            .keyed
            .holder(&lane, ground.now, &self.tool, self.business_key.as_deref())
        {
            return Ok(Decision::AlreadySo(events));
        }
        if let Some(events) = state.key.holder(ground.now)? {
            return Ok(Decision::AlreadySo(events));
        }
        let owner = governed.owners.get(&self.turn);
        let (session, _) = owner.ok_or(CommandError::NotFound { thing: "turn" })?;
        let (ordinal, call) = new_call(&lane, self.turn, ground);
        let wanted = self.wanted(state, (&lane, (ordinal, call)), *session, ground);
        let asked = Asked::from(Intent::ProposeAction(held(self.turn, &self.lease, wanted)));
        let generation = state.key.generation(call, (&lane, &state.keyed));
        let lane = self.lane.id(ground.references);
        let mut events = governed.decide_in(lane, &self.lane.channel, ground, &asked)?;
        let turn = self.turn;
        let taking = self.effect_name(state, ground).and_then(|name| {
            let wants = Wants {
                name,
                lane,
                turn,
                call,
                generation,
            };
            state.key.taking(&wants, governed, ground)
        });
        events.extend(taking);
        Ok(Decision::Append(events))
    }
}

impl ProposeAction {
    /// The effect that other lanes must not bring about as well. What changes nothing is none.
    fn effect_name(&self, state: &ProposeState, ground: &Ground<'_>) -> Option<EffectName<'_>> {
        let side_effect = state.catalogue.side_effect(ground.references, &self.tool);
        let key = self
            .business_key
            .as_deref()
            .filter(|_| side_effect.has_effect())?;
        Some(EffectName {
            interlocutor: &self.lane.interlocutor,
            tool: &self.tool,
            key,
        })
    }

    fn read_arguments(&self) -> Result<Value, CommandError> {
        let bytes = self.arguments.as_bytes();
        strict_json::read(bytes, PAYLOAD_BYTES_MAX, Profile::Exact)
            .map_err(|fault| CommandError::input(format!("/arguments{}", fault.pointer), fault.kind.reason()))
    }

    fn check_schema(&self, tool: Option<&ToolRegistered>, ground: &Ground<'_>) -> Result<(), CommandError> {
        let Some(schema) = tool.and_then(|tool| tool.schema.as_ref()) else {
            return Ok(());
        };
        let arguments = self.read_arguments()?;
        ground.schemas.fit(schema, &arguments).map_err(|faults| {
            let first = faults.into_iter().next();
            let (pointer, reason) =
                first.map_or_else(Default::default, |fault| (fault.pointer, fault.reason));
            CommandError::input(format!("/arguments{pointer}"), reason)
        })
    }

    fn wanted(
        &self,
        state: &ProposeState,
        (lane, (ordinal, call)): (&Lane, (u64, CallId)),
        session: SessionId,
        ground: &Ground<'_>,
    ) -> lane::ProposeAction {
        let tool = state.catalogue.tool(ground.references, &self.tool);
        let side_effect = state.catalogue.side_effect(ground.references, &self.tool);
        let arguments = sha256(self.arguments.as_bytes());
        let action = Action {
            agent: self.lane.agent.clone(),
            arguments,
            schema: tool.and_then(schema_digest),
            session,
            side_effect,
            tenant: ground.tenant,
            tool: self.tool.clone(),
            turn: self.turn,
        };
        let digest = sha256(action.canonical().as_bytes());
        let mut proposed = ToolProposed::new(self.tool.clone(), self.arguments.clone());
        proposed.side_effect = Some(side_effect);
        proposed.tool_kind = tool.and_then(|tool| tool.tool_kind);
        proposed.args_digest = Some(arguments);
        proposed.action_digest = Some(digest);
        proposed.schema_digest = action.schema;
        proposed.business_key.clone_from(&self.business_key);
        proposed.provider_call_id.clone_from(&self.provider_call_id);
        let asks = side_effect == SideEffectPolicy::Irreversible;
        let approval = asks.then(|| {
            let mut request = self.request(call, &action, digest, ground);
            request.ordinal = Some(ordinal);
            request.tool_version = tool.and_then(|tool| tool.version.clone());
            request.tool_owner = tool.and_then(|tool| tool.owner.clone());
            request.config_digest = state.governed.configs.get(&self.turn).copied();
            // The lane says the same when it takes the proposal. Here it is said because reviewers are shown it.
            if let Some(turn) = lane.turn(self.turn) {
                request.mode = turn.settings.approval_mode;
                request.expires_at = Micros(ground.now.0.saturating_add(turn.settings.approval_us));
            }
            (approval_of(call), with_view(request, call, &action))
        });
        lane::ProposeAction {
            call,
            proposed,
            evaluated: evaluated(call, digest, ground),
            approval,
        }
    }

    fn request(
        &self,
        call: CallId,
        action: &Action,
        digest: Digest,
        ground: &Ground<'_>,
    ) -> ApprovalRequested {
        let mut rule = ApprovalRule::new(1);
        rule.excluded = vec!["requester".to_owned()];
        let nonce = ground.references.id("nonce-of-approval", &[call.as_bytes()]);
        ApprovalRequested {
            call_id: Some(call),
            tool_name: Some(self.tool.clone()),
            arguments: Some(self.arguments.clone()),
            side_effect: Some(action.side_effect),
            decision_id: Some(decision_id(call, ground)),
            policy_digest: Some(no_policy()),
            justification: self.justification.clone(),
            schema_digest: action.schema,
            agent_id: Some(action.agent.clone()),
            tenant_id: Some(action.tenant),
            lane_id: Some(self.lane.id(ground.references)),
            channel: Some(self.lane.channel.clone()),
            nonce: Some(nonce.as_simple().to_string()),
            business_key: self.business_key.clone(),
            interlocutor_id: Some(self.lane.interlocutor.clone()),
            requested_by: ground.user.map(str::to_owned),
            ..ApprovalRequested::new(digest, rule, Micros(0), ApprovalMode::Blocking)
        }
    }
}

/// The request with the digest of what reviewers are shown of it.
fn with_view(request: ApprovalRequested, call: CallId, action: &Action) -> ApprovalRequested {
    let event = AgentEvent::from(request.clone());
    let envelope = RequestEnvelope {
        approval: approval_of(call),
        schema_version: event.schema_version(),
        session: Some(action.session),
        turn: Some(action.turn),
    };
    let view = approval::view(&envelope, &request);
    ApprovalRequested {
        view_digest: Some(sha256(view.as_bytes())),
        ..request
    }
}

/// The next call of a turn, with its number there. A call that a later turn took over keeps its number.
fn new_call(lane: &Lane, turn: TurnId, ground: &Ground<'_>) -> (u64, CallId) {
    let numbers = lane.calls_of(turn).count() as u64..;
    let id = |number| CallId::governed(ground.references.call(turn, number).0);
    let mut ids = numbers.map(|number| (number, id(number)));
    ids.find(|(_, id)| !lane.calls.contains_key(id))
        .expect("a lane has fewer calls than there are numbers")
}

fn decision_id(call: CallId, ground: &Ground<'_>) -> String {
    ground.references.id("decision", &[call.as_bytes()]).to_string()
}

/// The answer of no policy at all. What is irreversible needs an approval all the same.
fn evaluated(call: CallId, action: Digest, ground: &Ground<'_>) -> PolicyEvaluated {
    let mut evaluated = PolicyEvaluated::new(
        decision_id(call, ground),
        InterventionPoint::PreToolCall,
        PolicyVerdict::Allow,
        action,
        no_policy(),
    );
    evaluated.reasons = vec![PolicyReason::new("no_policy".to_owned())];
    evaluated.action_digest = Some(action);
    evaluated
}

/// Digest of the bundle that has no rules: the empty text.
pub(super) fn no_policy() -> Digest {
    sha256(b"")
}

pub(super) fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

impl GovernedState {
    /// Whether the worker holds the turn, in whatever state it is.
    pub(super) fn require_lease(
        &self,
        lane: &Lane,
        name: &LaneName,
        turn: TurnId,
        lease: &LeaseRef,
        ground: &Ground<'_>,
    ) -> Result<(), CommandError> {
        self.require_worker(turn, ground)?;
        let heartbeat = Intent::HeartbeatTurn(held(turn, lease, ()));
        let command = self.lane_command(&name.channel, ground, heartbeat);
        lane::decide(lane, &command)
            .map(drop)
            .map_err(|rejection| refusal(rejection, ground.now))
    }

    /// Whether the worker holds the turn still, so that it may be told once more what it was told.
    pub(super) fn holds(&self, name: &LaneName, turn: TurnId, lease: &LeaseRef, ground: &Ground<'_>) -> bool {
        let held = |lane| self.require_lease(&lane, name, turn, lease, ground);
        self.lane().and_then(held).is_ok()
    }
}
