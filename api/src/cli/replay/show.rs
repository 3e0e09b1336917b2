//! States for people.

use ruche_domain::numbers::Micros;
use ruche_replay::verify::Report;
use ruche_replay::{
    ApprovalView, CallView, ConfigurationView, LaneView, SessionView, State, ToolView, TurnView, View,
};

use crate::out::{Table, harmless, time};

/// What something was.
pub fn state(state: &State) -> String {
    let what = match &state.state {
        None => "there was none yet".to_owned(),
        Some(View::Lane(lane)) => of_lane(lane),
        Some(View::Turn(turn)) => of_turns([turn]),
        Some(View::Approval(approval)) => of_approval(approval),
        Some(View::Session(session)) => of_session(session),
        Some(View::Tool(tool)) => of_tool(tool),
        Some(View::Configuration(config)) => of_configuration(config),
    };
    let mut text = format!(
        "at {}, recorded {}\n\n{what}\n\ndigest {}",
        state.position,
        time(state.recorded_at),
        state.digest
    );
    if let Some(position) = state.undecidable_from {
        text.push_str(&format!(
            "\nThe payload of record {position} is gone: what it said, and what followed from it, is not in this state."
        ));
    }
    text
}

/// What is known, one in a line.
fn pairs(pairs: &[(&str, Option<String>)]) -> String {
    let mut table = Table::new(["", ""]);
    for (name, value) in pairs {
        if let Some(value) = value {
            table.row([(*name).to_owned(), value.clone()]);
        }
    }
    // The header of a table without names is an empty line.
    table.to_string().trim_start_matches('\n').to_owned()
}

fn moment(at: Option<Micros>) -> String {
    at.map(time).unwrap_or_default()
}

fn of_lane(lane: &LaneView) -> String {
    let mut text = pairs(&[
        ("lane", Some(lane.id.to_string())),
        ("agent", lane.agent.clone()),
        ("interlocutor", lane.interlocutor.clone()),
        ("channel", lane.channel.clone()),
        ("thread", lane.thread.clone()),
        ("due", lane.due_at.map(time)),
    ]);
    text = format!("{text}\n\n{}", of_turns(&lane.turns));
    if !lane.approvals.is_empty() {
        let mut table = Table::new(["approval", "state", "mode", "expires", "call"]);
        for approval in &lane.approvals {
            table.row([
                approval.id.to_string(),
                approval.state.to_owned(),
                approval.mode.to_owned(),
                time(approval.expires_at),
                approval.call.to_string(),
            ]);
        }
        text = format!("{text}\n\n{table}");
    }
    text
}

fn of_turns<'a>(turns: impl IntoIterator<Item = &'a TurnView>) -> String {
    let mut table = Table::new(["turn", "state", "attempts", "opened", "waits for", "lease until"]);
    let mut calls: Vec<&CallView> = Vec::new();
    let mut steps = Table::new(["step", "turn", "attempt", "begun", "done"]);
    let mut has_steps = false;
    for turn in turns {
        for step in &turn.told.steps {
            has_steps = true;
            steps.row([
                step.id.clone(),
                turn.id.to_string(),
                step.attempt.to_string(),
                moment(step.started_at),
                moment(step.completed_at),
            ]);
        }
        let waits = match (turn.awaits_decision, turn.awaits_outcome, turn.not_before) {
            (Some(approval), ..) => format!("decision {approval}"),
            (None, true, _) => "an outcome".to_owned(),
            (None, false, Some(at)) => format!("a worker, from {}", time(at)),
            (None, false, None) => String::new(),
        };
        table.row([
            turn.id.to_string(),
            turn.state.to_owned(),
            turn.attempts.to_string(),
            time(turn.opened_at),
            waits,
            moment(turn.lease.as_ref().map(|lease| lease.expires_at)),
        ]);
        calls.extend(&turn.calls);
    }
    let mut text = table.to_string();
    if has_steps {
        text = format!("{text}\n\n{steps}");
    }
    if calls.is_empty() {
        return text;
    }
    let mut of_calls = Table::new(["call", "tool", "side effect", "gate", "effect", "starts"]);
    for call in calls {
        of_calls.row([
            call.id.to_string(),
            call.tool.clone(),
            call.side_effect.to_owned(),
            call.gate.to_owned(),
            call.effect.unwrap_or("not started").to_owned(),
            call.attempts.to_string(),
        ]);
    }
    format!("{text}\n\n{of_calls}")
}

fn of_approval(approval: &ApprovalView) -> String {
    let id = |id: Option<String>| id;
    let text = pairs(&[
        ("approval", Some(approval.id.to_string())),
        ("state", Some(approval.state.to_owned())),
        ("tool", approval.tool.clone()),
        ("action digest", Some(approval.action_digest.to_string())),
        ("expires", Some(time(approval.expires_at))),
        ("lane", id(approval.lane.map(|lane| lane.to_string()))),
        ("turn", id(approval.turn.map(|turn| turn.to_string()))),
        ("call", id(approval.call.map(|call| call.to_string()))),
    ]);
    if approval.votes.is_empty() {
        return text;
    }
    let mut table = Table::new(["vote", "reviewer", "says"]);
    for vote in &approval.votes {
        let refused = || format!("refused: {}", vote.refused.unwrap_or_default());
        table.row([
            vote.position.to_string(),
            vote.reviewer.clone().unwrap_or_default(),
            vote.decision.map_or_else(refused, str::to_owned),
        ]);
    }
    format!("{text}\n\n{table}")
}

