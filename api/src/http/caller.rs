//! From a request's key to who is asking.

use axum::extract::FromRequestParts;
use http::request::Parts;
use ruche_domain::envelope::TraceContext;

use super::{Edge, Refusal};
use crate::auth::{self, Principal, Role};

/// An authenticated request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who asks.
    pub principal: Principal,
    /// Trace that the request belongs to; goes into the leaves of what it appends.
    pub trace: Option<TraceContext>,
}

impl Caller {
    /// Refuses a caller that has none of the roles.
    ///
    /// # Errors
    /// `FORBIDDEN`, before anything was looked up.
    pub fn require(&self, roles: &[Role]) -> Result<(), Refusal> {
        if self.principal.roles.allow(roles) {
            return Ok(());
        }
        let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        Err(Refusal::forbidden(format!(
            "this needs a key with the role {}",
            names.join(" or ")
        )))
    }
}

impl FromRequestParts<Edge> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Refusal> {
        let credential = auth::from_headers(&parts.headers).ok_or_else(Refusal::unauthenticated)?;
        let found = edge.services.access.authenticate(&credential).await;
        let principal = found
            .map_err(|error| Refusal::of_store(&error))?
            .ok_or_else(Refusal::unauthenticated)?;
        tracing::Span::current().record("tenant", tracing::field::display(principal.tenant));
        Ok(Self {
            principal,
            trace: parts.extensions.get::<TraceContext>().copied(),
        })
    }
}
