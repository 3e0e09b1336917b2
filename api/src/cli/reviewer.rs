//! `ruche keys reviewer`: the signing key of a person. The private half stays in a file of this machine.

mod revoke;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{CliError, Common, print, tenant, tenant_name};
use crate::app::ReviewerKeyFile;

/// What to do with a reviewer's key.
#[derive(Subcommand)]
pub enum ReviewerCommand {
    /// Make a key in a new file, and print what an administrator registers with `registerReviewerKey`
    New(NewArgs),
    /// Have a server take a key for nobody's any more, as when it is lost or its owner left; it stays so
    Revoke(revoke::RevokeArgs),
}

/// A new key.
#[derive(Args)]
pub struct NewArgs {
    /// Tenant that is to take it for this person's: a uuid, or a name that always stands for the same uuid
    #[arg(long, value_parser = tenant_name)]
    tenant: String,
    /// Who holds it, as the tenant names people
    #[arg(long)]
    reviewer: String,
    /// The file of the private key; must not be there yet
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What an administrator needs, and nothing that is secret.
#[derive(Serialize)]
struct Registration {
    reviewer: String,
    key_id: String,
    public_key: String,
    proof_of_possession: String,
}

/// Runs the command.
pub async fn run(common: &Common, command: ReviewerCommand) -> Result<ExitCode, CliError> {
    match command {
        ReviewerCommand::New(args) => make(common, &args)?,
        ReviewerCommand::Revoke(args) => revoke::run(common, &args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn make(common: &Common, args: &NewArgs) -> Result<(), CliError> {
    let made = ReviewerKeyFile::create(&args.file, tenant(&args.tenant), &args.reviewer);
    let file = made.map_err(|error| CliError::Failed(crate::error::chain(&error)))?;
    let public = file.key.public();
    let registration = Registration {
        reviewer: file.reviewer.clone(),
        key_id: public.id(),
        public_key: public.to_hex(),
        proof_of_possession: file.proof_of_possession(),
    };
    print(common, &registration, |made| {
        format!(
            "key id               {}\npublic key           {}\nproof of possession  {}\n\
             The private key is in {} and nowhere else. Give these lines to an administrator.",
            made.key_id,
            made.public_key,
            made.proof_of_possession,
            args.file.display()
        )
    })
}
