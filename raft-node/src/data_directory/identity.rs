//! DIR/IDENTITY: whose data a directory holds.

use raft_core::types::NodeId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::cluster_name::ClusterName;
use crate::config::log_store::LogStoreKind;

/// The layout that this version reads and writes.
pub const FORMAT: u32 = 1;

const HEADER: &str = "# The identity of this data directory. It is written by raft-node; do not change it.\n";

/// Whose data a directory holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Identity {
    /// The version of the directory's layout.
    pub format: u32,
    /// The cluster.
    pub cluster: ClusterName,
    node: u64,
    /// In which store the log is. Directories of versions that knew one store only do not say it.
    #[serde(default)]
    pub log_store: LogStoreKind,
    /// When the directory was made, as RFC 3339 text. For people only.
    pub created: String,
    /// Whether the node's log was ever written. From then on an empty log is a lost log: the node may have voted
    /// and acknowledged entries, and must not start as if it had not (R11, R68).
    pub log_written: bool,
    /// Whether the node was first started to join a cluster that runs: it never begins one.
    #[serde(default)]
    pub joins: bool,
    /// Whether the node was removed from the cluster. Its id is never used again (R68), so it never starts again.
    #[serde(default)]
    pub removed: bool,
}

impl Identity {
    /// The identity of a new directory.
    #[must_use]
    pub fn new(cluster: ClusterName, node: NodeId, log_store: LogStoreKind) -> Identity {
        Identity {
            format: FORMAT,
            cluster,
            node: node.0,
            log_store,
            created: OffsetDateTime::now_utc()
                .replace_nanosecond(0)
                .ok()
                .and_then(|now| now.format(&Rfc3339).ok())
                .unwrap_or_default(),
            log_written: false,
            joins: false,
            removed: false,
        }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.node)
    }

    /// The text of the file.
    #[must_use]
    pub fn encode(&self) -> String {
        // Serialising a struct of plain values cannot fail; if it ever did, the next start would refuse the file.
        format!("{HEADER}{}", toml::to_string(self).unwrap_or_default())
    }

    /// Reads the text of the file; the error says what is wrong with it.
    pub fn decode(text: &str) -> Result<Identity, String> {
        let identity: Identity = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if identity.format != FORMAT {
            return Err(format!(
                "its format is {}, this raft-node knows format {FORMAT}; use the version that wrote it",
                identity.format
            ));
        }
        if identity.node == 0 {
            return Err("its node is 0, and ids start at 1".to_owned());
        }
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_written_and_read() {
        let mut identity = Identity::new("demo".parse().unwrap(), NodeId(3), LogStoreKind::RaftEngine);
        identity.log_written = true;
        let text = identity.encode();
        assert!(text.contains("node = 3"), "{text}");
        assert!(text.contains("log-store = \"raft-engine\""), "{text}");
        assert_eq!(Identity::decode(&text), Ok(identity));
    }

    #[test]
    fn an_older_identity_is_of_rocksdb() {
        let new = Identity::new("demo".parse().unwrap(), NodeId(3), LogStoreKind::Rocksdb);
        let text = new.encode().replace("log-store = \"rocksdb\"\n", "");
        assert!(!text.contains("log-store"), "{text}");
        assert_eq!(Identity::decode(&text), Ok(new));
    }

    #[test]
    fn a_damaged_or_newer_identity_is_refused() {
        let text = Identity::new("demo".parse().unwrap(), NodeId(3), LogStoreKind::default()).encode();
        assert!(Identity::decode("").is_err());
        assert!(Identity::decode(&text[..text.len() / 2]).is_err());
        assert!(Identity::decode(&text.replace("node = 3", "node = 0")).is_err());
        let newer = Identity::decode(&text.replace("format = 1", "format = 2")).unwrap_err();
        assert!(newer.contains("format is 2"), "{newer}");
    }
}
