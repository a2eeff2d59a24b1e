//! How the part of every role is recorded.

use super::{Common, WriteInFlight};
use crate::codec::{CodecError, Reader, Recorded, Writer, recorded};

recorded!(struct WriteInFlight { seq, term, began });

/// `recorded!` but for the effects: there are none between two steps.
macro_rules! common {
    ($($field:ident),* $(,)?) => {
        impl Recorded for Common {
            fn put(&self, out: &mut Writer) {
                let Common { effects, $($field),* } = self;
                debug_assert!(effects.is_empty(), "a step is over");
                $($field.put(out);)*
            }

            fn take(from: &mut Reader) -> Result<Common, CodecError> {
                let common = Common { effects: Vec::new(), $($field: Recorded::take(from)?),* };
                if common.memberships.is_empty() {
                    return Err(CodecError::Invalid("a replica without a configuration"));
                }
                Ok(common)
            }
        }
    };
}

common!(
    config,
    log,
    term,
    vote,
    commit,
    random,
    now,
    stopped,
    trust,
    suspicion,
    leader_contact,
    election_timeout,
    timeouts_without_leader,
    handed_over,
    snapshot_transfers_left,
    memberships,
    stored_hard_state,
    durable_term,
    last_seq,
    writes_in_flight,
    promises,
    apply,
    rest_told,
    recollection,
);
