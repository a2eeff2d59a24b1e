//! How an explanation is written in a trace: its case and causes as they are typed, and the paragraph that people read.

use raft_core::explain::{Case, Cause, Explanation, LagReason, Quorum, VoteState};
use raft_core::types::NodeId;

use super::kinds;

/// How long a line of a paragraph becomes.
const LINE_CHARS: usize = 118;

/// `n1 [no_quorum] NoLeader: NoQuorum(Votes Only, [1] of [1, 2, 3]), Vote(2: Silent)`, and below it the paragraph.
pub(crate) fn explanation(explanation: &Explanation) -> Vec<String> {
    let case = kinds::case(&explanation.case);
    let causes: Vec<String> = explanation.causes.iter().map(cause).collect();
    let typed = match explanation.case {
        Case::Lagging(member) => format!("{case}({member})"),
        _ => case.to_owned(),
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
    let kind = kinds::cause(cause);
    match cause {
        Cause::NoQuorum(Quorum {
            need,
            half,
            voters,
            have,
            ..
        }) => {
            let ids = |nodes: &[NodeId]| nodes.iter().map(|id| id.0).collect::<Vec<u64>>();
            let (need, half) = (kinds::need(need), kinds::half(half));
            format!("{kind}({need} {half}, {:?} of {:?})", ids(have), ids(voters))
        }
        Cause::Vote { voter, state } => {
            let answer = kinds::vote_state(state);
            match state {
                VoteState::Refused { reason, .. } => {
                    format!("{kind}({voter}: {answer} {})", kinds::vote_refusal(reason))
                }
                _ => format!("{kind}({voter}: {answer})"),
            }
        }
        Cause::Behind(lag) => {
            let window = if lag.window.is_some() { ", window full" } else { "" };
            let mut reason = kinds::lag_reason(&lag.reason).to_owned();
            if let LagReason::Snapshot(index) = lag.reason {
                reason = format!("{reason} {index}");
            }
            format!("{kind}({}: {reason}{window})", lag.member)
        }
        Cause::NoCampaign(bar) => format!("{kind}({})", kinds::campaign_bar(bar)),
        Cause::LeaderChange(change) => {
            let id = |node: Option<NodeId>| node.map_or("-".to_owned(), |node| node.to_string());
            format!("{kind}({} to {})", id(change.before), id(change.after))
        }
        _ => kind.to_owned(),
    }
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
