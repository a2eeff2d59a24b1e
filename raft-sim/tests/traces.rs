//! Traces: what is recorded is what happened, and the page that shows it keeps to itself.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use raft_core::entry::Entry;
use raft_core::message::SnapshotMeta;
use raft_core::traits::{StateMachine, StateMachineError};
use raft_core::types::EntryId;
use raft_sim::random::Random;
use raft_sim::simulation::{Simulation, Traced};
use raft_sim::trace::{self, Trace, What};
use raft_sim::workload::{Exchange, Judgement, KeyValue, KeyValueWorkload, Request, Violation, Workload};

/// Long enough for faults, elections and snapshots.
const SECONDS: u64 = 10;

/// What the judge of [`Unsatisfied`] says: text that would end a script, if it could.
const COMPLAINT: &str = "</script><script>alert(1)</script><!-- ";

fn traced(seed: u64, window: Option<Duration>) -> Traced {
    let simulation = Simulation::new(seed).nodes(3).seconds(SECONDS);
    simulation.trace(window, KeyValue::new, KeyValueWorkload::new)
}

/// A state machine that does nothing.
#[derive(Default)]
struct Idle(EntryId);

impl StateMachine for Idle {
    fn last_applied(&self) -> EntryId {
        self.0
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<bytes::Bytes>, StateMachineError> {
        if let Some(last) = entries.last() {
            self.0 = last.id;
        }
        Ok(vec![bytes::Bytes::new(); entries.len()])
    }

    fn query(&self, _question: &[u8]) -> Result<bytes::Bytes, StateMachineError> {
        Ok(bytes::Bytes::new())
    }

    fn snapshot(&mut self) -> Result<Box<dyn std::io::Read + Send>, StateMachineError> {
        Ok(Box::new(std::io::empty()))
    }

    fn restore(
        &mut self,
        meta: &SnapshotMeta,
        _content: &mut dyn std::io::Read,
    ) -> Result<(), StateMachineError> {
        self.0 = meta.last;
        Ok(())
    }
}

/// Clients that find fault with every history.
struct Unsatisfied;

impl Workload for Unsatisfied {
    type StateMachine = Idle;

    fn next(&mut self, _client: u64, _random: &mut Random) -> Request {
        Request::write(COMPLAINT)
    }

    fn check(&self, _history: &[Exchange]) -> Result<Judgement, Violation> {
        Err(Violation::new(COMPLAINT))
    }
}

#[test]
fn a_seed_has_one_trace_and_recording_changes_nothing() {
    let first = traced(7, None);
    assert_eq!(first.trace.to_json(), traced(7, None).trace.to_json());
    let plain = Simulation::new(7).nodes(3).seconds(SECONDS);
    assert_eq!(first.result, plain.run(KeyValue::new, KeyValueWorkload::new));
}

#[test]
fn a_trace_is_read_as_it_was_written() {
    let Traced { trace, .. } = traced(8, None);
    let read: Trace = serde_json::from_str(&trace.to_json()).expect("a trace is JSON");
    assert_eq!(read, trace);
}

#[test]
fn whatever_arrives_was_sent_before_to_whom_it_reaches() {
    let mut arrivals = 0;
    for seed in 1..6 {
        let Traced { trace, .. } = traced(seed, None);
        let mut sent = BTreeMap::new();
        for event in &trace.events {
            match &event.what {
                What::Sent(message) => {
                    assert_eq!(event.node, message.from, "seed {seed}");
                    let before = sent.insert(message.number, message.to);
                    assert_eq!(before, None, "seed {seed}: a number is used once");
                }
                What::Received { message } | What::Lost { message } => {
                    arrivals += 1;
                    assert_eq!(sent.get(message), Some(&event.node), "seed {seed}");
                }
                _ => {}
            }
        }
    }
    assert!(arrivals > 1_000, "{arrivals}");
}

#[test]
fn a_window_is_the_end_of_the_whole() {
    let whole = traced(9, None).trace;
    let window = traced(9, Some(Duration::from_secs(2))).trace;
    assert!(!window.events.is_empty() && window.events.len() < whole.events.len());
    assert!(whole.events.ends_with(&window.events));
    let earlier = &whole.events[..whole.events.len() - window.events.len()];
    let mut state = whole.start.clone();
    for event in earlier {
        state.apply(event);
    }
    assert_eq!(state.nodes, window.start.nodes);
    assert_eq!(state.faults, window.start.faults);
    // What is doubled is kept beyond its first arrival.
    for number in state.messages.keys() {
        assert!(window.start.messages.contains_key(number), "{number}");
    }
}

#[test]
fn the_page_shows_the_violation_and_needs_nothing_else() {
    let simulation = Simulation::new(3).nodes(3).seconds(SECONDS);
    let Traced { result, trace } = simulation.trace(None, Idle::default, || Unsatisfied);
    let failure = result.expect_err("the clients are never content");
    assert!(failure.violation.seen.contains(COMPLAINT));
    assert_eq!(trace.violation.as_ref(), Some(&failure.violation));

    let folder = std::env::temp_dir().join(format!("raft-sim-traces-{}", std::process::id()));
    let file = folder.join("run.trace.json");
    let page = trace::write(&file, &trace).expect("the folder for temporary files can be written");
    let text = fs::read_to_string(&page).expect("the page was written");
    let json = fs::read_to_string(&file).expect("the trace was written");
    fs::remove_dir_all(&folder).expect("the folder is there");

    assert_eq!(json, trace.to_json());
    assert!(text.contains(&failure.violation.statement));
    for outside in ["http:", "https:", "src=", "url(", "@import", "import("] {
        assert!(!text.contains(outside), "{outside}");
    }
    // The data and the program: nothing in the data ends the one or begins another.
    assert_eq!(text.matches("<script").count(), 2);
    assert_eq!(text.matches("</script>").count(), 2);
    assert!(!text.contains("<!--"));
    let begin = text.find("id=\"trace\">").expect("the data is there") + "id=\"trace\">".len();
    let length = text[begin..].find("</script>").expect("the data ends");
    let embedded: Trace = serde_json::from_str(&text[begin..begin + length]).expect("the data is JSON");
    assert_eq!(embedded, trace);
}
