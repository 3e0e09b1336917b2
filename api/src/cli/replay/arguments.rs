//! How a call says of what, and when.

use clap::Args;
use ruche_commands::SessionRef;
use ruche_commands::configuration::config_stream;
use ruche_commands::governed::LaneName;
use ruche_commands::tool::tool_stream;
use ruche_domain::events::ConfigScope;
use ruche_domain::ids::{ApprovalId, SessionId, TurnId};
use ruche_domain::numbers::{Micros, Position};
use ruche_ledger::references::ReferenceKey;
use ruche_replay::What;

use crate::cli::CliError;
use crate::graphql::parse_time;

/// A point in the life of a ledger.
#[derive(Clone, Copy)]
pub enum Moment {
    /// After this record.
    Position(Position),
    /// After the last record that was taken by then.
    Time(Micros),
}

/// Reads a position or a time.
pub fn moment(text: &str) -> Result<Moment, String> {
    let position = text.parse().map(Moment::Position).ok();
    let time = || parse_time(text).map(Moment::Time);
    position
        .or_else(time)
        .ok_or_else(|| "neither a position such as 1:57 nor a time such as 2026-11-29T12:00:00Z".to_owned())
}

/// Of what the state is asked.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Subject {
    /// A lane: its id, or agent/interlocutor/channel, with /thread where there is one
    #[arg(long, value_name = "ID|NAME")]
    lane: Option<String>,
    /// A turn
    #[arg(long, value_name = "ID")]
    turn: Option<TurnId>,
    /// A request for approval
    #[arg(long, value_name = "ID")]
    approval: Option<ApprovalId>,
    /// A session: its id, or your own id of it
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// A registered tool
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// A configuration: `tenant`, or a scope with your own id of it, such as agent:shop
    #[arg(long, value_name = "SCOPE[:ID]")]
    configuration: Option<String>,
}

impl Subject {
    /// What is meant, with the ids that the ledger has for names.
    pub fn what(&self, references: &ReferenceKey) -> Result<What, CliError> {
        let usage = |error: ruche_commands::CommandError| CliError::Usage(error.to_string());
        Ok(match self {
            Self { lane: Some(lane), .. } => What::Lane(match lane.parse() {
                Ok(id) => id,
                Err(_) => lane_name(lane)?.id(references),
            }),
            Self { turn: Some(turn), .. } => What::Turn(*turn),
            Self {
                approval: Some(approval),
                ..
            } => What::Approval(*approval),
            Self {
                session: Some(session),
                ..
            } => What::Session(match session.parse::<SessionId>() {
                Ok(id) => id,
                Err(_) => SessionRef::External(session.clone())
                    .resolve(references)
                    .map_err(usage)?,
            }),
            Self { tool: Some(tool), .. } => What::Tool(tool_stream(references, tool)),
            Self {
                configuration: Some(config),
                ..
            } => {
                let (scope, id) = config
                    .split_once(':')
                    .map_or((config.as_str(), None), |(scope, id)| (scope, Some(id)));
                What::Configuration(config_stream(references, config_scope(scope)?, id))
            }
            _ => {
                return Err(CliError::Usage(
                    "say of what: --lane, --turn, --session, …".to_owned(),
                ));
            }
        })
    }
}

fn lane_name(text: &str) -> Result<LaneName, CliError> {
    let parts: Vec<&str> = text.split('/').collect();
    let (agent, interlocutor, channel, thread) = match parts[..] {
        [agent, interlocutor, channel] => (agent, interlocutor, channel, None),
        [agent, interlocutor, channel, thread] => (agent, interlocutor, channel, Some(thread)),
        _ => {
            return Err(CliError::Usage(format!(
                "{text} is neither the id of a lane nor agent/interlocutor/channel; the query `lanes` lists their ids"
            )));
        }
    };
    Ok(LaneName {
        agent: agent.to_owned(),
        interlocutor: interlocutor.to_owned(),
        channel: channel.to_owned(),
        thread: thread.map(str::to_owned),
    })
}

fn config_scope(name: &str) -> Result<ConfigScope, CliError> {
    let found = ConfigScope::ALL.iter().find(|scope| scope.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = ConfigScope::ALL.iter().map(|scope| scope.name()).collect();
        CliError::Usage(format!("{name} is no scope: {}", names.join(", ")))
    })
}
