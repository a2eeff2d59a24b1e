//! `raft-node log export`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use raft_core::entry::{Entry, Payload, SessionRequest};
use raft_core::types::{GroupId, Index};
use raft_core::wire;
use raft_kv::Command;
use serde::Serialize;

use super::describe::{Found, configuration};
use super::{DataArguments, LogError, StoppedNode, exit_code, text};
use crate::cli::error::CliError;
use crate::cli::output;
use crate::client::membership::Configuration;
use crate::config::node_config::GROUP;

/// Write entries of the log to a file or standard output
///
/// json: one object per line with index, term and kind: noop, command, membership, session_open, session_keep_alive,
/// session_close or session_command. A put has put with key, value and what else it was given; a deletion has delete_range
/// with key and range_end; key, value and range_end are text, or key_base64 and so on if they are none. Any other command has
/// payload_base64. A membership has membership, a session has session. Whether an entry is committed, the log does not
/// say: `raft-node log inspect` shows the commit index that was stored last.
///
/// hex: one line per entry: index, term, kind and payload in hexadecimal, separated by spaces.
///
/// raw: for each entry index (8 bytes), term (8), kind (1), length (4), payload; integers little-endian. Kinds are 0 for noop,
/// 1 command, 2 membership, 3 session; the payload is what the log stores.
///
/// Entries that cannot be read are left out and reported on standard error; the exit code is 4 then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node log export --data /var/lib/raft-node/n1
  raft-node log export --data /var/lib/raft-node/n1 --from 1000 --to 1999 --out entries.jsonl
  raft-node log export --data /var/lib/raft-node/n1 --group 1 --format hex")]
pub(super) struct ExportArguments {
    #[command(flatten)]
    data: DataArguments,

    /// The group
    #[arg(long, value_name = "N", default_value_t = GROUP.0)]
    group: u64,

    /// The first index; the first one that is there if not given
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,

    /// The last index; the last one that is there if not given
    #[arg(long, value_name = "INDEX")]
    to: Option<u64>,

    /// A new file to write to, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// The form of the output
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// JSON lines, commands of the key-value store decoded
    Json,
    /// Lines of text, payloads in hexadecimal
    Hex,
    /// Bytes
    Raw,
}

/// Runs the command.
pub(super) fn run(arguments: &ExportArguments) -> Result<ExitCode, CliError> {
    let mut node = StoppedNode::open(&arguments.data.path)?;
    if let Some(path) = &arguments.out {
        check_outside(path, node.directory.path())?;
    }
    let range = Index(arguments.from.unwrap_or(0))..=Index(arguments.to.unwrap_or(u64::MAX));
    let mut sink = Sink::new(arguments.out.as_deref());
    let mut failure = None;
    let mut take = |entry: Entry| {
        let written = sink
            .open()
            .and_then(|out| write_entry(&entry, arguments.format, out));
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    let group = GroupId(arguments.group);
    let read = node.inspector.entries(group, range, &mut take);
    let mut findings = read.map_err(LogError::from)?;
    let written = failure.map_or(Ok(()), Err).and_then(|()| sink.finish());
    match (written, &arguments.out) {
        (Ok(()), _) => {}
        // A reader that went away, such as `head`, is not an error.
        (Err(error), None) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        (Err(error), None) => return Err(CliError::Output(error)),
        (Err(source), Some(path)) => {
            return Err(LogError::Output {
                path: path.clone(),
                source,
            }
            .into());
        }
    }
    findings.splice(0..0, node.own_findings());
    for finding in &findings {
        output::complain(&text::finding(&Found::from(finding)));
    }
    Ok(exit_code(&findings))
}

/// Refuses a file within the data directory, in which nothing is written.
fn check_outside(out: &Path, data: &Path) -> Result<(), LogError> {
    let failed = |source| LogError::Output {
        path: out.to_owned(),
        source,
    };
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = fs::canonicalize(parent.unwrap_or(Path::new("."))).map_err(failed)?;
    let data = fs::canonicalize(data).map_err(failed)?;
    if parent.starts_with(data) {
        return Err(LogError::OutputInside { path: out.to_owned() });
    }
    Ok(())
}

/// Where entries go. A file is made with the first one, so that a command that is refused leaves none.
struct Sink<'a> {
    path: Option<&'a Path>,
    out: Option<BufWriter<Box<dyn Write>>>,
}