fn of_session(session: &SessionView) -> String {
    let text = pairs(&[
        ("session", Some(session.id.to_string())),
        ("status", Some(session.status.to_owned())),
        ("started", Some(time(session.started_at))),
        ("ended", session.ended_at.map(time)),
        ("end reason", session.end_reason.map(str::to_owned)),
        (
            "records",
            Some(format!(
                "{}, {} to {}",
                session.records, session.first, session.last
            )),
        ),
    ]);
    let mut scenarios = Table::new(["scenario", "version", "step", "passed"]);
    for scenario in &session.scenarios {
        scenarios.row([
            scenario.scenario.clone(),
            scenario.version.clone().unwrap_or_default(),
            scenario.step.clone().unwrap_or_default(),
            scenario.passed.join(", "),
        ]);
    }
    let text = match session.scenarios.is_empty() {
        true => text,
        false => format!("{text}\n\n{scenarios}"),
    };
    if session.turns.is_empty() {
        return text;
    }
    let mut table = Table::new(["turn", "state", "attempts", "calls", "stream"]);
    for turn in &session.turns {
        table.row([
            turn.id.to_string(),
            turn.state.to_owned(),
            turn.attempts.to_string(),
            turn.calls.to_string(),
            turn.stream.clone(),
        ]);
    }
    format!("{text}\n\n{table}")
}

fn of_tool(tool: &ToolView) -> String {
    pairs(&[
        ("tool", Some(tool.name.clone())),
        ("side effect", Some(tool.side_effect.to_owned())),
        ("kind", tool.kind.map(str::to_owned)),
        ("version", tool.version.clone()),
        (
            "schema digest",
            tool.schema_digest.map(|digest| digest.to_string()),
        ),
        ("undone by", tool.compensation_tool.clone()),
        ("registered", Some(tool.registered.to_string())),
        (
            "decides",
            Some(
                if tool.decides {
                    "yes"
                } else {
                    "no, only an import said so"
                }
                .to_owned(),
            ),
        ),
    ])
}

fn of_configuration(config: &ConfigurationView) -> String {
    let id = config.scope_id.as_deref();
    let text = pairs(&[
        (
            "scope",
            Some(id.map_or(config.scope.to_owned(), |id| format!("{} {id}", config.scope))),
        ),
        ("version", Some(config.version.to_string())),
        ("published", Some(config.published.to_string())),
        ("values digest", Some(config.values_digest.to_string())),
    ]);
    let mut table = Table::new(["key", "value"]);
    for (key, value) in &config.values {
        table.row([key.clone(), harmless(&value.to_string())]);
    }
    format!("{text}\n\n{table}")
}

/// What a verification found.
pub fn report(report: &Report) -> String {
    let verdict = match report.exit_code() {
        0 => "HOLDS: nothing is wrong".to_owned(),
        3 => "PAYLOADS MISSING: nothing else is wrong".to_owned(),
        _ => format!("DOES NOT HOLD: {} findings", report.total()),
    };
    let mut text = format!(
        "{verdict}\n{} to {}: {} records ({} read)\n\n",
        report.from, report.to, report.records, report.records_read
    );
    if !report.findings.is_empty() {
        let mut table = Table::new(["finding", "at", "what"]);
        for found in &report.findings {
            let epoch = || {
                found
                    .epoch
                    .map_or_else(String::new, |epoch| format!("epoch {epoch}"))
            };
            let place = found.position.map_or_else(epoch, |position| position.to_string());
            table.row([found.name.to_owned(), place, found.detail.clone()]);
        }
        text.push_str(&format!("{table}\n"));
        let more = report.total() - report.findings.len() as u64;
        if more > 0 {
            text.push_str(&format!("and {more} more\n"));
        }
        text.push('\n');
    }
    let heads: Vec<String> = report
        .tree_heads
        .iter()
        .map(|head| format!("{} ({})", head.size, head.kept))
        .collect();
    let heads = if heads.is_empty() {
        "none".to_owned()
    } else {
        heads.join(", ")
    };
    text.push_str(&pairs(&[
        (
            "appends of lanes decided again",
            Some(report.decided.appends.to_string()),
        ),
        ("idempotency keys", Some(report.decided.keys.to_string())),
        ("votes", Some(report.decided.votes.to_string())),
        ("tree heads, by size", Some(heads)),
        ("records that none signs yet", Some(report.unsealed.to_string())),
    ]));
    for not in &report.not_covered {
        text.push_str(&format!(
            "\nnot covered: {} of {}, from {} on",
            not.count, not.what, not.first
        ));
    }
    text
}
