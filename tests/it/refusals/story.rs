//! A story: random requests, good and spoilt, and after each that was refused a look at everything that is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ruche_domain::events::StartRefusal;
use ruche_domain::numbers::Position;
use serde_json::{Value, json};

use super::known::{Known, MUTATIONS, fields};
use super::stage::{Mark, Stage, keys_taken, types};
use crate::live::client::{Client, mutation as operation};

/// What a start that is refused may leave in the ledger, as docs/tool-calls.md has it: that it was refused, and what
/// becomes of its approval.
const OF_REFUSED_STARTS: [&[&str]; 3] = [
    &["tool.start_refused"],
    &["approval.stale", "tool.start_refused"],
    &["approval.voided", "tool.start_refused"],
];
/// The same of a start that names an approval: another call's, or its own where something is not as it was approved.
const OF_MISMATCHES: [&[&str]; 2] = [
    &["approval.use_refused"],
    &["approval.stale", "tool.start_refused"],
];
/// A vote that does not count is answered with its own record.
const OF_REFUSED_VOTES: [&str; 1] = ["approval.vote_refused"];

/// What came of a request.
#[derive(Debug)]
pub enum Came {
    Done(Value),
    /// With its code.
    Refused(String),
}

/// A request, as it may be sent again.
#[derive(Clone, Debug)]
pub struct Request {
    pub mutation: &'static str,
    pub key: String,
    pub input: Value,
}

/// What was seen, over all stories.
#[derive(Default)]
pub struct Seen {
    /// Codes by mutation.
    pub codes: BTreeMap<&'static str, BTreeSet<String>>,
    /// Mutations that were carried out.
    pub done: BTreeSet<&'static str>,
    /// Mutations that were refused under a key which another request was carried out under afterwards.
    pub freed: BTreeSet<&'static str>,
    /// What refused starts and votes left in the ledger, by the types of the records.
    pub recorded: BTreeSet<Vec<String>>,
    pub refusals: u64,
}

pub struct Story<'s> {
    pub stage: Stage,
    pub known: Known,
    seen: &'s mut Seen,
    seed: u64,
    number: u64,
    /// Mutations that were refused under the key that is next.
    refused_under: BTreeSet<&'static str>,
    /// Calls and causes for which their start was refused, as it is recorded.
    causes: BTreeSet<String>,
    /// Of each credential a key that a request was carried out under.
    taken: HashMap<String, (String, Value)>,
}

impl<'s> Story<'s> {
    /// A deployment whose reviewers are known, with a session and its lanes.
    pub fn new(seed: u64, seen: &'s mut Seen) -> Self {
        let stage = Stage::new(seed);
        stage.follow();
        let mut story = Self {
            stage,
            known: Known::new(seed),
            seen,
            seed,
            number: 0,
            refused_under: BTreeSet::new(),
            causes: BTreeSet::new(),
            taken: HashMap::new(),
        };
        for mutation in ["startSession", "startSession"] {
            story.sends(mutation, 0);
        }
        let registration = story.stage.alice.registration();
        story.request("registerReviewerKey", registration, 0);
        story
    }

    /// A random request, most often one that helps the story on.
    pub fn step(&mut self) {
        let lane = self.known.below(2);
        let common = [
            "submitMessage",
            "claimTurn",
            "proposeAction",
            "voteOnApproval",
            "startEffect",
            "reportEffect",
        ];
        let mutation = match self.known.below(10) {
            0..=6 => common[self.known.below(common.len())],
            _ => MUTATIONS[self.known.below(MUTATIONS.len())],
        };
        let wait_s = match self.known.below(60) {
            0 => 25 * 3_600,
            1..=3 => 40,
            _ => 1,
        };
        self.stage
            .clock
            .0
            .fetch_add(wait_s * 1_000_000, std::sync::atomic::Ordering::SeqCst);
        self.sends(mutation, lane);
    }

