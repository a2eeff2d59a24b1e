//! How members are reached is part of the configuration, and the core only carries it.

use raft_core::membership::{
    CONTACT_BYTES_MAX, ChangeError, Contact, MEMBERS_MAX, MemberChange, Membership, MembershipError,
    MembershipPlan,
};
use raft_core::types::NodeId;

fn contact(text: &str) -> Contact {
    Contact::new(text).expect("a short contact")
}

fn target(current: &Membership, changes: &[MemberChange]) -> Result<Membership, ChangeError> {
    MembershipPlan::new(current, changes).map(|plan| plan.target)
}

/// R62: a contact is set for members only, replaces the one before, and is no change if it is the same.
#[test]
fn a_contact_belongs_to_a_member() {
    let two = Membership::of_voters([1, 2].map(NodeId)).unwrap();
    let set = |id, text: &str| MemberChange::SetContact {
        id: NodeId(id),
        contact: contact(text),
    };
    let here = target(&two, &[set(2, "here")]).unwrap();
    assert_eq!(here.contact(NodeId(2)).map(Contact::as_str), Some("here"));
    let there = target(&here, &[set(2, "there")]).unwrap();
    assert_eq!(there.contact(NodeId(2)).map(Contact::as_str), Some("there"));
    assert_eq!(target(&there, &[set(2, "there")]), Err(ChangeError::Nothing));
    assert_eq!(
        target(&there, &[set(3, "x")]),
        Err(ChangeError::NotAMember(NodeId(3)))
    );
    // It goes with its member, in one entry: nobody's vote changes, or one.
    let plan = MembershipPlan::new(&there, &[MemberChange::Remove(NodeId(2))]).unwrap();
    assert_eq!((plan.joint, plan.target.contacts().len()), (None, 0));
}

/// R65: while a configuration is joint, members of both halves are reached; who has left is forgotten.
#[test]
fn both_halves_have_contacts() {
    let current = Membership::of_voters([1, 2, 3].map(NodeId))
        .unwrap()
        .with_contacts([(NodeId(2), contact("two")), (NodeId(3), contact("three"))])
        .unwrap();
    let four = MemberChange::AddVoter {
        id: NodeId(4),
        contact: Some(contact("four")),
    };
    let changes = [
        four,
        MemberChange::Remove(NodeId(2)),
        MemberChange::Demote(NodeId(3)),
    ];
    let plan = MembershipPlan::new(&current, &changes).unwrap();
    let joint: Vec<(u64, &str)> = plan
        .next()
        .contacts()
        .iter()
        .map(|(id, contact)| (id.0, contact.as_str()))
        .collect();
    assert_eq!(joint, [(2, "two"), (3, "three"), (4, "four")]);
    assert_eq!(plan.target.contact(NodeId(2)), None);
    assert_eq!(plan.target.contacts().len(), 2);
}

#[test]
fn a_contact_is_bounded() {
    assert!(Contact::new(&"x".repeat(CONTACT_BYTES_MAX)).is_ok());
    let bytes = CONTACT_BYTES_MAX + 1;
    assert_eq!(
        Contact::new(&"x".repeat(bytes)),
        Err(MembershipError::ContactTooLong { bytes })
    );
}

/// R62: a configuration has a size that fits into a message, and so has a change.
#[test]
fn configurations_and_changes_are_bounded() {
    let members = |count: usize| Membership::of_voters((1..=count as u64).map(NodeId));
    assert!(members(MEMBERS_MAX).is_ok());
    let too_many = MembershipError::TooMany {
        members: MEMBERS_MAX + 1,
    };
    assert_eq!(members(MEMBERS_MAX + 1), Err(too_many));
    let id = NodeId(1);
    let of = |text: &str| Some(contact(text));
    let sizes = [
        MemberChange::Promote(id),
        MemberChange::Demote(id),
        MemberChange::Remove(id),
        MemberChange::AddVoter { id, contact: None },
        MemberChange::AddLearner {
            id,
            contact: of("12"),
        },
        MemberChange::SetContact {
            id,
            contact: contact("123"),
        },
    ]
    .map(|change| change.size_bytes());
    assert_eq!(sizes, [16, 16, 16, 16, 18, 19]);
}

#[test]
fn a_configuration_shows_its_contacts() {
    let one = Membership::of_voters([NodeId(1)]).unwrap();
    let one = one.with_contacts([(NodeId(1), contact("here"))]).unwrap();
    let shown = format!("{one:?}");
    assert!(
        shown.contains("voters: [NodeId(1)]") && shown.contains("\"here\""),
        "{shown}"
    );
}
