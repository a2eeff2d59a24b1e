//! Where things are: the project's root, the target folder cargo uses, the members of the workspace.

use crate::failure::{Doing, Outcome};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder with the workspace's Cargo.toml.
pub(crate) fn root() -> PathBuf {
    // cargo sets the variable when it runs us; a binary started by hand falls back on where it was compiled.
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().map_or_else(|| xtask.clone(), Path::to_path_buf)
}

/// The folder cargo builds into, wherever the user's settings put it: we were built into it ourselves.
pub(crate) fn target() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.to_path_buf()))
        .filter(|folder| folder.join("CACHEDIR.TAG").exists())
        .unwrap_or_else(|| root().join("target"))
}

/// The workspace's members, as the root Cargo.toml lists them.
pub(crate) fn members(root: &Path) -> Outcome<Vec<String>> {
    let manifest = root.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).doing(format_args!("read {}", manifest.display()))?;
    Ok(members_of(&text))
}

fn members_of(manifest: &str) -> Vec<String> {
    let Some(start) = manifest.find("\nmembers") else {
        return Vec::new();
    };
    let list = &manifest[start..];
    let (Some(open), Some(close)) = (list.find('['), list.find(']')) else {
        return Vec::new();
    };
    list[open + 1..close]
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""))
        .flat_map(|line| line.split(','))
        .map(|word| word.trim().trim_matches('"').to_string())
        .filter(|word| !word.is_empty())
        .collect()
}

/// The names of the programs in `folder` (`benches/` or `examples/` of a crate): `name.rs` or `name/main.rs`.
pub(crate) fn programs(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let is_program =
                path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file();
            is_program
                .then(|| path.file_stem()?.to_str().map(str::to_string))
                .flatten()
        })
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_over_several_lines_and_comments() {
        let text =
            "[workspace]\nresolver = \"3\"\nmembers = [\n  \"a\", # one\n  \"b-c\",\n]\n[x]\ny = [\"d\"]\n";
        assert_eq!(members_of(text), ["a", "b-c"]);
        assert!(members_of("[package]\nname = \"x\"").is_empty());
    }

    #[test]
    fn this_workspace_lists_its_members() {
        let members = members(&root()).unwrap();
        assert!(members.iter().any(|member| member == "raft-core"));
        assert!(members.iter().any(|member| member == "xtask"));
    }
}
