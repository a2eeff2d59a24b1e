//! The kinds of answers that a replica gives, by name. A new kind does not compile before it stands here, and what stands here
//! must be shown by a scenario.

use raft_core::explain::{CampaignBar, Case, Cause, Explanation, Half, LagReason, Need, VoteState};
use raft_core::message::VoteRefusal;

/// The name of each variant, and a list of all of them.
macro_rules! kinds {
    ($name:ident, $list:ident, $type:ident { $($kind:literal => $pattern:pat,)* }) => {
        pub(super) fn $name(value: &$type) -> &'static str {
            match value {
                $($pattern => $kind,)*
            }
        }

        const $list: &[&str] = &[$($kind,)*];
    };
}

kinds!(case, CASES, Case {
    "Well" => Case::Well { .. },
    "Asleep" => Case::Asleep { .. },
    "NoLeader" => Case::NoLeader { .. },
    "LeaderSilent" => Case::LeaderSilent { .. },
    "Led" => Case::Led { .. },
    "NotCommitted" => Case::NotCommitted { .. },
    "NotInLog" => Case::NotInLog { .. },
    "Committed" => Case::Committed { .. },
    "NotApplied" => Case::NotApplied { .. },
    "Applied" => Case::Applied { .. },
    "LeaderChanged" => Case::LeaderChanged { .. },
    "Refused" => Case::Refused(_),
    "Stopped" => Case::Stopped { .. },
    "Lagging" => Case::Lagging(_),
    "KeepsUp" => Case::KeepsUp(_),
    "LeaderKnows" => Case::LeaderKnows(_),
    "NoMember" => Case::NoMember(_),
});

kinds!(cause, CAUSES, Cause {
    "Stopped" => Cause::Stopped,
    "NoQuorum" => Cause::NoQuorum(_),
    "NoLeader" => Cause::NoLeader(_),
    "LeaderSilent" => Cause::LeaderSilent { .. },
    "NoCampaign" => Cause::NoCampaign(_),
    "Vote" => Cause::Vote { .. },
    "Campaign" => Cause::Campaign(_),
    "CampaignDue" => Cause::CampaignDue(_),
    "Behind" => Cause::Behind(_),
    "OwnDisk" => Cause::OwnDisk(_),
    "OwnWrite" => Cause::OwnWrite(_),
    "OwnStateMachine" => Cause::OwnStateMachine { .. },
    "OwnRestore" => Cause::OwnRestore(_),
    "OwnLogRead" => Cause::OwnLogRead { failed: false },
    "OwnLogReadFailed" => Cause::OwnLogRead { failed: true },
    "OwnSuspicion" => Cause::OwnSuspicion,
    "EarlierTerm" => Cause::EarlierTerm { .. },
    "AskLeader" => Cause::AskLeader(_),
    "LeaderChange" => Cause::LeaderChange(_),
    "Transfer" => Cause::Transfer { .. },
    "UncommittedFull" => Cause::UncommittedFull { .. },
    "ReadsFull" => Cause::ReadsFull { .. },
    "ChangePending" => Cause::ChangePending { .. },
});

kinds!(campaign_bar, CAMPAIGN_BARS, CampaignBar {
    "NoConfiguration" => CampaignBar::NoConfiguration,
    "NoVoter" => CampaignBar::NoVoter,
    "Suspect" => CampaignBar::Suspect,
    "Restoring" => CampaignBar::Restoring,
    "Disk" => CampaignBar::Disk,
    "Lease" => CampaignBar::Lease(_),
});

kinds!(vote_state, VOTE_STATES, VoteState {
    "NotAsked" => VoteState::NotAsked,
    "Asked" => VoteState::Asked(_),
    "Silent" => VoteState::Silent { .. },
    "Granted" => VoteState::Granted { .. },
    "Refused" => VoteState::Refused { .. },
});

kinds!(vote_refusal, VOTE_REFUSALS, VoteRefusal {
    "LaterTerm" => VoteRefusal::LaterTerm,
    "VotedFor" => VoteRefusal::VotedFor(_),
    "HearsLeader" => VoteRefusal::HearsLeader(Some(_)),
    "MayHaveHeardLeader" => VoteRefusal::HearsLeader(None),
    "LogBehind" => VoteRefusal::LogBehind(_),
    "Suspect" => VoteRefusal::Suspect,
    "Founder" => VoteRefusal::Founder,
});

kinds!(lag_reason, LAG_REASONS, LagReason {
    "Silent" => LagReason::Silent { heard: Some(_), .. },
    "NeverHeard" => LagReason::Silent { heard: None, .. },
    "Suspect" => LagReason::Suspect,
    "Restarted" => LagReason::Restarted,
    "Disk" => LagReason::Disk(_),
    "Snapshot" => LagReason::Snapshot(_),
    "AwaitsSnapshot" => LagReason::AwaitsSnapshot,
    "Probe" => LagReason::Probe,
    "LogRead" => LagReason::LogRead { failed: false },
    "LogReadFailed" => LagReason::LogRead { failed: true },
    "UnderWay" => LagReason::UnderWay,
});

kinds!(need, NEEDS, Need {
    "Votes" => Need::Votes,
    "Contact" => Need::Contact,
    "Entry" => Need::Entry,
});

kinds!(half, HALVES, Half {
    "Only" => Half::Only,
    "Incoming" => Half::Incoming,
    "Outgoing" => Half::Outgoing,
});

/// Which kinds none of `lines` shows, which are answers as [`explanation`](super::explanations::explanation) writes them.
pub(crate) fn kinds_without(lines: &[&str]) -> Vec<String> {
    let shown = |part: String| lines.iter().any(|line| line.contains(&part));
    let of_any_member =
        |kind: &str, part: &dyn Fn(u64, &str) -> String| (1..=9).any(|member| shown(part(member, kind)));
    let mut missing = Vec::new();
    let mut demand = |what: &str, kinds: &[&str], is_shown: &dyn Fn(&str) -> bool| {
        let lacking = kinds.iter().filter(|kind| !is_shown(kind));
        missing.extend(lacking.map(|kind| format!("{what} {kind}")));
    };
    demand("case", CASES, &|kind| {
        shown(format!("] {kind}:")) || shown(format!("] {kind}("))
    });
    demand("cause", CAUSES, &|kind| {
        [": ", ", "].iter().any(|begin| {
            let named = format!("{begin}{kind}");
            let inside = [format!("{named}("), format!("{named}, ")];
            inside.into_iter().any(shown) || lines.iter().any(|line| line.ends_with(&named))
        })
    });
    demand("bar", CAMPAIGN_BARS, &|kind| shown(format!("NoCampaign({kind})")));
    demand("vote", VOTE_STATES, &|kind| {
        of_any_member(kind, &|voter, kind| format!("Vote({voter}: {kind}"))
    });
    demand("refusal of a vote", VOTE_REFUSALS, &|kind| {
        of_any_member(kind, &|voter, kind| format!("Vote({voter}: Refused {kind})"))
    });
    demand("reason", LAG_REASONS, &|kind| {
        let ends = [")", ",", " "];
        ends.iter()
            .any(|end| of_any_member(kind, &|member, kind| format!("Behind({member}: {kind}{end}")))
    });
    demand("need", NEEDS, &|kind| shown(format!("NoQuorum({kind} ")));
    demand("half", HALVES, &|kind| {
        NEEDS.iter().any(|need| shown(format!("NoQuorum({need} {kind},")))
    });
    demand("window", &["window full"], &|kind| shown(format!(", {kind})")));
    demand("label", &Explanation::LABELS, &|label| {
        shown(format!("[{label}]"))
    });
    missing
}
