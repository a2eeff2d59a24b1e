//! Answers to "why": typed causes, and the one text that everybody is shown.
//!
//! [`Raft::explain`](crate::raft::Raft::explain) answers a [`Question`] from the state of one replica alone. The
//! [`Explanation`] names the case and its causes as values, for programs and tests; its `Display` is a paragraph for people,
//! which ends with what to do. Command line, status, logs and metrics show this text and this [label](Explanation::label)
//! and no other.
//!
//! One replica knows only what it was told. Where another knows more, the explanation
//! [says whom to ask](Explanation::knows_more).
//!
//! This room must never decide anything: nothing of the protocol depends on it. Times are durations before the moment at which
//! the question was asked; the core has no wall clock.

mod advice;
mod explanation;
mod label;
mod lag;
mod text;
mod words;

pub use explanation::{
    CampaignBar, Case, Cause, Explanation, Half, LeaderChange, Need, Question, Quorum, Severity, VoteState,
};
pub use lag::{FullWindow, Lag, LagReason};
