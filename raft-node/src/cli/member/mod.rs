//! `raft-node member`: what its subcommands take. `list` shows the members, `change` carries changes out or previews
//! them, `text` puts them into words.

mod change;
mod list;
mod text;

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};

use self::change::Announced;
use super::error::CliError;
use super::{EndpointArguments, parse_id, parse_seconds};
use crate::client::membership::Step;
use crate::member_contact::MemberContact;

/// List, add, remove, promote, demote or update members
///
/// Every change takes effect while the cluster serves. --dry-run says what it would do, and whether the leader would take
/// it, without doing it. Ids are plain numbers; etcdctl shows the same ones in hexadecimal.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node member list
  raft-node member add --peer-url quic://10.0.0.4:2380 --learner
  raft-node member promote 4 --wait
  raft-node member remove 1 --dry-run                       what would happen")]
pub(super) struct MemberArguments {
    #[command(subcommand)]
    command: MemberCommand,
}

#[derive(Debug, Subcommand)]
enum MemberCommand {
    List(list::ListArguments),
    Add(AddArguments),
    Remove(RemoveArguments),
    Update(UpdateArguments),
    Promote(PromoteArguments),
    Demote(DemoteArguments),
    Change(ChangeArguments),
}

/// What every change takes.
#[derive(Debug, Args)]
struct Options {
    /// Only say what would happen; the exit code is 1 if the leader would refuse
    #[arg(long)]
    dry_run: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    endpoints: EndpointArguments,

    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    timeout: Duration,
}

/// Add a node
///
/// It becomes a member at once, and joins when it is started. As a learner it receives the log without voting: promote it
/// when it has caught up. As a voter it counts in every majority from now on, also before it is started.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node member add --peer-url quic://10.0.0.4:2380 --client-url http://10.0.0.4:2379 --learner
  raft-node member add --id 4 --name east-4 --peer-url quic://10.0.0.4:2380 --dry-run")]
struct AddArguments {
    /// Its id, above any that was ever in use [default: the next one]
    #[arg(long, value_name = "N", value_parser = parse_id)]
    id: Option<u64>,

    /// Where the other nodes reach it: quic://host:port
    #[arg(long, value_name = "URL", required = true)]
    peer_url: Vec<String>,

    /// Where clients reach it: http://host:port
    #[arg(long, value_name = "URL")]
    client_url: Vec<String>,

    /// What people call it [default: n and its id]
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,

    /// Receive the log without voting
    #[arg(long)]
    learner: bool,

    #[command(flatten)]
    options: Options,
}

/// Remove nodes
///
/// A node that was removed is told so and stops taking part; its id is never used again. Several at once are one change,
/// through a joint configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node member remove 3
  raft-node member remove 2 3 --dry-run")]
struct RemoveArguments {
    /// The ids
    #[arg(required = true, value_parser = parse_id)]
    ids: Vec<u64>,

    #[command(flatten)]
    options: Options,
}

/// Change a node's name or addresses
///
/// What is not given stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node member update 3 --peer-url quic://10.0.1.3:2380
  raft-node member update 3 --client-url http://10.0.1.3:2379 --name west-3")]
#[group(id = "what", required = true, multiple = true, args = ["peer_url", "client_url", "name"])]
struct UpdateArguments {
    /// The id
    #[arg(value_parser = parse_id)]
    id: u64,

    /// Where the other nodes reach it: quic://host:port
    #[arg(long, value_name = "URL")]
    peer_url: Vec<String>,

    /// Where clients reach it: http://host:port
    #[arg(long, value_name = "URL")]
    client_url: Vec<String>,

    /// What people call it
    #[arg(long)]
    name: Option<String>,

    #[command(flatten)]
    options: Options,
}

/// Let learners vote
///
/// A learner that has not caught up is refused; --wait tries until it has, and says how many entries it lacks.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node member promote 4
  raft-node member promote 4 5 --wait --timeout 600")]
struct PromoteArguments {
    /// The ids
    #[arg(required = true, value_parser = parse_id)]
    ids: Vec<u64>,

    /// Wait until they have caught up, at most as long as --timeout says
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,

    #[command(flatten)]
    options: Options,
}

/// Make voters learners
///
/// They go on receiving the log, and may be promoted again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node member demote 3
  raft-node member demote 3 --dry-run")]
struct DemoteArguments {
    /// The ids
    #[arg(required = true, value_parser = parse_id)]
    ids: Vec<u64>,

    #[command(flatten)]
    options: Options,
}

/// Make several changes as one
///
/// All of it takes effect together or not at all. If more than one vote changes, it goes through a joint configuration,
/// which the cluster leaves by itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node member change --remove 3 --promote 4                      replace node 3 by learner 4
  raft-node member change --add 4=quic://10.0.0.4:2380 --add 5=quic://10.0.0.5:2380 --dry-run
  raft-node member change --demote 1,2 --promote 4,5")]
