//! An explanation as a paragraph: what is the case, why, and what to do.

use std::fmt;
use std::time::Duration;

use super::explanation::{CampaignBar, Case, Cause, Explanation, Half, LeaderChange, Quorum, VoteState};
use super::lag::{FullWindow, Lag, LagReason};
use super::words::{bytes, duration, entries, list, nodes};
use crate::message::VoteRefusal;
use crate::types::{EntryId, Index, NodeId, Term};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        let mut advice: Vec<&'static str> = Vec::new();
        for cause in &self.causes {
            write!(f, " {}", self.sentence(cause))?;
            advice.extend(cause.advice().filter(|advised| !advice.contains(advised)));
        }
        advice.extend(self.case.advice().filter(|_| advice.is_empty()));
        if !advice.is_empty() {
            write!(f, " What to do: {}.", advice.join("; "))?;
        }
        Ok(())
    }
}

impl Explanation {
    fn headline(&self) -> String {
        let by = self.by;
        match &self.case {
            Case::Well {
                leader,
                term,
                commit,
                applied,
            } => well(by, *leader, *term, *commit, *applied),
            Case::Asleep { leader, term } => {
                format!(
                    "All is well, and nothing happens: the group sleeps, and node {leader} leads term {term}."
                )
            }
            Case::NoLeader { role, term, lasts } => format!(
                "There is no leader: node {by}, a {role} in term {term}, has known none for {}.",
                duration(*lasts)
            ),
            Case::LeaderSilent { leader, lasts } => format!(
                "Node {by} has not heard from its leader, node {leader}, for {}: node {leader} has stopped, or nothing gets \
                 through from it.",
                duration(*lasts)
            ),
            Case::Led { leader, term } => format!("There is a leader: node {leader} leads term {term}."),
            Case::NotCommitted { index, commit, lasts } => {
                let stands = lasts.map_or(String::new(), |lasts| {
                    format!("; nothing more was committed for {}", duration(lasts))
                });
                format!(
                    "Entry {index} is not committed as far as node {by} knows: what is committed ends at {commit}{stands}."
                )
            }
            Case::NotInLog { index, last } => {
                format!("There is no entry {index} on node {by} yet: its log ends at {last}.")
            }
            Case::Committed { index, commit } => {
                format!("Entry {index} is committed: node {by} knows everything up to {commit} to be.")
            }
            Case::NotApplied {
                index,
                applied,
                commit,
            } => format!(
                "Entry {index} is committed and not applied on node {by}: what is applied ends at {applied}, what is committed \
                 at {commit}."
            ),
            Case::Applied { index, applied } => {
                format!("Entry {index} is applied on node {by}, like everything up to {applied}.")
            }
            Case::LeaderChanged { leader, term } => match leader {
                _ if self.causes.is_empty() => {
                    format!("Node {by} remembers no change of the leader since it was started.")
                }
                Some(leader) => format!("Node {leader} leads term {term}."),
                None => format!("Node {by} knows no leader of term {term}."),
            },
            Case::Refused(reason) => format!("The request was refused by node {by}: {reason}."),
            Case::Lagging(member) if *member == by => format!("Node {by} has trouble of its own."),
            Case::Lagging(member) => format!("Node {member} does not keep up."),
            Case::KeepsUp(member) => format!("Node {member} keeps up: it has everything."),
            Case::LeaderKnows(member) => {
                format!("Nothing is wrong on node {by}; how far node {member} is, only the leader knows.")
            }
            Case::NoMember(member) => {
                format!("Node {member} is no member of the group, as far as node {by} knows.")
            }
        }
    }

