//! One case: a store that lives through several crashes, each judged by the next process, and is damaged at last.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::damage::damage;
use crate::files::{copy, fresh};
use crate::judge::{History, Verdict};
use crate::process::{End, Fate, How, Programs};
use crate::random::Random;
use crate::record::{Ended, Event};
use crate::stores::{Kind, Lie};
use crate::writer::Orders;

/// What a case follows from. As text it is four numbers with colons between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaseId {
    /// The seed.
    pub seed: u64,
    /// About how many system calls a process makes that change something: crash points are drawn from these.
    pub calls: u64,
    /// How many processes are started, one after the other, to crash.
    pub points: u64,
    /// How many times the store is damaged afterwards; each time a copy of it.
    pub damages: u64,
}

/// What was seen in one case, or in many.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Processes that were killed.
    pub kills: u64,
    /// Processes that lost power.
    pub power_losses: u64,
    /// Processes that came to their end before that.
    pub closed: u64,
    /// Errors, short writes and delays that were asked for.
    pub faults: u64,
    /// What the next process found after a crash.
    pub after_crash: BTreeMap<Verdict, u64>,
    /// What was found after damage.
    pub after_damage: BTreeMap<Verdict, u64>,
    /// What must not be.
    pub failures: Vec<Failure>,
}

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The case.
    pub case: CaseId,
    /// What happened, and what happened before.
    pub what: String,
}

/// How a case is run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The programs.
    pub programs: Programs,
    /// The store.
    pub kind: Kind,
    /// How it lies.
    pub lie: Lie,
}

/// The directories of a case.
struct Lab {
    store: PathBuf,
    hidden: PathBuf,
    /// The store before one of the processes.
    earlier: PathBuf,
    /// The store as the last crash left it.
    crashed: PathBuf,
    damaged: PathBuf,
}

/// A case under way.
struct Case<'a> {
    id: CaseId,
    setup: &'a Setup,
    lab: Lab,
    random: Random,
    history: History,
    /// What happened to the store so far.
    story: Vec<String>,
    tally: Tally,
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.seed, self.calls, self.points, self.damages)
    }
}

impl FromStr for CaseId {
    type Err = String;

    fn from_str(text: &str) -> Result<CaseId, String> {
        let numbers: Result<Vec<u64>, _> = text.split(':').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[seed, calls, points, damages]) => Ok(CaseId {
                seed,
                calls,
                points,
                damages,
            }),
            _ => Err(format!("{text}: not a case; it is SEED:CALLS:POINTS:DAMAGES")),
        }
    }
}

/// Runs a case in `scratch`, a directory of its own.
///
/// # Errors
/// The machine does not let it: a directory cannot be made, a process not be started.
pub fn run(setup: &Setup, id: CaseId, scratch: &Path) -> io::Result<Tally> {
    let lab = Lab {
        store: scratch.join("store"),
        hidden: scratch.join("hidden"),
        earlier: scratch.join("earlier"),
        crashed: scratch.join("crashed"),
        damaged: scratch.join("damaged"),
    };
    for dir in [&lab.store, &lab.hidden, &lab.earlier] {
        fresh(dir)?;
    }
    let mut case = Case {
        id,
        setup,
        lab,
        random: Random::new(id.seed),
        history: History::default(),
        story: Vec::new(),
        tally: Tally::default(),
    };
    case.run()?;
    Ok(case.tally)
}

