//! What the node logs, and in which form.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of words per event, for people.
    #[default]
    Text,
    /// One JSON object per event, for machines.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Checks `directives`: a level, or several `module=level` separated by commas.
///
/// tracing's own parser takes any word for the name of a module, so a misspelt level would silence the node.
pub fn check_directives(directives: &str) -> Result<(), String> {
    for directive in directives.split(',').map(str::trim) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(format!(
                "{level:?} is not a level; use one of {}, or several such as `info,raft_core=debug`",
                LEVELS.join(", ")
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused() {
        for good in ["info", "INFO", "warn,raft_core=debug", "raft_node::server=trace"] {
            assert_eq!(check_directives(good), Ok(()), "{good}");
        }
        for bad in ["", "loud", "info,raft_core", "raft_core=verbose"] {
            assert!(check_directives(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
