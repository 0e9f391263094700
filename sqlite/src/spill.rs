//! Temporary files of merging databases, as a VFS of SQLite (<https://sqlite.org/vfs.html>): each is a file
//! without a name, gone with the process, whose size counts against its database's share.

use std::ffi::{CString, c_char, c_int, c_void};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi;

use crate::workspace::Share;

const SECTOR_BYTES: c_int = 4_096;

/// A VFS whose files are temporary. It must outlive the connections that were opened with it.
pub(crate) struct SpillVfs {
    name: CString,
    vfs: *mut ffi::sqlite3_vfs,
    share: *mut Arc<Share>,
}

// SAFETY: the pointers are to memory of this value alone, which is not changed until it is dropped.
unsafe impl Send for SpillVfs {}

impl SpillVfs {
    /// Registers one whose files count against a share.
    pub(crate) fn new(share: Arc<Share>) -> SpillVfs {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = CString::new(format!("spill-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
            .expect("the name holds no NUL");
        let share = Box::into_raw(Box::new(share));
        // SAFETY: the default VFS is registered for as long as the process runs.
        let system = unsafe { &*ffi::sqlite3_vfs_find(ptr::null()) };
        let vfs = Box::into_raw(Box::new(ffi::sqlite3_vfs {
            iVersion: 1,
            szOsFile: c_int::try_from(size_of::<SpillFile>()).expect("a small struct"),
            mxPathname: system.mxPathname,
            pNext: ptr::null_mut(),
            zName: name.as_ptr(),
            pAppData: share.cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_path_name),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: system.xRandomness,
            xSleep: system.xSleep,
            xCurrentTime: system.xCurrentTime,
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: `vfs` and what it points to live until this value is dropped, which takes it back first.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite takes the VFS");
        SpillVfs { name, vfs, share }
    }

    /// The name to open connections with.
    pub(crate) fn name(&self) -> &str {
        self.name.to_str().expect("the name is ASCII")
    }
}

impl Drop for SpillVfs {
    fn drop(&mut self) {
        // SAFETY: both came from `Box::into_raw`; the owner has closed the connections that used them.
        unsafe {
            ffi::sqlite3_vfs_unregister(self.vfs);
            drop(Box::from_raw(self.vfs));
            drop(Box::from_raw(self.share));
        }
    }
}

/// SQLite's file object: its methods, then our state.
#[repr(C)]
struct SpillFile {
    base: ffi::sqlite3_file,
    state: *mut State,
}

struct State {
    file: File,
    size: u64,
    share: Arc<Share>,
}

impl State {
    /// Counts the file as of another size; `false` if there is no room for it.
    fn resize(&mut self, size: u64) -> bool {
        if size > self.size && !self.share.take_disk(size - self.size) {
            return false;
        }
        if size < self.size {
            self.share.return_disk(self.size - size);
        }
        self.size = size;
        true
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// The state of a file.
///
/// # Safety
/// `file` was opened by [`open`] and is not closed.
unsafe fn state<'a>(file: *mut ffi::sqlite3_file) -> &'a mut State {
    // SAFETY: `open` has put a box's pointer there, which `close` alone takes back; SQLite uses a file from
    // one thread at a time.
    unsafe { &mut *(*file.cast::<SpillFile>()).state }
}

fn unlinked(share: &Share) -> std::io::Result<File> {
    match share.folder() {
        Some(folder) => tempfile::tempfile_in(folder),
        None => tempfile::tempfile(),
    }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands over its registered VFS, whose application data is a share, and room for a file.
    unsafe {
        (*file).pMethods = ptr::null();
        // Files with names are none of a merging database's business.
        if !name.is_null() {
            return ffi::SQLITE_CANTOPEN;
        }
        let share = Arc::clone(&*(*vfs).pAppData.cast::<Arc<Share>>());
        let Ok(opened) = unlinked(&share) else { return ffi::SQLITE_CANTOPEN };
        let file = file.cast::<SpillFile>();
        (*file).state = Box::into_raw(Box::new(State { file: opened, size: 0, share }));
        (*file).base.pMethods = &raw const METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` made the box; SQLite closes a file once.
    let mut closed = unsafe { Box::from_raw((*file.cast::<SpillFile>()).state) };
    closed.resize(0);
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite's file is open and its buffer has `count` bytes.
    let (state, buffer) =
        unsafe { (state(file), std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length(count))) };
    let mut filled = 0;
    while filled < buffer.len() {
        match state.file.read_at(&mut buffer[filled..], offset.cast_unsigned() + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return ffi::SQLITE_IOERR_READ,
        }
    }
    // SQLite counts on zeros behind the end.
    buffer[filled..].fill(0);
    if filled == buffer.len() { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite's file is open and its buffer has `count` bytes.
    let (state, bytes) =
        unsafe { (state(file), std::slice::from_raw_parts(buffer.cast::<u8>(), length(count))) };
    let end = offset.cast_unsigned() + bytes.len() as u64;
    if end > state.size && !state.resize(end) {
        return ffi::SQLITE_FULL;
    }
    state.share.note_written(bytes.len() as u64);
    match state.file.write_all_at(bytes, offset.cast_unsigned()) {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => ffi::SQLITE_FULL,
        Err(_) => ffi::SQLITE_IOERR_WRITE,
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite's file is open.
    let state = unsafe { state(file) };
    match state.file.set_len(size.cast_unsigned()) {
        Ok(()) if state.resize(size.cast_unsigned()) => ffi::SQLITE_OK,
        _ => ffi::SQLITE_IOERR_TRUNCATE,
    }
}

/// Nobody reads the file after this process.
unsafe extern "C" fn sync(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite's file is open, and `size` is its variable.
    let (state, size) = unsafe { (state(file), &mut *size) };
    *size = state.size.cast_signed();
    ffi::SQLITE_OK
}

/// Nobody else knows the file.
unsafe extern "C" fn lock(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_: *mut ffi::sqlite3_file, reserved: *mut c_int) -> c_int {
    // SAFETY: `reserved` is SQLite's variable.
    unsafe { *reserved = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES
}

unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, _: *const c_char, _: c_int) -> c_int {
    ffi::SQLITE_IOERR_DELETE_NOENT
}

unsafe extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    _: *const c_char,
    _: c_int,
    found: *mut c_int,
) -> c_int {
    // SAFETY: `found` is SQLite's variable.
    unsafe { *found = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_path_name(
    _: *mut ffi::sqlite3_vfs,
    _: *const c_char,
    _: c_int,
    _: *mut c_char,
) -> c_int {
    ffi::SQLITE_CANTOPEN
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    ffi::SQLITE_OK
}

/// SQLite's counts of bytes are not negative.
fn length(count: c_int) -> usize {
    usize::try_from(count).unwrap_or(0)
}
