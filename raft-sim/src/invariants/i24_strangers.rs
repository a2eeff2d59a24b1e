//! I24 Strangers: a message of another cluster changes nothing (R69; docs/decisions/0004 for forwarded requests). A message
//! of another version never gets as far as this: its frame is refused.
//!
//! The world delivers a message that names another group now and then, alone. The replica is copied before, the copy is given
//! the time and no message, and the two must agree: whatever else the step did is the passing of time.

use std::collections::BTreeSet;

use raft_core::effect::{Effect, RoleKind};
use raft_core::message::{Body, Message};
use raft_core::status::Status;
use raft_core::types::{NodeId, Ticket};

use super::Invariant;
use crate::observation::{Observation, View};

/// I24.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// A message of another group is being delivered.
    expected: Option<Expected>,
    /// Which requests reached whom in their own group.
    requests: BTreeSet<(NodeId, Ticket)>,
}

/// What a replica does and is if nothing but time passes.
#[derive(Debug)]
struct Expected {
    message: Message,
    after: Status,
    /// How many more messages it sends.
    messages: usize,
    /// How many more writes it begins.
    writes: usize,
    /// Whether it leads and gives up.
    gives_up: bool,
}

impl Invariant for Strangers {
    fn name(&self) -> &'static str {
        "I24"
    }

    fn statement(&self) -> &'static str {
        "messages of another cluster change nothing"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match *seen {
            Observation::Received { message } => {
                self.expected = expect(message, view);
                if let Body::ForwardRequest(request) = &message.body
                    && message.group == view.group
                {
                    self.requests.insert((message.to, request.ticket));
                }
                Ok(())
            }
            Observation::WriteBegun { node, .. } => {
                self.counted(node, "begins a write", |expected| &mut expected.writes)
            }
            Observation::Sent { message } if !self.is_of_the_driver(message) => {
                self.counted(message.from, "sends a message", |expected| &mut expected.messages)
            }
            Observation::Stepped { after, .. } => self.stepped(after),
            _ => Ok(()),
        }
    }
}

/// What the receiver of a stranger's message would do without it; none if it is no stranger's.
fn expect(message: &Message, view: &View<'_>) -> Option<Expected> {
    let node = view.nodes.get(message.to);
    if message.group == node.config.group {
        return None;
    }
    let mut copy = node.process.as_ref()?.driver.raft().clone();
    let mut effects = Vec::new();
    copy.step_all(view.machines.get(node.id()).clock.at(view.now), [], &mut effects);
    let count = |kind: fn(&Effect) -> bool| effects.iter().filter(|effect| kind(effect)).count();
    Some(Expected {
        message: message.clone(),
        after: copy.status(),
        messages: count(|effect| matches!(effect, Effect::Send(_))),
        writes: count(|effect| matches!(effect, Effect::Persist(_))),
        gives_up: node.status().is_some_and(leads) && !leads(&copy.status()),
    })
}

fn leads(status: &Status) -> bool {
    status.role == RoleKind::Leader
}

impl Strangers {
    /// As time passes, requests of clients are sent again, and a leader that gives up answers those that it served. The
    /// protocol does not know of them; but a stranger's request is not answered, unless it copies one that is answered now.
    fn is_of_the_driver(&self, message: &Message) -> bool {
        let ticket = match &message.body {
            Body::ForwardRequest(_) => return true,
            Body::ForwardResponse(response) => response.ticket,
            _ => return false,
        };
        let Some(expected) = &self.expected else {
            return true;
        };
        let is_asked =
            matches!(&expected.message.body, Body::ForwardRequest(request) if request.ticket == ticket);
        !is_asked || (expected.gives_up && self.requests.contains(&(message.from, ticket)))
    }

    fn counted(
        &mut self,
        node: NodeId,
        what: &str,
        counter: impl Fn(&mut Expected) -> &mut usize,
    ) -> Result<(), String> {
        let Some(expected) = self
            .expected
            .as_mut()
            .filter(|expected| expected.after.id == node)
        else {
            return Ok(());
        };
        let left = counter(expected);
        if let Some(fewer) = left.checked_sub(1) {
            *left = fewer;
            return Ok(());
        }
        Err(format!(
            "node {node} {what} because of a message of group {}: {:?}",
            expected.message.group, expected.message
        ))
    }

    fn stepped(&mut self, after: &Status) -> Result<(), String> {
        let Some(expected) = self.expected.take_if(|expected| expected.after.id == after.id) else {
            return Ok(());
        };
        if expected.after == *after {
            return Ok(());
        }
        Err(format!(
            "node {} heeds a message of group {}: {:?}; after it the node is {after:?}, and without it would be {:?}",
            after.id, expected.message.group, expected.message, expected.after
        ))
    }
}

