//! Elections, replication, crashes and changes of the members.
//!
//! Time stands still: nothing is decided by how long something took, and the election timeout passes whenever the model
//! says so. A follower that hears its leader votes for nobody; it times out itself first, or hears nothing for an election
//! timeout (`silences`).

use raft_core::membership::MemberChange;
use raft_core::types::NodeId;

use super::mark::Mark;
use super::scope::{Scope, Start};

/// The scopes of this model, from the smallest on. Those that can be exhausted within minutes come first.
#[must_use]
pub fn scopes() -> Vec<Scope> {
    vec![
        one_candidate(),
        inherited_command(),
        two_candidates(),
        three_candidates(),
        terms(),
        crash(),
        change(),
        everything(),
    ]
}

/// One of three voters of a new group asks for votes.
#[must_use]
pub fn one_candidate() -> Scope {
    Scope {
        campaigners: vec![1],
        ..Scope::new("replication/one-candidate")
    }
}

/// A command of term 1 is on two of three disks, and not committed; one of the two leads next (paper Figure 8).
#[must_use]
pub fn inherited_command() -> Scope {
    Scope {
        start: Start::Undecided,
        campaigners: vec![2],
        terms_max: 2,
        silences: 1,
        expected: vec![Mark::Election, Mark::Command, Mark::TwoLeaders],
        ..Scope::new("replication/inherited-command")
    }
}

/// Two of three voters of a new group ask for votes in its first term.
#[must_use]
pub fn two_candidates() -> Scope {
    Scope {
        campaigners: vec![1, 2],
        ..Scope::new("replication/two-candidates")
    }
}

/// Every voter of a new group asks for votes in its first term.
#[must_use]
pub fn three_candidates() -> Scope {
    Scope::new("replication/three-candidates")
}

/// A leader has a command, and two others want to lead after it.
#[must_use]
pub fn terms() -> Scope {
    Scope {
        start: Start::Led { late_messages: false },
        campaigners: vec![2, 3],
        terms_max: 2,
        commands: 1,
        expected: vec![Mark::Election, Mark::Command, Mark::TwoLeaders, Mark::Overwritten],
        ..Scope::new("replication/terms")
    }
}

/// The same, and any replica may crash once.
#[must_use]
pub fn crash() -> Scope {
    let mut scope = terms();
    scope.name = "replication/crash";
    scope.crashes = 1;
    scope.expected.push(Mark::CrashDuringWrite);
    scope
}

/// A leader removes a voter, demotes one or itself, or takes a learner in, while another one is elected.
#[must_use]
pub fn change() -> Scope {
    let learner = MemberChange::AddLearner {
        id: NodeId(4),
        contact: None,
    };
    Scope {
        replicas: 4,
        start: Start::Led { late_messages: false },
        campaigners: vec![2, 3],
        terms_max: 2,
        changes: vec![
            vec![MemberChange::Remove(NodeId(3))],
            vec![MemberChange::Demote(NodeId(1))],
            vec![learner, MemberChange::Remove(NodeId(2))],
        ],
        changes_max: 1,
        expected: vec![Mark::Election, Mark::Change, Mark::TwoLeaders],
        ..Scope::new("replication/change")
    }
}

/// A command, a read, a crash, a change and a silence in one course of two more terms.
#[must_use]
pub fn everything() -> Scope {
    Scope {
        start: Start::Led { late_messages: false },
        terms_max: 3,
        commands: 1,
        reads: 1,
        changes: vec![
            vec![MemberChange::Remove(NodeId(3))],
            vec![MemberChange::Demote(NodeId(2))],
        ],
        changes_max: 1,
        crashes: 1,
        silences: 1,
        late_reports: true,
        expected: vec![Mark::Command, Mark::Read, Mark::Change, Mark::CrashDuringWrite],
        ..Scope::new("replication/everything")
    }
}
