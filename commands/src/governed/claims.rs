//! Claims by agent: a worker takes whatever turn of its agent waits. Which lane is tried is a hint of whoever sends the
//! command; that the lane is the agent's and has a turn that is ready, its own stream says.

use ruche_domain::ids::LaneId;
use serde::Serialize;

use super::{Asked, GovernedState, lane_stream, refusal};
use crate::command::{Command, Decision, Load, PastEvent};
use crate::context::{Ground, check_external_id};
use crate::error::CommandError;
use crate::lane::{self, Intent, Rejection};

/// A worker takes a turn of an agent. Sent again under its key it gives the first answer, whatever lane is tried then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimTurnOfAgent {
    /// The client's own id of the agent.
    pub agent: String,
    /// Only on this channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Build of the program that runs the agent.
    pub brain_build: Option<String>,
    /// The lane that is tried. Without one nothing is taken, and an earlier answer is found all the same. The client does
    /// not say it, so it is no part of the request.
    #[serde(skip)]
    pub lane: Option<LaneId>,
}

impl Command for ClaimTurnOfAgent {
    type State = GovernedState;
    const NAME: &'static str = "ClaimTurnOfAgent";

    fn loads(&self, _ground: &Ground<'_>) -> Result<Vec<Load>, CommandError> {
        check_external_id("/agent", &self.agent)?;
        let channel = self.channel.as_deref();
        channel.map_or(Ok(()), |channel| check_external_id("/channel", channel))?;
        Ok(self
            .lane
            .map(|lane| Load::whole(lane_stream(lane)).going_forward())
            .into_iter()
            .collect())
    }

    fn more_loads(&self, state: &GovernedState, ground: &Ground<'_>) -> Vec<Load> {
        state.more_loads(ground)
    }

    fn evolve(&self, state: &mut GovernedState, event: &PastEvent) {
        state.evolve(event);
    }

    fn decide(&self, state: &GovernedState, ground: &Ground<'_>) -> Result<Decision, CommandError> {
        // A lane that does not say whose it is any more is no lane of somebody else.
        state.require_readable()?;
        let meant = state.agent.as_ref() == Some(&self.agent)
            && self
                .channel
                .as_ref()
                .is_none_or(|channel| state.channel.as_ref() == Some(channel));
        let Some(lane) = self.lane.filter(|_| meant) else {
            let nothing = Rejection::NothingReady { not_before: None };
            return Err(refusal(nothing, ground.now));
        };
        let lease = ground
            .references
            .id("lease", &[lane.as_bytes(), ground.idempotency_key.as_bytes()]);
        let asked = Asked {
            after_timers: true,
            ..Asked::from(Intent::ClaimTurn(lane::ClaimTurn {
                lease_id: lease.to_string(),
                brain_build: self.brain_build.clone(),
            }))
        };
        let channel = state.channel.as_deref().unwrap_or_default();
        state
            .decide_in(lane, channel, ground, &asked)
            .map(Decision::Append)
    }
}
