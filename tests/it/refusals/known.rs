//! What the people of a story know, and what they send: one request of each mutation, good as far as they can tell.

use ruche_ledger::testing::SeededRandom;
use serde_json::{Value, json};

use super::stage::Stage;
use crate::live::reviewer::Reviewer;

/// Every mutation of the schema that is about one tenant.
pub const MUTATIONS: [&str; 33] = [
    "appendEvents",
    "cancelTurn",
    "claimTurn",
    "commitTurn",
    "completeStep",
    "discardEvent",
    "dropQuery",
    "endSession",
    "failTurn",
    "heartbeatTurn",
    "pauseProjection",
    "proposeAction",
    "publishConfiguration",
    "recordTurn",
    "redriveEvent",
    "registerReviewerKey",
    "registerTool",
    "reportCompensation",
    "reportEffect",
    "resolveOutcome",
    "resumeProjection",
    "revokeReviewerKey",
    "saveQuery",
    "scoreSession",
    "recordScenario",
    "sendMessage",
    "settleIntervention",
    "startCompensation",
    "startEffect",
    "startSession",
    "startStep",
    "submitMessage",
    "voteOnApproval",
];

/// Those that are about all tenants, which an administrator does where there is only one. Here there are two.
pub const OF_THE_ONLY_TENANT: [&str; 1] = ["rebuildReadModels"];

/// Tools with what they do to the world. The last one nobody registers.
const TOOLS: [(&str, &str); 6] = [
    ("look_up", "PURE"),
    ("create_ticket", "IDEMPOTENT"),
    ("release_seat", "IDEMPOTENT"),
    ("reserve_seat", "COMPENSATABLE"),
    ("charge_card", "IRREVERSIBLE"),
    ("send_letter", ""),
];
/// An id of the right form that nobody has.
pub const NOBODYS: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// A question of analytics with everything that can be said in one.
pub fn question(metric: &str) -> Value {
    json!({ "metric": metric, "groupBy": ["AGENT"], "bucket": "DAY", "last": 604_800, "filter": { "channel": "api" },
        "percentile": 99.0, "compareTo": { "from": "2026-01-01T00:00:00Z", "to": "2026-01-08T00:00:00Z" } })
}

/// The projection that events are parked of. Nothing here reads what it makes.
const PARKED: &str = "usage";

/// What is sent of an event that waits for it.
pub fn of_projection(stage: &Stage, mutation: &str) -> Value {
    match mutation {
        "redriveEvent" | "discardEvent" => {
            json!({ "projection": PARKED, "position": stage.park(PARKED), "reason": "seen" })
        }
        _ => json!({ "projection": PARKED, "reason": "moved" }),
    }
}

/// What is known of a lane.
pub struct Lane {
    pub name: Value,
    /// The turn that was claimed last, and every lease on one before.
    pub turn: Value,
    pub leases: Vec<Value>,
    pub calls: Vec<Value>,
    /// Requests that people are asked about, with their calls.
    pub asked: Vec<(Value, Value)>,
    /// Calls with the permits of their starts, and of the starts of undoing them.
    pub permits: Vec<(Value, Value)>,
    pub undoing: Vec<(Value, Value)>,
    /// The step that was begun last.
    pub step: Value,
}

impl Lane {
    /// One in which nothing happened.
    pub fn new(name: Value) -> Self {
        Self {
            name,
            turn: json!(NOBODYS),
            leases: vec![json!({ "id": "none", "epoch": "1" })],
            calls: Vec::new(),
            asked: Vec::new(),
            permits: Vec::new(),
            undoing: Vec::new(),
            step: json!("none"),
        }
    }
}

/// What is known at one moment of a story.
pub struct Known {
    pub random: SeededRandom,
    pub lanes: Vec<Lane>,
    /// The session of both lanes, and others that begin and end.
    pub session: Value,
    others: u64,
    messages: u64,
}

impl Known {
    pub fn new(seed: u64) -> Self {
        // One whose turns wait for their approvals, and one where a decision opens a turn. Neither gathers messages.
        let lane =
            |channel: &str| Lane::new(json!({ "agent": "shop", "interlocutor": "ann", "channel": channel }));
        Self {
            random: SeededRandom::new(seed),
            lanes: vec![lane("api"), lane("email")],
            session: Value::Null,
            others: 0,
            messages: 0,
        }
    }

