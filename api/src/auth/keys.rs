//! All keys of the deployment in memory, and the writing of new facts about them.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use ruche_domain::envelope::{ACFEvent, Actor, Classification, Provenance};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::infra::{InfraApiKeyCreated, InfraApiKeyRevoked};
use ruche_domain::ids::{ApiKeyId, LedgerId, TenantId};
use ruche_domain::limits::EXTERNAL_ID_BYTES_MAX;
use ruche_domain::measures::Digest;
use ruche_domain::numbers::{Micros, StreamVersion};
use ruche_domain::ports::{Clock, Random, event_id};
use ruche_ledger::error::LedgerError;
use ruche_ledger::payload::{Fragment, JSON};
use ruche_ledger::store::{AppendOutcome, AppendRequest, EventStore, PreparedEvent, StoreError};
use tokio::sync::Mutex;
use tokio::time::Instant;
use uuid::Builder;

use super::credential::Credential;
use super::roles::{Role, Roles};
use super::streams::{self, KeyFact};
use crate::limits::{ACCESS_REFRESH_INTERVAL, API_KEYS_MAX, KEY_LABEL_BYTES_MAX};

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Whose data it is. Comes from the key alone.
    pub tenant: TenantId,
    /// The key.
    pub key_id: ApiKeyId,
    /// What it may do.
    pub roles: Roles,
    /// Whose key it is, where that was said.
    pub user: Option<Arc<str>>,
}

impl Principal {
    /// The tenant's main ledger.
    pub fn ledger(&self) -> LedgerId {
        LedgerId::main_of(self.tenant)
    }
}

/// A key as it is listed: everything but the secret.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct KeySummary {
    /// Its id.
    pub key_id: ApiKeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it may do.
    pub roles: Roles,
    /// Name for people.
    pub label: Option<String>,
    /// Whose it is, where that was said.
    pub user: Option<String>,
    /// When it was made.
    pub created_at: Micros,
    /// When it lapses.
    pub expires_at: Option<Micros>,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// A key that is to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewKey<'a> {
    /// What it may do; at least one role.
    pub roles: &'a [Role],
    /// Name for people.
    pub label: Option<&'a str>,
    /// Whose it is: the person or service, in the names that reviewers have.
    pub user: Option<&'a str>,
    /// When it lapses.
    pub expires_at: Option<Micros>,
}

/// Why a key was not made, revoked or looked up.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store failed. Nothing is known about the key.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The event cannot be stored.
    #[error(transparent)]
    Record(#[from] LedgerError),
    /// The label is too long.
    #[error("a label has at most {KEY_LABEL_BYTES_MAX} bytes")]
    LabelTooLong,
    /// Labels are shown on terminals and in tables.
    #[error("a label holds no control characters, such as line ends")]
    LabelControl,
    /// A user is named as a reviewer is.
    #[error("a user is named in 1 to {EXTERNAL_ID_BYTES_MAX} bytes without control characters")]
    User,
    /// A key without roles could do nothing.
    #[error("a key needs at least one role")]
    NoRoles,
    /// The tenant has no such key.
    #[error("the tenant has no such key")]
    NoSuchKey,
    /// The store could not say whether it wrote. The key, if there is one, is unusable: nobody holds its secret.
    #[error("the store could not say whether the key was recorded; try again")]
    Unknown,
}

/// Whether a key can have this label.
///
/// # Errors
/// When it is too long, or could move the cursor of a terminal.
pub fn check_label(label: &str) -> Result<(), KeyError> {
    if label.len() > KEY_LABEL_BYTES_MAX {
        return Err(KeyError::LabelTooLong);
    }
    if label.chars().any(char::is_control) {
        return Err(KeyError::LabelControl);
    }
    Ok(())
}

/// Whether a key can be this user's.
///
/// # Errors
/// When no reviewer could have the name.
pub fn check_user(user: &str) -> Result<(), KeyError> {
    let fits = (1..=EXTERNAL_ID_BYTES_MAX).contains(&user.len()) && !user.chars().any(char::is_control);
    fits.then_some(()).ok_or(KeyError::User)
}

struct Entry {
    digest: [u8; 32],
    summary: KeySummary,
}

impl Entry {
    fn principal(&self) -> Principal {
        Principal {
            tenant: self.summary.tenant,
            key_id: self.summary.key_id,
            roles: self.summary.roles,
            user: self.summary.user.as_deref().map(Arc::from),
        }
    }
}

#[derive(Default)]
struct State {
    keys: HashMap<ApiKeyId, Entry>,
    /// Where the reading of each tenant's access stream goes on.
    next: HashMap<TenantId, StreamVersion>,
}

