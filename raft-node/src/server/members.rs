//! The members as clients see them: ids, names and addresses.

use std::collections::BTreeMap;

use raft_core::membership::{Contact, Membership};
use raft_core::types::NodeId;

use super::api::Api;
use super::identity::{member_id, member_name};
use super::refusal::Refusal;
use crate::member_contact::MemberContact;
use crate::proto::etcdserverpb::Member;

impl<B> Api<B> {
    /// How `node` is reached: as `membership` says, or else as this node's own settings say.
    pub(super) fn contact(&self, membership: &Membership, node: NodeId) -> MemberContact {
        MemberContact::of(membership, node).unwrap_or_else(|| {
            let urls = self.identity.members.get(&node).cloned().unwrap_or_default();
            MemberContact {
                name: String::new(),
                peer_urls: urls.peer,
                client_urls: urls.client,
            }
        })
    }

    /// Every member of `membership`, sorted by id.
    pub(super) fn members(&self, membership: &Membership) -> Vec<Member> {
        let members = membership.members().into_iter();
        members.map(|node| self.member(membership, node)).collect()
    }

    /// One of them.
    pub(super) fn member(&self, membership: &Membership, node: NodeId) -> Member {
        let contact = self.contact(membership, node);
        Member {
            id: member_id(node),
            name: name_of(node, &contact),
            peer_urls: contact.peer_urls,
            client_urls: contact.client_urls,
            is_learner: !membership.is_voter(node),
        }
    }

    /// How every member of `membership` is reached.
    pub(super) fn contacts(&self, membership: &Membership) -> Contacts {
        let members = membership.members().into_iter();
        Contacts(
            members
                .map(|node| (node, self.contact(membership, node)))
                .collect(),
        )
    }
}

/// How members are reached, before a change and while it is being put together.
pub(super) struct Contacts(BTreeMap<NodeId, MemberContact>);

impl Contacts {
    /// How `node` is reached; nothing if it is no member.
    pub(super) fn of(&self, node: NodeId) -> Option<&MemberContact> {
        self.0.get(&node)
    }

    /// `node` leaves, and its addresses are free.
    pub(super) fn remove(&mut self, node: NodeId) {
        self.0.remove(&node);
    }

    /// Gives `node` its addresses, and returns them as the configuration will have them. There is one, all of them are
    /// URLs, and no other member has it.
    pub(super) fn set(&mut self, node: NodeId, contact: MemberContact) -> Result<Contact, Refusal> {
        let contact = contact.checked().map_err(Refusal::bad_url)?;
        if contact.peer_urls.is_empty() {
            return Err(Refusal::bad_url(format!(
                "nobody can reach member {node} without an address; give one, such as quic://10.0.0.{node}:2380"
            )));
        }
        for (other, theirs) in self.0.iter().filter(|(other, _)| **other != node) {
            if let Some(url) = theirs
                .peer_urls
                .iter()
                .find(|url| contact.peer_urls.contains(url))
            {
                return Err(Refusal::url_taken(format!(
                    "member {other} has {url} already; every member needs its own"
                )));
            }
        }
        let text = contact.to_contact().map_err(Refusal::bad_url)?;
        self.0.insert(node, contact);
        Ok(text)
    }
}

/// What people call `node`.
pub(super) fn name_of(node: NodeId, contact: &MemberContact) -> String {
    match contact.name.as_str() {
        "" => member_name(node),
        name => name.to_owned(),
    }
}
