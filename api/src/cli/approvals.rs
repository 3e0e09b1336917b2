//! `ruche approvals`: what waits for a decision, and deciding on it, on the reviewer's machine.
//!
//! The server is not believed. It gives the record of the request; everything that is shown and signed is computed here
//! from the bytes of that record: leaf hash, payload commitment, digests of action and view. What does not fit is told
//! and never signed.

use std::io::{self, BufRead, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use ruche_commands::governed::approval_stream;
use ruche_domain::approval::{RequestEnvelope, RequestFacts, STATEMENT_TYPE, Statement, view};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ApprovalDecision, ApprovalRequested};
use ruche_domain::ids::ApprovalId;
use ruche_domain::limits::VOTE_REFUSALS_PER_REQUEST_MAX;
use ruche_domain::numbers::Position;
use ruche_ledger::hash::{Hash, leaf_hash};
use ruche_ledger::leaf::Leaf;
use ruche_ledger::vote::{RequestPlace, request_facts};
use serde::Serialize;
use serde_json::{Value, json};

use super::client::{Client, ServerArgs};
use super::{CliError, Common, print};
use crate::app::ReviewerKeyFile;
use crate::limits::SETTLED_LISTED_DEFAULT;
use crate::out::{Table, harmless, time};

/// What to do with requests for approval.
#[derive(Subcommand)]
pub enum ApprovalsCommand {
    /// List the requests that are open, oldest first
    List(ListArgs),
    /// Show exactly what will run, computed from the record itself
    Show(RequestArgs),
    /// Sign that it may run, once
    Approve(VoteArgs),
    /// Sign that it may not
    Deny(VoteArgs),
}

/// Which requests.
#[derive(Args)]
pub struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Those that are settled in place of those that are open: how each ended, who decided and why
    #[arg(long)]
    settled: bool,
    /// How many of those that are settled; it is said when there may be more
    #[arg(long, requires = "settled", value_name = "N", default_value_t = SETTLED_LISTED_DEFAULT)]
    limit: NonZeroUsize,
}

/// One request.
#[derive(Args)]
pub struct RequestArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Id of the request, as `list` prints it
    id: ApprovalId,
}

/// A vote.
#[derive(Args)]
pub struct VoteArgs {
    #[command(flatten)]
    request: RequestArgs,
    /// File of your private key, as `ruche keys reviewer new` made it
    #[arg(long, value_name = "FILE")]
    reviewer_key: PathBuf,
    /// Why; stands in what is signed
    #[arg(long)]
    reason: Option<String>,
    /// Do not ask: what `--digest` names was looked at before
    #[arg(long, requires = "digest")]
    yes: bool,
    /// The view digest that `show` printed, all 64 digits; nothing else is signed
    #[arg(long, value_name = "HEX", value_parser = whole_digest)]
    digest: Option<String>,
}

/// Hex digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

/// Reads a view digest, as people copy it. All of it: of two views whose digests begin alike, a server that makes both
/// shows one and has the other signed.
fn whole_digest(text: &str) -> Result<String, String> {
    let digits = text.to_ascii_lowercase();
    if digits.len() == DIGEST_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(digits);
    }
    Err(format!(
        "a view digest has {DIGEST_DIGITS} hex digits; give all of them"
    ))
}

/// A request as this machine understands it.
#[derive(Serialize)]
struct Shown {
    state: &'static str,
    view: String,
    expires_at: String,
    request: RequestFacts,
    /// As the server says.
    votes: Vec<Vote>,
}

/// A vote as the server tells of it. What was signed is in the record of the vote.
#[derive(Serialize)]
struct Vote {
    decision: String,
    reviewer: String,
    voted_at: String,
    reason: Option<String>,
}

impl Vote {
    fn read(said: &Value) -> Self {
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        Self {
            decision: text("decision").to_lowercase(),
            reviewer: text("reviewer"),
            voted_at: text("votedAt"),
            reason: said["reason"].as_str().map(str::to_owned),
        }
    }

