//! Real processes and their certificates: replaced while they run, refused when they prove nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Cluster, output_of, run, wait_for};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The close code of a connection whose certificate names no node.
const IDENTITY: u32 = 2;
/// The close code of a connection whose certificate names a node that is none of the peers.
const NOT_A_PEER: u32 = 3;

/// The value of the figure that `line` names with its labels.
fn figure(page: &str, line: &str) -> Option<f64> {
    page.lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
}

fn reloads(cluster: &Cluster, id: usize, result: &str) -> f64 {
    let line = format!("raft_certificate_reloads_total{{result=\"{result}\"}}");
    figure(&cluster.metrics(id), &line).unwrap()
}

/// Waits until every node took new files for the `count`th time.
fn wait_reloaded(cluster: &Cluster, count: f64) {
    for id in cluster.running() {
        wait_for(
            &format!("node {id} to read its files for the {count}. time"),
            || (reloads(cluster, id, "ok") >= count).then_some(()),
        );
    }
}

/// Waits until every node is connected to every other.
fn wait_connected(cluster: &Cluster) {
    let ids = cluster.running();
    for &id in &ids {
        for peer in ids.iter().filter(|peer| **peer != id) {
            wait_for(&format!("node {id} to be connected to node {peer}"), || {
                let line = format!("raft_peer_connected{{peer=\"{peer}\"}}");
                (figure(&cluster.metrics(id), &line) == Some(1.0)).then_some(())
            });
        }
    }
}

/// The term that every node is in.
fn term(cluster: &Cluster) -> u64 {
    let terms: Vec<u64> = cluster
        .status()
        .iter()
        .map(|row| row["term"].as_u64().unwrap())
        .collect();
    assert!(terms.iter().all(|term| *term == terms[0]), "{terms:?}");
    terms[0]
}

/// A certificate and its key, copied out of a directory as a thief would.
struct Stolen {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Stolen {
    fn copy(cluster: &Cluster, name: &str) -> Stolen {
        let pki = cluster.path("pki");
        Stolen {
            chain: CertificateDer::pem_file_iter(pki.join(format!("{name}.pem")))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap(),
            key: PrivateKeyDer::from_pem_file(pki.join(format!("{name}.key"))).unwrap(),
        }
    }

    /// How a connection to the peer port of node 1 ends that authenticates with it and says nothing.
    fn try_on_node_1(&self, cluster: &Cluster) -> ConnectionError {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let address: SocketAddr = cluster
                .peer_url(1)
                .strip_prefix("quic://")
                .unwrap()
                .parse()
                .unwrap();
            let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let connecting = endpoint
                .connect_with(
                    self.config(&cluster.path("pki/ca.pem")),
                    address,
                    "n1.test.raft.internal",
                )
                .unwrap();
            match connecting.await {
                Err(error) => error,
                // A client of TLS 1.3 is done before the server has looked at its certificate.
                Ok(connection) => tokio::time::timeout(common::PATIENCE, connection.closed())
                    .await
                    .expect("the connection is closed in time"),
            }
        })
    }

    fn config(&self, ca: &Path) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_file_iter(ca).unwrap() {
            roots.add(authority.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .unwrap();
        tls.alpn_protocols = vec![b"raft/1".to_vec()];
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
    }
}

fn close_code(error: &ConnectionError) -> Option<u32> {
    match error {
        ConnectionError::ApplicationClosed(closed) => u32::try_from(u64::from(closed.error_code)).ok(),
        _ => None,
    }
}

/// Who connected was taken for a node, until it said nothing for too long.
fn is_taken_for_a_node(error: &ConnectionError) -> bool {
    close_code(error).is_some_and(|code| code != IDENTITY && code != NOT_A_PEER)
}

/// The handshake itself failed: an alert, no word of the node.
fn is_refused_by_tls(error: &ConnectionError) -> bool {
    matches!(
        error,
        ConnectionError::ConnectionClosed(_) | ConnectionError::TransportError(_)
    )
}

