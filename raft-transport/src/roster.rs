//! Who belongs to this node's groups, and where they are reached: pure bookkeeping over what the replicas tell.
//!
//! # Who may be connected
//!
//! As long as no replica has told its members, exactly the nodes of `set_peers` are. From then on the members decide, and
//! those addresses are only looked up for members whose contact gives none, and for replicas that belong to no group yet.
//!
//! **A member that left is cut when that is committed, not before.** A configuration counts from the moment it is
//! appended, but until it is committed it can be taken back, and the member that was to leave may then be the only one who
//! can lead. If the others had cut it off meanwhile, they would never hear that it leads. So every member of every
//! configuration since the last committed one stays.
//!
//! **Then it has a moment to learn of it.** The leader tells a departed member that its removal is committed, in the message
//! after the one that committed it. Were the connection closed before, the member would never know, and ask for votes for
//! ever. It is closed `departed_grace` after the commit: many times a round trip, and less than the second within which a
//! removed node has to be off.
//!
//! **Whoever was never heard of may be a member already.** A node that was away for long, or is new, knows an old
//! configuration, or none, and the leader that could tell it the latest may not be in it. Refusing unknown nodes would keep
//! it away for ever. But ids are given out in rising order and never twice (R68): whoever has an id above the highest of the
//! last committed configuration may have joined since, and is let in as a *stranger*, as long as its connection lasts and
//! up to `strangers_max` at once. Whoever has a lower id and is no member has left, can never come back, and is refused.
//! What strangers say, the replicas judge (R69).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use raft_core::membership::{Contact, Membership};
use raft_core::types::{GroupId, NodeId};

use crate::options::ContactAddress;

/// The members of all groups, and the addresses to reach them.
pub(crate) struct Roster {
    own_id: NodeId,
    contact_address: ContactAddress,
    departed_grace: Duration,
    /// The addresses that the node was given, whoever is a member.
    given: BTreeMap<NodeId, String>,
    groups: BTreeMap<GroupId, Group>,
}

/// What one replica told.
#[derive(Default)]
struct Group {
    /// The replica belongs to no group yet, or waits to hear from one.
    is_empty: bool,
    /// Everybody in a configuration since the last committed one, with the address in the newest of them that gives one.
    members: BTreeMap<NodeId, Option<String>>,
    /// The highest id of the last committed configuration; 0 as long as none is known.
    highest_id: NodeId,
    /// Who was in a configuration until a later one was committed, and until when that is overlooked.
    departed: BTreeMap<NodeId, Instant>,
    /// Contacts that were found to say nothing, so that each is warned of once.
    useless_contacts: BTreeMap<NodeId, String>,
}

