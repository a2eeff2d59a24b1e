//! The members of the cluster, and how they and the leader are changed.
//!
//! A change is sent to one node, once: whether it took place is unknown when the answer is lost, and a second attempt
//! elsewhere could find a group that has changed already. What only asks may be asked anywhere.

mod calls;
mod convert;
mod values;

pub use self::calls::{change, choose, describe, move_leader, preview};
pub use self::values::{
    Changed, Configuration, Lagging, Member, MemberProgress, Members, Preview, Step, list,
};
