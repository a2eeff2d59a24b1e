//! A client's session: numbers its commands, repeats them, and makes sense of the answers (thesis §6.3, R73).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::error::ProposeError;
use super::node::{Applied, Node};
use crate::entry::{SessionCommand, SessionRequest};
use crate::input::Proposed;
use crate::request::RefusalReason;
use crate::sessions::SESSION_WINDOW;
use crate::types::{Sequence, SessionId};

/// How many election timeouts an unknown outcome is asked for again, unless the client says otherwise.
const PATIENCE_IN_ELECTION_TIMEOUTS: u32 = 10;

/// A session of one client. Each of its commands is applied once, however often it has to be sent, and whoever leads.
/// Cheap to clone; the clones are the same session, and may propose at the same time.
///
/// ```
/// # use std::io::Read;
/// # use std::time::Duration;
/// # use bytes::Bytes;
/// # use raft_core::{entry::*, message::SnapshotMeta, runtime::Node, traits::*, types::EntryId};
/// # #[derive(Default)] struct Counter(usize, EntryId);
/// # impl StateMachine for Counter {
/// #     fn last_applied(&self) -> EntryId { self.1 }
/// #     fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
/// #         self.1 = entries.last().map_or(self.1, |entry| entry.id);
/// #         let count = |entry: &Entry| {
/// #             self.0 += usize::from(matches!(entry.payload, Payload::Command(_)));
/// #             Bytes::from(self.0.to_string())
/// #         };
/// #         Ok(entries.iter().map(count).collect())
/// #     }
/// #     fn query(&self, _: &[u8]) -> Result<Bytes, StateMachineError> { Ok(self.0.to_string().into()) }
/// #     fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> { Ok(Box::new(std::io::empty())) }
/// #     fn restore(&mut self, meta: &SnapshotMeta, _: &mut dyn Read) -> Result<(), StateMachineError> {
/// #         self.1 = meta.last;
/// #         Ok(())
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let nodes = Node::start_in_memory(3, Counter::default).await?;
/// let session = nodes[0].open_session(Duration::from_secs(60)).await?;
/// assert_eq!(session.propose(Bytes::from("increment")).await?.response, "1");
///
/// // A client that must survive its own end keeps the session, the sequence and the command, before it proposes.
/// let sequence = session.next_sequence()?;
/// let applied = session.propose_at(sequence, Bytes::from("increment")).await?;
///
/// // Not knowing whether it got that far, it goes on through another node: nothing is applied twice.
/// let resumed = nodes[1].resume_session(session.id(), [sequence], sequence.next());
/// assert_eq!(resumed.propose_at(sequence, Bytes::from("increment")).await?, applied);
/// assert_eq!(nodes[2].read(Bytes::new()).await?, "2");
/// resumed.close().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Session {
    node: Node,
    id: SessionId,
    patience: Duration,
    sequences: Arc<Mutex<Sequences>>,
}

/// Which sequences are under way.
#[derive(Debug)]
struct Sequences {
    /// The first one that was never used.
    next: Sequence,
    /// Those whose responses the client may still ask for, and whether a copy of the command may be on its way.
    unresolved: BTreeMap<Sequence, bool>,
}

impl Node {
    /// Opens a session, which lives for `ttl` after each use: every command of the session is one, and so is
    /// [`keep_alive`](Session::keep_alive). Any node takes it.
    ///
    /// Time is the group's: it passes as fast as the leader's clock, and stands still while there is no leader.
    pub async fn open_session(&self, ttl: Duration) -> Result<Session, ProposeError> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let mut session = self.resume_session(SessionId(0), [], Sequence::FIRST);
        // If the outcome of a first attempt is unknown, what it opened is left to expire.
        let attempt = || self.propose_once(Proposed::Session(SessionRequest::Open { ttl_ms }));
        let opened = session.persist(attempt).await?;
        session.id = SessionId(opened.index.0);
        Ok(session)
    }

    /// A session that was opened earlier, maybe by another process and through another node.
    ///
    /// `unresolved` are the sequences that the client may still ask for, and `next` is the first one that it never used.
    /// All others below are acknowledged with the next command: their responses are forgotten.
    #[must_use]
    pub fn resume_session(
        &self,
        id: SessionId,
        unresolved: impl IntoIterator<Item = Sequence>,
        next: Sequence,
    ) -> Session {
        let unresolved = unresolved.into_iter();
        Session {
            node: self.clone(),
            id,
            patience: self.config().election_timeout * PATIENCE_IN_ELECTION_TIMEOUTS,
            sequences: Arc::new(Mutex::new(Sequences {
                next,
                unresolved: unresolved.map(|sequence| (sequence, true)).collect(),
            })),
        }
    }
}

