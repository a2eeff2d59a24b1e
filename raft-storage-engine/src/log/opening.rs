//! Opening a store: the one place that decides whether what is on disk may be used.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use raft_core::traits::Recovered;
use raft_core::types::{GroupId, HardState, Index, Trust};
use raft_engine::{Command, LogBatch};

use super::database::Database;
use super::group::{self, Group, Groups};
use super::options::{EngineLogOptions, OnLoss};
use super::scan::{Scanned, scan};
use super::stage::Tail;
use super::tail;
use super::watermark::{Watermark, WatermarkDir};
use crate::error::{DiskError, OpenError};
use crate::format::record::{StateKind, encode_hard_state};
use crate::format::slot::Promise;

/// What was found, verified.
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) watermarks: WatermarkDir,
    pub(crate) store_mark: Watermark,
    pub(crate) groups: Groups,
    pub(crate) buried: BTreeSet<GroupId>,
    pub(crate) tails: BTreeMap<GroupId, Tail>,
}

/// Opens and verifies everything in `dir`, which this process has locked.
pub(crate) fn open(dir: &Path, options: &EngineLogOptions) -> Result<Opened, OpenError> {
    let watermarks = WatermarkDir::open(dir.join("watermarks"))?;
    let marked = watermarks.groups()?;
    let buried = watermarks.buried()?;
    let store_mark = watermarks.load_store()?;
    if store_mark.is_none() && !marked.is_empty() {
        return Err(OpenError::WatermarkMissing {
            path: watermarks.store_file(),
        });
    }
    let path = dir.join("engine");
    let file_lost = inspect(&path, store_mark.as_ref().map_or(0, Watermark::file))?;
    let suspect = match file_lost {
        Some(loss) if options.on_loss == OnLoss::Refuse => return Err(loss),
        Some(_) => true,
        None => false,
    };
    let database = Database::open(path, options)?;
    let mut recovery = Recovery {
        database: &database,
        watermarks: &watermarks,
        on_loss: options.on_loss,
        suspect,
        groups: Groups::default(),
        tails: BTreeMap::new(),
    };
    let mut ids = database.groups();
    ids.extend(marked);
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        if buried.contains(&id) {
            recovery.forget(id)?;
        } else {
            recovery.group(id)?;
        }
    }
    let Recovery { groups, tails, .. } = recovery;
    // Last, so that a store without it is one that was never opened to its end.
    let active = database.active_file();
    let failed = |error| OpenError::directory(&watermarks.store_file(), error);
    let store_mark = match store_mark {
        Some(mut mark) => {
            mark.store_file(active).map_err(failed)?;
            mark
        }
        None => watermarks.create_store(active).map_err(failed)?,
    };
    Ok(Opened {
        database,
        watermarks,
        store_mark,
        groups,
        buried,
        tails,
    })
}

/// Looks at raft-engine's files before it does. A loss is a file that was `used` and is gone.
fn inspect(path: &Path, used: u64) -> Result<Option<OpenError>, OpenError> {
    let inspected = tail::inspect(path).map_err(|error| OpenError::directory(path, error))?;
    if let Some((file, detail)) = inspected.damage {
        return Err(OpenError::Corrupt {
            what: format!("the log file {}", file.display()),
            detail,
        });
    }
    Ok((inspected.newest < used).then(|| OpenError::FileLost {
        path: path.to_path_buf(),
        found: inspected.newest,
        used,
    }))
}

/// The verification of all groups under way.
struct Recovery<'a> {
    database: &'a Database,
    watermarks: &'a WatermarkDir,
    on_loss: OnLoss,
    /// Something was lost, and nobody knows of whom.
    suspect: bool,
    groups: Groups,
    tails: BTreeMap<GroupId, Tail>,
}

