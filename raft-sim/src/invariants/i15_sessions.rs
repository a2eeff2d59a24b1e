//! I15 Exactly once: a command of a session is applied once, and every copy of it gets the same reply (thesis §6.3; R73).
//!
//! Also that replicas agree on every reply, that a session which ended stays so, and that a sequence which its client
//! acknowledged is never applied. Entries are judged in log order when somebody applies them first; whoever applies them
//! again, on another node or after a restart, must give the same answers.

use std::collections::HashMap;

use raft_core::entry::{Entry, Payload, SessionCommand, SessionRequest};
use raft_core::request::RefusalReason;
use raft_core::sessions::Reply;
use raft_core::types::{Index, NodeId, Sequence, SessionId};

use super::Invariant;
use crate::history::hash_bytes;
use crate::observation::{CallId, Ending, Observation, View};

/// I15.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// What was answered to each entry by whoever applied it first, from index 1.
    answers: Vec<Option<Answer>>,
    sessions: HashMap<SessionId, Session>,
    /// In which sessions, and under which numbers, the calls under way were attempted.
    attempts: HashMap<CallId, Vec<(SessionId, Sequence)>>,
}

/// What a state machine answered to one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// The entry has no command.
    Nothing,
    Reply {
        index: Index,
        hash: u64,
    },
    Refused(RefusalReason),
}

#[derive(Debug)]
struct Session {
    acknowledged_below: Sequence,
    /// The entry that closed it or found it gone.
    ended_at: Option<Index>,
    replies: HashMap<Sequence, Reply>,
}

impl Invariant for Sessions {
    fn name(&self) -> &'static str {
        "I15"
    }

    fn statement(&self) -> &'static str {
        "a command of a session is applied once, and its copies get the identical reply"
    }

    fn observe(&mut self, seen: &Observation<'_>, _view: &View<'_>) -> Result<(), String> {
        match *seen {
            Observation::Applied { node, entry, reply } => self.applied(node, entry, reply),
            Observation::Attempted {
                call,
                in_session: Some((session, sequence)),
                ..
            } => {
                let attempt = (SessionId(session), Sequence(sequence));
                let attempts = self.attempts.entry(call).or_default();
                if !attempts.contains(&attempt) {
                    attempts.push(attempt);
                }
                Ok(())
            }
            Observation::Returned { call, ending } => self.returned(call, ending),
            _ => Ok(()),
        }
    }
}

impl Sessions {
    fn applied(
        &mut self,
        node: NodeId,
        entry: &Entry,
        reply: &Result<Reply, RefusalReason>,
    ) -> Result<(), String> {
        let position = entry.index().previous().0 as usize;
        if self.answers.len() <= position {
            self.answers.resize(position + 1, None);
        }
        let answer = answer_of(entry, reply);
        match &self.answers[position] {
            Some(first) if *first != answer => {
                return Err(format!(
                    "node {node} applied entry {} and answered {answer:?}; who applied it first answered {first:?}",
                    entry.id
                ));
            }
            Some(_) => return Ok(()),
            None => self.answers[position] = Some(answer),
        }
        let Payload::Session(session) = &entry.payload else {
            return Ok(());
        };
        self.judge(entry.index(), &session.request, reply)
            .map_err(|why| format!("node {node} applied entry {}: {why}", entry.id))
    }

