//! The functions that take libc's place, under libc's names. Each finds out whether it is about something watched; if
//! not, it makes the system call and nothing else.
//!
//! `open` and its like are variadic in C. On the processors that Linux runs Rust on, an argument that was not passed is
//! a register with an arbitrary value, which the kernel ignores unless a file is created; so they take it always.

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};

use crate::names::Change;
use crate::sys;
use crate::work::{self, absolute, enter_file, enter_for};
use crate::world;

/// The path at `pointer`, made absolute.
///
/// # Safety
/// `pointer` is null or points to a string that ends with a zero.
unsafe fn path_at(directory: c_int, pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller promises it.
    let path = unsafe { CStr::from_ptr(pointer) };
    absolute(directory, path.to_str().ok()?)
}

/// The bytes of `iov`, one after the other.
///
/// # Safety
/// `iov` points to `count` valid buffers.
unsafe fn gather(iov: *const libc::iovec, count: c_int) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: the caller promises it; an empty buffer may have no address.
        unsafe {
            let part = &*iov.add(part);
            if part.iov_len > 0 {
                bytes.extend_from_slice(std::slice::from_raw_parts(part.iov_base.cast(), part.iov_len));
            }
        }
    }
    bytes
}

/// # Safety
/// As of `openat`.
unsafe fn open_at(directory: c_int, pointer: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the arguments are the caller's own.
    let raw = |flags: c_int| unsafe { libc::syscall(libc::SYS_openat, directory, pointer, flags, mode) };
    // SAFETY: the caller promises it.
    let path = unsafe { path_at(directory, pointer) };
    let result = match (enter_for(&[&path]), path) {
        (Some(world), Some(path)) => work::open(world, &path, flags, raw),
        _ => raw(flags),
    };
    result as c_int
}

/// # Safety
/// `buffer` is valid for `bytes` bytes.
unsafe fn write_at(fd: c_int, buffer: *const c_void, bytes: usize, offset: Option<u64>) -> isize {
    world::saw_write();
    let bytes: &[u8] = match buffer.is_null() {
        true => &[],
        // SAFETY: the caller promises it.
        false => unsafe { std::slice::from_raw_parts(buffer.cast(), bytes) },
    };
    match enter_file(fd) {
        Some((world, status)) => work::write(world, &status, fd, bytes, offset),
        None => sys::write_bytes(fd, bytes, offset),
    }
}

/// # Safety
/// As of `renameat2`.
unsafe fn rename_at(old: c_int, from: *const c_char, new: c_int, to: *const c_char, flags: c_uint) -> c_int {
    // SAFETY: the arguments are the caller's own.
    let raw = || unsafe { libc::syscall(libc::SYS_renameat2, old, from, new, to, flags) };
    // SAFETY: the caller promises it.
    let paths = unsafe { (path_at(old, from), path_at(new, to)) };
    let result = match (enter_for(&[&paths.0, &paths.1]), paths) {
        (Some(_), _) if flags & libc::RENAME_EXCHANGE != 0 => {
            sys::set_error(libc::EINVAL);
            -1
        }
        (Some(world), (Some(from), Some(to))) => work::rename(world, &from, &to, raw),
        _ => raw(),
    };
    result as c_int
}

/// # Safety
/// As of `unlinkat`.
unsafe fn unlink_at(directory: c_int, pointer: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the arguments are the caller's own.
    let raw = || unsafe { libc::syscall(libc::SYS_unlinkat, directory, pointer, flags) };
    // SAFETY: the caller promises it.
    let path = unsafe { path_at(directory, pointer) };
    let result = match (enter_for(&[&path]), path) {
        (Some(world), Some(path)) if flags & libc::AT_REMOVEDIR != 0 => {
            let change = Change::DirectoryRemoved(path.clone());
            work::change(world, "rmdir", &path, raw, |world| world.changed(change))
        }
        (Some(world), Some(path)) => work::unlink(world, &path, raw),
        _ => raw(),
    };
    result as c_int
}

/// # Safety
/// As of `linkat`.
unsafe fn link_at(old: c_int, from: *const c_char, new: c_int, to: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the arguments are the caller's own.
    let raw = || unsafe { libc::syscall(libc::SYS_linkat, old, from, new, to, flags) };
    // SAFETY: the caller promises it.
    let path = unsafe { path_at(new, to) };
    let result = match (enter_for(&[&path]), path) {
        (Some(world), Some(path)) => {
            let change = Change::Created(path.clone());
            work::change(world, "link", &path, raw, |world| world.changed(change))
        }
        _ => raw(),
    };
    result as c_int
}

