//! What the environment asks for. See the crate's documentation for the variables.

use crate::sys;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The process is killed; what it wrote is in the kernel's cache.
    Kill,
    /// The machine loses power.
    Power,
}

/// When the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crash {
    pub(crate) death: Death,
    /// The number of the call, counted from 1.
    pub(crate) at: u64,
    pub(crate) seed: u64,
}

/// Which calls a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Writes of data.
    Write,
    /// Syncs of files and directories.
    Sync,
    /// Everything else that changes something.
    Other,
}

/// What a call does in the place of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misbehaviour {
    /// It fails with this number.
    Error(i32),
    /// It writes a part, and says so.
    Short,
    /// It takes so many milliseconds.
    Delay(u64),
}

/// The `nth` call of its kind, counted from 1, misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) nth: u64,
    pub(crate) what: Misbehaviour,
}

/// What the environment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) root: String,
    pub(crate) hidden: String,
    pub(crate) crash: Option<Crash>,
    pub(crate) faults: Vec<Fault>,
    /// Syncs say that they are done, and do nothing.
    pub(crate) lying_syncs: bool,
}

impl Settings {
    /// `None` if nothing is to be watched; an error if the variables make no sense.
    pub(crate) fn read() -> Result<Option<Settings>, String> {
        let Some(root) = sys::variable("POWER_LOSS_ROOT") else {
            return Ok(None);
        };
        let hidden = sys::variable("POWER_LOSS_HIDDEN").ok_or("POWER_LOSS_HIDDEN is not set")?;
        let crash = sys::variable("POWER_LOSS_CRASH").unwrap_or_default();
        let faults = sys::variable("POWER_LOSS_FAULTS").unwrap_or_default();
        Ok(Some(Settings {
            root,
            hidden,
            crash: parse_crash(&crash)?,
            faults: parse_faults(&faults)?,
            lying_syncs: sys::variable("POWER_LOSS_LYING_SYNCS").is_some(),
        }))
    }
}

/// `kill:CALL:SEED` or `power:CALL:SEED`.
fn parse_crash(text: &str) -> Result<Option<Crash>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || format!("POWER_LOSS_CRASH={text}: not kill:CALL:SEED or power:CALL:SEED");
    let parts: Vec<&str> = text.split(':').collect();
    let &[death, at, seed] = &parts[..] else {
        return Err(wrong());
    };
    let death = match death {
        "kill" => Death::Kill,
        "power" => Death::Power,
        _ => return Err(wrong()),
    };
    match (at.parse(), seed.parse()) {
        (Ok(at), Ok(seed)) => Ok(Some(Crash { death, at, seed })),
        _ => Err(wrong()),
    }
}

/// `KIND:NTH:WHAT`, with commas between several.
fn parse_faults(text: &str) -> Result<Vec<Fault>, String> {
    let faults = text.split(',').filter(|fault| !fault.is_empty());
    faults.map(parse_fault).collect()
}

fn parse_fault(text: &str) -> Result<Fault, String> {
    let wrong = || format!("POWER_LOSS_FAULTS: {text}: not write|sync:NTH:eio|enospc|short|delay=MS");
    let parts: Vec<&str> = text.split(':').collect();
    let &[kind, nth, what] = &parts[..] else {
        return Err(wrong());
    };
    let kind = match kind {
        "write" => Kind::Write,
        "sync" => Kind::Sync,
        _ => return Err(wrong()),
    };
    let what = match (what, what.strip_prefix("delay=")) {
        ("eio", _) => Misbehaviour::Error(libc::EIO),
        ("enospc", _) => Misbehaviour::Error(libc::ENOSPC),
        ("short", _) if kind == Kind::Write => Misbehaviour::Short,
        (_, Some(millis)) => Misbehaviour::Delay(millis.parse().map_err(|_| wrong())?),
        _ => return Err(wrong()),
    };
    let nth = nth.parse().map_err(|_| wrong())?;
    Ok(Fault { kind, nth, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_or_refused() {
        let crash = Crash {
            death: Death::Power,
            at: 12,
            seed: 7,
        };
        assert_eq!(parse_crash("power:12:7"), Ok(Some(crash)));
        assert_eq!(parse_crash(""), Ok(None));
        for wrong in ["power", "power:x:7", "off:1:1", "kill:1"] {
            assert!(parse_crash(wrong).is_err(), "{wrong}");
        }
        let faults = parse_faults("write:3:short,sync:1:eio,write:2:delay=50").unwrap();
        let what: Vec<Misbehaviour> = faults.iter().map(|fault| fault.what).collect();
        assert_eq!(
            what,
            [
                Misbehaviour::Short,
                Misbehaviour::Error(libc::EIO),
                Misbehaviour::Delay(50)
            ]
        );
        for wrong in ["sync:1:short", "write:1", "read:1:eio", "write:1:delay=x"] {
            assert!(parse_faults(wrong).is_err(), "{wrong}");
        }
    }
}
