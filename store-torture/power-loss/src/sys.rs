//! The system calls that this library makes itself: directly, so that none of them comes back to it.
//!
//! Everything unsafe but the functions that take libc's place is here.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_int};

/// A failed call of this library's own leaves nothing to go on with: what it would show is not what a disk shows.
fn must(result: i64, what: &str, path: &str) -> i64 {
    if result < 0 {
        die(&format!("{what} {path}: error {}", error()));
    }
    result
}

/// Ends the process with a message that nobody takes for one of the program's own.
pub(crate) fn die(message: &str) -> ! {
    let message = format!("power-loss: {message}\n");
    write_bytes(2, message.as_bytes(), None);
    // SAFETY: it takes no pointers, and does not return.
    unsafe { libc::_exit(EXIT_CODE) }
}

/// The exit code of a process in which this library could not do its work.
const EXIT_CODE: c_int = 86;

thread_local! {
    /// System calls of this thread that are this library's own: the writes among them.
    static OWN_WRITES: Cell<u64> = const { Cell::new(0) };
}

/// How many writes this library made itself on this thread since the last call.
pub(crate) fn own_writes() -> u64 {
    OWN_WRITES.try_with(Cell::take).unwrap_or(0)
}

pub(crate) fn error() -> c_int {
    // SAFETY: the pointer is to this thread's own number, and always valid.
    unsafe { *libc::__errno_location() }
}

pub(crate) fn set_error(number: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = number }
}

pub(crate) fn variable(name: &str) -> Option<String> {
    let name = c_path(name);
    // SAFETY: the name ends with a zero. The value is copied before anybody could change the environment.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: `getenv` returns a string that ends with a zero.
    let value = unsafe { CStr::from_ptr(value) };
    Some(value.to_string_lossy().into_owned())
}

fn c_path(path: &str) -> CString {
    CString::new(path).unwrap_or_else(|_| die("a path with a zero in it"))
}

/// What is known about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) id: (u64, u64),
    pub(crate) size: u64,
    pub(crate) links: u64,
    pub(crate) is_file: bool,
    pub(crate) is_directory: bool,
}

fn status_from(raw: &libc::stat) -> Status {
    let kind = raw.st_mode & libc::S_IFMT;
    Status {
        id: (raw.st_dev, raw.st_ino),
        size: raw.st_size.unsigned_abs(),
        #[allow(clippy::unnecessary_cast, reason = "the type differs between processors")]
        links: raw.st_nlink as u64,
        is_file: kind == libc::S_IFREG,
        is_directory: kind == libc::S_IFDIR,
    }
}

pub(crate) fn status(fd: c_int) -> Option<Status> {
    // SAFETY: all zeros is a valid value of a struct of numbers, and the call gets a valid pointer to it.
    let (result, raw) = unsafe {
        let mut raw: libc::stat = std::mem::zeroed();
        (libc::fstat(fd, &raw mut raw), raw)
    };
    (result == 0).then(|| status_from(&raw))
}

/// What `path` itself names, without following a link.
pub(crate) fn status_of(path: &str) -> Option<Status> {
    let path = c_path(path);
    // SAFETY: as above; the path ends with a zero.
    let (result, raw) = unsafe {
        let mut raw: libc::stat = std::mem::zeroed();
        (libc::lstat(path.as_ptr(), &raw mut raw), raw)
    };
    (result == 0).then(|| status_from(&raw))
}

/// The flags that a descriptor was opened with.
pub(crate) fn flags(fd: c_int) -> c_int {
    // SAFETY: it takes no pointers.
    unsafe { libc::fcntl(fd, libc::F_GETFL) }
}

/// Where a descriptor stands in its file.
pub(crate) fn position(fd: c_int) -> u64 {
    // SAFETY: it takes no pointers.
    let position = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
    position.unsigned_abs()
}

