//! The data directory of a storage node.
//!
//! ```text
//! <data_dir>/
//!   format                     version of this layout; a newer one is refused
//!   instance                   random name of this directory, written once
//!   cluster                    name of the cluster that the node belongs to, once a coordinator has told it
//!   node                       the node's id, once a coordinator has confirmed it
//!   assignments                version of the assignments obeyed last
//!   clock                      a moment that no reading of the node's clock has reached yet
//!   lock                       held by the process that uses the directory
//!   log/                       the Raft log of all replicas
//!   partitions/<id>/           one folder per replica, named by the partition's id, never by a name that
//!     replica.json             a client chose; what the replica is, last known from the coordinators
//!     <generation>/data.db     the partition's SQLite file; a snapshot that is installed is the next generation
//!     outgoing/<index>.db      a snapshot being offered to other nodes
//! ```

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use common::{NodeId, PartitionId};

/// Version of the layout that this program writes.
pub const FORMAT: u32 = 3;

const FORMAT_FILE: &str = "format";
const INSTANCE_FILE: &str = "instance";
const CLUSTER_FILE: &str = "cluster";
const NODE_FILE: &str = "node";
const LOCK_FILE: &str = "lock";

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
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
    /// The format file is not one.
    #[error("{0} is not the data directory of a storage node: its format file is malformed")]
    Malformed(PathBuf),
    /// One of its files cannot be read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// The operating system refused.
    #[error("cannot use {path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// An open data directory. Dropping it lets another process use it.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    instance: String,
    lock: File,
}