    /// An entry of a session is applied for the first time.
    fn judge(
        &mut self,
        index: Index,
        request: &SessionRequest,
        reply: &Result<Reply, RefusalReason>,
    ) -> Result<(), String> {
        match (request, reply) {
            (SessionRequest::Open { .. }, Ok(_)) => {
                let session = Session {
                    acknowledged_below: Sequence::FIRST,
                    ended_at: None,
                    replies: HashMap::new(),
                };
                self.sessions.insert(SessionId(index.0), session);
                Ok(())
            }
            (SessionRequest::Close(id), Ok(_)) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.ended_at.get_or_insert(index);
                }
                Ok(())
            }
            (SessionRequest::KeepAlive(id), Ok(_)) => self.running(*id).map(drop),
            (SessionRequest::Command(command), Ok(reply)) => self.command_applied(index, command, reply),
            (SessionRequest::Command(command), Err(reason)) => self.command_refused(index, command, *reason),
            (SessionRequest::KeepAlive(id), Err(RefusalReason::SessionExpired(expired))) if id == expired => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.ended_at.get_or_insert(index);
                }
                Ok(())
            }
            (request, Err(reason)) => Err(format!("{request:?} was refused: {reason}")),
        }
    }

    /// A session that was opened and has not ended.
    fn running(&mut self, id: SessionId) -> Result<&mut Session, String> {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Err(format!(
                "session {id} was answered as if it were open; no entry opened it"
            ));
        };
        match session.ended_at {
            Some(ended_at) => Err(format!(
                "session {id} was answered as if it were open; it had ended at index {ended_at}"
            )),
            None => Ok(session),
        }
    }

    fn command_applied(
        &mut self,
        index: Index,
        command: &SessionCommand,
        reply: &Reply,
    ) -> Result<(), String> {
        let (id, sequence) = (command.session, command.sequence);
        let session = self.running(id)?;
        session.acknowledged_below = session.acknowledged_below.max(command.acknowledged_below);
        if sequence < session.acknowledged_below {
            return Err(format!(
                "sequence {sequence} of session {id} was answered with {reply:?}; its client had acknowledged everything \
                 below {}",
                session.acknowledged_below
            ));
        }
        match session.replies.get(&sequence) {
            Some(first) if first == reply => Ok(()),
            Some(first) if reply.index == index => Err(format!(
                "sequence {sequence} of session {id} was applied once more; it had been applied at index {}",
                first.index
            )),
            Some(first) => Err(format!(
                "a copy of sequence {sequence} of session {id} got {reply:?} instead of {first:?}"
            )),
            None if reply.index == index => {
                session.replies.insert(sequence, reply.clone());
                Ok(())
            }
            None => Err(format!(
                "sequence {sequence} of session {id} was said to be applied at index {}; it stands there for the first time",
                reply.index
            )),
        }
    }

    fn command_refused(
        &mut self,
        index: Index,
        command: &SessionCommand,
        reason: RefusalReason,
    ) -> Result<(), String> {
        let (id, sequence) = (command.session, command.sequence);
        let Some(session) = self.sessions.get_mut(&id) else {
            return match reason {
                RefusalReason::SessionExpired(expired) if expired == id => Ok(()),
                _ => Err(format!(
                    "session {id} was never opened, and a command of it was refused: {reason}"
                )),
            };
        };
        if reason == RefusalReason::SessionExpired(id) {
            session.ended_at.get_or_insert(index);
            return Ok(());
        }
        session.acknowledged_below = session.acknowledged_below.max(command.acknowledged_below);
        let (acknowledged_below, is_known) = (
            session.acknowledged_below,
            session.replies.contains_key(&sequence),
        );
        let is_right = match reason {
            RefusalReason::SequenceAcknowledged {
                acknowledged_below: said,
            } => said == acknowledged_below && sequence < said,
            RefusalReason::SessionWindowFull { limit } => sequence >= limit && !is_known,
            _ => false,
        };
        if is_right {
            return Ok(());
        }
        Err(format!(
            "sequence {sequence} of session {id} was refused: {reason}; acknowledged is everything below \
             {acknowledged_below}, and the sequence was {} before",
            if is_known { "applied" } else { "not applied" }
        ))
    }

    /// A client got its reply: it is what was replied when the command was applied.
    fn returned(&mut self, call: CallId, ending: &Ending) -> Result<(), String> {
        let attempts = self.attempts.remove(&call).unwrap_or_default();
        let Ending::Applied(reply) = ending else {
            return Ok(());
        };
        if attempts.is_empty() {
            let position = reply.index.previous().0 as usize;
            let known = self.answers.get(position).and_then(Option::as_ref);
            let given = Answer::Reply {
                index: reply.index,
                hash: hash_bytes(&reply.response),
            };
            return match known {
                Some(known) if *known == given => Ok(()),
                known => Err(format!(
                    "{call:?} ended with {reply:?}; what was answered at that index is {known:?}"
                )),
            };
        }
        let known = |(session, sequence): &(SessionId, Sequence)| {
            self.sessions
                .get(session)
                .and_then(|session| session.replies.get(sequence))
        };
        if attempts.iter().filter_map(known).any(|known| known == reply) {
            return Ok(());
        }
        Err(format!(
            "{call:?} ended with {reply:?}; it was attempted as {attempts:?}, whose replies are {:?}",
            attempts.iter().map(known).collect::<Vec<_>>()
        ))
    }
}

