//! Histories of the built-in service: long ones are judged in few steps, and found wrong when one thing in them is.

use bytes::Bytes;
use raft_core::entry::Entry;
use raft_core::traits::StateMachine;
use raft_core::types::{Index, Term, Time};
use raft_sim::linearizability::{Call, Model, Verdict, check};
use raft_sim::random::Random;
use raft_sim::workload::{
    Command, Exchange, Judgement, KeyValue, KeyValueModel, KeyValueWorkload, Moment, Operation, Outcome,
    Request, Response, Status, Versioned, Workload,
};

const CLIENTS: u64 = 10;
const HOT_KEY: &str = "hot-0";

/// What the service does wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A write is acknowledged and not applied.
    LostWrite,
    /// A write is applied twice.
    DoubleWrite,
    /// A read shows what was there long ago.
    StaleRead,
    /// A write is refused and applied.
    RefusedWrite,
}

/// What the service answers.
enum Answer {
    Response(Bytes),
    Refused,
}

/// One copy of the service, and what it is about to do wrong.
struct Service {
    state: KeyValue,
    index: u64,
    fault: Option<Fault>,
    /// The first answer to a read of the hot key.
    first_read: Option<Bytes>,
}

impl Service {
    fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Read(key) => self.read(key),
            Request::Write(bytes) => self.write(bytes),
        }
    }

    fn read(&mut self, key: &Bytes) -> Answer {
        let response = self.state.query(key).expect("a query never fails");
        if key != HOT_KEY {
            return Answer::Response(response);
        }
        let first = self.first_read.get_or_insert_with(|| response.clone());
        let is_stale = |fault: &mut Fault| *fault == Fault::StaleRead && *first != response;
        match self.fault.take_if(is_stale) {
            Some(_) => Answer::Response(first.clone()),
            None => Answer::Response(response),
        }
    }

    fn write(&mut self, bytes: &Bytes) -> Answer {
        let command = Command::decode(bytes.clone()).expect("the workload encoded it");
        // The second application of a compare-and-set would change nothing.
        let may_fail = command.key() == HOT_KEY && !matches!(command, Command::CompareAndSet { .. });
        match self.fault.take_if(|fault| may_fail && *fault != Fault::StaleRead) {
            Some(Fault::LostWrite) => {
                let (status, found) = (Status::Done, self.state.get(command.key()));
                return Answer::Response(Response { status, found }.encode());
            }
            Some(Fault::DoubleWrite) => {
                let response = self.apply(bytes);
                self.apply(bytes);
                return Answer::Response(response);
            }
            Some(Fault::RefusedWrite) => {
                self.apply(bytes);
                return Answer::Refused;
            }
            Some(Fault::StaleRead) | None => {}
        }
        Answer::Response(self.apply(bytes))
    }

    fn apply(&mut self, command: &Bytes) -> Bytes {
        self.index += 1;
        let entry = Entry::command(Term(1), Index(self.index), command.clone());
        let responses = self.state.apply(&[entry]).expect("it is in memory");
        responses.into_iter().next().expect("one response for one entry")
    }
}

/// A request on its way.
struct Flight {
    exchange: usize,
    /// Whether its client gave up.
    forgotten: bool,
    answer: Option<Answer>,
}

/// Clients that ask one copy of the service, over a network that loses and delays.
struct World {
    random: Random,
    service: Service,
    workload: KeyValueWorkload,
    draws: Random,
    exchanges: Vec<Exchange>,
    flights: Vec<Flight>,
    free: Vec<u64>,
    now: Moment,
    /// During an outage nobody gets an answer, and everything is answered later.
    outage: bool,
    /// The exchange that went wrong.
    faulty: Option<usize>,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            random: Random::fork(seed, "world"),
            service: Service {
                state: KeyValue::new(),
                index: 0,
                fault: None,
                first_read: None,
            },
            workload: KeyValueWorkload::new(),
            draws: Random::fork(seed, "workload"),
            exchanges: Vec::new(),
            flights: Vec::new(),
            free: (0..CLIENTS).collect(),
            now: Moment::new(Time::ZERO, 0),
            outage: false,
            faulty: None,
        }
    }

    /// The history of so many requests; after a third of them something goes wrong, if it shall.
    fn run(mut self, requests: usize, fault: Option<Fault>) -> World {
        while self.exchanges.len() < requests || self.flights.iter().any(|flight| !flight.forgotten) {
            self.now.order += 1;
            self.now.time = Time::from_millis(self.now.order / 3);
            if self.exchanges.len() < requests && self.random.percent(50) {
                self.call();
                if self.exchanges.len() == requests / 3 && self.faulty.is_none() {
                    self.service.fault = fault;
                }
            } else if !self.flights.is_empty() {
                let chosen = self.random.position(self.flights.len());
                self.go_on(chosen);
            }
            if self.random.per_million(if self.outage { 5_000 } else { 1_000 }) {
                self.outage = !self.outage;
            }
        }
        self
    }

    fn call(&mut self) {
        let place = self.random.position(self.free.len());
        if self.free.is_empty() {
            return;
        }
        let client = self.free.swap_remove(place);
        self.flights.push(Flight {
            exchange: self.exchanges.len(),
            forgotten: false,
            answer: None,
        });
        self.exchanges.push(Exchange {
            client,
            request: self.workload.next(client, &mut self.draws),
            called: self.now,
            outcome: Outcome::Unknown,
        });
    }

    fn go_on(&mut self, chosen: usize) {
        let flight = &mut self.flights[chosen];
        let exchange = &mut self.exchanges[flight.exchange];
        if !flight.forgotten && self.random.percent(if self.outage { 20 } else { 4 }) {
            flight.forgotten = true;
            self.free.push(exchange.client);
        } else if self.outage {
            // It waits.
        } else if flight.answer.is_some() {
            let flight = self.flights.swap_remove(chosen);
            if !flight.forgotten {
                exchange.outcome = match flight.answer {
                    Some(Answer::Response(response)) => Outcome::Answered {
                        returned: self.now,
                        response,
                    },
                    Some(Answer::Refused) | None => Outcome::Refused,
                };
                self.free.push(exchange.client);
                self.workload.ended(exchange);
            }
        } else if !flight.forgotten || self.random.percent(20) {
            let had_fault = self.service.fault.is_some();
            flight.answer = Some(self.service.answer(&exchange.request));
            if had_fault && self.service.fault.is_none() {
                self.faulty = Some(flight.exchange);
            }
        } else if self.random.percent(5) {
            self.flights.swap_remove(chosen);
        }
    }

    /// Whether something went wrong, and a client was told.
    fn shows_fault(&self) -> bool {
        let told = |exchange: usize| self.exchanges[exchange].outcome != Outcome::Unknown;
        self.faulty.is_some_and(told)
    }
}