impl Session {
    /// Its id, to resume it by.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The same session, which asks for the outcome of a command for at most `patience`. Without it: ten election timeouts.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Session {
        Session { patience, ..self }
    }

    /// Proposes a command, and asks again as long as its outcome is unknown. It is applied once or not at all.
    ///
    /// [`ProposeError::Unknown`] means that the patience ended, or the session did: the command may or may not be
    /// applied. Nobody can ask for it any more; to be able to, use [`propose_at`](Session::propose_at). Dropping the
    /// future gives up the answer.
    pub async fn propose(&self, command: Bytes) -> Result<Applied, ProposeError> {
        let sequence = self.next_sequence()?;
        let _resolved = ResolvedOnDrop {
            session: self,
            sequence,
        };
        self.attempts(sequence, command).await
    }

    /// Takes a number for a command. It is unresolved, and keeps the responses of later commands from being forgotten,
    /// until [`propose_at`](Session::propose_at) is done with it.
    ///
    /// Refused if the oldest number that is not resolved is too far below.
    pub fn next_sequence(&self) -> Result<Sequence, ProposeError> {
        self.lock().take().map_err(ProposeError::NotApplied)
    }

    /// Proposes a command under a number of the client's choice, which may have been proposed before: then it is the same
    /// command, and has the same response. One call for a number at a time.
    ///
    /// After [`ProposeError::Unknown`] it can be asked for again.
    pub async fn propose_at(&self, sequence: Sequence, command: Bytes) -> Result<Applied, ProposeError> {
        let result = self.attempts(sequence, command).await;
        if result != Err(ProposeError::Unknown) {
            self.lock().resolved(sequence);
        }
        result
    }

    /// Uses the session, so that it lives for its whole time to live from now on. Fails with
    /// [`RefusalReason::SessionExpired`] if it has ended.
    pub async fn keep_alive(&self) -> Result<(), ProposeError> {
        let request = Proposed::Session(SessionRequest::KeepAlive(self.id));
        let kept = self.persist(|| self.node.propose_once(request.clone())).await;
        kept.map(drop)
    }

    /// Ends the session. Its commands can never be applied from now on.
    pub async fn close(self) -> Result<(), ProposeError> {
        let request = Proposed::Session(SessionRequest::Close(self.id));
        let closed = self.persist(|| self.node.propose_once(request.clone())).await;
        closed.map(drop)
    }

    async fn attempts(&self, sequence: Sequence, command: Bytes) -> Result<Applied, ProposeError> {
        let attempt = || async {
            let (acknowledged_below, may_be_taken) = self.lock().begin(sequence);
            let request = SessionRequest::Command(SessionCommand {
                session: self.id,
                sequence,
                acknowledged_below,
                command: command.clone(),
            });
            let outcome = self.node.propose_once(Proposed::Session(request)).await;
            match outcome {
                // It speaks for this copy only.
                Err(ProposeError::NotApplied(reason)) if may_be_taken => {
                    if let RefusalReason::SequenceAcknowledged { .. } = reason {
                        self.lock().resolved(sequence);
                    }
                    Err(about_a_copy(reason))
                }
                outcome => outcome.map_err(Failure::from),
            }
        };
        self.repeat(attempt).await
    }

    /// Repeats what may be done twice until its outcome is known.
    async fn persist<F: Future<Output = Result<Applied, ProposeError>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<Applied, ProposeError> {
        self.repeat(|| {
            let attempt = attempt();
            async { attempt.await.map_err(Failure::from) }
        })
        .await
    }

    async fn repeat<F: Future<Output = Result<Applied, Failure>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<Applied, ProposeError> {
        let attempts = async {
            loop {
                match attempt().await {
                    Ok(applied) => return Ok(applied),
                    Err(Failure::Final(error)) => return Err(error),
                    Err(Failure::AskAgain) => sleep(self.node.config().heartbeat_interval).await,
                }
            }
        };
        timeout(self.patience, attempts)
            .await
            .unwrap_or(Err(ProposeError::Unknown))
    }

    fn lock(&self) -> MutexGuard<'_, Sequences> {
        // No change of the sequences can stop halfway.
        self.sequences.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How an attempt ended without a response.
