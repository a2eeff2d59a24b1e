//! The torture finds what it looks for: a store that lies, or a disk that does, is caught within a few cases.

use std::process::{Command, Output};

fn torture(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_store-torture"))
        .args(["--seed", "1", "--jobs", "1", "--failures", "1"])
        .args(words)
        .output()
        .expect("the program is built")
}

/// `as_what` is how the failure begins.
fn is_caught(lie: &str, as_what: &str) {
    let output = torture(&["--points", "200", "--damages", "0", "--lie", lie]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("FAILURE {as_what}")), "{said}");
    assert!(said.contains(&format!("--lie {lie} --case ")), "{said}");
}

/// R11, I13: what is acknowledged before it is durable is lost when the process dies in between.
#[test]
fn a_store_that_acknowledges_too_early_is_caught() {
    is_caught("early-ack", "after ");
}

/// I13: a write that was never made is missed even if nothing crashes.
#[test]
fn a_store_that_forgets_a_write_is_caught() {
    is_caught("lost-write", "");
}

/// R11, I13: only a loss of power shows that a sync did nothing.
#[test]
fn a_disk_that_does_not_sync_is_caught() {
    is_caught("disk", "");
}

/// R11: an honest store is whole after every crash, and a case can be repeated.
#[test]
fn an_honest_store_is_whole_after_every_crash() {
    for case in ["7:400:4:2", "8:400:4:2"] {
        let output = torture(&["--case", case]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("damages: 2\n"), "{said}");
        assert!(said.contains(" whole"), "{said}");
    }
}
