//! The world that scenarios run in: real replicas, simulated disks, state machines, a network and a clock.
//!
//! | module | what |
//! |---|---|
//! | `script` | the file format: prose, commands, regenerated output |
//! | `arguments` | the words of a command: nodes, entries, memberships |
//! | `commands` | what each command does |
//! | `faults` | the commands that break something |
//! | `operations` | what operators do: members, transfers, new machines |
//! | `messages` | messages written by hand, for `send` |
//! | `world` | replicas, network, clock; turns effects into trace lines and inputs |
//! | `node` | one replica with its disk, its state machine and their queues |
//! | `disk` | what is durable |
//! | `history` | the invariants, checked after every step |
//! | `explanations` | how an explanation is written in a trace |
//! | `render` | how everything is written in a trace |
//! | `views` | the commands that only look |
//!
//! Nothing here decides anything about the protocol, and nothing is random: a scenario is its commands.

mod arguments;
mod commands;
mod disk;
mod explanations;
mod faults;
mod history;
mod kinds;
mod messages;
mod node;
mod operations;
mod render;
mod script;
mod views;
mod world;

pub(crate) use kinds::kinds_without;
#[cfg(feature = "mutants")]
pub(crate) use script::holds;
pub(crate) use script::{check, load_all};
