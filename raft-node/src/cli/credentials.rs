//! The certificates of a running node: read again on SIGHUP and when their files change, and reminded of before they expire.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::signals::Hangups;
use crate::certificates::expiry::{ExpiryReminder, Severity};
use crate::certificates::figures::CertificateFigures;
use crate::certificates::watched::{ReloadFn, WatchedCertificates};

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The files of one port, and what takes them into use.
pub(super) type Watched = (WatchedCertificates, ReloadFn);

/// Keeps `watched` current until it is dropped.
pub(super) async fn keep_current(
    mut watched: Vec<Watched>,
    mut hangups: Hangups,
    figures: Arc<CertificateFigures>,
    warn_days: u32,
) {
    for (certificates, _) in &watched {
        certificates.note_expiries(&figures);
    }
    let mut reminder = ExpiryReminder::new(warn_days);
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for notice in reminder.due(&figures.expiries(), OffsetDateTime::now_utc()) {
            match notice.severity {
                Severity::Warning => tracing::warn!("{}", notice.text),
                Severity::Error => tracing::error!("{}", notice.text),
            }
        }
        let asked = tokio::select! {
            _ = looks.tick() => false,
            () = hangups.next() => true,
        };
        let figures = figures.clone();
        // Reading a file may take as long as the disk likes.
        let looked = spawn_blocking(move || {
            for (certificates, reload) in &mut watched {
                certificates.check(asked, &figures, &**reload);
            }
            watched
        });
        match looked.await {
            Ok(again) => watched = again,
            Err(error) => {
                tracing::error!("certificates are no longer read again: {error}; restart the node");
                return future::pending().await;
            }
        }
    }
}
