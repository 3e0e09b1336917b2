//! Keys of reviewers up to a position, and what was decided with them.

use std::collections::{HashMap, HashSet};

use ruche_domain::ids::TenantId;
use ruche_domain::numbers::Position;
use uuid::Uuid;

use super::super::reviewers::{ReviewerUse, Standing, TrustedReviewers};
use crate::vote::ReviewerKey;

/// A key, and what became of it.
#[derive(Debug)]
struct Known {
    key: ReviewerKey,
    registered_at: Position,
    revoked_at: Option<Position>,
    decisions: u64,
}

/// Keys by the id of their stream.
#[derive(Debug, Default)]
pub(super) struct Keys {
    known: HashMap<Uuid, Known>,
    /// Streams of keys whose registration was erased.
    unknown: HashSet<Uuid>,
    trusted: Option<TrustedReviewers>,
}

impl Keys {
    /// Says whose signatures the auditor believes.
    pub fn trust(&mut self, trusted: TrustedReviewers) {
        self.trusted = Some(trusted);
    }

    pub fn get(&self, stream: Uuid) -> Option<&ReviewerKey> {
        self.known.get(&stream).map(|known| &known.key)
    }

    /// Whether there may be such a key, though its registration cannot be read.
    pub fn may_be(&self, stream: Uuid) -> bool {
        self.unknown.contains(&stream)
    }

    /// Takes a registration that holds by itself; an error with what is wrong with it here.
    pub fn register(
        &mut self,
        stream: Uuid,
        key: ReviewerKey,
        at: Position,
        tenant: Option<TenantId>,
    ) -> Result<(), &'static str> {
        if self.known.contains_key(&stream) {
            return Err("it is registered a second time");
        }
        if tenant.is_some_and(|tenant| tenant != key.tenant) {
            return Err("its proof names another tenant");
        }
        let known = Known {
            key,
            registered_at: at,
            revoked_at: None,
            decisions: 0,
        };
        self.known.insert(stream, known);
        Ok(())
    }

    /// A registration that cannot be read.
    pub fn lose(&mut self, stream: Uuid) {
        self.unknown.insert(stream);
    }

    /// By the stream: who revokes a key need not say it twice.
    pub fn revoke(&mut self, stream: Uuid, at: Position) {
        if let Some(known) = self.known.get_mut(&stream) {
            known.key.revoked = true;
            known.revoked_at.get_or_insert(at);
        }
    }

    pub fn is_revoked(&self, stream: Uuid) -> bool {
        self.get(stream).is_some_and(|key| key.revoked)
    }

    /// A vote under the key counts.
    pub fn decided(&mut self, stream: Uuid) {
        if let Some(known) = self.known.get_mut(&stream) {
            known.decisions += 1;
        }
    }

    /// Why the auditor does not believe a signature under the key; nothing where the auditor brought no keys, since then
    /// nobody is believed and the report says so.
    pub fn distrust(&self, stream: Uuid) -> Option<String> {
        let key = self.get(stream)?;
        let (id, reviewer) = (key.id(), &key.reviewer);
        match self.trusted.as_ref()?.standing(key.public(), reviewer) {
            Standing::Trusted => None,
            Standing::OfAnother(name) => Some(format!(
                "key {id} is trusted as that of {name:?} and registered as that of {reviewer:?}"
            )),
            Standing::Unknown => Some(format!(
                "key {id}, registered as that of {reviewer:?}, is none that is trusted"
            )),
        }
    }

    /// Keys that decided something, in the order in which they were registered.
    pub fn uses(&self) -> Vec<ReviewerUse> {
        let used = self.known.iter().filter(|(_, known)| known.decisions > 0);
        let mut uses: Vec<ReviewerUse> = used
            .map(|(stream, known)| ReviewerUse {
                key_id: known.key.id(),
                public_key: known.key.public().to_hex(),
                reviewer: known.key.reviewer.clone(),
                registered_at: known.registered_at,
                revoked_at: known.revoked_at,
                decisions: known.decisions,
                is_trusted: self.trusted.as_ref().map(|_| self.distrust(*stream).is_none()),
            })
            .collect();
        uses.sort_by_key(|used| used.registered_at);
        uses
    }
}
