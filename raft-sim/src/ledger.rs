//! The ledger of regressions: runs that found something once, kept for good and run again in every test.
//!
//! An entry holds its whole [`Plan`], not only the seed: what is drawn from a seed changes whenever something new is drawn.
//! Delays and losses within a run are drawn from the plan's seed while it goes on, and change as well when the simulator does.
//! So an entry is run with [other seeds](Entry::plans), too: the same faults, at the same times, among other delays.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::plan::Plan;

/// With how many seeds the faults of an entry are run.
pub const SEEDS_PER_ENTRY: u64 = 10;

/// One entry: a file of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What was wrong, in one sentence.
    pub title: String,
    /// When it was found, like 2026-11-22.
    pub date: String,
    /// What the simulator said when it found it.
    pub found: String,
    /// The run.
    pub plan: Plan,
}

/// A file is no entry of a ledger.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// It cannot be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It is no entry.
    #[error("{}: not an entry of the ledger: {cause}", path.display())]
    Format {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        cause: serde_json::Error,
    },
}

impl Entry {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Entry, LedgerError> {
        let text = fs::read_to_string(path).map_err(|cause| file_error(path, cause))?;
        serde_json::from_str(&text).map_err(|cause| LedgerError::Format {
            path: path.to_owned(),
            cause,
        })
    }

    /// Writes a file.
    pub fn write(&self, path: &Path) -> Result<(), LedgerError> {
        let text = serde_json::to_string_pretty(self).map_err(|cause| LedgerError::Format {
            path: path.to_owned(),
            cause,
        })?;
        fs::write(path, text + "\n").map_err(|cause| file_error(path, cause))
    }

    /// The runs of this entry: the one that was kept, and the same with other seeds.
    pub fn plans(&self) -> impl Iterator<Item = Plan> + '_ {
        (0..SEEDS_PER_ENTRY).map(|number| Plan {
            seed: self.plan.seed.wrapping_add(number),
            ..self.plan.clone()
        })
    }
}

/// All entries of a directory, by the names of their files.
pub fn read_all(directory: &Path) -> Result<Vec<(PathBuf, Entry)>, LedgerError> {
    let files = fs::read_dir(directory).map_err(|cause| file_error(directory, cause))?;
    let mut entries = Vec::new();
    for file in files {
        let path = file.map_err(|cause| file_error(directory, cause))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let entry = Entry::read(&path)?;
            entries.push((path, entry));
        }
    }
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(entries)
}

fn file_error(path: &Path, cause: io::Error) -> LedgerError {
    LedgerError::File {
        path: path.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::Simulation;

    fn entry() -> Entry {
        Entry {
            title: "a title".to_owned(),
            date: "2026-11-22".to_owned(),
            found: "I1".to_owned(),
            plan: Simulation::new(7).plan(),
        }
    }

    #[test]
    fn an_entry_comes_back_from_its_text() {
        let text = serde_json::to_string(&entry()).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry());
    }

    /// A field that nobody knows is a mistake, or of a newer simulator: the run would not be what was kept.
    #[test]
    fn unknown_fields_are_refused_at_every_depth() {
        let value = serde_json::to_value(entry()).unwrap();
        for pointer in ["", "/plan", "/plan/settings", "/plan/network", "/plan/faults/0"] {
            let mut value = value.clone();
            let object = value.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            object.insert("surprise".to_owned(), 1.into());
            let refused = serde_json::from_value::<Entry>(value).unwrap_err();
            assert!(refused.to_string().contains("surprise"), "{pointer}: {refused}");
        }
    }

    #[test]
    fn an_entry_is_run_with_several_seeds() {
        let seeds: Vec<u64> = entry().plans().map(|plan| plan.seed).collect();
        assert_eq!(seeds, Vec::from_iter(7..17));
    }
}