    pub fn below(&self, end: usize) -> usize {
        usize::try_from(self.random.next() % end as u64).expect("it is small")
    }

    fn one_of<'a, T>(&self, things: &'a [T]) -> &'a T {
        &things[self.below(things.len())]
    }

    /// Mostly the last one, at times one that is older.
    fn late<'a>(&self, things: &'a [(Value, Value)]) -> Option<&'a (Value, Value)> {
        let back = self
            .below(6)
            .saturating_sub(3)
            .min(things.len().saturating_sub(1));
        things.iter().rev().nth(back)
    }

    /// Numbers of sessions that begin and end beside the lanes' one.
    fn other(&self) -> Value {
        json!({ "externalId": format!("other-{}", self.others) })
    }

    /// What a mutation is sent now; `lane` is the one that it is about, where it is about one.
    pub fn good(&mut self, stage: &Stage, mutation: &str, lane: usize) -> Value {
        match mutation {
            "startSession" => {
                self.others += 1;
                let previous = &self.session;
                json!({ "externalId": format!("other-{}", self.others), "agent": "shop", "interlocutor": "ann",
                    "trial": "1", "previousSessionId": previous, "attributes": { "plan": "gold" } })
            }
            "endSession" => json!({ "session": self.other(), "reason": "COMPLETED", "detail": "done" }),
            "submitMessage" => self.message(lane),
            "redriveEvent" | "discardEvent" | "pauseProjection" | "resumeProjection" => {
                of_projection(stage, mutation)
            }
            "recordTurn" => json!({ "session": self.other(), "agent": "shop",
                "steps": [{ "received": { "role": "USER", "text": "where is it?" } },
                    { "said": { "toolCalls": [{ "name": "look_up", "arguments": "{}" }] } },
                    { "settled": { "call": "0", "outcome": { "completed": { "result": "here" } } } },
                    { "said": { "text": "there" } }],
                "end": { "committed": { "outcome": "ANSWERED" } } }),
            "scoreSession" => {
                json!({ "session": self.other(), "scores": [{ "name": "kind", "value": 1.0 }] })
            }
            "recordScenario" => {
                json!({ "session": self.other(), "scenario": format!("refund-{}", self.below(1_000)),
                    "moves": [{ "enter": { "version": "1" } }, { "enterStep": { "step": "ask" } }] })
            }
            "appendEvents" => self.append(),
            "publishConfiguration" => json!({ "scope": "AGENT", "scopeId": "shop",
                "set": { "greeting": self.below(3) }, "removed": [], "reason": "nicer" }),
            "registerTool" => self.tool(),
            "saveQuery" => json!({ "name": "costs", "query": question(["COST", "TURNS"][self.below(2)]) }),
            "dropQuery" => json!({ "name": "costs" }),
            "registerReviewerKey" => self
                .one_of(&[&stage.alice, &stage.bob, &stage.bob])
                .registration(),
            "revokeReviewerKey" => json!({ "keyId": stage.bob.key_id(), "reason": "lost" }),
            "voteOnApproval" => self.vote(stage),
            _ => self.about_a_turn(mutation, lane),
        }
    }

    fn message(&mut self, lane: usize) -> Value {
        self.messages += 1;
        let name = format!("m-{}", self.messages);
        if self.below(8) == 0 {
            return json!({ "session": self.other(), "text": "by the way", "externalId": name });
        }
        json!({ "session": { "id": self.session }, "text": "do it", "channelMessageId": name,
            "lane": self.lanes[lane].name })
    }

    fn append(&self) -> Value {
        let goal = json!({ "type": "goal.set", "schemaVersion": 1,
            "data": { "text": r#"{"goal_id":"g","description":"be kind"}"# } });
        let said =
            json!({ "type": "message.received", "data": { "json": { "role": "user", "text": "hello" } } });
        if self.below(2) == 0 {
            return json!({ "target": { "named": { "category": "GOAL", "externalId": "g" } }, "events": [goal] });
        }
        json!({ "target": { "session": self.other() }, "events": [said] })
    }

    /// One of the tools as it is, or one with other arguments or another effect from now on.
    fn tool(&self) -> Value {
        let (name, effect) = self.one_of(&TOOLS[..5]);
        let effect = if *name == "charge_card" && self.below(8) == 0 {
            "IDEMPOTENT"
        } else {
            effect
        };
        let undo = (effect == "COMPENSATABLE").then_some("release_seat");
        let schema = match self.below(4) {
            0 => json!({ "type": "object", "description": "narrow" }),
            _ => json!({ "type": "object", "properties": { "order": { "type": "integer" } } }),
        };
        json!({ "name": name, "sideEffect": effect, "owner": "shop", "argumentSchema": schema,
            "timeoutMs": "30000", "compensationTool": undo })
    }

    fn vote(&self, stage: &Stage) -> Value {
        let (bob, mallory) = (&stage.bob, &stage.mallory);
        let voters: [&Reviewer; 5] = [&stage.alice, &stage.alice, &stage.alice, bob, mallory];
        let who: &Reviewer = voters[self.below(voters.len())];
        self.vote_of(stage, who)
    }

    /// A vote on something that people are asked about.
    pub fn vote_of(&self, stage: &Stage, who: &Reviewer) -> Value {
        let open = "{ approvals(first: 50) { nodes { id tool arguments } } }";
        let open = stage.who.desk.ask(open, Value::Null)["approvals"]["nodes"].take();
        let open = open.as_array().expect("a list");
        if open.is_empty() {
            return json!({ "approvalId": NOBODYS, "envelope": "{}" });
        }
        let request = self.one_of(open);
        let text = |name: &str| request[name].as_str().expect("a text");
        who.signed(&stage.who.desk, text("id"), text("tool"), text("arguments"))
    }

    /// What the worker of a lane shows.
    pub fn held(&self, lane: usize) -> Value {
        let lane = &self.lanes[lane];
        json!({ "lane": lane.name, "turnId": lane.turn, "lease": lane.leases.last() })
    }

    fn about_a_turn(&mut self, mutation: &str, lane: usize) -> Value {
        let lane = &self.lanes[lane];
        let lease = match self.below(12) {
            0 => self.one_of(&lane.leases),
            _ => lane.leases.last().expect("the first is none"),
        };
        let held = json!({ "lane": lane.name, "turnId": lane.turn, "lease": lease });
        let with = |mut base: Value, more: Value| {
            for (name, value) in more.as_object().expect("members") {
                base[name] = value.clone();
            }
            base
        };
        let call = match lane.calls.len() {
            0 => json!(NOBODYS),
            many => lane.calls[many - 1 - self.below(many.min(3))].clone(),
        };
        let nothing = (call.clone(), json!("1:0"));
        let named = json!({ "lane": lane.name });
        match mutation {
            "claimTurn" if self.below(6) == 0 => json!({ "agent": "shop", "channel": "api" }),
            "claimTurn" => with(named, json!({ "brainBuild": "b-1" })),
            "heartbeatTurn" => held,
            "commitTurn" => with(
                held,
                json!({ "outcome": "ANSWERED", "response": { "text": "done" } }),
            ),
            "failTurn" => {
                let retryable = self.below(3) > 0;
                with(
                    held,
                    json!({ "errorType": "broken", "error": "x", "retryable": retryable }),
                )
            }
            "cancelTurn" => with(named, json!({ "turnId": lane.turn, "reason": "no more" })),
            "proposeAction" => {
                let (tool, _) = self.one_of(&TOOLS);
                let key = format!("order-{}", self.below(6));
                with(
                    held,
                    json!({ "tool": tool, "arguments": "{ \"order\": 7 }", "businessKey": key }),
                )
            }
            "startEffect" => with(held, self.named(&call)),
            "reportEffect" => {
                let (call, permit) = self.late(&lane.permits).unwrap_or(&nothing);
                let outcome = match self.below(4) {
                    0 => json!({ "failed": { "errorType": "no", "error": "x" } }),
                    1 => json!({ "unknown": { "cause": "timeout" } }),
                    _ => json!({ "completed": { "result": "ok", "externalRef": "T-1" } }),
                };
                with(
                    held,
                    json!({ "callId": call, "permit": permit, "outcome": outcome }),
                )
            }
            "startCompensation" => with(named, json!({ "callId": call })),
            "reportCompensation" => {
                let (call, permit) = self.late(&lane.undoing).unwrap_or(&nothing);
                let outcome = match self.below(2) {
                    0 => json!({ "failed": { "errorType": "no" } }),
                    _ => json!({ "compensated": { "externalRef": "T-2" } }),
                };
                with(
                    named,
                    json!({ "callId": call, "permit": permit, "outcome": outcome }),
                )
            }
            "resolveOutcome" => {
                let outcome = *self.one_of(&["COMPLETED", "NOT_EXECUTED"]);
                with(
                    named,
                    json!({ "callId": call, "outcome": outcome, "by": "ann", "evidence": "seen" }),
                )
            }
            "settleIntervention" => with(
                named,
                json!({ "turnId": lane.turn, "by": "ann", "reason": "sent again" }),
            ),
            "startStep" => {
                let step = format!("step-{}", self.below(6));
                with(held, json!({ "stepId": step, "name": "look" }))
            }
            "completeStep" => with(held, json!({ "stepId": lane.step, "result": "ok" })),
            "sendMessage" => with(held, json!({ "message": { "text": "one moment" } })),
            other => panic!("nobody knows how to send {other}"),
        }
    }

    /// A call, and most often an approval for it: its own, or any that was ever asked for.
    fn named(&self, call: &Value) -> Value {
        let all: Vec<&(Value, Value)> = self.lanes.iter().flat_map(|lane| &lane.asked).collect();
        let own = all.iter().find(|(of, _)| of == call);
        let named = match self.below(4) {
            0 => None,
            1 if !all.is_empty() => Some(*self.one_of(&all)),
            _ => own.copied(),
        };
        match named {
            Some((_, approval)) => json!({ "callId": call, "approvalId": approval }),
            None => json!({ "callId": call }),
        }
    }

    /// What an answer tells about the lane that it was about.
    pub fn learn(&mut self, mutation: &str, lane: usize, sent: &Value, answer: &Value) {
        let channel = &answer["lane"]["channel"];
        let lane = match mutation {
            "claimTurn" => self
                .lanes
                .iter()
                .position(|lane| lane.name["channel"] == *channel)
                .unwrap_or(lane),
            _ => lane,
        };
        let lane = &mut self.lanes[lane];
        match mutation {
            "startSession" if self.session.is_null() => self.session = answer["sessionId"].clone(),
            "claimTurn" => {
                lane.turn = answer["turnId"].clone();
                let mut lease = answer["lease"].clone();
                lease
                    .as_object_mut()
                    .expect("a lease")
                    .retain(|name, _| name != "expiresAt");
                lane.leases.push(lease);
            }
            "startStep" => lane.step = sent["stepId"].clone(),
            "proposeAction" => {
                lane.calls.push(answer["callId"].clone());
                let approval = &answer["approval"]["id"];
                if approval.is_string() {
                    lane.asked.push((answer["callId"].clone(), approval.clone()));
                }
            }
            // A call whose effect happened before, under its business key, is not permitted but told.
            "startEffect" if answer["permit"].is_object() => lane
                .permits
                .push((sent["callId"].clone(), answer["permit"]["position"].clone())),
            "startCompensation" => {
                lane.undoing
                    .push((sent["callId"].clone(), answer["permit"]["position"].clone()));
            }
            _ => {}
        }
    }
}

/// What is asked of the answer to a mutation.
pub const fn fields(mutation: &str) -> &'static str {
    match mutation.as_bytes() {
        b"startSession" => "unchanged sessionId",
        b"claimTurn" => "unchanged turnId lease { id epoch } lane { channel }",
        b"proposeAction" => "unchanged callId approval { id }",
        b"startEffect" | b"startCompensation" => "unchanged callId permit { position }",
        b"voteOnApproval" => "unchanged outcome",
        _ => "unchanged",
    }
}
