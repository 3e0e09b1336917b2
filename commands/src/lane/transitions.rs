//! The table of the machine: what leads from which state to which. Documents and refusals are made from it, and the
//! property test holds every decision against it.
//!
//! Rows 1 to 27 are those of the design; rows 28 to 37 are what its state READY and its workers need beside them.

use std::sync::LazyLock;

use super::state::TurnState::{self, *};

/// One row of the table, or one of several entries of a row.
#[derive(Clone, Copy, Debug)]
pub struct Transition {
    /// Number of the row.
    pub row: u8,
    /// States that it leads from; empty for a turn that opens.
    pub from: &'static [TurnState],
    /// What happens.
    pub trigger: &'static str,
    /// What has to hold.
    pub guard: &'static str,
    /// States that it leads to; empty where the state stays as it is.
    pub to: &'static [TurnState],
    /// The events of the append.
    pub events: &'static str,
    /// Commands of which the row is the answer.
    pub commands: &'static [&'static str],
}

const fn row(
    row: u8,
    from: &'static [TurnState],
    trigger: &'static str,
    guard: &'static str,
    to: &'static [TurnState],
    events: &'static str,
    commands: &'static [&'static str],
) -> Transition {
    Transition {
        row,
        from,
        trigger,
        guard,
        to,
        events,
        commands,
    }
}

const MESSAGE: &[&str] = &["SubmitMessage"];
const CANCEL: &[&str] = &["CancelTurn"];
const PROPOSE: &[&str] = &["ProposeAction"];
const DECIDE: &[&str] = &["ResolveApproval"];
const EXPIRE: &[&str] = &["ResolveApproval", "FireTimer"];
const FAIL: &[&str] = &["FailTurn", "FireTimer"];
const SEAL: &[&str] = &["FireTimer", "FlushTurn", "SubmitMessage"];

