//! A good request of each mutation, with everything done before that makes it good. Each is about a lane, a session and a
//! key of its own, so it is good whatever was sent before.

use serde_json::{Value, json};

use super::done;
use super::known::{Lane, of_projection, question};
use super::story::{Came, Seen, Story};
use crate::live::reviewer::Reviewer;

/// What a call is asked with.
const ARGUMENTS: &str = "{ \"order\": 7 }";

pub struct Goods<'s> {
    pub story: Story<'s>,
    number: u64,
    folder: tempfile::TempDir,
}

impl<'s> Goods<'s> {
    /// A deployment where tools of every effect are registered.
    pub fn new(seed: u64, seen: &'s mut Seen) -> Self {
        let mut story = Story::new(seed, seen);
        for (name, effect, undo) in [
            ("charge_card", "IRREVERSIBLE", None),
            ("create_ticket", "IDEMPOTENT", None),
            ("release_seat", "IDEMPOTENT", None),
            ("reserve_seat", "COMPENSATABLE", Some("release_seat")),
        ] {
            let schema = json!({ "type": "object", "properties": { "order": { "type": "integer" } } });
            let tool = json!({ "name": name, "sideEffect": effect, "argumentSchema": schema,
                "compensationTool": undo });
            done(&mut story, "registerTool", tool);
        }
        Self {
            story,
            number: 0,
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// A request that is carried out if it is sent next.
    pub fn ready(&mut self, mutation: &str) -> Value {
        self.goes_to("api");
        let (n, session) = (self.number, self.story.known.session.clone());
        let own = json!({ "externalId": format!("own-{n}") });
        if matches!(
            mutation,
            "endSession" | "recordTurn" | "scoreSession" | "recordScenario" | "appendEvents"
        ) {
            done(&mut self.story, "startSession", own.clone());
        }
        match mutation {
            "startSession" => {
                json!({ "externalId": format!("new-{n}"), "agent": "shop", "interlocutor": "ann",
                "trial": "1", "previousSessionId": session, "attributes": { "plan": "gold" } })
            }
            "endSession" => json!({ "session": own, "reason": "COMPLETED", "detail": "done" }),
            "recordTurn" => json!({ "session": own, "agent": "shop",
                "steps": [{ "received": { "role": "USER", "text": "where is it?" } },
                    { "said": { "toolCalls": [{ "name": "look_up", "arguments": "{}" }] } },
                    { "settled": { "call": "0", "outcome": { "completed": { "result": "here" } } } },
                    { "said": { "text": "there" } }],
                "end": { "committed": { "outcome": "ANSWERED" } } }),
            "scoreSession" => json!({ "session": own, "scores": [{ "name": "kind", "value": 1.0 }] }),
            "recordScenario" => json!({ "session": own, "scenario": "refund",
                "moves": [{ "enter": { "version": "1" } }, { "enterStep": { "step": "ask" } },
                    { "exitStep": { "step": "ask", "durationUs": "5" } }, { "passCheckpoint": { "checkpoint": "known" } },
                    { "migrate": { "version": "2", "behind": ["known"] } }, { "complete": {} }] }),
            "appendEvents" => json!({ "target": { "session": own }, "events": [{ "type": "message.received",
                "schemaVersion": 1, "data": { "json": { "role": "user", "text": "hello" } } }] }),
            "publishConfiguration" => json!({ "scope": "AGENT", "scopeId": format!("agent-{n}"),
                "set": { "greeting": 1 }, "removed": [], "reason": "nicer" }),
            "saveQuery" => json!({ "name": format!("costs of {n}"), "query": question("COST") }),
            "dropQuery" => {
                let name = format!("costs of {n}");
                done(
                    &mut self.story,
                    "saveQuery",
                    json!({ "name": name, "query": question("COST") }),
                );
                json!({ "name": name })
            }
            "registerTool" => {
                json!({ "name": format!("tool_{n}"), "sideEffect": "COMPENSATABLE", "owner": "shop",
                "argumentSchema": { "type": "object" }, "timeoutMs": "30000", "compensationTool": "release_seat" })
            }
            "redriveEvent" | "discardEvent" | "pauseProjection" | "resumeProjection" => {
                of_projection(&self.story.stage, mutation)
            }
            "registerReviewerKey" => self.reviewer().registration(),
            "revokeReviewerKey" => {
                let leaves = self.reviewer();
                done(&mut self.story, "registerReviewerKey", leaves.registration());
                json!({ "keyId": leaves.key_id(), "reason": "lost" })
            }
            _ => self.about_a_turn(mutation),
        }
    }

    fn reviewer(&self) -> Reviewer {
        Reviewer::new(self.folder.path(), "acme", &format!("person-{}", self.number))
    }

    /// Another lane from now on.
    pub fn goes_to(&mut self, channel: &str) {
        self.number += 1;
        let thread = format!("thread-{}", self.number);
        let name = json!({ "agent": "shop", "interlocutor": "ann", "channel": channel, "thread": thread });
        self.story.known.lanes[0] = Lane::new(name);
    }

    fn about_a_turn(&mut self, mutation: &str) -> Value {
        let lane = self.story.known.lanes[0].name.clone();
        let message = self.message();
        if mutation == "submitMessage" {
            return message;
        }
        done(&mut self.story, "submitMessage", message);
        if mutation == "claimTurn" {
            return json!({ "lane": lane, "brainBuild": "b-1" });
        }
        self.claim();
        let held = self.story.known.held(0);
        let turn = &held["turnId"];
        match mutation {
            "heartbeatTurn" => held,
            "commitTurn" => with(
                held,
                json!({ "outcome": "ANSWERED", "response": { "text": "done" } }),
            ),
            "failTurn" => with(
                held,
                json!({ "errorType": "broken", "error": "x", "retryable": false }),
            ),
            "cancelTurn" => json!({ "lane": lane, "turnId": turn, "reason": "no more" }),
            "settleIntervention" => {
                let fail = json!({ "errorType": "broken", "retryable": false });
                done(&mut self.story, "failTurn", with(held.clone(), fail));
                json!({ "lane": lane, "turnId": turn, "by": "ann", "reason": "sent again" })
            }
            "sendMessage" => with(held, json!({ "message": { "text": "one moment" } })),
            "proposeAction" => self.proposal("charge_card"),
            "startStep" | "completeStep" => {
                let begin = with(held.clone(), json!({ "stepId": "look", "name": "looks it up" }));
                if mutation == "startStep" {
                    return begin;
                }
                done(&mut self.story, "startStep", begin);
                with(held, json!({ "stepId": "look", "result": "found" }))
            }
            _ => self.about_a_call(mutation),
        }
    }

    fn about_a_call(&mut self, mutation: &str) -> Value {
        match mutation {
            "voteOnApproval" => {
                self.call("charge_card");
                self.vote()
            }
            "startEffect" => {
                self.call("charge_card");
                let vote = self.vote();
                done(&mut self.story, "voteOnApproval", vote);
                self.start_on(&self.approval())
            }
            "reportEffect" | "resolveOutcome" => {
                self.call("create_ticket");
                let start = self.by_worker(json!({}));
                done(&mut self.story, "startEffect", start);
                let permit = self.story.known.lanes[0]
                    .permits
                    .last()
                    .expect("a permit")
                    .1
                    .clone();
                let report = |outcome: Value| json!({ "permit": permit, "outcome": outcome });
                if mutation == "reportEffect" {
                    let completed = json!({ "completed": { "result": "ok", "externalRef": "T-1" } });
                    return self.by_worker(report(completed));
                }
                let unknown = self.by_worker(report(json!({ "unknown": { "cause": "timeout" } })));
                done(&mut self.story, "reportEffect", unknown);
                self.by_others(
                    json!({ "outcome": "COMPLETED", "by": "ann", "evidence": "seen", "result": "ok" }),
                )
            }
            "startCompensation" | "reportCompensation" => {
                self.call("reserve_seat");
                self.runs();
                let fail = with(
                    self.story.known.held(0),
                    json!({ "errorType": "broken", "retryable": false }),
                );
                done(&mut self.story, "failTurn", fail);
                let start = self.by_others(json!({}));
                if mutation == "startCompensation" {
                    return start;
                }
                done(&mut self.story, "startCompensation", start);
                let permit = self.story.known.lanes[0]
                    .undoing
                    .last()
                    .expect("a permit")
                    .1
                    .clone();
                let outcome = json!({ "compensated": { "externalRef": "T-2" } });
                self.by_others(json!({ "permit": permit, "outcome": outcome }))
            }
            other => panic!("nobody knows what makes {other} good"),
        }
    }

    fn message(&self) -> Value {
        let known = &self.story.known;
        json!({ "session": { "id": known.session }, "text": "do it", "channelMessageId": format!("own-{}", self.number),
            "lane": known.lanes[0].name })
    }

    /// The turn of the lane is claimed, one that was made before or the next.
    pub fn claim(&mut self) {
        let lane = self.story.known.lanes[0].name.clone();
        done(&mut self.story, "claimTurn", json!({ "lane": lane }));
    }

    /// A message, and the turn that it makes is claimed.
    pub fn turn(&mut self) {
        let message = self.message();
        done(&mut self.story, "submitMessage", message);
        self.claim();
    }

    fn proposal(&mut self, tool: &str) -> Value {
        self.number += 1;
        let key = format!("order-{}", self.number);
        let call =
            json!({ "tool": tool, "arguments": ARGUMENTS, "businessKey": key, "justification": "asked to" });
        with(self.story.known.held(0), call)
    }

    /// A call is proposed. Gives the answer.
    pub fn call(&mut self, tool: &str) -> Value {
        let proposal = self.proposal(tool);
        match self.story.request("proposeAction", proposal, 0) {
            Came::Done(answer) => answer,
            came @ Came::Refused(_) => panic!("{tool}: {came:?}"),
        }
    }

    /// The request that people were asked last.
    pub fn approval(&self) -> Value {
        self.story.known.lanes[0]
            .asked
            .last()
            .expect("a request")
            .1
            .clone()
    }

    /// Alice's vote on it.
    pub fn vote(&self) -> Value {
        let (stage, approval) = (&self.story.stage, self.approval());
        let approval = approval.as_str().expect("an id");
        stage
            .alice
            .signed(&stage.who.desk, approval, "charge_card", ARGUMENTS)
    }

    /// The start of the last call under an approval.
    pub fn start_on(&self, approval: &Value) -> Value {
        self.by_worker(json!({ "approvalId": approval }))
    }

    /// The last call is started and done.
    pub fn runs(&mut self) {
        let start = self.by_worker(json!({}));
        done(&mut self.story, "startEffect", start);
        let permit = self.story.known.lanes[0]
            .permits
            .last()
            .expect("a permit")
            .1
            .clone();
        let report = json!({ "permit": permit, "outcome": { "completed": { "result": "7A" } } });
        let report = self.by_worker(report);
        done(&mut self.story, "reportEffect", report);
    }

    /// Something about the last call, by the worker of the turn.
    fn by_worker(&self, more: Value) -> Value {
        let call = self.story.known.lanes[0].calls.last().expect("a call");
        let held = with(self.story.known.held(0), json!({ "callId": call }));
        with(held, more)
    }

    /// The same by whoever finds the lane.
    fn by_others(&self, more: Value) -> Value {
        let lane = &self.story.known.lanes[0];
        let call = lane.calls.last().expect("a call");
        with(json!({ "lane": lane.name, "callId": call }), more)
    }
}

fn with(mut base: Value, more: Value) -> Value {
    for (name, value) in more.as_object().expect("members") {
        base[name] = value.clone();
    }
    base
}
