//! `store-torture`: crashes and damages a store many times, and prints what was found. `cargo xtask store-torture` runs it.
#![allow(
    clippy::print_stdout,
    reason = "talking to the person at the terminal, and to the process that listens, is what this program is for"
)]

use std::io;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use store_torture::campaign::{self, Campaign};
use store_torture::case::{self, CaseId, Failure, Setup, Tally};
use store_torture::process::Programs;
use store_torture::stores::{Kind, Lie};
use store_torture::writer;

/// Kills processes that write to a store, takes their power, damages their files; nothing acknowledged may go silently.
#[derive(Debug, Parser)]
#[command(name = "store-torture", args_conflicts_with_subcommands = true)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What the processes that write are started with.
    #[command(hide = true)]
    Write { orders: String },
}

#[derive(Debug, Args)]
struct Run {
    /// Crash points: a process is killed, or loses power, at so many system calls
    #[arg(long, default_value_t = 20_000)]
    points: u64,
    /// Damages: a bit flipped, a range zeroed, a file cut, deleted, swapped or stale
    #[arg(long, default_value_t = 5_000)]
    damages: u64,
    /// What all cases follow from [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    /// How many cases run at once
    #[arg(long, default_value = "2")]
    jobs: NonZeroUsize,
    /// The store
    #[arg(long, value_enum, default_value_t)]
    store: Kind,
    /// Make the store lie, to see that it is noticed
    #[arg(long, value_enum, default_value_t)]
    lie: Lie,
    /// Run one case again, as a failure names it
    #[arg(long, value_name = "SEED:CALLS:POINTS:DAMAGES")]
    case: Option<CaseId>,
    /// Stop after so many failures
    #[arg(long, default_value_t = 20)]
    failures: usize,
}

/// libc writes the names of RocksDB's two pools of threads by itself, into files of the kernel.
const WRITES_OF_LIBC: u64 = 2;
/// How often the progress is said.
const PROGRESS_EVERY_S: u64 = 10;

fn main() -> ExitCode {
    let line = Line::parse();
    let done = match line.command {
        Some(Command::Write { orders }) => write(&orders).map(|()| true),
        None => run(&line.run),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(orders: &str) -> io::Result<()> {
    let bytes: Option<Vec<u8>> = (0..orders.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(orders.get(at..at + 2)?, 16).ok())
        .collect();
    let orders = postcard::from_bytes(&bytes.unwrap_or_default()).map_err(io::Error::other)?;
    writer::run(&orders, &mut io::stdout().lock())
}

fn run(run: &Run) -> io::Result<bool> {
    let setup = Setup {
        programs: Programs::find(std::env::current_exe()?).map_err(io::Error::other)?,
        kind: run.store,
        lie: run.lie,
    };
    let started = Instant::now();
    let tally = match run.case {
        Some(id) => {
            let tally = campaign::one(&setup, id)?;
            tally.failures.iter().for_each(|failure| show(failure, run));
            tally
        }
        None => all(run, &setup)?,
    };
    print(&tally, started.elapsed());
    Ok(tally.failures.is_empty())
}

fn all(run: &Run, setup: &Setup) -> io::Result<Tally> {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = run.seed.unwrap_or_else(|| clock.unwrap_or_default().as_secs());
    let campaign = Campaign {
        points: run.points,
        damages: run.damages,
        seed,
        jobs: run.jobs,
        failures_max: run.failures,
    };
    let dir = tempfile::Builder::new()
        .prefix("store-torture-")
        .tempdir_in(campaign::scratch())?;
    let (calls, missed) = case::dry_run(setup, seed, dir.path())?;
    println!(
        "store-torture: {} points, {} damages, seed {seed}, {:?} in {}; {calls} calls of a process change something",
        run.points,
        run.damages,
        run.store,
        campaign::scratch().display()
    );
    if missed > WRITES_OF_LIBC {
        return Err(io::Error::other(format!(
            "{missed} writes of a process do not go through libc, where power is lost: nothing could be said of them"
        )));
    }
    let (said, shown) = (AtomicU64::new(0), AtomicUsize::new(0));
    campaign.run(setup, calls, |tally, elapsed| {
        let failures = tally.failures.len();
        for failure in &tally.failures[shown.swap(failures, Ordering::Relaxed)..] {
            show(failure, run);
        }
        let now = elapsed.as_secs() / PROGRESS_EVERY_S;
        if said.fetch_max(now, Ordering::Relaxed) < now {
            println!(
                "{:>5} s: {} points, {} damages, {} failures",
                elapsed.as_secs(),
                tally.points(),
                tally.damages(),
                failures
            );
        }
    })
}

fn show(failure: &Failure, run: &Run) {
    println!("\nFAILURE {}", failure.what);
    let lie = match run.lie {
        Lie::None => String::new(),
        lie => format!(" --lie {}", name(&lie)),
    };
    println!(
        "  again: cargo xtask store-torture --store {}{lie} --case {}\n",
        name(&run.store),
        failure.case
    );
}

fn print(tally: &Tally, elapsed: Duration) {
    println!();
    println!(
        "crash points: {} ({} kills, {} losses of power); {} processes ended before theirs; {} faults of system calls",
        tally.points(),
        tally.kills,
        tally.power_losses,
        tally.closed,
        tally.faults
    );
    println!("  found after a crash:  {}", counts(&tally.after_crash));
    println!("damages: {}", tally.damages());
    println!("  found after a damage: {}", counts(&tally.after_damage));
    println!(
        "failures (lost silently, panicked, hung, or refused for no reason): {}",
        tally.failures.len()
    );
    println!("{:.1} s", elapsed.as_secs_f64());
}

fn name(value: &impl clap::ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn counts(verdicts: &std::collections::BTreeMap<store_torture::judge::Verdict, u64>) -> String {
    let texts: Vec<String> = verdicts
        .iter()
        .map(|(verdict, count)| format!("{count} {}", format!("{verdict:?}").to_lowercase()))
        .collect();
    texts.join(", ")
}
