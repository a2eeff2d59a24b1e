//! What carries the messages between the nodes of a cluster.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What carries the messages between the nodes of a cluster. All nodes have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransportKind {
    /// QUIC, over UDP.
    #[default]
    Quic,
    /// TLS over TCP.
    Tcp,
}

impl TransportKind {
    /// What a URL of such a node begins with.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            TransportKind::Quic => "quic",
            TransportKind::Tcp => "tcp",
        }
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_file_text_and_scheme_agree() {
        for kind in TransportKind::value_variants() {
            let text = kind.to_string();
            assert_eq!(TransportKind::from_str(&text, false), Ok(*kind));
            let in_file = serde_json::to_string(kind).unwrap();
            assert_eq!(in_file, format!("\"{text}\""));
        }
    }
}
