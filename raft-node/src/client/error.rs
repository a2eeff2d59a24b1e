//! Why a client command fails.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a client command fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A text is not an endpoint.
    #[error("{endpoint:?} is not an endpoint: {reason}; write http://host:port, several separated by commas")]
    Endpoint {
        /// The text.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No endpoint served the request.
    #[error("no endpoint served it{}; {}", list(.0), remedy(.0))]
    NoAnswer(Vec<Failed>),
    /// The server refused the request.
    #[error("{endpoint} refused: {message}")]
    Refused {
        /// Who refused.
        endpoint: String,
        /// Why, in the server's words.
        message: String,
    },
    /// The server was asked once, and its answer did not arrive: it may have done what it was asked.
    #[error(
        "{endpoint} gave no answer: {reason}; it may have done it all the same: look at `raft-node status` and \
         `raft-node member list`"
    )]
    Unanswered {
        /// Who was asked.
        endpoint: String,
        /// What happened instead.
        reason: String,
    },
    /// The file of acknowledged keys cannot be used.
    #[error("cannot {action} {path}: {source}; check --acked", path = .path.display())]
    AckedFile {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A line of the file of acknowledged keys is not `key<TAB>value`.
    #[error("{path}, line {line}: not of the form KEY<TAB>VALUE; is it a file that `raft-node load` wrote?", path = .path.display())]
    AckedLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
    },
    /// A node did not reach the others within the time given to it.
    #[error(
        "{endpoint} has applied {applied} of {target} entries after {seconds} s; look at its log and at \
         `raft-node status`, or give it longer with --timeout"
    )]
    Behind {
        /// The node.
        endpoint: String,
        /// What it has applied.
        applied: u64,
        /// What the cluster had committed.
        target: u64,
        /// How long it was waited for.
        seconds: u64,
    },
}

/// An endpoint that did not serve a request, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Who was asked.
    pub endpoint: String,
    /// What came back.
    pub reason: String,
}

/// What may help: whoever answers with an error runs, and knows why.
fn remedy(failed: &[Failed]) -> &'static str {
    if failed
        .iter()
        .any(|failed| failed.reason.starts_with("etcdserver"))
    {
        "`raft-node why`, asked at the same --endpoints, says what is wrong"
    } else {
        "start the cluster, or name the client URLs of all its nodes with --endpoints"
    }
}

fn list(failed: &[Failed]) -> String {
    let mut text = String::new();
    for Failed { endpoint, reason } in failed {
        let separator = if text.is_empty() { " (" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{separator}{endpoint}: {reason}");
    }
    if !text.is_empty() {
        text.push(')');
    }
    text
}

/// What a failed call says, down to the cause that a person can act on.
#[must_use]
pub fn reason(status: &tonic::Status) -> String {
    let mut innermost: Option<&dyn std::error::Error> = std::error::Error::source(status);
    let Some(mut cause) = innermost.take() else {
        return status.message().to_owned();
    };
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_that_failed_is_named() {
        let failed = |endpoint: &str, reason: &str| Failed {
            endpoint: endpoint.to_owned(),
            reason: reason.to_owned(),
        };
        let error = ClientError::NoAnswer(vec![
            failed("http://a:1", "refused"),
            failed("http://b:1", "timed out"),
        ]);
        let text = error.to_string();
        assert!(
            text.contains("(http://a:1: refused, http://b:1: timed out)"),
            "{text}"
        );
        assert!(text.contains("start the cluster, or name"), "{text}");
        let error = ClientError::NoAnswer(vec![failed("http://a:1", "etcdserver: request timed out")]);
        let text = error.to_string();
        assert!(
            text.contains("`raft-node why`") && !text.contains("start the cluster"),
            "{text}"
        );
    }
}
