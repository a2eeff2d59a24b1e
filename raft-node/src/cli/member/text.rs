//! Members and changes in words.

use comfy_table::{ContentArrangement, Table, presets};

use crate::client::membership::{Configuration, Lagging, Member, Preview, Step, list};

/// Fewer voters than this survive no failure.
const VOTERS_FOR_A_FAILURE: usize = 3;

/// One row per member.
pub(super) fn members(members: &[Member], leader: u64) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header([
            "id",
            "name",
            "role",
            "leads",
            "peers reach it at",
            "clients reach it at",
        ]);
    for member in members {
        let leads = if member.id == leader { "yes" } else { "" };
        table.add_row([
            member.id.to_string(),
            member.name.clone(),
            member.role.to_owned(),
            leads.to_owned(),
            member.peer_urls.join(", "),
            member.client_urls.join(", "),
        ]);
    }
    table.to_string()
}

/// What a change would do, line by line.
pub(super) fn preview(preview: &Preview, steps: &[Step]) -> String {
    let mut lines = vec![format!("from    {}", preview.current)];
    lines.extend(preview.joint.as_ref().map(|joint| format!("through {joint}")));
    lines.push(format!("to      {}", preview.target));
    lines.push(String::new());
    lines.push(quorum(preview));
    let reachable = match preview.reachable.is_empty() {
        true => "nobody".to_owned(),
        false => list(&preview.reachable),
    };
    lines.push(format!("reachable now: {reachable}"));
    let unreachable = preview.unreachable();
    if !unreachable.is_empty() {
        lines.push(format!("not reachable now: {}", list(&unreachable)));
    }
    lines.push(match (preview.quorum_reachable, &preview.joint) {
        (true, None) => "a quorum is reachable now".to_owned(),
        (true, Some(_)) => "a quorum of every configuration on the way is reachable now".to_owned(),
        (false, _) => "NO quorum is reachable now: the cluster would stop".to_owned(),
    });
    let votes_at_once = |step: &&Step| {
        matches!(
            step,
            Step::Add {
                is_learner: false,
                ..
            }
        )
    };
    if let Some(Step::Add { id, .. }) = steps.iter().find(votes_at_once) {
        lines.push(format!(
            "node {id} would count in every majority before it has the log; as a learner it would not"
        ));
    }
    lines.push(String::new());
    lines.push(match &preview.refusal {
        None => "the leader would take this change".to_owned(),
        Some(reason) => format!("the leader would REFUSE this change: {reason}"),
    });
    lines.join("\n")
}

fn quorum(preview: &Preview) -> String {
    let voters = preview.target.voters.len();
    let failures = match preview.failures_survived {
        0 => "no failure".to_owned(),
        1 => "1 failure".to_owned(),
        count => format!("{count} failures"),
    };
    let plural = if voters == 1 { "" } else { "s" };
    let mut line = format!(
        "quorum: {} of {voters} voter{plural}; survives {failures}",
        preview.quorum
    );
    if voters < VOTERS_FOR_A_FAILURE {
        line.push_str(": with fewer than 3 voters any of them that fails stops the cluster");
    }
    line
}

/// What a promotion waits for.
pub(super) fn waiting_for(lagging: &Lagging, reachable: &[u64]) -> String {
    let Lagging { id, entries_behind } = lagging;
    match reachable.contains(id) {
        true => format!("node {id} is catching up: {entries_behind} entries to go"),
        false => format!("node {id} is not reachable: {entries_behind} entries to go; is it started?"),
    }
}

/// What a change that is complete did, one line per step.
pub(super) fn done(steps: &[Step], configuration: &Configuration) -> String {
    let mut lines: Vec<String> = steps.iter().map(did).collect();
    lines.push(format!("members: {configuration}"));
    lines.join("\n")
}

fn did(step: &Step) -> String {
    match step {
        Step::Add {
            id, is_learner: true, ..
        } => format!(
            "node {id} is a learner now; start it with --join, and let it vote with: raft-node member promote {id} --wait"
        ),
        Step::Add { id, .. } => {
            format!("node {id} votes now; start it with --join, for it counts in every majority")
        }
        Step::Promote(id) => format!("node {id} votes now"),
        Step::Demote(id) => format!("node {id} is a learner now"),
        Step::Remove(id) => format!("node {id} is no member any more"),
        Step::Update { id, .. } => format!("node {id} is updated"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member_contact::MemberContact;

    fn of_voters(voters: &[u64]) -> Configuration {
        Configuration {
            voters: voters.to_vec(),
            ..Configuration::default()
        }
    }

    #[test]
    fn a_preview_says_all_that_matters() {
        let replaced = Preview {
            current: of_voters(&[1, 2, 3]),
            joint: Some(Configuration {
                outgoing: vec![1, 2, 3],
                ..of_voters(&[1, 2, 4])
            }),
            target: of_voters(&[1, 2, 4]),
            quorum: 2,
            failures_survived: 1,
            reachable: vec![1, 2, 4],
            quorum_reachable: true,
            refusal: None,
            lagging: None,
        };
        assert_eq!(
            preview(&replaced, &[Step::Remove(3), Step::Promote(4)]),
            "from    voters 1, 2, 3\n\
             through joint: a majority of 1, 2, 4 and one of 1, 2, 3\n\
             to      voters 1, 2, 4\n\n\
             quorum: 2 of 3 voters; survives 1 failure\n\
             reachable now: 1, 2, 4\n\
             not reachable now: 3\n\
             a quorum of every configuration on the way is reachable now\n\n\
             the leader would take this change"
        );
    }

    #[test]
    fn a_preview_of_a_bad_idea_says_so() {
        let second = Preview {
            current: of_voters(&[1]),
            target: of_voters(&[1, 2]),
            quorum: 2,
            reachable: vec![1],
            refusal: Some("the group would stop".to_owned()),
            ..Preview::default()
        };
        let step = Step::Add {
            id: 2,
            contact: MemberContact::default(),
            is_learner: false,
        };
        let text = preview(&second, &[step]);
        for part in [
            "quorum: 2 of 2 voters; survives no failure: with fewer than 3 voters",
            "not reachable now: 2",
            "NO quorum is reachable now",
            "node 2 would count in every majority before it has the log",
            "REFUSE this change: the group would stop",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }
}
