//! The disk of a private PostgreSQL in a power cut, as near as processes can come to one. A preloaded shim keeps a copy
//! of what was synced, content and names apart; all processes are killed; what was synced, with some of the pages that
//! were not, takes the place of the server's files. See `power-cut/postgres.c` for what makes what durable.
//!
//! What it models: writes, file sizes, new files, renames and removals that were not synced are lost, and each page of
//! 4 KiB of a file whose name is durable may have reached the disk without being synced, alone or not. What it does not:
//! disks that lie about flushes, pages that are torn within 4 KiB, and names that survive without having been synced.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ruche_ledger::testing::SeededRandom;
use xtask::postgres::Cluster;

use crate::shim;

/// What a disk writes as a whole.
const PAGE: usize = 4_096;

/// Which of the pages that were not synced a cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// None.
    Lost,
    /// Each with this chance, in eighths.
    Kept(u64),
}

/// What a cut did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Damage {
    /// Pages that were written, and are as they were at the last sync.
    pub pages_lost: u64,
    /// Pages that were written and not synced, and are there all the same.
    pub pages_kept: u64,
    /// Files that are gone, or are there again.
    pub names_lost: u64,
}

impl Damage {
    /// Counts another cut.
    pub fn add(&mut self, other: Self) {
        self.pages_lost += other.pages_lost;
        self.pages_kept += other.pages_kept;
        self.names_lost += other.names_lost;
    }
}

/// The disk below a cluster.
pub struct Disk {
    data: PathBuf,
    shadow: PathBuf,
    owner: Option<(u32, u32)>,
}

impl Disk {
    /// Puts the shim under a server that is not running. What is on its disk counts as synced.
    ///
    /// # Errors
    /// When the shim does not compile or the files cannot be copied.
    pub fn under(cluster: &mut Cluster) -> io::Result<Self> {
        let shim = shim::compile("power-cut/postgres.c", cluster.folder())?;
        fs::set_permissions(&shim, fs::Permissions::from_mode(0o755))?;
        // The shim compares with the paths that the kernel tells.
        let folder = cluster.folder().canonicalize()?;
        let disk = Self {
            data: folder.join("data"),
            shadow: folder.join("synced"),
            owner: cluster.user(),
        };
        let variables = [
            ("LD_PRELOAD", &shim),
            ("RUCHE_CUT_DIR", &disk.data),
            ("RUCHE_CUT_SHADOW", &disk.shadow),
        ];
        let variables = variables.map(|(name, path)| (name.into(), path.into()));
        cluster.setup.variables.extend(variables);
        // Other ways to sync than fsync and fdatasync are not seen by the shim.
        cluster.setup.settings.push("wal_sync_method=fdatasync".into());
        disk.all_is_synced()?;
        Ok(disk)
    }