impl Recovery<'_> {
    /// Removes what is left of a group that was destroyed: a crash came in between.
    fn forget(&self, id: GroupId) -> Result<(), OpenError> {
        if self.database.state(id, StateKind::Purged).is_some() || self.database.bounds(id).is_some() {
            let mut batch = LogBatch::default();
            batch.add_command(id.0, Command::Clean);
            self.write(&mut batch)?;
        }
        let removed = self.watermarks.remove(id);
        removed.map_err(|error| OpenError::directory(&self.watermarks.file(id), error))
    }

    /// Verifies a group that raft-engine or a watermark knows.
    fn group(&mut self, id: GroupId) -> Result<(), OpenError> {
        let has_state = self.database.state(id, StateKind::Purged).is_some();
        let has_file = self.watermarks.file(id).exists();
        if !has_state && !has_file && self.database.bounds(id).is_none() {
            // raft-engine remembers the number of a group that was destroyed, and nothing else.
            return Ok(());
        }
        let mut watermark = self.watermarks.load(id)?;
        let promise = watermark.promise();
        let scanned = scan(self.database, id, Some((promise.last, promise.chain)));
        let Some(mut scanned) = scanned.map_err(|error| error.into_open_error(self.database))? else {
            // A watermark that promises something of a group that is not there: the log was lost. One that
            // promises nothing is left from a group that was being created, or destroyed.
            promise.check(id, &HardState::default(), Index::ZERO)?;
            let removed = self.watermarks.remove(id);
            return removed.map_err(|error| OpenError::directory(&self.watermarks.file(id), error));
        };
        let checked = promise.check(id, &scanned.recovered.hard_state, scanned.last.id.index);
        match checked {
            Err(loss) if self.on_loss == OnLoss::Refuse => return Err(loss),
            Err(_) => self.distrust(id, &mut scanned.recovered, &promise)?,
            Ok(()) if self.suspect => self.distrust(id, &mut scanned.recovered, &promise)?,
            Ok(()) => {}
        }
        self.forget_purged(id, &scanned)?;
        // raft-engine cuts and syncs what it recovers, so everything that was recovered is durable.
        let durable = Promise::of(&scanned.recovered.hard_state, &scanned.last);
        watermark
            .store(durable)
            .map_err(|error| OpenError::directory(watermark.path(), error))?;
        let group = Arc::new(Group::new(&scanned, watermark, durable));
        self.tails
            .insert(id, Tail::new(&scanned, Some(Arc::clone(&group))));
        group::insert(&self.groups, id, group);
        Ok(())
    }

    /// Stores that the replica of `group` is a suspect, durably, before its watermark is lowered to what is left.
    fn distrust(
        &self,
        group: GroupId,
        recovered: &mut Recovered,
        promise: &Promise,
    ) -> Result<(), OpenError> {
        let hard_state = &mut recovered.hard_state;
        if promise.term >= hard_state.term {
            (hard_state.term, hard_state.vote) = (promise.term, promise.vote);
        }
        hard_state.commit = hard_state.commit.min(recovered.last_index);
        hard_state.trust = Trust::Suspect;
        recovered.lost = true;
        let mut batch = LogBatch::default();
        let put = batch.put(
            group.0,
            vec![StateKind::HardState as u8],
            encode_hard_state(group, hard_state),
        );
        put.map_err(|error| OpenError::engine(self.database.path(), error.into()))?;
        self.write(&mut batch)
    }

    /// raft-engine forgets which entries were purged when it deletes the file that said so, and does not take entries that
    /// leave a gap behind those: so they are purged again.
    fn forget_purged(&self, group: GroupId, scanned: &Scanned) -> Result<(), OpenError> {
        let purged = scanned.purged.id.index;
        let stale = self.database.bounds(group);
        if stale.is_none_or(|(first, _)| first > purged) {
            return Ok(());
        }
        let mut batch = LogBatch::default();
        let index = purged.0.saturating_add(1);
        batch.add_command(group.0, Command::Compact { index });
        self.write(&mut batch)
    }

    fn write(&self, batch: &mut LogBatch) -> Result<(), OpenError> {
        let path = self.database.path();
        let failed = |error: DiskError| OpenError::Engine {
            path: path.to_path_buf(),
            source: Box::new(error),
        };
        self.database.write(batch).map_err(failed)
    }
}
