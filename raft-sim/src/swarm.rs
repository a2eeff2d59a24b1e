//! Which faults a run is given: a mix of its own for every seed, so that some runs reach states which the faults of the
//! others would never let them reach (Groce et al., "Swarm Testing", 2012).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::plan::{
    Direction, DiskDamage, Fault, FaultKind, NetworkFaults, Plan, PlannedFault, Settings, Target,
};
use crate::random::Random;

/// How many of a hundred runs have several groups, if nothing else is said.
const MANY_GROUPS_PERCENT: u32 = 5;

/// How large a run is, as far as that was said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    /// How many groups it begins with.
    pub(crate) groups: Option<u64>,
    /// How many voters each begins with.
    pub(crate) voters: Option<u64>,
}

/// What may go wrong. Each run draws from it.
#[derive(Clone, Debug)]
pub struct Swarm {
    kinds: BTreeSet<FaultKind>,
    network: bool,
}

impl Default for Swarm {
    /// Everything.
    fn default() -> Swarm {
        Swarm {
            kinds: FaultKind::ALL.into_iter().collect(),
            network: true,
        }
    }
}

impl Swarm {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Swarm {
        Swarm {
            kinds: BTreeSet::new(),
            network: false,
        }
    }

    /// This does not happen.
    #[must_use]
    pub fn without(mut self, kind: FaultKind) -> Swarm {
        self.kinds.remove(&kind);
        self
    }

    /// This happens, too.
    #[must_use]
    pub fn with(mut self, kind: FaultKind) -> Swarm {
        self.kinds.insert(kind);
        self
    }

    /// Messages are neither lost nor doubled nor overtaken.
    #[must_use]
    pub fn reliable_network(mut self) -> Swarm {
        self.network = false;
        self
    }

    /// Draws one run.
    #[must_use]
    pub(crate) fn draw(&self, seed: u64, size: Size, duration: Duration) -> Plan {
        let mut random = Random::fork(seed, "plan");
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let voters = size.voters.unwrap_or_else(|| {
            if random.percent(60) {
                3
            } else {
                1 + random.below(5)
            }
        });
        let settings = draw_settings(seed, &mut random);
        let network = self.draw_network(seed, &settings, &mut random);
        let mut faults = self.draw_faults(&mut random, &settings, duration_ms);
        let mut random = Random::fork(seed, "groups");
        let groups = size.groups.unwrap_or_else(|| self.draw_groups(&mut random));
        if groups > 1 && self.kinds.contains(&FaultKind::Groups) {
            faults.extend(draw_group_faults(&mut random, duration_ms));
            faults.sort_by_key(|planned| planned.at_ms);
        }
        Plan {
            seed,
            groups,
            voters,
            duration_ms,
            settings,
            network,
            faults,
        }
    }

    /// Most runs have one group, in which more happens in the same time.
    fn draw_groups(&self, random: &mut Random) -> u64 {
        if self.kinds.contains(&FaultKind::Groups) && random.percent(MANY_GROUPS_PERCENT) {
            pick(random, &[2, 3, 8])
        } else {
            1
        }
    }

    fn draw_network(&self, seed: u64, settings: &Settings, random: &mut Random) -> NetworkFaults {
        // The broadcast time is much shorter than the election timeout (paper §5.6), else split votes never end (I27).
        let delay_us =
            pick(random, &[50, 200, 1_000, 20_000]).min(settings.election_timeout_ms * 1_000 / 100);
        let calm = NetworkFaults {
            delay_us,
            jitter_us: delay_us / 4,
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder: false,
            ordered_behind_us: None,
            capacity: 4_096,
            strangers_ppm: 0,
        };
        if !self.network {
            return calm;
        }
        // Lanes are no fault: a network that is well may have them, too.
        let calm = NetworkFaults {
            ordered_behind_us: pick(
                &mut Random::fork(seed, "lanes"),
                &[None, None, Some(0), Some(1_000), Some(20_000), Some(200_000)],
            ),
            ..calm
        };
        if random.percent(15) {
            return calm;
        }
        NetworkFaults {
            jitter_us: pick(random, &[100, 2_000, 20_000, 100_000]),
            loss_ppm: pick(random, &[0, 1_000, 10_000, 50_000, 300_000]),
            duplicate_ppm: pick(random, &[0, 1_000, 20_000, 100_000, 500_000]),
            reorder: random.percent(50),
            capacity: pick(random, &[8, 64, 4_096]),
            strangers_ppm: pick(&mut Random::fork(seed, "strangers"), &[0, 300, 3_000]),
            ..calm
        }
    }

