//! What follows from the telemetry of a session is derived a while after the last of it came: spans come late, and a
//! call may be asked for in one request and run in another.
//!
//! Who waits is kept in memory. A node that ends before derives it when the session is heard of again. Few are derived at
//! once, since each reads a session, and one tenant's sessions leave room for those of others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::counter;
use ruche_commands::otlp::DeriveFromCalls;
use ruche_commands::{CommandContext, CommandError};
use ruche_domain::envelope::{Actor, Provenance};
use ruche_domain::ids::{SessionId, TenantId};
use ruche_domain::ports::event_id;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use crate::limits::{
    OTLP_DERIVATIONS_AT_ONCE_MAX, OTLP_SESSIONS_SETTLING_MAX, OTLP_SESSIONS_SETTLING_PER_TENANT_MAX,
};
use crate::services::Services;

/// Longest wait on a session whose telemetry does not end, in waits.
const WAITS_MAX: u32 = 10;

/// Sessions whose telemetry came a moment ago.
#[derive(Clone)]
pub struct Settling {
    wait: Duration,
    waiting: Arc<Mutex<Waiting>>,
    at_once: Arc<Semaphore>,
}

/// Sessions of all tenants that wait.
#[derive(Default)]
struct Waiting {
    due: HashMap<TenantId, HashMap<SessionId, Due>>,
    count: usize,
}

#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    at_most: Instant,
}

impl Waiting {
    /// Whether the session waits from now on, and did not before. Nothing where there is no room for it.
    fn heard_of(&mut self, tenant: TenantId, session: SessionId, wait: Duration) -> Option<bool> {
        let now = Instant::now();
        let of_tenant = self.due.entry(tenant).or_default();
        if let Some(known) = of_tenant.get_mut(&session) {
            known.at = (now + wait).min(known.at_most);
            return Some(false);
        }
        if self.count == OTLP_SESSIONS_SETTLING_MAX
            || of_tenant.len() == OTLP_SESSIONS_SETTLING_PER_TENANT_MAX
        {
            if of_tenant.is_empty() {
                self.due.remove(&tenant);
            }
            return None;
        }
        let first = Due {
            at: now + wait,
            at_most: now + wait * WAITS_MAX,
        };
        of_tenant.insert(session, first);
        self.count += 1;
        Some(true)
    }

    /// When the session is due, if that is not yet.
    fn still_due(&self, tenant: TenantId, session: SessionId) -> Option<Instant> {
        let due = self.due.get(&tenant)?.get(&session)?;
        (due.at > Instant::now()).then_some(due.at)
    }

    fn forget(&mut self, tenant: TenantId, session: SessionId) {
        let Some(of_tenant) = self.due.get_mut(&tenant) else {
            return;
        };
        self.count -= usize::from(of_tenant.remove(&session).is_some());
        if of_tenant.is_empty() {
            self.due.remove(&tenant);
        }
    }
}

impl Settling {
    /// With a wait after the last telemetry of a session.
    pub fn new(wait: Duration) -> Self {
        Self {
            wait,
            waiting: Arc::default(),
            at_once: Arc::new(Semaphore::new(OTLP_DERIVATIONS_AT_ONCE_MAX)),
        }
    }

    /// Telemetry of a session was recorded.
    pub fn heard_of(&self, services: &Arc<Services>, tenant: TenantId, derive: DeriveFromCalls) {
        let heard_of = self.with(|waiting| waiting.heard_of(tenant, derive.session, self.wait));
        match heard_of {
            Some(true) => {
                tokio::spawn(self.clone().settle(services.clone(), tenant, derive));
            }
            Some(false) => {}
            None => counter!("ruche_otlp_derivations_total", "outcome" => "put_off").increment(1),
        }
    }

    fn with<T>(&self, what: impl FnOnce(&mut Waiting) -> T) -> T {
        what(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn settle(self, services: Arc<Services>, tenant: TenantId, derive: DeriveFromCalls) {
        let session = derive.session;
        // It keeps its place until its turn comes: those that are due are counted, too.
        let turn = loop {
            while let Some(at) = self.with(|waiting| waiting.still_due(tenant, session)) {
                sleep_until(at).await;
            }
            let turn = self.at_once.acquire().await;
            // More of it may have come while it waited.
            if self.with(|waiting| waiting.still_due(tenant, session)).is_none() {
                break turn;
            }
        };
        self.with(|waiting| waiting.forget(tenant, session));
        let key = event_id(&*services.clock, &*services.random);
        let key = format!("otlp-derived:{key}");
        let context = CommandContext::new(tenant, Actor::SYSTEM, Provenance::Observed, key);
        let outcome = match services.commands.execute(&context, &derive).await {
            Ok(receipt) if receipt.unchanged => "nothing",
            Ok(_) => "derived",
            Err(CommandError::LimitExceeded { .. }) => "too_long",
            Err(error) => {
                tracing::warn!(%session, %error, "what follows from telemetry is derived when more of it comes");
                "failed"
            }
        };
        drop(turn);
        counter!("ruche_otlp_derivations_total", "outcome" => outcome).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_sessions_of_one_tenant_leave_room_for_those_of_others() {
        let mut waiting = Waiting::default();
        let [busy, other] = [1, 2].map(|number| TenantId(Uuid::from_u128(number)));
        let session = |number: usize| SessionId(Uuid::from_u128(number as u128));
        let wait = Duration::from_secs(60);
        for number in 0..OTLP_SESSIONS_SETTLING_PER_TENANT_MAX {
            assert_eq!(waiting.heard_of(busy, session(number), wait), Some(true));
        }
        let more = session(OTLP_SESSIONS_SETTLING_PER_TENANT_MAX);
        assert_eq!(waiting.heard_of(busy, more, wait), None);
        assert_eq!(
            waiting.heard_of(busy, session(0), wait),
            Some(false),
            "it waits already"
        );
        assert!(waiting.still_due(busy, session(0)).is_some());
        assert_eq!(waiting.heard_of(other, session(0), wait), Some(true));
        waiting.forget(busy, session(0));
        assert_eq!(waiting.heard_of(busy, more, wait), Some(true), "one came free");
        waiting.forget(other, session(0));
        assert!(!waiting.due.contains_key(&other), "nobody is remembered for ever");
        assert_eq!(waiting.count, OTLP_SESSIONS_SETTLING_PER_TENANT_MAX);
    }
}
