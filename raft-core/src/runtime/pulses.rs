//! The one watch of a host over the nodes under whose leaders its groups sleep: see [`crate::pulse`].

use std::sync::Arc;

use tokio::time::sleep_until;

use super::error::NodeError;
use super::shared::HostShared;
use super::timetable::NEVER;
use crate::input::Input;
use crate::message::{Body, Message, PULSE_GROUP};
use crate::pulse::{PulseEffect, PulseInput, PulseSettings, Pulses};
use crate::types::Time;

/// How many pulses of other nodes may wait. Each sends one in an interval.
const PULSES_MAX: usize = 1_024;

/// Starts the task.
pub(super) fn spawn(host: &Arc<HostShared>, settings: PulseSettings) {
    let (task_host, alive) = (host.clone(), host.lifecycle.alive());
    host.handle.spawn(async move {
        let _alive = alive;
        let _guard = PanicGuard(task_host.clone());
        run(&task_host, Pulses::new(settings)).await;
    });
}

/// Takes the pulses out of what arrived.
pub(super) fn take(host: &HostShared, messages: &mut Vec<Message>) {
    if messages.iter().all(|message| message.group != PULSE_GROUP) {
        return;
    }
    for message in messages.extract_if(.., |message| message.group == PULSE_GROUP) {
        if let Body::Pulse(pulse) = message.body
            && message.to == host.id
        {
            let from = message.from;
            // One that is lost is missed as one that the network lost.
            host.pulses.push(PulseInput::Received { from, pulse }, PULSES_MAX);
        }
    }
}

/// Groups that nobody wakes sleep for ever, so the host does not go on without this task.
struct PanicGuard(Arc<HostShared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(NodeError::Panicked("watch over other nodes"));
        }
    }
}

async fn run(host: &Arc<HostShared>, mut pulses: Pulses) {
    let (mut inputs, mut effects, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        tokio::select! {
            is_open = host.pulses.take(&mut inputs) => {
                if !is_open {
                    return;
                }
            }
            () = until(host, pulses.next_deadline()) => {}
        }
        let now = host.clock.now();
        for input in inputs.drain(..) {
            pulses.step(now, input, &mut effects);
        }
        if now >= pulses.next_deadline() {
            pulses.step(now, PulseInput::Tick, &mut effects);
        }
        for effect in effects.drain(..) {
            match effect {
                PulseEffect::Send(message) => messages.push(message),
                PulseEffect::Lost { group, peer } => {
                    if let Some(group) = host.directory.group(group) {
                        group.complete([Input::PeerLost(peer)]);
                    }
                }
            }
        }
        host.send_all(&mut messages);
    }
}

async fn until(host: &HostShared, deadline: Time) {
    let instant = match deadline {
        NEVER => None,
        deadline => host.clock.instant(deadline),
    };
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
