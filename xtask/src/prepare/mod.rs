//! Prepares the machine: finds what the C++ part of the build needs, and installs what is missing where it can.
//!
//! RocksDB is C++ (a compiler), its bindings are made by bindgen (libclang and clang's own headers), and it takes long
//! to compile (ccache, so that it is compiled once per machine). Nothing is installed that is there already.

mod install;
mod search;

use crate::failure::{Failure, Outcome};
use search::{Machine, Need};

/// Finds everything, or installs it, or says exactly what to install and fails.
pub(crate) fn run() -> Outcome {
    let machine = Machine::here();
    let missing = machine.missing();
    if missing.is_empty() {
        println!("prepare: {}", machine.summary());
        return Ok(());
    }
    println!("prepare: missing here: {}", names(&missing));
    if missing.contains(&Need::Libclang)
        && let Some(folder) = search::folder_of_linker_cache()
    {
        let folder = folder.display();
        return Err(Failure::work(format!(
            "libclang is in {folder}, where bindgen does not look by itself; run the command again with LIBCLANG_PATH={folder}"
        )));
    }
    install::install(&machine, &missing)?;
    let left = Machine::here().missing();
    let (optional, required): (Vec<Need>, Vec<Need>) = left.into_iter().partition(|need| need.is_optional());
    if !required.is_empty() {
        return Err(Failure::work(format!(
            "still missing after installing: {}. {}",
            names(&required),
            install::by_hand(&required)
        )));
    }
    for need in optional {
        eprintln!("warning: no {}; {}", need.name(), need.purpose());
    }
    println!("prepare: {}", Machine::here().summary());
    Ok(())
}

fn names(needs: &[Need]) -> String {
    needs
        .iter()
        .map(|need| need.name())
        .collect::<Vec<_>>()
        .join(", ")
}
