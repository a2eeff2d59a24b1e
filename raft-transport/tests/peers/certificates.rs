//! The eight bad certificates, in both roles: nothing reaches the inbound.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_core::types::NodeId;
use raft_transport::TransportOptions;
use rcgen::ExtendedKeyUsagePurpose;

use crate::carrier::Silent;
use crate::intruder::{
    Ended, FORMAT, Intruder, RogueServer, close_code, ended, hello, messages_frame, speak,
};
use crate::support::{Authority, CLUSTER, Certificates, Identity, Leaf, TestNode, message};

/// Node 2, whose only peer is node 1, which is not there.
async fn start_target(certificates: &Certificates) -> (TestNode, Silent) {
    let silent = Silent::new();
    let target = TestNode::bind(TransportOptions {
        peers: BTreeMap::from([(NodeId(1), silent.address().to_string())]),
        ..certificates.options(2)
    });
    target.start().await;
    (target, silent)
}

/// A client with `identity` says it is node 1 and asks for a vote.
async fn refused_as_client(certificates: &Certificates, identity: Option<Identity>) -> Ended {
    let (target, _silent) = start_target(certificates).await;
    let vote = message(1, 2, 1, Bytes::new());
    let closed = Intruder::with(certificates, identity)
        .attack(target.address(), 2, 1, &[vote])
        .await;
    assert!(target.inbound.is_untouched(), "{closed}");
    assert!(!target.status(1).connected);

    // The door still opens for the true node 1.
    let honest = Intruder::new(certificates, certificates.authority.issue_node(1));
    let (_connection, _urgent, mut stream) = honest.join(target.address(), 2, 1).await;
    let vote = message(1, 2, 2, Bytes::new());
    stream.write_all(&messages_frame(&[vote])).await.unwrap();
    target.inbound.wait_count(1).await;
    closed
}

/// A server with `identity` sits at node 2's address and answers node 1.
async fn refused_as_server(certificates: &Certificates, identity: Identity) -> Ended {
    let vote = message(2, 1, 1, Bytes::new());
    let mut rogue = RogueServer::start(certificates, identity, 2, vec![vote]);
    let dialer = TestNode::bind(TransportOptions {
        peers: BTreeMap::from([(NodeId(2), rogue.address().to_string())]),
        ..certificates.options(1)
    });
    dialer.start().await;
    let closed = rogue.next_ended().await;
    // The second attempt fails like the first.
    rogue.next_ended().await;
    assert!(dialer.inbound.is_untouched(), "{closed}");
    assert!(!dialer.status(2).connected);
    closed
}

/// The TLS handshake itself failed: an alert, no word of ours.
fn assert_refused_by_tls(closed: &Ended) {
    assert!(matches!(closed, Ended::ByTls(_)), "{closed:?}");
}

fn client_only(id: u64) -> Leaf {
    Leaf {
        usages: vec![ExtendedKeyUsagePurpose::ClientAuth],
        ..Leaf::node(id)
    }
}

fn server_only(id: u64) -> Leaf {
    Leaf {
        usages: vec![ExtendedKeyUsagePurpose::ServerAuth],
        ..Leaf::node(id)
    }
}

fn of_years(id: u64, first: i32, last: i32) -> Leaf {
    Leaf {
        years: (first, last),
        ..Leaf::node(id)
    }
}

