use bytes::Bytes;

use super::*;
use crate::config::Config;
use crate::effect::{Effect, RoleKind};
use crate::input::Input;
use crate::membership::Contact;
use crate::message::SnapshotMeta;
use crate::raft::Raft;
use crate::types::Time;

const GROUP: GroupId = GroupId(1);
const SURVIVOR: NodeId = NodeId(3);

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn voters(ids: &[u64]) -> Membership {
    Membership::of_voters(nodes(ids)).unwrap()
}

fn id(index: u64, term: u64) -> EntryId {
    EntryId::new(Term(term), Index(index))
}

/// A log of the group {1,2,3}: entries 1 to 6 of term 1, 7 to 10 of term 2, of which 8 are known to be committed.
fn stored() -> Recovered {
    Recovered {
        hard_state: HardState {
            term: Term(3),
            vote: Some(NodeId(1)),
            commit: Index(8),
            trust: Trust::Trusted,
        },
        snapshot: SnapshotMeta {
            last: EntryId::ZERO,
            membership: voters(&[1, 2, 3]),
        },
        term_runs: vec![(Index(1), Term(1)), (Index(7), Term(2))],
        last_index: Index(10),
        ..Recovered::default()
    }
}

fn plan(recovered: &Recovered, applied: EntryId) -> Result<RecoveryPlan, RecoveryError> {
    RecoveryPlan::new(GROUP, SURVIVOR, recovered, applied)
}

/// What a store recovers after it wrote `write`, which appends one entry.
fn written(mut recovered: Recovered, write: &GroupWrite) -> Recovered {
    let [entry] = write.log.entries() else {
        panic!("one entry is appended: {write:?}")
    };
    assert_eq!(entry.index(), recovered.last_index.next());
    recovered.last_index = entry.index();
    recovered.term_runs.push((entry.index(), entry.term()));
    if let Payload::Membership(membership) = &entry.payload {
        recovered.memberships.push((entry.index(), membership.clone()));
    }
    recovered.hard_state = write.hard_state.unwrap();
    recovered.lost = false;
    recovered
}

/// Starts the survivor on what the recovery left, lets its election timeout pass, and answers what it asks for. It must
/// lead, and commit everything.
fn leads_alone(recovered: Recovered, plan: &RecoveryPlan) -> Raft {
    let recovered = written(recovered, &plan.write());
    let recovery_term = recovered.hard_state.term;
    let config = Config::new(GROUP, SURVIVOR);
    let mut raft = Raft::new(config, recovered, plan.found.applied, Time::ZERO).unwrap();
    assert_eq!(raft.status().membership, plan.target);
    let mut inputs = vec![Input::Tick];
    let now = raft.next_deadline();
    while let Some(input) = inputs.pop() {
        let mut effects = Vec::new();
        raft.step(now, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Persist(write) => {
                    inputs.push(Input::Persisted(write.seq));
                    inputs.extend(write.then.into_iter().map(Input::Receive));
                }
                // Whoever comes back all the same is told that it is no member any more.
                Effect::Send(message) => assert!(plan.lost.contains(&message.to), "{message:?}"),
                _ => {}
            }
        }
    }
    assert_eq!(raft.role(), RoleKind::Leader);
    assert!(raft.term() > recovery_term, "a restart begins a term (R39)");
    // The configuration, and the first entry of the own term.
    assert_eq!(raft.commit_index(), plan.found.last.index + 2);
    raft
}

/// R68: the statement names what is kept, what is decided, what may be lost, and who must never come back.
#[test]
fn the_statement_says_what_may_be_lost() {
    let plan = plan(&stored(), id(7, 2)).unwrap();
    assert_eq!((plan.found.last, plan.found.commit), (id(10, 2), id(8, 2)));
    assert_eq!(plan.undecided(), Some((Index(9), Index(10))));
    assert_eq!(plan.lost, nodes(&[1, 2]));
    let statement = plan.to_string();
    for part in [
        "Node 3 is to go on alone. The members it knows of are {1,2,3}",
        "up to entry 10@2 (index@term)",
        "committed up to entry 8@2;\n  its state machine has applied entry 7@2",
        "Entries 9 to 10 are not known here to be committed",
        "Every write that was acknowledged above index 8 and is not in this log",
        "Node 1 must never be started again",
        "Node 2 must never be started again",
        "above 3, and above every id",
    ] {
        assert!(statement.contains(part), "{part}\nis missing in\n{statement}");
    }
    assert!(statement.lines().all(|line| line.len() <= 110), "{statement}");
}

#[test]
fn a_position_is_one_line() {
    let mut recovered = stored();
    let line = |recovered: &Recovered| Position::new(recovered, id(7, 2)).unwrap().to_string();
    let trusted = "last 10@2, term 3, committed 8@2, applied 7@2, members {1,2,3}";
    assert_eq!(line(&recovered), trusted);
    recovered.lost = true;
    assert_eq!(line(&recovered), format!("{trusted}, a suspect"));
}