/// The keys of all tenants. Built from the ledgers, never stored apart from them.
pub struct Access {
    events: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// Held for map operations only, never over an await.
    state: RwLock<State>,
    /// When the streams were last read; held while they are, so that one reader does it for all who wait.
    refreshed: Mutex<Option<Instant>>,
}

impl Access {
    /// Reads all access streams.
    ///
    /// # Errors
    /// When the store does not answer or an access record cannot be read.
    pub async fn open(
        events: Arc<dyn EventStore>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, StoreError> {
        let access = Self {
            events,
            clock,
            random,
            state: RwLock::default(),
            refreshed: Mutex::default(),
        };
        access.refresh().await?;
        Ok(access)
    }

    /// The holder of a key. `None` for one that is unknown, wrong, lapsed or revoked.
    ///
    /// # Errors
    /// When the key is not known and the store cannot say whether it was made meanwhile.
    pub async fn authenticate(&self, credential: &Credential) -> Result<Option<Principal>, StoreError> {
        self.look_for(credential.key_id).await?;
        Ok(self.check(credential))
    }

    /// The holder of a key that was authenticated before, as a pass says. `None` once it is lapsed or revoked.
    ///
    /// # Errors
    /// Those of [`Access::authenticate`].
    pub async fn holder(&self, key_id: ApiKeyId) -> Result<Option<Principal>, StoreError> {
        self.look_for(key_id).await?;
        let state = self.state.read().expect(LOCK);
        let entry = state.keys.get(&key_id).filter(|entry| self.usable(entry));
        Ok(entry.map(Entry::principal))
    }

    /// Whether a key that was good is still good.
    pub fn is_live(&self, key_id: ApiKeyId) -> bool {
        let state = self.state.read().expect(LOCK);
        state.keys.get(&key_id).is_some_and(|entry| self.usable(entry))
    }

    /// Reads on in all access streams. Called in intervals, so that a revocation by another process takes effect.
    ///
    /// # Errors
    /// When the store does not answer or an access record cannot be read.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let mut refreshed = self.refreshed.lock().await;
        self.read_on().await?;
        *refreshed = Some(Instant::now());
        Ok(())
    }

    /// Makes a key of a tenant whose ledger exists, and returns its plaintext, which is shown once.
    ///
    /// # Errors
    /// See [`KeyError`]. After an error nobody holds a usable key.
    pub async fn create_key(
        &self,
        tenant: TenantId,
        new: &NewKey<'_>,
    ) -> Result<(KeySummary, String), KeyError> {
        if new.roles.is_empty() {
            return Err(KeyError::NoRoles);
        }
        new.label.map_or(Ok(()), check_label)?;
        new.user.map_or(Ok(()), check_user)?;
        let (mut id, mut secret) = ([0; 16], [0; 32]);
        self.random.fill(&mut id);
        self.random.fill(&mut secret);
        let credential = Credential::new(ApiKeyId(Builder::from_random_bytes(id).into_uuid()), secret);
        let names = Roles::of(new.roles.iter().copied())
            .iter()
            .map(|role| role.name().to_owned());
        let created = InfraApiKeyCreated {
            label: new.label.map(str::to_owned),
            user: new.user.map(str::to_owned),
            expires_at: new.expires_at,
            ..InfraApiKeyCreated::new(credential.key_id, Digest(credential.digest()), names.collect())
        };
        self.append(tenant, created.into()).await?;
        let state = self.state.read().expect(LOCK);
        let entry = state.keys.get(&credential.key_id).ok_or(KeyError::NoSuchKey)?;
        Ok((entry.summary.clone(), credential.plaintext()))
    }

