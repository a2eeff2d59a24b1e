//! The guard: a second process that outlives this one, however it ends, and stops the nodes it left behind.
//!
//! A signal that kills `cargo xtask` runs no destructor. So the processes it starts are named to a guard over a pipe;
//! when the pipe closes, because we ended or because we were killed, the guard stops whatever is still named.
//! It runs in a process group of its own, so that the terminal's Ctrl-C does not reach it.

use crate::failure::{Doing, Outcome};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// The hidden command under which this program serves as the guard.
pub(crate) const COMMAND: &str = "__guard";

/// How long a node may take after Ctrl-C, which reaches it from the terminal, before the guard asks it to stop.
const BEFORE_TERMINATE: Duration = Duration::from_secs(3);
/// How long a node may take after that, before it is killed.
const BEFORE_KILL: Duration = Duration::from_secs(5);

/// The pipe to the guard.
pub(crate) struct Guard {
    process: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Starts the guard. It keeps `lock` held until every node is gone, so that the next run can wait for that.
    pub(crate) fn start(lock: Option<File>) -> Outcome<Guard> {
        let lock = lock.map_or_else(Stdio::null, Stdio::from);
        let mut process = Command::new(own_program())
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(lock)
            .process_group(0)
            .spawn()
            .doing("start the process that stops the nodes")?;
        let pipe = process.stdin.take();
        Ok(Guard { process, pipe })
    }

    /// From now on the guard stops `process` should we die.
    pub(crate) fn watch(&mut self, process: &Child) -> Outcome {
        self.say('+', process.id())
    }

    /// The process has ended and was waited for; its number may be given to a stranger.
    pub(crate) fn forget(&mut self, process: u32) {
        // A guard that is gone has nothing to forget.
        let _ = self.say('-', process);
    }

    fn say(&mut self, sign: char, process: u32) -> Outcome {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        writeln!(pipe, "{sign}{process}").doing("speak to the process that stops the nodes")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // Nothing to do about a guard that cannot be waited for.
        let _ = self.process.wait();
    }
}

/// Our own program, also when a build has replaced the file meanwhile.
fn own_program() -> PathBuf {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return running.to_path_buf();
    }
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("xtask"))
}

/// The guard's own life.
pub(crate) fn serve() -> Outcome {
    let mut watched = BTreeSet::new();
    for line in std::io::stdin().lock().lines() {
        // A pipe that breaks is a pipe that closed.
        let Ok(line) = line else { break };
        match line.split_at_checked(1) {
            Some(("+", process)) => watched.extend(process.parse::<u32>()),
            Some(("-", process)) => {
                let gone = process.parse::<u32>();
                watched.retain(|process| gone.as_ref() != Ok(process));
            }
            _ => {}
        }
    }
    if !all_gone(&watched, BEFORE_TERMINATE) {
        signal("TERM", &watched);
        if !all_gone(&watched, BEFORE_KILL) {
            signal("KILL", &watched);
            all_gone(&watched, BEFORE_KILL);
        }
    }
    Ok(())
}

/// Waits until none of the processes is there any more; false when that took longer than `patience`.
fn all_gone(processes: &BTreeSet<u32>, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while processes.iter().any(|process| is_alive(*process)) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// True while a process runs; one that ended and waits to be collected is dead.
pub(crate) fn is_alive(process: u32) -> bool {
    if Path::new("/proc/self/stat").exists() {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses and may hold anything.
        return stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'));
    }
    shell_kill("0", process)
}

fn signal(name: &str, processes: &BTreeSet<u32>) {
    for process in processes {
        if is_alive(*process) {
            shell_kill(name, *process);
        }
    }
}

/// `kill` as the shell has it built in: the program of that name is not on every machine.
pub(crate) fn shell_kill(signal: &str, process: u32) -> bool {
    Command::new("sh")
        .arg("-c")
        .arg(format!("kill -{signal} {process}"))
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
    fn a_process_is_alive_until_it_ends() {
        let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(is_alive(sleeper.id()));
        let set = BTreeSet::from([sleeper.id()]);
        assert!(!all_gone(&set, Duration::ZERO));
        signal("TERM", &set);
        assert!(
            all_gone(&set, Duration::from_secs(30)),
            "a process that ended but was not collected counts as gone"
        );
        sleeper.wait().unwrap();
        assert!(!is_alive(sleeper.id()));
    }
}
