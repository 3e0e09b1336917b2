//! The conversations of the demo: made up, the same for the same seed and end date.
//!
//! Three agents of an invented bicycle shop, tools of all four side-effect policies, failures, retries, unknown
//! outcomes and costs over six weeks. Nothing here is a real person, order or price.

use std::borrow::Cow;

use ruche_domain::numbers::Micros;
use ruche_domain::side_effect::{SideEffectPolicy, ToolKind};

use super::dice::Dice;

/// A tool of the shop.
pub struct DemoTool {
    /// Its name.
    pub name: &'static str,
    /// What may be done with it.
    pub side_effect: SideEffectPolicy,
    /// What kind of work it does.
    pub kind: ToolKind,
    /// What takes it back.
    pub compensation: Option<&'static str>,
    /// For people.
    pub description: &'static str,
}

/// All tools, two of each policy at least.
pub const TOOLS: &[DemoTool] = &[
    tool(
        "find_order",
        SideEffectPolicy::Pure,
        ToolKind::Read,
        None,
        "Looks up an order by number or e-mail",
    ),
    tool(
        "search_catalogue",
        SideEffectPolicy::Pure,
        ToolKind::Search,
        None,
        "Full-text search in the catalogue",
    ),
    tool(
        "stock_level",
        SideEffectPolicy::Pure,
        ToolKind::Read,
        None,
        "Pieces on stock, by branch",
    ),
    tool(
        "update_address",
        SideEffectPolicy::Idempotent,
        ToolKind::Edit,
        None,
        "Sets the delivery address of an order",
    ),
    tool(
        "tag_ticket",
        SideEffectPolicy::Idempotent,
        ToolKind::Edit,
        None,
        "Sets the labels of a ticket",
    ),
    tool(
        "reserve_item",
        SideEffectPolicy::Compensatable,
        ToolKind::Execute,
        Some("release_item"),
        "Holds a piece for 48 hours",
    ),
    tool(
        "release_item",
        SideEffectPolicy::Idempotent,
        ToolKind::Execute,
        None,
        "Releases a held piece",
    ),
    tool(
        "book_workshop",
        SideEffectPolicy::Compensatable,
        ToolKind::Execute,
        Some("cancel_workshop"),
        "Books a workshop slot",
    ),
    tool(
        "cancel_workshop",
        SideEffectPolicy::Idempotent,
        ToolKind::Execute,
        None,
        "Cancels a workshop slot",
    ),
    tool(
        "refund_payment",
        SideEffectPolicy::Irreversible,
        ToolKind::Execute,
        None,
        "Pays money back",
    ),
    tool(
        "send_email",
        SideEffectPolicy::Irreversible,
        ToolKind::Execute,
        None,
        "Sends an e-mail to the customer",
    ),
];

const fn tool(
    name: &'static str,
    side_effect: SideEffectPolicy,
    kind: ToolKind,
    compensation: Option<&'static str>,
    description: &'static str,
) -> DemoTool {
    DemoTool {
        name,
        side_effect,
        kind,
        compensation,
        description,
    }
}

/// One conversation.
pub struct DemoSession {
    /// The platform's own id.
    pub external_id: String,
    /// Which agent.
    pub agent: &'static str,
    /// Whom it talks to: an opaque customer number.
    pub interlocutor: String,
    /// Where.
    pub channel: &'static str,
    /// First message.
    pub started_at: Micros,
    /// In order.
    pub turns: Vec<DemoTurn>,
    /// Whether somebody closed it.
    pub ended: bool,
    /// How the customer rated it, 1 to 5.
    pub rating: Option<u8>,
}

/// One beat: a message, what the agent did, at most one answer.
pub struct DemoTurn {
    /// What the customer wrote.
    pub text: Cow<'static, str>,
    /// When.
    pub at: Micros,
    /// What the agent did.
    pub steps: Vec<Step>,
    /// What it answered; `None` if the turn failed.
    pub reply: Option<String>,
    /// When the turn was over.
    pub ended_at: Micros,
}

/// One thing an agent did.
pub enum Step {
    /// It called the model.
    Model(DemoModelCall),
    /// It called a tool.
    Tool(DemoToolCall),
}

/// A call of the model.
pub struct DemoModelCall {
    /// Which model.
    pub model: &'static str,
    /// When it was asked.
    pub at: Micros,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// Tokens read.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
    /// Cost in millionths of a US dollar.
    pub cost_micro_usd: u64,
}