    /// Does what has to be done before a mutation is carried out, as far as that can be known.
    pub fn prepare(&mut self, mutation: &str, lane: usize) {
        let before: &[&'static str] = match mutation {
            "claimTurn" => &["failTurn", "submitMessage"],
            "heartbeatTurn" | "commitTurn" | "failTurn" | "cancelTurn" | "sendMessage" | "proposeAction"
            | "startStep" => &["submitMessage", "claimTurn"],
            "completeStep" => &["submitMessage", "claimTurn", "startStep"],
            "settleIntervention" => &["submitMessage", "claimTurn", "failTurn"],
            "dropQuery" => &["saveQuery"],
            "voteOnApproval" => &["submitMessage", "claimTurn", "proposeAction"],
            "startEffect" => &["submitMessage", "claimTurn", "proposeAction", "voteOnApproval"],
            "reportEffect" | "resolveOutcome" => &[
                "submitMessage",
                "claimTurn",
                "proposeAction",
                "voteOnApproval",
                "startEffect",
            ],
            "startCompensation" => &[
                "submitMessage",
                "claimTurn",
                "proposeAction",
                "startEffect",
                "failTurn",
            ],
            "reportCompensation" => &["startEffect", "failTurn", "startCompensation"],
            "endSession" | "recordTurn" | "scoreSession" | "recordScenario" | "appendEvents" => {
                &["startSession"]
            }
            _ => &[],
        };
        for mutation in before.iter().copied() {
            self.sends(mutation, lane);
        }
    }

    /// Sends a good request.
    pub fn sends(&mut self, mutation: &'static str, lane: usize) -> Came {
        let input = self.known.good(&self.stage, mutation, lane);
        self.request(mutation, input, lane)
    }

    /// Sends this under the key that is next, as who may.
    pub fn request(&mut self, mutation: &'static str, input: Value, lane: usize) -> Came {
        let request = Request {
            mutation,
            key: format!("key-{}-{}", self.seed, self.number),
            input,
        };
        let came = self.tried(&request, |stage| who_may(stage, mutation));
        if let Came::Done(answer) = &came {
            self.known.learn(mutation, lane, &request.input, answer);
        }
        came
    }

    /// Sends a good request under other keys than a client may: none, one that is too long, and one that is taken.
    pub fn under_bad_keys(&mut self, mutation: &'static str, input: &Value) {
        // Under its own key a request is no other one: it is answered again.
        let taken = self.taken.get(&who_may(&self.stage, mutation).key);
        let taken = taken.filter(|(_, by)| by != input).map(|(key, _)| key.clone());
        let bad = [String::new(), "k".repeat(256), "a\nb".to_owned()];
        for key in bad.into_iter().chain(taken) {
            let request = Request {
                mutation,
                key,
                input: input.clone(),
            };
            let came = self.tried(&request, |stage| who_may(stage, mutation));
            assert!(
                matches!(came, Came::Refused(_)),
                "{} {came:?}",
                self.place(&request)
            );
        }
    }

    /// Sends a good request as those who may not. Nobody is told more than that.
    pub fn as_others(&mut self, mutation: &'static str, input: &Value) {
        let mutations_of_admins = [
            "registerTool",
            "resolveOutcome",
            "settleIntervention",
            "redriveEvent",
            "discardEvent",
            "pauseProjection",
            "resumeProjection",
            "registerReviewerKey",
            "revokeReviewerKey",
        ];
        let request = Request {
            mutation,
            key: format!("key-{}-{}", self.seed, self.number),
            input: input.clone(),
        };
        let nobodies: [fn(&Stage) -> &Client; 2] = [|stage| &stage.who.nobody, |stage| &stage.who.nameless];
        for who in nobodies {
            let came = self.tried(&request, who);
            assert!(
                matches!(&came, Came::Refused(code) if code == "UNAUTHENTICATED"),
                "{came:?}"
            );
        }
        let mut others: Vec<fn(&Stage) -> &Client> =
            vec![|stage| &stage.who.reader, |stage| &stage.who.auditor];
        if mutation != "voteOnApproval" {
            others.push(|stage| &stage.who.desk);
        }
        if mutation == "voteOnApproval" || mutations_of_admins.contains(&mutation) {
            others.push(|stage| &stage.who.agent);
        }
        for who in others {
            let came = self.tried(&request, who);
            assert!(
                matches!(&came, Came::Refused(code) if code == "FORBIDDEN"),
                "{mutation}: {came:?}"
            );
        }
    }

