//! What a key may do.

use std::fmt;
use std::str::FromStr;

/// One kind of access. Roles add up; `admin` carries the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads read models and records.
    Reader,
    /// Appends.
    Writer,
    /// Reads tree heads, tiles, proofs and records.
    Auditor,
    /// Everything of the tenant.
    Admin,
    /// Reads what people decide on, and votes.
    Reviewer,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [
        Self::Reader,
        Self::Writer,
        Self::Auditor,
        Self::Admin,
        Self::Reviewer,
    ];

    /// The name in events, on the command line and in GraphQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
            Self::Reviewer => "reviewer",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// No such role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no role is called {0:?}: reader, writer, auditor, reviewer or admin")]
pub struct UnknownRole(String);

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    /// A set of these.
    pub fn of(roles: impl IntoIterator<Item = Role>) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | role.bit()))
    }

    /// Whether one of `wanted` is in the set, or `admin`, which carries all.
    pub fn allow(self, wanted: &[Role]) -> bool {
        let wanted = wanted
            .iter()
            .fold(Role::Admin.bit(), |bits, role| bits | role.bit());
        self.0 & wanted != 0
    }

    /// The roles in the set.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.0 & role.bit() != 0)
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self::of(roles)
    }
}

impl fmt::Display for Roles {
    /// Their names with commas between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Role::name).collect();
        f.write_str(&names.join(","))
    }
}

impl serde::Serialize for Roles {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Role::name))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
