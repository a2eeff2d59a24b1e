//! In which store a node keeps its log.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The store of a node's log. A data directory keeps the one that it was made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogStoreKind {
    /// RocksDB.
    #[default]
    Rocksdb,
    /// TiKV's raft-engine.
    RaftEngine,
    /// Memory: a node that stops has forgotten what it promised, and never starts again.
    Memory,
}

impl LogStoreKind {
    /// This one, or the default in the place of memory.
    #[must_use]
    pub fn durable(self) -> LogStoreKind {
        match self {
            LogStoreKind::Memory => LogStoreKind::default(),
            durable => durable,
        }
    }
}

impl fmt::Display for LogStoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogStoreKind::Rocksdb => "rocksdb",
            LogStoreKind::RaftEngine => "raft-engine",
            LogStoreKind::Memory => "memory",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_file_and_text_agree() {
        for kind in LogStoreKind::value_variants() {
            let text = kind.to_string();
            assert_eq!(LogStoreKind::from_str(&text, false), Ok(*kind));
            let in_file = serde_json::to_string(kind).unwrap();
            assert_eq!(in_file, format!("\"{text}\""));
        }
    }
}
