//! `ruche keys reviewer revoke`: what a key signs from now on does not count, and what it approved does not start.

use clap::Args;
use ruche_ledger::hash::Hash;
use serde_json::{Value, json};

use super::super::client::{AdminArgs, Client};
use super::super::{CliError, Common, print};
use crate::out::harmless;

/// A key that is to count no more.
#[derive(Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    server: AdminArgs,
    /// Id of the key, as `ruche keys reviewer new` printed it
    #[arg(value_name = "KEY-ID", value_parser = key_id)]
    key_id: String,
    /// Why; stands in the record
    #[arg(long)]
    reason: Option<String>,
}

/// Reads the id of a key, as people copy it.
fn key_id(text: &str) -> Result<String, String> {
    let id: Result<Hash, _> = text.to_ascii_lowercase().parse();
    id.map(|id| id.to_string())
        .map_err(|_| "a key id has 64 hex digits; give all of them".to_owned())
}

/// Runs the command.
pub(super) async fn run(common: &Common, args: &RevokeArgs) -> Result<(), CliError> {
    let mut input = json!({ "keyId": args.key_id, "reason": args.reason });
    // Said twice in the same words it is said once, also where the first answer was lost.
    let key = Hash::sha256(input.to_string().as_bytes());
    input["idempotencyKey"] = json!(format!("revoke-{key}"));
    let mut client = Client::with(&args.server.server, &args.server.key)?;
    let told = client
        .mutate("revokeReviewerKey", &input, "keyId position duplicate unchanged")
        .await;
    let told = told.map_err(|error| match error {
        CliError::NotFound(_) => CliError::NotFound(format!(
            "no key {} was registered; `query {{ reviewerKeys {{ nodes {{ keyId reviewer }} }} }}` lists those that were",
            args.key_id
        )),
        other => other,
    })?;
    print(common, &told, text)
}

fn text(told: &Value) -> String {
    let word = |name: &str| harmless(told[name].as_str().unwrap_or_default());
    let state = match told["unchanged"] == true {
        true => "was revoked before",
        false => "is revoked",
    };
    format!("key {} {state}, at {}", word("keyId"), word("position"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_all_of_its_digits() {
        let whole = "0123456789abcdef".repeat(4);
        assert_eq!(key_id(&whole.to_uppercase()), Ok(whole.clone()));
        for misfit in ["", &whole[..63], &format!("{whole}0")] {
            assert!(key_id(misfit).is_err(), "{misfit}");
        }
    }

    #[test]
    fn a_line_says_whether_it_was_revoked_now() {
        let told = json!({ "keyId": "ab\u{1b}", "position": "1:7", "unchanged": false });
        assert_eq!(text(&told), "key ab\\u{1b} is revoked, at 1:7");
        let before = json!({ "keyId": "ab", "position": "1:7", "unchanged": true });
        assert_eq!(text(&before), "key ab was revoked before, at 1:7");
    }
}
