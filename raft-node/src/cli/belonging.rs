//! Whether a node belongs to its cluster: until it does it says how to add it, while it does it tells the others where it is
//! reached, and when it was removed it notices, or at least suspects it if nobody could tell it.
//!
//! All of it is read from the configuration of the group as this replica has it. Ids rise and are never used twice (R68), so
//! a committed configuration that lacks an id either comes before that node joined, or after it left for good, and the
//! highest id in it tells which ([`Status::is_removed`]).

use std::future::pending;
use std::time::Duration;

use raft_core::membership::{ChangeError, MemberChange};
use raft_core::request::RefusalReason;
use raft_core::runtime::{ChangeMembershipError, Node};
use raft_core::status::Status;
use raft_core::types::NodeId;
use raft_transport::OperatedTransport;
use tokio::time::{Instant, interval, interval_at, sleep, timeout};

use crate::config::node_config::NodeConfig;
use crate::data_directory::directory::DataDirectory;
use crate::data_directory::error::DataDirectoryError;
use crate::data_directory::published;
use crate::member_contact::MemberContact;

/// How often a node that waits to be added says so.
const REMINDER_INTERVAL: Duration = Duration::from_secs(10);
/// When it first says so.
const FIRST_REMINDER_AFTER: Duration = Duration::from_secs(1);
/// How often a member looks whether it is refused.
const REFUSAL_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The first pause before a contact that could not be published is published again. It doubles up to the last.
const PUBLISH_PAUSE_MIN: Duration = Duration::from_millis(100);
const PUBLISH_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a removed node waits until the others have cut it off, which they do within a second.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The pause before a note that could not be written is made again.
const NOTE_PAUSE: Duration = Duration::from_secs(5);

/// Keeps the data directory locked and notes in it what a later start must know: that the log was written, as soon as
/// something in it is durable, and that the node was removed. Returns only then, with the sentence that says so.
pub(super) async fn keep_notes(mut data: DataDirectory, node: Node) -> DataDirectoryError {
    let mut status = node.watch_status();
    let is_written = |status: &Status| status.durable_index.0 > 0;
    if status.wait_for(is_written).await.is_ok() {
        until_noted(|| data.note_log_written()).await;
    }
    if status.wait_for(Status::is_removed).await.is_ok() {
        until_noted(|| data.note_removed()).await;
        return data.removed();
    }
    // The node stopped, and whoever waits for that ends this.
    pending().await
}

/// Makes a note again and again until it is written: a disk that is full does not stay so.
async fn until_noted(mut note: impl FnMut() -> Result<(), DataDirectoryError>) {
    while let Err(error) = note() {
        tracing::error!("{error}; it is tried again in {} seconds", NOTE_PAUSE.as_secs());
        sleep(NOTE_PAUSE).await;
    }
}

/// Says every now and then that the node is no member yet, and what to do about it, until it is one.
pub(super) async fn remind_to_add(config: &NodeConfig, node: &Node, transport: &dyn OperatedTransport) {
    let mut status = node.watch_status();
    let is_member = |status: &Status| status.membership.contains(status.id);
    // First a moment for the network, so that the first words are true.
    let mut reminder = interval_at(Instant::now() + FIRST_REMINDER_AFTER, REMINDER_INTERVAL);
    loop {
        tokio::select! {
            joined = status.wait_for(is_member) => {
                if joined.is_ok_and(|status| !status.membership.is_voter(status.id)) {
                    tracing::info!("node {id} is a learner of cluster {}; once it has caught up it can vote: \
                                    raft-node member promote {id}", config.cluster, id = config.id);
                }
                return;
            }
            _ = reminder.tick() => tracing::info!("{}", reminder_text(config, &connected(transport), &transport.refused_by())),
        }
    }
}

fn connected(transport: &dyn OperatedTransport) -> Vec<NodeId> {
    let peers = transport.peers().into_iter();
    peers.filter(|peer| peer.connected).map(|peer| peer.id).collect()
}

/// `node 1, 2`.
fn named(nodes: &[NodeId]) -> String {
    let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    format!("node {}", nodes.join(", "))
}

fn reminder_text(config: &NodeConfig, connected: &[NodeId], refused_by: &[NodeId]) -> String {
    let (id, cluster) = (config.id, &config.cluster);
    let network = if !refused_by.is_empty() {
        format!(
            "It is refused by {}: an id that has been used before cannot be added; give this machine the next one",
            named(refused_by)
        )
    } else if connected.is_empty() {
        let listed = config.peers.iter().filter(|(peer, _)| **peer != id);
        let listed: Vec<String> = listed
            .map(|(peer, address)| format!("{peer} at {address}"))
            .collect();
        format!(
            "It is connected to none of the nodes {}; check that they run and `initial-cluster`",
            listed.join(", ")
        )
    } else {
        format!("It is connected to {}", named(connected))
    };
    format!(
        "node {id} is no member of cluster {cluster} yet. Add it: raft-node member add --id {id} --learner --peer-url {} \
         --client-url {} --endpoints URL, with the client URL of a member. {network}",
        config.peer_url, config.client_url
    )
}

