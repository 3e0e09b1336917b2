//! Closed lists of words, as GraphQL enums. Each mirrors one of the domain or of the read models, variant by variant;
//! a word that is added there does not compile until it is added here.

use async_graphql::Enum;
use ruche_domain::{events, side_effect};
use ruche_projections::{
    analytics, goals, interventions, lanes, memory, policy, scenarios, search, sessions, timeline,
    tool_effects, turn_attempts, turns, usage,
};

macro_rules! mirror {
    ($($(#[$doc:meta])* $name:ident = $remote:ty { $($(#[$vdoc:meta])* $variant:ident,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
        pub(super) enum $name { $($(#[$vdoc])* $variant,)* }

        impl From<$remote> for $name {
            fn from(word: $remote) -> Self {
                match word { $(<$remote>::$variant => Self::$variant,)* }
            }
        }

        impl From<$name> for $remote {
            fn from(word: $name) -> Self {
                match word { $($name::$variant => <$remote>::$variant,)* }
            }
        }
    )*};
}

mirror! {
    /// Why a vote does not count. If several apply, the first in this order is named.
    VoteRefusal = events::VoteRefusal {
        /// It is no envelope, or no statement stands in it.
        Malformed,
        /// No such key is registered.
        UnknownKey,
        /// The signature does not verify under the key, or it was made for another kind of document.
        BadSignature,
        /// The key was revoked.
        RevokedKey,
        /// The key is another person's than the one who is said to decide.
        OtherReviewer,
        /// It is about something else than this request as it stands: another action, view, record or nonce.
        Mismatch,
        /// Whoever asked may not decide.
        Requester,
        /// The request lapsed.
        Expired,
        /// The request is decided or withdrawn.
        Decided,
        /// The ledger went on in another epoch since, as after a restore: the call has to be proposed anew.
        Epoch,
    }

    /// What a reviewer decides.
    ApprovalDecision = events::ApprovalDecision {
        /// It may happen, exactly so.
        Approve,
        /// It may not.
        Reject,
    }

    /// What a tool call does to the world. A tool that nobody classified is irreversible.
    SideEffectPolicy = side_effect::SideEffectPolicy {
        /// Changes nothing; may be repeated or dropped at will.
        Pure,
        /// Doing it twice under one key is doing it once.
        Idempotent,
        /// Can be undone by another tool call.
        Compensatable,
        /// Cannot be undone.
        Irreversible,
    }

    /// Where a version of a fact stands.
    FactStatus = memory::FactStatus {
        /// The turn that wrote it is not over: it is not known yet.
        Candidate,
        /// The turn that wrote it was not committed: it never became known.
        Dropped,
        /// It is known, and nobody took it back.
        Current,
        /// It was taken back.
        Invalidated,
        /// Another version, another extractor or a summary took its place.
        Replaced,
        /// It was deleted, or its store was.
        Deleted,
    }

    /// What ended a version of a fact, or the time in which it holds.
    FactEndKind = memory::FactEndKind {
        /// It was written anew.
        Replaced,
        /// It was taken back.
        Invalidated,
        /// Its record was deleted.
        Deleted,
        /// Another extractor read its sources again.
        ReExtracted,
        /// A summary stands for it.
        Compacted,
        /// Its store was deleted.
        StoreDeleted,
    }

    /// Why a fact was taken back.
    InvalidationReason = events::InvalidationReason {
        /// A newer fact contradicts it.
        Contradicted,
        /// It no longer holds.
        Expired,
        /// Its source is not trusted any more: it never held.
        SourceRetired,
        /// It was a mistake of the extractor: it never held.
        ExtractionError,
        /// A person corrected it.
        Corrected,
        /// Another reason.
        Other,
    }

    /// What was scored.
    ScoreTarget = events::EvalTarget {
        /// A whole session.
        Session,
        /// One turn.
        Turn,
        /// One message.
        Message,
        /// One tool call.
        ToolCall,
        /// One model call.
        LlmCall,
        /// One memory record.
        Memory,
    }

    /// What kind of work a tool does.
    ToolKind = side_effect::ToolKind {
        /// Reads data.
        Read,
        /// Changes data.
        Edit,
        /// Removes data.
        Delete,
        /// Moves or renames data.
        Move,
        /// Searches.
        Search,
        /// Runs a program or a transaction.
        Execute,
        /// Reasons without touching anything.
        Think,
        /// Fetches from outside.
        Fetch,
        /// Switches the mode of the agent.
        SwitchMode,
        /// None of these, said so by the source.
        Other,
    }

    /// Where a session stands.
    SessionStatus = sessions::SessionStatus {
        /// It goes on.
        Open,
        /// It waits for input of the interlocutor.
        InputRequired,
        /// It goes on in another session.
        Continued,
        /// It ended.
        Ended,
    }

    /// Where a scenario stands.
    ScenarioStatus = scenarios::ScenarioStatus {
        /// It is under way, whether its session goes on or not.
        Active,
        /// It came to its end.
        Completed,
        /// It was left before its end.
        Abandoned,
    }

    /// What a scenario went through.
    ScenarioPassageKind = scenarios::PassageKind {
        /// A step.
        Step,
        /// A point behind which the scenario does not go back.
        Checkpoint,
        /// From one version of the scenario to another.
        Migration,
    }

    /// How a goal stands.
    GoalStatus = goals::GoalStatus {
        /// It is to be reached.
        Open,
        /// It was reached.
        Achieved,
        /// It was not reached.
        Missed,
    }

    /// What kind of text is found.
    SearchKind = search::SearchKind {
        /// A message of a conversation.
        Message,
    }

    /// Why a session ended.
    SessionEndReason = events::SessionEndReason {
        /// The interlocutor's wish was dealt with.
        Completed,
        /// The interlocutor left or said goodbye.
        InterlocutorLeft,
        /// The agent ended it.
        AgentEnded,
        /// A person or another agent took over.
        HandedOff,
        /// Nobody spoke for too long.
        TimedOut,
        /// A bound on steps, messages or money was reached.
        LimitReached,
        /// An operator cancelled it.
        Cancelled,
        /// It broke down.
        Failed,
        /// The source does not say.
        Unknown,
    }

    /// How a turn came out.
    OutcomeCategory = events::OutcomeCategory {
        /// The interlocutor has to answer first.
        AwaitingUserInput,
        /// The agent lacked knowledge.
        KnowledgeGap,
        /// The agent lacked a tool or a permission.
        CapabilityGap,
        /// The wish is none of the agent's business.
        OutOfScope,
        /// The agent declined for safety.
        SafetyRefusal,
        /// The wish was dealt with.
        Answered,
        /// Policy, an approval or a quota stopped it.
        Blocked,
    }

    /// What opened a turn.
    TurnTrigger = events::TurnTrigger {
        /// A message of the interlocutor.
        User,
        /// A schedule fired.
        Schedule,
        /// A detached approval was decided.
        ApprovalResolution,
        /// A goal asked for it.
        Goal,
        /// Another agent or person handed over.
        Handoff,
    }

    /// Who speaks in a message.
    Role = events::Role {
        /// The instructions of the operator.
        System,
        /// Instructions of the application.
        Developer,
        /// The interlocutor.
        User,
        /// The agent.
        Assistant,
        /// A tool's answer.
        Tool,
    }

    /// Which side of the conversation asked for a tool call.
    Requestor = events::Requestor {
        /// The agent.
        Assistant,
        /// The interlocutor, who may have tools too.
        User,
    }

    /// How the source wrote a value that is kept as text.
    TextForm = events::TextForm {
        /// As a string: the text is the string's content.
        String,
        /// As a JSON value: the text is that value's exact bytes.
        Json,
    }

    /// Where a turn stands.
    TurnStatus = turns::TurnStatus {
        /// It takes messages.
        Accumulating,
        /// It waits for another turn of its lane.
        Queued,
        /// It waits for a worker.
        Ready,
        /// A worker has it.
        Processing,
        /// It waits for people: for a decision on a call, or for how one came out.
        AwaitingApproval,
        /// It is to end early and waits for its effects to settle.
        Cancelling,
        /// It undoes what it did.
        Compensating,
        /// It is over and its answer stands.
        Committed,
        /// A newer turn took its place.
        Superseded,
        /// It was cancelled.
        Cancelled,
        /// It failed for good.
        Failed,
    }

    /// How an attempt at a turn ended.
    AttemptOutcome = turn_attempts::AttemptOutcome {
        /// The turn was committed.
        Committed,
        /// It failed; where `retryAt` is set, another attempt was to follow.
        Failed,
        /// Its worker did not renew the lease in time and was taken for dead.
        LeaseLapsed,
        /// The turn was cancelled.
        Cancelled,
        /// A newer turn took the place of this one.
        Superseded,
    }

    /// Where a turn of a lane stands that is not over.
    LaneTurnState = lanes::LaneTurnState {
        /// It takes messages.
        Accumulating,
        /// It waits for the turn that holds the lane.
        Queued,
        /// It holds the lane and waits for a worker.
        Ready,
        /// A worker has it.
        Processing,
        /// It waits for people.
        AwaitingApproval,
        /// It is to end early and waits for its effects to settle.
        Cancelling,
        /// It undoes what it did.
        Compensating,
    }

    /// Where a tool call and its effect stand.
    EffectState = tool_effects::EffectState {
        /// Asked for; nothing ran yet.
        Proposed,
        /// It waits for an approval while the turn goes on.
        Deferred,
        /// Started, outcome not yet known.
        Started,
        /// Done.
        Completed,
        /// It failed.
        Failed,
        /// Nobody can say; a person has to.
        OutcomeUnknown,
        /// A person said how it came out, and what they said was erased.
        Asserted,
        /// It never ran and never will (`notExecutedCause` says why), or a person found that nothing of it is there.
        NotExecuted,
        /// Done and undone.
        Compensated,
        /// Done, and undoing it failed.
        CompensationFailed,
    }

    /// Why a call never ran.
    NotExecutedCause = tool_effects::NotExecutedCause {
        /// Policy said no.
        Denied,
        /// A reviewer said no.
        Rejected,
        /// Nobody decided in time, or the approval lapsed before the start.
        Expired,
        /// What it was proposed and approved on is not so any more.
        Stale,
        /// Its turn was over first, whatever way it ended.
        TurnGone,
        /// Derived from the absence of an execution.
        NoExecutionSeen,
    }

    /// What policy said.
    PolicyVerdict = policy::Verdict {
        /// It may happen.
        Allow,
        /// It may not.
        Deny,
        /// A person has to agree first.
        RequireApproval,
        /// It may happen in another form.
        Transform,
        /// It could not answer, so it may not.
        FailedClosed,
    }

    /// What a person is called for.
    InterventionKind = interventions::InterventionKind {
        /// Nobody knows how an effect came out, and only a person can say.
        OutcomeUnknown,
        /// An effect could not be undone.
        CompensationFailed,
        /// A turn failed because no attempt is left where another one might have helped.
        AttemptsUsedUp,
        /// Something else, or what it was is erased.
        Other,
    }

    /// What was known of a payload when the timeline was made.
    TimelinePayloadState = timeline::PayloadState {
        /// It can be read.
        Present,
        /// Bytes and opening are gone.
        Erased,
        /// It is there, and the program that made the read model could not read it.
        Unreadable,
    }

    /// Level at which a configuration value is set; a later one overrides an earlier one.
    ConfigScope = events::ConfigScope {
        /// The whole tenant.
        Tenant,
        /// One agent.
        Agent,
        /// One channel.
        Channel,
        /// One scenario.
        Scenario,
        /// One step of a scenario.
        Step,
    }

    /// By what usage is counted.
    Dimension = usage::Dimension {
        /// By day, in UTC.
        Day,
        /// By agent.
        Agent,
        /// By model.
        Model,
        /// By tool.
        Tool,
    }

    /// A figure of analytics.
    AnalyticsMetric = analytics::Metric {
        /// Turns that ended, well or not.
        Turns,
        /// Turns that were opened.
        TurnsOpened,
        /// Attempts at turns that failed, whether another one followed or not.
        AttemptsFailed,
        /// Part of the turns that ended whose place a newer message took: what was done for them was in vain.
        SupersededRate,
        /// Part of the turns that ended that failed for good.
        FailureRate,
        /// Messages for each turn that took them together: 1 where none were gathered.
        MessagesPerTurn,
        /// How long turns took that were committed or failed. Of turns of lanes that do not say, from when they were opened.
        TurnLatency,
        /// How long turns of lanes gathered messages before they took no more.
        GatherWait,
        /// How long turns of lanes waited for a worker, and behind other turns, before their first attempt.
        QueueWait,
        /// Model calls that ended, well or not.
        ModelCalls,
        /// Model calls that failed.
        ModelErrors,
        /// Part of the model calls that failed.
        ModelErrorRate,
        /// How long model calls took.
        ModelLatency,
        /// How long it took until the first chunk of an answer was there.
        FirstChunk,
        /// Tokens that models read, those of caches among them.
        InputTokens,
        /// Tokens that models wrote, those of reasoning among them.
        OutputTokens,
        /// Part of the tokens read that came from a cache.
        CachedTokens,
        /// Part of the tokens read that went into a cache.
        CacheWrittenTokens,
        /// Part of the tokens written that was reasoning.
        ReasoningTokens,
        /// What model calls cost, as whoever recorded them says. One row for each currency.
        Cost,
        /// What model calls cost by the table of prices that held, from their tokens. One row for each currency.
        CostByPrices,
        /// Tokens that models read for turns whose place a newer message took, by when it took it.
        WastedInputTokens,
        /// Tokens that models wrote for such turns.
        WastedOutputTokens,
        /// What the model calls of such turns cost, as whoever recorded them says. One row for each currency.
        WastedCost,
        /// Tool calls that were asked for.
        ToolCalls,
        /// Tool calls that failed.
        ToolErrors,
        /// Part of the tool calls with an answer that failed.
        ToolErrorRate,
        /// Starts of tool calls that were not the first.
        ToolRetries,
        /// Times that nobody could say whether a tool call happened.
        ToolOutcomesUnknown,
        /// Tool calls that were asked for and did not run: denied, withdrawn, or given up before they started.
        ToolCallsNotExecuted,
        /// Tool calls whose effect on the world nobody classified, and which count as irreversible.
        ToolCallsUnclassified,
        /// How long tool calls took. Of calls of lanes that do not say, from their last start.
        ToolLatency,
        /// Requests for approval.
        ApprovalsRequested,
        /// Requests that people agreed to.
        ApprovalsGranted,
        /// Requests that somebody said no to.
        ApprovalsDenied,
        /// Requests that nobody decided in time.
        ApprovalsExpired,
        /// Part of the decisions that was no.
        ApprovalDenialRate,
        /// Part of the requests that ended by decision or by time that nobody decided in time.
        ApprovalExpiryRate,
        /// Part of the decisions that were made within two seconds, in which nobody reads what is asked.
        QuickDecisionRate,
        /// How long people took to decide.
        ApprovalLatency,
        /// The mean of scores. Scores of different names mean different things: group by them, or filter by one.
        ScoreMean,
        /// Events that the ledger took, by when it took them.
        Events,
        /// Events that the ledger took more than a minute after they happened, imported ones aside.
        EventsLate,
        /// Times that a source skipped something.
        IngestGaps,
        /// Spans of telemetry that fit no event type.
        SpansUnclassified,
    }

    /// What the rows of analytics are told apart by.
    AnalyticsDimension = analytics::Dimension {
        /// The agent of the session.
        Agent,
        /// The channel of the session.
        Channel,
        /// The scenario of the session.
        Scenario,
        /// The configuration that the turn ran with: its SHA-256.
        Config,
        /// The model.
        Model,
        /// The tool.
        Tool,
        /// How a turn came out: a category of committed turns, `unspecified`, `failed`, `superseded` or `cancelled`.
        Outcome,
        /// Why a turn failed: the word of whoever ran it.
        StopReason,
        /// The name of a score.
        Score,
        /// What events are worth as evidence.
        Provenance,
        /// Who decided, as the key is registered.
        Reviewer,
    }

    /// How long the time of one row of analytics is.
    AnalyticsBucket = analytics::Bucket {
        /// A minute.
        Minute,
        /// An hour.
        Hour,
        /// A day, UTC.
        Day,
        /// A week from Monday on, UTC.
        Week,
    }

    /// What a value of analytics is in.
    AnalyticsUnit = analytics::Unit {
        /// Whole things.
        Count,
        /// Tokens.
        Tokens,
        /// Microseconds.
        Micros,
        /// Money; each row says its currency.
        Money,
        /// A part of one.
        Ratio,
        /// Of things for each of others.
        Mean,
    }
}
