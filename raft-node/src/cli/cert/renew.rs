//! `raft-node cert renew`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::certificates::authority::Authority;
use crate::certificates::description::Description;
use crate::certificates::error::CertificateError;
use crate::certificates::renewal::{Renewal, RenewalOptions, leaves_in, renew};
use crate::cli::error::CliError;
use crate::cli::output;

/// Renew certificates in place: new keys, the same names
///
/// Certificate and key are replaced together. A node that uses them takes the new pair within seconds, without a restart; what
/// it is connected by stays. A directory stands for every certificate in it that has its key beside it; an authority is
/// never renewed, but see `raft-node cert rotate-ca`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node cert renew pki/n1.pem
  raft-node cert renew pki                       all of them, each for as long as it was made before
  raft-node cert renew pki --within 30 --days 90
  raft-node cert renew /etc/raft-node/n1.pem --ca pki")]
pub(super) struct RenewArguments {
    /// Certificates (PEM), and directories of them
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,

    /// Where ca.pem and ca.key are [default: beside the certificate]
    #[arg(long, value_name = "DIR")]
    ca: Option<PathBuf>,

    /// How many days the new certificates are valid [default: as many as the old ones were]
    #[arg(long, value_name = "DAYS")]
    days: Option<u32>,

    /// Keep those that have more than so many days left, unless another authority signs now
    #[arg(long, value_name = "DAYS")]
    within: Option<u32>,
}

/// Runs the command.
pub(super) fn run(arguments: RenewArguments) -> Result<ExitCode, CliError> {
    let options = RenewalOptions {
        days: arguments.days,
        within_days: arguments.within,
    };
    for file in files(&arguments.paths)? {
        let beside = file
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let authority = Authority::open(arguments.ca.as_deref().unwrap_or(beside))?;
        output::print(&match renew(&file, &authority, options)? {
            Renewal::Renewed(leaf) => format!(
                "renewed {}  {}, valid until {}",
                file.display(),
                leaf.name,
                leaf.not_after.date()
            ),
            Renewal::Kept(not_after) => {
                format!("kept {}  valid until {}", file.display(), not_after.date())
            }
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CertificateError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            // Before anything is renewed, and before the authority beside a file that is not there is missed.
            Description::read(path)?;
            files.push(path.clone());
            continue;
        }
        let found = leaves_in(path)?;
        if found.is_empty() {
            return Err(CertificateError::NotRenewed {
                path: path.clone(),
                reason: "no *.pem in it is a certificate that has its key beside it; name the directory that has both"
                    .to_owned(),
            });
        }
        files.extend(found);
    }
    Ok(files)
}
