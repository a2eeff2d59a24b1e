//! The command lines of the commands: a handful of flags, each either a switch or followed by a value.

use crate::failure::{Failure, Outcome};

/// The words after the command, taken away one by one; whatever is left at the end is an error.
pub(crate) struct Arguments {
    command: &'static str,
    words: Vec<String>,
}

impl Arguments {
    /// The words that followed `command`.
    pub(crate) fn new(command: &'static str, words: &[String]) -> Self {
        // `--flag=value` and `--flag value` are the same.
        let words = words
            .iter()
            .flat_map(|word| match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => vec![flag.to_string(), value.to_string()],
                _ => vec![word.clone()],
            })
            .collect();
        Arguments { command, words }
    }

    /// Takes a switch; true when it was there.
    pub(crate) fn switch(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() != before
    }

    /// Takes a flag and its value.
    pub(crate) fn value(&mut self, name: &str) -> Outcome<Option<String>> {
        let Some(position) = self.words.iter().position(|word| word == name) else {
            return Ok(None);
        };
        if position + 1 >= self.words.len() {
            return Err(Failure::usage(format!(
                "`{}` needs a value after {name}",
                self.command
            )));
        }
        self.words.remove(position);
        Ok(Some(self.words.remove(position)))
    }

    /// Takes a flag whose value is a port.
    pub(crate) fn port(&mut self, name: &str) -> Outcome<Option<u16>> {
        let Some(text) = self.value(name)? else {
            return Ok(None);
        };
        match text.parse::<u16>() {
            Ok(port) if port > 0 && port < u16::MAX - 20 => Ok(Some(port)),
            _ => Err(Failure::usage(format!(
                "{name} {text}: not a port; give a number from 1 to 65514"
            ))),
        }
    }

    /// Takes the only word that is not a flag, if there is one.
    pub(crate) fn name(&mut self) -> Option<String> {
        let position = self.words.iter().position(|word| !word.starts_with('-'))?;
        Some(self.words.remove(position))
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self) -> Outcome {
        match self.words.first() {
            None => Ok(()),
            Some(word) => Err(Failure::usage(format!(
                "`cargo xtask {}` does not know `{word}`; `cargo xtask help` lists what it takes",
                self.command
            ))),
        }
    }
}

/// For commands without arguments.
pub(crate) fn nothing_more(command: &'static str, words: &[String]) -> Outcome {
    Arguments::new(command, words).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn flags_are_taken_in_any_order_and_spelling() {
        let mut arguments = Arguments::new("up", &words("--peer-port=7 --keep --client-port 8"));
        assert_eq!(arguments.port("--client-port").unwrap(), Some(8));
        assert_eq!(arguments.port("--peer-port").unwrap(), Some(7));
        assert!(arguments.switch("--keep"));
        assert!(!arguments.switch("--check"));
        arguments.finish().unwrap();
    }

    #[test]
    fn leftovers_missing_values_and_bad_ports_are_usage_errors() {
        assert_eq!(
            Arguments::new("up", &words("--what"))
                .finish()
                .unwrap_err()
                .exit_code(),
            2
        );
        assert_eq!(
            Arguments::new("up", &words("--keep"))
                .value("--keep")
                .unwrap_err()
                .exit_code(),
            2
        );
        for bad in ["--p 0", "--p x", "--p 65535", "--p 70000"] {
            assert_eq!(
                Arguments::new("up", &words(bad))
                    .port("--p")
                    .unwrap_err()
                    .exit_code(),
                2,
                "{bad}"
            );
        }
    }
}
