//! How an explanation is written in a trace: its case and causes as they are typed, and the paragraph that people read.

use raft_core::explain::{Case, Cause, Explanation, LagReason, Quorum, VoteState};

/// How long a line of a paragraph becomes.
const LINE_CHARS: usize = 118;

/// `n1 explains [no_quorum] NoLeader: NoQuorum(Only, [1] of [1, 2, 3]), Vote(2: Silent)`, and below it the paragraph.
pub(crate) fn explanation(explanation: &Explanation) -> Vec<String> {
    let case = name(&format!("{:?}", explanation.case));
    let causes: Vec<String> = explanation.causes.iter().map(cause).collect();
    let typed = match explanation.case {
        Case::Lagging(member) => format!("{case}({member})"),
        _ => case,
    };
    let label = explanation.label();
    assert!(Explanation::LABELS.contains(&label), "{label} is a label");
    let mut lines = vec![format!(
        "n{} [{label}] {typed}: {}",
        explanation.by,
        causes.join(", ")
    )];
    lines.extend(wrapped(&explanation.to_string()));
    lines
}

fn cause(cause: &Cause) -> String {
    let kind = name(&format!("{cause:?}"));
    match cause {
        Cause::NoQuorum(Quorum {
            half, voters, have, ..
        }) => {
            let (have, voters): (Vec<u64>, Vec<u64>) = (
                have.iter().map(|id| id.0).collect(),
                voters.iter().map(|id| id.0).collect(),
            );
            format!("NoQuorum({half:?}, {have:?} of {voters:?})")
        }
        Cause::Vote { voter, state } => match state {
            VoteState::Refused { reason, .. } => {
                format!("Vote({voter}: Refused {})", name(&format!("{reason:?}")))
            }
            _ => format!("Vote({voter}: {})", name(&format!("{state:?}"))),
        },
        Cause::Behind(lag) => {
            let window = if lag.window.is_some() { ", window full" } else { "" };
            let reason = match lag.reason {
                LagReason::Snapshot(index) => format!("Snapshot {index}"),
                reason => name(&format!("{reason:?}")),
            };
            format!("Behind({}: {reason}{window})", lag.member)
        }
        Cause::NoCampaign(bar) => format!("NoCampaign({})", name(&format!("{bar:?}"))),
        Cause::LeaderChange(change) => {
            let id =
                |node: Option<raft_core::types::NodeId>| node.map_or("-".to_owned(), |node| node.to_string());
            format!("LeaderChange({} to {})", id(change.before), id(change.after))
        }
        _ => kind,
    }
}

/// The name of a variant, without what is in it.
fn name(debug: &str) -> String {
    let end = debug.find(|c: char| !c.is_alphanumeric());
    debug[..end.unwrap_or(debug.len())].to_owned()
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < LINE_CHARS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("  {word}")),
        }
    }
    lines
}