/// R39, R56: the configuration goes behind the last entry, in a term that nobody else was in, without a vote.
#[test]
fn the_write_appends_one_configuration() {
    let mut recovered = stored();
    let contact = Contact::new("three:2380").unwrap();
    let four = MembershipParts {
        contacts: [(SURVIVOR, contact.clone())].into(),
        highest_id: NodeId(7),
        ..voters(&[1, 2, 3, 4]).to_parts()
    };
    recovered.snapshot.membership = Membership::from_parts(four).unwrap();
    let plan = plan(&recovered, id(8, 2)).unwrap();
    let write = plan.write();
    let hard_state = write.hard_state.unwrap();
    assert!(hard_state.term > recovered.hard_state.term.next());
    assert_eq!((hard_state.vote, hard_state.commit), (None, Index(8)));
    assert_eq!(write.snapshot, None);
    let [entry] = write.log.entries() else {
        panic!("{write:?}")
    };
    assert_eq!(entry.id, EntryId::new(hard_state.term, Index(11)));
    assert_eq!(plan.target.voters(), [SURVIVOR]);
    assert_eq!(plan.target.members(), [SURVIVOR]);
    assert_eq!(plan.target.contact(SURVIVOR), Some(&contact));
    // R68: no id comes back.
    assert_eq!(plan.target.highest_id(), NodeId(7));
    leads_alone(recovered, &plan);
}

/// R61: the tail holds a joint configuration that nobody can leave any more; the recovery follows it and counts.
#[test]
fn a_joint_configuration_in_the_tail_is_overruled() {
    let mut recovered = stored();
    let joint = Membership::new(nodes(&[3, 4, 5]), nodes(&[1, 3]), vec![]).unwrap();
    recovered.memberships.push((Index(9), voters(&[1, 3])));
    recovered.memberships.push((Index(10), joint.clone()));
    let plan = plan(&recovered, id(8, 2)).unwrap();
    assert_eq!(plan.found.membership, joint);
    assert_eq!(plan.lost, nodes(&[1, 2, 4, 5]));
    assert_eq!(plan.target.highest_id(), NodeId(5));
    let raft = leads_alone(recovered, &plan);
    assert_eq!(
        raft.status().membership,
        plan.target,
        "it is not left for {{3,4,5}}"
    );
}

/// R70: a removal that the group may have taken back does not count; one that is committed does.
#[test]
fn a_removed_survivor_is_refused() {
    let mut recovered = stored();
    recovered.memberships.push((Index(9), voters(&[1, 2])));
    let uncommitted = plan(&recovered, id(8, 2)).unwrap();
    leads_alone(recovered.clone(), &uncommitted);
    recovered.hard_state.commit = Index(9);
    let refused = plan(&recovered, id(8, 2)).unwrap_err();
    let membership = voters(&[1, 2]);
    let survivor = SURVIVOR;
    assert_eq!(refused, RecoveryError::NotAMember { survivor, membership });
}

/// R26: a learner has the log as well as anybody, and becomes the voter.
#[test]
fn a_learner_can_survive() {
    let mut recovered = stored();
    recovered.snapshot.membership = Membership::new(nodes(&[1, 2]), vec![], nodes(&[3])).unwrap();
    let plan = plan(&recovered, id(8, 2)).unwrap();
    assert!(plan.to_string().contains("It has no vote there"), "{plan}");
    leads_alone(recovered, &plan);
}

/// R68: nobody is left who could restore the trust in a suspect, so the owner does, who is told about it.
#[test]
fn a_suspect_is_trusted_again() {
    for (lost, trust) in [(true, Trust::Trusted), (false, Trust::Suspect)] {
        let mut recovered = stored();
        recovered.lost = lost;
        recovered.hard_state.trust = trust;
        let plan = plan(&recovered, id(8, 2)).unwrap();
        assert!(plan.to_string().contains("Node 3 is a suspect"), "{plan}");
        leads_alone(recovered, &plan);
    }
    let trusted = plan(&stored(), id(8, 2)).unwrap();
    assert!(!trusted.to_string().contains("suspect"), "{trusted}");
}

/// R68: the only voter of a group may be a suspect, too; then it cannot elect itself.
#[test]
fn a_suspect_that_is_alone_is_trusted_again() {
    let mut recovered = stored();
    recovered.snapshot.membership = voters(&[3]);
    assert_eq!(
        plan(&recovered, id(8, 2)).unwrap_err(),
        RecoveryError::NotNeeded(SURVIVOR)
    );
    recovered.hard_state.trust = Trust::Suspect;
    let plan = plan(&recovered, id(8, 2)).unwrap();
    assert_eq!(plan.lost, []);
    leads_alone(recovered, &plan);
}