fn answer_of(entry: &Entry, reply: &Result<Reply, RefusalReason>) -> Answer {
    match (&entry.payload, reply) {
        (Payload::Noop | Payload::Membership(_), _) => Answer::Nothing,
        (_, Ok(reply)) => Answer::Reply {
            index: reply.index,
            hash: hash_bytes(&reply.response),
        },
        (_, Err(reason)) => Answer::Refused(*reason),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use raft_core::entry::SessionEntry;
    use raft_core::types::Term;

    use super::super::world_for_tests::{SmallWorld, assert_violated, command, id};
    use super::*;

    fn session_entry(index: u64, request: SessionRequest) -> Entry {
        let entry = SessionEntry {
            elapsed_ms: 0,
            request,
        };
        Entry {
            id: id(index, 1),
            payload: Payload::Session(Arc::new(entry)),
        }
    }

    /// A copy of the command with this sequence, in the session that entry 1 opened.
    fn copy(index: u64, sequence: u64, acknowledged_below: u64) -> Entry {
        let command = SessionCommand {
            session: SessionId(1),
            sequence: Sequence(sequence),
            acknowledged_below: Sequence(acknowledged_below),
            command: Bytes::from_static(b"x"),
        };
        session_entry(index, SessionRequest::Command(command))
    }

    fn reply(index: u64, response: &'static str) -> Result<Reply, RefusalReason> {
        let response = Bytes::from_static(response.as_bytes());
        Ok(Reply {
            index: Index(index),
            response,
        })
    }

    fn opened() -> (SmallWorld, Sessions) {
        let (mut world, mut sessions) = (SmallWorld::new(3), Sessions::default());
        let open = session_entry(1, SessionRequest::Open { ttl_ms: 1_000 });
        assert_eq!(apply(&mut world, &mut sessions, 1, &open, &reply(1, "")), Ok(()));
        (world, sessions)
    }

    fn apply(
        world: &mut SmallWorld,
        sessions: &mut Sessions,
        node: u64,
        entry: &Entry,
        reply: &Result<Reply, RefusalReason>,
    ) -> Result<(), String> {
        let node = NodeId(node);
        world.show(sessions, &Observation::Applied { node, entry, reply })
    }

    /// I15: copies get the reply of the first one, on every node, and so does the client.
    #[test]
    fn copies_get_the_same_reply() {
        let (mut world, mut sessions) = opened();
        for node in [1, 2] {
            for index in [2, 3] {
                let done = apply(
                    &mut world,
                    &mut sessions,
                    node,
                    &copy(index, 1, 1),
                    &reply(2, "a"),
                );
                assert_eq!(done, Ok(()));
            }
        }
        let call = CallId(1);
        let attempted = Observation::Attempted {
            call,
            node: NodeId(1),
            in_session: Some((1, 1)),
        };
        assert_eq!(world.show(&mut sessions, &attempted), Ok(()));
        let ending = Ending::Applied(reply(2, "a").expect("it is a reply"));
        assert_eq!(
            world.show(
                &mut sessions,
                &Observation::Returned {
                    call,
                    ending: &ending
                }
            ),
            Ok(())
        );
        assert_eq!(world.show(&mut sessions, &attempted), Ok(()));
        let other = Ending::Applied(reply(2, "b").expect("it is a reply"));
        assert_violated(
            world.show(&mut sessions, &Observation::Returned { call, ending: &other }),
            "was attempted as",
        );
    }

    /// I15: a command that is applied twice is found, and so is a copy with another reply.
    #[test]
    fn a_second_application_is_found() {
        let (mut world, mut sessions) = opened();
        assert_eq!(
            apply(&mut world, &mut sessions, 1, &copy(2, 1, 1), &reply(2, "a")),
            Ok(())
        );
        assert_violated(
            apply(&mut world, &mut sessions, 1, &copy(3, 1, 1), &reply(3, "a")),
            "applied once more; it had been applied at index 2",
        );
        let (mut world, mut sessions) = opened();
        assert_eq!(
            apply(&mut world, &mut sessions, 1, &copy(2, 1, 1), &reply(2, "a")),
            Ok(())
        );
        assert_violated(
            apply(&mut world, &mut sessions, 1, &copy(3, 1, 1), &reply(2, "b")),
            "a copy of sequence 1 of session 1",
        );
    }

    /// I15: what was acknowledged is refused, for that reason.
    #[test]
    fn an_acknowledged_sequence_is_never_applied() {
        let (mut world, mut sessions) = opened();
        assert_eq!(
            apply(&mut world, &mut sessions, 1, &copy(2, 2, 2), &reply(2, "a")),
            Ok(())
        );
        let acknowledged_below = Sequence(2);
        let refused = Err(RefusalReason::SequenceAcknowledged { acknowledged_below });
        assert_eq!(
            apply(&mut world, &mut sessions, 1, &copy(3, 1, 1), &refused),
            Ok(())
        );
        assert_violated(
            apply(&mut world, &mut sessions, 1, &copy(4, 1, 1), &reply(4, "a")),
            "had acknowledged everything below 2",
        );
        assert_violated(
            apply(&mut world, &mut sessions, 1, &copy(5, 2, 2), &refused),
            "the sequence was applied before",
        );
    }

    /// I15: a session that has ended stays so.
    #[test]
    fn a_session_ends_once() {
        let (mut world, mut sessions) = opened();
        let expired = Err(RefusalReason::SessionExpired(SessionId(1)));
        assert_eq!(
            apply(&mut world, &mut sessions, 1, &copy(2, 1, 1), &expired),
            Ok(())
        );
        assert_eq!(
            apply(&mut world, &mut sessions, 1, &copy(3, 1, 1), &expired),
            Ok(())
        );
        assert_violated(
            apply(&mut world, &mut sessions, 1, &copy(4, 1, 1), &reply(4, "a")),
            "it had ended at index 2",
        );
    }

    /// I15: all replicas reply the same to every entry, also outside of sessions.
    #[test]
    fn replicas_that_reply_differently_are_found() {
        let (mut world, mut sessions) = (SmallWorld::new(3), Sessions::default());
        let entry = command(1, 1, "x");
        assert_eq!(entry.term(), Term(1));
        assert_eq!(
            apply(&mut world, &mut sessions, 1, &entry, &reply(1, "a")),
            Ok(())
        );
        assert_violated(
            apply(&mut world, &mut sessions, 2, &entry, &reply(1, "b")),
            "node 2 applied entry 1@1 and answered",
        );
        let ending = Ending::Applied(reply(1, "b").expect("it is a reply"));
        let returned = Observation::Returned {
            call: CallId(9),
            ending: &ending,
        };
        assert_violated(
            world.show(&mut sessions, &returned),
            "what was answered at that index",
        );
    }
}