impl Sink<'_> {
    fn new(path: Option<&Path>) -> Sink<'_> {
        Sink { path, out: None }
    }

    fn open(&mut self) -> io::Result<&mut dyn Write> {
        let out = match (self.out.take(), self.path) {
            (Some(out), _) => out,
            (None, Some(path)) => BufWriter::new(Box::new(File::create_new(path)?) as Box<dyn Write>),
            (None, None) => BufWriter::new(Box::new(io::stdout()) as Box<dyn Write>),
        };
        Ok(self.out.insert(out))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }
}

fn write_entry(entry: &Entry, format: Format, out: &mut dyn Write) -> io::Result<()> {
    if format == Format::Json {
        let line = serde_json::to_string(&Line::new(entry)).map_err(io::Error::other)?;
        return writeln!(out, "{line}");
    }
    let (index, term) = (entry.index().0, entry.term().0);
    let mut payload = Vec::new();
    wire::encode_payload(&entry.payload, &mut payload);
    if format == Format::Hex {
        write!(out, "{index} {term} {} ", kind(&entry.payload))?;
        for byte in payload {
            write!(out, "{byte:02x}")?;
        }
        return writeln!(out);
    }
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    out.write_all(&index.to_le_bytes())?;
    out.write_all(&term.to_le_bytes())?;
    out.write_all(&[wire::payload_kind(&entry.payload)])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&payload)
}

fn kind(payload: &Payload) -> &'static str {
    match payload {
        Payload::Noop => "noop",
        Payload::Command(_) => "command",
        Payload::Membership(_) => "membership",
        Payload::Session(entry) => match entry.request {
            SessionRequest::Open { .. } => "session_open",
            SessionRequest::KeepAlive(_) => "session_keep_alive",
            SessionRequest::Close(_) => "session_close",
            SessionRequest::Command(_) => "session_command",
        },
    }
}

/// One entry. What does not concern it is left out.
#[derive(Debug, Default, Serialize)]
struct Line {
    index: u64,
    term: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Session>,
    #[serde(skip_serializing_if = "Option::is_none")]
    put: Option<Put>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_range: Option<DeleteRange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<Configuration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// What an entry of a session says beside its command.
#[derive(Debug, Default, Serialize)]
struct Session {
    elapsed_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_below: Option<u64>,
}

/// A key is stored.
#[derive(Debug, Serialize)]
struct Put {
    #[serde(flatten)]
    key: Key,
    #[serde(flatten)]
    value: Value,
    #[serde(skip_serializing_if = "is_zero")]
    lease: i64,
    #[serde(skip_serializing_if = "is_false")]
    prev_kv: bool,
    #[serde(skip_serializing_if = "is_false")]
    ignore_value: bool,
    #[serde(skip_serializing_if = "is_false")]
    ignore_lease: bool,
}

/// Keys are deleted.
#[derive(Debug, Serialize)]
struct DeleteRange {
    #[serde(flatten)]
    key: Key,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    range_end: Option<RangeEnd>,
    #[serde(skip_serializing_if = "is_false")]
    prev_kv: bool,
}

/// Bytes that are text, or not.
macro_rules! bytes_field {
    ($name:ident, $text:literal, $base64:literal) => {
        #[derive(Debug, Serialize)]
        enum $name {
            #[serde(rename = $text)]
            Text(String),
            #[serde(rename = $base64)]
            Base64(String),
        }

        impl From<&[u8]> for $name {
            fn from(bytes: &[u8]) -> $name {
                match str::from_utf8(bytes) {
                    Ok(text) => $name::Text(text.to_owned()),
                    Err(_) => $name::Base64(STANDARD.encode(bytes)),
                }
            }
        }
    };
}

bytes_field!(Key, "key", "key_base64");
bytes_field!(Value, "value", "value_base64");
bytes_field!(RangeEnd, "range_end", "range_end_base64");

impl Line {
    fn new(entry: &Entry) -> Line {
        let mut line = Line {
            index: entry.index().0,
            term: entry.term().0,
            kind: kind(&entry.payload),
            ..Line::default()
        };
        match &entry.payload {
            Payload::Noop => {}
            Payload::Command(command) => line.command(command),
            Payload::Membership(membership) => line.membership = Some(configuration(membership)),
            Payload::Session(entry) => line.session(entry.elapsed_ms, &entry.request),
        }
        line
    }

    fn session(&mut self, elapsed_ms: u64, request: &SessionRequest) {
        let mut session = Session {
            elapsed_ms,
            ..Session::default()
        };
        match request {
            SessionRequest::Open { ttl_ms } => session.ttl_ms = Some(*ttl_ms),
            SessionRequest::KeepAlive(id) | SessionRequest::Close(id) => session.id = Some(id.0),
            SessionRequest::Command(command) => {
                session.id = Some(command.session.0);
                session.sequence = Some(command.sequence.0);
                session.acknowledged_below = Some(command.acknowledged_below.0);
                self.command(&command.command);
            }
        }
        self.session = Some(session);
    }