/// R46: a received snapshot replaced the log, and nothing follows it yet.
#[test]
fn a_snapshot_newer_than_the_log_is_the_log() {
    let mut recovered = stored();
    recovered.snapshot.last = id(20, 3);
    recovered.purged = id(20, 3);
    recovered.term_runs.clear();
    recovered.last_index = Index(20);
    // The state machine was not restored from it yet; the next start does that.
    let plan = plan(&recovered, id(7, 2)).unwrap();
    assert_eq!((plan.found.last, plan.found.commit), (id(20, 3), id(20, 3)));
    assert_eq!(plan.undecided(), None);
    assert!(
        plan.to_string()
            .contains("Nothing: every entry is known to be committed")
    );
    let write = plan.write();
    assert_eq!(write.log.entries()[0].index(), Index(21));
    let recovered = written(recovered, &write);
    assert!(Raft::new(Config::new(GROUP, SURVIVOR), recovered, id(20, 3), Time::ZERO).is_ok());
}

#[test]
fn a_purged_log_is_recovered_from_its_rest() {
    let mut recovered = stored();
    recovered.snapshot.last = id(7, 2);
    recovered.purged = id(6, 1);
    recovered.term_runs.remove(0);
    recovered.hard_state.commit = Index::ZERO;
    let plan = plan(&recovered, id(7, 2)).unwrap();
    assert_eq!(
        plan.found.commit,
        id(7, 2),
        "what a snapshot covers is committed (R52)"
    );
    leads_alone(recovered, &plan);
}

/// R39: a replica that never stored an entry still has the first configuration; everything else is lost.
#[test]
fn an_empty_log_is_a_new_beginning() {
    let recovered = Recovered {
        snapshot: stored().snapshot,
        ..Recovered::default()
    };
    let plan = plan(&recovered, EntryId::ZERO).unwrap();
    assert!(
        plan.to_string().contains("whatever the group decided is lost"),
        "{plan}"
    );
    leads_alone(recovered, &plan);
}

#[test]
fn who_never_was_a_member_is_refused() {
    assert_eq!(
        plan(&Recovered::default(), EntryId::ZERO).unwrap_err(),
        RecoveryError::NothingStored(SURVIVOR)
    );
    let mut recovered = stored();
    recovered.snapshot.membership = voters(&[1, 2]);
    assert!(matches!(
        plan(&recovered, EntryId::ZERO),
        Err(RecoveryError::NotAMember { .. })
    ));
}

/// A second recovery would only throw away a good configuration.
#[test]
fn who_can_lead_alone_needs_no_recovery() {
    let recovered = written(stored(), &plan(&stored(), id(8, 2)).unwrap().write());
    assert_eq!(
        plan(&recovered, id(8, 2)).unwrap_err(),
        RecoveryError::NotNeeded(SURVIVOR)
    );
}

/// R11: a log that ends below what was acknowledged or applied is no ground to go on from.
#[test]
fn a_log_that_lost_its_end_is_refused() {
    for (commit, snapshot, applied) in [
        (Index(11), EntryId::ZERO, EntryId::ZERO),
        (Index(8), id(11, 3), EntryId::ZERO),
        (Index(8), EntryId::ZERO, id(11, 3)),
    ] {
        let mut recovered = stored();
        recovered.hard_state.commit = commit;
        recovered.snapshot.last = snapshot;
        let refused = plan(&recovered, applied).unwrap_err();
        let lost = LostEntries {
            commit: Index(11),
            last: id(10, 2),
        };
        assert_eq!(refused, RecoveryError::AcknowledgedEntryLost(lost));
    }
}

/// R1, R37: without a majority the highest last entry may be one that was never committed, and may stand where another
/// survivor knows of a committed one.
#[test]
fn a_committed_entry_of_another_survivor_may_be_missing() {
    let mut recovered = stored();
    recovered.snapshot.last = id(4, 1);
    recovered.purged = id(4, 1);
    recovered.term_runs[0].0 = Index(5);
    let plan = plan(&recovered, id(8, 2)).unwrap();
    for present in [id(2, 1), id(4, 1), id(6, 1), id(10, 2)] {
        assert!(plan.contains(present), "{present}");
    }
    for missing in [id(10, 1), id(9, 3), id(11, 2)] {
        assert!(!plan.contains(missing), "{missing}");
    }
}

/// Sessions and state are the state machine's: the write holds nothing but the configuration and the term.
#[test]
fn commands_stay_as_they_are() {
    let plan = plan(&stored(), id(8, 2)).unwrap();
    let command = Entry::command(Term(2), Index(10), Bytes::from_static(b"x"));
    let mut write = GroupWrite {
        group: GROUP,
        hard_state: None,
        snapshot: None,
        log: LogChange::Append(vec![command.clone()]),
    };
    write.merge(plan.write());
    assert_eq!(write.log.entries()[0], command, "it truncates nothing");
    assert_eq!(write.log.entries().len(), 2);
}
