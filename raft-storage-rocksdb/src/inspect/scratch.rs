//! The working copy of a database, in which RocksDB may write what it likes.
//!
//! The copy has links to the tables that the database consists of, and to no others: RocksDB may take the number
//! of a table that it does not know for a new one. Of a database that RocksDB refuses, the copy is repaired: it then has
//! whatever the tables have that can still be opened.
//!
//! The journal is copied as a whole, and the store's own recovery runs on the copy: it decides what is torn, what is lost and
//! what is put back, and hands over what the tables do not have yet.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rocksdb::{DB, Options};

use super::error::InspectError;
use super::journal::further;
use super::report::{Finding, Place};
use super::usage::is_table;
use crate::error::LOSS_REMEDY;
use crate::format::journal::SECTOR_BYTES;
use crate::log::database::Database;
use crate::log::journal::Findings as JournalFindings;
use crate::log::store::replay;
use crate::log::{OnLoss, RocksLogOptions, manifest};

/// The working copy, open.
pub(super) struct Scratch {
    pub(super) database: Database,
    /// Records of the journal that were not in the tables.
    pub(super) journal_records: u64,
    copy: String,
    original: String,
}

impl Scratch {
    /// Makes a working copy of the log store in `log` within `scratch` and opens it; `None` if nothing of the database can
    /// be read. Whatever is wrong with the database or the journal is a finding.
    pub(super) fn open(
        log: &Path,
        scratch: &Path,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Scratch>, InspectError> {
        let (db, copy) = (log.join("db"), scratch.join("db"));
        let (original_text, copy_text) = (log.to_string_lossy(), scratch.to_string_lossy());
        copy_database(&db, &copy)?;
        let damage = |findings: &mut Vec<Finding>, problem: &str, error: &str| {
            let said = reword(error, &copy_text, &original_text);
            let problem = format!("{problem}: {said}");
            findings.push(Finding::damage(Place::File(db.clone()), problem));
        };
        if !copy.join("CURRENT").exists() {
            // As the store does: a database that is not there is a new one, and the journal fills it if it can.
            keep_only(&copy, &[])?;
            findings.push(Finding::notice(
                Place::File(db.clone()),
                "there is no database (its file CURRENT is missing)",
                "the next start makes it again from the journal, if that has all of it",
            ));
        } else if let Err(error) = manifest::prepare(&copy) {
            // Not even a repair gets to the end of such a file.
            damage(
                findings,
                "nothing of it can be read",
                &error.to_string_and_remedy().0,
            );
            return Ok(None);
        } else if let Err(error) = only_live_tables(&copy)? {
            damage(findings, "RocksDB cannot open it", error.as_ref());
            if let Err(error) = DB::repair(&Options::default(), &copy) {
                damage(findings, "nothing of it can be read", error.as_ref());
                return Ok(None);
            }
        }
        let database = match Database::open_copy(copy) {
            Ok(database) => database,
            Err(error) => {
                damage(findings, "nothing of it can be read", error.as_ref());
                return Ok(None);
            }
        };
        let mut opened = Scratch {
            database,
            journal_records: 0,
            copy: copy_text.into_owned(),
            original: original_text.into_owned(),
        };
        opened.replay(&log.join("journal"), &scratch.join("journal"), findings)?;
        Ok(Some(opened))
    }

    /// Brings the working copy to where the journal ends, or as far as it is sound.
    fn replay(
        &mut self,
        journal: &Path,
        copy: &Path,
        findings: &mut Vec<Finding>,
    ) -> Result<(), InspectError> {
        copy_journal(journal, copy)?;
        let options = RocksLogOptions {
            // What is lost is reported, and what is sound comes first.
            on_loss: OnLoss::Suspect,
            ..RocksLogOptions::default()
        };
        let before = self.applied();
        let lost = match replay(&self.database, copy, &options) {
            Ok(JournalFindings::Sound { .. }) => None,
            Ok(JournalFindings::Lost { reason, .. }) => Some((reason, String::from(LOSS_REMEDY))),
            Err(error) => Some(error.to_string_and_remedy()),
        };
        self.journal_records = self.applied().saturating_sub(before);
        if let Some((problem, remedy)) = lost {
            let problem = self.reword(&problem);
            let mut segments = segments_and_control(journal)?;
            segments.retain(|path| !is_control(path));
            let further = further(&segments, &problem)?;
            findings.push(Finding {
                problem,
                remedy,
                ..Finding::damage(Place::File(journal.to_path_buf()), "")
            });
            findings.extend(further);
            return Ok(());
        }
        for (path, sectors) in mended(journal, copy)? {
            findings.push(Finding::notice(
                Place::File(path),
                format!(
                    "{sectors} of its sectors of 512 bytes are torn or out of date, as a crash leaves them"
                ),
                "the next start puts them right; nothing acknowledged is lost",
            ));
        }
        Ok(())
    }

    /// The last record of the journal in the working copy; 0 if there is none, or it cannot be told.
    fn applied(&self) -> u64 {
        let applied = self.database.applied().ok().and_then(Result::ok);
        applied.flatten().unwrap_or_default()
    }

    /// What RocksDB said, about the original instead of the copy.
    pub(super) fn reword(&self, said: &str) -> String {
        reword(said, &self.copy, &self.original)
    }
}

fn reword(said: &str, copy: &str, original: &str) -> String {
    said.replace(copy, original)
}

/// Links the tables and copies what says which of them count, and RocksDB's own log, which the store leaves empty; the
/// rest is RocksDB's notes about itself.
fn copy_database(db: &Path, copy: &Path) -> Result<(), InspectError> {
    let failed = |error| InspectError::scratch(copy, error);
    fs::create_dir_all(copy).map_err(failed)?;
    let entries = match fs::read_dir(db) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(InspectError::read(db, error)),
    };
    for entry in entries {
        let original = entry.map_err(|error| InspectError::read(db, error))?.path();
        let Some(name) = original.file_name() else {
            continue;
        };
        let target = copy.join(name);
        let text = name.to_string_lossy();
        if is_table(&original) {
            let original =
                fs::canonicalize(&original).map_err(|error| InspectError::read(&original, error))?;
            symlink(original, target).map_err(failed)?;
        } else if text == "CURRENT" || text.starts_with("MANIFEST-") || text.ends_with(".log") {
            let content = fs::read(&original).map_err(|error| InspectError::read(&original, error))?;
            fs::write(target, content).map_err(failed)?;
        }
    }
    Ok(())
}