/// # Safety
/// As of `mkdirat`.
unsafe fn mkdir_at(directory: c_int, pointer: *const c_char, mode: c_uint) -> c_int {
    // SAFETY: the arguments are the caller's own.
    let raw = || unsafe { libc::syscall(libc::SYS_mkdirat, directory, pointer, mode) };
    // SAFETY: the caller promises it.
    let path = unsafe { path_at(directory, pointer) };
    let result = match (enter_for(&[&path]), path) {
        (Some(world), Some(path)) => {
            let change = Change::DirectoryCreated(path.clone());
            work::change(world, "mkdir", &path, raw, |world| world.changed(change))
        }
        _ => raw(),
    };
    result as c_int
}

/// # Safety
/// As of `fallocate`.
unsafe fn allocate(fd: c_int, mode: c_int, offset: i64, bytes: i64) -> c_int {
    // SAFETY: it takes no pointers.
    let raw = || unsafe { libc::syscall(libc::SYS_fallocate, fd, mode, offset, bytes) as c_int };
    match enter_file(fd) {
        Some((world, status)) => {
            let range = (offset.unsigned_abs(), bytes.unsigned_abs());
            work::allocate(world, &status, fd, mode, range, raw)
        }
        None => raw(),
    }
}

fn truncate(fd: c_int, size: i64) -> c_int {
    match (enter_file(fd), u64::try_from(size)) {
        (Some((world, status)), Ok(size)) => work::truncate(world, &status, fd, size),
        (_, Ok(size)) => sys::truncate(fd, size),
        _ => {
            sys::set_error(libc::EINVAL);
            -1
        }
    }
}

fn sync(fd: c_int, number: c_long) -> c_int {
    // SAFETY: it takes no pointers.
    work::sync(fd, || unsafe { libc::syscall(number, fd) as c_int })
}

/// What is watched is copied by reading and writing: whoever is told that there is no such call does that.
fn refuse_copy(to: c_int) -> bool {
    let refused = enter_file(to).is_some();
    if refused {
        sys::set_error(libc::ENOSYS);
    }
    refused
}

/// # Safety
/// As of `mmap`.
unsafe fn map(address: *mut c_void, bytes: usize, how: [c_int; 3], offset: i64) -> *mut c_void {
    let [protection, flags, fd] = how;
    let writes = protection & libc::PROT_WRITE != 0 && flags & libc::MAP_SHARED != 0;
    if writes && fd >= 0 && enter_file(fd).is_some() {
        sys::die("a watched file is mapped for writing, and nobody sees what is written then");
    }
    // SAFETY: the arguments are the caller's own.
    let result = unsafe { libc::syscall(libc::SYS_mmap, address, bytes, protection, flags, fd, offset) };
    result as *mut c_void
}