#[group(id = "what", required = true, multiple = true,
        args = ["add", "add_learner", "remove", "promote", "demote"])]
struct ChangeArguments {
    /// A new voter and where the other nodes reach it
    #[arg(long, value_name = "ID=URL", value_delimiter = ',')]
    add: Vec<NewMember>,

    /// A new learner and where the other nodes reach it
    #[arg(long, value_name = "ID=URL", value_delimiter = ',')]
    add_learner: Vec<NewMember>,

    /// Members to remove
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = parse_id)]
    remove: Vec<u64>,

    /// Learners that shall vote
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = parse_id)]
    promote: Vec<u64>,

    /// Voters that shall be learners
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = parse_id)]
    demote: Vec<u64>,

    #[command(flatten)]
    options: Options,
}

/// `4=quic://10.0.0.4:2380`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NewMember {
    id: u64,
    peer_url: String,
}

impl FromStr for NewMember {
    type Err = String;

    fn from_str(text: &str) -> Result<NewMember, String> {
        let (id, url) = text
            .split_once('=')
            .ok_or("write ID=URL, such as 4=quic://10.0.0.4:2380")?;
        Ok(NewMember {
            id: parse_id(id)?,
            peer_url: url.to_owned(),
        })
    }
}

impl NewMember {
    fn step(self, is_learner: bool) -> Step {
        Step::Add {
            id: self.id,
            contact: MemberContact {
                peer_urls: vec![self.peer_url],
                ..MemberContact::default()
            },
            is_learner,
        }
    }
}

/// Runs the command.
pub(super) fn run(arguments: MemberArguments) -> Result<ExitCode, CliError> {
    match arguments.command {
        MemberCommand::List(arguments) => list::run(&arguments),
        MemberCommand::Add(arguments) => add(arguments),
        MemberCommand::Remove(arguments) => {
            let steps = arguments.ids.into_iter().map(Step::Remove).collect();
            change::run(Announced::Steps(steps), false, &arguments.options)
        }
        MemberCommand::Update(arguments) => update(arguments),
        MemberCommand::Promote(arguments) => {
            let steps = arguments.ids.into_iter().map(Step::Promote).collect();
            change::run(Announced::Steps(steps), arguments.wait, &arguments.options)
        }
        MemberCommand::Demote(arguments) => {
            let steps = arguments.ids.into_iter().map(Step::Demote).collect();
            change::run(Announced::Steps(steps), false, &arguments.options)
        }
        MemberCommand::Change(arguments) => several(arguments),
    }
}

fn add(arguments: AddArguments) -> Result<ExitCode, CliError> {
    let contact = MemberContact {
        name: arguments.name,
        peer_urls: arguments.peer_url,
        client_urls: arguments.client_url,
    };
    let is_learner = arguments.learner;
    let announced = match arguments.id {
        Some(id) => Announced::Steps(vec![Step::Add {
            id,
            contact,
            is_learner,
        }]),
        None => Announced::NextMember { contact, is_learner },
    };
    change::run(announced, false, &arguments.options)
}

fn update(arguments: UpdateArguments) -> Result<ExitCode, CliError> {
    let contact = MemberContact {
        name: arguments.name.unwrap_or_default(),
        peer_urls: arguments.peer_url,
        client_urls: arguments.client_url,
    };
    let id = arguments.id;
    change::run(
        Announced::Steps(vec![Step::Update { id, contact }]),
        false,
        &arguments.options,
    )
}

fn several(arguments: ChangeArguments) -> Result<ExitCode, CliError> {
    // Who leaves comes first, so that his address may be given to somebody else in the same change.
    let removed = arguments.remove.into_iter().map(Step::Remove);
    let added = arguments.add.into_iter().map(|new| new.step(false));
    let learning = arguments.add_learner.into_iter().map(|new| new.step(true));
    let promoted = arguments.promote.into_iter().map(Step::Promote);
    let demoted = arguments.demote.into_iter().map(Step::Demote);
    let steps = removed
        .chain(added)
        .chain(learning)
        .chain(promoted)
        .chain(demoted);
    change::run(Announced::Steps(steps.collect()), false, &arguments.options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_member_is_an_id_and_a_url() {
        let parsed: NewMember = "4=quic://a:1".parse().unwrap();
        assert_eq!((parsed.id, parsed.peer_url.as_str()), (4, "quic://a:1"));
        assert!("quic://a:1".parse::<NewMember>().unwrap_err().contains("ID=URL"));
        assert!("x=quic://a:1".parse::<NewMember>().is_err());
    }
}
