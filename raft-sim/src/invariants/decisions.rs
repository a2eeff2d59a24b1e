//! What a replica decides to say, at the moment when it decides: what promises something leaves only after a write, and the
//! replica may have learned more by then.

use std::collections::BTreeMap;

use raft_core::message::{Body, Message};
use raft_core::types::NodeId;

use crate::observation::Observation;

/// Answers that wait for a write, by who decided them.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    deferred: BTreeMap<NodeId, Vec<Message>>,
}

impl Decisions {
    /// The messages that are decided by what is seen; among them messages of a replica to itself.
    pub(super) fn of<'a>(&mut self, seen: &Observation<'a>) -> &'a [Message] {
        match *seen {
            Observation::WriteBegun { node, write, .. } => {
                let waits = |message: &&Message| message.to != node && is_answer(message);
                let answers = write.then.iter().filter(waits).cloned();
                self.deferred.entry(node).or_default().extend(answers);
                &write.then
            }
            Observation::Sent { message } if is_answer(message) => {
                let deferred = self.deferred.entry(message.from).or_default();
                match deferred.iter().position(|one| one == message) {
                    Some(position) => {
                        deferred.remove(position);
                        &[]
                    }
                    None => std::slice::from_ref(message),
                }
            }
            Observation::Stopped { node } => {
                self.deferred.remove(&node);
                &[]
            }
            _ => &[],
        }
    }
}

/// Whether it is one of the answers that invariants ask about.
fn is_answer(message: &Message) -> bool {
    matches!(
        message.body,
        Body::RequestVoteResponse(_) | Body::RequestPreVoteResponse(_) | Body::AppendEntriesResponse(_)
    )
}

#[cfg(test)]
mod tests {
    use raft_core::effect::{LogChange, RoleKind, Write};
    use raft_core::message::RequestVoteResponse;
    use raft_core::types::{GroupId, Term, WriteSeq};

    use super::*;
    use crate::disk::LogImage;

    /// R55: an answer is decided once, with the write that it waits for, and not when it leaves.
    #[test]
    fn an_answer_is_decided_once() {
        let message = Message {
            group: GroupId(1),
            from: NodeId(1),
            to: NodeId(2),
            term: Term(3),
            body: Body::RequestVoteResponse(RequestVoteResponse {
                refusal: None,
                incarnation: 0,
            }),
        };
        let write = Write {
            seq: WriteSeq(1),
            hard_state: None,
            snapshot: None,
            log: LogChange::Append(Vec::new()),
            then: vec![message.clone()],
        };
        let log = LogImage::default();
        let begun = Observation::WriteBegun {
            node: NodeId(1),
            role: RoleKind::Follower,
            log: &log,
            write: &write,
        };
        let sent = Observation::Sent { message: &message };
        let mut decisions = Decisions::default();
        assert_eq!(decisions.of(&begun).len(), 1);
        assert!(decisions.of(&sent).is_empty());
        assert_eq!(decisions.of(&sent).len(), 1, "the second one is another decision");
        decisions.of(&begun);
        decisions.of(&Observation::Stopped { node: NodeId(1) });
        assert_eq!(decisions.of(&sent).len(), 1, "what waited is gone");
    }
}
