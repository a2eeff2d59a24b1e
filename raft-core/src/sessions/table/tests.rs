//! The table against a model that remembers everything, and its limits.

use super::*;
use crate::types::Term;

const SMALL: Limits = Limits {
    sessions_max: 3,
    window: 4,
    reply_bytes_max: 1_000,
    epoch_entries: 8,
};

fn table() -> SessionTable {
    SessionTable {
        limits: SMALL,
        ..SessionTable::default()
    }
}

/// A log of entries of sessions, and the table that it makes.
struct Log {
    table: SessionTable,
    term: u64,
    index: u64,
    elapsed_ms: u64,
}

impl Log {
    fn new() -> Log {
        Log {
            table: table(),
            term: 1,
            index: 0,
            elapsed_ms: 0,
        }
    }

    fn decide(&mut self, request: SessionRequest) -> Decision {
        self.index += 1;
        let id = EntryId::new(Term(self.term), Index(self.index));
        let elapsed_ms = self.elapsed_ms;
        self.table.decide(id, &SessionEntry { elapsed_ms, request })
    }

    fn open(&mut self, ttl_ms: u64) -> SessionId {
        let decision = self.decide(SessionRequest::Open { ttl_ms });
        assert_eq!(decision, Decision::answer(Index(self.index)));
        SessionId(self.index)
    }