#[cfg(test)]
mod tests {
    use raft_core::input::Input;
    use raft_core::message::{
        ForwardRequest, ForwardResponse, ForwardResult, RequestPreVoteResponse, RequestVote,
        RequestVoteResponse, VoteRefusal,
    };
    use raft_core::request::ClientRequest;
    use raft_core::types::{EntryId, GroupId, Term};
    use raft_core::wire::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, VERSION, WireError, encode_frame};

    use super::super::world_for_tests::{SmallWorld, assert_violated, message, write_of};
    use super::*;
    use crate::clock::Instant;

    /// Node 1 runs, and receives a vote request of another group.
    fn visited() -> (SmallWorld, Strangers, Status) {
        let (mut world, mut strangers) = (SmallWorld::new(3), Strangers::default());
        world.start(1);
        let request = RequestVote {
            last_log: EntryId::ZERO,
            leadership_transfer: true,
            incarnation: 0,
        };
        let mut stranger = message(2, 1, 9, Body::RequestVote(request));
        stranger.group = GroupId(77);
        let received = Observation::Received { message: &stranger };
        assert_eq!(world.show(&mut strangers, &received), Ok(()));
        let status = world.nodes.get(NodeId(1)).status().expect("it runs").clone();
        (world, strangers, status)
    }

    /// I24: a replica that takes no notice is as it was.
    #[test]
    fn a_stranger_that_is_heeded_is_found() {
        let (mut world, mut strangers, status) = visited();
        assert_eq!(world.step(&mut strangers, &status, &status), Ok(()));
        let (mut world, mut strangers, status) = visited();
        let mut after = status.clone();
        after.term = Term(9);
        assert_violated(
            world.step(&mut strangers, &status, &after),
            "node 1 heeds a message of group 77",
        );
    }

    /// I24: it neither answers nor writes.
    #[test]
    fn a_stranger_that_is_answered_is_found() {
        let (mut world, mut strangers, _) = visited();
        let response = RequestVoteResponse {
            refusal: Some(VoteRefusal::LaterTerm),
            incarnation: 0,
        };
        let answer = message(1, 2, 9, Body::RequestVoteResponse(response));
        let sent = world.show(&mut strangers, &Observation::Sent { message: &answer });
        assert_violated(sent, "node 1 sends a message because of a message of group 77");
        let (mut world, mut strangers, _) = visited();
        let written = world.write(&mut strangers, 1, RoleKind::Follower, &write_of(&[]));
        assert_violated(written, "node 1 begins a write because of a message of group 77");
    }

    fn request(ticket: u64) -> Body {
        Body::ForwardRequest(ForwardRequest {
            ticket: Ticket(ticket),
            request: ClientRequest::ReadIndex,
        })
    }

    fn answer(ticket: u64) -> Message {
        let result = ForwardResult::Unknown;
        let ticket = Ticket(ticket);
        message(1, 2, 1, Body::ForwardResponse(ForwardResponse { ticket, result }))
    }

    /// Node 1 leads, has a request of node 2, and is given those of strangers that repeat `ticket`, now or when it hears nobody any more.
    fn asked(ticket: u64, is_late: bool) -> Result<(), String> {
        let (mut world, mut strangers) = (SmallWorld::new(3), Strangers::default());
        world.start(1);
        world.drive(1, vec![Input::Campaign]);
        let (refusal, incarnation) = (None, 0);
        let would_vote = RequestPreVoteResponse {
            candidate_term: Term(1),
            refusal,
            incarnation,
        };
        let vote = RequestVoteResponse { refusal, incarnation };
        let would_vote = message(2, 1, 0, Body::RequestPreVoteResponse(would_vote));
        let vote = message(2, 1, 1, Body::RequestVoteResponse(vote));
        world.drive(1, vec![Input::Receive(would_vote)]);
        world.drive(1, vec![Input::Receive(vote)]);
        let status = world.nodes.get(NodeId(1)).status().expect("it runs").clone();
        assert_eq!(status.role, RoleKind::Leader, "{status:?}");
        let own = message(2, 1, 1, request(7));
        let received = Observation::Received { message: &own };
        assert_eq!(world.show(&mut strangers, &received), Ok(()));
        if is_late {
            world.now = Instant::from_millis(60_000);
        }
        let mut stranger = message(2, 1, 1, request(ticket));
        stranger.group = GroupId(77);
        let received = Observation::Received { message: &stranger };
        assert_eq!(world.show(&mut strangers, &received), Ok(()));
        world.show(
            &mut strangers,
            &Observation::Sent {
                message: &answer(ticket),
            },
        )
    }

    /// I24, R45: a leader that gives up answers what it was asked in its own group, whoever repeats that just then.
    #[test]
    fn a_leader_that_gives_up_answers_its_own() {
        assert_eq!(asked(7, true), Ok(()));
        for (ticket, is_late) in [(7, false), (8, true), (8, false)] {
            assert_violated(
                asked(ticket, is_late),
                "node 1 sends a message because of a message of group 77",
            );
        }
    }

    /// I24: a frame of another version is refused before anything of it is read.
    #[test]
    fn another_version_is_refused() {
        let mut frame = Vec::new();
        encode_frame(FrameKind::Messages, &mut frame, |body| body.extend([1, 2, 3]));
        let mut header: [u8; FRAME_HEADER_BYTES] = frame[..FRAME_HEADER_BYTES].try_into().expect("it is one");
        assert!(FrameHeader::decode(&header, 100).is_ok());
        header[0] = VERSION + 1;
        assert_eq!(
            FrameHeader::decode(&header, 100),
            Err(WireError::Version(VERSION + 1))
        );
    }
}
