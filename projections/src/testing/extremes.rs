//! Events that their schemas allow and that no honest client sends: every number and sum of money that a projection
//! reads, at its limits and beyond those of a column.

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    ConfigActivated, ConfigPublished, ConfigRolledBack, ConfigScope, EvalScored, GoalAchieved,
    GoalProgressed, GoalSet, InvalidationReason, LlmEmbedded, LlmFailed, LlmResponded, MemoryEmbedded,
    MemoryHit, MemoryInvalidated, MemorySearched, MemoryWritten, MessageDrafted, MessageReceived,
    MessageSent, Role, ScenarioCompleted, ScenarioEntered, ScenarioMigrated, ScenarioStepEntered,
    ScenarioStepExited, SessionEndReason, SessionEnded, SessionStarted, ToolCompleted, ToolFailed,
    ToolProposed, ToolStarted, TurnCancelled, TurnCommitted, TurnFailed, TurnOpened, TurnStarted,
    TurnTrigger,
};
use ruche_domain::measures::{Cost, Finite, Usage};
use ruche_domain::numbers::Micros;
use ruche_domain::vector::Vector;

use crate::bounds;

const NUMBERS: [u64; 14] = [
    0,
    1,
    u64::MAX,
    u64::MAX - 1,
    i64::MAX.cast_unsigned(),
    i64::MAX.cast_unsigned() + 1,
    1 << 53,
    bounds::ORDINAL_MAX,
    bounds::ORDINAL_MAX + 1,
    bounds::TOKENS_MAX,
    bounds::TOKENS_MAX + 1,
    bounds::DURATION_US_MAX,
    bounds::DURATION_US_MAX + 1,
    bounds::TIME_US_MAX,
];

const AMOUNTS: [&str; 10] = [
    "0",
    "-0",
    "9000000000000",
    "-9000000000000.0000000000000000000000001",
    "9000000000000.5",
    "9999999999999999999999999999999999999999",
    "-999999999999999999999999999999999999999",
    "0.00000000000000000000000000000000000001",
    "9999999999999999999.9999999999999999999",
    "0.999999999999999999999999999",
];

/// Choices of values, taken one by one, from the start again when they are used up.
pub struct Choices<'a> {
    choices: &'a [u64],
    taken: usize,
}

impl<'a> Choices<'a> {
    /// These choices, of which there is at least one.
    pub fn new(choices: &'a [u64]) -> Self {
        Self { choices, taken: 0 }
    }

    fn next(&mut self) -> u64 {
        self.taken += 1;
        self.choices[(self.taken - 1) % self.choices.len()]
    }

    /// Often a limit, else any number.
    pub fn number(&mut self) -> u64 {
        let choice = self.next();
        NUMBERS.get((choice % 16) as usize).copied().unwrap_or(choice)
    }

    fn some(&mut self) -> Option<u64> {
        Some(self.number())
    }

    fn time(&mut self) -> Option<Micros> {
        self.some().map(Micros)
    }

    fn cost(&mut self) -> Cost {
        let amount = AMOUNTS[(self.next() % AMOUNTS.len() as u64) as usize];
        Cost::new(
            amount.parse().expect("a decimal"),
            "USD".parse().expect("three letters"),
        )
    }

    fn usage(&mut self) -> Option<Usage> {
        Some(Usage {
            input: self.some(),
            output: self.some(),
            cache_read: self.some(),
            cache_creation: self.some(),
            reasoning: self.some(),
        })
    }
}

/// One event of every type whose numbers or money a projection reads.
pub fn events(of: &mut Choices<'_>) -> Vec<AgentEvent> {
    let mut events = of_turns(of);
    events.extend(of_messages(of));
    events.extend(of_calls(of));
    events.extend(of_configurations(of));
    events.extend(of_memory(of));
    events.extend(of_scenarios(of));
    events.extend([
        SessionStarted {
            trial: of.some(),
            started_at: of.time(),
            ..SessionStarted::default()
        }
        .into(),
        SessionEnded {
            ended_at: of.time(),
            ..SessionEnded::new(SessionEndReason::Completed)
        }
        .into(),
        EvalScored {
            value: Finite::new(f64::MAX),
            ..EvalScored::new("reward".to_owned())
        }
        .into(),
    ]);
    events
}

fn of_scenarios(of: &mut Choices<'_>) -> Vec<AgentEvent> {
    let (scenario, step, goal) = ("refund".to_owned(), "ask".to_owned(), "paid".to_owned());
    vec![
        ScenarioEntered::new(scenario.clone()).into(),
        ScenarioStepEntered::new(scenario.clone(), step.clone()).into(),
        ScenarioStepExited {
            duration_us: of.some(),
            ..ScenarioStepExited::new(scenario.clone(), step)
        }
        .into(),
        ScenarioMigrated::new(scenario.clone(), "2".to_owned()).into(),
        ScenarioCompleted::new(scenario).into(),
        GoalSet {
            due: of.time(),
            ..GoalSet::new(goal.clone(), "to be paid".to_owned())
        }
        .into(),
        GoalProgressed::new(goal.clone()).into(),
        GoalAchieved::new(goal).into(),
    ]
}

