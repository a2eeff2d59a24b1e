//! `cargo xtask fuzz [--seconds N] [TARGET]`: the fuzz targets under libFuzzer, with the address sanitizer.
//!
//! They need a nightly compiler and cargo-fuzz; what is missing is named and installed. What the fuzzer finds interesting
//! is kept in the target folder, so that the next run goes on where this one ended; the corpus of the repository stays as it
//! is. The same targets run without coverage, on a stable compiler, in the tests of the crate `fuzz-targets`.

use crate::arguments::Arguments;
use crate::cargo::{self, cargo};
use crate::failure::{Doing, Failure, Outcome};
use crate::{prepare, project};
use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long each target runs, in seconds.
const SECONDS: u64 = 30;
/// How often a target says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// How much of what a failing target printed is shown.
const LINES_SHOWN: usize = 60;

/// Runs the command.
pub(crate) fn run(words: &[String]) -> Outcome {
    let mut arguments = Arguments::new("fuzz", words);
    let seconds = match arguments.value("--seconds")? {
        None => SECONDS,
        Some(text) => seconds(&text)?,
    };
    let name = arguments.name();
    arguments.finish()?;
    let mut targets = project::programs(&project::root().join("fuzz/fuzz_targets"));
    if let Some(name) = name {
        if !targets.contains(&name) {
            let all = targets.join(", ");
            return Err(Failure::usage(format!(
                "no fuzz target `{name}`; there are: {all}"
            )));
        }
        targets = vec![name];
    }
    prepare::run()?;
    prepare_fuzzing()?;
    let mut build = fuzz("build");
    if let [target] = &targets[..] {
        build.arg(target);
    }
    cargo::run(&mut build)?;
    let total = targets.len() as u64 * seconds;
    println!("{} targets, {seconds} s each: {total} s", targets.len());
    let mut failed = Vec::new();
    for target in &targets {
        if let Err(failure) = run_target(target, seconds) {
            println!("{failure}");
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::work(format!(
        "found something in: {}; mend the code, give it a test, and keep the input in fuzz/corpus/TARGET",
        failed.join(", ")
    )))
}

fn seconds(text: &str) -> Outcome<u64> {
    match text.parse() {
        Ok(seconds) if seconds > 0 => Ok(seconds),
        _ => Err(Failure::usage(format!(
            "--seconds {text}: not a time; give a whole number of seconds"
        ))),
    }
}

/// A command of cargo-fuzz.
fn fuzz(command: &str) -> Command {
    cargo(["+nightly", "fuzz", command])
}

/// Finds a nightly compiler and cargo-fuzz, or installs them.
fn prepare_fuzzing() -> Outcome {
    if !succeeds(cargo(["+nightly", "--version"])) {
        println!("fuzz: no nightly compiler here; the sanitizers need one (once per machine)");
        let mut install = Command::new("rustup");
        install.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
        cargo::run(&mut install).map_err(|failure| {
            Failure::work(format!(
                "{failure}; install one by hand: rustup toolchain install nightly (https://rustup.rs)"
            ))
        })?;
    }
    if !cargo::has_subcommand("fuzz") {
        println!("fuzz: cargo-fuzz is not installed; it is compiled now (once per machine)");
        let mut install = cargo(["install", "--locked", "cargo-fuzz"]);
        cargo::run(&mut install).map_err(|failure| {
            Failure::work(format!(
                "{failure}; install it by hand: cargo install --locked cargo-fuzz"
            ))
        })?;
    }
    Ok(())
}

fn succeeds(mut command: Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// What libFuzzer said about its work.
#[derive(Debug, Default, PartialEq, Eq)]
struct Progress {
    executions: u64,
    executions_per_second: u64,
    coverage: u64,
    /// The file with the input of a failure.
    input: Option<String>,
}

impl Progress {
    /// Takes in one line, such as `#2048 pulse  cov: 812 ft: 1500 corp: 80/9Kb lim: 29 exec/s: 1024 rss: 90Mb`.
    fn read(&mut self, line: &str) {
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.input = Some(path.trim().to_string());
        }
        let mut words = line.split_whitespace();
        let number = |word: Option<&str>| word.and_then(|word| word.parse().ok());
        let Some(executions) = number(words.next().and_then(|word| word.strip_prefix('#'))) else {
            return;
        };
        self.executions = executions;
        while let Some(word) = words.next() {
            match word {
                "cov:" => self.coverage = number(words.next()).unwrap_or(self.coverage),
                "exec/s:" => {
                    self.executions_per_second = number(words.next()).unwrap_or(self.executions_per_second);
                }
                _ => {}
            }
        }
    }
}

/// Runs one target. An input that makes it fail is kept by cargo-fuzz.
fn run_target(target: &str, seconds: u64) -> Outcome {
    let kept = project::target().join("fuzz-corpus").join(target);
    fs::create_dir_all(&kept).doing(format_args!("make {}", kept.display()))?;
    let mut command = fuzz("run");
    command
        .arg(target)
        .arg(&kept)
        .arg(PathBuf::from("fuzz/corpus").join(target))
        .args(["--", "-print_final_stats=1"])
        .arg(format!("-max_total_time={seconds}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .doing(format_args!("start fuzz target {target}"))?;
    let mut progress = Progress::default();
    let mut lines = VecDeque::new();
    let (begin, mut said) = (Instant::now(), Instant::now());
    for line in child
        .stderr
        .take()
        .into_iter()
        .flat_map(|stderr| BufReader::new(stderr).split(b'\n'))
    {
        // A pipe that breaks is a pipe that closed.
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line).into_owned();
        progress.read(&line);
        if said.elapsed() >= PROGRESS_INTERVAL {
            said = Instant::now();
            let Progress {
                executions,
                executions_per_second,
                coverage,
                ..
            } = &progress;
            println!(
                "    {target}: {} s, {executions} inputs, {executions_per_second} per second, {coverage} places reached",
                begin.elapsed().as_secs()
            );
        }
        lines.push_back(line);
        if lines.len() > LINES_SHOWN {
            lines.pop_front();
        }
    }
    let status = child
        .wait()
        .doing(format_args!("wait for fuzz target {target}"))?;
    let Progress {
        executions,
        coverage,
        input,
        ..
    } = &progress;
    if status.success() {
        let per_second = executions / begin.elapsed().as_secs().max(1);
        println!("{target}: ok, {executions} inputs, {per_second} per second, {coverage} places reached");
        return Ok(());
    }
    for line in &lines {
        println!("    {line}");
    }
    let replay = match input {
        Some(path) => format!("; repeat it with: cargo +nightly fuzz run {target} {path}"),
        None => String::new(),
    };
    Err(Failure::work(format!(
        "{target}: FAILED after {executions} inputs ({status}){replay}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_of_libfuzzer_is_read() {
        let mut progress = Progress::default();
        progress.read("INFO: Seed: 3012");
        assert_eq!(progress, Progress::default());
        progress.read("#2048\tpulse  cov: 812 ft: 1500 corp: 80/9Kb lim: 29 exec/s: 1024 rss: 90Mb");
        progress.read(
            "#4096\tNEW    cov: 813 ft: 1501 corp: 81/9Kb exec/s: 2048 rss: 91Mb L: 9/9 MS: 1 CrossOver-",
        );
        progress.read("artifact_prefix='a/'; Test unit written to fuzz/artifacts/step/crash-00ff");
        let expected = Progress {
            executions: 4096,
            executions_per_second: 2048,
            coverage: 813,
            input: Some("fuzz/artifacts/step/crash-00ff".to_string()),
        };
        assert_eq!(progress, expected);
    }

    #[test]
    fn a_time_is_a_whole_number_of_seconds() {
        assert_eq!(seconds("60").unwrap(), 60);
        for bad in ["0", "-1", "1m", ""] {
            assert_eq!(seconds(bad).unwrap_err().exit_code(), 2, "{bad}");
        }
    }
}
