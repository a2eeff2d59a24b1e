//! `cargo xtask layers`: the arrows between the crates, and between the modules of raft-core, point down.
//!
//! What may depend on what is written in the tables of [`crates`] and [`rooms`], and in ARCHITECTURE.md.

mod crates;
mod manifest;
mod rooms;
mod source;

use crate::failure::{Doing, Failure, Outcome};
use crate::project;
use std::fs;
use std::path::{Path, PathBuf};

/// Checks the whole workspace and prints every arrow that is wrong.
pub(crate) fn run() -> Outcome {
    let root = project::root();
    let wrong = wrong(&root)?;
    if wrong.is_empty() {
        println!("layers: every arrow between the crates and inside raft-core points down");
        return Ok(());
    }
    for line in &wrong {
        println!("{line}");
    }
    Err(Failure::work(format!(
        "{} wrong arrows; ARCHITECTURE.md says which way they point",
        wrong.len()
    )))
}

/// Every arrow that is wrong, one sentence each.
fn wrong(root: &Path) -> Outcome<Vec<String>> {
    let mut wrong = Vec::new();
    let folders = project::members(root)?;
    // A crate has the name of its folder, wherever that is.
    let name = |folder: &String| folder.rsplit('/').next().unwrap_or(folder).to_string();
    let members: Vec<String> = folders.iter().map(name).collect();
    for (folder, member) in folders.iter().zip(&members) {
        let path = root.join(folder).join("Cargo.toml");
        let text = fs::read_to_string(&path).doing(format_args!("read {}", path.display()))?;
        wrong.extend(crates::wrong(member, &manifest::dependencies(&text), &members));
    }
    let core = root.join("raft-core/src");
    for file in rust_files(&core)? {
        let text = fs::read_to_string(&file).doing(format_args!("read {}", file.display()))?;
        let inside = file.strip_prefix(&core).unwrap_or(&file);
        wrong.extend(
            rooms::wrong(inside, &text)
                .into_iter()
                .map(|line| format!("raft-core/src/{line}")),
        );
    }
    Ok(wrong)
}

/// All Rust files below a folder, in order.
fn rust_files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).doing(format_args!("read {}", folder.display()))? {
        let path = entry.doing(format_args!("read {}", folder.display()))?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_keeps_its_arrows() {
        let wrong = wrong(&project::root()).unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