    /// Sends a good request as an administrator of another tenant, where it names what that one cannot have.
    pub fn as_stranger(&mut self, mutation: &'static str, input: &Value) {
        let names_what_is_not_theirs = input.get("lane").is_some() && mutation != "submitMessage"
            || input.pointer("/session/id").is_some()
            || matches!(
                mutation,
                "voteOnApproval" | "revokeReviewerKey" | "registerReviewerKey"
            );
        if names_what_is_not_theirs {
            let key = format!("key-{}-{}", self.seed, self.number);
            let request = Request {
                mutation,
                key,
                input: input.clone(),
            };
            let came = self.tried(&request, |stage| &stage.who.stranger);
            assert!(
                matches!(came, Came::Refused(_)),
                "{} {came:?}",
                self.place(&request)
            );
        }
    }

    /// Sends a request, and sees that it changed nothing if it was not carried out.
    fn tried(&mut self, request: &Request, who: impl Fn(&Stage) -> &Client) -> Came {
        let (before, end) = (self.stage.mark(), self.stage.end());
        let came = send(who(&self.stage), request);
        self.stage.follow();
        let after = self.stage.mark();
        match &came {
            Came::Refused(code) => {
                self.note_refusal(request, code);
                if after != before {
                    self.may_have_left(request, code, end);
                    self.is_bounded(request, code, &who);
                }
            }
            Came::Done(answer) if answer["duplicate"] == true || answer["unchanged"] == true => {
                assert_eq!(unread(after), unread(before), "{}: {answer}", self.place(request));
            }
            Came::Done(answer) => {
                assert_ne!(after.ledger, before.ledger, "{}: {answer}", self.place(request));
                self.note_done(request, answer, end, &who);
            }
        }
        came
    }

    fn note_refusal(&mut self, request: &Request, code: &str) {
        let is_new = !self.taken.values().any(|(taken, _)| *taken == request.key);
        // A message is one under its own name, too: docs/idempotency.md.
        let may_mismatch = !is_new || request.mutation == "submitMessage";
        assert!(
            code != "IDEMPOTENCY_MISMATCH" || may_mismatch,
            "{}: its key is new",
            self.place(request)
        );
        assert!(code != "INTERNAL", "{}", self.place(request));
        self.seen
            .codes
            .entry(request.mutation)
            .or_default()
            .insert(code.to_owned());
        self.seen.refusals += 1;
        if request.key == format!("key-{}-{}", self.seed, self.number) {
            self.refused_under.insert(request.mutation);
        }
    }

    /// Everything that a refusal may write, and only there.
    fn may_have_left(&mut self, request: &Request, code: &str, end: Position) {
        let written = self.stage.records_from(end);
        let types = types(&written);
        let may: &[&[&str]] = match (request.mutation, code) {
            ("startEffect", "ILLEGAL_TRANSITION") => &OF_REFUSED_STARTS,
            ("startEffect", "APPROVAL_MISMATCH") => &OF_MISMATCHES,
            _ => &[],
        };
        assert!(
            may.iter().any(|known| types == **known),
            "{}: {code}, and yet written: {types:?}",
            self.place(request)
        );
        assert_eq!(
            keys_taken(&written),
            0,
            "{}: {code}, and its key is taken",
            self.place(request)
        );
        self.seen.recorded.insert(types);
        for record in &written {
            let payload: Value =
                serde_json::from_slice(record.payload_bytes().expect("a payload")).expect("JSON");
            let cause = match &*record.leaf.event.event_type {
                "tool.start_refused" => format!("{} {}", request.input["callId"], payload["refusal"]),
                "approval.use_refused" => format!("{} {}", record.leaf.event.stream, payload["call_id"]),
                _ => continue,
            };
            assert!(
                self.causes.insert(cause),
                "{}: one cause twice: {payload}",
                self.place(request)
            );
        }
    }