/// Replaces the leaves and then the authority of three nodes under load, and calls `renewed` between the two. No operation
/// fails, the leader stays, and every connection is made anew.
fn replace_all(cluster: &Cluster, renewed: impl FnOnce()) {
    let leader = cluster.leader();
    let before = term(cluster);
    let pki = cluster.path("pki");
    let cert = |arguments: &[&str]| {
        let mut all = vec!["cert"];
        all.extend(arguments);
        all.push(pki.to_str().unwrap());
        output_of(&all)
    };
    let acked = cluster.path("acked");
    let load = cluster.start_load(600, &acked);
    wait_for("the load to begin", || {
        (Cluster::acked(&acked) > 200).then_some(())
    });

    cert(&["renew"]);
    wait_reloaded(cluster, 1.0);
    renewed();
    cert(&["rotate-ca", "add"]);
    wait_reloaded(cluster, 2.0);
    cert(&["rotate-ca", "switch"]);
    cert(&["renew"]);
    wait_reloaded(cluster, 3.0);
    for id in 1..=3 {
        assert!(
            !cluster.log(id).contains("no longer accepted"),
            "{}",
            cluster.log(id)
        );
    }
    cert(&["rotate-ca", "drop"]);
    wait_reloaded(cluster, 4.0);
    wait_connected(cluster);
    let total = Cluster::acked(&acked);
    wait_for("writes to go on", || {
        (Cluster::acked(&acked) > total + 200).then_some(())
    });

    let report = load.interrupt();
    assert_eq!(
        (&report["failed"], &report["unknown"]),
        (&0.into(), &0.into()),
        "{report}"
    );
    assert_eq!(cluster.leader(), leader);
    assert_eq!(term(cluster), before, "nobody campaigned");
    // Every connection of before was made with certificates of the former authority.
    let cut: usize = (1..=3)
        .map(|id| cluster.log(id).matches("no longer accepted").count())
        .sum();
    assert!(cut >= 3, "three connections were made anew, {cut} were cut");
    for id in 1..=3 {
        assert_eq!(reloads(cluster, id, "failed"), 0.0, "{}", cluster.log(id));
    }
    let total = Cluster::acked(&acked);
    assert_eq!(
        cluster.verify(&acked),
        format!("verified {total} keys on 3 nodes\n")
    );
}

/// Starts three nodes by `command`. Their leader stays if they are connected again in a few seconds: making connections anew takes
/// milliseconds, and much longer on a machine that runs other tests at the same time.
fn start_three(command: impl Fn(&Cluster, usize) -> Command) -> Cluster {
    let mut cluster = Cluster::describe(3);
    for id in 1..=3 {
        let mut command = command(&cluster, id);
        command.args(["--election-timeout-ms", "3000", "--heartbeat-interval-ms", "300"]);
        cluster.start_with(id, command);
    }
    cluster.leader();
    wait_connected(&cluster);
    cluster
}

/// Threat "rotation": leaves and then the authority are replaced under load, and what the former authority signed is worth
/// nothing afterwards.
#[test]
fn leaves_and_the_authority_are_replaced_under_load() {
    let cluster = start_three(Cluster::command);
    let stolen = Stolen::copy(&cluster, "n2");
    let accepted = stolen.try_on_node_1(&cluster);
    assert!(is_taken_for_a_node(&accepted), "{accepted}");
    replace_all(&cluster, || {
        let accepted = stolen.try_on_node_1(&cluster);
        assert!(
            is_taken_for_a_node(&accepted),
            "its authority still counts: {accepted}"
        );
    });
    let refused = stolen.try_on_node_1(&cluster);
    assert!(is_refused_by_tls(&refused), "{refused}");
    let current = Stolen::copy(&cluster, "n2").try_on_node_1(&cluster);
    assert!(is_taken_for_a_node(&current), "{current}");
}

/// Threat "rotation", over TCP.
#[test]
fn leaves_and_the_authority_are_replaced_under_load_over_tcp() {
    let cluster = start_three(Cluster::command_over_tcp);
    replace_all(&cluster, || {});
}

/// Threat "wrong usage": what the authority signed for a client or a client port is nobody to a peer.
#[test]
fn a_client_and_a_client_port_are_nobody_to_a_peer() {
    let cluster = Cluster::start(1);
    let pki = cluster.path("pki");
    output_of(&[
        "cert",
        "--cluster",
        "test",
        "--out",
        pki.to_str().unwrap(),
        "--client",
        "root",
        "--server",
        "127.0.0.1,n1.test.example",
    ]);
    let client = Stolen::copy(&cluster, "client-root").try_on_node_1(&cluster);
    assert_eq!(close_code(&client), Some(IDENTITY), "{client}");
    wait_for("the node to say whom it refused", || {
        cluster.log(1).contains("0 DNS names").then_some(())
    });
    let server = Stolen::copy(&cluster, "server").try_on_node_1(&cluster);
    assert!(is_refused_by_tls(&server), "{server}");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Threat "key theft": a key that others can read is refused, at start and when it becomes one later.
#[test]
fn a_key_that_others_can_read_is_refused_at_start_and_at_reload() {
    let mut cluster = Cluster::describe(1);
    let key = cluster.path("pki/n1.key");
    set_mode(&key, 0o644);
    let ended = run(&mut cluster.command(1));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("mode 0644") && ended.stderr.contains("chmod 600"),
        "{ended:?}"
    );

    set_mode(&key, 0o600);
    cluster.start_node(1);
    cluster.leader();
    cluster.signal(1, "-HUP");
    wait_for("the node to say that nothing changed", || {
        cluster.log(1).contains("nothing changed").then_some(())
    });
    assert_eq!(reloads(&cluster, 1, "unchanged"), 1.0);

    set_mode(&key, 0o644);
    wait_for("the node to notice", || {
        cluster.log(1).contains("chmod 600").then_some(())
    });
    assert_eq!(
        (reloads(&cluster, 1, "failed"), reloads(&cluster, 1, "ok")),
        (1.0, 0.0)
    );
    output_of(&["put", "a", "b", "--endpoints", &cluster.urls()]);
    set_mode(&key, 0o600);
    cluster.signal(1, "-HUP");
    wait_reloaded(&cluster, 1.0);
}

