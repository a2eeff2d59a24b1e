//! Installs what is missing: on Debian and its relatives with apt-get; elsewhere it says what to install.

use super::search::{self, Machine, Need};
use crate::cargo;
use crate::failure::{Failure, Outcome};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Installs `missing`. Not being able to install something optional is no error.
pub(crate) fn install(machine: &Machine, missing: &[Need]) -> Outcome {
    let required = missing.iter().any(|need| !need.is_optional());
    if machine.program("apt-get").is_none() {
        return if required {
            Err(Failure::work(by_hand(missing)))
        } else {
            Ok(())
        };
    }
    let Some(rights) = Rights::of(machine) else {
        let message = format!(
            "this needs root, and `sudo -n` is not allowed here. {}",
            by_hand(missing)
        );
        if required {
            return Err(Failure::work(message));
        }
        eprintln!("warning: {message}");
        return Ok(());
    };
    let outcome = apt(machine, missing, rights);
    match outcome {
        Err(failure) if !required => {
            eprintln!("warning: {failure}");
            Ok(())
        }
        other => other,
    }
}

/// How apt-get is run.
#[derive(Clone, Copy)]
enum Rights {
    Root,
    Sudo,
}

impl Rights {
    fn of(machine: &Machine) -> Option<Rights> {
        // /proc/self belongs to whoever runs us.
        if fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0) {
            return Some(Rights::Root);
        }
        machine.program("sudo")?;
        let allowed = Command::new("sudo")
            .args(["-n", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        allowed.then_some(Rights::Sudo)
    }

    fn apt_get(self, words: &[&str]) -> Command {
        let mut command = match self {
            Rights::Root => Command::new("env"),
            Rights::Sudo => {
                let mut command = Command::new("sudo");
                command.args(["-n", "env"]);
                command
            }
        };
        command
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
            .args(words);
        command
    }
}

fn apt(machine: &Machine, missing: &[Need], rights: Rights) -> Outcome {
    let mut fresh = false;
    if !has_package_lists(Path::new("/var/lib/apt/lists")) {
        cargo::run(&mut rights.apt_get(&["update"]))?;
        fresh = true;
    }
    let packages = packages(machine, missing, version_to_come);
    let mut words = vec!["install", "-y", "-q", "--no-install-recommends"];
    words.extend(packages.iter().map(String::as_str));
    println!("installing {} (needed once per machine)", packages.join(" "));
    let first = cargo::run(&mut rights.apt_get(&words));
    if first.is_ok() || fresh {
        return first.map_err(|failure| with_remedy(failure, missing));
    }
    // Lists that are too old name packages the servers have dropped.
    println!("that failed; once more with fresh package lists");
    cargo::run(&mut rights.apt_get(&["update"])).map_err(|failure| with_remedy(failure, missing))?;
    cargo::run(&mut rights.apt_get(&words)).map_err(|failure| with_remedy(failure, missing))
}

fn with_remedy(failure: Failure, missing: &[Need]) -> Failure {
    Failure::work(format!("{failure}. Is there a network? {}", by_hand(missing)))
}

/// True when apt knows packages: a container often starts without any list.
fn has_package_lists(folder: &Path) -> bool {
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

/// The smallest set of Debian packages that gives what is missing.
fn packages(machine: &Machine, missing: &[Need], to_come: fn() -> Option<u32>) -> Vec<String> {
    let mut packages = Vec::new();
    for need in missing {
        match need {
            Need::CCompiler => packages.extend(["gcc".to_string(), "libc6-dev".to_string()]),
            Need::CxxCompiler => packages.push("g++".to_string()),
            Need::Ccache => packages.push("ccache".to_string()),
            Need::Libclang => packages.push("libclang1".to_string()),
            Need::ClangHeaders => {
                // The headers must be of libclang's version: of the one that is here, or of the one that comes.
                let here = machine
                    .libclangs()
                    .iter()
                    .filter_map(|libclang| search::version(libclang))
                    .max();
                match here.or_else(to_come) {
                    Some(version) => packages.push(format!("libclang-common-{version}-dev")),
                    // 30 MB instead of 7, and always right.
                    None => packages.push("libclang-dev".to_string()),
                }
            }
        }
    }
    packages
}

/// The version of the libclang that the package libclang1 stands for.
fn version_to_come() -> Option<u32> {
    let output = Command::new("apt-cache")
        .args(["depends", "libclang1"])
        .output()
        .ok()?;
    version_in_depends(&String::from_utf8_lossy(&output.stdout))
}

fn version_in_depends(text: &str) -> Option<u32> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: libclang1-"))
        .find_map(|version| version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
}

/// What a person can type instead.
pub(crate) fn by_hand(missing: &[Need]) -> String {
    let mut reasons: Vec<String> = missing
        .iter()
        .map(|need| format!("{}: {}", need.name(), need.purpose()))
        .collect();
    reasons.dedup();
    format!(
        "Needed: {}.\nOn Debian and Ubuntu: sudo apt-get update && sudo apt-get install -y g++ libclang-dev ccache\n\
         On Fedora: sudo dnf install -y gcc-c++ clang-devel ccache\n\
         On Arch: sudo pacman -S --needed gcc clang ccache\n\
         On macOS: xcode-select --install; brew install llvm ccache\n\
         A libclang elsewhere is found through LIBCLANG_PATH, another C++ compiler through RAFT_CXX.",
        reasons.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_apt() {
        assert_eq!(
            version_in_depends("libclang1\n  Depends: libclang1-14\n"),
            Some(14)
        );
        assert_eq!(
            version_in_depends("libclang1\n  Depends: libclang1-19 (>= 1:19~)\n"),
            Some(19)
        );
        assert_eq!(version_in_depends("E: no such package\n"), None);
    }

    #[test]
    fn each_need_has_its_package() {
        let machine = Machine::default();
        let all = [Need::CxxCompiler, Need::Libclang, Need::Ccache];
        assert_eq!(packages(&machine, &all, || None), ["g++", "libclang1", "ccache"]);
        assert_eq!(
            packages(&machine, &[Need::ClangHeaders], || Some(14)),
            ["libclang-common-14-dev"]
        );
        assert_eq!(
            packages(&machine, &[Need::ClangHeaders], || None),
            ["libclang-dev"]
        );
    }

    #[test]
    fn the_remedy_names_every_need_and_a_command() {
        let text = by_hand(&[Need::Libclang, Need::Ccache]);
        for word in ["libclang", "ccache", "apt-get install", "LIBCLANG_PATH"] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }

    #[test]
    fn a_folder_without_package_lists_is_noticed() {
        assert!(!has_package_lists(Path::new("/var/lib/no-such-folder")));
    }
}