impl Roster {
    pub(crate) fn new(own_id: NodeId, contact_address: ContactAddress, departed_grace: Duration) -> Roster {
        Roster {
            own_id,
            contact_address,
            departed_grace,
            given: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Where nodes are that have told nobody.
    pub(crate) fn give(&mut self, addresses: &BTreeMap<NodeId, String>) {
        self.given = addresses.clone();
    }

    /// A configuration of `group` was appended, or the ones behind it were taken back.
    pub(crate) fn changed(&mut self, group: GroupId, latest: &Membership) {
        let state = self.groups.entry(group).or_default();
        state.is_empty = latest.voters().is_empty();
        for id in latest.members().into_iter().filter(|id| *id != self.own_id) {
            state.departed.remove(&id);
            let text = latest.contact(id).map(Contact::as_str);
            let address = text.and_then(|text| self.contact_address.of(text));
            let is_new = !state.members.contains_key(&id);
            match text {
                _ if address.is_some() => drop(state.useless_contacts.remove(&id)),
                Some(text) if state.useless_contacts.get(&id).is_none_or(|known| known != text) => {
                    tracing::warn!(%group, member = %id, contact = text, "the contact of a member gives no address");
                    state.useless_contacts.insert(id, text.to_owned());
                }
                None if is_new && !self.given.contains_key(&id) => {
                    tracing::warn!(%group, member = %id, "a member has no contact, so it is reached only if it calls");
                }
                _ => {}
            }
            let known = state.members.entry(id).or_default();
            if address.is_some() {
                *known = address;
            }
        }
    }

    /// The configuration of `group` told last is committed, at `now`. Returns when somebody has to be cut, if anybody.
    pub(crate) fn committed(&mut self, group: GroupId, latest: &Membership, now: Instant) -> Option<Instant> {
        let until = now + self.departed_grace;
        let state = self.groups.entry(group).or_default();
        state.highest_id = latest.highest_id();
        let left: Vec<_> = state
            .members
            .extract_if(.., |id, _| !latest.contains(*id))
            .collect();
        for (id, _) in &left {
            state.useless_contacts.remove(id);
            state.departed.insert(*id, until);
        }
        (!left.is_empty()).then_some(until)
    }

    /// There is no replica of `group` here any more.
    pub(crate) fn left(&mut self, group: GroupId) {
        self.groups.remove(&group);
    }

    /// Who shall be connected at `now`, each with its address if one is known.
    pub(crate) fn wanted(&mut self, now: Instant) -> BTreeMap<NodeId, Option<&str>> {
        let waits_for_members = self.waits_for_members();
        for group in self.groups.values_mut() {
            group.departed.retain(|_, until| now < *until);
        }
        let mut wanted: BTreeMap<NodeId, Option<&str>> = BTreeMap::new();
        for group in self.groups.values() {
            for (&id, address) in &group.members {
                let known = wanted.entry(id).or_default();
                *known = known.or(address.as_deref());
            }
            for &id in group.departed.keys() {
                wanted.entry(id).or_default();
            }
        }
        if waits_for_members {
            let given = self.given.keys().filter(|id| **id != self.own_id);
            wanted.extend(given.map(|id| (*id, None)));
        }
        for (id, address) in &mut wanted {
            *address = address.or(self.given.get(id).map(String::as_str));
        }
        wanted
    }

    /// Whether `id`, which need not be wanted, may have joined a group without this node's knowledge.
    pub(crate) fn may_have_joined(&self, id: NodeId) -> bool {
        id != self.own_id && self.groups.values().any(|group| id > group.highest_id)
    }

    /// Whether there is a replica that has heard of no member yet, or no replica at all.
    fn waits_for_members(&self) -> bool {
        self.groups.is_empty() || self.groups.values().any(|group| group.is_empty)
    }
}

#[cfg(test)]
mod tests {
    use raft_core::membership::MembershipParts;

    use super::*;

    const GRACE: Duration = Duration::from_millis(500);

    fn roster() -> Roster {
        Roster::new(NodeId(1), ContactAddress::default(), GRACE)
    }

    fn members(ids: &[u64]) -> Membership {
        Membership::of_voters(ids.iter().copied().map(NodeId)).unwrap()
    }

    /// What is left of {1,2,3} when node 3 is removed.
    fn without_3() -> Membership {
        let parts = MembershipParts {
            voters: vec![NodeId(1), NodeId(2)],
            ..members(&[1, 2, 3]).to_parts()
        };
        Membership::from_parts(parts).unwrap()
    }

    fn contacts(membership: &Membership, contacts: &[(u64, &str)]) -> Membership {
        let contact = |&(id, text): &(u64, &str)| (NodeId(id), Contact::new(text).unwrap());
        membership.with_contacts(contacts.iter().map(contact)).unwrap()
    }

    fn given(addresses: &[(u64, &str)]) -> BTreeMap<NodeId, String> {
        let given = addresses
            .iter()
            .map(|&(id, address)| (NodeId(id), address.to_owned()));
        given.collect()
    }

    fn wanted(roster: &mut Roster, now: Instant) -> Vec<(u64, String)> {
        let wanted = roster.wanted(now).into_iter();
        wanted
            .map(|(id, address)| (id.0, address.unwrap_or("?").to_owned()))
            .collect()
    }

    fn ids(roster: &mut Roster, now: Instant) -> Vec<u64> {
        wanted(roster, now).into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn before_any_member_is_known_the_given_nodes_are_the_peers() {
        let (mut roster, now) = (roster(), Instant::now());
        roster.give(&given(&[(1, "a:1"), (2, "b:1")]));
        assert_eq!(wanted(&mut roster, now), [(2, "b:1".to_owned())]);
        assert!(!roster.may_have_joined(NodeId(7)));
        // A replica that is to join a group still has to find it, and anybody may be its leader.
        roster.changed(GroupId(1), &Membership::empty());
        assert_eq!(roster.committed(GroupId(1), &Membership::empty(), now), None);
        assert_eq!(ids(&mut roster, now), [2]);
        assert!(roster.may_have_joined(NodeId(7)) && !roster.may_have_joined(NodeId(1)));
        roster.changed(GroupId(1), &members(&[3, 4]));
        assert_eq!(ids(&mut roster, now), [3, 4]);
    }

    #[test]
    fn a_contact_wins_and_a_given_address_helps_out() {
        let (mut roster, now) = (roster(), Instant::now());
        roster.give(&given(&[(2, "old:1"), (3, "c:1"), (9, "i:1")]));
        let latest = contacts(&members(&[1, 2, 3, 4]), &[(2, "b:1"), (3, "no address")]);
        roster.changed(GroupId(1), &latest);
        let expected = [(2, "b:1"), (3, "c:1"), (4, "?")].map(|(id, address)| (id, address.to_owned()));
        assert_eq!(wanted(&mut roster, now), expected);
        let moved = contacts(&latest, &[(2, "b:2")]);
        roster.changed(GroupId(1), &moved);
        assert_eq!(wanted(&mut roster, now)[0].1, "b:2");
        // The move is taken back.
        roster.changed(GroupId(1), &latest);
        assert_eq!(wanted(&mut roster, now)[0].1, "b:1");
    }

    /// R70: who left is wanted until that is committed, however long it takes, and then for the grace.
    #[test]
    fn who_left_stays_until_that_is_committed_and_known() {
        let (mut roster, now) = (roster(), Instant::now());
        roster.changed(GroupId(1), &members(&[1, 2, 3]));
        roster.committed(GroupId(1), &members(&[1, 2, 3]), now);
        let shrunk = without_3();
        roster.changed(GroupId(1), &shrunk);
        let later = now + Duration::from_secs(3_600);
        assert_eq!(ids(&mut roster, later), [2, 3]);
        let cut_at = roster.committed(GroupId(1), &shrunk, later);
        assert_eq!(cut_at, Some(later + GRACE));
        assert_eq!(ids(&mut roster, later + GRACE - Duration::from_nanos(1)), [2, 3]);
        assert_eq!(ids(&mut roster, later + GRACE), [2]);
        // Ids are never used twice, so the higher one may be new and this one is not.
        assert!(!roster.may_have_joined(NodeId(3)) && roster.may_have_joined(NodeId(4)));
    }

    #[test]
    fn a_removal_that_is_taken_back_removes_nobody() {
        let (mut roster, now) = (roster(), Instant::now());
        let all = members(&[1, 2, 3]);
        roster.changed(GroupId(1), &all);
        roster.committed(GroupId(1), &all, now);
        roster.changed(GroupId(1), &members(&[1, 2]));
        roster.changed(GroupId(1), &all);
        assert_eq!(roster.committed(GroupId(1), &all, now), None);
        assert_eq!(ids(&mut roster, now + GRACE), [2, 3]);
    }

    #[test]
    fn a_peer_of_one_group_is_a_peer() {
        let (mut roster, now) = (roster(), Instant::now());
        for group in [GroupId(1), GroupId(2)] {
            roster.changed(group, &members(&[1, 2, 3]));
            roster.committed(group, &members(&[1, 2, 3]), now);
        }
        roster.changed(GroupId(1), &members(&[1, 2]));
        roster.committed(GroupId(1), &members(&[1, 2]), now);
        assert_eq!(ids(&mut roster, now + GRACE), [2, 3]);
        roster.changed(GroupId(2), &members(&[1]));
        roster.committed(GroupId(2), &members(&[1]), now);
        assert_eq!(ids(&mut roster, now + GRACE), [2]);
        roster.left(GroupId(1));
        assert!(ids(&mut roster, now + GRACE).is_empty());
    }
}