/// Says every now and then that other nodes refuse this one while no leader is heard of: it may have been removed when it was
/// down, and then nobody could tell it. Only an operator can know.
pub(super) async fn report_refusals(config: &NodeConfig, node: &Node, transport: &dyn OperatedTransport) {
    let mut look = interval(REFUSAL_LOOK_INTERVAL);
    loop {
        look.tick().await;
        let refused_by = transport.refused_by();
        if node.status().leader.is_none() && !refused_by.is_empty() {
            tracing::warn!(
                "node {id} hears of no leader and is refused by {}. If `raft-node member list --endpoints URL`, with the client \
                 URL of one of them, does not show it, it was removed while it was down: then stop it, delete its data \
                 directory {}, and never use its id again",
                named(&refused_by),
                config.data_dir.display(),
                id = config.id,
            );
            look.reset_after(REMINDER_INTERVAL);
        }
    }
}

/// Makes the configuration of the group say where this node is reached, if it was not told these settings before: what an
/// operator changes later with `raft-node member update` stands until the node is started with other settings.
pub(super) async fn publish_contact(config: &NodeConfig, node: &Node) {
    let mut status = node.watch_status();
    let mut pause = PUBLISH_PAUSE_MIN;
    loop {
        let is_member = |status: &Status| status.membership.contains(status.id);
        if status.wait_for(is_member).await.is_err() {
            return;
        }
        // What this replica has may be old.
        if node.read_barrier().await.is_ok() {
            let known = MemberContact::of(&node.status().membership, config.id);
            if known.is_some() && is_published(config) {
                return tracing::info!(
                    "node {} has the addresses that it told the cluster before, and tells nothing new",
                    config.id
                );
            }
            let Some(contact) = own_contact(config, known) else {
                return note_published(config);
            };
            let Ok(contact) = contact.to_contact().inspect_err(|error| {
                tracing::warn!(
                    "the others cannot be told where node {} is reached: {error}",
                    config.id
                );
            }) else {
                return;
            };
            let change = MemberChange::SetContact {
                id: config.id,
                contact,
            };
            match node.change_membership(vec![change]).await {
                Ok(_)
                | Err(ChangeMembershipError::Refused(RefusalReason::Membership(ChangeError::Nothing))) => {
                    note_published(config);
                    tracing::info!(
                        "the cluster knows that node {} is reached at {} and, by clients, at {}",
                        config.id,
                        config.peer_url,
                        config.client_url
                    );
                    return;
                }
                // Another change is under way, or there is no leader now.
                Err(error) => tracing::debug!("the contact of node {} is not published: {error}", config.id),
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(PUBLISH_PAUSE_MAX);
    }
}

/// Whether this node told its settings before. If that cannot be read it tells them again.
fn is_published(config: &NodeConfig) -> bool {
    let published = published::read(&config.data_dir).unwrap_or_else(|error| {
        tracing::warn!("{error}");
        None
    });
    published == Some(settings_contact(config))
}

/// Remembers that. If it fails the next start tells them again.
fn note_published(config: &NodeConfig) {
    if let Err(error) = published::write(&config.data_dir, &settings_contact(config)) {
        tracing::warn!(
            "{error}; the next start of node {} tells its addresses again",
            config.id
        );
    }
}

/// Where this node is reached by its settings, which give it no name.
fn settings_contact(config: &NodeConfig) -> MemberContact {
    MemberContact {
        name: String::new(),
        peer_urls: vec![config.peer_url.clone()],
        client_urls: vec![config.client_url.clone()],
    }
}

/// What the configuration should say of this node; nothing if it says so already. A name is kept.
fn own_contact(config: &NodeConfig, known: Option<MemberContact>) -> Option<MemberContact> {
    let known = known.unwrap_or_default();
    let own = MemberContact {
        name: known.name.clone(),
        ..settings_contact(config)
    };
    (own != known).then_some(own)
}

/// Lets what a removed node said last reach the others. They cut it off when they know that it has left.
pub(super) async fn farewell(transport: &dyn OperatedTransport) {
    let cut_off = async {
        let mut poll = interval(POLL_INTERVAL);
        while !connected(transport).is_empty() {
            poll.tick().await;
        }
    };
    if timeout(FAREWELL_MAX, cut_off).await.is_err() {
        tracing::debug!("some nodes may not know yet that this one was removed");
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// R11, R68: a full disk must not leave a node without the note that its log was written.
    #[tokio::test(start_paused = true)]
    async fn a_note_is_made_again_until_it_is_written() {
        let started = Instant::now();
        let mut attempts = 0;
        until_noted(|| {
            attempts += 1;
            match attempts {
                1..=3 => Err(DataDirectoryError::io(
                    "write",
                    "d".into(),
                    io::ErrorKind::StorageFull.into(),
                )),
                _ => Ok(()),
            }
        })
        .await;
        assert_eq!(attempts, 4);
        assert_eq!(started.elapsed(), 3 * NOTE_PAUSE);
    }
}