    fn sentence(&self, cause: &Cause) -> String {
        let by = self.by;
        match cause {
            Cause::Stopped => {
                format!("Node {by} has stopped, because replicas contradict each other; its log says how.")
            }
            Cause::NoQuorum(quorum) => self.quorum(quorum),
            Cause::NoCampaign(bar) => campaign_bar(by, *bar),
            Cause::Vote { voter, state } => vote(by, *voter, *state),
            Cause::Campaign(role) => format!("Node {by} asks for votes now, as a {role}."),
            Cause::CampaignDue(left) => campaign_due(by, *left),
            Cause::Behind(lag) => behind(lag),
            Cause::OwnDisk(waits) => format!(
                "The oldest write of node {by} has not become durable for {}: its disk or its log writer is slow.",
                duration(*waits)
            ),
            Cause::OwnStateMachine {
                lasts,
                entries: count,
            } => format!(
                "The state machine of node {by} has been busy for {} with {} that it was given.",
                duration(*lasts),
                entries(*count)
            ),
            Cause::OwnRestore(last) => format!(
                "Node {by} is replacing its state by the snapshot at {last}, and applies nothing before that is done."
            ),
            Cause::OwnLogRead { failed: false } => {
                format!("Node {by} is reading the entries back from its log.")
            }
            Cause::OwnLogRead { failed: true } => {
                format!("Node {by} cannot read the entries back from its log, and tries again.")
            }
            Cause::OwnSuspicion => format!(
                "Node {by} may have lost what it had promised, so it neither votes nor counts until the leader has brought it \
                 up to date."
            ),
            Cause::EarlierTerm { term, needs } => format!(
                "It is of an earlier term, so it is committed together with entry {needs}, the first one of term {term}."
            ),
            Cause::AskLeader(leader) => format!("The leader, node {leader}, knows more."),
            Cause::LeaderChange(change) => leader_change(by, change),
            Cause::Transfer { to, left, lacks } => format!(
                "Leadership is being handed to node {to}, which lacks {}; that is given up in {}.",
                entries(*lacks),
                duration(*left)
            ),
            Cause::UncommittedFull {
                bytes: held,
                bytes_max,
            } => format!(
                "{} of commands are not committed yet, and the limit is {}.",
                bytes(*held),
                bytes(*bytes_max)
            ),
            Cause::ReadsFull { reads, reads_max } => {
                format!("{reads} reads wait for a majority, and the limit is {reads_max}.")
            }
            Cause::ChangePending { index, is_joint } => {
                let kind = if *is_joint {
                    "joint configuration"
                } else {
                    "configuration"
                };
                format!("The {kind} at entry {index} is not through yet.")
            }
        }
    }

    fn quorum(&self, quorum: &Quorum) -> String {
        let of = match quorum.half {
            Half::Only => "voters",
            Half::Incoming => "new voters of the joint configuration,",
            Half::Outgoing => "old voters of the joint configuration,",
        };
        let Quorum {
            voters, have, needed, ..
        } = quorum;
        let what = match have.len() {
            _ if self.lacks_votes() => "can be reached",
            1 => "has it",
            _ => "have it",
        };
        let those = if have.is_empty() {
            "none".to_owned()
        } else {
            format!("only {}", nodes(have))
        };
        format!(
            "It takes {needed} of the {} {of} {}, and {those} {what}.",
            voters.len(),
            list(voters)
        )
    }
}

fn well(by: NodeId, leader: NodeId, term: Term, commit: Index, applied: Index) -> String {
    if leader == by {
        format!(
            "All is well: node {by} leads term {term}, has committed everything up to entry {commit} and applied everything \
             up to {applied}."
        )
    } else {
        format!(
            "All is well as far as node {by} knows: it follows node {leader}, the leader of term {term}, and has applied \
             everything up to entry {applied}."
        )
    }
}

fn campaign_due(by: NodeId, left: Duration) -> String {
    if left.is_zero() {
        return format!("Node {by} is about to stand for election.");
    }
    format!(
        "Node {by} stands for election in {} if it hears of no leader before.",
        duration(left)
    )
}

fn campaign_bar(by: NodeId, bar: CampaignBar) -> String {
    match bar {
        CampaignBar::NoConfiguration => {
            format!("Node {by} belongs to no group yet: no leader has sent it a configuration.")
        }
        CampaignBar::NoVoter => format!("Node {by} is no voter, so it waits for others to elect a leader."),
        CampaignBar::Suspect => format!(
            "Node {by} may have lost what it had promised, so it neither votes nor stands for election until a leader has \
             brought it up to date."
        ),
        CampaignBar::Restoring => {
            format!(
                "Node {by} is replacing its state by a snapshot, and does not stand for election meanwhile."
            )
        }
        CampaignBar::Disk => {
            format!("The disk of node {by} stands still, so it does not stand for election.")
        }
        CampaignBar::Lease(left) => format!(
            "The last leader may still answer reads by its lease, so node {by} does not stand for election for another {}.",
            duration(left)
        ),
    }
}

