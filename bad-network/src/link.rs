//! One direction between two hosts: what becomes of each packet, and when. Pure: the time is an argument.

use std::time::{Duration, Instant};

use crate::random::Random;

/// How many bytes may be under way on one link; what comes on top is lost.
const HELD_BYTES_MAX: usize = 64 << 20;

/// How bad one direction between two hosts is. The default is a perfect link.
///
/// The shares go from 0, never, to 1, always; each is drawn for itself.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkSettings {
    /// How long every packet is under way, to the millisecond, which is what the timers can do.
    pub delay: Duration,
    /// Up to so much more, evenly distributed. Packets keep their order.
    pub jitter: Duration,
    /// Which share is lost.
    pub loss: f64,
    /// Which share arrives twice.
    pub duplicate: f64,
    /// Which share is held back for `reorder_delay`, so that later packets overtake it.
    pub reorder: f64,
    /// For how long those are held back. Default: 5 ms.
    pub reorder_delay: Duration,
    /// Which share has one bit wrong.
    pub corrupt: f64,
    /// How many bytes leave per second. Default: as many as come.
    pub bytes_per_second: Option<u64>,
    /// How many bytes may wait to leave; what comes on top is lost, as in a router. Default: 256 KiB.
    pub queue_bytes: u64,
    /// Nothing arrives, not even what is under way.
    pub cut: bool,
}

impl Default for LinkSettings {
    fn default() -> LinkSettings {
        LinkSettings {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_delay: Duration::from_millis(5),
            corrupt: 0.0,
            bytes_per_second: None,
            queue_bytes: 256 << 10,
            cut: false,
        }
    }
}

/// What became of the packets of a link so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Packets that were sent into it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that left it, repetitions included.
    pub delivered: u64,
    /// Packets that were lost by chance.
    pub lost: u64,
    /// Packets that were lost because the link was cut.
    pub cut: u64,
    /// Packets that were lost because too many waited.
    pub overflowed: u64,
    /// Packets that arrive twice.
    pub duplicated: u64,
    /// Packets that were held back.
    pub reordered: u64,
    /// Packets with a wrong bit.
    pub corrupted: u64,
}

impl std::ops::Add for LinkCounts {
    type Output = LinkCounts;

    fn add(self, other: LinkCounts) -> LinkCounts {
        LinkCounts {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            delivered: self.delivered + other.delivered,
            lost: self.lost + other.lost,
            cut: self.cut + other.cut,
            overflowed: self.overflowed + other.overflowed,
            duplicated: self.duplicated + other.duplicated,
            reordered: self.reordered + other.reordered,
            corrupted: self.corrupted + other.corrupted,
        }
    }
}

/// What becomes of one packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// When it arrives, once for each time that it does.
    pub(crate) arrivals: Vec<Instant>,
    /// Which of its bits is wrong; counted on from the first again after the last.
    pub(crate) wrong_bit: Option<u64>,
}

/// One direction between two hosts.
///
/// Invariant: at most `HELD_BYTES_MAX` bytes are under way.
#[derive(Debug)]
pub(crate) struct Link {
    settings: LinkSettings,
    random: Random,
    counts: LinkCounts,
    /// When the last packet that waits to leave will have left.
    free_at: Option<Instant>,
    /// When the last packet arrives that keeps the order.
    last_arrival: Option<Instant>,
    held_bytes: usize,
}

impl Link {
    pub(crate) fn new(settings: LinkSettings, random: Random) -> Link {
        Link {
            settings,
            random,
            counts: LinkCounts::default(),
            free_at: None,
            last_arrival: None,
            held_bytes: 0,
        }
    }

    pub(crate) fn settings_mut(&mut self) -> &mut LinkSettings {
        &mut self.settings
    }

    pub(crate) fn counts(&self) -> LinkCounts {
        self.counts
    }