    /// What is recorded of a refused start is recorded once for each cause. A start that made its approval stale is
    /// refused for another one next, and then for good.
    fn is_bounded(&mut self, request: &Request, code: &str, who: &impl Fn(&Stage) -> &Client) {
        let mut code = code.to_owned();
        for _ in 0..=StartRefusal::ALL.len() {
            let (before, end) = (self.stage.mark(), self.stage.end());
            let again = send(who(&self.stage), request);
            let told = format!("{}: {code}, then {again:?}", self.place(request));
            let Came::Refused(next) = again else {
                panic!("{told}")
            };
            // The approval that was named is gone, which is no mismatch any more.
            let is_gone = (&*code, &*next) == ("APPROVAL_MISMATCH", "ILLEGAL_TRANSITION");
            assert!(next == code || is_gone, "{told}");
            code = next;
            if self.stage.mark().ledger == before.ledger {
                return;
            }
            self.may_have_left(request, &code, end);
            self.stage.follow();
        }
        panic!("{}: it is recorded again and again", self.place(request));
    }

    fn note_done(
        &mut self,
        request: &Request,
        answer: &Value,
        end: Position,
        who: &impl Fn(&Stage) -> &Client,
    ) {
        self.seen.done.insert(request.mutation);
        self.seen.freed.append(&mut self.refused_under);
        let credential = who(&self.stage).key.clone();
        self.taken
            .insert(credential, (request.key.clone(), request.input.clone()));
        self.number += 1;
        if answer["outcome"] != "REFUSED" {
            return;
        }
        // Its cause is recorded once for this credential, whatever key it comes under.
        assert_eq!(
            types(&self.stage.records_from(end)),
            OF_REFUSED_VOTES,
            "{}",
            self.place(request)
        );
        self.seen
            .recorded
            .insert(OF_REFUSED_VOTES.map(str::to_owned).to_vec());
        let before = self.stage.mark();
        let again = Request {
            key: "another".to_owned(),
            ..request.clone()
        };
        let again = send(who(&self.stage), &again);
        assert!(
            matches!(&again, Came::Done(answer) if answer["unchanged"] == true),
            "{again:?}"
        );
        assert_eq!(
            self.stage.mark().ledger,
            before.ledger,
            "{}: recorded again",
            self.place(request)
        );
    }

    /// Enough to repeat it: the same seed gives the same requests.
    fn place(&self, request: &Request) -> String {
        let mut told = request.input.to_string();
        told.truncate(told.floor_char_boundary(2_000));
        format!(
            "seed {}, key {}: {} {told}",
            self.seed, self.number, request.mutation
        )
    }
}

/// A mark without the read models: they follow what was appended before.
fn unread(mark: Mark) -> Mark {
    Mark { reads: 0, ..mark }
}

/// Who is allowed to.
fn who_may<'s>(stage: &'s Stage, mutation: &str) -> &'s Client {
    match mutation {
        "registerTool"
        | "resolveOutcome"
        | "settleIntervention"
        | "redriveEvent"
        | "discardEvent"
        | "pauseProjection"
        | "resumeProjection"
        | "registerReviewerKey"
        | "revokeReviewerKey" => &stage.who.admin,
        "voteOnApproval" => &stage.who.desk,
        _ => &stage.who.agent,
    }
}

/// Sends a mutation, whatever comes of it.
fn send(client: &Client, request: &Request) -> Came {
    let (query, variables) = operation(
        request.mutation,
        &request.key,
        request.input.clone(),
        fields(request.mutation),
    );
    let body = json!({ "query": query, "variables": variables });
    let answer = answer_to(client, "/graphql", body.to_string());
    let code = answer.pointer("/errors/0/extensions/code");
    let result = &answer["data"][request.mutation];
    match (code, &result["code"]) {
        (Some(code), _) | (None, code @ Value::String(_)) => {
            Came::Refused(code.as_str().expect("a code").to_owned())
        }
        _ if result.is_object() => Came::Done(result.clone()),
        _ => panic!(
            "{}: no answer that anybody understands: {answer}",
            request.mutation
        ),
    }
}

/// The JSON that a request is answered with.
pub fn answer_to(client: &Client, path: &str, body: String) -> Value {
    let mut request = client.http.post(format!("{}{path}", client.url));
    if !client.key.is_empty() {
        request = request.bearer_auth(&client.key);
    }
    let answer = request
        .header("content-type", "application/json")
        .body(body)
        .send()
        .expect("an answer");
    let text = answer.text().expect("a body");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