impl DataDir {
    /// Opens or founds a data directory and locks it. `fresh_instance` names a new one; it is drawn by the
    /// caller at random.
    pub fn open(root: &Path, fresh_instance: &str) -> Result<DataDir, LayoutError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| LayoutError::Io { path, source }
        };
        fs::create_dir_all(root.join("partitions")).map_err(at(root))?;
        let lock_path = root.join(LOCK_FILE);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(LayoutError::InUse(root.to_owned())),
            Err(fs::TryLockError::Error(source)) => return Err(at(&lock_path)(source)),
        }
        check_format(root)?;
        let instance_path = root.join(INSTANCE_FILE);
        let instance = match read_word(&instance_path)? {
            Some(instance) => instance,
            None => {
                write_durably(&instance_path, fresh_instance.as_bytes()).map_err(at(&instance_path))?;
                fresh_instance.to_owned()
            }
        };
        Ok(DataDir { root: root.to_owned(), instance, lock })
    }

    /// Lets another process use the directory.
    pub fn release(&self) -> io::Result<()> {
        self.lock.unlock()
    }

    /// What the directory calls itself.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The cluster that the directory belongs to.
    pub fn cluster(&self) -> io::Result<Option<String>> {
        read_word(&self.root.join(CLUSTER_FILE))
    }

    /// Remembers the cluster; a directory never changes to another one.
    pub fn set_cluster(&self, cluster: &str) -> io::Result<()> {
        write_durably(&self.root.join(CLUSTER_FILE), cluster.as_bytes())
    }

    /// The node's id as last confirmed.
    pub fn node(&self) -> io::Result<Option<NodeId>> {
        Ok(read_word(&self.root.join(NODE_FILE))?.map(NodeId))
    }

    /// Remembers the node's id.
    pub fn set_node(&self, node: &NodeId) -> io::Result<()> {
        write_durably(&self.root.join(NODE_FILE), node.as_str().as_bytes())
    }

    /// The file that holds the version of the assignments obeyed last.
    #[must_use]
    pub fn obeyed(&self) -> PathBuf {
        self.root.join("assignments")
    }

    /// Folder of the Raft log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Folder of a replica.
    #[must_use]
    pub fn partition(&self, partition: PartitionId) -> ReplicaDir {
        ReplicaDir { root: self.root.join("partitions").join(partition.to_string()) }
    }

    /// The file that keeps the clock.
    #[must_use]
    pub fn clock(&self) -> PathBuf {
        self.root.join("clock")
    }

    /// The partitions that have a folder.
    pub fn partitions(&self) -> io::Result<Vec<PartitionId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.root.join("partitions"))? {
            if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                found.push(PartitionId(id));
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

fn check_format(root: &Path) -> Result<(), LayoutError> {
    let path = root.join(FORMAT_FILE);
    let io = |source| LayoutError::Io { path: path.clone(), source };
    match read_word(&path)? {
        None => write_durably(&path, FORMAT.to_string().as_bytes()).map_err(io),
        Some(word) => match word.parse::<u32>() {
            Ok(found) if found > FORMAT => Err(LayoutError::Newer { path: root.to_owned(), found }),
            Ok(_) => Ok(()),
            Err(_) => Err(LayoutError::Malformed(root.to_owned())),
        },
    }
}

/// The folder of one replica.
#[derive(Clone, Debug)]
pub struct ReplicaDir {
    root: PathBuf,
}

impl ReplicaDir {
    /// A replica's folder at a path of the caller's choice.
    #[must_use]
    pub fn at(root: PathBuf) -> ReplicaDir {
        ReplicaDir { root }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that says what the replica is.
    #[must_use]
    pub fn description(&self) -> PathBuf {
        self.root.join("replica.json")
    }

    /// Folder of a generation of the SQLite file.
    #[must_use]
    pub fn generation(&self, generation: u64) -> PathBuf {
        self.root.join(generation.to_string())
    }

    /// The SQLite file of a generation.
    #[must_use]
    pub fn database(&self, generation: u64) -> PathBuf {
        self.generation(generation).join("data.db")
    }

    /// Where snapshots for other nodes are made.
    #[must_use]
    pub fn outgoing(&self) -> PathBuf {
        self.root.join("outgoing")
    }

    /// The snapshot for other nodes that holds everything up to a log index.
    #[must_use]
    pub fn outgoing_snapshot(&self, index: u64) -> PathBuf {
        self.outgoing().join(format!("{index}.db"))
    }

    /// The generations on disk, in order.
    pub fn generations(&self) -> io::Result<Vec<u64>> {
        let mut found: Vec<u64> = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            if let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                found.push(number);
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// Writes a small file so that after a crash it has either its old or its new contents.
pub fn write_durably(path: &Path, contents: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_folder_of(path)
}

/// Makes the names in a file's folder durable.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// What a small file says; `None` if there is none. An error names the file.
pub fn read_word(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_refused_and_keeps_its_instance() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path(), "one").unwrap();
        assert!(matches!(DataDir::open(folder.path(), "two"), Err(LayoutError::InUse(_))));
        drop(first);
        let again = DataDir::open(folder.path(), "two").unwrap();
        assert_eq!(again.instance(), "one");
        assert_eq!(again.node().unwrap(), None);
        again.set_node(&"n1".into()).unwrap();
        assert_eq!(again.node().unwrap(), Some("n1".into()));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FORMAT_FILE), (FORMAT + 1).to_string()).unwrap();
        assert!(matches!(DataDir::open(folder.path(), "one"), Err(LayoutError::Newer { .. })));
        fs::write(folder.path().join(FORMAT_FILE), "else").unwrap();
        assert!(matches!(DataDir::open(folder.path(), "one"), Err(LayoutError::Malformed(_))));
    }

    #[test]
    fn partitions_and_generations_are_found_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path(), "one").unwrap();
        let replica = data.partition(PartitionId(7));
        fs::create_dir_all(replica.generation(2)).unwrap();
        fs::create_dir_all(replica.generation(10)).unwrap();
        fs::create_dir_all(replica.outgoing()).unwrap();
        assert_eq!(data.partitions().unwrap(), [PartitionId(7)]);
        assert_eq!(replica.generations().unwrap(), [2, 10]);
    }
}
