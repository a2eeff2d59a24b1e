//! What is known about a stopped node, in words and tables.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::describe::{Described, Files, Found, Group, Position};
use crate::cli::status::bytes;

/// So many runs of terms are listed; more say little to anybody.
const TERMS_SHOWN: usize = 20;

/// Everything about the node.
pub(super) fn inspection(described: &Described) -> String {
    let mut parts = vec![header(described), groups(&described.groups)];
    parts.extend(described.groups.iter().map(details));
    parts.push(disk(described));
    if !described.snapshots.is_empty() {
        parts.push(snapshots(described));
    }
    parts.push(findings(&described.findings));
    parts.join("\n")
}

/// Every finding, and what was read.
pub(super) fn verification(described: &Described) -> String {
    format!("{}\n{}", findings(&described.findings), summary(described))
}

/// What was read, and whether it was whole, in one line.
fn summary(described: &Described) -> String {
    let read = format!(
        "{} entries of {} groups, {} records of the journal that are in no table yet, {} snapshot files, {} in all",
        described.entries_read,
        described.groups.len(),
        described.journal_records,
        described.snapshots.len(),
        size(described.bytes_read)
    );
    let damages = described.findings.iter();
    match damages.filter(|found| found.severity == "damage").count() {
        0 => format!("whole: {read}"),
        1 => format!("DAMAGED in 1 place; read: {read}"),
        count => format!("DAMAGED in {count} places; read: {read}"),
    }
}

fn header(described: &Described) -> String {
    let node = match (described.node, &described.cluster) {
        (Some(node), Some(cluster)) => format!("node {node} of cluster {cluster}"),
        _ => "a node".to_owned(),
    };
    let removed = if described.removed {
        ", which was removed from the cluster"
    } else {
        ""
    };
    format!("{node}{removed}, in {}", described.directory)
}

fn groups(groups: &[Group]) -> String {
    const HEADER: [&str; 11] = [
        "group",
        "first",
        "last",
        "entries",
        "payload",
        "term",
        "vote",
        "commit",
        "trust",
        "snapshot",
        "watermark",
    ];
    let mut table = table(&HEADER);
    for group in groups {
        let state = group.hard_state.as_ref();
        table.add_row(vec![
            group.group.to_string(),
            position(group.first),
            position(group.last),
            group.entries.to_string(),
            size(group.payload_bytes),
            or_dash(state.map(|state| state.term)),
            or_dash(state.and_then(|state| state.vote)),
            or_dash(state.map(|state| state.commit)),
            state.map_or("-", |state| state.trust).to_owned(),
            position(group.snapshot.as_ref().map(|snapshot| snapshot.last)),
            or_dash(group.watermark.as_ref().map(|mark| mark.last)),
        ]);
    }
    table.to_string()
}

/// What does not fit into a table.
fn details(group: &Group) -> String {
    let mut terms: Vec<String> = group
        .terms
        .iter()
        .take(TERMS_SHOWN)
        .map(|run| format!("{} from {} to {}", run.term, run.first, run.last))
        .collect();
    if group.terms.len() > TERMS_SHOWN {
        terms.push(format!(
            "and {} more, which --json shows",
            group.terms.len() - TERMS_SHOWN
        ));
    }
    let mut text = format!("group {}:", group.group);
    text.push_str(&match terms.is_empty() {
        true => "\n  no entries".to_owned(),
        false => format!("\n  terms: {}", terms.join(", ")),
    });
    if let Some(membership) = &group.membership {
        text.push_str(&format!("\n  members: {membership}"));
    }
    for configured in &group.memberships {
        text.push_str(&format!(
            "\n  configuration in entry {}: {}",
            configured.index, configured.membership
        ));
    }
    if let Some(mark) = &group.watermark {
        text.push_str(&format!(
            "\n  watermark: durable up to entry {}, term {}, vote {}, {} of 2 copies whole",
            mark.last,
            mark.term,
            or_dash(mark.vote),
            mark.copies
        ));
    }
    text.push_str(&format!(
        "\n  on disk: {} of keys and values",
        size(group.stored_bytes)
    ));
    text
}

fn disk(described: &Described) -> String {
    let disk = &described.disk;
    let mut table = table(&["on disk", "files", "size"]);
    let rows: [(&str, &Files); 5] = [
        ("journal", &disk.journal),
        ("tables", &disk.tables),
        ("other files of RocksDB", &disk.database),
        ("watermarks", &disk.watermarks),
        ("snapshots", &disk.snapshots),
    ];
    for (name, files) in rows {
        table.add_row(vec![name.to_owned(), files.files.to_string(), size(files.bytes)]);
    }
    format!(
        "{table}\n{} records of the journal are in no table yet",
        described.journal_records
    )
}

fn snapshots(described: &Described) -> String {
    let mut table = table(&["snapshot of group", "last", "size", "state", "members"]);
    for file in &described.snapshots {
        let members = file.membership.as_ref().map(ToString::to_string);
        table.add_row(vec![
            file.group.to_string(),
            position(Some(file.last)),
            size(file.bytes),
            file.state.to_owned(),
            members.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.to_string()
}

/// One line for each finding, or that there is none.
pub(super) fn findings(findings: &[Found]) -> String {
    if findings.is_empty() {
        return "no findings".to_owned();
    }
    let lines: Vec<String> = findings.iter().map(finding).collect();
    lines.join("\n")
}

/// One finding.
pub(super) fn finding(found: &Found) -> String {
    format!(
        "{}: {}: {}; {}",
        found.severity, found.place, found.problem, found.remedy
    )
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// `index@term`, as everywhere on this command line.
fn position(position: Option<Position>) -> String {
    position.map_or_else(
        || "-".to_owned(),
        |position| format!("{}@{}", position.index, position.term),
    )
}

fn or_dash(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn size(count: u64) -> String {
    bytes(count.cast_signed())
}