    fn command(&mut self, bytes: &[u8]) {
        match Command::decode(bytes) {
            Ok(Command::Put(put)) => {
                self.put = Some(Put {
                    key: Key::from(&*put.key),
                    value: Value::from(&*put.value),
                    lease: put.lease,
                    prev_kv: put.prev_kv,
                    ignore_value: put.ignore_value,
                    ignore_lease: put.ignore_lease,
                });
            }
            Ok(Command::DeleteRange(delete)) => {
                let range_end = Some(&delete.range_end).filter(|end| !end.is_empty());
                self.delete_range = Some(DeleteRange {
                    key: Key::from(&*delete.key),
                    range_end: range_end.map(|end| RangeEnd::from(&**end)),
                    prev_kv: delete.prev_kv,
                });
            }
            Ok(_) | Err(_) => self.payload_base64 = Some(STANDARD.encode(bytes)),
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use raft_core::entry::{SessionCommand, SessionEntry};
    use raft_core::membership::Membership;
    use raft_core::types::{EntryId, NodeId, Sequence, SessionId, Term};
    use raft_kv::{DeleteRangeRequest, PutRequest};

    use super::*;

    fn text(payload: Payload, format: Format) -> Vec<u8> {
        let mut out = Vec::new();
        let entry = Entry {
            id: EntryId::new(Term(2), Index(7)),
            payload,
        };
        write_entry(&entry, format, &mut out).unwrap();
        out
    }

    fn json(payload: Payload) -> String {
        String::from_utf8(text(payload, Format::Json)).unwrap()
    }

    fn put(key: &'static [u8], value: &'static [u8]) -> Bytes {
        let put = PutRequest {
            key: Bytes::from_static(key),
            value: Bytes::from_static(value),
            ..PutRequest::default()
        };
        Command::Put(put).encode()
    }

    #[test]
    fn commands_are_decoded_and_everything_else_named() {
        let command = |bytes: &Bytes| json(Payload::Command(bytes.clone()));
        assert_eq!(
            command(&put(b"a", b"1")),
            "{\"index\":7,\"term\":2,\"kind\":\"command\",\"put\":{\"key\":\"a\",\"value\":\"1\"}}\n"
        );
        assert!(
            command(&put(b"\xff", b"\xfe\xff")).contains(r#"{"key_base64":"/w==","value_base64":"/v8="}"#)
        );
        let delete = Command::DeleteRange(DeleteRangeRequest {
            key: Bytes::from_static(b"a"),
            range_end: Bytes::from_static(b"b"),
            prev_kv: true,
        });
        let deleted = command(&delete.encode());
        assert!(
            deleted.contains(r#""delete_range":{"key":"a","range_end":"b","prev_kv":true}"#),
            "{deleted}"
        );
        let other = command(&Bytes::from_static(b"\x09?"));
        assert!(
            other.contains(r#""kind":"command","payload_base64":"CT8=""#),
            "{other}"
        );
        assert!(json(Payload::Noop).contains(r#""kind":"noop"}"#));
        let members = Membership::of_voters([NodeId(1), NodeId(2)]).unwrap();
        let members = json(Payload::Membership(members));
        assert!(members.contains(r#""membership":{"voters":[1,2]"#), "{members}");
    }

    #[test]
    fn a_session_shows_its_command() {
        let request = SessionRequest::Command(SessionCommand {
            session: SessionId(5),
            sequence: Sequence(3),
            acknowledged_below: Sequence(2),
            command: put(b"a", b"1"),
        });
        let entry = Arc::new(SessionEntry {
            elapsed_ms: 40,
            request,
        });
        let line = json(Payload::Session(entry));
        assert!(
            line.contains(
                r#""kind":"session_command","session":{"elapsed_ms":40,"id":5,"sequence":3,"acknowledged_below":2},"put":{"#
            ),
            "{line}"
        );
    }

    #[test]
    fn hex_and_raw_hold_the_payload_as_it_is_stored() {
        let payload = || Payload::Command(Bytes::from_static(b"\x01\xab"));
        assert_eq!(text(payload(), Format::Hex), b"7 2 command 01ab\n");
        let raw = text(payload(), Format::Raw);
        let expected = [
            &7_u64.to_le_bytes()[..],
            &2_u64.to_le_bytes(),
            &[1],
            &2_u32.to_le_bytes(),
            b"\x01\xab",
        ];
        assert_eq!(raw, expected.concat());
    }
}
