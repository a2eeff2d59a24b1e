//! One honest replica among nodes that say anything.
//!
//! The input is read as a list of events: arbitrary messages, requests of clients, time, and the answers of a disk and a
//! state machine that are slow but honest; crashes in between. Every message passes through the codec first, so a replica is
//! given whatever a network can bring it, and nothing else. The transport vouches for who sent a message, so nobody speaks in the
//! replica's own name.
//!
//! What must hold for any replica that keeps the rules, whatever others do (I2, I3, I4, I8, I9, I11, I12, I24), is checked
//! after every step, in `node`; what the disk must see, in `disk`. What two leaders of one term can do to a replica is to
//! stop it, with a reason.

mod disk;
mod events;
mod messages;
mod node;
mod promises;

use arbitrary::Unstructured;
use node::Node;

/// An input that is longer than any that the fuzzer makes by itself need not be read to its end.
const EVENTS_MAX: usize = 4_000;

/// Runs one replica through the events of the input.
///
/// # Panics
/// If the replica does, or if it breaks a rule.
pub fn step(data: &[u8]) {
    let mut input = Unstructured::new(data);
    // An input that ends in the middle of an event ends before it.
    let _ = run(&mut input);
}

fn run(input: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let mut node = Node::new(events::config(input)?, events::founders(input)?);
    for _ in 0..EVENTS_MAX {
        if input.is_empty() || !node.is_running() {
            break;
        }
        events::event(&mut node, input)?;
    }
    Ok(())
}

/// Inputs that lead a replica into every role.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = events::courses().to_vec();
    // Long ones without any meaning: they take every turn there is.
    for seed in 0..6 {
        let mut random = crate::mutation::Random::new(seed);
        seeds.push((0..1_500).map(|_| random.next_u64() as u8).collect());
    }
    seeds
}