enum Failure {
    Final(ProposeError),
    AskAgain,
}

impl From<ProposeError> for Failure {
    fn from(error: ProposeError) -> Failure {
        match error {
            ProposeError::Unknown => Failure::AskAgain,
            refused => Failure::Final(refused),
        }
    }
}

/// What the refusal of a copy says about a command of which another copy may have been taken.
fn about_a_copy(reason: RefusalReason) -> Failure {
    match reason {
        // Whether the other copy was applied can never be learned: who knew has forgotten, or is gone.
        RefusalReason::SessionExpired(_)
        | RefusalReason::SequenceAcknowledged { .. }
        | RefusalReason::TooLarge { .. }
        | RefusalReason::Stopped => Failure::Final(ProposeError::Unknown),
        _ => Failure::AskAgain,
    }
}

/// Nobody will ask for the sequence again.
struct ResolvedOnDrop<'a> {
    session: &'a Session,
    sequence: Sequence,
}

impl Drop for ResolvedOnDrop<'_> {
    fn drop(&mut self) {
        self.session.lock().resolved(self.sequence);
    }
}

impl Sequences {
    fn acknowledged_below(&self) -> Sequence {
        let first = self.unresolved.first_key_value();
        first.map_or(self.next, |(sequence, _)| *sequence)
    }

    fn take(&mut self) -> Result<Sequence, RefusalReason> {
        let sequence = self.next;
        let limit = Sequence(self.acknowledged_below().0.saturating_add(SESSION_WINDOW));
        if sequence >= limit {
            return Err(RefusalReason::SessionWindowFull { limit });
        }
        self.next = sequence.next();
        self.unresolved.insert(sequence, false);
        Ok(sequence)
    }

    /// A copy of the command is about to leave. Returns what to acknowledge with it, and whether an earlier copy did.
    fn begin(&mut self, sequence: Sequence) -> (Sequence, bool) {
        self.next = self.next.max(sequence.next());
        // One that is not unresolved was resolved before, or came from elsewhere.
        let may_be_taken = self.unresolved.insert(sequence, true).unwrap_or(true);
        (self.acknowledged_below(), may_be_taken)
    }

    fn resolved(&mut self, sequence: Sequence) {
        self.unresolved.remove(&sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences() -> Sequences {
        Sequences {
            next: Sequence::FIRST,
            unresolved: BTreeMap::new(),
        }
    }

    /// R73: what is acknowledged is what nobody will ask for, whatever the order in which answers come.
    #[test]
    fn only_what_is_resolved_is_acknowledged() {
        let mut sequences = sequences();
        let taken: Vec<Sequence> = (0..3).map(|_| sequences.take().unwrap()).collect();
        assert_eq!(taken, [1, 2, 3].map(Sequence));
        sequences.resolved(Sequence(2));
        assert_eq!(sequences.acknowledged_below(), Sequence(1));
        sequences.resolved(Sequence(1));
        assert_eq!(sequences.begin(Sequence(3)), (Sequence(3), false));
        assert_eq!(sequences.begin(Sequence(3)), (Sequence(3), true), "a second copy");
        sequences.resolved(Sequence(3));
        assert_eq!(sequences.acknowledged_below(), Sequence(4));
    }

    /// R20: the client knows itself when its window is full.
    #[test]
    fn the_window_is_the_one_of_the_table() {
        let mut sequences = sequences();
        for _ in 0..SESSION_WINDOW {
            sequences.take().unwrap();
        }
        let limit = Sequence(1 + SESSION_WINDOW);
        assert_eq!(sequences.take(), Err(RefusalReason::SessionWindowFull { limit }));
        sequences.resolved(Sequence(1));
        assert_eq!(sequences.take(), Ok(limit));
    }
}
