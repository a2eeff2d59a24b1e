//! What one node does for all of its groups that sleep: it tells other nodes that it lives, and watches whether they do
//! (docs/decisions/0016).
//!
//! A replica that sleeps has no timer, so it does not notice that its leader is gone. Its node does, for all such replicas
//! together: at most one small [`Pulse`](crate::message::Pulse) in each direction, for each pair of nodes and interval,
//! however many groups sleep. Where none does, there are no pulses.
//!
//! - A node that has a replica asleep under a leader asks the leader's node to be told when that leadership ends: it *watches*
//!   it. It repeats that until it was heard.
//! - A node that leads a group that sleeps sends pulses to those who watch it.
//! - A leadership is over for who watches it when its node is silent for too long, was started again, says so, or when so
//!   many pulses in a row were lost that it may have said so; and when nobody hears the wish to watch it.
//! - What is over is said in several pulses that follow each other, so that whoever missed all of them knows that it missed
//!   too many. Who asks to watch a leadership that is over, or never was one, is told.
//!
//! So it does not matter how late the word arrived that sent a replica to sleep, nor what was restarted, destroyed or
//! cut off meanwhile: a replica sleeps on only while the process that leads it lives, leads it still, and says so.
//!
//! [`Pulses`] is pure, as the protocol is: whoever runs it gives it the time, messages, and what replicas say of their
//! [`Rest`](crate::effect::Rest). It must never look at a group, nor decide anything about it but who is told
//! [`Input::PeerLost`](crate::input::Input::PeerLost).
//!
//! # How to run it
//!
//! One [`Pulses`] for each process, with a new incarnation for each start of it.
//! - [`Effect::Rested`](crate::effect::Effect::Rested) of every replica goes to [`PulseInput::Rested`]. A replica that is
//!   stopped, fails or is destroyed counts as [`Rest::Awake`](crate::effect::Rest::Awake): say so for it.
//! - A message of the group [`PULSE_GROUP`](crate::message::PULSE_GROUP) goes to [`PulseInput::Received`], and to no replica.
//! - [`PulseEffect::Lost`] is [`Input::PeerLost`](crate::input::Input::PeerLost) for the replica of that group.
//! - [`PulseInput::Tick`] is due at [`Pulses::next_deadline`].

mod peer;
mod pulses;
#[cfg(test)]
mod tests;

pub use pulses::{PulseEffect, PulseInput, PulseSettings, Pulses};
