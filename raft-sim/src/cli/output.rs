//! Writing to standard output and standard error.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::error::CliError;

/// How often a person at a terminal sees that the program is at work.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// How often a log gets such a line.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// Prints `line` and a newline to standard output. A reader that went away, such as `head`, is not an error.
pub(super) fn print(line: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(format!("{line}\n").as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        _ => Ok(()),
    }
}

/// Prints `line` and a newline to standard error. If even that fails there is nobody left to tell.
pub(super) fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// A line on standard error that says how far the work is: rewritten in place on a terminal, now and then a new one in a log.
#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    shown: Instant,
}

impl Progress {
    /// Nothing is said at first.
    pub(super) fn new() -> Progress {
        Progress {
            is_terminal: io::stderr().is_terminal(),
            shown: Instant::now(),
        }
    }

    /// Says how far the work is, if it is time.
    pub(super) fn tick(&mut self, text: impl FnOnce() -> String) {
        let interval = if self.is_terminal {
            PROGRESS_INTERVAL
        } else {
            LOG_INTERVAL
        };
        if self.shown.elapsed() < interval {
            return;
        }
        self.shown = Instant::now();
        let text = text();
        if self.is_terminal {
            let _ = write!(io::stderr().lock(), "\r{text}\x1b[K");
        } else {
            complain(&text);
        }
    }

    /// Takes the line away, so that something else can be printed.
    pub(super) fn clear(&mut self) {
        if self.is_terminal {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// A number with a comma after every three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
