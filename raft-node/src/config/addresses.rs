//! Maps from node ids to addresses, as they are written in flags and files, and the URLs in them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use raft_core::types::NodeId;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One address per node: `1=quic://127.0.0.1:2380,2=quic://…` in a flag or an environment variable; in a file
/// either that text or a table `{ 1 = "quic://127.0.0.1:2380", … }`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressMap(pub BTreeMap<NodeId, String>);

/// Why a text is not a map of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressMapError {
    /// An item has no `=`.
    #[error(
        "{0:?} is not of the form ID=URL, such as 1={example}",
        example = "quic://127.0.0.1:2380"
    )]
    NotAPair(String),
    /// What stands before the `=` is not a node id.
    #[error("{0:?} is not a node id; ids are whole numbers from 1 on")]
    BadId(String),
    /// A node is named twice.
    #[error("node {0} is named twice; name it once")]
    Duplicate(NodeId),
}

impl AddressMap {
    fn insert(&mut self, id: &str, url: &str) -> Result<(), AddressMapError> {
        let id = match id.trim().parse::<u64>() {
            Ok(number) if number > 0 => NodeId(number),
            _ => return Err(AddressMapError::BadId(id.to_owned())),
        };
        match self.0.insert(id, url.trim().to_owned()) {
            None => Ok(()),
            Some(_) => Err(AddressMapError::Duplicate(id)),
        }
    }
}

impl FromStr for AddressMap {
    type Err = AddressMapError;

    fn from_str(text: &str) -> Result<AddressMap, AddressMapError> {
        let mut map = AddressMap::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (id, url) = item
                .split_once('=')
                .ok_or_else(|| AddressMapError::NotAPair(item.to_owned()))?;
            map.insert(id, url)?;
        }
        Ok(map)
    }
}

impl fmt::Display for AddressMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (id, url)) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{id}={url}")?;
        }
        Ok(())
    }
}

impl Serialize for AddressMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, url) in &self.0 {
            map.serialize_entry(&id.to_string(), url)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for AddressMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AddressMap, D::Error> {
        struct TextOrTable;

        impl<'de> Visitor<'de> for TextOrTable {
            type Value = AddressMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"1=URL,2=URL\" or a table { 1 = \"URL\", 2 = \"URL\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<AddressMap, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<AddressMap, A::Error> {
                let mut map = AddressMap::default();
                while let Some((id, url)) = access.next_entry::<String, String>()? {
                    map.insert(&id, &url).map_err(de::Error::custom)?;
                }
                Ok(map)
            }
        }

        deserializer.deserialize_any(TextOrTable)
    }
}

/// Why a text is not the URL of a node.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UrlError {
    /// The scheme is another one.
    #[error("{url:?} does not begin with {expected}")]
    Scheme {
        /// The refused URL.
        url: String,
        /// What it should begin with.
        expected: String,
    },
    /// There is no port, or it is 0.
    #[error("{0:?} has no port between 1 and 65535; write host:port")]
    Port(String),
    /// There is no host.
    #[error("{0:?} has no host before the port")]
    Host(String),
    /// Something follows the port.
    #[error("{0:?} has something after the port; end it there")]
    Path(String),
}

/// The `host:port` of `url`, which must have one of `schemes` (such as `quic`).
pub fn host_and_port<'a>(url: &'a str, schemes: &[&str]) -> Result<&'a str, UrlError> {
    let authority = schemes
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme)?.strip_prefix("://"));
    let Some(authority) = authority else {
        let expected: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
        return Err(UrlError::Scheme {
            url: url.to_owned(),
            expected: expected.join(" or "),
        });
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#']) {
        return Err(UrlError::Path(url.to_owned()));
    }
    check_host_and_port(authority).map_err(|part| part(url.to_owned()))?;
    Ok(authority)
}

/// Checks that `text` is `host:port` with a port that is not 0; the error is the constructor of the right refusal.
fn check_host_and_port(text: &str) -> Result<(), fn(String) -> UrlError> {
    let (host, port) = text
        .rsplit_once(':')
        .ok_or(UrlError::Port as fn(String) -> UrlError)?;
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(UrlError::Port);
    }
    // A colon in the host is an IPv6 address, which needs brackets to be told from its port.
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if host.is_empty() || (bare.is_none() && host.contains([':', '[', ']', '@', ' '])) {
        return Err(UrlError::Host);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_and_written() {
        let map: AddressMap = " 2=quic://b:1, 1=quic://a:1 ,".parse().unwrap();
        assert_eq!(map.to_string(), "1=quic://a:1,2=quic://b:1");
        assert_eq!(map.to_string().parse::<AddressMap>().unwrap(), map);
    }

    #[test]
    fn a_bad_map_says_what_is_wrong() {
        let error = |text: &str| text.parse::<AddressMap>().unwrap_err();
        assert_eq!(
            error("quic://a:1"),
            AddressMapError::NotAPair("quic://a:1".into())
        );
        assert_eq!(error("0=quic://a:1"), AddressMapError::BadId("0".into()));
        assert_eq!(error("x=quic://a:1"), AddressMapError::BadId("x".into()));
        assert_eq!(error("1=u,1=v"), AddressMapError::Duplicate(NodeId(1)));
    }

    #[test]
    fn urls_are_checked_part_by_part() {
        assert_eq!(host_and_port("quic://[::1]:2380", &["quic"]), Ok("[::1]:2380"));
        assert_eq!(
            host_and_port("https://node:2379/", &["http", "https"]),
            Ok("node:2379")
        );
        let refused = |url: &str| host_and_port(url, &["quic"]).unwrap_err();
        assert!(matches!(refused("http://a:1"), UrlError::Scheme { .. }));
        assert!(matches!(refused("a:1"), UrlError::Scheme { .. }));
        assert!(matches!(refused("quic://a"), UrlError::Port(_)));
        assert!(matches!(refused("quic://a:0"), UrlError::Port(_)));
        assert!(matches!(refused("quic://a:65536"), UrlError::Port(_)));
        assert!(matches!(refused("quic://:1"), UrlError::Host(_)));
        assert!(matches!(refused("quic://::1:1"), UrlError::Host(_)));
        assert!(matches!(refused("quic://a:1/x"), UrlError::Path(_)));
    }
}
