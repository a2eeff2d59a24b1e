//! The checker against another one, and its witnesses and counter-examples against the definition (I16).

use std::collections::BTreeMap;

use raft_core::types::Time;
use raft_sim::linearizability::{Call, CounterExample, Model, Moment, Verdict, check};
use raft_sim::random::Random;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

const KEYS: u64 = 2;
const VALUES: u64 = 3;
const HISTORIES: u64 = 10_000;
const STEPS_MAX: u64 = 1_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Operation {
    key: u64,
    action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Read,
    Write(u64),
    CompareAndSet(u64, u64),
}

/// What was there before, and whether it was done.
type Response = (u64, bool);

fn apply(value: u64, action: &Action) -> (u64, Response) {
    match action {
        Action::Read => (value, (value, true)),
        // A write tells nothing of what it found.
        Action::Write(new) => (*new, (0, true)),
        Action::CompareAndSet(old, new) if *old == value => (*new, (0, true)),
        Action::CompareAndSet(..) => (value, (0, false)),
    }
}

/// One register at a time, for the checker.
struct Registers;

impl Model for Registers {
    type Key = u64;
    type State = u64;
    type Operation = Operation;
    type Response = Response;

    fn key(operation: &Operation) -> u64 {
        operation.key
    }

    fn initial(_key: &u64) -> u64 {
        0
    }

    fn step(state: &u64, operation: &Operation, response: Option<&Response>) -> Option<u64> {
        let (next, expected) = apply(*state, &operation.action);
        response
            .is_none_or(|response| *response == expected)
            .then_some(next)
    }
}

/// All of them together, for stateright.
#[derive(Clone, Default)]
struct All([u64; KEYS as usize]);

impl SequentialSpec for All {
    type Op = Operation;
    type Ret = Response;

    fn invoke(&mut self, operation: &Operation) -> Response {
        let value = &mut self.0[operation.key as usize];
        let (next, response) = apply(*value, &operation.action);
        *value = next;
        response
    }
}

/// What happened, in order.
enum Event {
    Called(u64, Operation),
    Returned(u64, Response),
}

/// A client in the middle of an operation.
struct Pending {
    client: u64,
    operation: Operation,
    response: Option<Response>,
}

/// A history of real registers, of whose answers some are wrong. A client that gives up asks nothing more.
fn random_history(random: &mut Random) -> Vec<Event> {
    let mut registers = All::default();
    let mut events = Vec::new();
    let mut pending = Vec::<Pending>::new();
    let mut free = (0..random.within(2..5)).collect::<Vec<_>>();
    let (mut left, lies_percent) = (random.within(4..11), random.below(30) as u32);
    while left > 0 || !pending.is_empty() {
        let draw = random.below(3);
        if draw == 0 && left > 0 && !free.is_empty() {
            left -= 1;
            let client = free.swap_remove(random.position(free.len()));
            let operation = random_operation(random);
            events.push(Event::Called(client, operation.clone()));
            pending.push(Pending {
                client,
                operation,
                response: None,
            });
            continue;
        }
        if pending.is_empty() {
            if free.is_empty() {
                break;
            }
            continue;
        }
        let chosen = random.position(pending.len());
        if pending[chosen].response.is_none() {
            let mut response = registers.invoke(&pending[chosen].operation);
            if random.percent(lies_percent) {
                response = lie(&pending[chosen].operation, response, random);
            }
            pending[chosen].response = Some(response);
        } else if draw == 1 {
            let Pending { client, response, .. } = pending.swap_remove(chosen);
            match response {
                Some(response) if random.percent(85) => {
                    events.push(Event::Returned(client, response));
                    free.push(client);
                }
                // It took effect, and nobody heard of it.
                _ => {}
            }
        } else if random.percent(10) {
            // It may have taken effect or not; the checker is not told.
            pending.swap_remove(chosen);
        }
    }
    events
}

fn random_operation(random: &mut Random) -> Operation {
    let mut value = || random.below(VALUES);
    let (old, new) = (value(), value());
    let action = match value() {
        0 => Action::Read,
        1 => Action::Write(new),
        _ => Action::CompareAndSet(old, new),
    };
    let key = random.below(KEYS);
    Operation { key, action }
}

fn lie(operation: &Operation, (value, done): Response, random: &mut Random) -> Response {
    match operation.action {
        Action::Read => (random.below(VALUES), done),
        Action::Write(_) => (value, done),
        Action::CompareAndSet(..) => (value, !done),
    }
}

