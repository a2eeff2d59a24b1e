//! Stores under torture: real processes that write, are killed, lose power, or find their files damaged, and a judge who
//! knows what was acknowledged.
//!
//! A process of its own opens a store through its public interface, tells over a pipe what it found, what it asks for, and
//! what was acknowledged, and dies at a system call that a seed has chosen: killed, or with a loss of power that takes
//! what was not synced (see the crate `power-loss`, which is preloaded into it). The next process opens what is left.
//! What it finds must be what the first so many calls made, and no fewer than were acknowledged.
//!
//! After a crash a store must be whole. After damage it may also say that something is lost, or refuse with a reason;
//! what it must never do is to open with less and say nothing, to panic, or to hang.
//!
//! A case can be repeated by its number, but threads run as they like: the same call may be another one then.
//!
//! - `case`: one store from its creation to its end; `campaign`: many;
//! - `writer`, `workload`: the process that writes, and what; `stores`: to what;
//! - `process`: starts it; `record`: what it says;
//! - `model`, `judge`: what must be there;
//! - `damage`, `files`, `random`: what happens to files, and by which dice.

pub mod campaign;
pub mod case;
mod damage;
mod files;
pub mod judge;
mod model;
pub mod process;
mod random;
pub mod record;
pub mod stores;
mod workload;
pub mod writer;
