//! The arrows between the crates of the workspace, read from their Cargo.toml files.

use super::manifest::{Dependency, Kind};

/// Which crates of the workspace a crate may depend on, and which more its tests may.
struct Arrow {
    from: &'static str,
    to: &'static [&'static str],
    tests_to: &'static [&'static str],
    /// True when it may use no crate at all, not even from outside.
    alone: bool,
}

/// What the node is made of: the backends, and the simulator's traces, as which it shows recordings.
const BENEATH_THE_NODE: &[&str] = &[
    "raft-core",
    "raft-storage-engine",
    "raft-storage-rocksdb",
    "raft-transport",
    "raft-transport-quic",
    "raft-transport-tcp",
    "raft-kv",
    "raft-sim",
];

/// The whole table. A crate that is not in it is an error, so that nobody adds one without deciding where it stands.
const ARROWS: &[Arrow] = &[
    Arrow {
        from: "raft-core",
        to: &[],
        tests_to: &[],
        alone: false,
    },
    Arrow {
        from: "raft-storage-engine",
        to: &["raft-core"],
        tests_to: &[],
        alone: false,
    },
    Arrow {
        from: "raft-storage-rocksdb",
        to: &["raft-core"],
        tests_to: &[],
        alone: false,
    },
    Arrow {
        from: "raft-transport",
        to: &["raft-core"],
        tests_to: &[],
        alone: false,
    },
    Arrow {
        from: "raft-transport-quic",
        to: &["raft-core", "raft-transport"],
        tests_to: &["bad-network"],
        alone: false,
    },
    Arrow {
        from: "raft-transport-tcp",
        to: &["raft-core", "raft-transport"],
        tests_to: &["bad-network"],
        alone: false,
    },
    Arrow {
        from: "raft-kv",
        to: &["raft-core"],
        tests_to: &[],
        alone: false,
    },
    Arrow {
        from: "raft-sim",
        to: &["raft-core"],
        tests_to: &[],
        alone: false,
    },
    Arrow {
        from: "fuzz-targets",
        to: &["raft-core"],
        tests_to: &[],
        alone: false,
    },
    Arrow {
        from: "bad-network",
        to: &[],
        tests_to: &[],
        alone: false,
    },
    Arrow {
        from: "power-loss",
        to: &[],
        tests_to: &[],
        alone: false,
    },
    Arrow {
        from: "store-torture",
        to: &[
            "raft-core",
            "raft-storage-engine",
            "raft-storage-rocksdb",
            "power-loss",
        ],
        tests_to: &[],
        alone: false,
    },
    Arrow {
        from: "raft-node",
        to: BENEATH_THE_NODE,
        tests_to: &["bad-network", "fuzz-targets"],
        alone: false,
    },
    Arrow {
        from: "benches",
        to: &[
            "raft-core",
            "raft-storage-engine",
            "raft-storage-rocksdb",
            "raft-transport",
            "raft-transport-quic",
            "raft-transport-tcp",
            "raft-kv",
            "raft-sim",
            "raft-node",
            "bad-network",
        ],
        tests_to: &[],
        alone: false,
    },
    Arrow {
        from: "xtask",
        to: &[],
        tests_to: &[],
        alone: true,
    },
];

/// Every dependency of `member` that the table does not allow.
pub(crate) fn wrong(member: &str, dependencies: &[Dependency], members: &[String]) -> Vec<String> {
    let Some(arrow) = ARROWS.iter().find(|arrow| arrow.from == member) else {
        return vec![format!(
            "{member}/Cargo.toml: a new crate; say in xtask/src/layers/crates.rs what it may depend on"
        )];
    };
    let mut wrong = Vec::new();
    for dependency in dependencies {
        let package = dependency.package.as_str();
        if arrow.alone {
            wrong.push(format!(
                "{member}/Cargo.toml: depends on {package}; {member} depends on nothing"
            ));
            continue;
        }
        if !members.iter().any(|member| member == package) {
            continue;
        }
        let in_tests = dependency.kind == Kind::Dev;
        // A crate's tests may name the crate itself, to switch its features on.
        let allowed = arrow.to.contains(&package)
            || in_tests && (arrow.tests_to.contains(&package) || package == member);
        if !allowed {
            let which = if in_tests { "its tests depend" } else { "depends" };
            wrong.push(format!(
                "{member}/Cargo.toml: {which} on {package}; allowed: {}",
                allowed_list(arrow)
            ));
        }
    }
    wrong
}

fn allowed_list(arrow: &Arrow) -> String {
    if arrow.to.is_empty() {
        "no crate of the workspace".to_string()
    } else {
        arrow.to.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_of(member: &str, kind: Kind, package: &str) -> Vec<String> {
        let members: Vec<String> = ARROWS.iter().map(|arrow| arrow.from.to_string()).collect();
        wrong(
            member,
            &[Dependency {
                kind,
                package: package.to_string(),
            }],
            &members,
        )
    }

    #[test]
    fn backends_know_the_core_only() {
        for backend in [
            "raft-storage-engine",
            "raft-storage-rocksdb",
            "raft-transport-quic",
            "raft-kv",
            "raft-sim",
        ] {
            for kind in [Kind::Normal, Kind::Dev, Kind::Build] {
                assert!(wrong_of(backend, kind, "raft-core").is_empty());
                assert!(wrong_of(backend, kind, "tokio").is_empty());
                assert_eq!(wrong_of(backend, kind, "raft-node").len(), 1);
            }
        }
        assert_eq!(wrong_of("raft-kv", Kind::Dev, "raft-storage-rocksdb").len(), 1);
        let other = wrong_of("raft-storage-engine", Kind::Normal, "raft-storage-rocksdb");
        assert_eq!(other.len(), 1);
    }

    #[test]
    fn the_core_knows_nobody_and_nobody_but_benches_knows_the_node() {
        assert_eq!(wrong_of("raft-core", Kind::Dev, "raft-kv").len(), 1);
        assert!(wrong_of("raft-core", Kind::Dev, "raft-core").is_empty());
        assert!(wrong_of("benches", Kind::Normal, "raft-node").is_empty());
        assert!(wrong_of("raft-node", Kind::Normal, "raft-transport-quic").is_empty());
        // It shows recordings on the simulator's page.
        assert!(wrong_of("raft-node", Kind::Normal, "raft-sim").is_empty());
        assert_eq!(wrong_of("raft-sim", Kind::Normal, "raft-node").len(), 1);
    }

    #[test]
    fn xtask_depends_on_nothing_and_new_crates_are_asked_for() {
        assert_eq!(wrong_of("xtask", Kind::Normal, "serde").len(), 1);
        assert_eq!(wrong_of("raft-new", Kind::Normal, "raft-core").len(), 1);
    }
}
