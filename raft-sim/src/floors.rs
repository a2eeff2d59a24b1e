//! How much runs must have done to be worth anything: a check that cannot fail is no check, and a group in which nothing
//! happens violates nothing.

use std::fmt;

use crate::plan::FaultKind;
use crate::tally::Tally;

/// With fewer runs than this chance decides about the [floors of a campaign](of_campaign).
pub const CAMPAIGN_RUNS_MIN: u64 = 200;

/// What many runs of the [default swarm](crate::swarm::Swarm::default) do together. Runs as they are reach several times the
/// least and a fraction of the most: whoever misses a floor has lost a kind of event, not had bad luck.
pub const OF_CAMPAIGN: &[Floor] = &[
    least("faults an hour", 1_000.0, |tally| tally.faults_per_hour()),
    least("kinds of faults", FaultKind::ALL.len() as f64, |tally| {
        tally.faults.len() as f64
    }),
    least("acknowledged commands an hour", 2_000.0, |tally| {
        an_hour(tally, tally.acknowledged)
    }),
    least("answered reads an hour", 1_000.0, |tally| {
        an_hour(tally, tally.reads)
    }),
    least("repeated calls an hour", 100.0, |tally| {
        an_hour(tally, tally.retries)
    }),
    least("elections an hour", 300.0, |tally| {
        an_hour(tally, tally.elections)
    }),
    least("crashes an hour", 50.0, |tally| {
        an_hour(tally, tally.faults.get(&FaultKind::Crash).copied().unwrap_or(0))
    }),
    least("snapshots taken an hour", 300.0, |tally| {
        an_hour(tally, tally.snapshots_created)
    }),
    least("snapshots installed an hour", 30.0, |tally| {
        an_hour(tally, tally.snapshots_installed)
    }),
    least("membership changes an hour", 20.0, |tally| {
        an_hour(tally, tally.membership_changes)
    }),
    least("transfers an hour", 20.0, |tally| an_hour(tally, tally.transfers)),
    least("suspects trusted again an hour", 5.0, |tally| {
        an_hour(tally, tally.trust_restored)
    }),
    least("times that a group fell asleep an hour", 100.0, |tally| {
        an_hour(tally, tally.slept)
    }),
    least("messages of another group an hour", 20.0, |tally| {
        an_hour(tally, tally.strangers)
    }),
    least("groups created an hour", 1.0, |tally| {
        an_hour(tally, tally.groups_created)
    }),
    least("groups destroyed an hour", 1.0, |tally| {
        an_hour(tally, tally.groups_destroyed)
    }),
    least("replicas moved to other machines an hour", 1.0, |tally| {
        an_hour(tally, tally.replicas_moved)
    }),
    most("undecided histories, in percent", 1.0, |tally| {
        percent(tally.undecided, tally.groups)
    }),
    most("healed quorums without progress, in percent", 25.0, |tally| {
        percent(tally.unavailable, tally.runs)
    }),
    most("groups lost, in percent", 4.0, |tally| {
        percent(tally.lost, tally.groups)
    }),
];

/// What every single run does, whatever goes wrong in it: it ends with a group that is healed, unless that is
/// [impossible, by proof](Tally::lost). Such a group was lost as early as the plan says, so nothing is asked of it.
pub const OF_RUN: &[Floor] = &[
    least("elections", 1.0, |tally| tally.elections as f64),
    least("calls that a client was answered", 1.0, |tally| {
        (tally.acknowledged + tally.reads) as f64
    }),
];

/// A bound on what runs did.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// What is measured.
    pub name: &'static str,
    /// How much of it there must be.
    pub bound: Bound,
    measure: fn(&Tally) -> f64,
}

/// How much of something there must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// So much or more.
    Least(f64),
    /// So much or less.
    Most(f64),
}

/// A floor that runs did not reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Missed {
    /// What was measured.
    pub name: &'static str,
    /// How much of it there was.
    pub value: f64,
    /// How much of it there should have been.
    pub bound: Bound,
}

impl Floor {
    fn missed(&self, tally: &Tally) -> Option<Missed> {
        let value = (self.measure)(tally);
        let holds = match self.bound {
            Bound::Least(least) => value >= least,
            Bound::Most(most) => value <= most,
        };
        (!holds).then_some(Missed {
            name: self.name,
            value,
            bound: self.bound,
        })
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, bound) = match self.bound {
            Bound::Least(least) => ("least", least),
            Bound::Most(most) => ("most", most),
        };
        write!(
            f,
            "{}: {:.1}, and should be {bound} at {word}",
            self.name, self.value
        )
    }
}

/// What many runs together did too little of, or too much.
#[must_use]
pub fn of_campaign(tally: &Tally) -> Vec<Missed> {
    missed(OF_CAMPAIGN, tally)
}

/// What one run did too little of.
#[must_use]
pub fn of_run(tally: &Tally) -> Vec<Missed> {
    if tally.lost > 0 {
        return Vec::new();
    }
    missed(OF_RUN, tally)
}

fn missed(floors: &[Floor], tally: &Tally) -> Vec<Missed> {
    floors.iter().filter_map(|floor| floor.missed(tally)).collect()
}

const fn least(name: &'static str, least: f64, measure: fn(&Tally) -> f64) -> Floor {
    let bound = Bound::Least(least);
    Floor { name, bound, measure }
}

const fn most(name: &'static str, most: f64, measure: fn(&Tally) -> f64) -> Floor {
    let bound = Bound::Most(most);
    Floor { name, bound, measure }
}

fn an_hour(tally: &Tally, count: u64) -> f64 {
    let hours = tally.simulated.as_secs_f64() / 3_600.0;
    if hours > 0.0 { count as f64 / hours } else { 0.0 }
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs that did nothing miss every floor but those on what should be rare.
    #[test]
    fn nothing_is_too_little() {
        let nothing = Tally {
            runs: 1_000,
            ..Tally::default()
        };
        let least = |floor: &&Floor| matches!(floor.bound, Bound::Least(_));
        let names = |floors: &[Floor]| -> Vec<&str> {
            let least = floors.iter().filter(least);
            least.map(|floor| floor.name).collect()
        };
        let missed = |all: Vec<Missed>| -> Vec<&str> { all.iter().map(|missed| missed.name).collect() };
        assert_eq!(missed(of_campaign(&nothing)), names(OF_CAMPAIGN));
        assert_eq!(missed(of_run(&nothing)), names(OF_RUN));
    }

    /// A group that two disks lost before it answered anybody was not idle.
    #[test]
    fn a_lost_group_owes_no_answers() {
        let run = Tally {
            runs: 1,
            elections: 9,
            ..Tally::default()
        };
        assert_eq!(of_run(&run).len(), 1, "it should have answered");
        assert!(of_run(&Tally { lost: 1, ..run }).is_empty());
    }

    #[test]
    fn too_much_is_said_with_the_bound() {
        let tally = Tally {
            runs: 100,
            groups: 100,
            undecided: 2,
            ..Tally::default()
        };
        let missed = of_campaign(&tally);
        let text = missed.last().map(ToString::to_string);
        assert_eq!(
            text.as_deref(),
            Some("undecided histories, in percent: 2.0, and should be 1 at most")
        );
    }
}
