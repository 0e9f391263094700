//! The simulated disk as a VFS of SQLite (<https://sqlite.org/vfs.html>).

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::ffi;

use super::disk::SimulatedDisk;
use super::locks::HandleId;
use super::shared_memory::SharedMemory;
use crate::pinned;

/// The Unix epoch as SQLite counts: milliseconds since noon in Greenwich on November 24, 4714 B.C.
const UNIX_EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;
const PATH_MAX: c_int = 512;
const SECTOR_BYTES: c_int = 512;

/// Finds the disk of a VFS; the disk may be gone.
type Finder = Box<dyn Fn() -> Option<SimulatedDisk> + Send + Sync>;

/// A VFS known to SQLite until this is dropped. Open files hold on to their disk, and the disk to this.
pub struct Registration {
    name: CString,
    vfs: *mut ffi::sqlite3_vfs,
    finder: *mut Finder,
}

// SAFETY: the pointers are to memory of this registration alone, which is not changed until it is dropped.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

impl Registration {
    pub fn new(finder: Finder) -> Registration {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("simulated-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let name = CString::new(name).expect("the name holds no NUL");
        let finder = Box::into_raw(Box::new(finder));
        let vfs = Box::into_raw(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: c_int::try_from(size_of::<OpenFile>()).expect("a small struct"),
            mxPathname: PATH_MAX,
            pNext: ptr::null_mut(),
            zName: name.as_ptr(),
            pAppData: finder.cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_path_name),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: Some(current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: `vfs` and what it points to live until the registration is dropped, which takes it back first.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite takes the VFS");
        Registration { name, vfs, finder }
    }

    pub fn name(&self) -> &str {
        self.name.to_str().expect("the name is ASCII")
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: both came from `Box::into_raw`; no file is open any more, since open files keep the disk alive.
        unsafe {
            ffi::sqlite3_vfs_unregister(self.vfs);
            drop(Box::from_raw(self.vfs));
            drop(Box::from_raw(self.finder));
        }
    }
}

/// SQLite's file object: its methods, then our handle.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    handle: *mut Handle,
}

struct Handle {
    disk: SimulatedDisk,
    incarnation: u64,
    id: HandleId,
    file: u64,
    path: PathBuf,
    delete_on_close: bool,
    shared_memory: Option<Arc<Mutex<SharedMemory>>>,
}

impl Handle {
    /// Whether the power has been cut since it was opened.
    fn is_dead(&self) -> bool {
        self.disk.state().incarnation != self.incarnation
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The disk of a VFS.
///
/// # Safety
/// `vfs` is one that [`Registration::new`] made and that is still registered.
unsafe fn disk(vfs: *mut ffi::sqlite3_vfs) -> Option<SimulatedDisk> {
    // SAFETY: the application data is the finder, which lives as long as the registration.
    unsafe { (*(*vfs).pAppData.cast::<Finder>())() }
}

/// The handle of a file.
///
/// # Safety
/// `file` was opened by [`open`] and is not closed.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Handle {
    // SAFETY: `open` has put a box's pointer there, which `close` alone takes back; SQLite uses a file from one
    // thread at a time.
    unsafe { &mut *(*file.cast::<OpenFile>()).handle }
}

/// A path as SQLite hands it over.
///
/// # Safety
/// `name` is a string that ends in NUL.
unsafe fn path<'a>(name: *const c_char) -> &'a Path {
    // SAFETY: as the caller promises.
    let name = unsafe { CStr::from_ptr(name) };
    Path::new(name.to_str().expect("paths of a simulation are UTF-8"))
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands over its registered VFS, room for an `OpenFile`, and a name that ends in NUL or none.
    unsafe {
        (*file).pMethods = ptr::null();
        let Some(disk) = disk(vfs) else { return ffi::SQLITE_CANTOPEN };
        let mut state = disk.state();
        let id = state.new_id();
        let path =
            if name.is_null() { PathBuf::from(format!("temporary-{id}")) } else { path(name).to_owned() };
        let found = match state.find(&path) {
            Ok(found) => found,
            Err(_) if flags & ffi::SQLITE_OPEN_CREATE != 0 || name.is_null() => state.make(&path),
            Err(_) => return ffi::SQLITE_CANTOPEN,
        };
        let incarnation = state.incarnation;
        drop(state);
        let opened = Handle {
            disk,
            incarnation,
            id,
            file: found,
            path,
            delete_on_close: flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0 || name.is_null(),
            shared_memory: None,
        };
        let file = file.cast::<OpenFile>();
        (*file).handle = Box::into_raw(Box::new(opened));
        (*file).base.pMethods = &raw const METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` made the box; SQLite closes a file once.
    let closed = unsafe { Box::from_raw((*file.cast::<OpenFile>()).handle) };
    if !closed.is_dead() {
        let mut state = closed.disk.state();
        if let Some(locks) = state.locks.get_mut(&closed.file) {
            locks.unlock(closed.id, ffi::SQLITE_LOCK_NONE);
        }
        if closed.delete_on_close {
            state.delete(&closed.path);
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite's file is open and its buffer has `count` bytes.
    let (handle, buffer) =
        unsafe { (handle(file), std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length(count))) };
    if handle.is_dead() {
        return ffi::SQLITE_IOERR_READ;
    }
    let Ok(read) = handle.disk.state().read(handle.file, offset.cast_unsigned(), buffer) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SQLite counts on zeros behind the end.
    buffer[read..].fill(0);
    if read == buffer.len() { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite's file is open and its buffer has `count` bytes.
    let (handle, bytes) =
        unsafe { (handle(file), std::slice::from_raw_parts(buffer.cast::<u8>(), length(count))) };
    if handle.is_dead() {
        return ffi::SQLITE_IOERR_WRITE;
    }
    match handle.disk.state().write(handle.file, offset.cast_unsigned(), bytes) {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) if error.kind() == ErrorKind::StorageFull => ffi::SQLITE_FULL,
        Err(_) => ffi::SQLITE_IOERR_WRITE,
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite's file is open.
    let handle = unsafe { handle(file) };
    if handle.is_dead() {
        return ffi::SQLITE_IOERR_TRUNCATE;
    }
    handle.disk.state().truncate(handle.file, size.cast_unsigned());
    ffi::SQLITE_OK
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: SQLite's file is open.
    let handle = unsafe { handle(file) };
    if handle.is_dead() {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    match handle.disk.state().sync(handle.file) {
        Ok(()) => ffi::SQLITE_OK,
        Err(_) => ffi::SQLITE_IOERR_FSYNC,
    }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite's file is open, and `size` is its variable.
    let (handle, size) = unsafe { (handle(file), &mut *size) };
    if handle.is_dead() {
        return ffi::SQLITE_IOERR_FSTAT;
    }
    *size = handle.disk.state().size(handle.file).cast_signed();
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite's file is open.
    let handle = unsafe { handle(file) };
    if handle.is_dead() {
        return ffi::SQLITE_IOERR_LOCK;
    }
    let locked = handle.disk.state().locks.entry(handle.file).or_default().lock(handle.id, level);
    if locked { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite's file is open.
    let handle = unsafe { handle(file) };
    if !handle.is_dead() {
        handle.disk.state().locks.entry(handle.file).or_default().unlock(handle.id, level);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, reserved: *mut c_int) -> c_int {
    // SAFETY: SQLite's file is open, and `reserved` is its variable.
    let (handle, reserved) = unsafe { (handle(file), &mut *reserved) };
    let state = handle.disk.state();
    *reserved = c_int::from(state.locks.get(&handle.file).is_some_and(super::locks::FileLocks::is_reserved));
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES
}

unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    // A write torn by a power cut does not harm the bytes beside it.
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite's file is open, and `out` is its variable.
    let (handle, out) = unsafe { (handle(file), &mut *out) };
    *out = ptr::null_mut();
    if handle.is_dead() {
        return ffi::SQLITE_IOERR_SHMMAP;
    }
    let file = handle.file;
    let memory = handle
        .shared_memory
        .get_or_insert_with(|| handle.disk.state().shared_memory.entry(file).or_default().clone());
    let mut memory = memory.lock().expect("no thread has panicked with the memory in its hands");
    if let Some(region) = memory.region(length(region), length(bytes), extend != 0) {
        *out = region.cast();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: SQLite's file is open.
    let handle = unsafe { handle(file) };
    if handle.is_dead() {
        return ffi::SQLITE_IOERR_SHMLOCK;
    }
    let Some(memory) = &handle.shared_memory else { return ffi::SQLITE_IOERR_SHMLOCK };
    let mut memory = memory.lock().expect("no thread has panicked with the memory in its hands");
    let locked = memory.lock(handle.id, length(first), length(count), flags);
    if locked { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, remove: c_int) -> c_int {
    // SAFETY: SQLite's file is open.
    let handle = unsafe { handle(file) };
    if let Some(memory) = handle.shared_memory.take() {
        memory.lock().expect("no thread has panicked with the memory in its hands").forget(handle.id);
    }
    if remove != 0 && !handle.is_dead() {
        handle.disk.state().shared_memory.remove(&handle.file);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, _sync: c_int) -> c_int {
    // SAFETY: SQLite hands over its registered VFS and a name that ends in NUL.
    let (disk, path) = unsafe { (disk(vfs), path(name)) };
    let Some(disk) = disk else { return ffi::SQLITE_IOERR_DELETE };
    match disk.delete(path) {
        Ok(()) => ffi::SQLITE_OK,
        Err(_) => ffi::SQLITE_IOERR_DELETE_NOENT,
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _flags: c_int,
    result: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands over its registered VFS, a name that ends in NUL, and its variable.
    unsafe {
        *result = c_int::from(disk(vfs).is_some_and(|disk| disk.open(path(name)).is_ok()));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_path_name(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: the name ends in NUL, and `out` has `room` bytes.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > length(room) {
            return ffi::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, count: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite hands over its registered VFS and a buffer of `count` bytes.
    let (disk, out) = unsafe { (disk(vfs), std::slice::from_raw_parts_mut(out.cast::<u8>(), length(count))) };
    let Some(disk) = disk else { return 0 };
    disk.state().random_bytes(out);
    count
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    // Nobody else could let go of a lock meanwhile.
    microseconds
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    let mut millis = 0;
    // SAFETY: as in `current_time_int64`; `out` is SQLite's variable.
    unsafe {
        current_time_int64(vfs, &raw mut millis);
        #[allow(clippy::cast_precision_loss)]
        let days = millis as f64 / 86_400_000.0;
        *out = days;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_int64(vfs: *mut ffi::sqlite3_vfs, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite hands over its registered VFS and its variable.
    unsafe {
        let wall_ms = pinned::held_ms().unwrap_or_else(|| disk(vfs).map_or(0, |disk| disk.state().wall_ms));
        *out = UNIX_EPOCH_JULIAN_MS + wall_ms.cast_signed();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

/// A count of SQLite, which is never negative.
fn length(count: c_int) -> usize {
    usize::try_from(count).expect("SQLite counts from 0")
}