/// A pair of which one half was replaced is not taken, and the whole one is.
#[test]
fn half_a_pair_is_not_taken_and_the_rest_completes_it() {
    let cluster = Cluster::start(1);
    let pki = cluster.path("pki");
    let other = cluster.path("other");
    fs::create_dir(&other).unwrap();
    let name = |directory: &Path, file: &str| -> PathBuf { directory.join(file) };
    for file in ["n1.pem", "n1.key", "ca.pem", "ca.key"] {
        fs::copy(name(&pki, file), name(&other, file)).unwrap();
    }
    output_of(&["cert", "renew", other.to_str().unwrap()]);
    fs::copy(name(&other, "n1.key"), name(&pki, "n1.key")).unwrap();
    wait_for("the node to complain", || {
        cluster
            .log(1)
            .contains("does not belong to the certificate")
            .then_some(())
    });
    assert_eq!(reloads(&cluster, 1, "ok"), 0.0);
    fs::copy(name(&other, "n1.pem"), name(&pki, "n1.pem")).unwrap();
    wait_reloaded(&cluster, 1.0);
}

/// Makes `n1.pem` and `n1.key` with dates long ago, signed by the cluster's authority.
fn make_expired(pki: &Path) {
    let read = |name: &str| fs::read_to_string(pki.join(name)).unwrap();
    let key = KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap();
    let mut params = CertificateParams::new(["n1.test.raft.internal".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "n1.test.raft.internal");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2020, 1, 3);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let own = KeyPair::generate().unwrap();
    let signed = params.signed_by(&own, &issuer).unwrap();
    fs::write(pki.join("n1.pem"), signed.pem()).unwrap();
    fs::write(pki.join("n1.key"), own.serialize_pem()).unwrap();
}

/// An expired certificate is named at start; one that expires soon is spoken of, and stands in the figures.
#[test]
fn an_expired_certificate_is_named_and_an_expiring_one_is_spoken_of() {
    let mut cluster = Cluster::describe(1);
    let pki = cluster.path("pki");
    make_expired(&pki);
    let ended = run(&mut cluster.command(1));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("n1.pem") && ended.stderr.contains("expired"),
        "{ended:?}"
    );
    let file = pki.join("n1.pem");
    let file = file.to_str().unwrap();
    let show = |file: &str| run(common::raft_node().args(["cert", "show", file, "--warn-days", "30"]));
    assert_eq!(show(file).code, Some(5));

    output_of(&["cert", "renew", file]);
    assert_eq!(show(file).code, Some(5), "valid for two days, as before");
    cluster.start_node(1);
    cluster.leader();
    wait_for("the log to say so", || {
        let log = cluster.log(1);
        log.lines()
            .any(|line| line.contains("ERROR") && line.contains("expires on") && line.contains(file))
            .then_some(())
    });
    assert!(
        !cluster.log(1).contains("an authority in"),
        "that one is valid for years"
    );
    let expiry = |file: &str| {
        let line = format!("raft_certificate_expiry_timestamp_seconds{{file=\"{file}\"}}");
        let seconds = figure(&cluster.metrics(1), &line).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Duration::from_secs_f64(seconds).saturating_sub(now)
    };
    let day = Duration::from_secs(24 * 60 * 60);
    assert!((day..=2 * day).contains(&expiry(file)), "{:?}", expiry(file));
    let ca = cluster.path("pki/ca.pem");
    assert!(expiry(ca.to_str().unwrap()) > 3000 * day);

    output_of(&["cert", "renew", file, "--days", "90"]);
    wait_reloaded(&cluster, 1.0);
    assert!(expiry(file) > 80 * day, "{:?}", expiry(file));
    assert_eq!(show(file).code, Some(0));
}
