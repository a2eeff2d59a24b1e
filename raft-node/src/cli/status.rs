//! `raft-node status`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::error::CliError;
use super::restore::text_of;
use super::{EndpointArguments, block_on, output, parse_seconds};
use crate::client::membership::MemberProgress;
use crate::client::peers::PeerPath;
use crate::client::status::{self, NodeAnswer, NodeStatus};

/// Show the state of every node
///
/// Asks the endpoints and every member that they name; below the table stand the members, learners and the halves of a
/// joint configuration among them, who of them is behind, what `raft-node restore` can make again of a node with an archive, what is wrong if anything is (`raft-node why` tells more), and the way from each node to each peer: round-trip
/// time, lost packets, what waits and what was dropped. Fails only if nobody answers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node status
  raft-node status --endpoints http://127.0.0.1:2379,http://127.0.0.1:2389 --json")]
pub(super) struct StatusArguments {
    #[command(flatten)]
    endpoints: EndpointArguments,

    /// Print a JSON list, one object per node
    #[arg(long)]
    json: bool,

    /// How long to wait for each node, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = parse_seconds)]
    timeout: Duration,
}

/// From how many entries on a member that is sent them is called behind. Under load some are always on their way.
const ENTRIES_BEHIND: u64 = 1_000;

/// Runs the command.
pub(super) fn run(arguments: StatusArguments) -> Result<ExitCode, CliError> {
    let nodes =
        block_on(async { Ok(status::gather(&arguments.endpoints.endpoints, arguments.timeout).await?) })?;
    if arguments.json {
        output::print_json(&nodes)?;
    } else {
        output::print(&table(&nodes))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One row per node; below, why silent nodes are silent.
pub(super) fn table(nodes: &[NodeStatus]) -> String {
    const HEADER: [&str; 12] = [
        "node", "endpoint", "role", "term", "leader", "appended", "durable", "commit", "applied", "revision",
        "size", "version",
    ];
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(HEADER);
    let mut reasons = String::new();
    for node in nodes {
        let id = node.id.map_or_else(|| "?".to_owned(), |id| id.to_string());
        let mut row = vec![id, node.endpoint.clone()];
        match &node.answer {
            Some(answer) => row.extend(columns(answer)),
            None => row.push("no answer".to_owned()),
        }
        table.add_row(row);
        if let Some(error) = &node.error {
            reasons.push_str(&format!("\n{} does not answer: {error}", node.endpoint));
        }
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!(
        "{table}{reasons}{}{}{}{}",
        membership(nodes),
        pasts(nodes),
        trouble(nodes),
        paths(nodes)
    )
}

/// What can be restored of each node that has an archive.
fn pasts(nodes: &[NodeStatus]) -> String {
    let mut text = String::new();
    for node in nodes {
        let Some(past) = node.answer.as_ref().and_then(|answer| answer.restorable) else {
            continue;
        };
        let id = node.id.map_or_else(|| "?".to_owned(), |id| id.to_string());
        let at = |seconds: Option<u64>| match seconds {
            Some(seconds) => format!("at {}", text_of(seconds.saturating_mul(1_000))),
            None => "at a time that is not noted".to_owned(),
        };
        let (first, first_time) = (past.first_index, at(past.first_unix_seconds));
        text.push_str(&format!(
            "\nnode {id} can be restored from index {first}, {first_time}"
        ));
        if let Some(last) = past.last_index {
            text.push_str(&format!(", to {last}, {}", at(past.last_unix_seconds)));
        }
    }
    text
}

/// What is wrong, in one line: what the leader says, or whoever sees it worst if nobody leads. Nothing if nothing is.
fn trouble(nodes: &[NodeStatus]) -> String {
    let answers = nodes.iter().filter_map(|node| node.answer.as_ref());
    let troubles = answers.filter_map(|answer| answer.trouble.as_ref());
    let worst = troubles.max_by_key(|why| (why.leads, why.severity));
    worst.map_or(String::new(), |why| format!("\n{}", why.text))
}

/// One row for each way from a node to a peer; nothing if no node tells of any.
fn paths(nodes: &[NodeStatus]) -> String {
    const HEADER: [&str; 7] = [
        "from",
        "to",
        "connected",
        "rtt",
        "lost packets",
        "queue",
        "dropped",
    ];
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(HEADER);
    for node in nodes {
        let id = node.id.map_or_else(|| "?".to_owned(), |id| id.to_string());
        let peers = node.answer.iter().flat_map(|answer| &answer.peers);
        for peer in peers {
            table.add_row(path(id.clone(), peer));
        }
    }
    if table.is_empty() {
        return String::new();
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("\n{table}")
}

fn path(from: String, peer: &PeerPath) -> [String; 7] {
    let dash = || "-".to_owned();
    let rtt = peer
        .rtt_us
        .map_or_else(dash, |micros| format!("{:.2} ms", micros as f64 / 1e3));
    let lost = match (peer.lost_packets, peer.sent_packets) {
        (Some(lost), Some(sent)) if sent > 0 => {
            format!("{lost} ({:.2} %)", 100.0 * lost as f64 / sent as f64)
        }
        (Some(lost), _) => lost.to_string(),
        (None, _) => dash(),
    };
    let queued_bytes = i64::try_from(peer.queued_bytes).unwrap_or(i64::MAX);
    [
        from,
        peer.id.to_string(),
        if peer.connected { "yes" } else { "no" }.to_owned(),
        rtt,
        lost,
        format!("{}, {}", peer.queued_messages, bytes(queued_bytes)),
        peer.dropped_messages.to_string(),
    ]
}

/// The members as the leader has them, or whoever has most of the log if nobody leads, and which of them are behind.
fn membership(nodes: &[NodeStatus]) -> String {
    let rank = |answer: &&NodeAnswer| (answer.role == "leader", answer.term, answer.appended);
    let answers = nodes.iter().filter_map(|node| node.answer.as_ref());
    let Some(best) = answers.max_by_key(rank) else {
        return String::new();
    };
    let Some(configuration) = &best.configuration else {
        return String::new();
    };
    let mut text = format!("\nmembers: {configuration}");
    for member in &best.progress {
        if let Some(lag) = lag(member) {
            text.push_str(&format!("\nnode {} {lag}", member.id));
        }
    }
    text
}

/// What keeps a member from having what the leader has; nothing if nothing does.
fn lag(member: &MemberProgress) -> Option<String> {
    let behind = member.entries_behind;
    let text = match member.replication {
        _ if !member.connected => format!("is not connected to the leader and lacks {behind} entries"),
        "snapshot" => format!("receives a snapshot; it lacks {behind} entries"),
        "probe" => format!("has not matched its log with the leader's yet; it lacks up to {behind} entries"),
        _ if behind >= ENTRIES_BEHIND => format!("lacks {behind} entries"),
        _ => return None,
    };
    Some(text)
}

fn columns(answer: &NodeAnswer) -> [String; 10] {
    let or_dash = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    [
        answer.role.clone(),
        answer.term.to_string(),
        or_dash(Some(answer.leader).filter(|leader| *leader != 0)),
        or_dash(answer.appended),
        or_dash(answer.durable),
        answer.commit.to_string(),
        answer.applied.to_string(),
        answer.revision.to_string(),
        bytes(answer.db_size),
        answer.version.clone(),
    ]
}

/// A size in words.
pub(super) fn bytes(count: i64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut name = "B";
    for unit in UNITS {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        name = unit;
    }
    if name == "B" {
        format!("{count} B")
    } else {
        format!("{value:.1} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::membership::Configuration;
    use crate::client::status::Restorable;

    #[test]
    fn a_node_is_a_row_and_a_silent_one_says_why() {
        let nodes = [
            NodeStatus {
                endpoint: "http://a:1".to_owned(),
                id: Some(1),
                answer: Some(NodeAnswer {
                    role: "leader".to_owned(),
                    leader: 1,
                    durable: Some(77),
                    ..NodeAnswer::default()
                }),
                error: None,
            },
            NodeStatus {
                endpoint: "http://b:1".to_owned(),
                id: Some(2),
                answer: None,
                error: Some("refused".to_owned()),
            },
        ];
        let text = table(&nodes);
        assert!(
            text.contains("leader")
                && text.contains("77")
                && text.contains("http://b:1 does not answer: refused"),
            "{text}"
        );
        let json = serde_json::to_string(&nodes).unwrap();
        assert!(json.contains(r#""id":1,"role":"leader""#), "{json}");
        assert!(json.contains(r#""error":"refused""#), "{json}");
    }

    #[test]
    fn the_members_are_those_of_the_leader_and_laggards_are_named() {
        let progress = |id, replication, connected, entries_behind| MemberProgress {
            id,
            entries_behind,
            replication,
            connected,
        };
        let of_voters = |voters: &[u64]| Configuration {
            voters: voters.to_vec(),
            ..Configuration::default()
        };
        let node = |role: &str, term, configuration, progress| NodeStatus {
            endpoint: "http://a:1".to_owned(),
            id: Some(1),
            answer: Some(NodeAnswer {
                role: role.to_owned(),
                term,
                configuration: Some(configuration),
                progress,
                ..NodeAnswer::default()
            }),
            error: None,
        };
        let joint = Configuration {
            outgoing: vec![1, 2, 3],
            learners: vec![5],
            ..of_voters(&[1, 2, 4])
        };
        let known = vec![
            progress(2, "stream", true, 999),
            progress(3, "stream", false, 7),
            progress(4, "stream", true, 1_000),
            progress(5, "snapshot", true, 5_000),
        ];
        let text = membership(&[
            node("follower", 2, of_voters(&[1, 2, 3]), Vec::new()),
            node("leader", 2, joint, known),
        ]);
        assert_eq!(
            text,
            "\nmembers: joint: a majority of 1, 2, 4 and one of 1, 2, 3; learner 5\
             \nnode 3 is not connected to the leader and lacks 7 entries\
             \nnode 4 lacks 1000 entries\
             \nnode 5 receives a snapshot; it lacks 5000 entries"
        );
        let deposed = node("follower", 1, of_voters(&[9]), Vec::new());
        let elected = node("follower", 2, of_voters(&[1]), Vec::new());
        assert_eq!(membership(&[elected, deposed]), "\nmembers: voter 1");
        assert_eq!(membership(&[]), "");
    }

    #[test]
    fn what_can_be_restored_is_said_of_a_node_with_an_archive() {
        let node = |id, restorable| NodeStatus {
            endpoint: "http://a:1".to_owned(),
            id: Some(id),
            answer: Some(NodeAnswer {
                restorable,
                ..NodeAnswer::default()
            }),
            error: None,
        };
        let known = Restorable {
            first_index: 400,
            first_unix_seconds: Some(86_400),
            last_index: Some(1_040),
            last_unix_seconds: Some(90_000),
        };
        let unknown = Restorable::default();
        assert_eq!(
            pasts(&[node(1, Some(known)), node(2, None), node(3, Some(unknown))]),
            "\nnode 1 can be restored from index 400, at 1970-01-02T00:00:00Z, to 1040, at 1970-01-02T01:00:00Z\
             \nnode 3 can be restored from index 0, at a time that is not noted"
        );
    }

    #[test]
    fn the_ways_to_the_peers_are_a_table() {
        let measured = PeerPath {
            id: 2,
            connected: true,
            rtt_us: Some(1_250),
            sent_packets: Some(200),
            lost_packets: Some(3),
            queued_messages: 7,
            queued_bytes: 20_480,
            dropped_messages: 9,
            ..PeerPath::default()
        };
        let unmeasured = PeerPath {
            id: 3,
            ..PeerPath::default()
        };
        let mut node = NodeStatus {
            endpoint: "http://a:1".to_owned(),
            id: Some(1),
            answer: Some(NodeAnswer::default()),
            error: None,
        };
        assert_eq!(paths(std::slice::from_ref(&node)), "");
        if let Some(answer) = &mut node.answer {
            answer.peers = vec![measured, unmeasured];
        }
        let text = table(&[node]);
        let row = |line: &str| -> Vec<String> {
            line.split(['│', '┆'])
                .map(|cell| cell.trim().to_owned())
                .collect()
        };
        let rows: Vec<Vec<String>> = text.lines().map(row).collect();
        for wanted in [
            [
                "",
                "1",
                "2",
                "yes",
                "1.25 ms",
                "3 (1.50 %)",
                "7, 20.5 kB",
                "9",
                "",
            ],
            ["", "1", "3", "no", "-", "-", "0, 0 B", "0", ""],
        ] {
            assert!(rows.iter().any(|row| row == &wanted), "{text}");
        }
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(20_480), "20.5 kB");
        assert_eq!(bytes(3_000_000_000), "3.0 GB");
    }
}