fn vote(by: NodeId, voter: NodeId, state: VoteState) -> String {
    match state {
        VoteState::NotAsked => format!("Node {voter} was not asked for its vote yet."),
        VoteState::Asked(ago) => format!(
            "Node {voter} was asked for its vote {} ago and has not answered yet.",
            duration(ago)
        ),
        VoteState::Silent { owes, heard } => {
            let heard = heard.map_or_else(
                || format!("it was not heard from since node {by} was started"),
                |heard| format!("it was last heard from {} ago", duration(heard)),
            );
            format!(
                "Node {voter} has not answered for {}, and {heard}: it has stopped, its disk stands still, or the link \
                 between nodes {by} and {voter} is cut.",
                duration(owes)
            )
        }
        VoteState::Granted { .. } => format!("Node {voter} would vote for node {by}."),
        VoteState::Refused { reason, own_last, .. } => format!(
            "Node {voter} refuses its vote: {}.",
            refusal(by, reason, own_last)
        ),
    }
}

fn refusal(by: NodeId, reason: VoteRefusal, own_last: EntryId) -> String {
    match reason {
        VoteRefusal::LaterTerm => "it has seen a later term".to_owned(),
        VoteRefusal::VotedFor(other) => format!("it voted for node {other} in this term"),
        VoteRefusal::HearsLeader(Some(leader)) => format!("it still hears a leader, node {leader}"),
        VoteRefusal::HearsLeader(None) => {
            "it was started a moment ago and may have promised its vote to a leader before".to_owned()
        }
        VoteRefusal::LogBehind(last) if last.term == own_last.term => format!(
            "its log ends at entry {} and that of node {by} at {}, which lacks {}",
            last.index,
            own_last.index,
            entries(last.index.entries_since(own_last.index))
        ),
        VoteRefusal::LogBehind(last) => format!(
            "its last entry is of term {} and that of node {by} of term {}, which may lack committed entries",
            last.term, own_last.term
        ),
        VoteRefusal::Suspect => {
            "it may have lost what it had promised, and votes for nobody until it has caught up".to_owned()
        }
        VoteRefusal::Founder => {
            "it knows of nothing yet, and votes only for who knows of nothing either".to_owned()
        }
    }
}

fn behind(lag: &Lag) -> String {
    let Lag {
        member,
        match_index,
        lacks,
        stands,
        window,
        reason,
    } = lag;
    let owes = match (lacks, stands) {
        (0, _) => format!("Node {member} has acknowledged everything"),
        (_, Some(stands)) => format!(
            "Node {member} has acknowledged up to entry {match_index}, lacks {}, and its next acknowledgement has been missing \
             for {}",
            entries(*lacks),
            duration(*stands)
        ),
        (_, None) => format!(
            "Node {member} has acknowledged up to entry {match_index} and lacks {}",
            entries(*lacks)
        ),
    };
    let window = window
        .as_ref()
        .map_or(String::new(), |window| full_window(*member, window));
    format!("{owes}: {}.{window}", lag_reason(*member, *reason))
}

