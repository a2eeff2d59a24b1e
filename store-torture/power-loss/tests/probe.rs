//! The library, preloaded into a small program: what is left of files after the program died.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SIGKILL: i32 = 9;
/// So many times a coin is thrown until both sides must have been seen.
const SEEDS: u64 = 60;

/// A directory to watch, and one for the library.
struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Lab {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        fs::create_dir(dir.path().join("data")).expect("it is new");
        fs::create_dir(dir.path().join("hidden")).expect("it is new");
        Lab { dir }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Runs commands of the probe, separated by `;`, where `/` stands for the watched directory.
    fn run(&self, script: &str, variables: &[(&str, &str)]) -> Output {
        let data = self.data();
        let data = data.to_str().expect("the path is text");
        let commands = script
            .split(';')
            .map(|command| command.trim().replace('/', &format!("{data}/")));
        Command::new(env!("CARGO_BIN_EXE_power-loss-probe"))
            .args(commands)
            .env("LD_PRELOAD", library())
            .env("POWER_LOSS_ROOT", data)
            .env("POWER_LOSS_HIDDEN", self.dir.path().join("hidden"))
            .envs(variables.iter().copied())
            .output()
            .expect("the probe is built")
    }

    fn dies(&self, script: &str, crash: &str) {
        let output = self.run(script, &[("POWER_LOSS_CRASH", crash)]);
        assert_eq!(output.status.signal(), Some(SIGKILL), "{crash}: {output:?}");
    }

    fn lives(&self, script: &str, variables: &[(&str, &str)]) -> String {
        let output = self.run(script, variables);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("the probe prints text")
    }

    fn content(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.data().join(name)).ok()
    }

    fn report(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join("hidden").join(name)).expect("the library left it")
    }
}

/// Where cargo puts the library: beside the tests.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let library = test
        .parent()
        .expect("it is in a directory")
        .join("libpower_loss.so");
    assert!(
        Path::new(&library).is_file(),
        "{} is not built",
        library.display()
    );
    library
}

/// What `file` holds after each of many losses of power at call `at` of the script.
fn outcomes(prepare: &str, script: &str, at: u64, file: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..SEEDS)
        .map(|seed| {
            let lab = Lab::new();
            lab.lives(prepare, &[]);
            lab.dies(script, &format!("power:{at}:{seed}"));
            lab.content(file)
        })
        .collect()
}

const DURABLE: &str = "write /a old; sync /a; sync /";

#[test]
fn a_write_that_is_not_synced_may_be_lost_and_one_that_is_synced_is_kept() {
    let lost_or_kept = outcomes(DURABLE, "write /a new; mkdir /end", 2, "a");
    assert!(lost_or_kept.contains(&Some(b"old".to_vec())), "{lost_or_kept:?}");
    assert!(
        lost_or_kept.contains(&Some(b"oldnew".to_vec())),
        "{lost_or_kept:?}"
    );
    let kept = outcomes(DURABLE, "write /a new; sync /a; mkdir /end", 3, "a");
    assert_eq!(kept, BTreeSet::from([Some(b"oldnew".to_vec())]));
}

#[test]
fn a_synchronous_write_is_kept() {
    let kept = outcomes(DURABLE, "sync-write /a new; mkdir /end", 2, "a");
    assert_eq!(kept, BTreeSet::from([Some(b"new".to_vec())]));
    let torn = outcomes(DURABLE, "sync-write /a new", 1, "a");
    let both = [b"old", b"new"].map(|content| Some(content.to_vec()));
    assert_eq!(torn, BTreeSet::from(both));
}

/// R74: a name is durable when its directory is synced, and not when the file is.
#[test]
fn a_new_name_needs_a_sync_of_its_directory() {
    let script = "write /b whole; sync /b; rename /b /a; mkdir /end";
    let outcome = outcomes(DURABLE, script, 5, "a");
    let both = ["old", "whole"].map(|content| Some(content.as_bytes().to_vec()));
    assert_eq!(outcome, BTreeSet::from(both));
    let script = "write /b whole; sync /b; rename /b /a; sync /; mkdir /end";
    let outcome = outcomes(DURABLE, script, 6, "a");
    assert_eq!(outcome, BTreeSet::from([Some(b"whole".to_vec())]));
    let created = outcomes(DURABLE, "write /c whole; sync /c; mkdir /end", 4, "c");
    assert_eq!(created, BTreeSet::from([None, Some(b"whole".to_vec())]));
}

