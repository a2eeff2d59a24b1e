//! The history of a run, judged by a model of the state machine.

use bytes::Bytes;

use super::contract::{Judgement, Violation};
use super::history::{Exchange, Outcome, Request};
use crate::linearizability::{Call, Model, Verdict, check};

/// After how many steps the search for one key is given up. A history that is linearizable takes a few steps for each
/// operation.
const STEPS_MAX: u64 = 1_000_000;

/// Judges a history whose model speaks of requests and responses as they are, in bytes.
pub fn linearizable<M>(history: &[Exchange]) -> Result<Judgement, Violation>
where
    M: Model<Operation = Request, Response = Bytes>,
{
    linearizable_as::<M>(
        history,
        |request| Some(request.clone()),
        |_, response| Some(response.clone()),
    )
}

/// Judges a history by a model, for which requests and responses are read by these functions. They give none for bytes that
/// make no sense, which is a violation.
///
/// Requests that were refused had no effect, so they are left out: if one had an effect after all, nothing explains it
/// (I14). So are reads without an answer.
pub fn linearizable_as<M: Model>(
    history: &[Exchange],
    operation: impl Fn(&Request) -> Option<M::Operation>,
    response: impl Fn(&Request, &Bytes) -> Option<M::Response>,
) -> Result<Judgement, Violation> {
    let mut calls = Vec::<Call<M>>::with_capacity(history.len());
    for exchange in history {
        let Exchange { client, request, .. } = exchange;
        let returned = match &exchange.outcome {
            Outcome::Refused => continue,
            Outcome::Unknown if request.is_read() => continue,
            Outcome::Unknown => None,
            Outcome::Answered {
                returned,
                response: bytes,
            } => {
                let response = response(request, bytes);
                let response = response.ok_or_else(|| {
                    Violation::new(format!(
                        "client {client} asked {request:?} and got {bytes:?}, which is no response to it"
                    ))
                })?;
                Some((*returned, response))
            }
        };
        let operation = operation(request).ok_or_else(|| {
            Violation::new(format!(
                "client {client} asked {request:?}, which its model does not know"
            ))
        })?;
        calls.push(Call {
            client: *client,
            operation,
            called: exchange.called,
            returned,
        });
    }
    match check(&calls, STEPS_MAX) {
        Verdict::Linearizable(_) => Ok(Judgement::Linearizable {
            operations: calls.len(),
        }),
        Verdict::NotLinearizable(example) => Err(Violation::new(example)),
        Verdict::Undecided { steps, .. } => Ok(Judgement::Undecided { steps }),
    }
}

#[cfg(test)]
mod tests {
    use raft_core::types::Time;

    use super::*;
    use crate::linearizability::Moment;
    use crate::workload::key_value::{Command, KeyValueModel, Operation, Response, Status, Versioned};

    fn moment(order: u64) -> Moment {
        Moment::new(Time::ZERO, order)
    }

    fn put() -> Command {
        let (key, value) = (Bytes::from("k"), Bytes::from("v"));
        Command::Put { key, value }
    }

    fn exchange(order: u64, request: Request, response: Option<Bytes>) -> Exchange {
        let returned = moment(order + 1);
        Exchange {
            client: 3,
            request,
            called: moment(order),
            outcome: response.map_or(Outcome::Unknown, |response| Outcome::Answered {
                returned,
                response,
            }),
        }
    }

    fn found(found: Versioned) -> Option<Bytes> {
        let status = Status::Done;
        Some(Response { status, found }.encode())
    }

    fn judge(history: &[Exchange]) -> Result<Judgement, Violation> {
        let response = |_: &Request, bytes: &Bytes| Response::decode(bytes.clone());
        linearizable_as::<KeyValueModel>(history, Operation::of, response)
    }

    #[test]
    fn bytes_that_make_no_sense_are_a_violation() {
        let answered = exchange(1, Request::read("k"), Some(Bytes::from("?")));
        let violation = judge(&[answered]).unwrap_err().to_string();
        assert!(violation.contains("which is no response to it"), "{violation}");
        let asked = exchange(1, Request::write("?"), None);
        let violation = judge(&[asked]).unwrap_err().to_string();
        assert!(violation.contains("which its model does not know"), "{violation}");
    }

    /// I14
    #[test]
    fn only_what_may_have_happened_explains_anything() {
        let empty = || exchange(5, Request::read("k"), found(Versioned::default()));
        let mut refused = exchange(1, Request::Write(put().encode()), None);
        refused.outcome = Outcome::Refused;
        let lost_read = exchange(2, Request::read("k"), None);
        let history = [refused.clone(), lost_read, empty()];
        assert_eq!(judge(&history), Ok(Judgement::Linearizable { operations: 1 }));
        let written = exchange(5, Request::read("k"), found(put().apply(&Versioned::default()).0));
        judge(&[refused, written.clone()]).unwrap_err();
        let unknown = exchange(1, Request::Write(put().encode()), None);
        assert_eq!(
            judge(&[unknown, written]),
            Ok(Judgement::Linearizable { operations: 2 })
        );
    }
}
