//! Who is asking: API keys, the tenant and the roles that they carry.
//!
//! A key is `ruche_<32 hex key id>_<64 hex secret>`. Only SHA-256 of the 32 secret bytes is stored, as an event of
//! the tenant's own ledger, so who reads the database learns no key, and who made or revoked which key is evidence
//! like everything else. The secret is random and long: a slow hash would only slow the server.
//!
//! The life of a key:
//! 1. [`Access::create_key`] draws id and secret, appends `infra.api_key.created` to `access-<tenant>` and returns the
//!    plaintext once. It stands nowhere else.
//! 2. A request brings it as `Authorization: Bearer`, or as the password of `Basic` for tools that know no other.
//! 3. [`Access::authenticate`] finds the id in memory and compares digests in constant time. An id it does not know
//!    may have been made by another process: the access streams are read on, at most once per second.
//!    A browser at a page for people brings a [pass](Passes) in a cookie, which stands for a key ([`Access::holder`]).
//! 4. [`Access::revoke_key`] appends `infra.api_key.revoked`. From the return of the append on, no request passes.

mod credential;
mod keys;
mod pass;
mod roles;
mod streams;

pub use credential::{Credential, from_headers};
pub use keys::{Access, KeyError, KeySummary, NewKey, Principal, check_label, check_user};
pub use pass::Passes;
pub use roles::{Role, Roles};

#[cfg(test)]
mod tests;
