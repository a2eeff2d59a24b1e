//! The cause as one word, for metrics.

use super::explanation::{CampaignBar, Case, Cause, Explanation, VoteState};
use super::lag::LagReason;

impl Explanation {
    /// Every value of [`label`](Explanation::label).
    pub const LABELS: [&str; 19] = [
        "none",
        "stopped",
        "no_quorum",
        "vote_refused",
        "no_vote_here",
        "election",
        "leader_silent",
        "peer_silent",
        "own_disk",
        "peer_disk",
        "window_full",
        "own_state_machine",
        "snapshot",
        "log_read",
        "suspect",
        "probe",
        "under_way",
        "full",
        "other",
    ];

    /// The first cause as one word: one of [`LABELS`](Explanation::LABELS), `none` if nothing is wrong.
    #[must_use]
    pub fn label(&self) -> &'static str {
        let case = match self.case {
            _ if self.causes.first() == Some(&Cause::Stopped) => Some("stopped"),
            Case::LeaderSilent { .. } => Some("leader_silent"),
            Case::Well { .. } | Case::Asleep { .. } | Case::Led { .. } | Case::KeepsUp(_) => Some("none"),
            Case::Committed { .. } | Case::Applied { .. } => Some("none"),
            // What lacks a majority otherwise lacks it for a reason that follows.
            _ if self.lacks_contact() => Some("no_quorum"),
            _ => None,
        };
        let cause = || self.causes.iter().find_map(Cause::label).unwrap_or("other");
        case.unwrap_or_else(cause)
    }
}

impl Cause {
    fn label(&self) -> Option<&'static str> {
        Some(match self {
            Cause::Stopped => "stopped",
            Cause::NoCampaign(CampaignBar::Disk) | Cause::OwnDisk(_) => "own_disk",
            Cause::NoCampaign(CampaignBar::Suspect) | Cause::OwnSuspicion => "suspect",
            Cause::NoCampaign(CampaignBar::Restoring) | Cause::OwnRestore(_) => "snapshot",
            Cause::NoCampaign(_) => "no_vote_here",
            Cause::Vote { state, .. } => match state {
                VoteState::Refused { .. } => "vote_refused",
                VoteState::Silent { .. } => return None,
                VoteState::NotAsked | VoteState::Asked(_) | VoteState::Granted { .. } => return None,
            },
            Cause::LeaderSilent { .. } => "leader_silent",
            Cause::Campaign(_) | Cause::CampaignDue(_) => "election",
            Cause::Behind(lag) => match lag.reason {
                LagReason::Silent { .. } => "peer_silent",
                LagReason::Suspect | LagReason::Restarted => "suspect",
                LagReason::Disk(_) => "peer_disk",
                LagReason::Snapshot(_) | LagReason::AwaitsSnapshot => "snapshot",
                _ if lag.window.is_some() => "window_full",
                LagReason::Probe => "probe",
                LagReason::LogRead { .. } => "log_read",
                LagReason::UnderWay => "under_way",
            },
            Cause::OwnWrite(_) => "under_way",
            Cause::OwnStateMachine { .. } => "own_state_machine",
            Cause::OwnLogRead { .. } => "log_read",
            Cause::UncommittedFull { .. } | Cause::ReadsFull { .. } => "full",
            Cause::NoQuorum(_)
            | Cause::NoLeader(_)
            | Cause::EarlierTerm { .. }
            | Cause::AskLeader(_)
            | Cause::LeaderChange(_)
            | Cause::Transfer { .. }
            | Cause::ChangePending { .. } => return None,
        })
    }
}