fn of_turns(of: &mut Choices<'_>) -> Vec<AgentEvent> {
    vec![
        TurnOpened {
            turn_ordinal: of.some(),
            ..TurnOpened::new(TurnTrigger::User)
        }
        .into(),
        TurnStarted {
            started_at: of.time(),
            ..TurnStarted::new(u32::MAX)
        }
        .into(),
        TurnCommitted {
            duration_us: of.some(),
            ended_at: of.time(),
            usage_total: of.usage(),
            cost_total: vec![of.cost()],
            ..TurnCommitted::default()
        }
        .into(),
        TurnFailed {
            duration_us: of.some(),
            ended_at: of.time(),
            usage_total: of.usage(),
            cost_total: vec![of.cost()],
            ..TurnFailed::new("too_much".to_owned())
        }
        .into(),
        TurnCancelled {
            usage_total: of.usage(),
            cost_total: vec![of.cost()],
            ..TurnCancelled::default()
        }
        .into(),
    ]
}

fn of_messages(of: &mut Choices<'_>) -> Vec<AgentEvent> {
    vec![
        MessageReceived {
            message_ordinal: of.some(),
            ..MessageReceived::new(Role::User)
        }
        .into(),
        MessageDrafted {
            message_ordinal: of.some(),
            ..MessageDrafted::new(Role::Assistant)
        }
        .into(),
        MessageSent {
            message_ordinal: of.some(),
            ..MessageSent::new(Role::Assistant)
        }
        .into(),
    ]
}

fn of_calls(of: &mut Choices<'_>) -> Vec<AgentEvent> {
    vec![
        ToolProposed {
            ordinal: Some(u32::MAX),
            message_ordinal: of.some(),
            ..ToolProposed::new("tool".to_owned(), "{}".to_owned())
        }
        .into(),
        ToolStarted {
            started_at: of.time(),
            ..ToolStarted::new("tool".to_owned())
        }
        .into(),
        ToolCompleted {
            message_ordinal: of.some(),
            duration_us: of.some(),
            ended_at: of.time(),
            ..ToolCompleted::default()
        }
        .into(),
        ToolFailed {
            message_ordinal: of.some(),
            duration_us: of.some(),
            ended_at: of.time(),
            ..ToolFailed::default()
        }
        .into(),
        LlmResponded {
            usage: of.usage(),
            cost: Some(of.cost()),
            duration_us: of.some(),
            ..LlmResponded::default()
        }
        .into(),
        LlmFailed {
            usage: of.usage(),
            cost: Some(of.cost()),
            duration_us: of.some(),
            ..LlmFailed::new("too_much".to_owned())
        }
        .into(),
        LlmEmbedded {
            usage: of.usage(),
            cost: Some(of.cost()),
            duration_us: of.some(),
            ..LlmEmbedded::new("model".to_owned())
        }
        .into(),
    ]
}

fn of_memory(of: &mut Choices<'_>) -> Vec<AgentEvent> {
    let vector = Vector::new(&[f32::MAX, f32::MIN, f32::MIN_POSITIVE]).expect("a vector");
    let mut searched = MemorySearched::new("s".to_owned());
    searched.results.push(MemoryHit {
        version: of.some(),
        score: Finite::new(f64::MIN),
        ..MemoryHit::new("r".to_owned())
    });
    vec![
        MemoryWritten {
            valid_from: of.time(),
            valid_to: of.time(),
            source_refs: vec!["elsewhere".to_owned()],
            ..MemoryWritten::new("r".to_owned(), f64::MAX.into(), Vec::new())
        }
        .into(),
        MemoryInvalidated {
            valid_to: of.time(),
            ..MemoryInvalidated::new("r".to_owned(), InvalidationReason::Expired)
        }
        .into(),
        MemoryEmbedded::new("r".to_owned(), "m".to_owned(), vector).into(),
        searched.into(),
    ]
}

fn of_configurations(of: &mut Choices<'_>) -> Vec<AgentEvent> {
    vec![
        ConfigPublished::new(ConfigScope::Tenant, of.number()).into(),
        ConfigActivated {
            effective_from: of.time(),
            ..ConfigActivated::new(ConfigScope::Tenant, of.number())
        }
        .into(),
        ConfigRolledBack::new(ConfigScope::Tenant, of.number(), of.number()).into(),
    ]
}
