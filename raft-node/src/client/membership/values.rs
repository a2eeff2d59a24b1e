//! Members, configurations and changes, as people see them.

use std::fmt;

use serde::Serialize;

use crate::member_contact::MemberContact;

/// One configuration of the group; every list is sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Configuration {
    /// The voters; of the incoming half if the configuration is joint.
    pub voters: Vec<u64>,
    /// The voters of the outgoing half; empty unless the configuration is joint.
    pub outgoing: Vec<u64>,
    /// The learners.
    pub learners: Vec<u64>,
    /// Voters of the outgoing half that become learners when the joint configuration is left.
    pub learners_next: Vec<u64>,
    /// The highest id that was ever a member.
    pub highest_id: u64,
}

/// `voters 1, 2, 3; learner 4`.
impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.voters.is_empty() {
            return f.write_str("none yet");
        }
        if self.outgoing.is_empty() {
            f.write_str(&named("voter", &self.voters))?;
        } else {
            let (incoming, outgoing) = (list(&self.voters), list(&self.outgoing));
            write!(f, "joint: a majority of {incoming} and one of {outgoing}")?;
        }
        if !self.learners.is_empty() {
            write!(f, "; {}", named("learner", &self.learners))?;
        }
        if !self.learners_next.is_empty() {
            write!(f, "; about to be {}", named("learner", &self.learners_next))?;
        }
        Ok(())
    }
}

/// `voter 1` or `voters 1, 2`.
fn named(kind: &str, ids: &[u64]) -> String {
    let plural = if ids.len() == 1 { "" } else { "s" };
    format!("{kind}{plural} {}", list(ids))
}

/// `1, 2, 3`.
#[must_use]
pub fn list(ids: &[u64]) -> String {
    let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
    ids.join(", ")
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// What people call it.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// `voter`, `learner`, or, while a change is under way, what it is becoming.
    pub role: &'static str,
}

/// The members, as one node has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Members {
    /// The node that tells them.
    pub id: u64,
    /// The leader that the node knows; 0 if none.
    pub leader: u64,
    /// Its term.
    pub term: u64,
    /// The latest configuration in its log.
    pub configuration: Configuration,
    /// Every member of it, sorted by id.
    pub members: Vec<Member>,
    /// What it knows of the others' logs, if it leads; sorted by id.
    pub progress: Vec<MemberProgress>,
}

impl Members {
    /// Whether `id` is one of them.
    #[must_use]
    pub fn has(&self, id: u64) -> bool {
        self.members.iter().any(|member| member.id == id)
    }
}

/// How far a member is, as the leader knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberProgress {
    /// The member.
    pub id: u64,
    /// How many entries of the leader's log it lacks.
    pub entries_behind: u64,
    /// How it gets them: `probe` while the leader looks for the place where the logs part, `stream`, or `snapshot`.
    pub replication: &'static str,
    /// Whether the leader has a connection to it.
    pub connected: bool,
}

/// One step of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new member.
    Add {
        /// Its id, above the highest that was ever a member.
        id: u64,
        /// How it is reached.
        contact: MemberContact,
        /// Whether it only receives the log.
        is_learner: bool,
    },
    /// A learner votes from now on.
    Promote(u64),
    /// A voter becomes a learner.
    Demote(u64),
    /// A member is no member any more.
    Remove(u64),
    /// A member is reached in another way.
    Update {
        /// The member.
        id: u64,
        /// What changes; the rest is empty and stays.
        contact: MemberContact,
    },
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The log index from which on it holds.
    pub index: u64,
    /// The configuration from there on.
    pub configuration: Configuration,
    /// Every member of it, sorted by id.
    pub members: Vec<Member>,
}

/// What a change would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The configuration that would be changed.
    pub current: Configuration,
    /// The joint configuration on the way, if one is needed.
    pub joint: Option<Configuration>,
    /// The configuration at the end.
    pub target: Configuration,
    /// How many voters of the target must agree.
    pub quorum: u32,
    /// How many voters of the target may fail at once without stopping the group.
    pub failures_survived: u32,
    /// The members that the leader heard from within an election timeout.
    pub reachable: Vec<u64>,
    /// Whether every configuration on the way could decide now.
    pub quorum_reachable: bool,
    /// Why the leader would refuse the change now, and what can be done; none if it would take it.
    pub refusal: Option<String>,
    /// The learner that has not caught up, if that is why.
    pub lagging: Option<Lagging>,
}

/// A learner that has not caught up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lagging {
    /// The learner.
    pub id: u64,
    /// How many entries of the leader's log it lacks.
    pub entries_behind: u64,
}

impl Preview {
    /// The members, before, on the way and after, that the leader did not hear from.
    #[must_use]
    pub fn unreachable(&self) -> Vec<u64> {
        let configurations = [Some(&self.current), self.joint.as_ref(), Some(&self.target)];
        let mut members: Vec<u64> = configurations
            .into_iter()
            .flatten()
            .flat_map(Configuration::members)
            .filter(|member| !self.reachable.contains(member))
            .collect();
        members.sort_unstable();
        members.dedup();
        members
    }
}

impl Configuration {
    /// Every member, in no order and maybe twice.
    fn members(&self) -> impl Iterator<Item = u64> {
        [&self.voters, &self.outgoing, &self.learners]
            .into_iter()
            .flatten()
            .copied()
    }

    pub(super) fn role(&self, id: u64) -> &'static str {
        let is_in = |ids: &[u64]| ids.contains(&id);
        let is_joint = !self.outgoing.is_empty();
        match (is_in(&self.voters), is_in(&self.outgoing)) {
            (true, false) if is_joint => "voter (new)",
            (true, _) => "voter",
            (false, true) if is_in(&self.learners_next) => "voter (becomes a learner)",
            (false, true) => "voter (leaves)",
            (false, false) => "learner",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_told_in_words() {
        let mut configuration = Configuration {
            voters: vec![1, 2, 3],
            learners: vec![4],
            ..Configuration::default()
        };
        assert_eq!(configuration.to_string(), "voters 1, 2, 3; learner 4");
        configuration.outgoing = vec![2, 3, 5];
        configuration.learners_next = vec![5];
        assert_eq!(
            configuration.to_string(),
            "joint: a majority of 1, 2, 3 and one of 2, 3, 5; learner 4; about to be learner 5"
        );
        let roles: Vec<_> = (1..=5).map(|id| configuration.role(id)).collect();
        assert_eq!(
            roles,
            [
                "voter (new)",
                "voter",
                "voter",
                "learner",
                "voter (becomes a learner)"
            ]
        );
        assert_eq!(Configuration::default().to_string(), "none yet");
    }

    #[test]
    fn a_preview_knows_who_is_silent() {
        let preview = Preview {
            current: Configuration {
                voters: vec![1, 2, 3],
                ..Configuration::default()
            },
            target: Configuration {
                voters: vec![1, 2, 4],
                learners: vec![5],
                ..Configuration::default()
            },
            reachable: vec![1, 4],
            ..Preview::default()
        };
        assert_eq!(preview.unreachable(), [2, 3, 5]);
    }
}
