//! What `bind` refuses, and what it says.

use std::path::Path;

use raft_core::types::NodeId;
use raft_transport::{SetupError, TransportLimits, TransportOptions};
use rcgen::ExtendedKeyUsagePurpose;

use crate::carrier;
use crate::support::{Authority, Certificates, Leaf, set_mode};

fn refusal(options: TransportOptions) -> (SetupError, String) {
    let error = carrier::bind(options).expect_err("bind refuses");
    let text = error.to_string();
    (error, text)
}

fn names(text: &str, path: &Path) -> bool {
    text.contains(path.to_str().unwrap())
}

#[cfg(unix)]
#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    let certificates = Certificates::new();
    let options = certificates.options(1);
    for mode in [0o644, 0o640, 0o604, 0o660, 0o700, 0o620] {
        set_mode(&options.key, mode);
        let (error, text) = refusal(options.clone());
        assert!(matches!(error, SetupError::KeyMode { .. }), "{text}");
        assert!(names(&text, &options.key) && text.contains("chmod 600"), "{text}");
        assert!(text.contains(&format!("{mode:04o}")), "{text}");
    }
    for mode in [0o600, 0o400] {
        set_mode(&options.key, mode);
        carrier::bind(options.clone()).unwrap();
    }
}

#[tokio::test]
async fn a_key_of_another_certificate_is_refused() {
    let certificates = Certificates::new();
    let mut options = certificates.options(1);
    options.key = certificates.options(2).key;
    let (error, text) = refusal(options.clone());
    assert!(matches!(error, SetupError::KeyMismatch { .. }), "{text}");
    assert!(
        names(&text, &options.key) && names(&text, &options.certificate),
        "{text}"
    );
}

#[tokio::test]
async fn a_certificate_of_another_node_or_cluster_is_refused() {
    let certificates = Certificates::new();
    let options = certificates.options(1);
    let other_node = TransportOptions {
        id: NodeId(2),
        ..options.clone()
    };
    let other_cluster = TransportOptions {
        cluster: "beta".to_string(),
        ..options.clone()
    };
    for (options, expected) in [
        (other_node, "n2.alpha.raft.internal"),
        (other_cluster, "n1.beta.raft.internal"),
    ] {
        let (error, text) = refusal(options);
        assert!(matches!(error, SetupError::WrongName { .. }), "{text}");
        assert!(
            text.contains("n1.alpha.raft.internal") && text.contains(expected),
            "{text}"
        );
    }
    let two_names = Leaf {
        names: vec!["n1.alpha.raft.internal".to_string(), "localhost".to_string()],
        ..Leaf::node(1)
    };
    certificates.write("n1", &certificates.authority.issue(&two_names));
    let (error, text) = refusal(options);
    assert!(matches!(error, SetupError::WrongName { .. }), "{text}");
}

#[tokio::test]
async fn a_certificate_that_no_peer_would_accept_is_refused() {
    let certificates = Certificates::new();
    let options = certificates.options(1);
    let usage = |usages: Vec<ExtendedKeyUsagePurpose>| Leaf {
        usages,
        ..Leaf::node(1)
    };
    let years = |first, last| Leaf {
        years: (first, last),
        ..Leaf::node(1)
    };
    let bad = [
        Authority::new().issue_node(1),
        certificates.authority.issue(&years(2000, 2001)),
        certificates.authority.issue(&years(2110, 2120)),
        certificates
            .authority
            .issue(&usage(vec![ExtendedKeyUsagePurpose::ServerAuth])),
        certificates
            .authority
            .issue(&usage(vec![ExtendedKeyUsagePurpose::ClientAuth])),
    ];
    for identity in bad {
        certificates.write("n1", &identity);
        let (error, text) = refusal(options.clone());
        assert!(matches!(error, SetupError::Untrusted { .. }), "{text}");
        assert!(
            names(&text, &options.certificate) && names(&text, &options.ca),
            "{text}"
        );
    }
}

#[tokio::test]
async fn missing_and_meaningless_files_are_named() {
    let certificates = Certificates::new();
    let good = certificates.options(1);
    let missing = certificates.path("missing.pem");
    for options in [
        TransportOptions {
            certificate: missing.clone(),
            ..good.clone()
        },
        TransportOptions {
            key: missing.clone(),
            ..good.clone()
        },
        TransportOptions {
            ca: missing.clone(),
            ..good.clone()
        },
    ] {
        let (error, text) = refusal(options);
        assert!(matches!(error, SetupError::ReadFile { .. }), "{text}");
        assert!(names(&text, &missing), "{text}");
    }
    let empty = certificates.path("empty.pem");
    std::fs::write(&empty, "no PEM here\n").unwrap();
    set_mode(&empty, 0o600);
    for options in [
        TransportOptions {
            certificate: empty.clone(),
            ..good.clone()
        },
        TransportOptions {
            key: empty.clone(),
            ..good.clone()
        },
        TransportOptions {
            ca: empty.clone(),
            ..good.clone()
        },
    ] {
        let (error, text) = refusal(options);
        assert!(matches!(error, SetupError::Pem { .. }), "{text}");
        assert!(names(&text, &empty), "{text}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let certificates = Certificates::new();
    let first = carrier::bind(certificates.options(1)).unwrap();
    let (error, text) = refusal(TransportOptions {
        listen: first.local_addr(),
        ..certificates.options(1)
    });
    assert!(matches!(error, SetupError::Listen { .. }), "{text}");
    assert!(text.contains(&first.local_addr().to_string()), "{text}");
}

#[tokio::test]
async fn options_out_of_range_are_named() {
    let certificates = Certificates::new();
    let good = certificates.options(1);
    let bad = [
        (
            "id",
            TransportOptions {
                id: NodeId(0),
                ..good.clone()
            },
        ),
        (
            "cluster",
            TransportOptions {
                cluster: "No dots.".to_string(),
                ..good.clone()
            },
        ),
        (
            "peers",
            TransportOptions {
                peers: [(NodeId(2), "nowhere".to_string())].into(),
                ..good.clone()
            },
        ),
        (
            "queue_bytes_max",
            TransportOptions {
                limits: TransportLimits {
                    queue_bytes_max: 0,
                    ..TransportLimits::default()
                },
                ..good.clone()
            },
        ),
    ];
    for (name, options) in bad {
        let (error, text) = refusal(options);
        assert!(
            matches!(error, SetupError::Option { name: found, .. } if found == name),
            "{text}"
        );
    }
}

#[test]
fn a_runtime_is_needed() {
    let certificates = Certificates::new();
    let (error, _) = refusal(certificates.options(1));
    assert!(matches!(error, SetupError::NoRuntime));
}
