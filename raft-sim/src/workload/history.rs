//! What clients asked, when, and how it ended: the history of a run (Herlihy and Wing, 1990).

use bytes::Bytes;

use crate::linearizability::Moment;

/// What a client asks of the group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// A command for [`StateMachine::apply`](raft_core::traits::StateMachine::apply).
    Write(Bytes),
    /// A question for [`StateMachine::query`](raft_core::traits::StateMachine::query).
    Read(Bytes),
}

impl Request {
    /// A command.
    pub fn write(command: impl Into<Bytes>) -> Request {
        Request::Write(command.into())
    }

    /// A question.
    pub fn read(question: impl Into<Bytes>) -> Request {
        Request::Read(question.into())
    }

    /// Whether it changes nothing, whatever becomes of it.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Request::Read(_))
    }
}

/// One request of one client, from the first attempt until the client knew, or gave up.
///
/// Attempts of one command within a session are one exchange: it is applied once. A client without a session that sends a
/// command again makes two exchanges of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The number of the client.
    pub client: u64,
    /// What it asked.
    pub request: Request,
    /// When it began to ask.
    pub called: Moment,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The group answered. It took effect once, between the call and this moment.
    Answered {
        /// When the client knew.
        returned: Moment,
        /// What the state machine said.
        response: Bytes,
    },
    /// It had no effect and never will. A refusal that leaves open whether an earlier attempt had one, such as that of
    /// a session which expired, is [`Unknown`](Outcome::Unknown).
    Refused,
    /// The client gave up, crashed, or the run ended: a command may take effect at any later moment, or never.
    Unknown,
}