fn calls_of(events: &[Event]) -> Vec<Call<Registers>> {
    let mut calls = Vec::<Call<Registers>>::new();
    let mut open = BTreeMap::new();
    for (number, event) in events.iter().enumerate() {
        let moment = Moment::new(Time::ZERO, number as u64);
        match event {
            Event::Called(client, operation) => {
                open.insert(*client, calls.len());
                calls.push(Call {
                    client: *client,
                    operation: operation.clone(),
                    called: moment,
                    returned: None,
                });
            }
            Event::Returned(client, response) => calls[open[client]].returned = Some((moment, *response)),
        }
    }
    calls
}

fn stateright_says(events: &[Event]) -> bool {
    let mut tester = LinearizabilityTester::new(All::default());
    for event in events {
        let result = match event {
            Event::Called(client, operation) => tester.on_invoke(*client, operation.clone()),
            Event::Returned(client, response) => tester.on_return(*client, *response),
        };
        result.expect("a client asks one thing at a time");
    }
    tester.is_consistent()
}

/// Checks an order of operations of one key against the definition, and gives the state after it.
fn follow(calls: &[Call<Registers>], key: u64, order: &[usize]) -> u64 {
    let mut state = 0;
    for (place, &position) in order.iter().enumerate() {
        let call = &calls[position];
        assert_eq!(call.operation.key, key);
        assert!(!order[..place].contains(&position), "placed twice");
        for &earlier in &order[..place] {
            let precedes = call
                .returned
                .is_some_and(|(returned, _)| returned < calls[earlier].called);
            assert!(!precedes, "an operation stands before one that had returned");
        }
        let response = call.returned.as_ref().map(|(_, response)| response);
        state = Registers::step(&state, &call.operation, response).expect("every answer is explained");
    }
    state
}

fn answered(calls: &[Call<Registers>], key: u64) -> Vec<usize> {
    let is = |call: &Call<Registers>| call.operation.key == key && call.returned.is_some();
    (0..calls.len())
        .filter(|&position| is(&calls[position]))
        .collect()
}

/// Checks the orders of all keys; returns whether they need an operation that was never answered.
fn verify_witness(calls: &[Call<Registers>], orders: &BTreeMap<u64, Vec<usize>>) -> bool {
    let mut needs_unanswered = false;
    for key in 0..KEYS {
        let order = orders.get(&key).cloned().unwrap_or_default();
        follow(calls, key, &order);
        needs_unanswered |= order.iter().any(|&position| calls[position].returned.is_none());
        let mut placed = order;
        placed.retain(|&position| calls[position].returned.is_some());
        placed.sort_unstable();
        assert_eq!(placed, answered(calls, key), "all answered operations are placed");
    }
    needs_unanswered
}

fn verify_counter_example(calls: &[Call<Registers>], example: &CounterExample<u64>) {
    let state = follow(calls, example.key, &example.prefix);
    assert!(!example.unplaced.is_empty());
    for &position in &example.unplaced {
        assert!(!example.prefix.contains(&position));
        let (_, response) = calls[position].returned.as_ref().expect("it was answered");
        assert_eq!(
            Registers::step(&state, &calls[position].operation, Some(response)),
            None
        );
    }
}

/// I16: both say the same of 10,000 random histories, and ours gives reasons that hold.
#[test]
fn agrees_with_stateright() {
    let (mut linearizable, mut not, mut with_unanswered) = (0, 0, 0);
    let mut random = Random::fork(1, "histories");
    for number in 0..HISTORIES {
        let events = random_history(&mut random);
        let calls = calls_of(&events);
        let expected = stateright_says(&events);
        match check(&calls, STEPS_MAX) {
            Verdict::Linearizable(orders) => {
                assert!(
                    expected,
                    "history {number}: stateright finds no order of {calls:#?}"
                );
                with_unanswered += u64::from(verify_witness(&calls, &orders));
                linearizable += 1;
            }
            Verdict::NotLinearizable(example) => {
                assert!(
                    !expected,
                    "history {number}: stateright finds an order of {calls:#?}\n{example}"
                );
                verify_counter_example(&calls, &example);
                not += 1;
            }
            Verdict::Undecided { .. } => panic!("history {number} is short, and was given up"),
        }
    }
    let counts =
        format!("{linearizable} linearizable, {with_unanswered} by what was never answered, {not} not");
    assert!(
        linearizable >= 2_000 && not >= 2_000 && with_unanswered >= 500,
        "{counts}"
    );
}