    /// Applies a command whose response is `response`, or says why not.
    fn command(
        &mut self,
        session: SessionId,
        sequence: u64,
        acknowledged_below: u64,
        response: &Bytes,
    ) -> Result<Reply, RefusalReason> {
        let decision = self.decide(SessionRequest::Command(SessionCommand {
            session,
            sequence: Sequence(sequence),
            acknowledged_below: Sequence(acknowledged_below),
            command: response.clone(),
        }));
        let index = Index(self.index);
        match decision {
            Decision::Apply(session, sequence, command) => {
                self.table.record(session, sequence, index, &command);
                let response = command;
                Ok(Reply { index, response })
            }
            Decision::Answer(answer) => answer,
            Decision::SameAs(index) => panic!("everything before {index} is recorded"),
        }
    }
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// R73, I15: a command is applied once, and its copies get the identical reply, index included.
#[test]
fn a_duplicate_gets_the_identical_reply() {
    let mut log = Log::new();
    let session = log.open(1_000);
    let first = log.command(session, 1, 1, &text("one")).unwrap();
    assert_eq!(log.command(session, 2, 1, &text("two")).unwrap().response, "two");
    assert_eq!(log.command(session, 1, 1, &text("another")).unwrap(), first);
    assert_eq!(
        log.command(session, 3, 2, &text("three")).unwrap().response,
        "three"
    );
    let acknowledged_below = Sequence(2);
    assert_eq!(
        log.command(session, 1, 1, &text("one")),
        Err(RefusalReason::SequenceAcknowledged { acknowledged_below })
    );
    assert_eq!(
        log.command(SessionId(99), 1, 1, &text("one")),
        Err(RefusalReason::SessionExpired(SessionId(99)))
    );
}

/// R73: sequences arrive in any order, up to a window above what is acknowledged.
#[test]
fn a_window_bounds_what_is_kept() {
    let mut log = Log::new();
    let session = log.open(1_000);
    for sequence in [4, 2, 3] {
        assert!(log.command(session, sequence, 1, &text("x")).is_ok());
    }
    let full = Err(RefusalReason::SessionWindowFull { limit: Sequence(5) });
    assert_eq!(log.command(session, 5, 1, &text("x")), full);
    assert!(log.command(session, 1, 1, &text("x")).is_ok());
    assert!(
        log.command(session, 5, 2, &text("x")).is_ok(),
        "an acknowledgement makes room"
    );
    assert_eq!(log.table.sessions[&session].replies.len(), 4);
}

/// R73: a session expires by log time, which goes on where the leadership before ended, and never falls.
#[test]
fn log_time_expires_sessions() {
    let mut log = Log::new();
    log.elapsed_ms = 5_000;
    let (short, long) = (log.open(100), log.open(1_000));
    log.elapsed_ms = 5_100;
    assert!(
        log.command(short, 1, 1, &text("x")).is_ok(),
        "exactly its time to live"
    );
    // The next leader was elected a moment ago: its clock is younger, log time is not.
    (log.term, log.elapsed_ms) = (2, 0);
    assert!(log.command(short, 2, 1, &text("x")).is_ok());
    assert_eq!(log.table.log_time_ms, 5_100);
    log.elapsed_ms = 100;
    let kept = log.decide(SessionRequest::KeepAlive(short));
    assert_eq!(kept, Decision::answer(Index(log.index)));
    log.elapsed_ms = 200;
    assert!(log.command(short, 3, 1, &text("x")).is_ok(), "it was kept alive");
    log.elapsed_ms = 301;
    assert_eq!(
        log.command(short, 1, 1, &text("x")),
        Err(RefusalReason::SessionExpired(short))
    );
    assert_eq!(log.table.log_time_ms, 5_401);
    assert_eq!(
        log.decide(SessionRequest::KeepAlive(short)),
        Decision::Answer(Err(RefusalReason::SessionExpired(short)))
    );
    assert!(log.command(long, 1, 1, &text("x")).is_ok());
    log.decide(SessionRequest::Close(long));
    assert_eq!(
        log.table,
        SessionTable {
            dirty: log.table.dirty.clone(),
            ..emptied(&log.table)
        }
    );
}

/// A table at the same place in the log and in time, without a session.
fn emptied(table: &SessionTable) -> SessionTable {
    SessionTable {
        limits: table.limits,
        log_time_ms: table.log_time_ms,
        elected_at_ms: table.elected_at_ms,
        last: table.last,
        ..SessionTable::default()
    }
}

/// One session more than there may be ends the one that was not used for longest.
#[test]
fn the_least_recently_used_session_makes_room() {
    let mut log = Log::new();
    let sessions = [log.open(1_000), log.open(1_000), log.open(1_000)];
    log.command(sessions[0], 1, 1, &text("x")).unwrap();
    let new = log.open(1_000);
    let left: Vec<SessionId> = log.table.sessions.keys().copied().collect();
    assert_eq!(left, [sessions[0], sessions[2], new]);
}

/// Replies are limited where an epoch begins, at the cost of whoever keeps most.
#[test]
fn the_largest_session_makes_room_for_replies() {
    let mut log = Log::new();
    let (small, large) = (log.open(1_000), log.open(1_000));
    log.command(small, 1, 1, &text("x")).unwrap();
    log.command(large, 1, 1, &Bytes::from(vec![0; 2_000])).unwrap();
    log.command(small, 2, 1, &text("x")).unwrap();
    assert_eq!(log.table.len(), 2, "an epoch is 8 entries");
    while log.index < 7 {
        log.command(small, 1, 1, &text("x")).unwrap();
    }
    assert_eq!(log.table.len(), 2);
    log.command(small, 1, 1, &text("x")).unwrap();
    assert_eq!(log.table.sessions.keys().collect::<Vec<_>>(), [&small]);
}

/// The sessions, written down as plainly as can be: no reply is ever forgotten.
#[derive(Default)]
struct Model {
    sessions: BTreeMap<SessionId, ModelSession>,
}

#[derive(Default)]
struct ModelSession {
    ttl_ms: u64,
    used_ms: u64,
    used_at: u64,
    acknowledged_below: u64,
    replies: BTreeMap<u64, Reply>,
}

impl Model {
    fn at(
        &mut self,
        now_ms: u64,
        index: u64,
        request: &SessionRequest,
    ) -> Option<Result<Reply, RefusalReason>> {
        self.sessions
            .retain(|_, session| session.used_ms + session.ttl_ms >= now_ms);
        match request {
            SessionRequest::Open { ttl_ms } => {
                while self.sessions.len() >= SMALL.sessions_max {
                    let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used_at);
                    let oldest = *oldest.unwrap().0;
                    self.sessions.remove(&oldest);
                }
                let session = ModelSession {
                    ttl_ms: *ttl_ms,
                    used_ms: now_ms,
                    used_at: index,
                    acknowledged_below: 1,
                    ..ModelSession::default()
                };
                self.sessions.insert(SessionId(index), session);
                None
            }
            SessionRequest::KeepAlive(session) => {
                if let Some(session) = self.sessions.get_mut(session) {
                    (session.used_ms, session.used_at) = (now_ms, index);
                }
                None
            }
            SessionRequest::Close(session) => {
                self.sessions.remove(session);
                None
            }
            SessionRequest::Command(command) => Some(self.command(now_ms, index, command)),
        }
    }

