//! Who answers: the numbers that stand in every response header, and the addresses of the members.

use std::collections::BTreeMap;

use raft_core::types::NodeId;

/// Where one member is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberUrls {
    /// By other members: `quic://host:port`.
    pub peer: Vec<String>,
    /// By clients: `http://host:port`.
    pub client: Vec<String>,
}

/// The cluster, this member of it, and the addresses of all.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// Stands in every response header.
    pub(super) cluster_id: u64,
    /// Stands in every response header.
    pub(super) member_id: u64,
    /// The addresses of every member that is known from the configuration.
    pub(super) members: BTreeMap<NodeId, MemberUrls>,
    /// The version of this program.
    pub(super) version: String,
}

/// The cluster id that clients see: a hash of the cluster's name (FNV-1a, 64 bits), the same on every member and after
/// every restart. Never 0, which clients take for "unknown".
#[must_use]
pub fn cluster_id(name: &str) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = name.bytes().fold(OFFSET_BASIS, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    });
    hash.max(1)
}

/// The member id that clients see: the node's id.
#[must_use]
pub fn member_id(node: NodeId) -> u64 {
    node.0
}

/// The name of a member as MemberList shows it: `n1` for node 1, as in its certificate.
#[must_use]
pub fn member_name(node: NodeId) -> String {
    format!("n{node}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_are_stable_and_differ() {
        // The published test vector of FNV-1a for the string "a".
        assert_eq!(cluster_id("a"), 0xaf63_dc4c_8601_ec8c);
        assert_ne!(cluster_id("production"), cluster_id("staging"));
    }

    #[test]
    fn member_names_are_those_of_the_certificates() {
        assert_eq!(member_name(NodeId(3)), "n3");
    }
}