fn calls_of<M>(history: &[Exchange]) -> Vec<Call<M>>
where
    M: Model<Operation = Operation, Response = Response>,
{
    let call = |exchange: &Exchange| {
        let returned = match &exchange.outcome {
            Outcome::Refused => return None,
            Outcome::Unknown => None,
            Outcome::Answered { returned, response } => {
                Some((*returned, Response::decode(response.clone())?))
            }
        };
        Some(Call {
            client: exchange.client,
            operation: Operation::of(&exchange.request)?,
            called: exchange.called,
            returned,
        })
    };
    history.iter().filter_map(call).collect()
}

/// I16: a history of 5,000 operations, of which some hundred have no answer, takes a few steps for each.
#[test]
fn a_long_history_takes_few_steps() {
    for seed in 0..10 {
        let history = World::new(seed).run(5_000, None).exchanges;
        let is_unknown = |exchange: &&Exchange| exchange.outcome == Outcome::Unknown;
        let unknown = history.iter().filter(is_unknown).count();
        assert!(unknown > 300, "seed {seed}: {unknown} requests without an answer");
        let verdict = check(&calls_of::<KeyValueModel>(&history), 20 * history.len() as u64);
        assert!(
            matches!(verdict, Verdict::Linearizable(_)),
            "seed {seed}: {verdict:?}"
        );
        let judgement = KeyValueWorkload::new().check(&history);
        assert!(
            matches!(judgement, Ok(Judgement::Linearizable { .. })),
            "seed {seed}: {judgement:?}"
        );
    }
}

/// In each of many runs one thing goes wrong: if a client was told, the run is found wrong, else not.
fn is_found(fault: Fault) {
    let mut shown = 0;
    for seed in 0..30 {
        let world = World::new(seed).run(1_500, Some(fault));
        let judgement = KeyValueWorkload::new().check(&world.exchanges);
        if world.shows_fault() {
            shown += 1;
            let violation = judgement.expect_err("a client was told").to_string();
            assert!(violation.contains(HOT_KEY), "seed {seed}: {violation}");
        } else if world.faulty.is_none() {
            assert!(judgement.is_ok(), "seed {seed}: {judgement:?}");
        }
    }
    assert!(shown >= 10, "{fault:?} shows in {shown} histories only");
}

/// I13
#[test]
fn a_lost_write_is_found() {
    is_found(Fault::LostWrite);
}

/// I15
#[test]
fn a_write_that_was_applied_twice_is_found() {
    is_found(Fault::DoubleWrite);
}

/// I16
#[test]
fn a_stale_read_is_found() {
    is_found(Fault::StaleRead);
}

/// I14
#[test]
fn a_refused_write_that_shows_is_found() {
    is_found(Fault::RefusedWrite);
}

/// The model without its hint.
struct WithoutHint;

impl Model for WithoutHint {
    type Key = Bytes;
    type State = Versioned;
    type Operation = Operation;
    type Response = Response;

    fn key(operation: &Operation) -> Bytes {
        KeyValueModel::key(operation)
    }

    fn initial(key: &Bytes) -> Versioned {
        KeyValueModel::initial(key)
    }

    fn step(state: &Versioned, operation: &Operation, response: Option<&Response>) -> Option<Versioned> {
        KeyValueModel::step(state, operation, response)
    }
}

/// I16: the hint makes the search shorter, and changes no answer.
#[test]
fn the_hint_changes_no_answer() {
    let (mut linearizable, mut not, mut undecided) = (0, 0, 0);
    let faults = [
        Fault::LostWrite,
        Fault::DoubleWrite,
        Fault::StaleRead,
        Fault::RefusedWrite,
    ];
    for seed in 0..2_000 {
        let fault = faults[seed as usize % faults.len()];
        let history = World::new(seed).run(40, Some(fault)).exchanges;
        let with = check(&calls_of::<KeyValueModel>(&history), 20_000);
        let without = check(&calls_of::<WithoutHint>(&history), 20_000);
        match (with, without) {
            (Verdict::Linearizable(_), Verdict::Linearizable(_)) => linearizable += 1,
            (Verdict::NotLinearizable(with), Verdict::NotLinearizable(without)) => {
                assert_eq!(with.key, without.key);
                not += 1;
            }
            (Verdict::Linearizable(_) | Verdict::NotLinearizable(_), Verdict::Undecided { .. }) => {
                undecided += 1
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    let counts = format!("{linearizable} linearizable, {not} not, {undecided} undecided without the hint");
    assert!(linearizable > 400 && not > 400 && undecided < 100, "{counts}");
}
