//! What happens to files while nobody has them open.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{copy, remove, walk};
use crate::random::Random;

const SECTOR_BYTES: usize = 512;

/// Damages one thing in the store in `dir`, and says what. `earlier` is the same directory at an earlier time.
///
/// # Errors
/// The directory cannot be changed.
pub(crate) fn damage(dir: &Path, earlier: &Path, random: &mut Random) -> io::Result<String> {
    let (files, folders) = walk(dir)?;
    let Some(file) = choose(&files, random) else {
        return Ok(String::from("nothing: there is no file"));
    };
    let name = |path: &Path| path.strip_prefix(dir).unwrap_or(path).display().to_string();
    let what = match random.below(13) {
        0 => {
            remove(&file)?;
            format!("deleted {}", name(&file))
        }
        1 => {
            let Some(other) = other_like(&files, &file, random) else {
                remove(&file)?;
                return Ok(format!("deleted {}", name(&file)));
            };
            let (mine, theirs) = (fs::read(&file)?, fs::read(&other)?);
            fs::write(&file, theirs)?;
            fs::write(&other, mine)?;
            format!("swapped {} and {}", name(&file), name(&other))
        }
        2 | 3 => {
            let stale = earlier.join(name(&file));
            match stale.is_file() {
                true => fs::copy(stale, &file).map(|_| ())?,
                false => remove(&file)?,
            }
            format!("put back the earlier copy of {}", name(&file))
        }
        4 if !folders.is_empty() => {
            let folder = random.pick(&folders).clone();
            let stale = earlier.join(name(&folder));
            if random.chance(50) && stale.is_dir() {
                copy(&stale, &folder)?;
                format!("put back the earlier copy of the directory {}", name(&folder))
            } else {
                remove(&folder)?;
                format!("deleted the directory {}", name(&folder))
            }
        }
        _ => format!("{} {}", change(&file, random)?, name(&file)),
    };
    Ok(what)
}

/// Changes the bytes of a file.
fn change(file: &Path, random: &mut Random) -> io::Result<String> {
    let mut content = fs::read(file)?;
    let written = content
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    // Where something is written, mostly: a store may allocate more than that.
    let end = match random.chance(80) {
        true => written,
        false => content.len(),
    };
    let place = random.below(end as u64) as usize;
    let what = match random.below(7) {
        0 | 1 if !content.is_empty() => {
            let bit = random.below(8);
            content[place] ^= 1 << bit;
            format!("flipped bit {bit} of byte {place} of {} in", content.len())
        }
        2 if !content.is_empty() => {
            let bytes = (random.between(1, 8192) as usize).min(content.len() - place);
            content[place..place + bytes].fill(0);
            format!("zeroed {bytes} bytes at {place} of {} in", content.len())
        }
        3 => {
            let sectors = random.between(1, 4) as usize;
            let from = (written.div_ceil(SECTOR_BYTES).saturating_sub(sectors)) * SECTOR_BYTES;
            content[from..written.max(from)].fill(0);
            format!("zeroed the last {sectors} written sectors from {from} on in")
        }
        4 => {
            content.truncate(place);
            format!("cut after {place} bytes")
        }
        5 => {
            content.clear();
            String::from("emptied")
        }
        _ => {
            let bytes = random.between(1, 2000);
            content.extend((0..bytes).map(|_| random.next() as u8));
            format!("appended {bytes} bytes to")
        }
    };
    fs::write(file, content)?;
    Ok(what)
}

/// A file: one kind is as likely as the other, however many there are of each.
fn choose(files: &[PathBuf], random: &mut Random) -> Option<PathBuf> {
    let mut kinds: BTreeMap<String, Vec<&PathBuf>> = BTreeMap::new();
    for file in files {
        kinds.entry(kind_of(file)).or_default().push(file);
    }
    let kinds: Vec<Vec<&PathBuf>> = kinds.into_values().collect();
    if kinds.is_empty() {
        return None;
    }
    let kind = random.pick(&kinds).clone();
    Some((*random.pick(&kind)).clone())
}

/// Another file of the same kind, if there is one, or else of the same directory.
fn other_like(files: &[PathBuf], file: &Path, random: &mut Random) -> Option<PathBuf> {
    let others = files.iter().filter(|other| *other != file);
    let (alike, near): (Vec<&PathBuf>, Vec<&PathBuf>) = others
        .filter(|other| other.parent() == file.parent())
        .partition(|other| kind_of(other) == kind_of(file));
    let others = if alike.is_empty() { near } else { alike };
    (!others.is_empty()).then(|| (*random.pick(&others)).clone())
}

/// Its directory and its name, without numbers.
fn kind_of(file: &Path) -> String {
    let text = file.to_string_lossy();
    text.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damage_changes_something() {
        let dir = tempfile::tempdir().unwrap();
        let (store, earlier) = (dir.path().join("store"), dir.path().join("earlier"));
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..150 {
            for (path, text) in [(&store, "now, and a little longer"), (&earlier, "once")] {
                crate::files::fresh(&path.join("inner")).unwrap();
                for name in ["000001.sst", "000002.sst", "inner/1.mark"] {
                    fs::write(path.join(name), format!("{name}: {text}")).unwrap();
                }
            }
            let before = contents(&store);
            let what = damage(&store, &earlier, &mut Random::new(seed)).unwrap();
            assert_ne!(contents(&store), before, "{what}");
            kinds.insert(what.split(' ').next().unwrap().to_owned());
        }
        let expected = [
            "appended", "cut", "deleted", "emptied", "flipped", "put", "swapped", "zeroed",
        ];
        assert!(kinds.iter().eq(expected), "{kinds:?}");
    }

    fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let (files, _) = walk(dir).unwrap();
        files
            .into_iter()
            .map(|file| (file.clone(), fs::read(file).unwrap()))
            .collect()
    }
}
