//! How one node explains something, as the page `/why` tells it and the command line reads it.

use serde::{Deserialize, Serialize};

/// How one node explains something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The node.
    pub node: u64,
    /// Whether it leads.
    pub leads: bool,
    /// How bad it is: 0 is no trouble, 4 is that nobody leads.
    pub severity: u8,
    /// The cause in one word, as the metrics have it.
    pub cause: String,
    /// The paragraph.
    pub text: String,
    /// Members that it does not hear.
    pub silent: Vec<u64>,
}