/// Copies the segments and the control file. What was not finished is left out, as recovery would remove it.
fn copy_journal(journal: &Path, copy: &Path) -> Result<(), InspectError> {
    let failed = |error| InspectError::scratch(copy, error);
    fs::create_dir_all(copy).map_err(failed)?;
    let openings = journal.with_file_name("openings");
    let openings = openings
        .exists()
        .then(|| (openings, copy.with_file_name("openings")));
    let files = segments_and_control(journal)?.into_iter().filter_map(|original| {
        let target = copy.join(original.file_name()?);
        Some((original, target))
    });
    for (original, target) in files.chain(openings) {
        let read = |error| InspectError::read(&original, error);
        let mut from = File::open(&original).map_err(read)?;
        // The copy gets permissions of its own: those of the original may forbid to write.
        let mut to = File::create(target).map_err(failed)?;
        io::copy(&mut from, &mut to).map_err(failed)?;
    }
    Ok(())
}

/// The files of the journal in `dir` that count.
fn segments_and_control(dir: &Path) -> Result<Vec<PathBuf>, InspectError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(InspectError::read(dir, error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| InspectError::read(dir, error))?.path();
        if is_control(&path) || path.extension().is_some_and(|extension| extension == "seg") {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn is_control(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "control")
}

/// The segments that recovery changed in the copy, and in how many sectors.
fn mended(journal: &Path, copy: &Path) -> Result<Vec<(PathBuf, usize)>, InspectError> {
    let mut mended = Vec::new();
    for original in segments_and_control(journal)? {
        let Some(name) = original.file_name().filter(|name| *name != "control") else {
            continue;
        };
        // One that was left over is removed, and says nothing.
        let Ok(after) = fs::read(copy.join(name)) else {
            continue;
        };
        let before = fs::read(&original).map_err(|error| InspectError::read(&original, error))?;
        let pairs = before.chunks(SECTOR_BYTES).zip(after.chunks(SECTOR_BYTES));
        let sectors = pairs.filter(|(before, after)| before != after).count();
        if sectors > 0 {
            mended.push((original, sectors));
        }
    }
    Ok(mended)
}

/// Removes the links to the tables that the database does not consist of; or says why RocksDB cannot tell.
fn only_live_tables(copy: &Path) -> Result<Result<(), rocksdb::Error>, InspectError> {
    match Database::tables(copy) {
        Ok(tables) => keep_only(copy, &tables).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

/// Removes the links to every table but `tables`.
fn keep_only(copy: &Path, tables: &[PathBuf]) -> Result<(), InspectError> {
    let failed = |error| InspectError::scratch(copy, error);
    for entry in fs::read_dir(copy).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if is_table(&path) && !tables.contains(&path) {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}
