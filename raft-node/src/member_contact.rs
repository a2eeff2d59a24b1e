//! How a member is reached, as the configuration of the group carries it: one text for each member, replicated with
//! the membership itself.
//!
//! The text is a JSON object. A key that this version does not know is ignored, so that a later one may add some; a
//! text that is no such object tells nothing about its member, and no more than that.

use raft_core::membership::{Contact, Membership, MembershipError};
use raft_core::types::NodeId;
use serde::{Deserialize, Serialize};

use crate::config::addresses::{UrlError, host_and_port};

/// The schemes of a peer's address. Peers speak what the cluster speaks, whatever the URL says; the last two are what etcd's
/// client library lets through, so that `etcdctl member add` can be used.
const PEER_SCHEMES: [&str; 4] = ["quic", "tcp", "https", "http"];

/// Those of them that say how peers speak.
const OWN_SCHEMES: usize = 2;

/// The schemes of an address for clients.
const CLIENT_SCHEMES: [&str; 2] = ["http", "https"];

/// How one member is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MemberContact {
    /// What people call it; empty for the name in its certificate, such as `n4`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where other members reach it: `quic://host:port`, or `tcp://host:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer_urls: Vec<String>,
    /// Where clients reach it: `http://host:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_urls: Vec<String>,
}

impl MemberContact {
    /// Checks every URL, and writes the addresses of peers as `quic://host:port`, or `tcp://host:port` if they say so.
    pub fn checked(self) -> Result<MemberContact, UrlError> {
        let peer_urls = self.peer_urls.iter().map(|url| peer_url(url));
        let peer_urls = peer_urls.collect::<Result<_, _>>()?;
        for url in &self.client_urls {
            host_and_port(url, &CLIENT_SCHEMES)?;
        }
        Ok(MemberContact { peer_urls, ..self })
    }

    /// The text for the configuration. It has a limit, which only very many or very long URLs reach.
    pub fn to_contact(&self) -> Result<Contact, MembershipError> {
        let text = serde_json::to_string(self).expect("strings and lists of strings have a JSON form");
        Contact::new(&text)
    }

    /// What `contact` says; `None` if some other program wrote it.
    #[must_use]
    pub fn from_contact(contact: &Contact) -> Option<MemberContact> {
        MemberContact::parse(contact.as_str())
    }

    fn parse(text: &str) -> Option<MemberContact> {
        serde_json::from_str(text).ok()
    }

    /// The `host:port` for peers that the text of a contact names; `None` if it names none.
    #[must_use]
    pub fn peer_address_in(text: &str) -> Option<String> {
        MemberContact::parse(text)?.peer_address().map(str::to_owned)
    }

    /// What `membership` says about `member`; `None` if it says nothing.
    #[must_use]
    pub fn of(membership: &Membership, member: NodeId) -> Option<MemberContact> {
        MemberContact::from_contact(membership.contact(member)?)
    }

    /// The `host:port` of its first address for peers.
    #[must_use]
    pub fn peer_address(&self) -> Option<&str> {
        host_and_port(self.peer_urls.first()?, &PEER_SCHEMES).ok()
    }
}

/// `url` as `quic://host:port`, or as it is if it begins with `tcp://`.
fn peer_url(url: &str) -> Result<String, UrlError> {
    // Whoever gives another scheme is told the right one, not the two that are merely tolerated.
    let schemes = match PEER_SCHEMES
        .iter()
        .any(|scheme| url.starts_with(&format!("{scheme}://")))
    {
        true => &PEER_SCHEMES[..],
        false => &PEER_SCHEMES[..OWN_SCHEMES],
    };
    let scheme = if url.starts_with("tcp://") { "tcp" } else { "quic" };
    Ok(format!("{scheme}://{}", host_and_port(url, schemes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact() -> MemberContact {
        MemberContact {
            name: "east-4".to_owned(),
            peer_urls: vec!["quic://10.0.0.4:2380".to_owned()],
            client_urls: vec!["http://10.0.0.4:2379".to_owned()],
        }
    }

    #[test]
    fn a_contact_survives_its_text() {
        let text = contact().to_contact().unwrap();
        assert_eq!(
            text.as_str(),
            r#"{"name":"east-4","peer-urls":["quic://10.0.0.4:2380"],"client-urls":["http://10.0.0.4:2379"]}"#
        );
        assert_eq!(MemberContact::from_contact(&text), Some(contact()));
        let four = NodeId(4);
        let membership = Membership::of_voters([four])
            .unwrap()
            .with_contacts([(four, text)])
            .unwrap();
        assert_eq!(MemberContact::of(&membership, four), Some(contact()));
        assert_eq!(MemberContact::of(&membership, NodeId(5)), None);
    }

    #[test]
    fn a_later_version_may_say_more_and_another_program_says_nothing() {
        let parsed = |text: &str| MemberContact::from_contact(&Contact::new(text).unwrap());
        let known = MemberContact {
            client_urls: vec!["http://a:1".to_owned()],
            ..MemberContact::default()
        };
        assert_eq!(
            parsed(r#"{"client-urls":["http://a:1"],"zone":"east"}"#),
            Some(known)
        );
        assert_eq!(parsed("10.0.0.4:2380"), None);
        let address = |text: &str| MemberContact::peer_address_in(text);
        assert_eq!(
            address(r#"{"peer-urls":["quic://a:1","quic://b:2"]}"#),
            Some("a:1".to_owned())
        );
        for silent in ["10.0.0.4:2380", "{}", r#"{"peer-urls":["ftp://a:1"]}"#] {
            assert_eq!(address(silent), None);
        }
        assert_eq!(parsed(r#"{"peer-urls":7}"#), None);
    }

    #[test]
    fn peers_are_reached_by_quic_whatever_the_scheme() {
        for url in ["quic://b:2380", "https://b:2380/", "http://b:2380"] {
            let contact = MemberContact {
                peer_urls: vec![url.to_owned()],
                ..contact()
            };
            let checked = contact.checked().unwrap();
            assert_eq!(checked.peer_urls, ["quic://b:2380"]);
            assert_eq!(checked.peer_address(), Some("b:2380"));
        }
    }

    #[test]
    fn a_bad_url_is_refused_by_name() {
        let refused = |peer: &str, client: &str| {
            let contact = MemberContact {
                peer_urls: vec![peer.to_owned()],
                client_urls: vec![client.to_owned()],
                ..contact()
            };
            contact.checked().unwrap_err().to_string()
        };
        assert_eq!(
            refused("ftp://a:1", "http://a:1"),
            "\"ftp://a:1\" does not begin with quic:// or tcp://"
        );
        assert!(refused("quic://a", "http://a:1").contains("no port"));
        assert!(refused("quic://a:1", "quic://a:1").contains("http:// or https://"));
    }

    #[test]
    fn a_text_has_a_limit() {
        let long = MemberContact {
            name: "n".repeat(2_000),
            ..contact()
        };
        assert!(matches!(
            long.to_contact(),
            Err(MembershipError::ContactTooLong { .. })
        ));
    }
}
