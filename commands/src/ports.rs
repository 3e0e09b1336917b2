//! What the pipeline asks of others: schema validation, and the secrets of a ledger.

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::SchemaVersion;
use ruche_ledger::keys::MasterSeed;
use ruche_ledger::references::{IdempotencyHasher, ReferenceKey};
use serde_json::Value;

use crate::error::Violation;

/// Checks payloads against the schema of their type. Pure and fast: it runs in the caller's task, once per event.
pub trait PayloadValidator: ArgumentSchemas {
    /// Checks one payload.
    ///
    /// # Errors
    /// [`Unfit::UnknownSchema`] where there is no such schema, else every violation that was found.
    fn validate(&self, event_type: &str, version: SchemaVersion, payload: &Value) -> Result<(), Unfit>;
}

/// Holds the arguments of tools against the schemas that tools are registered with. Pure, and nothing is fetched.
pub trait ArgumentSchemas: Send + Sync {
    /// Whether a value is a JSON schema that arguments can be held against.
    ///
    /// # Errors
    /// Why it is none, for people.
    fn check(&self, schema: &Value) -> Result<(), String>;

    /// Holds arguments against a schema.
    ///
    /// # Errors
    /// The faults, in the order of the arguments; at least one.
    fn fit(&self, schema: &Value, arguments: &Value) -> Result<(), Vec<Violation>>;
}

/// Where no schema is to be asked: every answer is no.
pub(crate) struct NoSchemas;

impl ArgumentSchemas for NoSchemas {
    fn check(&self, _: &Value) -> Result<(), String> {
        Err("schemas cannot be checked here".to_owned())
    }

    fn fit(&self, _: &Value, _: &Value) -> Result<(), Vec<Violation>> {
        let reason = "arguments cannot be checked here".to_owned();
        Err(vec![Violation {
            pointer: String::new(),
            reason,
        }])
    }
}

/// Why a payload did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// No such event type at this version.
    UnknownSchema,
    /// The faults, in the order of the payload; at least one.
    Violations(Vec<Violation>),
}

/// The keyed hashes of a ledger.
#[derive(Clone)]
pub struct LedgerSecrets {
    /// Turns clients' own ids into references.
    pub references: ReferenceKey,
    /// Hashes idempotency keys and requests.
    pub idempotency: IdempotencyHasher,
}

/// Where the secrets of ledgers come from.
pub trait SecretsOf: Send + Sync {
    /// The secrets of a ledger; the same each time.
    fn secrets_of(&self, ledger: LedgerId) -> LedgerSecrets;
}

impl SecretsOf for MasterSeed {
    fn secrets_of(&self, ledger: LedgerId) -> LedgerSecrets {
        LedgerSecrets {
            references: self.reference_key(ledger),
            idempotency: self.idempotency_hasher(ledger),
        }
    }
}
