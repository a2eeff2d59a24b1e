//! The name of a cluster, in the only form that fits into a certificate.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest DNS label.
const NAME_BYTES_MAX: usize = 63;

/// The name of a cluster: a DNS label, because every node's certificate carries it in
/// `n<ID>.<CLUSTER>.raft.internal`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

/// Why a text is not the name of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} cannot be the name of a cluster; use 1 to 63 lower-case letters, digits and hyphens, with no hyphen at \
     either end (it becomes part of the names in the certificates)"
)]
pub struct BadClusterName(String);

impl ClusterName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterName {
    type Err = BadClusterName;

    fn from_str(text: &str) -> Result<ClusterName, BadClusterName> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = (1..=NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if good {
            Ok(ClusterName(text.to_owned()))
        } else {
            Err(BadClusterName(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ClusterName {
    type Error = BadClusterName;

    fn try_from(text: String) -> Result<ClusterName, BadClusterName> {
        text.parse()
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> String {
        name.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dns_labels_are_names() {
        for good in ["demo", "a", "prod-7", "0x", &"a".repeat(63)] {
            assert_eq!(good.parse::<ClusterName>().unwrap().as_str(), good);
        }
        for bad in ["", "Demo", "a.b", "a_b", "-a", "a-", "a b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad:?} was accepted");
        }
    }
}
