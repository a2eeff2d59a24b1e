//! What to do about it.

use super::explanation::{CampaignBar, Case, Cause, VoteState};
use super::lag::{Lag, LagReason};
use crate::message::VoteRefusal;

impl Case {
    /// What to do if no cause says it.
    pub(super) fn advice(&self) -> Option<&'static str> {
        match self {
            Case::LeaderSilent { .. } => Some(START_OR_MEND),
            Case::NotInLog { .. } => Some("write something, or ask for an entry that exists"),
            Case::NoMember(_) => Some("list the members, and ask for one of them"),
            Case::NoLeader { .. } => Some("wait: an election takes an election timeout or two"),
            Case::NotCommitted { .. } | Case::NotApplied { .. } | Case::Lagging(_) => {
                Some("wait: nothing is known to be in the way")
            }
            Case::Well { .. }
            | Case::Stopped { .. }
            | Case::Asleep { .. }
            | Case::Led { .. }
            | Case::Committed { .. }
            | Case::Applied { .. }
            | Case::LeaderChanged { .. }
            | Case::Refused(_)
            | Case::KeepsUp(_)
            | Case::LeaderKnows(_) => None,
        }
    }
}

const START_OR_MEND: &str =
    "see whether the nodes that do not answer run, start them if not, and mend the links to them if they do";
const DISK: &str =
    "look at the load and the health of that disk; the node may be restarted or replaced, but not wiped";

impl Cause {
    /// What to do about it; none if it passes by itself or follows from another cause.
    pub(super) fn advice(&self) -> Option<&'static str> {
        match self {
            Cause::Stopped => Some("read the log of that node, and follow what it says"),
            Cause::LeaderSilent { .. }
            | Cause::Vote {
                state: VoteState::Silent { .. },
                ..
            } => Some(START_OR_MEND),
            Cause::Vote {
                state:
                    VoteState::Refused {
                        reason: VoteRefusal::HearsLeader(_),
                        ..
                    },
                ..
            } => Some("if the leader that others hear runs, mend the link to it"),
            Cause::Vote {
                state:
                    VoteState::Refused {
                        reason: VoteRefusal::LogBehind(_),
                        ..
                    },
                ..
            } => Some("wait: the nodes whose logs go further can be elected, and stand for it themselves"),
            Cause::Vote {
                state:
                    VoteState::Refused {
                        reason: VoteRefusal::Suspect | VoteRefusal::Founder,
                        ..
                    },
                ..
            } => Some("start the other voters: one that still has its data must lead first"),
            Cause::NoCampaign(CampaignBar::NoVoter) => {
                Some("ask the voters, and start those that do not run")
            }
            Cause::OwnDisk(_) | Cause::NoCampaign(CampaignBar::Disk) => Some(DISK),
            Cause::NoCampaign(CampaignBar::NoConfiguration) => {
                Some("add the node to a group, or wait for its leader")
            }
            Cause::OwnStateMachine { .. } => {
                Some("look at what the state machine of that node is doing, and at its disk")
            }
            Cause::OwnRestore(_) | Cause::NoCampaign(CampaignBar::Restoring) => {
                Some("wait; it is as much work as reading the whole state")
            }
            Cause::OwnLogRead { failed: true } => {
                Some("read the log of that node: it says why the read failed")
            }
            Cause::Behind(lag) => lag.advice(),
            Cause::UncommittedFull { .. } | Cause::ReadsFull { .. } => {
                Some("retry in a moment, and send less at once")
            }
            Cause::AskLeader(_) => Some("ask the leader"),
            Cause::OwnSuspicion | Cause::NoCampaign(CampaignBar::Suspect) => {
                Some("wait for the leader; the node may be used as soon as it has caught up")
            }
            _ => None,
        }
    }
}

impl Lag {
    pub(super) fn advice(&self) -> Option<&'static str> {
        match self.reason {
            LagReason::Silent { .. } => Some(START_OR_MEND),
            LagReason::Disk(_) => Some(DISK),
            LagReason::Suspect | LagReason::Restarted => {
                Some("wait: it counts again as soon as it has caught up")
            }
            LagReason::Snapshot(_) | LagReason::AwaitsSnapshot => {
                Some("wait for the snapshot; its way may be widened by its byte rate in the settings")
            }
            LagReason::LogRead { failed: true } => {
                Some("read the log of the leader: it says why the read failed")
            }
            _ if self.window.is_some() => Some(
                "widen the link to that node, or write less at a time; all is well again when it has acknowledged what is on its way",
            ),
            _ => None,
        }
    }
}