/// A call of a tool.
pub struct DemoToolCall {
    /// Which tool.
    pub name: &'static str,
    /// JSON text as the model wrote it.
    pub arguments: String,
    /// When it started.
    pub at: Micros,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// What came of it.
    pub outcome: ToolOutcome,
}

/// What came of a tool call.
pub enum ToolOutcome {
    /// It answered.
    Completed(String),
    /// It refused or broke; nothing was changed.
    Failed(&'static str),
    /// Nobody knows.
    Unknown,
}

const SECOND_US: u64 = 1_000_000;
const DAY_US: u64 = 86_400 * SECOND_US;
/// Days that the demo covers.
const DAYS: u64 = 42;
/// Models with the price of a million tokens read and written, in US cents.
pub const MODELS: &[(&str, u64, u64)] = &[("shop-large-2", 250, 1_000), ("shop-small-2", 15, 60)];

/// `count` sessions of the six weeks before `until`, oldest first.
pub fn sessions(seed: u64, until: Micros, count: u64) -> Vec<DemoSession> {
    let mut dice = Dice::new(seed);
    let mut sessions: Vec<_> = (0..count).map(|n| session(&mut dice, n, until)).collect();
    sessions.sort_by_key(|s| s.started_at);
    sessions
}

fn session(dice: &mut Dice, n: u64, until: Micros) -> DemoSession {
    let (agent, topics) = dice.pick(AGENTS);
    let back = dice.below(DAYS * DAY_US - 3_600 * SECOND_US) + 3_600 * SECOND_US;
    let started_at = Micros(until.0 - back);
    let mut clock = started_at.0;
    let mut turns = Vec::new();
    for _ in 0..1 + dice.below(4) {
        let topic = &topics[dice.below(topics.len() as u64) as usize];
        turns.push(turn(dice, topic, &mut clock));
    }
    DemoSession {
        external_id: format!("chat-{n:04}"),
        agent,
        interlocutor: format!("customer-{:03}", dice.below(140)),
        channel: dice.pick(&["web", "web", "email", "whatsapp"]),
        started_at,
        turns,
        ended: dice.one_in(5) || dice.one_in(2),
        rating: dice
            .one_in(3)
            .then(|| [5, 5, 4, 4, 3, 2, 1][dice.below(7) as usize]),
    }
}

fn turn(dice: &mut Dice, topic: &'static Topic, clock: &mut u64) -> DemoTurn {
    let at = Micros(*clock);
    let order = 10_000 + dice.below(4_000);
    let mut steps = vec![model(dice, clock)];
    let mut failed = None;
    for name in topic.tools {
        let (step, ok) = call(dice, name, order, clock);
        steps.push(step);
        if !ok && dice.one_in(2) {
            // A second try with the same arguments: it happened twice and is recorded twice.
            steps.push(model(dice, clock));
            steps.push(call(dice, name, order, clock).0);
        }
        steps.push(model(dice, clock));
        if !ok && dice.one_in(4) {
            failed = Some(());
            break;
        }
    }
    let reply = failed
        .is_none()
        .then(|| topic.reply.replace("{order}", &order.to_string()));
    let ended_at = Micros(*clock);
    *clock += (20 + dice.below(300)) * SECOND_US;
    DemoTurn {
        text: topic.asks.into(),
        at,
        steps,
        reply,
        ended_at,
    }
}

fn model(dice: &mut Dice, clock: &mut u64) -> Step {
    let (model, cents_in, cents_out) = dice.pick(MODELS);
    let (input, output) = (600 + dice.below(5_000), 20 + dice.below(500));
    let took_us = 300_000 + output * 9_000 + dice.below(900_000);
    let at = Micros(*clock);
    *clock += took_us;
    // Cents for a million tokens are hundredths of a micro-dollar for one.
    let cost_micro_usd = (input * cents_in + output * cents_out) / 100;
    Step::Model(DemoModelCall {
        model,
        at,
        took_us,
        input,
        output,
        cost_micro_usd,
    })
}

fn call(dice: &mut Dice, name: &'static str, order: u64, clock: &mut u64) -> (Step, bool) {
    let took_us = 20_000 + dice.below(600_000);
    let at = Micros(*clock);
    *clock += took_us;
    let side_effect = TOOLS.iter().find(|t| t.name == name).map(|t| t.side_effect);
    let outcome = if dice.one_in(14) {
        ToolOutcome::Failed(dice.pick(&[
            "upstream timed out",
            "order is locked by another process",
            "rate limited",
        ]))
    } else if side_effect == Some(SideEffectPolicy::Irreversible) && dice.one_in(40) {
        ToolOutcome::Unknown
    } else {
        ToolOutcome::Completed(result(dice, name, order))
    };
    let ok = matches!(outcome, ToolOutcome::Completed(_));
    (
        Step::Tool(DemoToolCall {
            name,
            arguments: arguments(name, order),
            at,
            took_us,
            outcome,
        }),
        ok,
    )
}

/// The same for the same order, so that a second try is a genuine repetition.
fn arguments(name: &str, order: u64) -> String {
    match name {
        "search_catalogue" => {
            let queries = ["gravel bike 54", "winter tyre", "child seat"];
            format!(r#"{{"query": "{}"}}"#, queries[(order % 3) as usize])
        }
        "stock_level" | "reserve_item" | "release_item" => {
            format!(r#"{{"item": "B-{}"}}"#, 100 + order % 400)
        }
        "update_address" => format!(r#"{{"order": {order}, "postcode": "{:05}"}}"#, order * 7 % 99_999),
        "tag_ticket" => format!(r#"{{"order": {order}, "labels": ["delivery"]}}"#),
        "book_workshop" | "cancel_workshop" => format!(r#"{{"slot": "2-{}"}}"#, 8 + order % 9),
        "refund_payment" => format!(
            r#"{{"order": {order}, "amount": "{}.00", "currency": "EUR"}}"#,
            10 + order % 290
        ),
        "send_email" => format!(r#"{{"order": {order}, "template": "confirmation"}}"#),
        _ => format!(r#"{{"order": {order}}}"#),
    }
}

fn result(dice: &mut Dice, name: &str, order: u64) -> String {
    match name {
        "find_order" => format!(
            r#"{{"order": {order}, "state": "{}"}}"#,
            dice.pick(&["packed", "shipped", "delivered"])
        ),
        "search_catalogue" => format!(r#"{{"hits": {}}}"#, dice.below(12)),
        "stock_level" => format!(r#"{{"pieces": {}}}"#, dice.below(9)),
        "refund_payment" => format!(r#"{{"refund": "R-{order}"}}"#),
        _ => r#"{"ok": true}"#.to_owned(),
    }
}

/// What customers ask for, which tools it takes, what the agent says.
struct Topic {
    asks: &'static str,
    tools: &'static [&'static str],
    reply: &'static str,
}

const AGENTS: &[(&str, &[Topic])] = &[("support", SUPPORT), ("sales", SALES), ("workshop", WORKSHOP)];

const SUPPORT: &[Topic] = &[
    Topic {
        asks: "Where is my order?",
        tools: &["find_order"],
        reply: "Order {order} is on its way; you will have it in two days.",
    },
    Topic {
        asks: "The frame arrived with a dent. I want my money back.",
        tools: &["find_order", "refund_payment", "send_email"],
        reply: "I am sorry. I have refunded order {order}; the money is back in three to five days.",
    },
    Topic {
        asks: "I have moved, please change the delivery address.",
        tools: &["find_order", "update_address"],
        reply: "Done: order {order} goes to the new address.",
    },
    Topic {
        asks: "Nobody answers my e-mails!",
        tools: &["find_order", "tag_ticket", "send_email"],
        reply: "I have passed order {order} on to a colleague, who writes to you today.",
    },
    Topic {
        asks: "Thank you!",
        tools: &[],
        reply: "You are welcome. Ride safely.",
    },
];

const SALES: &[Topic] = &[
    Topic {
        asks: "Do you have a gravel bike in my size?",
        tools: &["search_catalogue", "stock_level"],
        reply: "Yes, two models; one of them is in the shop in the old town.",
    },
    Topic {
        asks: "Please hold it for me until Saturday.",
        tools: &["stock_level", "reserve_item"],
        reply: "It is reserved for 48 hours under number {order}.",
    },
    Topic {
        asks: "I have changed my mind about the reservation.",
        tools: &["release_item", "send_email"],
        reply: "No problem: the reservation {order} is released.",
    },
];

const WORKSHOP: &[Topic] = &[
    Topic {
        asks: "My brakes squeal. When can I come in?",
        tools: &["book_workshop", "send_email"],
        reply: "You have a slot on Tuesday at ten, number {order}.",
    },
    Topic {
        asks: "I can't make it on Tuesday.",
        tools: &["cancel_workshop", "book_workshop"],
        reply: "Moved to Thursday, number {order}.",
    },
    Topic {
        asks: "What does a full service cost?",
        tools: &[],
        reply: "129 euro with parts up to 20 euro.",
    },
];
