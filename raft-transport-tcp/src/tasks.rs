//! Every task of the carrier, so that its end can be waited for.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Every task of the carrier. They hold the sockets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(stop.run_until_cancelled_owned(task));
    }

    /// Gives them `goodbye_max` to tell the peers, then ends them.
    pub(crate) async fn end(&self, goodbye_max: Duration) {
        self.tasks.close();
        let ended = tokio::time::timeout(goodbye_max, self.tasks.wait()).await;
        self.stop.cancel();
        if ended.is_err() {
            self.tasks.wait().await;
        }
    }
}
