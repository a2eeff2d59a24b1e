//! Runs one writing process, and sees how it ends.

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::files::remove;
use crate::record::Event;
use crate::writer::Orders;

/// A process that takes longer than this hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);
const SIGKILL: i32 = 9;

/// The programs: this one, and the library that is preloaded into it.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The program whose command `write` takes orders.
    pub torture: PathBuf,
    /// `libpower_loss.so`.
    pub library: PathBuf,
}

/// What the preloaded library is told.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    /// `POWER_LOSS_CRASH`.
    pub crash: Option<String>,
    /// `POWER_LOSS_FAULTS`.
    pub faults: Option<String>,
    /// `POWER_LOSS_LYING_SYNCS`.
    pub lying_syncs: bool,
}

/// What became of a process.
#[derive(Debug)]
pub struct End {
    /// What it said.
    pub events: Vec<Event>,
    /// The faults that were injected, in words.
    pub faults: String,
    /// How it ended.
    pub how: How,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// By itself, in an orderly way.
    Done,
    /// Killed where it was to be; where that was.
    Crashed(String),
    /// In a way that no store may bring about.
    Wrong(String),
}

impl Programs {
    /// Finds the programs beside this one.
    ///
    /// # Errors
    /// The library is not there.
    pub fn find(torture: PathBuf) -> Result<Programs, String> {
        let folder = torture.parent().unwrap_or(Path::new("."));
        let places = [folder.join("deps"), folder.to_path_buf()];
        let library = places
            .iter()
            .map(|place| place.join("libpower_loss.so"))
            .find(|library| library.is_file());
        match library {
            Some(library) => Ok(Programs { torture, library }),
            None => Err(format!(
                "libpower_loss.so is not in {} or below; build it: cargo build -p power-loss",
                folder.display()
            )),
        }
    }

    /// Runs a process with `orders`; `hidden` is for the library.
    ///
    /// # Errors
    /// It cannot be started, or its words make no sense.
    pub fn run(&self, orders: &Orders, hidden: &Path, fate: &Fate) -> io::Result<End> {
        let text = postcard::to_allocvec(orders).map_err(io::Error::other)?;
        let hexadecimal: String = text.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut command = Command::new(&self.torture);
        command
            .args(["write", &hexadecimal])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env("LD_PRELOAD", &self.library)
            .env("POWER_LOSS_ROOT", &orders.dir)
            .env("POWER_LOSS_HIDDEN", hidden)
            .env("RUST_BACKTRACE", "1");
        let variables = [
            ("POWER_LOSS_CRASH", &fate.crash),
            ("POWER_LOSS_FAULTS", &fate.faults),
        ];
        for (name, value) in variables {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        if fate.lying_syncs {
            command.env("POWER_LOSS_LYING_SYNCS", "1");
        }
        let (crash, faults) = (hidden.join("crash"), hidden.join("faults"));
        remove(&crash)?;
        remove(&faults)?;
        let (status, events, errors) = listen(command.spawn()?)?;
        let crash = fs::read_to_string(crash).ok();
        Ok(End {
            events,
            faults: fs::read_to_string(faults).unwrap_or_default(),
            how: judge(status, &errors, crash),
        })
    }
}

/// Hears a process to its end, and kills it if that does not come.
fn listen(mut child: Child) -> io::Result<(Option<ExitStatus>, Vec<Event>, String)> {
    let (mut output, mut errors) = (child.stdout.take(), child.stderr.take());
    let (sender, receiver) = mpsc::channel();
    let (events, errors) = std::thread::scope(|scope| {
        let events = scope.spawn(move || {
            let events = output.as_mut().map(Event::read_all).transpose();
            // The receiver is there until this thread is joined.
            let _ = sender.send(());
            events
        });
        let errors = scope.spawn(move || {
            let mut bytes = Vec::new();
            let read = errors.as_mut().map(|errors| errors.read_to_end(&mut bytes));
            read.transpose()
                .map(|_| String::from_utf8_lossy(&bytes).into_owned())
        });
        let in_time = receiver.recv_timeout(HANGS_AFTER).is_ok();
        if !in_time {
            child.kill()?;
        }
        let join = |what: &str| io::Error::other(format!("the thread that reads {what} panicked"));
        let events = events.join().map_err(|_| join("events"))??.unwrap_or_default();
        let errors = errors.join().map_err(|_| join("errors"))??;
        Ok::<_, io::Error>((in_time.then_some(events), errors))
    })?;
    let status = child.wait()?;
    match events {
        Some(events) => Ok((Some(status), events, errors)),
        None => Ok((None, Vec::new(), errors)),
    }
}

fn judge(status: Option<ExitStatus>, errors: &str, crash: Option<String>) -> How {
    let Some(status) = status else {
        return How::Wrong(format!("it hung for {} s; {errors}", HANGS_AFTER.as_secs()));
    };
    // raft-engine panics when a sync fails; the store on it catches that, and fails.
    let panics = errors.lines().filter(|line| line.contains("panicked at"));
    if panics.into_iter().any(|line| !line.contains("/raft-engine-")) {
        return How::Wrong(format!("it panicked: {errors}"));
    }
    match (status.signal(), status.code(), crash) {
        (Some(SIGKILL), _, Some(crash)) => How::Crashed(crash),
        (None, Some(0), _) => How::Done,
        _ => How::Wrong(format!("it ended with {status}: {errors}")),
    }
}