impl Case<'_> {
    fn run(&mut self) -> io::Result<()> {
        let keep_at = self.random.below(self.id.points);
        for nth in 0..self.id.points {
            if nth == keep_at {
                copy(&self.lab.store, &self.lab.earlier)?;
            }
            let mut random = self.random.fork();
            let (fate, harsh) = self.fate(&mut random);
            let calls = random.between(5, 80);
            if !self.generation(calls, &fate, harsh, &mut random)? {
                return Ok(());
            }
        }
        copy(&self.lab.store, &self.lab.crashed)?;
        let mut random = self.random.fork();
        let at_crash = self.history.clone();
        if !self.generation(0, &Fate::default(), false, &mut random)? {
            return Ok(());
        }
        for nth in 0..self.id.damages {
            let mut random = self.random.fork();
            let (from, history) = match nth % 2 == 0 {
                true => (self.lab.crashed.clone(), at_crash.clone()),
                false => (self.lab.store.clone(), self.history.clone()),
            };
            self.damage(&from, history, &mut random)?;
        }
        Ok(())
    }

    /// How a process is to die and what shall fail before; and whether that can make the store refuse to go on.
    fn fate(&mut self, random: &mut Random) -> (Fate, bool) {
        let death = match random.chance(30) {
            true => "kill",
            false => "power",
        };
        let at = random.between(1, self.id.calls);
        let mut harsh = false;
        let mut faults = Vec::new();
        if random.chance(20) {
            for _ in 0..random.between(1, 2) {
                let nth = random.between(1, self.id.calls / 2);
                let fault = match random.below(10) {
                    0..2 => "write:NTH:eio",
                    2..4 => "sync:NTH:eio",
                    4 => "write:NTH:enospc",
                    5..8 => "write:NTH:short",
                    8 => "write:NTH:delay=10",
                    _ => "sync:NTH:delay=30",
                };
                harsh |= fault.ends_with("eio") || fault.ends_with("enospc");
                faults.push(fault.replace("NTH", &nth.to_string()));
            }
        }
        self.tally.faults += faults.len() as u64;
        let fate = Fate {
            crash: Some(format!("{death}:{at}:{}", random.next())),
            faults: (!faults.is_empty()).then(|| faults.join(",")),
            lying_syncs: self.setup.lie == Lie::Disk,
        };
        (fate, harsh)
    }

    /// One process on the store; whether the case goes on.
    fn generation(&mut self, calls: u64, fate: &Fate, harsh: bool, random: &mut Random) -> io::Result<bool> {
        let orders = self.orders(&self.lab.store, calls, random);
        let end = self.setup.programs.run(&orders, &self.lab.hidden, fate)?;
        self.count(&end, fate);
        let mut history = std::mem::take(&mut self.history);
        let judged = judge(&mut history, &end, harsh);
        self.history = history;
        let how = match &end.how {
            How::Crashed(at) => format!("{} {at}", fate.crash.as_deref().unwrap_or_default()),
            other => format!("{other:?}"),
        };
        let faults = match end.faults.as_str() {
            "" => "no faults",
            faults => faults,
        };
        match judged {
            Ok(verdict) => {
                *self.tally.after_crash.entry(verdict).or_default() += 1;
                self.story.push(format!(
                    "{verdict:?}, {} events, faults {faults}, then {how}",
                    end.events.len()
                ));
                Ok(true)
            }
            Err(what) => {
                self.story.push(format!("{faults}, {how}"));
                self.fail(what);
                Ok(false)
            }
        }
    }

    fn orders(&self, dir: &Path, calls: u64, random: &mut Random) -> Orders {
        Orders {
            kind: self.setup.kind,
            dir: dir.to_path_buf(),
            seed: random.next(),
            calls,
            suspect: random.chance(50),
            lie: self.setup.lie,
        }
    }

    fn count(&mut self, end: &End, fate: &Fate) {
        match (&end.how, &fate.crash) {
            (How::Crashed(_), Some(crash)) if crash.starts_with("kill") => self.tally.kills += 1,
            (How::Crashed(_), _) => self.tally.power_losses += 1,
            _ => self.tally.closed += 1,
        }
    }

    /// Damages a copy of the store, and has a process look at it.
    fn damage(&mut self, from: &Path, mut history: History, random: &mut Random) -> io::Result<()> {
        copy(from, &self.lab.damaged)?;
        let what = damage(&self.lab.damaged, &self.lab.earlier, random)?;
        let hidden = self.lab.hidden.with_extension("damage");
        fresh(&hidden)?;
        let orders = self.orders(&self.lab.damaged, 5, random);
        let end = self.setup.programs.run(&orders, &hidden, &Fate::default())?;
        let judged = match judge(&mut history, &end, true) {
            Ok(Verdict::Unseen) => Err(String::from("it said nothing")),
            Ok(verdict) => reopen(self.setup, &orders, &hidden, history, verdict)?,
            Err(what) => Err(what),
        };
        match judged {
            Ok(verdict) => *self.tally.after_damage.entry(verdict).or_default() += 1,
            Err(failure) => {
                let state = if from == self.lab.crashed {
                    "crashed"
                } else {
                    "closed"
                };
                self.story.push(format!("{state}, then {what}"));
                self.fail(failure);
                self.story.pop();
            }
        }
        Ok(())
    }

    fn fail(&mut self, what: String) {
        let story = self.story.join("\n    ");
        self.tally.failures.push(Failure {
            case: self.id,
            what: format!("{what}\n    {story}"),
        });
    }
}

