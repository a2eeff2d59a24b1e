//! The guard: whatever ends the process that started the nodes, no node outlives it.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn guard() -> Child {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("__guard")
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// A process that needs SIGKILL when `stubborn`: it ignores the polite signal.
fn node(stubborn: bool) -> Child {
    let script = if stubborn {
        "trap '' TERM; echo; while :; do sleep 0.1; done"
    } else {
        "echo; exec sleep 1000"
    };
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    // The line says that the trap is set.
    let mut line = [0];
    std::io::Read::read_exact(&mut child.stdout.take().expect("it is piped"), &mut line)
        .expect("it says a line");
    child
}

fn name(guard: &mut Child, sign: char, process: u32) {
    writeln!(guard.stdin.as_mut().expect("it is piped"), "{sign}{process}").expect("the guard listens");
}

#[test]
fn nodes_that_are_left_behind_are_stopped_and_forgotten_ones_are_spared() {
    let mut guard = guard();
    let (mut left, mut spared) = (node(false), node(false));
    name(&mut guard, '+', left.id());
    name(&mut guard, '+', spared.id());
    name(&mut guard, '-', spared.id());
    assert!(
        left.try_wait().unwrap().is_none(),
        "it runs as long as the pipe is open"
    );
    drop(guard.stdin.take());
    assert!(guard.wait().unwrap().success());
    assert!(!left.wait().unwrap().success());
    assert!(spared.try_wait().unwrap().is_none());
    spared.kill().unwrap();
    spared.wait().unwrap();
}

#[test]
fn a_node_that_ignores_the_polite_signal_is_killed() {
    let mut guard = guard();
    let mut stubborn = node(true);
    name(&mut guard, '+', stubborn.id());
    drop(guard.stdin.take());
    let started = Instant::now();
    assert!(guard.wait().unwrap().success());
    assert!(
        started.elapsed() > Duration::from_secs(5),
        "it was given time to stop by itself"
    );
    assert!(!stubborn.wait().unwrap().success());
}

#[test]
fn a_guard_with_nothing_to_do_ends_at_once() {
    let mut guard = guard();
    let mut ended = node(false);
    name(&mut guard, '+', ended.id());
    ended.kill().unwrap();
    ended.wait().unwrap();
    let started = Instant::now();
    drop(guard.stdin.take());
    assert!(guard.wait().unwrap().success());
    assert!(started.elapsed() < Duration::from_secs(3));
}
