//! When the certificates in use expire, and when somebody has to hear of it.

use std::path::{Path, PathBuf};

use time::{Duration, OffsetDateTime};

use super::description::Description;
use super::error::CertificateError;

/// From how many days on it is an error that nobody renewed a certificate.
const URGENT_DAYS: u32 = 3;
/// After how long the same is said again.
const REMINDER: Duration = Duration::days(1);

/// When one file's certificates expire: the first of them counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The file.
    pub file: PathBuf,
    /// When.
    pub not_after: OffsetDateTime,
    /// Whether that one is an authority.
    pub is_authority: bool,
}

impl Expiry {
    /// Reads `file`.
    pub fn read(file: &Path) -> Result<Expiry, CertificateError> {
        let all = Description::read_all(file)?;
        let mut first = &all[0];
        for certificate in &all[1..] {
            if certificate.not_after < first.not_after {
                first = certificate;
            }
        }
        Ok(Expiry {
            file: file.to_owned(),
            not_after: first.not_after,
            is_authority: first.is_authority,
        })
    }

    /// What to do about it.
    fn remedy(&self) -> String {
        if self.is_authority {
            "replace the authority: raft-node cert rotate-ca --help".to_owned()
        } else {
            format!("renew it: raft-node cert renew {}", self.file.display())
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// There is time to renew it.
    Warning,
    /// There is hardly any time left, or none.
    Error,
}

/// Something to say about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How bad it is.
    pub severity: Severity,
    /// The text, with the remedy.
    pub text: String,
}

/// Says once a day, and whenever it gets worse, which certificates expire soon.
#[derive(Debug)]
pub struct ExpiryReminder {
    warn_days: u32,
    said: Vec<(Expiry, Severity, OffsetDateTime)>,
}

impl ExpiryReminder {
    /// Says it from `warn_days` days before.
    #[must_use]
    pub fn new(warn_days: u32) -> ExpiryReminder {
        ExpiryReminder {
            warn_days,
            said: Vec::new(),
        }
    }

    /// What has to be said at `now` about `expiries`, all that there are.
    pub fn due(&mut self, expiries: &[Expiry], now: OffsetDateTime) -> Vec<Notice> {
        // A certificate that was replaced has its own time.
        self.said.retain(|(expiry, ..)| expiries.contains(expiry));
        let mut notices = Vec::new();
        for expiry in expiries {
            let Some(severity) = self.severity(expiry, now) else {
                continue;
            };
            let said = self.said.iter_mut().find(|(known, ..)| known == expiry);
            match said {
                Some((_, worst, last)) if *worst >= severity && now - *last < REMINDER => continue,
                Some((_, worst, last)) => (*worst, *last) = (severity, now),
                None => self.said.push((expiry.clone(), severity, now)),
            }
            notices.push(Notice {
                severity,
                text: text(expiry, now),
            });
        }
        notices
    }

    fn severity(&self, expiry: &Expiry, now: OffsetDateTime) -> Option<Severity> {
        let left = expiry.not_after - now;
        let within = |days: u32| left <= Duration::days(i64::from(days));
        if within(URGENT_DAYS.min(self.warn_days)) {
            Some(Severity::Error)
        } else {
            within(self.warn_days).then_some(Severity::Warning)
        }
    }
}

fn text(expiry: &Expiry, now: OffsetDateTime) -> String {
    let what = if expiry.is_authority {
        "an authority"
    } else {
        "the certificate"
    };
    let left = expiry.not_after - now;
    let date = expiry.not_after.date();
    let when = if left <= Duration::ZERO {
        format!("expired on {date}")
    } else if left < Duration::days(1) {
        format!("expires on {date}, in {} hours", left.whole_hours())
    } else {
        format!("expires on {date}, in {} days", left.whole_days())
    };
    format!("{what} in {} {when}; {}", expiry.file.display(), expiry.remedy())
}

#[cfg(test)]
mod tests {
    use super::super::authority::Authority;
    use super::super::rotation;
    use super::*;

    fn expiry(not_after: OffsetDateTime) -> Expiry {
        Expiry {
            file: PathBuf::from("pki/n1.pem"),
            not_after,
            is_authority: false,
        }
    }

    #[test]
    fn it_is_said_daily_and_when_it_gets_worse() {
        let end = OffsetDateTime::from_unix_timestamp(2_000_000_000).unwrap();
        let mut reminder = ExpiryReminder::new(30);
        let at = |hours: i64| end - Duration::hours(hours);
        let mut said = |hours| {
            let notices = reminder.due(&[expiry(end)], at(hours));
            notices.into_iter().map(|notice| notice.severity).next()
        };
        assert_eq!(said(31 * 24), None);
        assert_eq!(said(30 * 24), Some(Severity::Warning));
        assert_eq!(said(30 * 24 - 1), None);
        assert_eq!(said(29 * 24), Some(Severity::Warning));
        assert_eq!(said(3 * 24 + 1), Some(Severity::Warning));
        assert_eq!(said(3 * 24), Some(Severity::Error), "it got worse within a day");
        assert_eq!(said(3 * 24 - 1), None);
        assert_eq!(said(-1), Some(Severity::Error));
        assert_eq!(said(-2), None);
    }

    #[test]
    fn a_new_certificate_begins_anew_and_the_text_names_the_remedy() {
        let end = OffsetDateTime::from_unix_timestamp(2_000_000_000).unwrap();
        let mut reminder = ExpiryReminder::new(30);
        let notices = reminder.due(&[expiry(end)], end - Duration::days(5));
        assert!(
            notices[0].text.contains("in 5 days") && notices[0].text.ends_with("renew pki/n1.pem"),
            "{notices:?}"
        );
        let next = end + Duration::hours(1);
        let notices = reminder.due(&[expiry(next)], end - Duration::days(5));
        assert_eq!(notices.len(), 1, "not the one that was spoken of");
        let notices = reminder.due(&[expiry(next)], next);
        assert!(notices[0].text.contains("expired on"), "{notices:?}");
        let mut silent = ExpiryReminder::new(0);
        assert!(silent.due(&[expiry(end)], end - Duration::hours(1)).is_empty());
        assert_eq!(silent.due(&[expiry(end)], end).len(), 1);
    }

    #[test]
    fn of_two_authorities_the_one_counts_that_expires_first() {
        let directory = tempfile::tempdir().unwrap();
        let former = Authority::open_or_make(directory.path(), &"demo".parse().unwrap()).unwrap();
        rotation::add(directory.path()).unwrap();
        let found = Expiry::read(former.certificate()).unwrap();
        assert_eq!((found.not_after, found.is_authority), (former.not_after(), true));
    }
}