fn lag_reason(member: NodeId, reason: LagReason) -> String {
    match reason {
        LagReason::Silent { heard: Some(heard), .. } => format!(
            "nothing was heard from it for {}, so node {member} has stopped, or the link to it is cut",
            duration(heard)
        ),
        LagReason::Silent { heard: None, lasts } => format!(
            "nothing was heard from it since the leader was elected {} ago, so node {member} has stopped, its disk stands \
             still, or the link to it is cut",
            duration(lasts)
        ),
        LagReason::Suspect => {
            "it may have lost what it had promised, so its acknowledgements do not count until it has caught up".to_owned()
        }
        LagReason::Restarted => {
            "it was started again, and nothing of it counts before it has answered once more".to_owned()
        }
        LagReason::Disk(waits) => format!(
            "it answers, and says that its oldest write has not become durable for {}, so its disk or its log writer is slow",
            duration(waits)
        ),
        LagReason::Snapshot(index) => {
            format!("the log that it lacks is gone, and a snapshot up to entry {index} is on its way to it")
        }
        LagReason::AwaitsSnapshot => {
            "the log that it lacks is gone, and it waits for its turn to be sent a snapshot".to_owned()
        }
        LagReason::Probe => "the leader is finding out where its log parts from its own".to_owned(),
        LagReason::LogRead { failed: false } => {
            "the leader is reading the entries for it back from its log".to_owned()
        }
        LagReason::LogRead { failed: true } => {
            "the leader cannot read the entries for it back from its log, and tries again".to_owned()
        }
        LagReason::UnderWay => "it answers, and what it was sent is on its way".to_owned(),
    }
}

fn full_window(member: NodeId, window: &FullWindow) -> String {
    let FullWindow {
        messages,
        messages_max,
        bytes: held,
        bytes_max,
        lasts,
    } = window;
    let limit = if window.is_full_of_messages() {
        format!("{messages} messages of at most {messages_max}")
    } else {
        format!("{} of at most {}", bytes(*held), bytes(*bytes_max))
    };
    format!(
        " Its window has been full for {}: {limit} are on their way to node {member} and not acknowledged, and more is sent only \
         as they are.",
        duration(*lasts)
    )
}

fn leader_change(by: NodeId, change: &LeaderChange) -> String {
    let LeaderChange {
        ago,
        before,
        after,
        term,
        reason,
    } = change;
    let ago = duration(*ago);
    match (before, after) {
        (_, Some(after)) if *after == by => {
            format!("{ago} ago node {by} became the leader of term {term}: {reason}.")
        }
        (_, Some(after)) => {
            format!("{ago} ago node {by} began to follow node {after} in term {term}: {reason}.")
        }
        (Some(before), None) if *before == by => format!("{ago} ago node {by} ceased to lead: {reason}."),
        (Some(before), None) => format!("{ago} ago node {by} gave up its leader, node {before}: {reason}."),
        (None, None) => format!("{ago} ago node {by} moved to term {term}: {reason}."),
    }
}

impl Case {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Case::LeaderSilent { .. } => Some(START_OR_MEND),
            Case::NotInLog { .. } => Some("propose something, or ask for an entry that exists"),
            _ => None,
        }
    }
}

const START_OR_MEND: &str =
    "see whether the nodes that do not answer run, start them if not, and mend the links to them if they do";
const DISK: &str =
    "look at the load and the health of that disk; the node may be restarted or replaced, but not wiped";

impl Cause {
    /// What to do about it; none if it passes by itself or follows from another cause.
    fn advice(&self) -> Option<&'static str> {
        match self {
            Cause::Stopped => Some("read the log of that node, and follow what it says"),
            Cause::Vote {
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
            Cause::OwnDisk(_) | Cause::NoCampaign(CampaignBar::Disk) => Some(DISK),
            Cause::NoCampaign(CampaignBar::NoConfiguration) => {
                Some("add the node to a group, or wait for its leader")
            }
            Cause::OwnStateMachine { .. } => {
                Some("look at what the state machine of that node is doing, and at its disk")
            }
            Cause::OwnRestore(_) => Some("wait; it is as much work as reading the whole state"),
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
    fn advice(&self) -> Option<&'static str> {
        match self.reason {
            LagReason::Silent { .. } => Some(START_OR_MEND),
            LagReason::Disk(_) => Some(DISK),
            LagReason::Snapshot(_) | LagReason::AwaitsSnapshot => {
                Some("wait for the snapshot; its way may be widened by its byte rate in the settings")
            }
            LagReason::LogRead { failed: true } => {
                Some("read the log of the leader: it says why the read failed")
            }
            _ if self.window.is_some() => Some(
                "widen the link to that node, or send less; the window grows with the settings of the leader",
            ),
            _ => None,
        }
    }
}