/// Defines functions under libc's names: some have a second one, for large files.
macro_rules! instead {
    ($($(#[$doc:meta])* [$name:ident $($twin:ident)?] $arguments:tt -> $result:ty $body:block)*) => {
        $(
            instead!(@one $(#[$doc])* $name $arguments -> $result $body);
            $(instead!(@one #[doc = "The same, for large files."] $twin $arguments -> $result $body);)?
        )*
    };
    (@one $(#[$doc:meta])* $name:ident ($($argument:ident: $kind:ty),*) -> $result:ty $body:block) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As of libc's function.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($argument: $kind),*) -> $result {
            // SAFETY: the caller keeps the contract of libc's function, which is that of what is called here.
            #[allow(unused_unsafe, reason = "some of these call nothing unsafe")]
            unsafe { $body }
        }
    };
}

instead! {
    /// `open(2)`.
    [open open64] (path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
        open_at(libc::AT_FDCWD, path, flags, mode)
    }
    /// `openat(2)`.
    [openat openat64] (directory: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
        open_at(directory, path, flags, mode)
    }
    /// `creat(2)`.
    [creat creat64] (path: *const c_char, mode: c_uint) -> c_int {
        open_at(libc::AT_FDCWD, path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode)
    }
    /// `write(2)`.
    [write] (fd: c_int, buffer: *const c_void, bytes: usize) -> isize {
        write_at(fd, buffer, bytes, None)
    }
    /// `pwrite(2)`.
    [pwrite pwrite64] (fd: c_int, buffer: *const c_void, bytes: usize, offset: i64) -> isize {
        write_at(fd, buffer, bytes, Some(offset.cast_unsigned()))
    }
    /// `writev(2)`.
    [writev] (fd: c_int, iov: *const libc::iovec, count: c_int) -> isize {
        let bytes = gather(iov, count);
        write_at(fd, bytes.as_ptr().cast(), bytes.len(), None)
    }
    /// `pwritev(2)`.
    [pwritev pwritev64] (fd: c_int, iov: *const libc::iovec, count: c_int, offset: i64) -> isize {
        let bytes = gather(iov, count);
        write_at(fd, bytes.as_ptr().cast(), bytes.len(), Some(offset.cast_unsigned()))
    }
    /// `pwritev2(2)`: without flags only.
    [pwritev2 pwritev64v2] (fd: c_int, iov: *const libc::iovec, count: c_int, offset: i64, flags: c_int) -> isize {
        if flags != 0 {
            sys::set_error(libc::EOPNOTSUPP);
            return -1;
        }
        let bytes = gather(iov, count);
        write_at(fd, bytes.as_ptr().cast(), bytes.len(), u64::try_from(offset).ok())
    }
    /// `ftruncate(2)`.
    [ftruncate ftruncate64] (fd: c_int, size: i64) -> c_int {
        truncate(fd, size)
    }
    /// `fallocate(2)`.
    [fallocate fallocate64] (fd: c_int, mode: c_int, offset: i64, bytes: i64) -> c_int {
        allocate(fd, mode, offset, bytes)
    }
    /// `posix_fallocate(3)`: it returns its error.
    [posix_fallocate posix_fallocate64] (fd: c_int, offset: i64, bytes: i64) -> c_int {
        match allocate(fd, 0, offset, bytes) {
            0 => 0,
            _ => sys::error(),
        }
    }
    /// `fsync(2)`.
    [fsync] (fd: c_int) -> c_int {
        sync(fd, libc::SYS_fsync)
    }
    /// `fdatasync(2)`.
    [fdatasync] (fd: c_int) -> c_int {
        sync(fd, libc::SYS_fdatasync)
    }
    /// `sync_file_range(2)`: it starts writing, and promises nothing.
    [sync_file_range] (fd: c_int, offset: i64, bytes: i64, flags: c_uint) -> c_int {
        libc::syscall(libc::SYS_sync_file_range, fd, offset, bytes, flags) as c_int
    }
    /// `rename(2)`.
    [rename] (from: *const c_char, to: *const c_char) -> c_int {
        rename_at(libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0)
    }
    /// `renameat(2)`.
    [renameat] (old: c_int, from: *const c_char, new: c_int, to: *const c_char) -> c_int {
        rename_at(old, from, new, to, 0)
    }
    /// `renameat2(2)`.
    [renameat2] (old: c_int, from: *const c_char, new: c_int, to: *const c_char, flags: c_uint) -> c_int {
        rename_at(old, from, new, to, flags)
    }
    /// `unlink(2)`.
    [unlink] (path: *const c_char) -> c_int {
        unlink_at(libc::AT_FDCWD, path, 0)
    }
    /// `unlinkat(2)`.
    [unlinkat] (directory: c_int, path: *const c_char, flags: c_int) -> c_int {
        unlink_at(directory, path, flags)
    }
    /// `rmdir(2)`.
    [rmdir] (path: *const c_char) -> c_int {
        unlink_at(libc::AT_FDCWD, path, libc::AT_REMOVEDIR)
    }
    /// `link(2)`.
    [link] (from: *const c_char, to: *const c_char) -> c_int {
        link_at(libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0)
    }
    /// `linkat(2)`.
    [linkat] (old: c_int, from: *const c_char, new: c_int, to: *const c_char, flags: c_int) -> c_int {
        link_at(old, from, new, to, flags)
    }
    /// `mkdir(2)`.
    [mkdir] (path: *const c_char, mode: c_uint) -> c_int {
        mkdir_at(libc::AT_FDCWD, path, mode)
    }
    /// `mkdirat(2)`.
    [mkdirat] (directory: c_int, path: *const c_char, mode: c_uint) -> c_int {
        mkdir_at(directory, path, mode)
    }
    /// `copy_file_range(2)`.
    [copy_file_range] (from: c_int, at: *mut i64, to: c_int, to_at: *mut i64, bytes: usize, flags: c_uint) -> isize {
        match refuse_copy(to) {
            true => -1,
            false => libc::syscall(libc::SYS_copy_file_range, from, at, to, to_at, bytes, flags) as isize,
        }
    }
    /// `sendfile(2)`.
    [sendfile sendfile64] (to: c_int, from: c_int, at: *mut i64, bytes: usize) -> isize {
        match refuse_copy(to) {
            true => -1,
            false => libc::syscall(libc::SYS_sendfile, to, from, at, bytes) as isize,
        }
    }
    /// `mmap(2)`.
    [mmap mmap64] (address: *mut c_void, bytes: usize, protection: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void {
        map(address, bytes, [protection, flags, fd], offset)
    }
}
