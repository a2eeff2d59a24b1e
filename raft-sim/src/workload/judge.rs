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
/// Requests that were refused had no effect, so they are left out: if one had an effect after all, nothing explains it (I14). So
/// are reads without an answer.
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
