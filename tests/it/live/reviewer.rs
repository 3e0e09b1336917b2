//! A reviewer who looks at what is asked for and signs, with the code of `ruche approvals`.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ruche_api::app::ReviewerKeyFile;
use ruche_api::cli::tenant;
use ruche_domain::approval::STATEMENT_TYPE;
use serde_json::{Value, json};

use super::client::Client;

/// A person with a key in a file of their own.
pub struct Reviewer {
    file: ReviewerKeyFile,
    votes: AtomicU64,
}

impl Reviewer {
    /// Makes a key in a folder.
    pub fn new(folder: &Path, of_tenant: &str, name: &str) -> Self {
        let file = folder.join(format!("{name}.key"));
        let file = ReviewerKeyFile::create(&file, tenant(of_tenant), name).expect("a key");
        Self {
            file,
            votes: AtomicU64::new(0),
        }
    }

    /// An administrator takes the key for this person's.
    pub fn register(&self, admin: &Client) {
        let key = format!("register-{}", self.file.reviewer);
        let done = admin.sent("registerReviewerKey", &key, self.registration(), "keyId");
        assert_eq!(done["keyId"], self.key_id(), "{done}");
    }

    /// The key as it is registered.
    pub fn registration(&self) -> Value {
        json!({ "reviewer": self.file.reviewer, "publicKey": self.file.key.public().to_hex(),
            "proofOfPossession": self.file.proof_of_possession() })
    }

    pub fn key_id(&self) -> String {
        self.file.key.public().id()
    }

    /// How many votes counted.
    pub fn votes(&self) -> u64 {
        self.votes.load(Ordering::Relaxed)
    }

    /// Signs, if the request is about exactly this.
    pub fn approve(&self, desk: &Client, approval: &str, tool: &str, arguments: &str) {
        let voted = self.vote(desk, approval, tool, arguments);
        assert_eq!(voted["outcome"], "APPROVED", "{voted}");
        self.votes.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends the vote, whatever comes of it. Sent again it is the same vote.
    pub fn vote(&self, desk: &Client, approval: &str, tool: &str, arguments: &str) -> Value {
        let input = self.signed(desk, approval, tool, arguments);
        desk.sent(
            "voteOnApproval",
            &format!("vote-{approval}"),
            input,
            "outcome refusal detail position",
        )
    }

    /// Says no, and why.
    pub fn reject(&self, desk: &Client, approval: &str, reason: &str) {
        let query = "query ($id: ID!, $who: String!, $key: Hash!, $why: String!) { approval(id: $id) {
            statement(reviewer: $who, keyId: $key, decision: REJECT, reason: $why) } }";
        let (who, key) = (&self.file.reviewer, self.file.key.public().id());
        let shown = desk.ask(
            query,
            json!({ "id": approval, "who": who, "key": key, "why": reason }),
        );
        let statement = shown["approval"]["statement"].as_str().expect("a statement");
        let envelope = self.file.key.sign(STATEMENT_TYPE, statement.as_bytes());
        let input = json!({ "approvalId": approval, "envelope": envelope.expect("it is short").to_json() });
        let voted = desk.sent("voteOnApproval", &format!("no-{approval}"), input, "outcome");
        assert_eq!(voted["outcome"], "REJECTED", "{voted}");
    }

    /// The vote as it is sent.
    pub fn signed(&self, desk: &Client, approval: &str, tool: &str, arguments: &str) -> Value {
        let query = "query ($id: ID!, $who: String!, $key: Hash!) { approval(id: $id) { tool arguments
            statement(reviewer: $who, keyId: $key, decision: APPROVE) } }";
        let (who, key) = (&self.file.reviewer, self.file.key.public().id());
        let shown = desk.ask(query, json!({ "id": approval, "who": who, "key": key }));
        let shown = &shown["approval"];
        assert_eq!(
            (&shown["tool"], &shown["arguments"]),
            (&json!(tool), &json!(arguments))
        );
        let statement = shown["statement"].as_str().expect("a statement");
        let envelope = self.file.key.sign(STATEMENT_TYPE, statement.as_bytes());
        json!({ "approvalId": approval, "envelope": envelope.expect("it is short").to_json() })
    }
}
