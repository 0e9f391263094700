//! The Raft log's files on the simulated disk.
//!
//! The log engine lists its folder through the operating system but reads and writes through this seam. So
//! each file has an empty stand-in of its name in a real folder, and its contents on the disk.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_engine::env::{FileSystem, Handle, Permission, WriteExt};
use sqlite::simulated::SimulatedDisk;

/// A folder of the log on a simulated disk.
pub struct LogFiles {
    disk: SimulatedDisk,
    directory: String,
}

impl LogFiles {
    /// The files as the disk has them after a start: stand-ins that it does not know are removed, missing
    /// ones made.
    pub fn open(disk: SimulatedDisk, names: &Path, directory: &str) -> Result<LogFiles> {
        fs::create_dir_all(names)?;
        let mut surplus = fs::read_dir(names)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<BTreeSet<OsString>>>()?;
        let prefix = format!("{directory}/");
        for path in disk.list() {
            if let Some(name) = path.to_str().and_then(|path| path.strip_prefix(&prefix))
                && !surplus.remove(OsStr::new(name))
            {
                fs::File::create(names.join(name))?;
            }
        }
        surplus.iter().try_for_each(|name| fs::remove_file(names.join(name)))?;
        Ok(LogFiles { disk, directory: directory.to_owned() })
    }

    fn path(&self, name: &Path) -> Result<PathBuf> {
        let name = name.file_name().ok_or_else(|| Error::new(ErrorKind::InvalidInput, "no file name"))?;
        Ok(Path::new(&self.directory).join(name))
    }
}

/// Makes durable whatever the log has written. The engine syncs as part of a write; here time passes, and a
/// crash may come, between the two.
pub fn sync(disk: &SimulatedDisk, directory: &str) -> Result<()> {
    disk.list().iter().filter(|path| path.starts_with(directory)).try_for_each(|path| disk.sync(path))
}

impl FileSystem for LogFiles {
    type Handle = LogFile;
    type Reader = LogCursor;
    type Writer = LogCursor;

    fn create<P: AsRef<Path>>(&self, path: P) -> Result<LogFile> {
        fs::File::create(&path)?;
        let path = self.path(path.as_ref())?;
        self.disk.create(&path)?;
        Ok(LogFile { disk: self.disk.clone(), path })
    }

    fn open<P: AsRef<Path>>(&self, path: P, _: Permission) -> Result<LogFile> {
        let path = self.path(path.as_ref())?;
        self.disk.open(&path)?;
        Ok(LogFile { disk: self.disk.clone(), path })
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> Result<()> {
        fs::remove_file(&path)?;
        self.disk.delete(&self.path(path.as_ref())?)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> Result<()> {
        fs::rename(&from, &to)?;
        self.disk.rename(&self.path(from.as_ref())?, &self.path(to.as_ref())?)
    }

    fn new_reader(&self, handle: Arc<LogFile>) -> Result<LogCursor> {
        Ok(LogCursor { file: handle, position: 0 })
    }

    fn new_writer(&self, handle: Arc<LogFile>) -> Result<LogCursor> {
        Ok(LogCursor { file: handle, position: 0 })
    }
}

/// An open file of the log.
pub struct LogFile {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl Handle for LogFile {
    fn truncate(&self, offset: usize) -> Result<()> {
        self.disk.truncate(&self.path, offset as u64)
    }

    fn file_size(&self) -> Result<usize> {
        Ok(usize::try_from(self.disk.size(&self.path)?).expect("simulated files are small"))
    }

    fn sync(&self) -> Result<()> {
        self.disk.sync(&self.path)
    }
}

/// A position in a file of the log.
pub struct LogCursor {
    file: Arc<LogFile>,
    position: u64,
}

impl Read for LogCursor {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.file.disk.read_at(&self.file.path, self.position, buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Write for LogCursor {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.file.disk.write_at(&self.file.path, self.position, bytes)?;
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Seek for LogCursor {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let end = self.file.disk.size(&self.file.path)?;
        let (base, offset) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::End(offset) => (end, offset),
            SeekFrom::Current(offset) => (self.position, offset),
        };
        self.position = base
            .checked_add_signed(offset)
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "a position before the file"))?;
        Ok(self.position)
    }
}

impl WriteExt for LogCursor {
    fn truncate(&mut self, offset: usize) -> Result<()> {
        self.file.disk.truncate(&self.file.path, offset as u64)
    }

    fn allocate(&mut self, _: usize, _: usize) -> Result<()> {
        // Space is never short here; the file grows as it is written.
        Ok(())
    }
}
