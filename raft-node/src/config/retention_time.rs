//! How far back a node can be restored, as the operator chose it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The units, the longest first, in seconds.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
/// No file of times reaches further back. A hundred years.
const SECONDS_MAX: u64 = 36_525 * 86_400;

/// A time that the past is kept for: whole seconds, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RetentionTime {
    seconds: u64,
}

/// Why a text is no such time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no time to keep the past for; give a number and a unit, such as 90s, 30m, 12h or 7d: from 1s to 36525d"
)]
pub struct BadRetentionTime(String);

impl RetentionTime {
    /// The time.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

impl FromStr for RetentionTime {
    type Err = BadRetentionTime;

    fn from_str(text: &str) -> Result<RetentionTime, BadRetentionTime> {
        let parse = || {
            let unit = text.chars().last()?;
            let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
            let count = text.strip_suffix(unit)?;
            let is_plain = count.bytes().all(|byte| byte.is_ascii_digit());
            let count: u64 = count.parse().ok().filter(|_| is_plain)?;
            count
                .checked_mul(seconds)
                .filter(|seconds| (1..=SECONDS_MAX).contains(seconds))
        };
        match parse() {
            Some(seconds) => Ok(RetentionTime { seconds }),
            None => Err(BadRetentionTime(text.to_owned())),
        }
    }
}

impl TryFrom<String> for RetentionTime {
    type Error = BadRetentionTime;

    fn try_from(text: String) -> Result<RetentionTime, BadRetentionTime> {
        text.parse()
    }
}

impl From<RetentionTime> for String {
    fn from(time: RetentionTime) -> String {
        time.to_string()
    }
}

impl fmt::Display for RetentionTime {
    /// In the longest unit that it is a multiple of.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut units = UNITS.into_iter();
        let (name, seconds) = units
            .find(|(_, seconds)| self.seconds.is_multiple_of(*seconds))
            .unwrap_or(('s', 1));
        write!(f, "{}{name}", self.seconds / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, seconds, shown) in [
            ("90s", 90, "90s"),
            ("30m", 1_800, "30m"),
            ("24h", 86_400, "1d"),
            ("7d", 604_800, "7d"),
            ("36525d", SECONDS_MAX, "36525d"),
        ] {
            let time: RetentionTime = text.parse().unwrap();
            assert_eq!(time.duration(), Duration::from_secs(seconds), "{text}");
            assert_eq!(time.to_string(), shown);
            assert_eq!(shown.parse(), Ok(time));
        }
        for bad in [
            "",
            "7",
            "d",
            "0s",
            "+1d",
            "-1d",
            "1.5h",
            "7 d",
            "7w",
            "7D",
            "1d2h",
            "36526d",
            "99999999999999999999d",
            "9999999999999999999d",
        ] {
            let refused = bad.parse::<RetentionTime>().unwrap_err().to_string();
            assert!(refused.contains("such as 90s, 30m, 12h or 7d"), "{refused}");
        }
    }
}
