//! Directories as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Makes `to` a copy of `from`; what was there before goes.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    remove(to)?;
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Removes a file or a directory with everything in it, if it is there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes an empty directory; what was there before goes.
pub(crate) fn fresh(path: &Path) -> io::Result<()> {
    remove(path)?;
    fs::create_dir_all(path)
}

/// All files below a directory, and all directories, in order.
pub(crate) fn walk(root: &Path) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() {
            let (mut inner_files, mut inner_folders) = walk(&path)?;
            files.append(&mut inner_files);
            folders.append(&mut inner_folders);
            folders.push(path);
        } else {
            files.push(path);
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}
