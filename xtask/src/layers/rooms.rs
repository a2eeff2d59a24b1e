//! The arrows inside raft-core: every module is a room on a floor, and may use rooms on its own floor's list or below.
//!
//! Checked in production code; tests may use anything.

use super::source::{self, SourcePath};
use std::path::Path;

/// The floors from the ground up. A room may use every room below its own floor; rooms on one floor may use each other.
const FLOORS: &[&[&str]] = &[
    &["types", "random", "mutants", "fingerprint", "codec"],
    &["config"],
    &["membership"],
    &["entry"],
    &["progress"],
    &["request"],
    // What enters the state machine, what it sends and what it asks for name each other's parts.
    &["message", "input", "effect"],
    &["explain"],
    &["wire"],
    &["status"],
    &["traits"],
    // Above the traits, because it is built from what a LogStore recovered.
    &["log"],
    // What the log means to a state machine and its clients; the protocol knows nothing of it.
    &["sessions"],
    &["raft"],
    // Beside the protocol: what nodes do for all groups that sleep.
    &["pulse"],
    // Above the protocol, because it steps outside of it.
    &["recovery"],
    // What the protocol was given, kept so that it can be given again.
    &["record"],
    &["driver"],
    &["memory", "runtime"],
    &["conformance"],
];

/// The rooms behind features, which may use clocks, threads, files and tokio.
const IMPURE: &[&str] = &["memory", "runtime", "conformance"];

/// What the pure rooms never name, and why.
const FORBIDDEN: &[(&[&str], &str)] = &[
    (&["std", "time", "Instant"], "time is an argument"),
    (&["std", "time", "SystemTime"], "time is an argument"),
    (&["std", "thread"], "the core has no thread"),
    (&["std", "fs"], "storage is behind the traits"),
    (&["std", "net"], "the network is behind the traits"),
    (&["std", "env"], "settings are arguments"),
    (&["std", "process"], "the core is no program"),
    (&["tokio"], "the runtime is behind a feature"),
    (&["tracing"], "logging belongs to the runtime"),
];

/// Every wrong arrow of one file of raft-core; `file` is its path below `src`.
pub(crate) fn wrong(file: &Path, text: &str) -> Vec<String> {
    let module = module_of(file);
    let Some(room) = module.first() else {
        // lib.rs names every room; that is what it is for.
        return Vec::new();
    };
    if module.iter().any(|name| name == "tests") {
        return Vec::new();
    }
    let Some(floor) = floor(room) else {
        let file = file.display();
        return vec![format!(
            "{file}: `{room}` is a new room; give it a floor in xtask/src/layers/rooms.rs"
        )];
    };
    let pure = !IMPURE.contains(&room.as_str());
    let mut wrong = Vec::new();
    for path in source::paths(&source::production_code(text)) {
        let place = format!("{}:{}", file.display(), path.line);
        if let Some(used) = room_used(&module, &path)
            && used != *room
        {
            wrong.extend(wrong_arrow(room, floor, &used, &path).map(|what| format!("{place}: {what}")));
        }
        if pure {
            wrong.extend(forbidden(&path).map(|what| format!("{place}: {what}")));
        }
    }
    wrong
}

/// `log/tail.rs` is `["log", "tail"]`, `log/mod.rs` and `log.rs` are `["log"]`, `lib.rs` is `[]`.
fn module_of(file: &Path) -> Vec<String> {
    let mut names: Vec<String> = file
        .iter()
        .map(|name| name.to_string_lossy().replace(".rs", ""))
        .collect();
    if names.last().is_some_and(|name| name == "mod" || name == "lib") {
        names.pop();
    }
    names
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The word after the crate's root in a path that goes there, through `crate` or through enough `super`.
fn room_used(module: &[String], path: &SourcePath) -> Option<String> {
    let words = &path.words;
    if words[0] == "crate" {
        return words.get(1).cloned();
    }
    let ups = words.iter().take_while(|word| *word == "super").count();
    // An inline module is one deeper than its file; its `super` stays in the file, which is no arrow either.
    if ups > 0 && ups >= module.len() {
        words.get(ups).cloned()
    } else {
        None
    }
}

fn wrong_arrow(room: &str, own: usize, used: &str, path: &SourcePath) -> Option<String> {
    let written = path.words.join("::");
    match floor(used) {
        Some(other) if other > own => {
            Some(format!("`{written}`: {room} is below {used} and must not use it"))
        }
        Some(_) => None,
        None => Some(format!(
            "`{written}` goes through lib.rs; import it from the module that defines it"
        )),
    }
}

fn forbidden(path: &SourcePath) -> Option<String> {
    let (_, why) = FORBIDDEN.iter().find(|(words, _)| {
        path.words.len() >= words.len()
            && path
                .words
                .iter()
                .zip(*words)
                .all(|(have, forbidden)| have == forbidden)
    })?;
    Some(format!("`{}` in a pure room: {why}", path.words.join("::")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(file: &str, text: &str) -> usize {
        wrong(Path::new(file), text).len()
    }

    #[test]
    fn arrows_point_down() {
        assert_eq!(count("raft/leader.rs", "use crate::progress::Tracker;"), 0);
        assert_eq!(count("log/tail.rs", "use crate::raft::Raft;"), 1);
        assert_eq!(count("log/tail.rs", "use super::super::raft::Raft;"), 1);
        assert_eq!(count("log/tail.rs", "use super::terms::Terms;"), 0);
        assert_eq!(count("entry.rs", "use super::message::Message;"), 1);
        assert_eq!(count("entry.rs", "fn x() -> crate::driver::Driver {}"), 1);
        assert_eq!(count("message.rs", "use crate::request::RefusalReason;"), 0);
        assert_eq!(
            count("types.rs", "use crate::{config::Config, raft::{self, Raft}};"),
            3
        );
    }

    #[test]
    fn nothing_goes_through_the_crate_root() {
        assert_eq!(count("raft/leader.rs", "use crate::Config;"), 1);
        assert_eq!(count("raft/leader.rs", "use crate::{Config, types::Term};"), 1);
        assert_eq!(count("lib.rs", "pub use crate::config::Config;"), 0);
    }

    #[test]
    fn new_rooms_are_asked_for() {
        assert_eq!(count("attic/mod.rs", ""), 1);
    }

    #[test]
    fn the_pure_rooms_have_no_clock_thread_file_or_socket() {
        for text in [
            "use std::time::Instant;",
            "use std::time::{Duration, SystemTime};",
            "fn x() { std::thread::sleep(y) }",
            "use std::{fs, io};",
            "use std::net::SocketAddr;",
            "use tokio::sync::mpsc;",
        ] {
            assert_eq!(count("raft/mod.rs", text), 1, "{text}");
            assert_eq!(count("runtime/mod.rs", text), 0, "{text}");
            assert_eq!(
                count("raft/mod.rs", &format!("#[cfg(test)]\nmod tests {{ {text} }}")),
                0,
                "{text}"
            );
        }
        assert_eq!(count("raft/mod.rs", "use std::time::Duration;"), 0);
    }
}
