//! A library to preload (`LD_PRELOAD`) into a process, which then dies at a chosen system call, and takes with it what
//! it had not synced. It stands between the program and libc, in every call that changes files below one directory.
//!
//! # Why a preloaded library
//!
//! A file system in user space (FUSE) would see more, but needs a kernel module, a device and a mount, which containers
//! of continuous integration do not have. This needs nothing but the dynamic linker, knows every single call of the
//! program, and costs microseconds.
//!
//! What it cannot see: system calls that do not go through libc (the crate `rustix` makes some), what libc does inside
//! itself (`fopen`), and writes through a mapping, which it therefore refuses. At its end a process writes down how
//! many writes the kernel counted that did not come by here.
//!
//! # What a loss of power leaves
//!
//! - Each sector of 512 bytes that was written since its file was synced is there, or has the content of before, or one
//!   from between. Appended ones read as zeros then; half of the time they are lost from the end of the file only.
//! - The size of a file may fall back to that of its last sync, or to one in between.
//! - Of all changes of directories since the directory was synced, the last ones are taken back, as by a
//!   file system with a journal. A sync of a file does not save its name.
//! - A write with `O_DSYNC` or `O_SYNC` is durable when it returns.
//! - After a sync that failed, what was dirty may be lost although a later sync succeeds, as on Linux.
//!
//! A process that is killed loses nothing, but what it had not synced is carried over: if a later one loses power, it
//! goes, too.
//!
//! # Variables
//!
//! | variable | meaning |
//! |---|---|
//! | `POWER_LOSS_ROOT` | the directory that is watched, as an absolute path; without it nothing is done |
//! | `POWER_LOSS_HIDDEN` | a directory of the same file system, for this library |
//! | `POWER_LOSS_CRASH` | `kill:CALL:SEED` or `power:CALL:SEED`: the process ends before or in this call |
//! | `POWER_LOSS_FAULTS` | `write:NTH:eio`, `enospc`, `short` or `delay=MS`, and the same for `sync`; commas between several |
//! | `POWER_LOSS_LYING_SYNCS` | syncs and `O_DSYNC` make nothing durable, as on a disk that lies |
//!
//! In the hidden directory it leaves `crash` (where the process ended), `faults` (where something failed), `report` (calls that changed something, writes
//! that were missed; only when the process ended by itself) and `carried`.
//!
//! Nobody may import this crate: its functions would take the place of libc's in the program that does.
//!
//! # Unsafe code
//!
//! Only here, and only in two modules: `sys` makes the system calls, `calls` are the functions that the linker puts in
//! the place of libc's.

mod calls;
mod names;
mod random;
mod settings;
mod sys;
mod unsynced;
mod work;
mod world;
