//! How fast snapshots are moved: one budget of bytes per second for all transfers of a node, and one for what it saves itself.
//! Nothing else ever waits here: appends, votes and heartbeats know no pace.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::message::{SnapshotContent, SnapshotMeta};
use crate::traits::{SnapshotReader, SnapshotStoreError};

/// A chunk that comes so late, or less, was waited for: timers are late by a millisecond or two, and each would cost that of
/// the pace. Who comes later had nothing to send.
const LATE_MAX: Duration = Duration::from_millis(10);

/// A token bucket that holds one chunk: a chunk passes when those before it have used up their time.
///
/// Any `t` seconds see at most `(t + 0.01) × bytes_per_second` bytes and one chunk more, over all readers together.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// A larger chunk would keep some transfer waiting for more than a second, which its receiver could take for the end.
    chunk_bytes_max: usize,
    /// When the next chunk may pass.
    free_at: Mutex<Instant>,
}

impl Pace {
    /// The pace that the settings ask for; none if they set no limit.
    pub(super) fn new(bytes_per_second: Option<u64>, transfers_max: usize) -> Option<Arc<Pace>> {
        let bytes_per_second = bytes_per_second?.max(1);
        let share = bytes_per_second / transfers_max.max(1) as u64;
        Some(Arc::new(Pace {
            bytes_per_second,
            chunk_bytes_max: usize::try_from(share).unwrap_or(usize::MAX).max(1),
            free_at: Mutex::new(Instant::now()),
        }))
    }

    /// The largest piece that may pass at once.
    pub(super) fn chunk_bytes_max(&self) -> usize {
        self.chunk_bytes_max
    }

    /// Waits until `bytes` may pass. A caller that gives up while it waits has used its turn all the same.
    pub(super) async fn pass(&self, bytes: usize) {
        sleep_until(self.turn(bytes)).await;
    }

    fn turn(&self, bytes: usize) -> Instant {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        // An instant is a whole value, whoever panicked.
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let turn = if now.saturating_duration_since(*free_at) <= LATE_MAX {
            *free_at
        } else {
            now
        };
        *free_at = turn + takes;
        turn
    }
}

/// `content`, read no faster than `pace` allows.
pub(super) fn paced(pace: Option<&Arc<Pace>>, content: Box<dyn SnapshotReader>) -> Box<dyn SnapshotReader> {
    match pace {
        Some(pace) => Box::new(PacedReader {
            pace: pace.clone(),
            content,
        }),
        None => content,
    }
}

struct PacedReader {
    pace: Arc<Pace>,
    content: Box<dyn SnapshotReader>,
}

#[async_trait]
impl SnapshotReader for PacedReader {
    fn meta(&self) -> &SnapshotMeta {
        self.content.meta()
    }

    fn content(&self) -> SnapshotContent {
        self.content.content()
    }

    async fn seek(&mut self, offset: u64) -> Result<(), SnapshotStoreError> {
        self.content.seek(offset).await
    }

    async fn read_chunk(&mut self, bytes_max: usize) -> Result<Bytes, SnapshotStoreError> {
        let bytes_max = bytes_max.min(self.pace.chunk_bytes_max);
        let chunk = self.content.read_chunk(bytes_max).await?;
        // The end costs nothing, and must not wait for its turn either.
        if !chunk.is_empty() {
            self.pace.pass(chunk.len()).await;
        }
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    /// As many zeros as are left.
    struct Zeros {
        meta: SnapshotMeta,
        left: usize,
    }

    #[async_trait]
    impl SnapshotReader for Zeros {
        fn meta(&self) -> &SnapshotMeta {
            &self.meta
        }

        fn content(&self) -> SnapshotContent {
            SnapshotContent::of(&vec![0; self.left])
        }

        async fn seek(&mut self, offset: u64) -> Result<(), SnapshotStoreError> {
            self.left -= usize::try_from(offset).unwrap();
            Ok(())
        }

        async fn read_chunk(&mut self, bytes_max: usize) -> Result<Bytes, SnapshotStoreError> {
            let count = self.left.min(bytes_max);
            self.left -= count;
            Ok(Bytes::from(vec![0; count]))
        }
    }

    fn pace(bytes_per_second: u64, transfers_max: usize) -> Arc<Pace> {
        Pace::new(Some(bytes_per_second), transfers_max).unwrap()
    }

    fn zeros(pace: &Arc<Pace>, left: usize) -> Box<dyn SnapshotReader> {
        let meta = SnapshotMeta::default();
        paced(Some(pace), Box::new(Zeros { meta, left }))
    }

    /// Reads to the end; the sizes of the chunks.
    async fn drain(mut content: Box<dyn SnapshotReader>, bytes_max: usize) -> Vec<usize> {
        let mut sizes = Vec::new();
        loop {
            let chunk = content.read_chunk(bytes_max).await.unwrap();
            if chunk.is_empty() {
                return sizes;
            }
            sizes.push(chunk.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_passes_at_the_pace() {
        let pace = pace(1_000, 2);
        let began = Instant::now();
        assert_eq!(drain(zeros(&pace, 1_000), 100).await, [100; 10]);
        // The first chunk need not wait; the tenth waits for nine others.
        assert_eq!(began.elapsed().as_millis(), 900);
        // A timer that is late costs nothing of the pace.
        let began = Instant::now();
        for _ in 0..10 {
            pace.pass(100).await;
            tokio::time::advance(Duration::from_millis(2)).await;
        }
        assert_eq!(began.elapsed().as_millis(), 1_002);
        // Nothing was saved up by the time in which nothing was sent.
        tokio::time::advance(Duration::from_secs(60)).await;
        let began = Instant::now();
        drain(zeros(&pace, 1_000), 100).await;
        assert_eq!(began.elapsed().as_millis(), 900);
    }

    #[tokio::test(start_paused = true)]
    async fn all_transfers_share_the_budget() {
        let pace = pace(1_000, 2);
        let began = Instant::now();
        let one = drain(zeros(&pace, 1_000), 100);
        let other = drain(zeros(&pace, 1_000), 100);
        tokio::join!(one, other);
        assert_eq!(began.elapsed().as_millis(), 1_900);
    }

    /// R49: a receiver that hears nothing for long gives up, so chunks shrink before they wait longer than a second.
    #[tokio::test(start_paused = true)]
    async fn no_chunk_waits_for_long() {
        let pace = pace(1_000, 4);
        let mut content = zeros(&pace, 1_000);
        content.seek(500).await.unwrap();
        assert_eq!(drain(content, 1 << 20).await, [250, 250]);
        assert_eq!(drain(zeros(&pace, 100), 1 << 20).await, [100]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_blocks_nobody() {
        let pace = pace(1_000, 1);
        let hurried = timeout(Duration::from_millis(10), drain(zeros(&pace, 2_000), 1_000)).await;
        assert!(hurried.is_err(), "the second chunk has to wait");
        let began = Instant::now();
        drain(zeros(&pace, 100), 100).await;
        assert_eq!(began.elapsed().as_millis(), 1_990);
    }

    #[test]
    fn without_a_limit_nothing_is_wrapped() {
        assert!(Pace::new(None, 2).is_none());
    }
}