/// A store that went on after damage must have what it acknowledged since.
fn reopen(
    setup: &Setup,
    orders: &Orders,
    hidden: &Path,
    mut history: History,
    verdict: Verdict,
) -> io::Result<Result<Verdict, String>> {
    if verdict != Verdict::Whole {
        return Ok(Ok(verdict));
    }
    let orders = Orders {
        calls: 0,
        ..orders.clone()
    };
    let end = setup.programs.run(&orders, hidden, &Fate::default())?;
    let again = judge(&mut history, &end, true);
    Ok(again
        .map(|again| again.max(verdict))
        .map_err(|what| format!("opened a second time: {what}")))
}

/// Judges one process. `harsh`: the store may refuse, and calls may fail.
fn judge(history: &mut History, end: &End, harsh: bool) -> Result<Verdict, String> {
    if let How::Wrong(what) = &end.how {
        return Err(what.clone());
    }
    let verdict = match end.events.first() {
        None => Verdict::Unseen,
        Some(Event::Refused(reason)) if reason.trim().is_empty() => {
            return Err(String::from("it refused without a reason"));
        }
        Some(Event::Refused(_)) if harsh => Verdict::Refused,
        Some(Event::Refused(reason)) => {
            return Err(format!("it refused although nothing is damaged: {reason}"));
        }
        Some(Event::Opened(found)) => history.judge(found)?,
        Some(other) => return Err(format!("it began with {other:?}")),
    };
    if let (Verdict::Suspect, false, Some(Event::Opened(found))) = (verdict, harsh, end.events.first()) {
        let what = history.explain(found);
        return Err(format!(
            "it says that something is missing although nothing is damaged: {what}"
        ));
    }
    if end.how == How::Done && end.events.last() != Some(&Event::Closed) {
        return Err(String::from("it ended without a word"));
    }
    if verdict == Verdict::Whole {
        history.extend(&end.events)?;
    }
    let failed = end.events.iter().find_map(|event| match event {
        Event::End {
            outcome: Ended::Failed(reason),
            ..
        } => Some(reason),
        _ => None,
    });
    match failed {
        Some(reason) if !harsh => Err(format!("a call failed, and no disk did: {reason}")),
        Some(reason) if reason.trim().is_empty() => Err(String::from("a call failed without a reason")),
        _ => Ok(verdict),
    }
}

/// How many calls that change something a process makes, and how many writes did not come by the library: a process on
/// a new store, and one after it.
///
/// # Errors
/// As of [`run`].
pub fn dry_run(setup: &Setup, seed: u64, scratch: &Path) -> io::Result<(u64, u64)> {
    let (store, hidden) = (scratch.join("store"), scratch.join("hidden"));
    fresh(&store)?;
    fresh(&hidden)?;
    let mut most = (0, 0);
    for nth in 0..2 {
        let orders = Orders {
            kind: setup.kind,
            dir: store.clone(),
            seed: seed + nth,
            calls: 40,
            suspect: false,
            lie: Lie::None,
        };
        let end = setup.programs.run(&orders, &hidden, &Fate::default())?;
        if end.how != How::Done || end.events.last() != Some(&Event::Closed) {
            return Err(io::Error::other(format!("a run without faults: {:?}", end.how)));
        }
        let report = fs::read_to_string(hidden.join("report"))?;
        let number = |name: &str| {
            let line = report.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|number| number.trim().parse::<u64>().ok())
                .unwrap_or(0)
        };
        most = (most.0.max(number("calls ")), most.1.max(number("missed ")));
    }
    Ok(most)
}

impl Tally {
    /// Adds what was seen elsewhere.
    pub fn add(&mut self, other: Tally) {
        self.kills += other.kills;
        self.power_losses += other.power_losses;
        self.closed += other.closed;
        self.faults += other.faults;
        for (mine, theirs) in [
            (&mut self.after_crash, other.after_crash),
            (&mut self.after_damage, other.after_damage),
        ] {
            for (verdict, count) in theirs {
                *mine.entry(verdict).or_default() += count;
            }
        }
        self.failures.extend(other.failures);
    }

    /// Processes that crashed where they were to.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.kills + self.power_losses
    }

    /// Times that a store was damaged.
    #[must_use]
    pub fn damages(&self) -> u64 {
        self.after_damage.values().sum()
    }
}