    /// Takes a packet of `length` bytes. Every packet draws the same number of times, whatever the settings are.
    pub(crate) fn admit(&mut self, now: Instant, length: usize) -> Fate {
        let [lost, duplicated, reordered, corrupted, jitter] = [(); 5].map(|()| self.random.share());
        let wrong_bit = self.random.next_u64();
        self.counts.packets += 1;
        self.counts.bytes += length as u64;
        if self.settings.cut {
            self.counts.cut += 1;
            return Fate::default();
        }
        if lost < self.settings.loss {
            self.counts.lost += 1;
            return Fate::default();
        }
        let copies = 1 + usize::from(duplicated < self.settings.duplicate);
        let Some(leaves) = self.leave(now, length) else {
            return Fate::default();
        };
        if self.held_bytes + copies * length > HELD_BYTES_MAX {
            self.counts.overflowed += 1;
            return Fate::default();
        }
        self.held_bytes += copies * length;
        self.counts.duplicated += copies as u64 - 1;
        let mut arrival = leaves + self.settings.delay + self.settings.jitter.mul_f64(jitter);
        if reordered < self.settings.reorder {
            self.counts.reordered += 1;
            arrival += self.settings.reorder_delay;
        } else {
            arrival = self.last_arrival.map_or(arrival, |last| last.max(arrival));
            self.last_arrival = Some(arrival);
        }
        let is_corrupted = corrupted < self.settings.corrupt;
        self.counts.corrupted += u64::from(is_corrupted);
        Fate {
            arrivals: vec![arrival; copies],
            wrong_bit: is_corrupted.then_some(wrong_bit),
        }
    }

    /// When a packet that comes now has left, behind those that wait; none if too much waits already.
    fn leave(&mut self, now: Instant, length: usize) -> Option<Instant> {
        let Some(rate) = self.settings.bytes_per_second else {
            return Some(now);
        };
        let begin = self.free_at.map_or(now, |free_at| free_at.max(now));
        let rate = rate.max(1) as f64;
        let waiting = (begin - now).as_secs_f64() * rate;
        if waiting + length as f64 > self.settings.queue_bytes as f64 {
            self.counts.overflowed += 1;
            return None;
        }
        let end = begin + Duration::from_secs_f64(length as f64 / rate);
        self.free_at = Some(end);
        Some(end)
    }

