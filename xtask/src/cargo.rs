//! Runs cargo: in the project's root, with the environment a person's own `cargo` would have.
//!
//! The environment matters: some build scripts (that of ring, under everything that speaks TLS) run again when a
//! variable they look at changes. `cargo run` hands us variables about our own package; passing them on would make
//! `cargo xtask test` and a plain `cargo build` undo each other's work.

use crate::failure::{Doing, Failure, Outcome};
use crate::project;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime};

/// How often the progress of RocksDB is said.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(20);
/// How many objects RocksDB has, roughly: only for the progress line.
const ROCKSDB_OBJECTS: usize = 350;

/// A `cargo` command in the project's root.
pub(crate) fn cargo<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("cargo");
    for argument in arguments {
        command.arg(argument.as_ref());
    }
    clean(&mut command);
    command.current_dir(project::root());
    command
}

/// Takes away what `cargo run` added to our environment about our own package.
fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let of_our_package = name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || ["CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"].contains(&name);
        if of_our_package {
            command.env_remove(name);
        }
    }
}

/// The command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!(
                "{}={}",
                name.to_string_lossy(),
                quoted(&value.to_string_lossy())
            ));
        }
    }
    words.push(command.get_program().to_string_lossy().into_owned());
    words.extend(
        command
            .get_args()
            .map(|argument| quoted(&argument.to_string_lossy())),
    );
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{word}'")
    }
}

/// Runs a command with its output on the screen; its failure names it.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let line = line(command);
    println!("$ {line}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .doing(format_args!("run `{line}`"))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::work(format!("`{line}` failed ({status})")))
    }
}

/// Runs a cargo build. If RocksDB is not compiled yet, it says how long that takes and, every now and then, how far
/// it is: cargo itself is silent about it.
pub(crate) fn build(command: &mut Command, profile: &str) -> Outcome {
    let folder = project::target()
        .join(if profile == "dev" { "debug" } else { profile })
        .join("build");
    if !rocksdb_folders(&folder).any(|out| out.join("librocksdb.a").exists()) {
        println!("compiling RocksDB: about 15 minutes on two cores, once per machine;");
        println!("later builds take it from ccache, in about a minute");
    }
    let (stop, stopped) = mpsc::channel::<()>();
    let started = SystemTime::now();
    let watcher = std::thread::spawn(move || {
        let mut last = 0;
        while stopped.recv_timeout(PROGRESS_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let objects = rocksdb_objects(&folder, started);
            if objects > last {
                println!("    RocksDB: {objects} of about {ROCKSDB_OBJECTS} objects compiled");
                last = objects;
            }
        }
    });
    let outcome = run(command);
    drop(stop);
    // The thread only counts files; if it panicked, the build is none the worse.
    let _ = watcher.join();
    outcome
}

/// The folders into which builds of RocksDB wrote, below cargo's folder `build`.
fn rocksdb_folders(build: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(build).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("librocksdb-sys-"))
        .map(|entry| entry.path().join("out"))
}

/// How many RocksDB objects have been written since `started`.
fn rocksdb_objects(build: &Path, started: SystemTime) -> usize {
    let newest = rocksdb_folders(build)
        .filter_map(|out| Some((out.metadata().ok()?.modified().ok()?, out)))
        .max();
    let Some((changed, out)) = newest else { return 0 };
    if changed < started {
        return 0;
    }
    count_objects(&out)
}

fn count_objects(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                return count_objects(&path);
            }
            usize::from(path.extension().is_some_and(|extension| extension == "o"))
        })
        .sum()
}

/// True when `cargo NAME` exists (nextest is not part of a Rust installation).
pub(crate) fn has_subcommand(name: &str) -> bool {
    cargo([name, "--version"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("cargo");
        command
            .args(["test", "--bench", "*"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .env_remove("CXX");
        assert_eq!(
            line(&command),
            "RUSTDOCFLAGS='-D warnings' cargo test --bench '*'"
        );
    }

    #[test]
    fn a_failing_command_is_named() {
        let error = run(Command::new("false").arg("x")).unwrap_err().to_string();
        assert!(error.contains("`false x` failed"), "{error}");
        let error = run(&mut Command::new("no-such-program-here"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no-such-program-here"), "{error}");
    }
}
