//! `raft-node status`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::error::CliError;
use super::{EndpointArguments, block_on, output, parse_seconds};
use crate::client::status::{self, NodeAnswer, NodeStatus};

/// Show the state of every node
///
/// Asks the endpoints and every member that they name. Fails only if nobody answers.
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

/// Runs the command.
pub(super) fn run(arguments: StatusArguments) -> Result<ExitCode, CliError> {
    let nodes =
        block_on(async { Ok(status::gather(&arguments.endpoints.endpoints, arguments.timeout).await?) })?;
    if arguments.json {
        let json = serde_json::to_string(&nodes).map_err(|error| CliError::Format(error.to_string()))?;
        output::print(&json)?;
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
    format!("{table}{reasons}")
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

fn bytes(count: i64) -> String {
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
    fn sizes_are_readable() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(20_480), "20.5 kB");
        assert_eq!(bytes(3_000_000_000), "3.0 GB");
    }
}