    fn command(&mut self, now_ms: u64, index: u64, command: &SessionCommand) -> Result<Reply, RefusalReason> {
        let Some(session) = self.sessions.get_mut(&command.session) else {
            return Err(RefusalReason::SessionExpired(command.session));
        };
        (session.used_ms, session.used_at) = (now_ms, index);
        session.acknowledged_below = session.acknowledged_below.max(command.acknowledged_below.0);
        let acknowledged_below = Sequence(session.acknowledged_below);
        if command.sequence < acknowledged_below {
            return Err(RefusalReason::SequenceAcknowledged { acknowledged_below });
        }
        if let Some(reply) = session.replies.get(&command.sequence.0) {
            return Ok(reply.clone());
        }
        let limit = Sequence(session.acknowledged_below + SMALL.window);
        if command.sequence >= limit {
            return Err(RefusalReason::SessionWindowFull { limit });
        }
        let reply = Reply {
            index: Index(index),
            response: command.command.clone(),
        };
        session.replies.insert(command.sequence.0, reply.clone());
        Ok(reply)
    }
}

/// I15, against a model, over random logs with several leaders; now and then the table is stored and read back.
#[test]
fn agrees_with_a_model_that_forgets_nothing() {
    let mut applied = [0, 0];
    for seed in 0..200_u64 {
        let mut state = seed;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let (mut log, mut model) = (Log::new(), Model::default());
        let mut opened = vec![SessionId(1_000_000)];
        for step in 0..300 {
            if random(40) == 0 {
                (log.term, log.elapsed_ms) = (log.term + 1, 0);
            }
            log.elapsed_ms += random(20);
            let session = opened[opened.len() - 1 - random(opened.len().min(4) as u64) as usize];
            let request = match random(12) {
                0 => SessionRequest::Open {
                    ttl_ms: 150 + random(500),
                },
                1 => SessionRequest::Close(session),
                2 => SessionRequest::KeepAlive(session),
                _ => {
                    let acknowledged_below = 1 + random(1 + step / 60);
                    SessionRequest::Command(SessionCommand {
                        session,
                        sequence: Sequence((acknowledged_below + random(7)).saturating_sub(1)),
                        acknowledged_below: Sequence(acknowledged_below),
                        command: Bytes::from(step.to_string()),
                    })
                }
            };
            if matches!(request, SessionRequest::Open { .. }) {
                opened.push(SessionId(log.index + 1));
            }
            let found = match &request {
                SessionRequest::Command(command) => {
                    let (sequence, below) = (command.sequence.0, command.acknowledged_below.0);
                    Some(log.command(session, sequence, below, &command.command))
                }
                _ => {
                    log.decide(request.clone());
                    None
                }
            };
            let expected = model.at(log.table.log_time_ms, log.index, &request);
            assert_eq!(found, expected, "seed {seed}, entry {}: {request:?}", log.index);
            if let Some(result) = expected {
                applied[usize::from(result.is_ok())] += 1;
            }
            if random(30) == 0 {
                log.table = stored_and_read(&log.table);
            }
        }
    }
    assert!(
        applied.iter().all(|count| *count > 10_000),
        "too little happened: {applied:?}"
    );
}

/// The table after a restart; it is the same but for what was not stored yet.
fn stored_and_read(table: &SessionTable) -> SessionTable {
    let applied = EntryId::new(Term(7), Index(7));
    let header = table.snapshot_header(applied);
    let mut read = SessionTable::read_snapshot_header(&mut &header[..], applied).unwrap();
    read.limits = table.limits;
    let mut expected = table.clone();
    expected.dirty = Dirty::default();
    assert_eq!(read, expected);
    read
}

/// Records may be anything once a disk is damaged: what is not a table is refused, what is one can be worked with.
#[test]
fn damaged_records_never_panic() {
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let applied = EntryId::ZERO;
    let mut tables = 0;
    for _ in 0..20_000 {
        let mut bytes = |length: u64| -> Bytes {
            let byte = |_| if random(3) == 0 { 0xff } else { random(3) as u8 };
            (0..length).map(byte).collect()
        };
        let mut records = Vec::new();
        for (kind, key_bytes, value_bytes) in [(2, 8, 32), (2, 8, 32), (3, 16, 9), (3, 16, 7)] {
            let mut key = vec![kind];
            key.extend(bytes(key_bytes));
            records.push((Bytes::from(key), bytes(value_bytes)));
        }
        let session = SessionId(u64::from_be_bytes(records[0].0[1..].try_into().unwrap()));
        records[2].0 = [&[3], &records[0].0[1..], &[0; 8]].concat().into();
        records.truncate(random(5) as usize);
        let Ok(table) = SessionTable::from_records(records, applied) else {
            continue;
        };
        tables += 1;
        let mut log = Log { table, ..Log::new() };
        log.elapsed_ms = random(100);
        log.open(u64::MAX);
        for sequence in [0, 1, random(u64::MAX >> 33)] {
            drop(log.command(session, sequence, random(3), &text("x")));
        }
        drop(log.table.snapshot_header(applied));
    }
    assert!(tables > 5_000, "too few were tables: {tables}");
}
