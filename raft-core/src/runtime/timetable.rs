//! When a worker has to look at which replica: one timer for all of them.

use std::collections::BTreeSet;
use std::pin::Pin;

use tokio::time::{Sleep, sleep_until};

use super::inbox::Inbox;
use super::shared::Clock;
use crate::types::{GroupId, Time};

/// The deadline of what has none.
pub(super) const NEVER: Time = Time::from_nanos(u64::MAX);

/// The alarms of all replicas of a worker, at most one for each; none for a replica without a deadline.
///
/// Deadlines mostly move away, as with every heartbeat that is heard, and an alarm stays where it is until it rings: only
/// then is it set again. So most steps change nothing here.
#[derive(Debug, Default)]
pub(super) struct Timetable {
    alarms: BTreeSet<(Time, GroupId)>,
}

impl Timetable {
    /// Makes sure that `alarm` of `group` rings no later than `deadline`.
    pub(super) fn set(&mut self, group: GroupId, alarm: &mut Time, deadline: Time) {
        if deadline < *alarm {
            if *alarm < NEVER {
                self.alarms.remove(&(*alarm, group));
            }
            self.alarms.insert((deadline, group));
            *alarm = deadline;
        }
    }

    /// Forgets the alarm of `group`.
    pub(super) fn cancel(&mut self, group: GroupId, alarm: Time) {
        self.alarms.remove(&(alarm, group));
    }

    /// When the next alarm rings.
    pub(super) fn next(&self) -> Time {
        self.alarms.first().map_or(NEVER, |(time, _)| *time)
    }

    /// A group whose alarm rang by `now`. It has none any more.
    pub(super) fn pop(&mut self, now: Time) -> Option<GroupId> {
        let due = self.alarms.first().filter(|(time, _)| *time <= now)?;
        let group = due.1;
        self.alarms.pop_first();
        Some(group)
    }
}

/// One timer for all alarms, set again only when it has fired too early, or an alarm has come nearer.
pub(super) struct Timer {
    clock: Clock,
    set_for: Time,
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    pub(super) fn new(clock: Clock) -> Timer {
        Timer {
            clock,
            set_for: Time::ZERO,
            sleep: Box::pin(sleep_until(clock.origin())),
        }
    }

    /// Waits until something arrives, or at most until `deadline`.
    pub(super) async fn wait(&mut self, inbox: &Inbox, deadline: Time) {
        let instant = match deadline {
            NEVER => None,
            deadline => self.clock.instant(deadline),
        };
        let Some(instant) = instant else {
            return inbox.wait().await;
        };
        if deadline < self.set_for || self.sleep.is_elapsed() {
            self.set_for = deadline;
            self.sleep.as_mut().reset(instant);
        }
        tokio::select! {
            () = inbox.wait() => {}
            () = self.sleep.as_mut() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A deadline that moves away costs nothing, one that comes nearer is kept, and one that is never is not there.
    #[test]
    fn an_alarm_rings_when_it_must() {
        let at = Time::from_millis;
        let (mut table, mut first, mut second) = (Timetable::default(), NEVER, NEVER);
        table.set(GroupId(1), &mut first, NEVER);
        assert_eq!(table.next(), NEVER);
        table.set(GroupId(1), &mut first, at(10));
        table.set(GroupId(1), &mut first, at(30));
        assert_eq!(table.next(), at(10), "it moved away, and the alarm stayed");
        table.set(GroupId(2), &mut second, at(20));
        table.set(GroupId(2), &mut second, at(5));
        assert_eq!(table.next(), at(5));
        assert_eq!(table.pop(at(4)), None);
        assert_eq!(table.pop(at(10)), Some(GroupId(2)));
        assert_eq!(table.pop(at(10)), Some(GroupId(1)));
        assert_eq!(table.pop(at(1_000)), None, "each rings once");
        let mut third = NEVER;
        table.set(GroupId(3), &mut third, at(7));
        table.cancel(GroupId(3), third);
        assert_eq!(table.next(), NEVER);
    }
}