    /// Revokes a key of a tenant. Revoking twice is no error; returns whether it was valid until now.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub async fn revoke_key(
        &self,
        tenant: TenantId,
        key_id: ApiKeyId,
        reason: Option<&str>,
    ) -> Result<bool, KeyError> {
        self.refresh().await?;
        let known = self.keys(tenant).into_iter().find(|key| key.key_id == key_id);
        if known.ok_or(KeyError::NoSuchKey)?.revoked {
            return Ok(false);
        }
        let revoked = InfraApiKeyRevoked {
            reason: reason.map(str::to_owned),
            ..InfraApiKeyRevoked::new(key_id)
        };
        self.append(tenant, revoked.into()).await?;
        Ok(true)
    }

    /// The keys of a tenant, oldest first.
    pub fn keys(&self, tenant: TenantId) -> Vec<KeySummary> {
        let state = self.state.read().expect(LOCK);
        let of_tenant = state.keys.values().filter(|entry| entry.summary.tenant == tenant);
        let mut keys: Vec<KeySummary> = of_tenant.map(|entry| entry.summary.clone()).collect();
        keys.sort_by_key(|key| (key.created_at, key.key_id));
        keys
    }

    /// How many tenants have keys.
    pub fn tenant_count(&self) -> usize {
        self.state.read().expect(LOCK).next.len()
    }

    /// Reads on if the key is not known: another process may have made it. At most once in [`ACCESS_REFRESH_INTERVAL`].
    async fn look_for(&self, key_id: ApiKeyId) -> Result<(), StoreError> {
        if self.knows(key_id) {
            return Ok(());
        }
        let asked_at = Instant::now();
        let mut refreshed = self.refreshed.lock().await;
        let fresh = refreshed.is_some_and(|at| at >= asked_at || at.elapsed() < ACCESS_REFRESH_INTERVAL);
        if !fresh {
            self.read_on().await?;
            *refreshed = Some(Instant::now());
        }
        Ok(())
    }

    fn knows(&self, key_id: ApiKeyId) -> bool {
        self.state.read().expect(LOCK).keys.contains_key(&key_id)
    }

    fn check(&self, credential: &Credential) -> Option<Principal> {
        const NOBODY: [u8; 32] = [0; 32];
        let given = credential.digest();
        let state = self.state.read().expect(LOCK);
        let entry = state.keys.get(&credential.key_id);
        // An unknown id is compared as well, so that it takes as long as a wrong secret.
        let equal = equal_in_constant_time(&given, entry.map_or(&NOBODY, |entry| &entry.digest));
        let entry = entry.filter(|entry| equal && self.usable(entry))?;
        Some(entry.principal())
    }

    fn usable(&self, entry: &Entry) -> bool {
        let lapsed = entry.summary.expires_at.is_some_and(|at| at <= self.clock.now());
        !entry.summary.revoked && !lapsed
    }

    async fn append(&self, tenant: TenantId, event: AgentEvent) -> Result<(), KeyError> {
        let mut envelope = ACFEvent::new(
            event_id(&*self.clock, &*self.random),
            streams::stream_of(tenant),
            event.event_type(),
            event.schema_version(),
            self.clock.now(),
            Actor::SYSTEM,
        );
        envelope.provenance = Provenance::Attested;
        envelope.classification = Classification::Internal;
        let payload = Fragment::plain(&*self.random, JSON, event.to_payload())?;
        let prepared = PreparedEvent {
            event: envelope,
            payload: vec![payload],
        };
        let request = AppendRequest::new(Vec::new(), vec![prepared], Vec::new())?;
        match self.events.append(LedgerId::main_of(tenant), request).await? {
            AppendOutcome::Appended { .. } => Ok(self.refresh().await?),
            // Without expectations and keys there is nothing to conflict with.
            AppendOutcome::Conflict { .. } | AppendOutcome::KeyMismatch { .. } | AppendOutcome::Unknown => {
                Err(KeyError::Unknown)
            }
        }
    }

    async fn read_on(&self) -> Result<(), StoreError> {
        for ledger in self.events.ledgers().await? {
            let tenant = TenantId(ledger.0);
            let from = {
                let state = self.state.read().expect(LOCK);
                state.next.get(&tenant).copied().unwrap_or(StreamVersion(0))
            };
            let (facts, next) = streams::read(&*self.events, tenant, from).await?;
            if next == from {
                continue;
            }
            let mut state = self.state.write().expect(LOCK);
            for fact in facts {
                state.apply(tenant, fact);
            }
            state.next.insert(tenant, next);
        }
        Ok(())
    }
}

const LOCK: &str = "no holder of the lock panics";

impl State {
    fn apply(&mut self, tenant: TenantId, fact: KeyFact) {
        match fact {
            KeyFact::Created {
                key_id,
                digest,
                roles,
                label,
                user,
                created_at,
                expires_at,
            } => {
                if self.keys.len() >= API_KEYS_MAX {
                    tracing::error!(%key_id, "more than {API_KEYS_MAX} API keys: the key is not usable");
                    return;
                }
                let summary = KeySummary {
                    key_id,
                    tenant,
                    roles,
                    label,
                    user,
                    created_at,
                    expires_at,
                    revoked: false,
                };
                self.keys.entry(key_id).or_insert(Entry { digest, summary });
            }
            KeyFact::Revoked { key_id } => {
                let entry = self.keys.get_mut(&key_id);
                if let Some(entry) = entry.filter(|entry| entry.summary.tenant == tenant) {
                    entry.summary.revoked = true;
                }
            }
        }
    }
}

/// The number of equal bytes cannot be timed.
fn equal_in_constant_time(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let difference = a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b));
    std::hint::black_box(difference) == 0
}