    /// A subset of the kinds, each with a weight of its own, and as many faults as the weights are drawn for.
    fn draw_faults(&self, random: &mut Random, settings: &Settings, duration_ms: u64) -> Vec<PlannedFault> {
        let mut weights: Vec<(FaultKind, u64)> = Vec::new();
        // What becomes of groups is drawn where there are several.
        let kinds = self.kinds.iter().filter(|kind| **kind != FaultKind::Groups);
        for kind in kinds {
            // A lease holds while the clocks are as right as replicas were told.
            let breaks_leases = *kind == FaultKind::Clock && settings.leases;
            if random.percent(60) && !breaks_leases {
                weights.push((*kind, 1 + random.below(8)));
            }
        }
        let total: u64 = weights.iter().map(|(_, weight)| weight).sum();
        if total == 0 {
            return Vec::new();
        }
        // From one in three seconds to two in one second.
        let per_minute = pick(random, &[20, 30, 45, 60, 120]);
        let count = per_minute * duration_ms / 60_000;
        let mut faults: Vec<PlannedFault> = (0..count)
            .map(|_| {
                let mut draw = random.below(total);
                let mut kind = weights[0].0;
                for (candidate, weight) in &weights {
                    if draw < *weight {
                        kind = *candidate;
                        break;
                    }
                    draw -= weight;
                }
                // The group is left in peace for the first moments: that it begins at all is worth a check, too.
                let at_ms = if random.percent(95) {
                    random.within(1_500.min(duration_ms / 2)..duration_ms)
                } else {
                    random.below(duration_ms)
                };
                let fault = draw_fault(random, kind);
                PlannedFault { at_ms, fault }
            })
            .collect();
        faults.sort_by_key(|planned| planned.at_ms);
        faults
    }
}

fn pick<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[random.position(choices.len())]
}

fn draw_settings(seed: u64, random: &mut Random) -> Settings {
    let mut quiescence = Random::fork(seed, "quiescence");
    let election_timeout_ms = pick(random, &[300, 1_000, 1_000, 2_000]);
    Settings {
        election_timeout_ms,
        election_timeout_max_ms: pick(
            &mut Random::fork(seed, "patience"),
            &[None, None, Some(2), Some(5)],
        )
        .map(|times: u64| election_timeout_ms * times),
        quiesce_after_ms: pick(&mut quiescence, &[None, None, None, Some(1), Some(50), Some(300)]),
        other_groups_sleep: quiescence.percent(50),
        heartbeat_interval_ms: election_timeout_ms / pick(random, &[3, 5, 10]),
        leases: random.percent(35),
        clock_error_ppm: pick(random, &[0, 500, 50_000, 200_000]),
        priorities: random.percent(25),
        snapshot_entries: pick(random, &[10, 20, 50, 400]),
        retained_entries: pick(random, &[0, 4, 20]),
        append_bytes_max: pick(random, &[100, 400, 100_000]),
        inflight_messages_max: pick(random, &[1, 3, 64]),
        tail_bytes_max: pick(random, &[200, 1_000, 1_000_000]),
        durable_state: random.percent(50),
        sync_us: pick(random, &[100, 1_000, 5_000, 30_000]),
        apply_us: pick(random, &[10, 1_000, 10_000]),
        clients: pick(random, &[2, 4, 6]),
        session_percent: pick(random, &[0, 50, 100]),
        think_ms: pick(random, &[80, 150, 300]),
    }
}

