//! Processes that die, fail and collide. The test binary starts itself again as the other process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use raft_core::traits::{GroupWrite, LogStore, LogStoreError};
use raft_core::types::{EntryId, GroupId, Index};
use raft_storage_engine::{EngineLogStore, OpenError};

use crate::support::*;

const DIR: &str = "RAFT_STORAGE_TEST_DIR";
const SEED: &str = "RAFT_STORAGE_TEST_SEED";

/// This test again, in another process, as the one that writes.
fn again(test: &str, wrapper: &[&str], dir: &Path, seed: u64) -> Child {
    let myself = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(&myself),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&myself);
            command
        }
    };
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]);
    command.env(DIR, dir).env(SEED, seed.to_string());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// One line to the other process, unbuffered. "intent" comes before a write, "acked" after it.
fn say(line: &str) {
    std::io::stdout()
        .write_all(format!("@{line}\n").as_bytes())
        .unwrap();
}

/// The first group from 1,000 on that was not destroyed.
async fn never_destroyed(store: &impl LogStore) -> GroupId {
    let mut group = 1_000;
    while let Err(LogStoreError::Destroyed(_)) = store.load(GroupId(group)).await {
        group += 1;
    }
    GroupId(group)
}

/// Writes for ever: batches for three groups, now and then a truncation that ends higher than the log did, a vote, a
/// purge, a fourth group that comes and goes.
async fn write_until_killed(dir: &Path, seed: u64) {
    let store = open_with_small_files(dir);
    let mut numbers = Numbers(seed);
    let mut last = BTreeMap::new();
    let mut term = 1;
    for group in 1..=3 {
        let recovered = store.load(GroupId(group)).await.unwrap();
        term = term.max(recovered.hard_state.term.0);
        last.insert(group, (recovered.purged.index.0, recovered.last_index.0));
    }
    loop {
        let mut batch: Vec<GroupWrite> = Vec::new();
        let new_term = numbers.below(3) == 0;
        term += u64::from(new_term);
        let (mut intent, mut acked) = (String::from("intent"), format!("acked {term}"));
        for (&group, (purged, last)) in &mut last {
            let back = if new_term {
                numbers.below(4).min(*last - *purged)
            } else {
                0
            };
            let first = *last + 1 - back;
            *last += 1 + numbers.below(6);
            intent += &format!(" {group} {first} {last} {term}");
            acked += &format!(" {group} {first} {last} {term}");
            batch.push(GroupWrite {
                hard_state: vote(GroupId(group), term, Some(group)).hard_state,
                ..append(GroupId(group), commands(term, first..=*last))
            });
        }
        say(&intent);
        store.write(batch).await.unwrap();
        say(&acked);
        if numbers.below(8) == 0 {
            let short_lived = never_destroyed(&store).await;
            store
                .write(vec![append(short_lived, commands(term, 1..=3))])
                .await
                .unwrap();
            store.write(vec![vote(short_lived, term, Some(1))]).await.unwrap();
            store.destroy(short_lived).await.unwrap();
        }
        if numbers.below(30) == 0 {
            let (purged, last) = last.get_mut(&2).unwrap();
            let through = (*last).saturating_sub(20).max(*purged);
            let stored = store.read(GroupId(2), Index(through), Index(through), 1).await;
            if let Ok(stored) = stored {
                store.compact(GroupId(2), stored[0].id).await.unwrap();
                *purged = through;
            }
        }
    }
}

/// What the killed process said about one group.
#[derive(Default)]
struct Told {
    /// The term of each acknowledged entry.
    acked: BTreeMap<u64, u64>,
    /// The write that was not acknowledged: first, last, term.
    intent: Option<(u64, u64, u64)>,
}

