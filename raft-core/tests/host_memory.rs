//! What an idle replica costs: memory, and nothing else.
//!
//! Alone in its program, because the allocator counts for all threads of it.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used)]

mod node_world;

use std::alloc::System;
use std::time::Duration;

use node_world::{Counter, until};
use raft_core::config::Config;
use raft_core::membership::Membership;
use raft_core::memory::InProcessNetwork;
use raft_core::runtime::{GroupOptions, Host, HostOptions};
use raft_core::types::{GroupId, NodeId};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HOSTS: u64 = 3;
const GROUPS: u64 = 1_000;
const BYTES_MAX: usize = 8 << 10;

fn options(id: NodeId, group: u64, voters: &Membership) -> GroupOptions {
    let config = Config {
        quiesce_after: Some(Duration::from_millis(100)),
        ..Config::new(GroupId(group), id)
    };
    let counter = Counter {
        never_blocks: true,
        ..Counter::default()
    };
    GroupOptions {
        config,
        bootstrap: Some(voters.clone()),
        state_machine: Box::new(counter),
    }
}

/// An idle replica takes less than 8 KiB in all: the protocol, the driver, the handles, and its entries in every map of the
/// host, of the log store in memory, and of the watch over other nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_replica_takes_little_memory() {
    let network = InProcessNetwork::new();
    let voters = Membership::of_voters((1..=HOSTS).map(NodeId)).unwrap();
    let mut hosts = Vec::new();
    for id in 1..=HOSTS {
        let options = HostOptions::in_memory(NodeId(id), &network);
        hosts.push(Host::start(options).await.unwrap());
    }
    let region = Region::new(ALLOCATOR);
    for group in 1..=GROUPS {
        for host in &hosts {
            host.create_group(options(host.id(), group, &voters))
                .await
                .unwrap();
        }
    }
    for group in 1..=GROUPS {
        hosts[0].group(GroupId(group)).unwrap().campaign();
    }
    for group in 1..=GROUPS {
        for host in &hosts {
            let node = host.group(GroupId(group)).unwrap();
            until(&node, "it sleeps", |status| status.asleep).await;
        }
    }
    let stats = region.change();
    let bytes = stats.bytes_allocated.saturating_sub(stats.bytes_deallocated);
    let each = bytes / (HOSTS * GROUPS) as usize;
    println!("bytes per idle replica: {each}");
    assert!(each < BYTES_MAX, "{each} bytes");
    for host in &hosts {
        host.stop().await;
    }
}
