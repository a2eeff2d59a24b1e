//! Real processes that join and leave a cluster while it is written to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::PathBuf;

use common::{Cluster, Ended, Load, output_of, raft_node, run, wait_for};

/// Longer than any run of these tests: the load is interrupted at the end.
const LOAD_SECONDS: u32 = 600;
/// The exit code of a node that was removed.
const REMOVED: Option<i32> = Some(3);

/// A cluster under load.
struct Scene {
    cluster: Cluster,
    acked: PathBuf,
    load: Option<Load>,
}

impl Scene {
    /// Three nodes that know each other's addresses, and two more that wait to be added.
    fn start() -> Scene {
        let mut cluster = Cluster::start(3);
        for _ in 0..2 {
            cluster.describe_joining();
        }
        let acked = cluster.path("acked");
        let load = cluster.start_load(LOAD_SECONDS, &acked);
        let scene = Scene {
            cluster,
            acked,
            load: Some(load),
        };
        scene.wait_for_writes("the first writes");
        scene
    }

    /// Waits until more is acknowledged than now.
    fn wait_for_writes(&self, when: &str) {
        let before = Cluster::acked(&self.acked);
        wait_for(
            &format!("writes to go on: {when}; logs:\n{}", self.cluster.logs()),
            || (Cluster::acked(&self.acked) > before + 20).then_some(()),
        );
    }

    /// The URLs of the nodes that run.
    fn urls(&self) -> String {
        let running = self.cluster.running().into_iter();
        let urls: Vec<String> = running.map(|id| self.cluster.url(id)).collect();
        urls.join(",")
    }

    /// Runs `raft-node` with `arguments` against the nodes that run and demands success.
    fn command(&self, arguments: &[&str]) -> String {
        let ended = self.try_command(arguments);
        assert_eq!(
            ended.code,
            Some(0),
            "{arguments:?}: {ended:?}\n{}",
            self.cluster.logs()
        );
        ended.stdout
    }

    fn try_command(&self, arguments: &[&str]) -> Ended {
        run(raft_node().args(arguments).args(["--endpoints", &self.urls()]))
    }

    /// Starts node `id`, which waits, and makes it a learner that the command line tells it to become.
    fn add_learner(&mut self, id: usize) {
        let command = self.cluster.joining_command(id);
        self.cluster.start_with(id, command);
        let advice = format!("raft-node member add --id {id} --learner");
        wait_for("the node to say what to do", || {
            self.cluster.log(id).contains(&advice).then_some(())
        });
        let (id, peer_url) = (id.to_string(), self.cluster.peer_url(id));
        self.command(&["member", "add", "--id", &id, "--learner", "--peer-url", &peer_url]);
    }

    /// Removes node `id`, whose process ends by itself and does not come back.
    fn remove(&mut self, id: usize) {
        self.command(&["member", "remove", &id.to_string()]);
        let code = self.cluster.ended(id);
        assert_eq!(code, REMOVED, "{}", self.cluster.logs());
        let again = run(&mut self.cluster.joining_command(id));
        assert_eq!(again.code, REMOVED, "{again:?}");
        let sentence = format!("error: node {id} was removed from cluster test");
        for log in [self.cluster.log(id), again.stderr] {
            assert!(log.contains(&sentence) && log.contains("can be deleted"), "{log}");
        }
        self.wait_for_writes(&format!("node {id} is removed"));
    }

    /// A node that runs and does not lead.
    fn follower(&self) -> usize {
        let leader = self.cluster.leader();
        let running = self.cluster.running();
        running.into_iter().find(|id| *id != leader).unwrap()
    }

    /// The members that a node of the cluster names.
    fn members(&self) -> serde_json::Value {
        serde_json::from_str(&self.command(&["member", "list", "--json"])).unwrap()
    }
}

/// R61, R63, R64, R70, R71: three nodes become five and then one under load, through the command line alone. Learners vote once they have
/// caught up, the leader hands over and is removed itself, who was removed ends by himself, and nothing acknowledged is lost.
#[test]
fn a_cluster_grows_to_five_and_shrinks_to_one_while_it_is_written_to() {
    let mut scene = Scene::start();
    for id in [4, 5] {
        scene.add_learner(id);
        scene.wait_for_writes(&format!("node {id} learns"));
    }
    scene.command(&["member", "promote", "4", "5", "--wait"]);
    scene.wait_for_writes("five nodes vote");
    let listed = scene.members();
    assert_eq!(
        listed["configuration"]["voters"],
        serde_json::json!([1, 2, 3, 4, 5]),
        "{listed}"
    );

    scene.remove(scene.follower());
    scene.remove(scene.cluster.leader());
    let next = scene.follower();
    scene.command(&["move-leader", &next.to_string()]);
    scene.wait_for_writes("another node leads");
    let others = scene.cluster.running().into_iter().filter(|id| *id != next);
    let [removed, last] = others.collect::<Vec<_>>()[..] else {
        panic!("three nodes are left");
    };
    scene.remove(removed);
    scene.remove(next);
    assert_eq!(scene.cluster.running(), [last]);

    let report = scene.load.take().unwrap().interrupt();
    assert_eq!(report["failed"], 0, "{report}");
    let total = Cluster::acked(&scene.acked);
    let verified = scene.command(&["verify", "--acked", scene.acked.to_str().unwrap()]);
    assert_eq!(verified, format!("verified {total} keys on 1 nodes\n"));
    assert_eq!(scene.cluster.stop(last), Some(0), "{}", scene.cluster.logs());
}

