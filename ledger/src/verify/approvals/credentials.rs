//! Whose each credential is, up to a position.

use std::collections::HashMap;

use ruche_domain::events::infra::InfraApiKeyCreated;
use uuid::Uuid;

/// Users of credentials by the id of the credential; some name nobody.
#[derive(Debug, Default)]
pub(super) struct Credentials(HashMap<Uuid, Option<String>>);

impl Credentials {
    /// A credential was made. That is so once: what the first record says stays.
    pub fn made(&mut self, said: InfraApiKeyCreated) {
        self.0.entry(said.key_id.0).or_insert(said.user);
    }

    /// The user of a credential, if it names one. Nothing where no record of the credential was read.
    pub fn user(&self, credential: Option<Uuid>) -> Option<Option<&str>> {
        let user = self.0.get(&credential?)?;
        Some(user.as_deref())
    }
}
