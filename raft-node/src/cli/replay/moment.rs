//! A step or a time, as `--from` and `--until` take them.

use std::fmt;
use std::str::FromStr;

use raft_core::record::WallTime;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

/// Where in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// This step, by its number.
    Step(u64),
    /// This time of day.
    Time(WallTime),
}

impl Moment {
    /// Whether a step with this number and at this time is before it.
    pub(super) fn is_after(self, step: u64, wall: Option<WallTime>) -> bool {
        match self {
            Moment::Step(moment) => step < moment,
            Moment::Time(moment) => wall.is_some_and(|wall| wall < moment),
        }
    }

    /// Whether a step with this number and at this time is behind it.
    pub(super) fn is_before(self, step: u64, wall: Option<WallTime>) -> bool {
        match self {
            Moment::Step(moment) => step > moment,
            Moment::Time(moment) => wall.is_some_and(|wall| wall > moment),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        if let Ok(step) = text.parse() {
            return Ok(Moment::Step(step));
        }
        let time = match text.strip_prefix('-') {
            Some(ago) => duration(ago).and_then(|ago| OffsetDateTime::now_utc().checked_sub(ago)),
            None => OffsetDateTime::parse(text, &Rfc3339).ok(),
        };
        let nanos = time.and_then(|time| u64::try_from(time.unix_timestamp_nanos()).ok());
        nanos.map(|nanos| Moment::Time(WallTime(nanos))).ok_or_else(|| {
            "give the number of a step, such as 1500, a time as it is shown, such as 2026-01-31T12:30:00.25Z, or how long ago that was: \
             -90s, -10m, -2h or -1d"
                .to_owned()
        })
    }
}

/// `90s`, `10m`, `2h` or `1d`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let count: u32 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    Some(Duration::seconds(i64::from(count) * seconds))
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Step(step) => write!(f, "step {step}"),
            Moment::Time(wall) => Clock(Some(*wall)).fmt(f),
        }
    }
}

/// A time of day to the microsecond, in UTC.
pub(super) struct Clock(pub(super) Option<WallTime>);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0.and_then(|wall| {
            let micros = i128::from(wall.0 / 1_000);
            let time = OffsetDateTime::from_unix_timestamp_nanos(micros * 1_000).ok()?;
            time.format(&Rfc3339).ok()
        });
        f.write_str(time.as_deref().unwrap_or("at an unknown time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_step_or_a_time_as_it_is_shown() {
        assert_eq!("1500".parse(), Ok(Moment::Step(1_500)));
        let wall = WallTime(1_769_862_600_250_000_000);
        let shown = Clock(Some(wall)).to_string();
        assert_eq!(shown, "2026-01-31T12:30:00.25Z");
        assert_eq!(shown.parse(), Ok(Moment::Time(wall)));
        assert_eq!(shown.replace('Z', "+00:00").parse(), Ok(Moment::Time(wall)));
        for bad in [
            "",
            "-1",
            "-",
            "-m",
            "-1w",
            "-1µ",
            "-99999999999d",
            "yesterday",
            "12:30:00",
            "1969-01-01T00:00:00Z",
        ] {
            assert!(
                bad.parse::<Moment>().unwrap_err().contains("number of a step"),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_moment_may_be_so_long_ago() {
        let now = || OffsetDateTime::now_utc().unix_timestamp();
        for (text, seconds) in [("-90s", 90), ("-10m", 600), ("-2h", 7_200), ("-1d", 86_400)] {
            let before = now();
            let Ok(Moment::Time(wall)) = text.parse() else {
                panic!("{text} is a time");
            };
            let ago = i64::try_from(wall.0 / 1_000_000_000).unwrap() + seconds;
            assert!((before..=now()).contains(&ago), "{text}: {ago}");
        }
    }
}