/// The table.
#[rustfmt::skip]
pub const TRANSITIONS: &[Transition] = &[
    row(1, &[], "message", "no turn takes it in", &[Accumulating], "message.received, turn.opened", &[]),
    row(2, &[Accumulating], "message", "not full, window open", &[],
        "message.received, turn.message_coalesced", MESSAGE),
    row(3, &[Queued], "message", "coalesce_queued", &[], "message.received, turn.message_coalesced", MESSAGE),
    row(4, &[Accumulating], "deadline, full or flush", "lane free", &[Ready],
        "turn.sealed, config.effective_resolved, turn.readied", SEAL),
    row(5, &[Accumulating], "deadline, full or flush", "lane held", &[Queued],
        "turn.sealed, config.effective_resolved, turn.queued", SEAL),
    row(6, &[Accumulating, Queued, Ready], "cancel", "no attempt began", &[Cancelled], "turn.cancelled", CANCEL),
    row(7, &[Queued], "lane freed", "oldest", &[Ready], "turn.readied", &[]),
    row(8, &[Processing], "effect starts", "allowed; approval unused, unexpired and of this action, if one is needed",
        &[], "approval.consumed?, tool.started, turn.commit_point_reached?", &["StartEffect"]),
    row(9, &[Processing, Cancelling], "effect settles", "", &[], "tool.completed, tool.failed or tool.outcome_unknown",
        &["ReportEffect"]),
    row(10, &[Processing], "approval needed, blocking", "no effect under way", &[AwaitingApproval],
        "tool.proposed, policy.evaluated, approval.requested", PROPOSE),
    row(11, &[Processing], "approval needed, detached", "", &[],
        "tool.proposed, policy.evaluated, approval.requested, tool.deferred", PROPOSE),
    row(11, &[], "detached approval decided", "", &[Ready, Queued],
        "turn.opened, config.effective_resolved, turn.readied or turn.queued", &[]),
    row(12, &[AwaitingApproval], "approved", "all that was signed is as it was", &[Processing],
        "approval.resolved, infra.lease_renewed", DECIDE),
    row(13, &[AwaitingApproval], "rejected or expired", "", &[Processing],
        "approval.resolved or approval.expired, infra.lease_renewed; with `on_deny = fail` row 25", EXPIRE),
    row(14, &[AwaitingApproval], "approved", "what was signed changed", &[Processing],
        "approval.stale, infra.lease_renewed", DECIDE),
    row(15, &[Queued, Ready, Processing, AwaitingApproval], "message", "CANCEL_IN_PROGRESS, no commit point",
        &[Cancelling], "turn.supersede_requested, approval.cancelled?, message.retracted?; then row 17, 18 or 19",
        MESSAGE),
    row(16, &[Ready, Processing, AwaitingApproval], "message", "another strategy, or past a commit point", &[],
        "turn.supersede_refused?", MESSAGE),
    row(17, &[Cancelling], "–", "an effect is under way", &[], "–", &[]),
    row(18, &[Cancelling], "drained", "effects to undo", &[Compensating], "turn.drained, turn.compensating",
        &["ReportEffect", "ResolveOutcome", "FireTimer"]),
    row(19, &[Cancelling], "drained", "nothing to undo", &[Superseded, Cancelled, Failed],
        "turn.drained?, turn.superseded, turn.cancelled or turn.failed",
        &["ReportEffect", "ResolveOutcome", "FireTimer"]),
    row(20, &[Compensating], "effect undone", "was started; others are left", &[], "tool.compensated", &["ReportCompensation"]),
    row(20, &[Compensating], "all undone", "one that was given up makes it FAILED", &[Superseded, Cancelled, Failed],
        "tool.compensated, turn.superseded, turn.cancelled or turn.failed", &["ReportCompensation", "ResolveOutcome"]),
    row(21, &[Compensating], "undoing failed", "was started; tries left", &[], "tool.compensation_failed", &["ReportCompensation"]),
    row(21, &[Compensating], "undoing given up", "others are left", &[],
        "tool.compensation_failed, infra.manual_intervention_required", &["ReportCompensation", "FireTimer"]),
    row(21, &[Compensating], "undoing given up", "nothing else is left", &[Failed],
        "tool.compensation_failed, infra.manual_intervention_required, turn.failed",
        &["ReportCompensation", "FireTimer"]),
    row(22, &[Ready, Processing, AwaitingApproval], "cancel", "no commit point", &[Cancelling],
        "turn.cancel_requested, approval.cancelled?, message.retracted?; then row 17, 18 or 19", CANCEL),
    row(23, &[Processing], "done", "every effect settled", &[Committed],
        "turn.committed, message.sent?, approval.voided?", &["CommitTurn"]),
    row(24, &[Processing], "retryable error", "attempts left", &[Ready],
        "turn.attempt_failed, turn.readied", &["FailTurn"]),
    row(24, &[Processing], "retryable error", "an irreversible effect is in doubt", &[AwaitingApproval],
        "tool.outcome_unknown?, turn.attempt_failed, infra.manual_intervention_required", &["FailTurn"]),
    row(25, &[Processing], "fatal error, no attempt left, overdue", "nothing to undo or to ask", &[Failed],
        "turn.failed, infra.manual_intervention_required?", FAIL),
    row(25, &[Processing], "fatal error, no attempt left, overdue", "something to undo or to ask", &[Cancelling],
        "turn.attempt_failed, infra.manual_intervention_required?; then row 17 or 18", FAIL),
    row(26, &[Processing], "lease lapsed", "attempts left", &[Ready],
        "infra.lease_expired, tool.outcome_unknown?, turn.readied", &["FireTimer"]),
    row(26, &[Processing], "lease lapsed", "an irreversible effect is in doubt", &[AwaitingApproval],
        "infra.lease_expired, tool.outcome_unknown, infra.manual_intervention_required", &["FireTimer"]),
    row(27, &[Committed, Superseded, Cancelled, Failed], "anything", "", &[], "refused: ILLEGAL_TRANSITION", &[]),
    row(28, &[Ready], "claim", "not before its time", &[Processing], "turn.started", &["ClaimTurn"]),
    row(29, &[Processing, AwaitingApproval, Cancelling], "heartbeat", "lease held", &[], "infra.lease_renewed",
        &["HeartbeatTurn"]),
    row(30, &[Processing], "words go out", "", &[], "message.sent, turn.commit_point_reached?", &["SendMessage"]),
    row(31, &[Processing], "call proposed", "nobody has to decide", &[], "tool.proposed, policy.evaluated", PROPOSE),
    row(32, &[Ready, Processing, Cancelling, Compensating], "a person says how an effect came out", "in doubt", &[],
        "tool.outcome_asserted", &["ResolveOutcome"]),
    row(32, &[AwaitingApproval], "a person says how an effect came out", "none is left in doubt", &[Ready],
        "tool.outcome_asserted, turn.readied", &["ResolveOutcome"]),
    row(32, &[Superseded, Cancelled, Failed], "a person says how an effect came out",
        "it was left in doubt, or could not be undone", &[], "tool.outcome_asserted", &["ResolveOutcome"]),
    row(33, &[Processing], "effect starts", "denied; or what was proposed and approved does not hold, or is used up", &[],
        "approval.stale or approval.voided?, tool.start_refused", &["StartEffect"]),
    // Recorded, and refused all the same: the state knows no start.
    row(33, &[AwaitingApproval], "effect starts", "people are still to decide", &[], "tool.start_refused", &[]),
    row(34, &[Compensating], "an effect is about to be undone", "the last start that is to undo; no try under way, tries left", &[],
        "tool.compensation_started", &["StartCompensation"]),
    row(35, &[Processing, Cancelling], "a call runs past its time", "", &[],
        "tool.outcome_unknown, or tool.failed of a pure one", &["FireTimer"]),
    row(36, &[Processing], "a step begins", "not completed; not begun by this attempt", &[], "turn.step_started",
        &["StartStep"]),
    row(37, &[Processing], "a step is done", "begun by this attempt", &[], "turn.step_completed", &["CompleteStep"]),
];

/// Names of the commands that a state knows, in alphabetical order.
pub fn legal(state: TurnState) -> &'static [&'static str] {
    static LEGAL: LazyLock<Vec<Vec<&'static str>>> =
        LazyLock::new(|| TurnState::ALL.into_iter().map(legal_of).collect());
    let index = TurnState::ALL.iter().position(|known| *known == state);
    index.map_or(&[], |index| &LEGAL[index])
}

fn legal_of(state: TurnState) -> Vec<&'static str> {
    let rows = TRANSITIONS
        .iter()
        .filter(|transition| transition.from.contains(&state));
    let mut names: Vec<&str> = rows.flat_map(|transition| transition.commands).copied().collect();
    names.sort_unstable();
    names.dedup();
    names
}