    /// Makes of the files of a server that was killed what a power cut leaves.
    ///
    /// # Errors
    /// When files cannot be copied.
    pub fn cut(&self, unsynced: Unsynced, seed: u64) -> io::Result<Damage> {
        let dice = SeededRandom::new(seed);
        let contents: HashMap<u64, String> = files(&self.shadow.join("content"))?
            .into_iter()
            .map(|(name, file)| (file.ino(), name))
            .collect();
        let written = files(&self.data)?;
        let by_id: HashMap<String, &String> = written
            .iter()
            .map(|(name, file)| Ok((id(file)?, name)))
            .collect::<io::Result<_>>()?;
        let synced = files(&self.shadow.join("tree"))?;
        let mut damage = Damage::default();
        let gone = written.keys().filter(|name| !synced.contains_key(*name)).count();
        let back = synced.keys().filter(|name| !written.contains_key(*name)).count();
        damage.names_lost = (gone + back) as u64;

        let survivor = self.data.with_file_name("survivor");
        self.folders(&self.shadow.join("tree"), &survivor)?;
        for (name, file) in &synced {
            let mut content = fs::read(self.shadow.join("tree").join(name))?;
            let id = contents
                .get(&file.ino())
                .ok_or_else(|| io::Error::other(format!("the synced file {name} has no content")))?;
            if let Some(name) = by_id.get(id) {
                let written = fs::read(self.data.join(name))?;
                content = mix(content, &written, unsynced, &dice, &mut damage);
            }
            let target = survivor.join(name);
            fs::write(&target, content)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600))?;
            self.hand_over(&target)?;
        }
        fs::remove_dir_all(&self.data)?;
        fs::rename(&survivor, &self.data)?;
        self.all_is_synced()?;
        Ok(damage)
    }

    fn all_is_synced(&self) -> io::Result<()> {
        if self.shadow.exists() {
            fs::remove_dir_all(&self.shadow)?;
        }
        let (contents, tree) = (self.shadow.join("content"), self.shadow.join("tree"));
        for folder in [&self.shadow, &contents] {
            fs::create_dir(folder)?;
            self.hand_over(folder)?;
        }
        self.folders(&self.data, &tree)?;
        for (name, file) in files(&self.data)? {
            let content = contents.join(id(&file)?);
            fs::copy(self.data.join(&name), &content)?;
            fs::hard_link(&content, tree.join(&name))?;
            self.hand_over(&content)?;
        }
        Ok(())
    }

    /// Makes `to` with the folders of `from`.
    fn folders(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::create_dir(to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
        self.hand_over(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.folders(&entry.path(), &to.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    fn hand_over(&self, path: &Path) -> io::Result<()> {
        match self.owner {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }
}

/// All files below a folder, by their path from it.
fn files(folder: &Path) -> io::Result<HashMap<String, fs::Metadata>> {
    let mut found = HashMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            if metadata.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).map_err(io::Error::other)?;
                found.insert(name.to_string_lossy().into_owned(), metadata);
            }
        }
    }
    Ok(found)
}

/// What the shim calls the content of a file.
fn id(file: &fs::Metadata) -> io::Result<String> {
    let born = file
        .created()?
        .duration_since(UNIX_EPOCH)
        .map_err(io::Error::other)?;
    Ok(format!(
        "{}-{}.{:09}",
        file.ino(),
        born.as_secs(),
        born.subsec_nanos()
    ))
}

/// A file as it was synced, with some of the pages that were written since.
fn mix(
    mut synced: Vec<u8>,
    written: &[u8],
    unsynced: Unsynced,
    dice: &SeededRandom,
    damage: &mut Damage,
) -> Vec<u8> {
    let chance = match unsynced {
        Unsynced::Lost => 0,
        Unsynced::Kept(eighths) => eighths,
    };
    // The new size reaches the disk or not; pages in between that did not are holes.
    if dice.next() % 8 < chance {
        synced.resize(written.len(), 0);
    }
    for (n, page) in written.chunks(PAGE).enumerate() {
        let from = n * PAGE;
        let until = from + page.len();
        if synced.get(from..until) == Some(page) {
            continue;
        }
        if until <= synced.len() && dice.next() % 8 < chance {
            synced[from..until].copy_from_slice(page);
            damage.pages_kept += 1;
        } else {
            damage.pages_lost += 1;
        }
    }
    synced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(synced: &[u8], written: &[u8], unsynced: Unsynced) -> (Vec<u8>, Damage) {
        let mut damage = Damage::default();
        let dice = SeededRandom::new(1);
        (
            mix(synced.to_vec(), written, unsynced, &dice, &mut damage),
            damage,
        )
    }

    #[test]
    fn a_cut_leaves_what_was_synced_and_the_pages_that_came_through() {
        let (synced, written) = (vec![1; 2 * PAGE], vec![2; 3 * PAGE]);
        let (left, damage) = mixed(&synced, &written, Unsynced::Lost);
        assert_eq!(
            (left, damage.pages_lost, damage.pages_kept),
            (synced.clone(), 3, 0)
        );
        let (left, damage) = mixed(&synced, &written, Unsynced::Kept(8));
        assert_eq!(
            (left, damage.pages_lost, damage.pages_kept),
            (written.clone(), 0, 3)
        );
        let (left, damage) = mixed(&synced, &written, Unsynced::Kept(4));
        assert_eq!(damage.pages_lost + damage.pages_kept, 3);
        assert!(
            left.chunks(PAGE)
                .all(|page| page.iter().all(|byte| *byte == page[0]))
        );
    }
}
