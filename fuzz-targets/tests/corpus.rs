//! Every fuzz target with the corpus of the repository, and with mutations of it: a little of what cargo-fuzz does, on a stable
//! compiler, in every run of the tests. cargo-fuzz adds what the coverage of the code suggests.

#![allow(
    clippy::print_stderr,
    reason = "a failure says with which input it can be repeated"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fuzz_targets::mutation::mutant;
use fuzz_targets::{TARGETS, Target};

/// How many mutations each target is given, if they take less than [`TIME_MAX`].
const MUTATIONS: u64 = 20_000;
const TIME_MAX: Duration = Duration::from_secs(5);

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn target(name: &str) -> &'static Target {
    let mut targets = TARGETS.iter();
    targets
        .find(|target| target.name == name)
        .expect("each name is in the list")
}

/// The files of a folder by name.
fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| {
            let path = entry.expect("the folder is read").path();
            let name = path.file_stem().and_then(OsStr::to_str).expect("names are plain");
            (name.to_owned(), path)
        })
        .collect()
}

/// The inputs in the repository.
fn corpus(target: &Target) -> BTreeMap<String, Vec<u8>> {
    let files = files(&fuzz_folder().join("corpus").join(target.name)).into_iter();
    files
        .map(|(name, path)| (name, fs::read(path).expect("the input is read")))
        .collect()
}

fn names_in(folder: &str) -> BTreeSet<String> {
    files(&fuzz_folder().join(folder)).into_keys().collect()
}

/// Runs the target; a failure names the input, and a command that repeats it.
fn run(target: &Target, input: &[u8], name: &str) {
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    if let Err(panic) = result {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("target {}, {name}, input: {hex}", target.name);
        std::panic::resume_unwind(panic);
    }
}

fn mutations(target: &Target) {
    let corpus: Vec<Vec<u8>> = corpus(target).into_values().collect();
    // FUZZ_SEED=n repeats the mutation that failed; otherwise they are the same in every run.
    if let Some(seed) = std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(target, &mutant(&corpus, seed), &format!("FUZZ_SEED={seed}"));
    }
    let begin = Instant::now();
    for seed in 0..MUTATIONS {
        run(target, &mutant(&corpus, seed), &format!("FUZZ_SEED={seed}"));
        if begin.elapsed() > TIME_MAX {
            break;
        }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        /// The targets that the tests below are made for.
        const TESTED: &[&str] = &[$(stringify!($name)),*];

        $(
            #[test]
            fn $name() {
                let target = target(stringify!($name));
                for (name, input) in corpus(target) {
                    run(target, &input, &name);
                }
                mutations(target);
            }
        )*
    };
}

targets! {
    engine_log frames http2 journal kv_archive kv_commands kv_records log_records membership messages node_archive payload recording
    sessions snapshot_file snapshot_header step transport watermark
}

/// A target is nothing without its program and its test.
#[test]
fn every_target_has_a_program_a_test_and_a_corpus() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names, TESTED.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(names, names_in("fuzz_targets"));
    assert_eq!(names, names_in("corpus"));
    for name in names {
        let path = fuzz_folder()
            .join("fuzz_targets")
            .join(&name)
            .with_extension("rs");
        let program = fs::read_to_string(path).unwrap();
        assert!(
            program.contains(&format!("::{}(data)", name.replace("kv_", "kv::"))),
            "{name}.rs runs its own target"
        );
        let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml")).unwrap();
        assert!(
            manifest.contains(&format!("\"fuzz_targets/{name}.rs\"")),
            "{name} is in fuzz/Cargo.toml"
        );
    }
}

/// The seeds are made by the targets and kept in the repository, where cargo-fuzz finds them. With UPDATE_CORPUS=1 they are
/// written.
#[test]
fn the_seeds_are_in_the_corpus() {
    for target in TARGETS {
        let folder = fuzz_folder().join("corpus").join(target.name);
        for (number, seed) in (target.seeds)().iter().enumerate() {
            let path = folder.join(format!("seed-{number:02}"));
            if std::env::var_os("UPDATE_CORPUS").is_some() {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&path, seed).unwrap();
            }
            let stored = fs::read(&path).unwrap_or_default();
            assert!(
                stored == *seed,
                "{} is not what its target makes; a format changed? Write it again with: \
                 UPDATE_CORPUS=1 cargo test -p fuzz-targets --test corpus the_seeds",
                path.display()
            );
        }
    }
}