fn named(names: &[&str]) -> Leaf {
    Leaf {
        names: names.iter().map(|name| (*name).to_string()).collect(),
        ..Leaf::node(1)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_certificate() {
    let certificates = Certificates::new();
    assert_refused_by_tls(&refused_as_client(&certificates, None).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority() {
    let certificates = Certificates::new();
    let other = Authority::new();
    assert_refused_by_tls(&refused_as_client(&certificates, Some(other.issue_node(1))).await);
    assert_refused_by_tls(&refused_as_server(&certificates, other.issue_node(2)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate() {
    let certificates = Certificates::new();
    let issue = |id| certificates.authority.issue(&of_years(id, 2000, 2001));
    assert_refused_by_tls(&refused_as_client(&certificates, Some(issue(1))).await);
    assert_refused_by_tls(&refused_as_server(&certificates, issue(2)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_valid_yet() {
    let certificates = Certificates::new();
    let issue = |id| certificates.authority.issue(&of_years(id, 2110, 2120));
    assert_refused_by_tls(&refused_as_client(&certificates, Some(issue(1))).await);
    assert_refused_by_tls(&refused_as_server(&certificates, issue(2)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_the_wrong_usage() {
    let certificates = Certificates::new();
    let client = certificates.authority.issue(&server_only(1));
    assert_refused_by_tls(&refused_as_client(&certificates, Some(client)).await);
    let server = certificates.authority.issue(&client_only(2));
    assert_refused_by_tls(&refused_as_server(&certificates, server).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_cluster() {
    let certificates = Certificates::new();
    let client = certificates.authority.issue(&named(&["n1.beta.raft.internal"]));
    let closed = refused_as_client(&certificates, Some(client)).await;
    assert_eq!(close_code(&closed), Some(2), "{closed}");
    let server = certificates.authority.issue(&named(&["n2.beta.raft.internal"]));
    assert_refused_by_tls(&refused_as_server(&certificates, server).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_with_two_names() {
    let certificates = Certificates::new();
    let both = ["n1.alpha.raft.internal", "n2.alpha.raft.internal"];
    let client = certificates.authority.issue(&named(&both));
    let closed = refused_as_client(&certificates, Some(client)).await;
    assert_eq!(close_code(&closed), Some(2), "{closed}");
    // TLS is content with it, the identity rule is not.
    let server = certificates.authority.issue(&named(&both));
    let closed = refused_as_server(&certificates, server).await;
    assert_eq!(close_code(&closed), Some(2), "{closed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_with_a_wildcard_or_without_a_name() {
    let certificates = Certificates::new();
    for names in [&["*.alpha.raft.internal"][..], &[]] {
        let client = certificates.authority.issue(&named(names));
        let closed = refused_as_client(&certificates, Some(client)).await;
        assert_eq!(close_code(&closed), Some(2), "{closed}");
    }
    let server = certificates.authority.issue(&named(&["*.alpha.raft.internal"]));
    let closed = refused_as_server(&certificates, server).await;
    assert_eq!(close_code(&closed), Some(2), "{closed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_node() {
    let certificates = Certificates::new();
    // Node 3 is of this cluster, but no peer.
    let closed = refused_as_client(&certificates, Some(certificates.authority.issue_node(3))).await;
    assert_eq!(close_code(&closed), Some(3), "{closed}");
    // Node 2 itself, or whoever has its certificate, is no peer of node 2 either.
    let closed = refused_as_client(&certificates, Some(certificates.authority.issue_node(2))).await;
    assert_eq!(close_code(&closed), Some(3), "{closed}");
    // Node 3 answers where node 2 should.
    let server = certificates.authority.issue_node(3);
    assert_refused_by_tls(&refused_as_server(&certificates, server).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_that_contradicts_the_certificate() {
    let certificates = Certificates::new();
    let (target, _silent) = start_target(&certificates).await;
    let intruder = Intruder::new(&certificates, certificates.authority.issue_node(1));
    let other_id = hello(FORMAT, 2, CLUSTER);
    let other_cluster = hello(FORMAT, 1, "beta");
    let other_version = hello(FORMAT + 1, 1, CLUSTER);
    for mut bytes in [other_id, other_cluster, other_version] {
        bytes.extend(messages_frame(&[message(1, 2, 1, Bytes::new())]));
        let connection = intruder.connect(target.address(), 2).await.unwrap();
        let _streams = speak(&connection, 1, &bytes).await;
        let closed = ended(&connection).await;
        assert_eq!(close_code(&closed), Some(4), "{closed}");
        assert!(target.inbound.is_untouched());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_application_protocol() {
    let certificates = Certificates::new();
    let (target, _silent) = start_target(&certificates).await;
    let mut intruder = Intruder::new(&certificates, certificates.authority.issue_node(1));
    intruder.tls.alpn_protocols = vec![b"h3".to_vec()];
    let closed = intruder.attack(target.address(), 2, 1, &[]).await;
    assert_refused_by_tls(&closed);
}

/// Node `id` and everybody's authority are replaced by those of a new authority.
fn replace_authority(certificates: &Certificates, id: u64) {
    let authority = Authority::new();
    certificates.write(&format!("n{id}"), &authority.issue_node(id));
    std::fs::write(certificates.path("ca.pem"), authority.pem()).unwrap();
}

/// A connection is closed whose other end was vouched for by an authority that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_of_a_dropped_authority_is_closed() {
    let certificates = Certificates::new();
    let (target, _silent) = start_target(&certificates).await;
    let intruder = Intruder::new(&certificates, certificates.authority.issue_node(1));
    let (connection, _urgent, _ordered) = intruder.join(target.address(), 2, 1).await;
    target.wait_connected(1).await;
    target.transport.reload_credentials().unwrap();
    assert!(target.status(1).connected, "nothing changed");
    replace_authority(&certificates, 2);
    target.transport.reload_credentials().unwrap();
    let closed = ended(&connection).await;
    assert_eq!(close_code(&closed), Some(2), "{closed}");
}

/// A connection that was verified by an authority and says hello after that is gone is closed, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_during_a_reload_is_verified_again() {
    let certificates = Certificates::new();
    let (target, _silent) = start_target(&certificates).await;
    let intruder = Intruder::new(&certificates, certificates.authority.issue_node(1));
    let connection = intruder.connect(target.address(), 2).await.unwrap();
    replace_authority(&certificates, 2);
    target.transport.reload_credentials().unwrap();
    let mut spoken = hello(FORMAT, 1, CLUSTER);
    spoken.extend(messages_frame(&[message(1, 2, 1, Bytes::new())]));
    let _streams = speak(&connection, 1, &spoken).await;
    let closed = ended(&connection).await;
    // Over TCP not even the sockets of the lanes are let in, so what is missing is only noticed in time.
    assert!(matches!(close_code(&closed), Some(0 | 2)), "{closed}");
    assert!(target.inbound.is_untouched());
    assert!(!target.status(1).connected);
}