/// The path that a descriptor was opened by.
pub(crate) fn path_of(fd: c_int) -> Option<String> {
    let link = c_path(&format!("/proc/self/fd/{fd}"));
    let mut buffer = vec![0_u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is as long as the call is told.
    let bytes = unsafe { libc::readlink(link.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    buffer.truncate(usize::try_from(bytes).ok()?);
    String::from_utf8(buffer).ok()
}

pub(crate) fn working_directory() -> String {
    path_of_link("/proc/self/cwd")
}

fn path_of_link(link: &str) -> String {
    let text = c_path(link);
    let mut buffer = vec![0_u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is as long as the call is told.
    let bytes = unsafe { libc::readlink(text.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    buffer.truncate(must(bytes as i64, "read the link", link).unsigned_abs() as usize);
    String::from_utf8_lossy(&buffer).into_owned()
}

/// Opens a file for reading and writing, for this library.
pub(crate) fn open(path: &str) -> c_int {
    let flags = libc::O_RDWR | libc::O_CLOEXEC;
    must(open_raw(path, flags), "open", path) as c_int
}

fn open_raw(path: &str, flags: c_int) -> i64 {
    let path = c_path(path);
    // SAFETY: the path ends with a zero, and the numbers have the types that the kernel expects.
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o600) }
}

/// Reads `bytes` bytes at `offset`; zeros where the file has ended.
pub(crate) fn read(fd: c_int, offset: u64, bytes: u64) -> Vec<u8> {
    let mut buffer = vec![0_u8; bytes as usize];
    let mut done = 0;
    while done < buffer.len() {
        let rest = &mut buffer[done..];
        let at = offset + done as u64;
        // SAFETY: the buffer is as long as the call is told.
        let result = unsafe { libc::pread64(fd, rest.as_mut_ptr().cast(), rest.len(), at.cast_signed()) };
        match must(result as i64, "read", "a watched file") {
            0 => break,
            some => done += some.unsigned_abs() as usize,
        }
    }
    buffer
}

/// Writes once, at `offset` or where the descriptor stands.
pub(crate) fn write_bytes(fd: c_int, bytes: &[u8], offset: Option<u64>) -> isize {
    // SAFETY: the buffer is as long as the call is told.
    let result = unsafe {
        match offset {
            Some(offset) => {
                let offset = offset.cast_signed();
                libc::syscall(libc::SYS_pwrite64, fd, bytes.as_ptr(), bytes.len(), offset)
            }
            None => libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()),
        }
    };
    result as isize
}

/// Writes a file's content back, for this library.
pub(crate) fn restore(fd: c_int, offset: u64, bytes: &[u8]) {
    count_own_write();
    let written = write_bytes(fd, bytes, Some(offset));
    if written != bytes.len().cast_signed() {
        die("cannot write an earlier content back");
    }
}

fn count_own_write() {
    let _ = OWN_WRITES.try_with(|count| count.set(count.get() + 1));
}

pub(crate) fn truncate(fd: c_int, size: u64) -> c_int {
    // SAFETY: it takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_ftruncate, fd, size.cast_signed()) };
    result as c_int
}

pub(crate) fn unlink(path: &str) {
    let text = c_path(path);
    // SAFETY: the path ends with a zero.
    let result = unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, text.as_ptr(), 0) };
    must(result, "remove", path);
}

pub(crate) fn remove_directory(path: &str) {
    let text = c_path(path);
    // SAFETY: the path ends with a zero.
    let result = unsafe {
        libc::syscall(
            libc::SYS_unlinkat,
            libc::AT_FDCWD,
            text.as_ptr(),
            libc::AT_REMOVEDIR,
        )
    };
    must(result, "remove the directory", path);
}

pub(crate) fn create_directory(path: &str) {
    let text = c_path(path);
    // SAFETY: the path ends with a zero.
    let result = unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, text.as_ptr(), 0o755) };
    must(result, "create the directory", path);
}

pub(crate) fn rename(from: &str, to: &str) {
    let (old, new) = (c_path(from), c_path(to));
    let here = libc::AT_FDCWD;
    // SAFETY: the paths end with a zero.
    let result = unsafe { libc::syscall(libc::SYS_renameat2, here, old.as_ptr(), here, new.as_ptr(), 0) };
    must(result, "rename", from);
}

/// Gives a file a second name.
pub(crate) fn link(from: &str, to: &str) {
    let (old, new) = (c_path(from), c_path(to));
    let here = libc::AT_FDCWD;
    // SAFETY: the paths end with a zero.
    let result = unsafe { libc::syscall(libc::SYS_linkat, here, old.as_ptr(), here, new.as_ptr(), 0) };
    must(result, "link", from);
}

/// Replaces the content of a file of this library.
pub(crate) fn save(path: &str, content: &[u8]) {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
    let fd = must(open_raw(path, flags), "create", path) as c_int;
    let mut rest = content;
    while !rest.is_empty() {
        count_own_write();
        let written = must(write_bytes(fd, rest, None) as i64, "write", path);
        rest = &rest[written.unsigned_abs() as usize..];
    }
    close(fd);
}

/// The content of a file, if it is there.
pub(crate) fn load(path: &str) -> Option<Vec<u8>> {
    let fd = c_int::try_from(open_raw(path, libc::O_RDONLY | libc::O_CLOEXEC)).ok()?;
    if fd < 0 {
        return None;
    }
    let mut content = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        // SAFETY: the buffer is as long as the call is told.
        let bytes = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
        match must(bytes as i64, "read", path) {
            0 => break,
            some => content.extend_from_slice(&buffer[..some.unsigned_abs() as usize]),
        }
    }
    close(fd);
    Some(content)
}

fn close(fd: c_int) {
    // SAFETY: it takes no pointers, and the descriptor is this library's own.
    unsafe { libc::close(fd) };
}

pub(crate) fn sleep(millis: u64) {
    std::thread::sleep(std::time::Duration::from_millis(millis));
}

/// Ends the process as the kernel would, with no chance to do anything more.
pub(crate) fn kill_self() -> ! {
    // SAFETY: neither call takes pointers.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
        loop {
            libc::pause();
        }
    }
}

/// Calls `function` when the process ends by itself.
pub(crate) fn at_exit(function: extern "C" fn()) {
    // SAFETY: the function is never unloaded: nobody unloads a preloaded library.
    if unsafe { libc::atexit(function) } != 0 {
        die("cannot register what is done at the end");
    }
}
