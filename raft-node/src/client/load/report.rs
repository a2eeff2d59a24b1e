//! The summary of a load.

use std::fmt;

use serde::Serialize;

/// The summary of a load, as `--json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadReport {
    /// Keys that were acknowledged.
    pub acknowledged: u64,
    /// Keys that are certainly not written.
    pub failed: u64,
    /// Keys that may be written.
    pub unknown: u64,
    /// How long the load ran.
    pub seconds: f64,
    /// Acknowledgements per second.
    pub rate: u64,
    /// The median time from the first attempt to the acknowledgement, in microseconds.
    pub p50_us: u64,
    /// The time within which 99 of 100 acknowledgements came, in microseconds.
    pub p99_us: u64,
    /// The longest time in which no acknowledgement came at all, in milliseconds.
    pub longest_gap_ms: u64,
    /// Why a key was not acknowledged, in the words of the last such answer.
    #[serde(skip)]
    pub last_reason: Option<String>,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |micros: u64| micros as f64 / 1e3;
        writeln!(
            f,
            "acknowledged {} keys in {:.1} s",
            self.acknowledged, self.seconds
        )?;
        writeln!(f, "rate         {} per second", self.rate)?;
        writeln!(
            f,
            "latency      p50 {:.1} ms, p99 {:.1} ms",
            millis(self.p50_us),
            millis(self.p99_us)
        )?;
        write!(
            f,
            "longest gap {} ms between two acknowledgements",
            self.longest_gap_ms
        )?;
        if self.unknown > 0 {
            write!(
                f,
                "\nunknown      {} keys may or may not be written",
                self.unknown
            )?;
        }
        if self.failed > 0 {
            write!(f, "\nfailed       {} keys are not written", self.failed)?;
        }
        match &self.last_reason {
            Some(reason) => write!(f, "\nlast reason  {reason}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_get_exactly_the_promised_names() {
        let report = LoadReport {
            acknowledged: 10,
            failed: 0,
            unknown: 1,
            seconds: 0.5,
            rate: 20,
            p50_us: 1,
            p99_us: 2,
            longest_gap_ms: 3,
            last_reason: Some("x".to_owned()),
        };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"acknowledged":10,"failed":0,"unknown":1,"seconds":0.5,"rate":20,"p50_us":1,"p99_us":2,"longest_gap_ms":3}"#
        );
        assert!(report.to_string().contains("longest gap 3 ms"));
    }
}
