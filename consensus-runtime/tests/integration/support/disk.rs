//! A disk whose syncs fail or wait as a test wants it.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission, WriteExt};

use super::PATIENCE;

type File = <DefaultFileSystem as FileSystem>::Handle;

/// Called before every sync, which fails if it does.
type BeforeSync = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// The operating system's files, with syncs that a test has in hand.
pub struct WatchedDisk(pub BeforeSync);

pub struct WatchedFile {
    file: Arc<File>,
    before_sync: BeforeSync,
}

pub struct Access(<DefaultFileSystem as FileSystem>::Writer);

impl WatchedDisk {
    fn file(&self, file: File) -> WatchedFile {
        WatchedFile { file: Arc::new(file), before_sync: self.0.clone() }
    }
}

impl FileSystem for WatchedDisk {
    type Handle = WatchedFile;
    type Reader = Access;
    type Writer = Access;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<WatchedFile> {
        DefaultFileSystem.create(path).map(|file| self.file(file))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<WatchedFile> {
        DefaultFileSystem.open(path, permission).map(|file| self.file(file))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        DefaultFileSystem.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        DefaultFileSystem.rename(from, to)
    }

    fn new_reader(&self, handle: Arc<WatchedFile>) -> io::Result<Access> {
        DefaultFileSystem.new_reader(handle.file.clone()).map(Access)
    }

    fn new_writer(&self, handle: Arc<WatchedFile>) -> io::Result<Access> {
        DefaultFileSystem.new_writer(handle.file.clone()).map(Access)
    }
}

impl Handle for WatchedFile {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        Handle::truncate(self.file.as_ref(), offset)
    }

    fn file_size(&self) -> io::Result<usize> {
        self.file.file_size()
    }

    fn sync(&self) -> io::Result<()> {
        (self.before_sync)()?;
        self.file.sync()
    }
}

impl Read for Access {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Access {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for Access {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.0.seek(position)
    }
}

impl WriteExt for Access {
    fn truncate(&mut self, offset: usize) -> io::Result<()> {
        WriteExt::truncate(&mut self.0, offset)
    }

    fn allocate(&mut self, offset: usize, size: usize) -> io::Result<()> {
        self.0.allocate(offset, size)
    }
}

/// Holds syncs up while it is closed.
#[derive(Default)]
pub struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    waiting: u32,
}

impl Gate {
    pub fn close(&self) {
        self.state.lock().closed = true;
    }

    pub fn open(&self) {
        self.state.lock().closed = false;
        self.changed.notify_all();
    }

    /// Goes through, as soon as it is open.
    pub fn pass(&self) {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.changed.notify_all();
        // Not for ever, so that a test that has failed comes to its end.
        self.changed.wait_while_for(&mut state, |state| state.closed, 2 * PATIENCE);
        state.waiting -= 1;
    }

    /// Waits until a sync is held up.
    pub fn wait_until_it_holds_up(&self) {
        let mut state = self.state.lock();
        let is_open = |state: &mut GateState| !state.closed || state.waiting == 0;
        let timed_out = self.changed.wait_while_for(&mut state, is_open, PATIENCE).timed_out();
        assert!(!timed_out, "nothing is synced");
    }
}
