//! The words of a command: how nodes, entries and memberships are written.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_core::entry::{Entry, Payload};
use raft_core::membership::{Membership, MembershipParts};
use raft_core::types::{EntryId, Index, NodeId, Term};

/// A command line, cut into words: plain ones in order, and `key=value` ones by key.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) name: String,
    pub(crate) words: Vec<String>,
    pub(crate) values: BTreeMap<String, String>,
}

impl Arguments {
    /// Cuts a line at spaces that stand in no brackets and no quotes.
    pub(crate) fn parse(line: &str) -> Arguments {
        let mut words = cut(line).into_iter();
        let name = words.next().expect("a command has a name");
        let (mut plain, mut values) = (Vec::new(), BTreeMap::new());
        for word in words {
            match word.split_once('=') {
                Some((key, value)) if !key.contains(['"', '[']) => {
                    values.insert(key.to_owned(), value.to_owned());
                }
                _ => plain.push(word),
            }
        }
        Arguments {
            name,
            words: plain,
            values,
        }
    }

    /// The word at `position`.
    pub(crate) fn word(&self, position: usize) -> &str {
        self.words
            .get(position)
            .unwrap_or_else(|| panic!("`{}` needs more words: it has {:?}", self.name, self.words))
    }

    /// The node at `position`.
    pub(crate) fn node(&self, position: usize) -> NodeId {
        NodeId(number(self.word(position)))
    }

    /// The number at `position`, or `default` if there is no such word.
    pub(crate) fn count(&self, position: usize, default: u64) -> u64 {
        self.words.get(position).map_or(default, |word| number(word))
    }

    /// The value of `key`.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The number that is the value of `key`, or `default`.
    pub(crate) fn number(&self, key: &str, default: u64) -> u64 {
        self.value(key).map_or(default, number)
    }

    /// Both ends of a link: `1->2`.
    pub(crate) fn link(&self, position: usize) -> (NodeId, NodeId) {
        link(self.word(position))
            .unwrap_or_else(|| panic!("`{}` is not a link like 1->2", self.word(position)))
    }
}

/// A number.
pub(crate) fn number(word: &str) -> u64 {
    word.parse()
        .unwrap_or_else(|_| panic!("`{word}` is not a number"))
}

/// `1->2`.
pub(crate) fn link(word: &str) -> Option<(NodeId, NodeId)> {
    let (from, to) = word.split_once("->")?;
    Some((NodeId(number(from)), NodeId(number(to))))
}

/// `4@2`.
pub(crate) fn entry_id(word: &str) -> EntryId {
    let (index, term) = word
        .split_once('@')
        .unwrap_or_else(|| panic!("`{word}` is not index@term"));
    EntryId::new(Term(number(term)), Index(number(index)))
}

/// `{1,2,3}`, joint `{1,2,3}&{3,4,5}`, with learners `{1,2}+3,4`; who becomes a learner after `>`.
pub(crate) fn membership(word: &str) -> Membership {
    let (word, learners_next) = word.split_once('>').unwrap_or((word, ""));
    let (voters, learners) = word.split_once('+').unwrap_or((word, ""));
    let (incoming, outgoing) = voters.split_once('&').unwrap_or((voters, ""));
    let list = |part: &str| -> Vec<NodeId> {
        let part = part.trim_matches(['{', '}']);
        part.split(',')
            .filter(|id| !id.is_empty())
            .map(|id| NodeId(number(id)))
            .collect()
    };
    Membership::from_parts(MembershipParts {
        voters: list(incoming),
        outgoing: list(outgoing),
        learners: list(learners),
        learners_next: list(learners_next),
        ..MembershipParts::default()
    })
    .expect("a membership of a scenario is valid")
}

/// What an entry holds: `"text"`, `noop`, `{1,2,3}`, or nothing for the text `c<index>`.
pub(crate) fn payload(word: &str, index: Index) -> Payload {
    if word == "noop" {
        Payload::Noop
    } else if word.starts_with('{') {
        Payload::Membership(membership(word))
    } else if word.is_empty() {
        Payload::Command(Bytes::from(format!("c{index}")))
    } else {
        Payload::Command(Bytes::from(word.trim_matches('"').to_owned()))
    }
}

/// Bytes of a proposal: the word itself, or `100*x` for a hundred times x.
pub(crate) fn command(word: &str) -> Bytes {
    match word.split_once('*') {
        Some((count, text)) if count.parse::<usize>().is_ok() => {
            Bytes::from(text.repeat(usize::try_from(number(count)).expect("a test's command is short")))
        }
        _ => Bytes::from(word.trim_matches('"').to_owned()),
    }
}

/// A log as the list of its terms: `[1 1 2{1,2,3} 3noop]`; entry i has index i.
pub(crate) fn log(word: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (position, item) in list(word).iter().enumerate() {
        let digits = item.find(|c: char| !c.is_ascii_digit()).unwrap_or(item.len());
        let id = EntryId::new(Term(number(&item[..digits])), Index(position as u64 + 1));
        entries.push(Entry {
            id,
            payload: payload(&item[digits..], id.index),
        });
    }
    entries
}

/// Entries of a message: `[3@2 4@3"x" 5@3{1,2,3}]`. One without a payload is what `known` says, if it was seen before.
pub(crate) fn entries(word: &str, known: impl Fn(EntryId) -> Option<Payload>) -> Vec<Entry> {
    list(word)
        .iter()
        .map(|item| {
            let at = item
                .find('@')
                .unwrap_or_else(|| panic!("`{item}` is not index@term"));
            let digits = item[at + 1..].find(|c: char| !c.is_ascii_digit());
            let end = digits.map_or(item.len(), |digits| at + 1 + digits);
            let id = entry_id(&item[..end]);
            let given = payload(&item[end..], id.index);
            let payload = if end == item.len() {
                known(id).unwrap_or(given)
            } else {
                given
            };
            Entry { id, payload }
        })
        .collect()
}

fn list(word: &str) -> Vec<String> {
    let inner = word.strip_prefix('[').and_then(|word| word.strip_suffix(']'));
    cut(inner.unwrap_or_else(|| panic!("`{word}` is not a list in brackets")))
}

fn cut(line: &str) -> Vec<String> {
    let (mut words, mut word, mut depth, mut quoted) = (Vec::new(), String::new(), 0, false);
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if character == ' ' && depth == 0 && !quoted {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(character);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
