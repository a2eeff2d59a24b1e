//! What clients are told, and how their calls end.

use std::time::Duration;

use bytes::Bytes;
use raft_core::driver::Outcome;
use raft_core::request::{RefusalReason, TransferResult};
use raft_core::sessions::Reply;
use raft_core::types::{GroupId, Index, Sequence, SessionId, Ticket};

use super::{Waiting, Who, World};
use crate::node::{Job, ReplicaId};
use crate::observation::{CallId, Ending, Observation};
use crate::violation::Violation;
use crate::workload::{self, Exchange, Request};

impl World<'_> {
    /// A node answers a request.
    pub(in crate::world) fn resolved(
        &mut self,
        at: ReplicaId,
        ticket: Ticket,
        outcome: Outcome,
    ) -> Result<(), Violation> {
        let ReplicaId { group, node } = at;
        let waiting = self.groups.get_mut(group).clients.waiting.remove(&ticket);
        let Some(waiting) = waiting else {
            return Err(self.broken(
                group,
                "R45",
                &format!("node {node} answered ticket {ticket} once more: {outcome:?}"),
            ));
        };
        match waiting.who {
            Who::Call { client, call } => self.call_resolved(at, ticket, client, call, outcome),
            Who::Session { client } => {
                if let Outcome::Applied { index, .. } = outcome {
                    let one = self.client_mut(group, client);
                    if one.session.is_none() {
                        (one.session, one.sequence) = (Some(SessionId(index.0)), Sequence::FIRST);
                        self.plan_turn(group, client, Duration::from_millis(1));
                    }
                }
                Ok(())
            }
            Who::Operator => self.operator_resolved(at, outcome),
        }
    }

    fn operator_resolved(&mut self, at: ReplicaId, outcome: Outcome) -> Result<(), Violation> {
        let ReplicaId { group, node } = at;
        match outcome {
            Outcome::MembershipChanged { index, membership } => {
                let seen = Observation::ChangeCompleted {
                    node,
                    index,
                    membership: &membership,
                };
                self.observe(group, &seen)?;
                self.clear_away(group, &membership);
                Ok(())
            }
            Outcome::Transferred(TransferResult::Done { leader, term }) => {
                self.observe(group, &Observation::TransferDone { leader, term })
            }
            _ => Ok(()),
        }
    }

    fn call_resolved(
        &mut self,
        at: ReplicaId,
        ticket: Ticket,
        client: usize,
        id: CallId,
        outcome: Outcome,
    ) -> Result<(), Violation> {
        let group = at.group;
        let machines = self.machines.len() as u64;
        let one = self.client_mut(group, client);
        let uses_session = one.uses_session;
        let Some(call) = one.call.as_mut().filter(|call| call.id == id) else {
            // The call is over.
            return Ok(());
        };
        match outcome {
            Outcome::Applied { index, response } => {
                self.end_call(group, client, id, Ending::Applied(Reply { index, response }))
            }
            Outcome::ReadReady { index } => match &call.request {
                Request::Read(question) => {
                    let question = question.clone();
                    let waiting = Waiting {
                        node: at.node,
                        since: self.now,
                        who: Who::Call { client, call: id },
                    };
                    self.read_served(at, ticket, waiting, id, index)?;
                    self.add_job(at, Job::Ask { ticket, question });
                    Ok(())
                }
                Request::Write(_) => Err(self.broken(
                    group,
                    "R45",
                    &format!("{id:?} is a command, and was answered as a read"),
                )),
            },
            Outcome::Refused(
                RefusalReason::SessionExpired(_)
                | RefusalReason::SequenceAcknowledged { .. }
                | RefusalReason::SessionWindowFull { .. },
            ) => {
                one.session = None;
                self.end_call(group, client, id, Ending::Unknown)
            }
            Outcome::Refused(reason) => {
                if let RefusalReason::NotLeader { leader: Some(leader) } = reason
                    && (1..=machines).contains(&leader.0)
                {
                    one.node = leader;
                }
                // Another attempt may be under way; only one attempt ever is outside of sessions.
                call.may_be_applied = uses_session;
                self.plan_turn(group, client, Duration::from_millis(60));
                Ok(())
            }
            Outcome::Unknown if uses_session || call.request.is_read() => {
                self.plan_turn(group, client, Duration::from_millis(30));
                Ok(())
            }
            Outcome::Unknown => self.end_call(group, client, id, Ending::Unknown),
            other => Err(self.broken(group, "R45", &format!("{other:?} is no answer to {id:?}"))),
        }
    }

    /// A node may answer a read from what it has applied up to `index`; whoever asked waits on.
    fn read_served(
        &mut self,
        at: ReplicaId,
        ticket: Ticket,
        waiting: Waiting,
        call: CallId,
        index: Index,
    ) -> Result<(), Violation> {
        let node = at.node;
        self.observe(at.group, &Observation::ReadServed { call, node, index })?;
        let clients = &mut self.groups.get_mut(at.group).clients;
        clients.waiting.insert(ticket, waiting);
        Ok(())
    }

    /// A state machine answered a question.
    pub(in crate::world) fn answered(
        &mut self,
        at: ReplicaId,
        ticket: Ticket,
        answer: Option<Bytes>,
    ) -> Result<(), Violation> {
        let ReplicaId { group, node } = at;
        let waiting = self.groups.get_mut(group).clients.waiting.remove(&ticket);
        let Some(Waiting {
            who: Who::Call { client, call },
            ..
        }) = waiting
        else {
            return Err(self.broken(
                group,
                "R45",
                &format!("node {node} answered question {ticket} once more"),
            ));
        };
        let is_current = self
            .client_mut(group, client)
            .call
            .as_ref()
            .is_some_and(|one| one.id == call);
        match answer {
            Some(answer) if is_current => self.end_call(group, client, call, Ending::Answered(answer)),
            _ => Ok(()),
        }
    }

    pub(super) fn end_call(
        &mut self,
        group: GroupId,
        client: usize,
        id: CallId,
        ending: Ending,
    ) -> Result<(), Violation> {
        self.observe(
            group,
            &Observation::Returned {
                call: id,
                ending: &ending,
            },
        )?;
        let of = self.groups.get_mut(group);
        let returned = of.clients.moment(self.now);
        let one = &mut of.clients.clients[client];
        let Some(call) = one.call.take() else {
            return Ok(());
        };
        if !call.request.is_read() {
            one.sequence = one.sequence.next();
        }
        let outcome = match ending {
            Ending::Applied(Reply { response, .. }) | Ending::Answered(response) => {
                workload::Outcome::Answered { returned, response }
            }
            Ending::Refused => workload::Outcome::Refused,
            Ending::Unknown => workload::Outcome::Unknown,
        };
        let exchange = Exchange {
            client: of.clients.first + client as u64,
            request: call.request,
            called: call.called,
            outcome,
        };
        of.requests.ended(&exchange);
        of.clients.exchanges.push(exchange);
        self.plan_turn(group, client, Duration::from_millis(self.plan.settings.think_ms));
        Ok(())
    }
}
