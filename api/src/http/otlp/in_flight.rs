//! How many requests with telemetry a tenant has at once, so that one that sends much shuts nobody else out: a body takes
//! room that all tenants share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ruche_domain::ids::TenantId;
use ruche_domain::limits::OVERLOADED_RETRY_AFTER_MS;

use crate::http::Refusal;
use crate::limits::OTLP_REQUESTS_PER_TENANT_MAX;

/// Requests that are being taken.
#[derive(Clone, Default)]
pub struct InFlight(Arc<Mutex<HashMap<TenantId, usize>>>);

/// A request that is being taken, until it is dropped.
pub struct Place {
    all: InFlight,
    tenant: TenantId,
}

impl InFlight {
    /// A place for one request more.
    ///
    /// # Errors
    /// `OVERLOADED`.
    pub fn enter(&self, tenant: TenantId) -> Result<Place, Refusal> {
        let mut all = self.lock();
        let count = all.entry(tenant).or_insert(0);
        if *count == OTLP_REQUESTS_PER_TENANT_MAX {
            let message = format!("a tenant sends at most {OTLP_REQUESTS_PER_TENANT_MAX} requests at once");
            return Err(Refusal::overloaded(message, OVERLOADED_RETRY_AFTER_MS));
        }
        *count += 1;
        drop(all);
        Ok(Place {
            all: self.clone(),
            tenant,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if let Some(count) = all.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_tenant_that_sends_much_is_told_to_wait_and_others_are_not() {
        let all = InFlight::default();
        let [busy, other] = [1, 2].map(|number| TenantId(Uuid::from_u128(number)));
        let mut places: Vec<Place> = (0..OTLP_REQUESTS_PER_TENANT_MAX)
            .map(|_| all.enter(busy).unwrap_or_else(|_| panic!("there is a place")))
            .collect();
        let refused = all.enter(busy).err().expect("there is no place");
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(all.enter(other).is_ok(), "another tenant has places of its own");
        places.pop();
        assert!(all.enter(busy).is_ok(), "one came free");
        drop(places);
        assert!(all.lock().is_empty(), "nobody is remembered for ever");
    }
}