/// A member that comes back at another address tells the others by itself, and they and their clients find it there.
#[test]
fn a_member_that_moved_tells_where_it_is() {
    let mut cluster = Cluster::start(3);
    let listed = |cluster: &Cluster, id: usize| {
        let listed = output_of(&["member", "list", "--json", "--endpoints", &cluster.url(1)]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let members = listed["members"].as_array().unwrap().clone();
        members.into_iter().find(|member| member["id"] == id).unwrap()
    };
    assert_eq!(cluster.stop(3), Some(0), "{}", cluster.logs());
    // Its new ports are those of a node that never runs.
    let (peer_url, url) = {
        let spare = cluster.describe_joining();
        (cluster.peer_url(spare), cluster.url(spare))
    };
    let mut command = cluster.command(3);
    command.args(["--peer-url", &peer_url, "--client-url", &url]);
    cluster.start_with(3, command);
    wait_for(&format!("the others to know; logs:\n{}", cluster.logs()), || {
        let member = listed(&cluster, 3);
        let is_known = member["peer_urls"][0] == *peer_url && member["client_urls"][0] == *url;
        is_known.then_some(())
    });
    output_of(&["put", "a", "b", "--endpoints", &cluster.url(1)]);
    assert_eq!(output_of(&["get", "a", "--endpoints", &url]), "a\nb\n");
}

/// What an operator said of a member is not undone by a restart with the settings that it had before.
#[test]
fn an_update_outlives_a_restart() {
    let mut cluster = Cluster::start(1);
    let told = "the cluster knows that node 1 is reached at";
    wait_for(&format!("node 1 to tell; logs:\n{}", cluster.logs()), || {
        cluster.log(1).contains(told).then_some(())
    });
    let update = ["member", "update", "1", "--client-url", "http://127.0.0.1:9"];
    output_of(&[&update[..], &["--endpoints", &cluster.url(1)]].concat());
    assert_eq!(cluster.stop(1), Some(0), "{}", cluster.logs());
    cluster.start_node(1);
    wait_for(&format!("node 1 to decide; logs:\n{}", cluster.logs()), || {
        cluster.log(1).contains("tells nothing new").then_some(())
    });
    let listed = output_of(&["member", "list", "--endpoints", &cluster.url(1)]);
    assert!(listed.contains("http://127.0.0.1:9"), "{listed}");
}

/// R70: a node that was removed while it was down comes back to nodes that refuse it, and says what that means.
#[test]
fn a_node_that_was_removed_while_it_was_down_says_what_it_suspects() {
    let mut cluster = Cluster::start(3);
    cluster.kill(2);
    output_of(&["member", "remove", "2", "--endpoints", &cluster.url(1)]);
    // Within a moment after its removal it would still be let in, and told.
    for id in [1, 3] {
        wait_for("the others to forget node 2", || {
            (!cluster.metrics(id).contains("peer=\"2\"")).then_some(())
        });
    }
    cluster.start_node(2);
    wait_for(&format!("the node to say so; logs:\n{}", cluster.logs()), || {
        let log = cluster.log(2);
        (log.contains("node 2 hears of no leader and is refused by node")
            && log.contains("removed while it was down"))
        .then_some(())
    });
    output_of(&["put", "a", "b", "--endpoints", &cluster.url(1)]);
}

/// R68: whoever is listed nowhere is told how to join, and one that begins to join never begins a cluster.
#[test]
fn a_stranger_is_told_how_to_join() {
    let mut cluster = Cluster::describe(1);
    let id = cluster.describe_joining();
    let refused = run(&mut cluster.command(id));
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("start it with --join"), "{refused:?}");
    let command = cluster.joining_command(id);
    cluster.start_with(id, command);
    wait_for("the node to say that nobody is there", || {
        cluster
            .log(id)
            .contains("It is connected to none of the nodes 1 at")
            .then_some(())
    });
    assert_eq!(cluster.stop(id), Some(0), "{}", cluster.logs());
}