    fn text(&self) -> String {
        let [decision, reviewer, voted_at] =
            [&self.decision, &self.reviewer, &self.voted_at].map(|said| harmless(said));
        let reason = self
            .reason
            .as_deref()
            .map(|reason| format!(": {}", harmless(reason)));
        format!(
            "\nvote, as the server says: {decision} by {reviewer} at {voted_at}{}",
            reason.unwrap_or_default()
        )
    }
}

impl Shown {
    /// The view is made of visible characters only, so it can be printed as it is. An origin is what a record says.
    fn text(&self) -> String {
        format!(
            "{}\nstate: {}\nexpires: {}\nrecord: {} of {}\nleaf hash: {}\nview digest: {}\n\
             All digests were computed here from the record.{}",
            self.view,
            self.state,
            self.expires_at,
            self.request.position,
            harmless(&self.request.ledger),
            self.request.leaf_hash,
            self.request.view_digest,
            self.votes.iter().map(Vote::text).collect::<String>(),
        )
    }
}

/// Runs the command.
pub async fn run(common: Common, command: ApprovalsCommand) -> Result<ExitCode, CliError> {
    match command {
        ApprovalsCommand::List(args) => list(&common, &args).await?,
        ApprovalsCommand::Show(args) => {
            let shown = load(&mut Client::of(&args.server)?, args.id).await?;
            print(&common, &shown, Shown::text)?;
        }
        ApprovalsCommand::Approve(args) => return vote(&common, &args, ApprovalDecision::Approve).await,
        ApprovalsCommand::Deny(args) => return vote(&common, &args, ApprovalDecision::Reject).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(common: &Common, args: &ListArgs) -> Result<(), CliError> {
    if args.settled {
        return list_settled(common, args).await;
    }
    let query = "query ($after: String) { approvals(status: [REQUESTED], first: 20, after: $after) {
        pageInfo { hasNextPage endCursor } nodes { id tool agentId sideEffect expiresAt } } }";
    let open = Client::of(&args.server)?.all(query, "approvals").await?;
    print(common, &open, |open| {
        let mut table = Table::new(["request", "tool", "agent", "effect", "expires"]);
        for row in open {
            table.row(["id", "tool", "agentId", "sideEffect", "expiresAt"].map(|name| cell(row, name)));
        }
        table.to_string()
    })
}

fn cell(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}

async fn list_settled(common: &Common, args: &ListArgs) -> Result<(), CliError> {
    let query = "query ($after: String) { approvals(status: [APPROVED, REJECTED, DECIDED, EXPIRED, CANCELLED, STALE,
        VOIDED, CONSUMED], first: 20, after: $after) { pageInfo { hasNextPage endCursor } nodes { id tool agentId state
        decidedBy decidedAt decisionReason } } }";
    let mut client = Client::of(&args.server)?;
    let (settled, is_more) = client.up_to(args.limit.get(), query, "approvals").await?;
    print(common, &settled, |settled| {
        let mut table = Table::new(["request", "tool", "agent", "state", "by", "at", "reason"]);
        for row in settled {
            let names = [
                "id",
                "tool",
                "agentId",
                "state",
                "decidedBy",
                "decidedAt",
                "decisionReason",
            ];
            table.row(names.map(|name| cell(row, name)));
        }
        table.to_string()
    })?;
    if is_more {
        // Beside the list, which programs read.
        writeln!(
            io::stderr(),
            "note: there may be more than these {}; see --limit",
            args.limit
        )?;
    }
    Ok(())
}

/// Asks for the record of a request and computes everything from it.
async fn load(client: &mut Client, id: ApprovalId) -> Result<Shown, CliError> {
    let query = "query ($id: ID!) { approval(id: $id) { state
        votes { decision reviewer votedAt reason } record { position leaf payloadText
        fragments { opening } } } }";
    let answer = client.ask(query, json!({ "id": id })).await?;
    let approval = &answer["approval"];
    if approval.is_null() {
        return Err(CliError::NotFound(format!(
            "there is no request {id}; `ruche approvals list` shows those that are open"
        )));
    }
    let unfit = |reason: String| CliError::Failed(format!("the server's record does not hold: {reason}"));
    let (place, requested) = read_record(id, &approval["record"]).map_err(unfit)?;
    let request = request_facts(&place, &requested).map_err(|fault| unfit(fault.to_string()))?;
    Ok(Shown {
        state: known_state(&approval["state"]).map_err(unfit)?,
        view: view(&place.envelope, &requested),
        expires_at: time(requested.expires_at),
        request,
        votes: approval["votes"]
            .as_array()
            .into_iter()
            .flatten()
            .map(Vote::read)
            .collect(),
    })
}

