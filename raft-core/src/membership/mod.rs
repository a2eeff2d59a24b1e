//! Who belongs to a group, what counts as a quorum of it, and how it changes (paper §6, thesis chapter 4).
//!
//! - [`majority`]: the arithmetic of one set of voters;
//! - [`Membership`]: voters, the outgoing half of a joint configuration, and learners; a decision of a joint
//!   configuration needs a majority of both halves;
//! - [`MembershipPlan`]: what a list of [`MemberChange`]s does to a configuration, worked out before anything is proposed.
//!
//! Everything here is a pure function of its arguments.

#[cfg(test)]
mod brute_force;
mod change;
mod configuration;
pub mod majority;

pub(crate) use change::leave_joint;
pub use change::{ChangeError, ID_STEP_MAX, MemberChange, MembershipPlan};
pub use configuration::{
    CONTACT_BYTES_MAX, Contact, MEMBERS_MAX, Membership, MembershipError, MembershipParts,
};
pub use majority::VoteResult;
