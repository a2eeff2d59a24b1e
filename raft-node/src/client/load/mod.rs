//! Writes unique keys from many clients at once and accounts for every one of them.
//!
//! Every key is written until it is acknowledged, through all endpoints in turn: a key is unique and its value is
//! always the same, so writing it twice changes nothing. A key counts as
//! - acknowledged when a node answered that it is written;
//! - failed when every attempt was refused, or never left this process: it is not in the store;
//! - unknown when an attempt was sent and its outcome was lost: it may be in the store.
//!
//! The generator shares its machine with what it measures, so it speaks HTTP/2 without layers in between and runs on
//! one thread.

mod connection;
mod keys;
mod pool;
mod put;
mod recorder;
pub mod report;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::keys::Keys;
use self::pool::Pool;
use self::recorder::Recorder;
use self::report::LoadReport;
use super::acked_file::AckedWriter;
use super::endpoints::{self, EndpointUrl};
use super::error::ClientError;
use crate::proto::etcdserverpb::StatusRequest;
use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;

/// How many clients share one connection: more make its task the bottleneck, fewer make smaller packets.
const CLIENTS_PER_CONNECTION: usize = 64;
/// How long a first answer of the cluster is waited for.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What to write.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The nodes to write through.
    pub endpoints: Vec<EndpointUrl>,
    /// When to stop by itself.
    pub until: Until,
    /// How many clients write at once.
    pub clients: usize,
    /// How long every value is, in bytes.
    pub value_bytes: usize,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// Where to note every acknowledged key and its value.
    pub acked: Option<PathBuf>,
}

/// When a load is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After so many keys.
    Keys(u64),
    /// After so much time.
    Elapsed(Duration),
}

/// What the clients of one load share.
struct Shared {
    keys: Keys,
    pool: Pool,
    recorder: Recorder,
    acked: Option<AckedWriter>,
    attempt_timeout: Duration,
    stop: watch::Sender<Option<Instant>>,
}

impl Shared {
    /// Ends the load: no new keys, and what is in flight gets one more attempt's time.
    fn stop(&self) {
        self.stop.send_if_modified(|stopped| {
            let is_first = stopped.is_none();
            stopped.get_or_insert_with(Instant::now);
            is_first
        });
    }

    fn stopped_at(&self) -> Option<Instant> {
        *self.stop.borrow()
    }
}

/// Runs the load until it is done or `interrupted` resolves; calls `progress` every second with the counts so far:
/// acknowledged in all, and acknowledged in this second.
pub async fn run(
    options: LoadOptions,
    interrupted: impl Future<Output = ()>,
    mut progress: impl FnMut(u64, u64),
) -> Result<LoadReport, ClientError> {
    let nodes = endpoints::open(&options.endpoints)?;
    endpoints::first_answer(&nodes, FIRST_ANSWER_TIMEOUT, |channel| async move {
        MaintenanceClient::new(channel).status(StatusRequest {}).await
    })
    .await?;
    let connections = options
        .clients
        .div_ceil(CLIENTS_PER_CONNECTION * options.endpoints.len().max(1));
    let shared = Arc::new(Shared {
        keys: Keys::new(options.value_bytes, options.until),
        pool: Pool::new(&options.endpoints, connections)?,
        recorder: Recorder::new(),
        acked: options.acked.as_deref().map(AckedWriter::append).transpose()?,
        attempt_timeout: options.attempt_timeout,
        stop: watch::channel(None).0,
    });
    let started = Instant::now();
    let mut clients: JoinSet<()> = (0..options.clients)
        .map(|client| worker::write_keys(Arc::clone(&shared), client))
        .collect();
    let end = async {
        match options.until {
            Until::Elapsed(duration) => tokio::time::sleep(duration).await,
            Until::Keys(_) => std::future::pending().await,
        }
    };
    tokio::pin!(end, interrupted);
    let mut every_second = interval(Duration::from_secs(1));
    every_second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every_second.tick().await;
    let mut seen = 0;
    loop {
        tokio::select! {
            joined = clients.join_next() => {
                if joined.is_none() {
                    break;
                }
            }
            () = &mut end, if shared.stopped_at().is_none() => shared.stop(),
            () = &mut interrupted, if shared.stopped_at().is_none() => shared.stop(),
            _ = every_second.tick() => {
                let acknowledged = shared.recorder.acknowledged();
                progress(acknowledged, acknowledged - seen);
                seen = acknowledged;
            }
        }
    }
    finish(&shared, started)
}

fn finish(shared: &Arc<Shared>, started: Instant) -> Result<LoadReport, ClientError> {
    let ended = shared.stopped_at().unwrap_or_else(Instant::now);
    let report = shared.recorder.report(started, ended);
    if let Some(acked) = &shared.acked {
        acked.finish()?;
    }
    Ok(report)
}