/// R11: whatever was acknowledged before a SIGKILL is there afterwards, round after round on one directory.
#[test]
fn kill_nine_loses_nothing_acknowledged() {
    const ROUNDS: u64 = 15;
    if let Ok(dir) = std::env::var(DIR) {
        let seed = std::env::var(SEED).unwrap().parse().unwrap();
        return block_on(write_until_killed(Path::new(&dir), seed));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut numbers = Numbers(u64::from(std::process::id()));
    println!("seed {}", numbers.0);
    let mut told: BTreeMap<u64, Told> = (1..=3).map(|group| (group, Told::default())).collect();
    let mut acked_term = 0;
    for round in 0..ROUNDS {
        let mut child = again(
            "process::kill_nine_loses_nothing_acknowledged",
            &[],
            dir.path(),
            numbers.below(u64::MAX),
        );
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let kill_after = 1 + numbers.below(150);
        let mut acks = 0;
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 0 {
            acks += listen(&line, &mut told, &mut acked_term);
            line.clear();
            if acks == kill_after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(
            acks >= kill_after,
            "round {round}: the writer ended by itself after {acks} writes"
        );
        block_on(check(dir.path(), &mut told, acked_term));
    }
}

/// Takes in one line; whether it was an acknowledgement.
fn listen(line: &str, told: &mut BTreeMap<u64, Told>, acked_term: &mut u64) -> u64 {
    // The last line of a killed process may be cut.
    let Some(said) = line.strip_prefix('@').and_then(|line| line.strip_suffix('\n')) else {
        return 0;
    };
    let mut words = said.split(' ');
    let acked = words.next() == Some("acked");
    if acked {
        *acked_term = words.next().unwrap().parse().unwrap();
    }
    let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
    for write in numbers.chunks_exact(4) {
        let told = told.get_mut(&write[0]).unwrap();
        let (first, last, term) = (write[1], write[2], write[3]);
        if acked {
            told.intent = None;
            told.acked.retain(|index, _| *index < first);
            told.acked.extend((first..=last).map(|index| (index, term)));
        } else {
            told.intent = Some((first, last, term));
        }
    }
    u64::from(acked)
}

/// Opens the store and compares it with what was said; then takes what is there as said.
async fn check(dir: &Path, told: &mut BTreeMap<u64, Told>, acked_term: u64) {
    let store = open_with_small_files(dir);
    for (&group, told) in told {
        let recovered = store.load(GroupId(group)).await.unwrap();
        assert!(
            recovered.hard_state.term.0 >= acked_term,
            "group {group} lost a term"
        );
        let (first, last) = (recovered.purged.index.0 + 1, recovered.last_index.0);
        let acked_last = told.acked.last_key_value().map_or(0, |(index, _)| *index);
        assert!(
            last >= acked_last,
            "group {group} ends at {last}, acknowledged was {acked_last}"
        );
        let stored = read(&store, GroupId(group), first, last).await;
        for entry in &stored {
            let EntryId { term, index } = entry.id;
            assert_eq!(*entry, command(term.0, index.0), "group {group}");
            let acked = told.acked.get(&index.0) == Some(&term.0);
            let intended = told
                .intent
                .is_some_and(|(first, last, of)| (first..=last).contains(&index.0) && term.0 == of);
            assert!(
                acked || intended,
                "group {group}: nobody wrote entry {}",
                entry.id
            );
        }
        told.intent = None;
        told.acked = stored
            .iter()
            .map(|entry| (entry.index().0, entry.term().0))
            .collect();
    }
}

/// R60: after the first failed write nothing is written any more; the next start has everything acknowledged.
/// A limit on the size of files makes the operating system refuse a write in the middle of a log.
#[test]
fn a_failed_write_stops_the_store_for_good() {
    const TEST: &str = "process::a_failed_write_stops_the_store_for_good";
    if let Ok(dir) = std::env::var(DIR) {
        return block_on(write_until_refused(Path::new(&dir)));
    }
    let dir = tempfile::tempdir().unwrap();
    // 1 MiB; without the signal, writes beyond it fail with an error.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\""];
    let mut child = again(TEST, &limited, dir.path(), 0);
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    let acked = said.lines().filter(|line| line.starts_with("@acked ")).count() as u64;
    assert!(acked > 10, "{said}");
    assert!(said.contains("@refused "), "{said}");
    assert!(
        said.contains("restart the process"),
        "the message names the remedy: {said}"
    );
    let store = open(dir.path());
    let last = block_on(store.load(G)).unwrap().last_index;
    assert!(last >= Index(acked), "acknowledged {acked}, recovered {last}");
    assert!(
        last <= Index(acked + 1),
        "what was written after the failure is there"
    );
    block_on(write(&store, vote(G, 9, None)));
}

async fn write_until_refused(dir: &Path) {
    let store = open(dir);
    for index in 1.. {
        let mut entry = command(1, index);
        entry.payload = raft_core::entry::Payload::Command(vec![0x5a; 10_000].into());
        match store.write(vec![append(G, vec![entry])]).await {
            Ok(()) => say(&format!("acked {index}")),
            Err(LogStoreError::Io(cause)) => {
                say(&format!("refused {cause}"));
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
    for _ in 0..3 {
        let later = store.write(vec![vote(G, 5, None)]).await;
        assert!(matches!(later, Err(LogStoreError::Failed)), "{later:?}");
    }
    let compaction = store.compact(G, id(1, 1)).await;
    assert!(matches!(compaction, Err(LogStoreError::Failed)), "{compaction:?}");
    assert_eq!(
        read(&store, G, 1, 1).await.len(),
        1,
        "what is durable can still be read"
    );
}

#[test]
fn another_process_cannot_open_the_directory() {
    const TEST: &str = "process::another_process_cannot_open_the_directory";
    if let Ok(dir) = std::env::var(DIR) {
        let error = EngineLogStore::open_default(dir).unwrap_err();
        assert!(matches!(error, OpenError::Locked { .. }), "{error}");
        say(&format!("refused {error}"));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut child = again(TEST, &[], dir.path(), 0);
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert!(
        said.contains("another process has this data directory open; stop it"),
        "{said}"
    );
    drop(store);
}
