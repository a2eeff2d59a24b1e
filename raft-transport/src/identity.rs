//! The identity rule: who a certificate speaks for.
//!
//! A certificate speaks for exactly one node of exactly one cluster. It carries one DNS name,
//! `n<ID>.<CLUSTER>.raft.internal`, and no second one. rustls has verified the chain, the dates and the usage before
//! anything here is asked; this module only reads the name, with the crate that rustls verifies with, so that both
//! see the same names.

use raft_core::types::NodeId;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use webpki::EndEntityCert;

use crate::carrier::Connection;
use crate::error::SetupError;

const SUFFIX: &str = ".raft.internal";

/// The one DNS name of `node`'s certificate.
#[must_use]
pub fn node_name(node: NodeId, cluster: &str) -> String {
    format!("n{node}.{cluster}{SUFFIX}")
}

/// A cluster's name is one label of a DNS name, in lower case, so that there is one way to write it.
pub(crate) fn check_cluster_name(cluster: &str) -> Result<(), SetupError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = cluster.as_bytes();
    let whole = (1..=63).contains(&bytes.len())
        && bytes.iter().all(|&byte| plain(byte) || byte == b'-')
        && bytes.first().copied().is_some_and(plain)
        && bytes.last().copied().is_some_and(plain);
    if whole {
        return Ok(());
    }
    Err(SetupError::Option {
        name: "cluster",
        value: format!("{cluster:?}"),
        remedy: "give 1 to 63 lower-case letters, digits and inner hyphens",
    })
}

/// Why a certificate does not name a node of this cluster.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// No certificate at all. TLS refuses that earlier; this is the second lock on the door.
    #[error("it shows no certificate")]
    None,
    /// The certificate cannot be read.
    #[error("its certificate cannot be read: {0}")]
    Unreadable(String),
    /// The certificate carries no DNS name, or several.
    #[error("its certificate carries {} DNS names ({}), and must carry exactly one", .0.len(), .0.join(", "))]
    NotOneName(Vec<String>),
    /// The name is not one of a node of this cluster.
    #[error("its certificate names {found}, which is no n<ID>.{cluster}{SUFFIX}")]
    Foreign {
        /// The name in the certificate.
        found: String,
        /// This cluster.
        cluster: String,
    },
}

/// The node at the other end of `connection`.
pub(crate) fn peer_of(connection: &impl Connection, cluster: &str) -> Result<NodeId, IdentityError> {
    let chain = connection.certificates();
    let certificate = chain.first().ok_or(IdentityError::None)?;
    node_of(certificate, cluster)
}

/// The node of `cluster` that `certificate` speaks for. Whether to believe the certificate is another question.
///
/// # Errors
/// [`IdentityError`] if it names no node of the cluster, or more than one name.
pub fn node_of(certificate: &CertificateDer<'_>, cluster: &str) -> Result<NodeId, IdentityError> {
    let mut names = dns_names(certificate)?;
    if names.len() != 1 {
        names.truncate(4);
        return Err(IdentityError::NotOneName(names));
    }
    let name = names.remove(0);
    parse_node_name(&name, cluster).ok_or_else(|| IdentityError::Foreign {
        found: name,
        cluster: cluster.to_string(),
    })
}

/// Every DNS name that a verifier would accept the certificate for.
pub(crate) fn dns_names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, IdentityError> {
    let parsed = EndEntityCert::try_from(certificate)
        .map_err(|error| IdentityError::Unreadable(format!("{error:?}")))?;
    Ok(parsed.valid_dns_names().map(str::to_string).collect())
}

/// The id in `name`, if writing it back gives the same name: no leading zero, no other case, no other cluster.
fn parse_node_name(name: &str, cluster: &str) -> Option<NodeId> {
    let (label, _) = name.split_once('.')?;
    let node = NodeId(label.strip_prefix('n')?.parse().ok()?);
    (node != NodeId(0) && node_name(node, cluster) == name).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_name_is_read_back() {
        for id in [1, 7, 10, u64::MAX] {
            let name = node_name(NodeId(id), "alpha");
            assert_eq!(parse_node_name(&name, "alpha"), Some(NodeId(id)));
        }
    }

    #[test]
    fn only_the_exact_form_is_a_node_name() {
        let others = [
            "n1.beta.raft.internal",
            "n1.alpha.raft.internal.",
            "n01.alpha.raft.internal",
            "n+1.alpha.raft.internal",
            "N1.alpha.raft.internal",
            "n0.alpha.raft.internal",
            "n.alpha.raft.internal",
            "*.alpha.raft.internal",
            "n1.alpha.raft.internal.example.com",
            "x.n1.alpha.raft.internal",
            "n18446744073709551616.alpha.raft.internal",
            "",
        ];
        for name in others {
            assert_eq!(parse_node_name(name, "alpha"), None, "{name}");
        }
    }

    #[test]
    fn a_cluster_name_is_one_dns_label() {
        for good in ["a", "alpha", "eu-west-1", "0"] {
            check_cluster_name(good).unwrap();
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", &"a".repeat(64)] {
            check_cluster_name(bad).unwrap_err();
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_are_an_error() {
        let garbage = CertificateDer::from(vec![0x30, 0x82, 0xff, 0xff, 0x00]);
        assert!(matches!(
            node_of(&garbage, "alpha"),
            Err(IdentityError::Unreadable(_))
        ));
    }
}
