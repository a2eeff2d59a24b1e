//! Between the messages of the service and the values.

use std::collections::BTreeMap;

use super::values::{Changed, Configuration, Lagging, Member, MemberProgress, Members, Preview, Step};
use crate::proto::raftnode as wire;

impl From<&Step> for wire::Change {
    fn from(step: &Step) -> wire::Change {
        let (kind, id, contact) = match step {
            Step::Add {
                id,
                contact,
                is_learner: true,
            } => (wire::ChangeKind::AddLearner, *id, Some(contact)),
            Step::Add { id, contact, .. } => (wire::ChangeKind::AddVoter, *id, Some(contact)),
            Step::Promote(id) => (wire::ChangeKind::Promote, *id, None),
            Step::Demote(id) => (wire::ChangeKind::Demote, *id, None),
            Step::Remove(id) => (wire::ChangeKind::Remove, *id, None),
            Step::Update { id, contact } => (wire::ChangeKind::Update, *id, Some(contact)),
        };
        let contact = contact.cloned().map(|contact| wire::Contact {
            name: contact.name,
            peer_urls: contact.peer_urls,
            client_urls: contact.client_urls,
        });
        wire::Change {
            kind: kind.into(),
            id,
            contact,
        }
    }
}

impl From<wire::Configuration> for Configuration {
    fn from(configuration: wire::Configuration) -> Configuration {
        Configuration {
            voters: configuration.voters,
            outgoing: configuration.outgoing,
            learners: configuration.learners,
            learners_next: configuration.learners_next,
            highest_id: configuration.highest_id,
        }
    }
}

/// Joins the members' addresses and their place in the configuration.
fn members(configuration: &Configuration, members: Vec<wire::Member>) -> Vec<Member> {
    let member = |(id, contact): (u64, wire::Contact)| Member {
        id,
        name: contact.name,
        peer_urls: contact.peer_urls,
        client_urls: contact.client_urls,
        role: configuration.role(id),
    };
    let by_id: BTreeMap<u64, wire::Contact> = members
        .into_iter()
        .map(|member| (member.id, member.contact.unwrap_or_default()))
        .collect();
    by_id.into_iter().map(member).collect()
}

impl From<wire::DescribeResponse> for Members {
    fn from(response: wire::DescribeResponse) -> Members {
        let configuration = Configuration::from(response.configuration.unwrap_or_default());
        let progress = |progress: wire::Progress| MemberProgress {
            id: progress.id,
            entries_behind: progress.entries_behind,
            replication: match progress.replication() {
                wire::Replication::Stream => "stream",
                wire::Replication::Snapshot => "snapshot",
                wire::Replication::Probe | wire::Replication::Unspecified => "probe",
            },
            connected: progress.connected,
        };
        Members {
            id: response.id,
            leader: response.leader,
            term: response.term,
            members: members(&configuration, response.members),
            configuration,
            progress: response.progress.into_iter().map(progress).collect(),
        }
    }
}

impl From<wire::ChangeResponse> for Changed {
    fn from(response: wire::ChangeResponse) -> Changed {
        let configuration = Configuration::from(response.configuration.unwrap_or_default());
        Changed {
            index: response.index,
            members: members(&configuration, response.members),
            configuration,
        }
    }
}

impl From<wire::PreviewResponse> for Preview {
    fn from(response: wire::PreviewResponse) -> Preview {
        let refusal = response.refusal;
        Preview {
            current: response.current.unwrap_or_default().into(),
            joint: response.joint.map(Configuration::from),
            target: response.target.unwrap_or_default().into(),
            quorum: response.quorum,
            failures_survived: response.failures_survived,
            reachable: response.reachable,
            quorum_reachable: response.quorum_reachable,
            lagging: refusal
                .as_ref()
                .filter(|refusal| refusal.learner != 0)
                .map(|refusal| Lagging {
                    id: refusal.learner,
                    entries_behind: refusal.entries_behind,
                }),
            refusal: refusal.map(|refusal| refusal.text),
        }
    }
}