    /// Lets go of one copy of a packet that arrives; false if the link was cut meanwhile, so that it is lost after all.
    pub(crate) fn release(&mut self, length: usize) -> bool {
        self.held_bytes -= length;
        let arrives = !self.settings.cut;
        self.counts.delivered += u64::from(arrives);
        self.counts.cut += u64::from(!arrives);
        arrives
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn link(settings: LinkSettings) -> Link {
        Link::new(settings, Random::fork(1, [2, 3]))
    }

    fn fates(link: &mut Link, now: Instant, count: usize) -> Vec<Fate> {
        (0..count).map(|_| link.admit(now, 100)).collect()
    }

    fn within(count: u64, of: u64, share: f64) {
        // Six standard deviations: one seed in five hundred million is outside.
        let (mean, deviation) = (of as f64 * share, (of as f64 * share * (1.0 - share)).sqrt());
        assert!(
            (count as f64 - mean).abs() <= 6.0 * deviation,
            "{count} of {of}, expected {mean}"
        );
    }

    #[test]
    fn shares_are_kept_over_many_packets() {
        let mut link = link(LinkSettings {
            loss: 0.05,
            duplicate: 0.1,
            reorder: 0.2,
            corrupt: 0.3,
            ..LinkSettings::default()
        });
        fates(&mut link, Instant::now(), 100_000);
        let counts = link.counts();
        let arrive = counts.packets - counts.lost;
        within(counts.lost, counts.packets, 0.05);
        within(counts.duplicated, arrive, 0.1);
        within(counts.reordered, arrive, 0.2);
        within(counts.corrupted, arrive, 0.3);
    }

    #[test]
    fn the_same_seed_gives_the_same_fates_and_another_link_others() {
        let now = Instant::now();
        let settings = LinkSettings {
            loss: 0.5,
            jitter: 10 * MS,
            corrupt: 0.5,
            ..LinkSettings::default()
        };
        let run = |to| {
            fates(
                &mut Link::new(settings.clone(), Random::fork(9, [1, to])),
                now,
                64,
            )
        };
        assert_eq!(run(2), run(2));
        assert_ne!(run(2), run(3));
    }

    /// What is drawn for one packet does not depend on what the settings make of it.
    #[test]
    fn one_setting_does_not_change_what_the_others_draw() {
        let now = Instant::now();
        let lost = |duplicate| {
            let mut link = link(LinkSettings {
                loss: 0.5,
                duplicate,
                ..LinkSettings::default()
            });
            let fates = fates(&mut link, now, 64);
            fates
                .iter()
                .map(|fate| fate.arrivals.is_empty())
                .collect::<Vec<_>>()
        };
        assert_eq!(lost(0.0), lost(1.0));
    }

    #[test]
    fn jitter_keeps_the_order_and_only_who_is_held_back_is_overtaken() {
        let now = Instant::now();
        let mut link = link(LinkSettings {
            delay: 20 * MS,
            jitter: 10 * MS,
            ..LinkSettings::default()
        });
        let steady = fates(&mut link, now, 100);
        let arrivals: Vec<Instant> = steady.iter().map(|fate| fate.arrivals[0]).collect();
        assert!(arrivals.is_sorted());
        assert!(
            arrivals
                .iter()
                .all(|at| (now + 20 * MS..=now + 30 * MS).contains(at))
        );
        link.settings_mut().reorder = 1.0;
        let held_back = link.admit(now, 100).arrivals[0];
        link.settings_mut().reorder = 0.0;
        link.settings_mut().reorder_delay = 50 * MS;
        assert!(held_back >= now + 25 * MS);
        // The order of the others is not bent by it.
        assert!(link.admit(now, 100).arrivals[0] <= now + 30 * MS);
    }

    #[test]
    fn a_narrow_link_spaces_packets_and_loses_what_its_queue_does_not_hold() {
        let now = Instant::now();
        let mut link = link(LinkSettings {
            bytes_per_second: Some(100_000),
            queue_bytes: 1_000,
            ..LinkSettings::default()
        });
        let fates = fates(&mut link, now, 12);
        for (position, fate) in fates.iter().take(10).enumerate() {
            assert_eq!(fate.arrivals, [now + MS * (position as u32 + 1)]);
        }
        assert_eq!((fates[10].arrivals.len(), link.counts().overflowed), (0, 2));
        // Ten milliseconds later everything has left.
        assert_eq!(link.admit(now + 10 * MS, 100).arrivals, [now + 11 * MS]);
    }

    #[test]
    fn a_cut_loses_what_is_under_way_and_everything_behind_it() {
        let now = Instant::now();
        let mut link = link(LinkSettings::default());
        assert_eq!(link.admit(now, 100).arrivals.len(), 1);
        link.settings_mut().cut = true;
        assert!(!link.release(100));
        assert!(link.admit(now, 100).arrivals.is_empty());
        link.settings_mut().cut = false;
        assert_eq!(link.admit(now, 100).arrivals.len(), 1);
        assert!(link.release(100));
        let counts = link.counts();
        assert_eq!((counts.cut, counts.delivered), (2, 1));
    }

    #[test]
    fn no_more_than_the_limit_is_under_way() {
        let now = Instant::now();
        let mut link = link(LinkSettings {
            delay: Duration::from_secs(1),
            ..LinkSettings::default()
        });
        let length = 1 << 20;
        let admitted = (0..100).filter(|_| !link.admit(now, length).arrivals.is_empty());
        assert_eq!(admitted.count(), HELD_BYTES_MAX / length);
        assert!(link.release(length));
        assert_eq!(link.admit(now, length).arrivals.len(), 1);
    }
}
