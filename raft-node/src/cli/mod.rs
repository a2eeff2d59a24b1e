//! The command line: what each subcommand takes, what it prints, and how it ends.
//!
//! Results go to standard output, everything else to standard error. The exit code is 0 if the command did what was
//! asked, 1 if it could not, and 2 if it was asked wrongly; 3, 4 and 5 are explained where they are defined. Nothing is decided here that another program could not
//! decide through the modules below.

mod belonging;
mod cert;
mod credentials;
mod dev;
mod error;
mod explaining;
mod key_value;
mod load;
mod log;
mod logging;
mod member;
mod move_leader;
mod node;
mod output;
mod past;
mod progress;
mod recording;
mod recover;
mod replay;
mod restore;
mod set_aside;
mod signals;
mod start;
mod status;
mod stores;
mod verify;
mod why;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use self::error::CliError;
use crate::client::endpoints::EndpointUrl;

/// A replicated key-value store that speaks etcd's v3 API
#[derive(Debug, Parser)]
#[command(name = "raft-node", version, propagate_version = true, after_help = AFTER_HELP)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  raft-node dev --nodes 3                           a cluster in this terminal
  raft-node cert --cluster demo --nodes 3 --out pki certificates for three nodes
  raft-node start --config demo.toml --id 1         one node of a cluster
  raft-node status                                  how the cluster is
  raft-node why                                     what is wrong with it, and what to do
  raft-node member list                             who belongs to it
  etcdctl --endpoints=127.0.0.1:2379 put a b        any etcd client works";

// What a command is for stands on its arguments: a doc comment on a variant would replace all of it by one line.
#[derive(Debug, Subcommand)]
enum Command {
    Start(Box<start::StartArguments>),
    Cert(cert::CertArguments),
    Dev(dev::DevArguments),
    Status(status::StatusArguments),
    Why(why::WhyArguments),
    Member(member::MemberArguments),
    MoveLeader(move_leader::MoveLeaderArguments),
    Put(key_value::PutArguments),
    Get(key_value::GetArguments),
    Load(load::LoadArguments),
    Verify(verify::VerifyArguments),
    Recover(recover::RecoverArguments),
    Restore(restore::RestoreArguments),
    Log(log::LogArguments),
    Replay(replay::ReplayArguments),
}

/// Where the cluster is.
#[derive(Clone, Debug, Args)]
struct EndpointArguments {
    /// The client URLs of the nodes, separated by commas
    #[arg(
        long,
        env = "RAFT_NODE_ENDPOINTS",
        value_name = "URL,…",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379"
    )]
    endpoints: Vec<EndpointUrl>,
}

/// How current an answer must be.
#[derive(Clone, Debug, Args)]
struct ConsistencyArguments {
    /// How current the answer must be; l and s for short
    #[arg(long, value_enum, default_value_t = Consistency::Linearizable, value_name = "HOW")]
    consistency: Consistency,
}

impl ConsistencyArguments {
    fn is_serializable(&self) -> bool {
        self.consistency == Consistency::Serializable
    }
}

/// How current an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Consistency {
    /// Never older than the last acknowledged write; needs a majority
    #[value(alias = "l")]
    Linearizable,
    /// What the node that is asked has, which may be behind; needs nobody else
    #[value(alias = "s")]
    Serializable,
}

/// Runs the command that the arguments of this process ask for.
#[must_use]
pub fn main() -> ExitCode {
    match run(CommandLine::parse()) {
        Ok(code) => code,
        Err(error) => {
            output::complain(&format!("error: {error}"));
            error.exit_code()
        }
    }
}

fn run(command_line: CommandLine) -> Result<ExitCode, CliError> {
    match command_line.command {
        Command::Start(arguments) => start::run(*arguments),
        Command::Cert(arguments) => cert::run(arguments),
        Command::Dev(arguments) => dev::run(arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Why(arguments) => why::run(arguments),
        Command::Member(arguments) => member::run(arguments),
        Command::MoveLeader(arguments) => move_leader::run(arguments),
        Command::Put(arguments) => key_value::put(arguments),
        Command::Get(arguments) => key_value::get(arguments),
        Command::Load(arguments) => load::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Recover(arguments) => recover::run(arguments),
        Command::Restore(arguments) => restore::run(&arguments),
        Command::Log(arguments) => log::run(arguments),
        Command::Replay(arguments) => replay::run(arguments),
    }
}

/// Runs `future` on one thread: all that a client command needs.
fn block_on<T>(future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let result = runtime.block_on(future);
    // A name lookup that hangs must not hold up the exit.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// The id of a member.
fn parse_id(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(id) if id > 0 => Ok(id),
        _ => Err("an id is a whole number from 1 on; `raft-node member list` shows them".to_owned()),
    }
}

/// A number of seconds from 1 on, for `--timeout` and the like.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.strip_suffix('s').unwrap_or(text).parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e9 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give a number of seconds above 0, such as 30 or 2.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_subcommand_explains_itself_with_examples() {
        let mut command = CommandLine::command();
        command.build();
        assert_eq!(explained(&mut command, "raft-node"), 28);
    }

    /// Demands examples of every subcommand of `command`, and of theirs; how many there are.
    fn explained(command: &mut clap::Command, path: &str) -> usize {
        let mut count = 0;
        for sub in command
            .get_subcommands_mut()
            .filter(|sub| sub.get_name() != "help")
        {
            let path = format!("{path} {}", sub.get_name());
            let help = sub.render_long_help().to_string();
            let listed = sub.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.starts_with(&listed) && !listed.is_empty(),
                "{path} is not explained: {help}"
            );
            // What is said behind the first line is lost if a doc comment stands on the variant, too.
            let paragraphs = help.split("Usage:").next().unwrap_or_default();
            if path.contains(" log ") {
                assert!(paragraphs.lines().count() > 3, "{path} --help is short: {help}");
            }
            assert!(help.contains("Examples:"), "{path} --help has no examples");
            assert!(help.contains(&path), "{path} --help does not show itself");
            count += 1 + explained(sub, &path);
        }
        count
    }

    #[test]
    fn ids_are_whole_numbers_from_one_on() {
        assert_eq!(parse_id("7"), Ok(7));
        for bad in ["0", "-1", "n1", "", "1.5", "0x1"] {
            assert!(
                parse_id(bad).unwrap_err().contains("whole number"),
                "{bad} was accepted"
            );
        }
    }

    #[test]
    fn seconds_are_positive() {
        assert_eq!(parse_seconds("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(parse_seconds("30s"), Ok(Duration::from_secs(30)));
        for bad in ["0", "-1", "x", "inf", "NaN", ""] {
            assert!(parse_seconds(bad).is_err(), "{bad} was accepted");
        }
    }
}
