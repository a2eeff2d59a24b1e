//! How numbers and names are put in words.

use std::time::Duration;

use crate::types::NodeId;

/// A duration as people say it: `340 ms`, `2.3 s`, `5 min 20 s`, `3 h 5 min`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.as_millis() == 0 => "less than 1 ms".to_owned(),
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_millis() as f64 / 1e3),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// `1, 2 and 3`.
pub(super) fn list(nodes: &[NodeId]) -> String {
    match nodes {
        [] => "none".to_owned(),
        [one] => one.to_string(),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            format!("{} and {last}", first.join(", "))
        }
    }
}

/// `node 1`, `nodes 1 and 2`, `no node`.
pub(super) fn nodes(nodes: &[NodeId]) -> String {
    match nodes {
        [] => "no node".to_owned(),
        [one] => format!("node {one}"),
        more => format!("nodes {}", list(more)),
    }
}

/// `1 entry`, `2 entries`.
pub(super) fn entries(count: u64) -> String {
    counted(count, "entry", "entries")
}

/// A number with its noun.
pub(super) fn counted(count: u64, one: &str, more: &str) -> String {
    if count == 1 {
        format!("1 {one}")
    } else {
        format!("{count} {more}")
    }
}

/// `512 bytes`, `16.8 MB`.
pub(super) fn bytes(count: usize) -> String {
    match count {
        0..10_000 => counted(count as u64, "byte", "bytes"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        let of = |ms| duration(Duration::from_millis(ms));
        assert_eq!(of(0), "less than 1 ms");
        assert_eq!(of(1), "1 ms");
        assert_eq!(of(999), "999 ms");
        assert_eq!(of(2_340), "2.3 s");
        assert_eq!(of(320_000), "5 min 20 s");
        assert_eq!(of(11_100_000), "3 h 5 min");
    }

    #[test]
    fn nodes_are_listed_as_in_a_sentence() {
        let ids: Vec<NodeId> = (1..=3).map(NodeId).collect();
        assert_eq!(nodes(&ids), "nodes 1, 2 and 3");
        assert_eq!(nodes(&ids[..2]), "nodes 1 and 2");
        assert_eq!(nodes(&ids[..1]), "node 1");
        assert_eq!(nodes(&[]), "no node");
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(bytes(1), "1 byte");
        assert_eq!(bytes(9_999), "9999 bytes");
        assert_eq!(bytes(64_000), "64.0 kB");
        assert_eq!(bytes(16_777_216), "16.8 MB");
    }
}