#[test]
fn a_file_that_was_removed_may_come_back_whole() {
    let outcome = outcomes(DURABLE, "remove /a; mkdir /end", 2, "a");
    assert_eq!(outcome, BTreeSet::from([None, Some(b"old".to_vec())]));
    let outcome = outcomes(DURABLE, "remove /a; sync /; mkdir /end", 3, "a");
    assert_eq!(outcome, BTreeSet::from([None]));
}

#[test]
fn a_killed_process_leaves_everything_but_not_durably() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..SEEDS {
        let lab = Lab::new();
        lab.lives(DURABLE, &[]);
        lab.dies("write /a new; mkdir /end", &format!("kill:2:{seed}"));
        assert_eq!(lab.content("a").unwrap(), b"oldnew");
        lab.dies("mkdir /end2", &format!("power:1:{seed}"));
        match lab.content("a").unwrap().as_slice() {
            b"oldnew" => kept += 1,
            _ => lost += 1,
        }
    }
    assert!(kept > 0 && lost > 0, "{kept} kept, {lost} lost");
}

#[test]
fn errors_and_short_writes_are_injected() {
    let lab = Lab::new();
    let said = lab.lives(
        "write /a 1234; write /a 5678; sync /a; sync /a; write /a 9abc; write /a def0",
        &[("POWER_LOSS_FAULTS", "write:2:short,sync:1:eio,write:4:enospc")],
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[0].ends_with("a 5678: 2 bytes"), "{said}");
    assert!(lines[1].contains("Input/output error"), "{said}");
    assert!(lines[2].contains("No space left"), "{said}");
    assert_eq!(lab.content("a").unwrap(), b"1234569abc");
    assert!(
        lab.report("faults")
            .starts_with("Short in write of 4 bytes at 4 of "),
        "{}",
        lab.report("faults")
    );
}

#[test]
fn what_a_failed_sync_did_not_write_is_lost_although_the_next_one_succeeds() {
    let mut contents = BTreeSet::new();
    for seed in 0..SEEDS {
        let lab = Lab::new();
        lab.lives(DURABLE, &[]);
        let crash = format!("power:4:{seed}");
        let variables = [
            ("POWER_LOSS_CRASH", crash.as_str()),
            ("POWER_LOSS_FAULTS", "sync:1:eio"),
        ];
        let output = lab.run(
            "sync-write /a new; write /a x; sync /a; sync /a; mkdir /end",
            &variables,
        );
        assert_eq!(output.status.signal(), Some(SIGKILL));
        contents.insert(lab.content("a").unwrap());
    }
    assert!(contents.contains(b"new".as_slice()), "{contents:?}");
}

#[test]
fn a_disk_that_lies_loses_what_was_synced() {
    let mut lost = false;
    for seed in 0..SEEDS {
        let lab = Lab::new();
        lab.lives(DURABLE, &[]);
        let crash = format!("power:3:{seed}");
        let variables = [
            ("POWER_LOSS_CRASH", crash.as_str()),
            ("POWER_LOSS_LYING_SYNCS", "1"),
        ];
        lab.run("write /a new; sync /a; mkdir /end", &variables);
        lost |= lab.content("a").unwrap() == b"old";
    }
    assert!(lost);
}

#[test]
fn a_process_that_ends_by_itself_says_what_it_did() {
    let lab = Lab::new();
    lab.lives("write /a x; mkdir /d; sync /", &[]);
    assert_eq!(lab.report("report"), "calls 4\nmissed 0\n");
    lab.dies("write /a x; mkdir /e", "kill:1:3");
    assert!(
        lab.report("crash").contains("write of 1 bytes at 1 of "),
        "{}",
        lab.report("crash")
    );
}
