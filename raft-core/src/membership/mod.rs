//! Who belongs to a group, and what counts as a quorum of it (paper §6, thesis chapter 4).
//!
//! - [`majority`]: the arithmetic of one set of voters;
//! - [`Membership`]: voters, the outgoing half of a joint configuration, and learners; a decision of a joint
//!   configuration needs a majority of both halves.
//!
//! Everything here is a pure function of its arguments.

mod configuration;
pub mod majority;

pub use configuration::{Membership, MembershipError};
pub use majority::VoteResult;
