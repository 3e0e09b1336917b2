//! The shape of the workspace, read from `cargo metadata` and from the sources.
//!
//! The dependency rule: `api → replay → commands, projections → ledger → domain`. Commands and projections never see
//! each other. An adapter sees the port crate it lies under and what that crate may see, and no other adapter. What
//! decides is pure: no clock, no randomness, no input or output, and no dependency that brings them.

mod edges;
mod metadata;
mod purity;
mod sources;

/// The crates that decide, lowest first, each with those it may see.
const PURE: [(&str, &[&str]); 5] = [
    ("domain", &[]),
    ("ledger", &["domain"]),
    ("commands", &["domain", "ledger"]),
    ("projections", &["domain", "ledger"]),
    ("replay", &["domain", "ledger", "commands", "projections"]),
];

/// A package of the workspace.
#[derive(Debug, Clone)]
struct Package {
    name: String,
    /// Folder from the root of the workspace, such as `ledger/adapters/sqlite`.
    folder: String,
    dependencies: Vec<Dependency>,
}

/// A dependency that a package declares for its own code or its build script; those for its tests are left out.
#[derive(Debug, Clone)]
struct Dependency {
    name: String,
    /// Folder from the root of the workspace, for packages of ours.
    folder: Option<String>,
    features: Vec<String>,
    default_features: bool,
}

impl Package {
    fn is_adapter(&self) -> bool {
        port_of(&self.folder).is_some()
    }
}

/// `ledger` for `ledger/adapters/sqlite`; nothing for a folder that is no adapter's.
fn port_of(folder: &str) -> Option<&str> {
    let (port, adapter) = folder.split_once("/adapters/")?;
    (!adapter.contains('/')).then_some(port)
}

/// What a pure crate may see; nothing for any other folder.
fn seen_by(folder: &str) -> Option<&'static [&'static str]> {
    PURE.iter()
        .find(|(pure, _)| *pure == folder)
        .map(|(_, seen)| *seen)
}
