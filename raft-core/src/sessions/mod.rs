//! Exactly-once sessions for every state machine (thesis §6.3, R73, I15).
//!
//! A client opens a session, numbers its commands, and may send each of them as often as it likes, through any node: it is
//! applied once, and every copy gets the same reply. What was replied is remembered until the client acknowledges it.
//!
//! - [`SessionTable`] is all of that as a function of the log: it has no clock and no setting of a node, so that all replicas
//!   hold the same table at the same index (I10). Sessions expire by log time, which is made of what leaders wrote into
//!   the entries; never by the time at which a replica happens to apply them.
//! - [`ReplicatedState`] is the state machine with its table: it shows the state machine only what is to be applied,
//!   lets it store the table in the same atom as its data (R72), and puts the table into every snapshot (R54).
//!
//! What is decided about an entry must not depend on the batch that it arrives in: batches differ between replicas.

mod records;
mod replicated;
mod table;

pub use records::SessionsDamaged;
pub use replicated::ReplicatedState;
pub use table::{EPOCH_ENTRIES, REPLY_BYTES_MAX, Reply, SESSION_WINDOW, SESSIONS_MAX, SessionTable};