/// Where a request stands is the server's word, so it is one of the words that exist, or nothing is shown at all.
fn known_state(said: &Value) -> Result<&'static str, String> {
    let states = [
        "requested",
        "approved",
        "rejected",
        "decided",
        "expired",
        "cancelled",
        "stale",
        "voided",
        "consumed",
    ];
    let said = said.as_str().unwrap_or_default();
    let known = states.into_iter().find(|state| state.eq_ignore_ascii_case(said));
    known.ok_or_else(|| format!("{said} is no state of a request"))
}

/// Reads a record as the server gave it: the leaf says what it is, and its commitment what the payload is.
fn read_record(id: ApprovalId, record: &Value) -> Result<(RequestPlace, ApprovalRequested), String> {
    let text = |value: &Value, what: &str| value.as_str().map(str::to_owned).ok_or(format!("no {what}"));
    let bytes = STANDARD.decode(text(&record["leaf"], "leaf")?);
    let bytes = bytes.map_err(|_| "the leaf is not base64".to_owned())?;
    let leaf = Leaf::decode(&bytes).map_err(|error| error.to_string())?;
    let position: Position = text(&record["position"], "position")?
        .parse()
        .map_err(|_| "no position".to_owned())?;
    let event = &leaf.event;
    if event.event_type != "approval.requested" || event.stream != approval_stream(id) {
        return Err("it is the record of something else".to_owned());
    }
    if position.index != leaf.index {
        return Err("it stands at another place".to_owned());
    }
    let payload = text(&record["payloadText"], "payload")?;
    let opening = text(&record["fragments"][0]["opening"], "opening")?;
    let Hash(opening) = opening.parse().map_err(|_| "no opening".to_owned())?;
    let commitment = leaf.payload.first().ok_or("it commits to no payload")?;
    if !commitment.opens(&opening, payload.as_bytes()) {
        return Err("the payload is not the one that the leaf commits to".to_owned());
    }
    let fact = AgentEvent::from_payload(&event.event_type, event.schema_version, payload.as_bytes());
    let Ok(AgentEvent::ApprovalRequested(requested)) = fact else {
        return Err("the payload is no request".to_owned());
    };
    let place = RequestPlace {
        leaf_hash: leaf_hash(&bytes),
        position,
        envelope: RequestEnvelope::of(event),
        origin: leaf.origin,
    };
    Ok((place, requested))
}

