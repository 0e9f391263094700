//! The data directory of a coordinator.
//!
//! ```text
//! <data_dir>/
//!   format                        "coordinator" and the version of this layout; a newer one is refused
//!   lock                          held by the process that uses the directory
//!   identity.json                 who this coordinator is; written once it has founded or joined a cluster
//!   catalog-<generation>.snapshot the newest snapshot of the catalog; one installed from a leader is the
//!                                 next generation
//!   left                          the coordinator has left its cluster for good
//!   log/                          the Raft log of the catalog's group
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use common::ReplicaId;
use serde::{Deserialize, Serialize};

/// Version of the layout that this program writes.
const FORMAT: u32 = 1;
const ROLE: &str = "coordinator";
const IDENTITY: &str = "identity.json";
const LEFT: &str = "left";

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process has it open.
    #[error("the data directory {0} is in use by another process")]
    InUse(PathBuf),
    /// It was written by a newer version of the program.
    #[error("the data directory {path} has format {found}; this version reads up to {FORMAT}")]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Its coordinator has left its cluster.
    #[error(
        "the coordinator of {0} has left its cluster; start a new one with --join and an empty data directory"
    )]
    Left(PathBuf),
    /// It is something else's.
    #[error("{0} is not the data directory of a coordinator")]
    Foreign(PathBuf),
    /// The operating system refused.
    #[error("cannot use {path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Who a coordinator is, across restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// What the directory calls itself; random.
    pub(super) instance: String,
    /// What it is in its cluster; `None` until it has one.
    pub(super) membership: Option<Membership>,
}

/// A coordinator's place in its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Membership {
    /// The cluster's name.
    pub(super) cluster: String,
    /// Its replica of the catalog's group.
    pub(super) replica: ReplicaId,
    /// Whether it founded the cluster.
    pub(super) founder: bool,
    /// Where the coordinators were when it joined, until the catalog says where they are.
    pub(super) coordinators: BTreeMap<ReplicaId, String>,
}

/// An open data directory. Dropping it lets another process use it.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    _lock: File,
}

impl Directory {
    /// Opens or founds a data directory and locks it.
    pub(super) fn open(root: &Path) -> Result<Directory, DirectoryError> {
        fs::create_dir_all(root).map_err(at(root))?;
        let path = root.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(DirectoryError::InUse(root.to_owned())),
            Err(fs::TryLockError::Error(source)) => return Err(at(&path)(source)),
        }
        check_format(root)?;
        if root.join(LEFT).exists() {
            return Err(DirectoryError::Left(root.to_owned()));
        }
        Ok(Directory { root: root.to_owned(), _lock: lock })
    }

    pub(super) fn identity(&self) -> Result<Option<Identity>, DirectoryError> {
        let path = self.root.join(IDENTITY);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| at(&path)(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    pub(super) fn set_identity(&self, identity: &Identity) -> Result<(), DirectoryError> {
        let path = self.root.join(IDENTITY);
        let text = serde_json::to_vec_pretty(identity).expect("an identity has an encoding");
        write_durably(&path, &text).map_err(at(&path))
    }

    /// The coordinator never starts here again: the others agree without it.
    pub(super) fn leave(&self) -> Result<(), DirectoryError> {
        let path = self.root.join(LEFT);
        write_durably(&path, b"").map_err(at(&path))
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(super) fn snapshot(&self, generation: u64) -> PathBuf {
        self.root.join(format!("catalog-{generation}.snapshot"))
    }

    /// Removes the snapshots of other generations: overtaken ones, and staged ones that were never switched to.
    pub(super) fn keep_generation(&self, generation: u64) -> io::Result<()> {
        let kept = self.snapshot(generation);
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_snapshot = name.starts_with("catalog-") || name.ends_with(TEMPORARY);
            if is_snapshot && path != kept {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DirectoryError + use<> {
    let path = path.to_owned();
    move |source| DirectoryError::Io { path, source }
}

fn check_format(root: &Path) -> Result<(), DirectoryError> {
    let path = root.join("format");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return write_durably(&path, format!("{ROLE} {FORMAT}\n").as_bytes()).map_err(at(&path));
        }
        Err(error) => return Err(at(&path)(error)),
    };
    let version = text.trim().strip_prefix(ROLE).and_then(|version| version.trim().parse().ok());
    match version {
        Some(found) if found > FORMAT => Err(DirectoryError::Newer { path: root.to_owned(), found }),
        Some(_) => Ok(()),
        None => Err(DirectoryError::Foreign(root.to_owned())),
    }
}

const TEMPORARY: &str = ".new";

/// Replaces a file: after a crash it holds the old bytes or the new ones.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().expect("files of the directory have names").to_owned();
    name.push(TEMPORARY);
    let temporary = path.with_file_name(name);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    // The rename itself is durable only with the folder.
    let folder = path.parent().expect("files of the directory lie in it");
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = Directory::open(folder.path()).unwrap();
        assert!(matches!(Directory::open(folder.path()), Err(DirectoryError::InUse(_))));
        drop(first);
        Directory::open(folder.path()).unwrap();
    }

    #[test]
    fn a_newer_format_and_other_directories_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("format"), "coordinator 99").unwrap();
        assert!(matches!(Directory::open(folder.path()), Err(DirectoryError::Newer { found: 99, .. })));
        fs::write(folder.path().join("format"), "1").unwrap();
        assert!(matches!(Directory::open(folder.path()), Err(DirectoryError::Foreign(_))));
    }

    #[test]
    fn an_identity_is_kept_and_stale_snapshots_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        assert_eq!(directory.identity().unwrap(), None);
        let identity = Identity { instance: "i".into(), membership: None };
        directory.set_identity(&identity).unwrap();
        assert_eq!(directory.identity().unwrap(), Some(identity));
        for generation in 0..3 {
            write_durably(&directory.snapshot(generation), b"x").unwrap();
        }
        directory.keep_generation(1).unwrap();
        let there: Vec<bool> = (0..3).map(|generation| directory.snapshot(generation).exists()).collect();
        assert_eq!(there, [false, true, false]);
    }
}
