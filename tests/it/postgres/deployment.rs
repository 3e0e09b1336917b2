//! A node on a private PostgreSQL: its server can be taken away, and nobody else uses it.

use ruche_tests::databases::Databases;
use ruche_tests::server::Home;
use tempfile::TempDir;
use xtask::postgres::{Cluster, Setup};

use super::cluster;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
/// The tenant of the load.
pub const TENANT: &str = "acme";

/// A running server with both databases, and the home of a node that is not started yet.
pub struct Deployment {
    pub home: Home,
    /// Of the tenant, for everything.
    pub key: String,
    pub server: Cluster,
    _folder: TempDir,
}

impl Deployment {
    /// `None`, told plainly, where this machine has no PostgreSQL.
    pub fn new(setup: Setup) -> Option<Self> {
        let mut server = cluster(setup)?;
        server.serve().expect("the server starts");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::on(
            PROGRAM,
            folder.path(),
            Databases::on(&server.url).expect("databases"),
        );
        let key = home
            .new_key(TENANT, &["admin", "writer", "reader"])
            .expect("a key");
        Some(Self {
            home,
            key,
            server,
            _folder: folder,
        })
    }

    /// URL of the database with ledgers and read models.
    pub fn ledgers(&self) -> &str {
        &self.home.databases.as_ref().expect("made with databases").ledgers
    }
}
