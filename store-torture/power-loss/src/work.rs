//! What the watched calls do: the real work, and the account of it. Without pointers, and so without unsafe code.

use std::ffi::c_int;

use crate::names::Change;
use crate::settings::{Death, Kind};
use crate::sys::{self, Status};
use crate::world::{Course, Inside, enter};

/// The unit in which a killed process' write may be cut.
const PAGE_BYTES: usize = 4096;

/// A path as the kernel would resolve it, without links. `None` if it cannot be told.
pub(crate) fn absolute(directory: c_int, path: &str) -> Option<String> {
    let whole = match path.starts_with('/') {
        true => path.to_owned(),
        false if directory == libc::AT_FDCWD => format!("{}/{path}", sys::working_directory()),
        false => format!("{}/{path}", sys::path_of(directory)?),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// Takes the lock if any of these paths is watched.
pub(crate) fn enter_for(paths: &[&Option<String>]) -> Option<Inside> {
    let world = enter()?;
    let watched = paths.iter().copied().flatten().any(|path| world.watches(path));
    watched.then_some(world)
}

/// Takes the lock if the descriptor is of a watched file.
pub(crate) fn enter_file(fd: c_int) -> Option<(Inside, Status)> {
    let world = enter()?;
    let status = world.watched(fd)?;
    Some((world, status))
}

fn name_of(fd: c_int) -> String {
    sys::path_of(fd).unwrap_or_else(|| format!("descriptor {fd}"))
}

/// A call that changes one thing: counts it, does `work` unless it is to fail, and accounts for it with `done` if it succeeded.
pub(crate) fn change(
    mut world: Inside,
    what: &str,
    target: &str,
    work: impl FnOnce() -> i64,
    done: impl FnOnce(&mut Inside),
) -> i64 {
    let course = world.call(Kind::Other, what, target);
    if let Course::Fail(number) = course {
        sys::set_error(number);
        return -1;
    }
    let result = work();
    if result >= 0 {
        done(&mut world);
    }
    world.settle(course);
    result
}

/// Opens a watched path. `raw` makes the call with the flags that it is given.
pub(crate) fn open(mut world: Inside, path: &str, flags: c_int, raw: impl Fn(c_int) -> i64) -> i64 {
    if flags & libc::O_TMPFILE == libc::O_TMPFILE {
        sys::set_error(libc::EOPNOTSUPP);
        return -1;
    }
    let before = sys::status_of(path);
    let creates = flags & libc::O_CREAT != 0 && before.is_none();
    let cuts = flags & libc::O_TRUNC != 0 && before.is_some_and(|before| before.is_file && before.size > 0);
    let course = match creates || cuts {
        true => world.call(Kind::Other, "open", path),
        false => Course::Work,
    };
    // What is cut off is remembered first, so the file is opened whole.
    let fd = raw(flags & !libc::O_TRUNC);
    if fd < 0 {
        return fd;
    }
    let Some(status) = sys::status(fd as c_int) else {
        return fd;
    };
    if creates {
        world.changed(Change::Created(path.to_owned()));
    }
    world.watch(&status, creates);
    if cuts {
        truncate_file(&mut world, fd as c_int, &status, 0);
    }
    world.settle(course);
    fd
}

fn truncate_file(world: &mut Inside, fd: c_int, status: &Status, size: u64) -> c_int {
    if size < status.size {
        world.overwrite(fd, status, size, status.size - size);
    }
    let result = sys::truncate(fd, size);
    world.resized(fd, status);
    result
}

/// `ftruncate` of a watched file.
pub(crate) fn truncate(mut world: Inside, status: &Status, fd: c_int, size: u64) -> c_int {
    let course = world.call(Kind::Other, "ftruncate", &name_of(fd));
    let result = truncate_file(&mut world, fd, status, size);
    world.settle(course);
    result
}

/// `fallocate` of a watched file; `raw` makes the call.
pub(crate) fn allocate(
    mut world: Inside,
    status: &Status,
    fd: c_int,
    mode: c_int,
    range: (u64, u64),
    raw: impl FnOnce() -> c_int,
) -> c_int {
    let zeroes = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
    if mode & !(zeroes | libc::FALLOC_FL_KEEP_SIZE) != 0 {
        sys::set_error(libc::EOPNOTSUPP);
        return -1;
    }
    let course = world.call(Kind::Other, "fallocate", &name_of(fd));
    if mode & zeroes != 0 {
        world.overwrite(fd, status, range.0, range.1);
    }
    let result = raw();
    world.resized(fd, status);
    world.settle(course);
    result
}

/// Writes to a watched file, at `offset` or where the descriptor stands.
pub(crate) fn write(
    mut world: Inside,
    status: &Status,
    fd: c_int,
    bytes: &[u8],
    offset: Option<u64>,
) -> isize {
    let flags = sys::flags(fd);
    let at = match offset {
        _ if flags & libc::O_APPEND != 0 => status.size,
        Some(offset) => offset,
        None => sys::position(fd),
    };
    let what = format!("write of {} bytes at {at}", bytes.len());
    let course = world.call(Kind::Write, &what, &name_of(fd));
    let bytes = match course {
        Course::Fail(number) => {
            sys::set_error(number);
            return -1;
        }
        Course::Short => &bytes[..bytes.len().div_ceil(2)],
        // The kernel looks for a signal that kills between pages.
        Course::WorkAndDie if world.death() == Some(Death::Kill) => &bytes[..bytes.len().min(PAGE_BYTES)],
        _ => bytes,
    };
    world.overwrite(fd, status, at, bytes.len() as u64);
    let written = sys::write_bytes(fd, bytes, offset);
    if written > 0 {
        world.resized(fd, status);
    }
    world.settle(course);
    if written > 0 && flags & libc::O_DSYNC != 0 {
        world.synced_write(fd, status, at, written.unsigned_abs() as u64);
    }
    written
}

/// `fsync` and `fdatasync` of a file or a directory, if it is watched; `raw` makes the call.
pub(crate) fn sync(fd: c_int, raw: impl Fn() -> c_int) -> c_int {
    let Some(mut world) = enter() else {
        return raw();
    };
    let status = sys::status(fd);
    let directory = status
        .filter(|status| status.is_directory)
        .and_then(|_| sys::path_of(fd));
    let (is_watched, target) = match &directory {
        // The directory's own name is in the one above.
        Some(path) => (is_near(&world, path), path.clone()),
        None => (world.watched(fd).is_some(), name_of(fd)),
    };
    let Some(status) = status.filter(|_| is_watched) else {
        drop(world);
        return raw();
    };
    let course = world.call(Kind::Sync, "sync", &target);
    let result = match course {
        Course::Fail(number) => {
            if directory.is_none() {
                world.synced_file(fd, &status, false);
            }
            sys::set_error(number);
            return -1;
        }
        // A sync that the loss of power interrupts has written anything, or nothing.
        Course::WorkAndDie => 0,
        _ => raw(),
    };
    world.settle(course);
    if result == 0 {
        match &directory {
            Some(path) => world.synced_directory(path),
            None => world.synced_file(fd, &status, true),
        }
    }
    result
}

fn is_near(world: &Inside, directory: &str) -> bool {
    let root = &world.settings.root;
    world.watches(directory) || root.rsplit_once('/').is_some_and(|(above, _)| above == directory)
}

/// `rename`; `raw` makes the call.
pub(crate) fn rename(mut world: Inside, from: &str, to: &str, raw: impl FnOnce() -> i64) -> i64 {
    let course = world.call(Kind::Other, "rename", &format!("{from} to {to}"));
    let is_same = sys::status_of(from).map(|status| status.id) == sys::status_of(to).map(|status| status.id);
    let kept = if is_same { None } else { world.keep(to) };
    let result = raw();
    if result < 0 {
        let number = sys::error();
        if let Some(kept) = &kept {
            sys::unlink(kept);
        }
        sys::set_error(number);
        return result;
    }
    if !is_same {
        let (from, to) = (from.to_owned(), to.to_owned());
        world.changed(Change::Renamed { from, to, kept });
    }
    world.settle(course);
    result
}

/// `unlink`; `raw` makes the call.
pub(crate) fn unlink(mut world: Inside, path: &str, raw: impl FnOnce() -> i64) -> i64 {
    let course = world.call(Kind::Other, "unlink", path);
    let kept = world.keep(path);
    let result = raw();
    let number = sys::error();
    match kept {
        Some(kept) if result < 0 => sys::unlink(&kept),
        Some(kept) => world.changed(Change::Removed {
            path: path.to_owned(),
            kept,
        }),
        None => {}
    }
    world.settle(course);
    sys::set_error(number);
    result
}
