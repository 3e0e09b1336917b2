//! Why the application could not be put together, or could not do its work.

use std::path::PathBuf;

use ruche_ledger::epoch::OpenError;
use ruche_ledger::seal::{SealError, TreeHeadStoreError};
use ruche_ledger::store::StoreError;
use ruche_ledger_bundle::WriteError;
use ruche_projections::rebuild::RebuildError;
use ruche_projections::runner::RunError;
use ruche_projections::store::ReadStoreError;

use crate::restore::RestoreError;

/// Why the application could not be put together, or could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The data folder or the ledger cannot be opened.
    #[error(transparent)]
    Open(#[from] ruche_ledger_sqlite::OpenError),
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] ruche_ledger_postgres::OpenError),
    /// The read models of the database cannot be opened.
    #[error(transparent)]
    ReadModelsDatabase(#[from] ruche_projections_postgres::OpenError),
    /// Who may read the views for tools cannot be said.
    #[error(transparent)]
    Readers(#[from] ruche_projections_postgres::BiError),
    /// Another node of this database has another master seed.
    #[error(
        "the ledgers of this database belong to another master seed than the one in {keys_dir}: give every node the same \
         master.seed. If that one is lost for good, an administrator runs DELETE FROM ruche.deployment, and every ledger \
         needs `ruche ledger new-epoch`",
        keys_dir = keys_dir.display()
    )]
    OtherSeed {
        /// Where this node has its own.
        keys_dir: PathBuf,
    },
    /// A restore with tree heads that are not those of the ledgers that it puts aside.
    #[error(
        "the tree heads that are named here do not know what was signed for {origin}, so records could be signed a second \
         time in other places: name the database of tree heads that the nodes have, with --tree-heads-url \
         (RUCHE_TREE_HEADS_URL), or their keys folder, with --keys-dir. Nothing was changed"
    )]
    OtherTreeHeads {
        /// A log that was signed.
        origin: String,
    },
    /// The deployment has its tree heads elsewhere.
    #[error(
        "this deployment has its tree heads in another database: name that one, with --tree-heads-url \
         (RUCHE_TREE_HEADS_URL). If it is lost, or they were copied to another one, see \"Another database of tree heads\" in \
         docs/operations/postgres.md. Nothing was changed"
    )]
    NotOurTreeHeads,
    /// Settings that do not fit together.
    #[error("{0}")]
    Settings(String),
    /// Several nodes on one database, and not all of them share a store of tree heads.
    #[error(
        "another node works on this database, and nodes that are several must share what was promised: name the same \
         database of tree heads on each of them, apart from the ledgers' one, with --tree-heads-url \
         (RUCHE_TREE_HEADS_URL)"
    )]
    NotAlone,
    /// The keys folder cannot be used.
    #[error(transparent)]
    Keys(#[from] ruche_ledger_keys::SeedFileError),
    /// There is a store or a tree head, and no master seed. A new one would sign for none of the ledgers.
    #[error(
        "ledgers were made with a master seed that is not in the keys folder {0}: name the right folder with --keys-dir, \
         or put master.seed back from where you keep it. If it is lost, nothing can be signed for these ledgers any \
         more; to read them all the same: \
         mkdir -p {0} && (umask 077; openssl rand -hex 32 > {0}/master.seed)",
        keys_dir.display()
    )]
    KeysMissing {
        /// Where it was looked for.
        keys_dir: PathBuf,
    },
    /// Another name of the deployment was given than its origins have.
    #[error(
        "this deployment is called {chosen}, and was called {given} now: the name is in the origin of every ledger and \
         is chosen once. Leave --deployment (RUCHE_DEPLOYMENT) out, or name the folders of the other deployment"
    )]
    Deployment {
        /// The name in the origins.
        chosen: String,
        /// The name that was given.
        given: String,
    },
    /// The folder of tree heads cannot be used.
    #[error(transparent)]
    TreeHeads(#[from] TreeHeadStoreError),
    /// The event catalogue of this build is broken.
    #[error(transparent)]
    Catalogue(#[from] ruche_commands_schema::SchemaBroken),
    /// The read models cannot be opened.
    #[error(transparent)]
    ReadModels(#[from] ruche_projections_sqlite::OpenError),
    /// The read models cannot be read.
    #[error(transparent)]
    ReadStore(#[from] ReadStoreError),
    /// Read models could not be brought up to date.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The read models cannot be rebuilt.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// A ledger cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// An export cannot be written.
    #[error(transparent)]
    Export(#[from] WriteError),
    /// An archive cannot be written or read.
    #[error(transparent)]
    Archive(#[from] ruche_ledger_bundle::ArchiveError),
    /// Payloads are not archived or put back; says why, and what to try.
    #[error("{0}")]
    ArchiveRefused(String),
    /// A backup goes to a new file.
    #[error("{} is there already; choose another name for the backup", path.display())]
    BackupExists {
        /// The file.
        path: PathBuf,
    },
    /// A restore cannot be begun or finished.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// A backup of a database cannot be made, or one is not restored.
    #[error(transparent)]
    DatabaseBackup(#[from] ruche_ledger_postgres::BackupError),
    /// There is a store where one would be restored.
    #[error("{} is there already; with --replace it is put aside", path.display())]
    StoreThere {
        /// The ledger's file.
        path: PathBuf,
    },
    /// A command that only reads found a restore that was interrupted.
    #[error(
        "a restore of {} was interrupted: the next start of `ruche serve` finishes it, opening the next epoch of every \
         ledger; until then nothing is read here",
        data_dir.display()
    )]
    RestorePending {
        /// The data folder.
        data_dir: PathBuf,
    },
    /// There is nothing to read.
    #[error("no store here: {} is not there; name the data folder with --data-dir", path.display())]
    NoStore {
        /// The ledger's file.
        path: PathBuf,
    },
    /// There is nothing to read in the database.
    #[error(
        "the database has no ledgers yet; `ruche keys new --tenant NAME --role reader` makes the first one"
    )]
    NoLedgers,
    /// There is nothing of this tenant here.
    #[error("this tenant has no ledger here; `ruche keys new` makes one")]
    NoLedger,
}

impl AppError {
    /// Whether nothing was ever made where it was looked for.
    pub fn is_absent(&self) -> bool {
        use ruche_ledger_postgres::OpenError::NoSchema;
        matches!(self, Self::NoStore { .. } | Self::Database(NoSchema { .. }))
    }

    /// Whether another process has the data folder, as a running server does.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Open(ruche_ledger_sqlite::OpenError::Locked { .. }))
    }
}