async fn vote(common: &Common, args: &VoteArgs, decision: ApprovalDecision) -> Result<ExitCode, CliError> {
    let failed = |error: &dyn std::error::Error| CliError::Failed(crate::error::chain(error));
    let file = ReviewerKeyFile::load(&args.reviewer_key).map_err(|error| failed(&error))?;
    let mut client = Client::of(&args.request.server)?;
    let shown = load(&mut client, args.request.id).await?;
    if let Some(digest) = &args.digest {
        same_view(digest, &shown)?;
    }
    if !args.yes && !confirmed(&shown, decision)? {
        return Err(CliError::Failed("not confirmed: nothing was signed".to_owned()));
    }
    let key_id = file.key.public().id();
    let reason = args.reason.as_deref();
    let statement = Statement::new(shown.request, &file.reviewer, &key_id, decision, reason);
    let statement = statement.map_err(|error| failed(&error))?;
    let envelope = file.key.sign(STATEMENT_TYPE, &statement.to_bytes());
    let envelope = envelope.map_err(|error| failed(&error))?.to_json();
    let query = "mutation ($input: VoteOnApprovalInput!) { voteOnApproval(input: $input) { __typename
        ... on VoteOnApprovalPayload { outcome refusal detail duplicate position }
        ... on Refusal { code message } } }";
    let sha256 = Hash::sha256(envelope.as_bytes());
    let mut answer = Value::Null;
    // The same vote sent twice is one vote. What a vote of these bytes was refused for before may be right by now, such as a
    // key that was not registered yet: then it is a request of its own. No more of them are recorded than this.
    for n in 0..=VOTE_REFUSALS_PER_REQUEST_MAX {
        let input = json!({ "idempotencyKey": format!("vote-{sha256}-{n}"), "approvalId": args.request.id,
            "envelope": envelope });
        answer = client.ask(query, json!({ "input": input })).await?["voteOnApproval"].take();
        if let Some(message) = answer["message"].as_str() {
            let code = answer["code"].as_str().unwrap_or_default();
            return Err(CliError::Failed(format!("{code}: {message}")));
        }
        if answer["outcome"] != "REFUSED" || answer["duplicate"] != true {
            break;
        }
    }
    let counts = answer["outcome"] != "REFUSED";
    print(common, &answer, came_of_it)?;
    Ok(if counts {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether the request is the one that was looked at, as its view digest says that was computed here.
fn same_view(looked_at: &str, shown: &Shown) -> Result<(), CliError> {
    let digest = shown.request.view_digest.to_string();
    if digest == looked_at {
        return Ok(());
    }
    Err(CliError::Failed(format!(
        "the view digest is {digest}, and not the one that you looked at: nothing was signed; look again with \
         `ruche approvals show`"
    )))
}

/// What the server says of a vote, in a line.
fn came_of_it(answer: &Value) -> String {
    let word = |name: &str| harmless(&answer[name].as_str().unwrap_or_default().to_lowercase());
    match answer["outcome"] == "REFUSED" {
        true => format!("does not count ({}): {}", word("refusal"), word("detail")),
        false => format!("{} at {}", word("outcome"), word("position")),
    }
}

/// Shows what is about to be signed, and asks.
fn confirmed(shown: &Shown, decision: ApprovalDecision) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage(
            "nobody is there to confirm; look with `ruche approvals show`, then say --yes and the --digest that it \
             printed"
                .to_owned(),
        ));
    }
    let mut out = io::stderr();
    writeln!(out, "{}", shown.text())?;
    write!(out, "Sign `{}`? Type yes: ", decision.name())?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_cannot_say_more_than_where_a_request_stands() {
        assert_eq!(known_state(&json!("REQUESTED")), Ok("requested"));
        let refused = known_state(&json!("\u{1b}[2Kapproved by\nalice")).expect_err("no state");
        assert_eq!(refused, "\u{1b}[2Kapproved by\nalice is no state of a request");
        assert!(known_state(&Value::Null).is_err());
    }

    #[test]
    fn a_digest_is_named_by_all_of_its_digits() {
        let whole = "0123456789abcdef".repeat(4);
        for fits in [&whole, &whole.to_uppercase()] {
            assert_eq!(whole_digest(fits), Ok(fits.to_lowercase()));
        }
        let foreign = whole.replace('f', "g");
        for misfit in ["", &whole[..63], &format!("{whole}0"), &foreign] {
            assert!(whole_digest(misfit).is_err(), "{misfit}");
        }
    }

    #[test]
    fn a_vote_is_told_with_its_reason_and_moves_no_cursor() {
        let said = json!({ "decision": "REJECT", "reviewer": "al\u{1b}ice", "votedAt": "noon", "reason": "too much\r" });
        let told = "\nvote, as the server says: reject by al\\u{1b}ice at noon: too much\\u{d}";
        assert_eq!(Vote::read(&said).text(), told);
        let silent = json!({ "decision": "APPROVE", "reviewer": "bob", "votedAt": "noon", "reason": null });
        assert!(Vote::read(&silent).text().ends_with("approve by bob at noon"));
    }

    #[test]
    fn what_a_server_says_of_a_vote_moves_no_cursor() {
        let refused =
            json!({ "outcome": "REFUSED", "refusal": "KEY\u{9b}1A", "detail": "a\u{1b}[8mb\u{202e}c" });
        assert_eq!(
            came_of_it(&refused),
            "does not count (key\\u{9b}1a): a\\u{1b}[8mb\\u{202e}c"
        );
        let taken = json!({ "outcome": "APPROVED\r", "position": "0:7\u{7}" });
        assert_eq!(came_of_it(&taken), "approved\\u{d} at 0:7\\u{7}");
    }
}