fn draw_fault(random: &mut Random, kind: FaultKind) -> Fault {
    let target = draw_target(random);
    let ms = random.exponential(1_200);
    let down_ms = random.exponential(1_500);
    match kind {
        FaultKind::Crash if random.percent(15) => Fault::CrashAll { down_ms },
        FaultKind::Crash => Fault::Crash { target, down_ms },
        FaultKind::Pause => Fault::Pause { target, ms },
        FaultKind::Partition => draw_partition(random, target, 2 * ms),
        FaultKind::Clog => Fault::Clog {
            from: target,
            to: draw_target(random),
            ms,
        },
        FaultKind::DiskStall => Fault::DiskStall { target, ms },
        FaultKind::ApplyStall => Fault::ApplyStall { target, ms },
        FaultKind::DiskError if random.percent(30) => Fault::DiskFull { target, ms },
        FaultKind::DiskError => Fault::DiskError { target, down_ms },
        FaultKind::Damage => Fault::Damage {
            target,
            damage: pick(
                random,
                &[
                    DiskDamage::BitRot,
                    DiskDamage::SnapshotRot,
                    DiskDamage::LostWrite,
                    DiskDamage::Misdirected,
                    DiskDamage::CutTail,
                    DiskDamage::StaleSector,
                    DiskDamage::Wipe,
                ],
            ),
            place: random.next_u64(),
            down_ms,
        },
        FaultKind::Clock if random.percent(50) => Fault::ClockStep { target, ms },
        FaultKind::Clock => Fault::ClockRate {
            target,
            rate_ppm: pick(random, &[0, 100_000, 500_000, 2_000_000, 5_000_000]),
            ms,
        },
        FaultKind::Campaign => Fault::Campaign { target },
        FaultKind::Membership => Fault::ChangeMembers {
            // Nobody else can do it; somebody else passes it on.
            target: if random.percent(80) {
                Target::Leader
            } else {
                target
            },
            draw: random.next_u64(),
        },
        FaultKind::Transfer => Fault::Transfer {
            target: Target::Leader,
            to: Target::Node(random.below(64)),
        },
        FaultKind::Groups => draw_group_fault(random),
    }
}

/// What becomes of groups in a run that has several.
fn draw_group_faults(random: &mut Random, duration_ms: u64) -> Vec<PlannedFault> {
    let per_minute = pick(random, &[6, 12, 30]);
    let count = per_minute * duration_ms / 60_000;
    let mut faults = Vec::new();
    for _ in 0..count {
        let at_ms = random.below(duration_ms);
        let fault = draw_group_fault(random);
        faults.push(PlannedFault { at_ms, fault });
    }
    faults
}

fn draw_group_fault(random: &mut Random) -> Fault {
    let kind = random.below(4);
    let draw = random.next_u64();
    match kind {
        0 => Fault::CreateGroup { draw },
        1 => Fault::DestroyGroup { draw },
        _ => Fault::MoveReplica {
            target: Target::Leader,
            draw,
        },
    }
}

fn draw_target(random: &mut Random) -> Target {
    if random.percent(35) {
        Target::Leader
    } else {
        Target::Node(random.below(64))
    }
}

fn draw_partition(random: &mut Random, target: Target, ms: u64) -> Fault {
    let direction = pick(
        random,
        &[Direction::Out, Direction::In, Direction::Both, Direction::Both],
    );
    match random.below(3) {
        0 => Fault::Isolate {
            target,
            direction,
            ms,
        },
        1 => Fault::CutLink {
            from: target,
            to: draw_target(random),
            direction,
            ms,
        },
        _ => Fault::Partition {
            side: random.below(512),
            ms,
        },
    }
}
