//! `raft-node cert show`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::certificates::description::Description;
use crate::certificates::error::CertificateError;
use crate::certificates::renewal::certificates_in;
use crate::cli::error::{CliError, EXPIRING};
use crate::cli::output;

/// From how many days on a certificate is called one that expires soon.
const WARN_DAYS: u32 = 30;

/// Show what certificates say, and until when they are valid
///
/// One file with one certificate is shown in full; several, and a directory with all its *.pem, as a table. Whatever is
/// shown, nothing is changed.
///
/// With --warn-days the exit code is 5 if one of them expired, is not valid yet, or expires within so many days.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node cert show pki/n1.pem
  raft-node cert show pki
  raft-node cert show pki --warn-days 30 || raft-node cert renew pki --within 30")]
pub(super) struct ShowArguments {
    /// Certificates (PEM), and directories of them
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,

    /// Let the exit code be 5 if one has no more than so many days left
    #[arg(long, value_name = "DAYS")]
    warn_days: Option<u32>,

    /// Print a JSON list, one object per certificate
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(arguments: ShowArguments) -> Result<ExitCode, CliError> {
    let found = read(&arguments.paths)?;
    let now = OffsetDateTime::now_utc();
    let warn_days = arguments.warn_days.unwrap_or(WARN_DAYS);
    let rows: Vec<Row> = found
        .iter()
        .map(|(path, description)| Row::of(path, description, now, warn_days))
        .collect();
    match found.as_slice() {
        _ if arguments.json => output::print_json(&rows)?,
        [(_, only)] => output::print(&only.to_string())?,
        _ => output::print(&table(&rows))?,
    }
    let is_well = rows.iter().all(|row| row.state == "ok");
    Ok(if is_well || arguments.warn_days.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXPIRING)
    })
}

fn read(paths: &[PathBuf]) -> Result<Vec<(PathBuf, Description)>, CertificateError> {
    let mut found = Vec::new();
    for path in paths {
        let files = if path.is_dir() {
            certificates_in(path)?
        } else {
            vec![path.clone()]
        };
        if files.is_empty() {
            return Err(CertificateError::Unreadable {
                path: path.clone(),
                expected: "a certificate",
                reason: "no *.pem in it is one".to_owned(),
            });
        }
        for file in files {
            let descriptions = Description::read_all(&file)?;
            found.extend(
                descriptions
                    .into_iter()
                    .map(|description| (file.clone(), description)),
            );
        }
    }
    Ok(found)
}

/// One certificate as `--json` shows it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    file: String,
    subject: String,
    names: Vec<String>,
    usages: Vec<&'static str>,
    valid_to: String,
    days_left: i64,
    state: &'static str,
}

impl Row {
    fn of(path: &Path, description: &Description, now: OffsetDateTime, warn_days: u32) -> Row {
        let left = description.not_after - now;
        let state = if left.is_negative() || left.is_zero() {
            "EXPIRED"
        } else if description.not_before > now {
            "NOT VALID YET"
        } else if left <= time::Duration::days(i64::from(warn_days)) {
            "expires soon"
        } else {
            "ok"
        };
        let usages = if description.is_authority {
            vec!["authority"]
        } else {
            description.usages.clone()
        };
        let subject = &description.subject;
        Row {
            file: path.display().to_string(),
            subject: subject.strip_prefix("CN=").unwrap_or(subject).to_owned(),
            names: description.names.clone(),
            usages,
            valid_to: description
                .not_after
                .format(&Rfc3339)
                .unwrap_or_else(|_| description.not_after.to_string()),
            days_left: left.whole_days(),
            state,
        }
    }
}

fn table(rows: &[Row]) -> String {
    const DAYS_COLUMN: usize = 5;
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header([
            "file",
            "subject",
            "names",
            "usages",
            "valid to",
            "days left",
            "state",
        ]);
    for row in rows {
        table.add_row([
            row.file.clone(),
            row.subject.clone(),
            row.names.join(", "),
            row.usages.join(", "),
            row.valid_to.clone(),
            row.days_left.to_string(),
            row.state.to_owned(),
        ]);
    }
    if let Some(column) = table.column_mut(DAYS_COLUMN) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::authority::Authority;
    use crate::certificates::holder::Holder;
    use crate::certificates::leaf;

    #[test]
    fn a_state_depends_on_the_days_that_are_left() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_make(directory.path(), &"demo".parse().unwrap()).unwrap();
        let holders = [Holder::Client("root".parse().unwrap())];
        leaf::make(&authority, directory.path(), &holders, 10, false).unwrap();
        let found = read(&[directory.path().to_owned()]).unwrap();
        assert_eq!(found.len(), 2, "the authority and the client");
        let (path, client) = &found[1];
        let after = |days: i64, warn_days| {
            let now = client.not_before + time::Duration::days(days);
            Row::of(path, client, now, warn_days)
        };
        assert_eq!((after(1, 3).state, after(1, 3).usages), ("ok", vec!["client"]));
        assert_eq!(after(1, 30).state, "expires soon");
        assert_eq!((after(8, 3).state, after(8, 3).days_left), ("expires soon", 2));
        assert_eq!(after(11, 0).state, "EXPIRED");
        assert_eq!(after(-1, 0).state, "NOT VALID YET");
        let (path, authority) = &found[0];
        let row = Row::of(path, authority, OffsetDateTime::now_utc(), 30);
        assert_eq!(
            (row.subject.as_str(), row.usages),
            ("raft cluster demo authority", vec!["authority"])
        );
    }

    #[test]
    fn a_directory_without_certificates_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("x.pem"), "no certificate").unwrap();
        let error = read(&[directory.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no *.pem"), "{error}");
    }
}
