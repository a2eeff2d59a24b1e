//! What operators do: change the members, hand leadership over, add a machine.

use raft_core::effect::Effect;
use raft_core::input::{ChangeRequest, Input};
use raft_core::membership::MemberChange;
use raft_core::request::{ChangePreview, TransferResult};
use raft_core::types::NodeId;

use super::arguments::{self, Arguments};
use super::commands;
use super::disk::Disk;
use super::node::Node;
use super::world::{Kind, World};

impl World {
    /// Runs a command if it is one of these.
    pub(crate) fn operation(&mut self, arguments: &Arguments) -> bool {
        match arguments.name.as_str() {
            "join" => self.join(arguments),
            "change" => self.change(arguments, false),
            "preview" => self.change(arguments, true),
            "transfer" => {
                let ((id, to), ticket) = (arguments.link(0), self.next_ticket());
                self.step(id, Input::TransferLeadership { ticket, to });
            }
            _ => return false,
        }
        true
    }

    /// `join 4 [key=value]`: a machine with an empty disk, which belongs to no group yet.
    fn join(&mut self, arguments: &Arguments) {
        let id = arguments.node(0);
        let config = commands::settings(id, arguments);
        self.nodes.insert(id, Node::new(config, Disk::default()));
        self.start(id);
    }

    /// `change 1 voter 4 learner 5 promote 5 demote 2 remove 3`: one change; `preview` only asks.
    fn change(&mut self, arguments: &Arguments, dry_run: bool) {
        let changes = arguments.words[1..].chunks(2).map(|pair| {
            let [kind, id] = pair else {
                panic!("`{pair:?}` is not a kind of change and a node");
            };
            member_change(kind, NodeId(arguments::number(id)))
        });
        let changes = changes.collect();
        let ticket = self.next_ticket();
        let request = ChangeRequest {
            ticket,
            changes,
            dry_run,
        };
        self.step(arguments.node(0), Input::ChangeMembership(request));
    }

    /// Shows an effect that answers an operation.
    pub(crate) fn operation_effect(&mut self, id: NodeId, effect: Effect) {
        match effect {
            Effect::MembershipChanged(membership) => {
                self.say(Kind::Always, format!("n{id} counts with {membership}"));
            }
            Effect::ChangeCommitted {
                ticket,
                index,
                membership,
            } => self.say(
                Kind::Always,
                format!("n{id} answers request {ticket}: {membership} is committed at {index}"),
            ),
            Effect::Previewed { ticket, preview } => {
                self.say(
                    Kind::Always,
                    format!("n{id} answers request {ticket}: {}", plan(&preview)),
                );
            }
            Effect::TransferEnded { ticket, result } => {
                let text = match result {
                    TransferResult::Done { leader, term } => format!("n{leader} leads term {term}"),
                    TransferResult::Aborted(reason) => format!("not transferred: {reason}"),
                };
                self.say(Kind::Always, format!("n{id} answers request {ticket}: {text}"));
            }
            Effect::Suspected(reason) => {
                let text = format!("n{id} neither votes nor counts until it has caught up: {reason}");
                self.say(Kind::Always, text);
            }
            Effect::TrustRestored => self.say(Kind::Always, format!("n{id} votes and counts again")),
            Effect::Unresolved { ticket } => self.say(
                Kind::Always,
                format!("n{id} answers request {ticket}: it may or may not take place"),
            ),
            other => panic!("{other:?} answers no operation"),
        }
    }
}

fn member_change(kind: &str, id: NodeId) -> MemberChange {
    match kind {
        "voter" => MemberChange::AddVoter { id, contact: None },
        "learner" => MemberChange::AddLearner { id, contact: None },
        "promote" => MemberChange::Promote(id),
        "demote" => MemberChange::Demote(id),
        "remove" => MemberChange::Remove(id),
        other => panic!("`{other}` is none of voter, learner, promote, demote, remove"),
    }
}

fn plan(preview: &ChangePreview) -> String {
    let plan = &preview.plan;
    let way = plan
        .joint
        .as_ref()
        .map_or(String::new(), |joint| format!("{joint} → "));
    let verdict = match &preview.refusal {
        None => "it would be taken".to_owned(),
        Some(reason) => format!("it would be refused: {reason}"),
    };
    format!(
        "{} → {way}{}, quorum {}, survives {} failures, reachable: {}; {verdict}",
        plan.current,
        plan.target,
        plan.quorum(),
        plan.failures_survived(),
        preview.quorum_is_reachable()
    )
}
