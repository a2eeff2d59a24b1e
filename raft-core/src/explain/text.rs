//! An explanation as a paragraph: what is the case, why, and what to do.

use std::fmt;
use std::time::Duration;

use super::explanation::{
    CampaignBar, Case, Cause, Explanation, Half, LeaderChange, Need, Quorum, VoteState,
};
use super::lag::{FullWindow, Lag, LagReason};
use super::words::{bytes, duration, entries, list, nodes};
use crate::message::VoteRefusal;
use crate::types::{EntryId, Index, NodeId, Term};

/// What is shorter says nothing.
const TELLABLE: Duration = Duration::from_millis(1);

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
            Case::LeaderSilent { leader, lasts } => leader_silent(by, *leader, *lasts),
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
            Case::Stopped { term } => format!("Node {by} does nothing any more since term {term}."),
            Case::Lagging(member) if *member == by => format!("Node {by} has trouble of its own."),
            Case::Lagging(member) => self.who_lags(*member),
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
            Cause::NoQuorum(lacking) => quorum(lacking),
            Cause::NoLeader(lasts) => format!(
                "There is no leader: node {by} has known none for {}.",
                duration(*lasts)
            ),
            Cause::LeaderSilent { leader, lasts } => leader_silent(by, *leader, *lasts),
            Cause::NoCampaign(bar) => campaign_bar(by, *bar),
            Cause::Vote { voter, state } => vote(by, *voter, *state),
            Cause::Campaign(role) => format!("Node {by} asks for votes now, as a {role}."),
            Cause::CampaignDue(left) => campaign_due(by, *left),
            Cause::Behind(lag) => behind(lag),
            Cause::OwnDisk(waits) => format!(
                "The oldest write of node {by} has not become durable for {}: its disk or its log writer is slow.",
                duration(*waits)
            ),
            Cause::OwnWrite(waits) => {
                format!(
                    "Node {by} has been writing it to its own disk for {}.",
                    duration(*waits)
                )
            }
            Cause::OwnStateMachine { lasts, entries } => own_state_machine(by, *lasts, *entries),
            Cause::OwnRestore(last) => format!(
                "Node {by} is replacing its state by the snapshot at {last}, and applies nothing before that is done."
            ),
            Cause::OwnLogRead { failed } => own_log_read(by, *failed),
            Cause::OwnSuspicion => format!(
                "Node {by} may have lost what it had promised, so it neither votes nor counts until the leader has brought it \
                 up to date."
            ),
            Cause::EarlierTerm { term, needs } => format!(
                "It is of an earlier term, so it is committed together with entry {needs}, the first one of term {term}."
            ),
            Cause::AskLeader(leader) => format!("The leader, node {leader}, knows more."),
            Cause::LeaderChange(change) => leader_change(by, change),
            Cause::Transfer { to, left, lacks } => transfer(*to, *left, *lacks),
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
            Cause::ChangePending { index, is_joint } => change_pending(*index, *is_joint),
        }
    }

    /// All those who do not answer, if one of them is what matters most; else the one that does.
    fn who_lags(&self, first: NodeId) -> String {
        let silent = self.silent();
        match silent.as_slice() {
            _ if !silent.contains(&first) => format!("Node {first} does not keep up."),
            [one] => format!("Node {one} does not answer."),
            more => format!("Nodes {} do not answer.", list(more)),
        }
    }
}

fn quorum(quorum: &Quorum) -> String {
    let comma = if quorum.half == Half::Only { "" } else { "," };
    let of = match quorum.half {
        Half::Only => "voters",
        Half::Incoming => "new voters of the joint configuration,",
        Half::Outgoing => "old voters of the joint configuration,",
    };
    let Quorum {
        voters, have, needed, ..
    } = quorum;
    let purpose = match quorum.need {
        Need::Votes => "elect a leader",
        Need::Contact => "commit anything",
        Need::Entry => "commit it",
    };
    let what = match quorum.need {
        Need::Votes | Need::Contact => "can be reached",
        Need::Entry if have.len() == 1 => "has it",
        Need::Entry => "have it",
    };
    let those = if have.is_empty() {
        "none".to_owned()
    } else {
        format!("only {}", nodes(have))
    };
    format!(
        "It takes {needed} of the {} {of} {}{comma} to {purpose}, and {those} {what}.",
        voters.len(),
        list(voters)
    )
}

fn own_state_machine(by: NodeId, lasts: Duration, count: u64) -> String {
    format!(
        "The state machine of node {by} has been busy for {} with {} that it was given.",
        duration(lasts),
        entries(count)
    )
}

fn own_log_read(by: NodeId, failed: bool) -> String {
    if failed {
        format!("Node {by} cannot read the entries back from its log, and tries again.")
    } else {
        format!("Node {by} is reading the entries back from its log.")
    }
}

fn transfer(to: NodeId, left: Duration, lacks: u64) -> String {
    let state = match lacks {
        0 => "has everything".to_owned(),
        _ => format!("lacks {}", entries(lacks)),
    };
    format!(
        "Leadership is being handed to node {to}, which {state}; that is given up in {}.",
        duration(left)
    )
}

fn change_pending(index: Index, is_joint: bool) -> String {
    let kind = if is_joint {
        "joint configuration"
    } else {
        "configuration"
    };
    format!("The {kind} at entry {index} is not through yet.")
}

fn leader_silent(by: NodeId, leader: NodeId, lasts: Duration) -> String {
    format!(
        "Node {by} has not heard from its leader, node {leader}, for {}: node {leader} has stopped, or nothing gets through \
         from it.",
        duration(lasts)
    )
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
    let acknowledged = match (lacks, match_index) {
        (0, _) => "everything".to_owned(),
        (_, &Index::ZERO) => "nothing yet".to_owned(),
        _ => format!("everything up to entry {match_index}"),
    };
    let owes = match (lacks, stands) {
        (0, _) => format!("Node {member} has acknowledged {acknowledged}, but"),
        (_, Some(stands)) if *stands >= TELLABLE => format!(
            "Node {member} has acknowledged {acknowledged}, lacks {}, and its next acknowledgement has been missing for {}:",
            entries(*lacks),
            duration(*stands)
        ),
        _ => format!(
            "Node {member} has acknowledged {acknowledged} and lacks {}:",
            entries(*lacks)
        ),
    };
    let window = window
        .as_ref()
        .map_or(String::new(), |window| full_window(*member, window));
    format!("{owes} {}.{window}", lag_reason(*member, *reason))
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
        LagReason::Probe => "the leader is finding out up to where its log agrees with the leader's".to_owned(),
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
