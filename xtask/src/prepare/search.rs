//! Looks for compilers, libclang, clang's headers and ccache in the places where they are usually found.
//! It looks; it changes nothing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One thing the C++ part of the build needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Need {
    /// A C compiler, which is also Rust's linker.
    CCompiler,
    /// A C++ compiler.
    CxxCompiler,
    /// The library bindgen reads RocksDB's C header with.
    Libclang,
    /// The headers that belong to libclang: stddef.h and its like.
    ClangHeaders,
    /// The compiler cache.
    Ccache,
}

impl Need {
    /// How messages call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Need::CCompiler => "a C compiler (cc)",
            Need::CxxCompiler => "a C++ compiler (c++)",
            Need::Libclang => "libclang",
            Need::ClangHeaders => "clang's own headers",
            Need::Ccache => "ccache",
        }
    }

    /// What it is for.
    pub(crate) fn purpose(self) -> &'static str {
        match self {
            Need::CCompiler => "Rust links with it",
            Need::CxxCompiler => "RocksDB is written in C++",
            Need::Libclang | Need::ClangHeaders => "bindgen reads RocksDB's C header with it",
            Need::Ccache => {
                "without it every fresh target folder compiles RocksDB again, for about 15 minutes"
            }
        }
    }

    /// True when the build works without it.
    pub(crate) fn is_optional(self) -> bool {
        self == Need::Ccache
    }
}

/// Where to look. The real machine, or a made-up one in tests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// The folders of PATH.
    pub(crate) path: Vec<PathBuf>,
    /// Folders that may hold libclang.
    pub(crate) libraries: Vec<PathBuf>,
    /// Folders whose children `<version>/include` may hold clang's headers, whatever libclang they belong to.
    pub(crate) headers: Vec<PathBuf>,
    /// The C++ compiler named by RAFT_CXX, or c++.
    pub(crate) cxx: String,
    /// The user feeds bindgen's clang its headers (BINDGEN_EXTRA_CLANG_ARGS); we do not look for them.
    pub(crate) own_headers: bool,
}

impl Machine {
    /// This machine.
    pub(crate) fn here() -> Machine {
        let path = env::var_os("PATH")
            .map(|path| env::split_paths(&path).collect())
            .unwrap_or_default();
        Machine {
            path,
            libraries: library_folders(),
            headers: ["/usr/lib/clang", "/usr/lib64/clang", "/usr/local/lib/clang"]
                .map(PathBuf::from)
                .to_vec(),
            cxx: env::var("RAFT_CXX").unwrap_or_else(|_| "c++".to_string()),
            own_headers: env::var_os("BINDGEN_EXTRA_CLANG_ARGS").is_some(),
        }
    }

    /// What is not here, required things first.
    pub(crate) fn missing(&self) -> Vec<Need> {
        let libclangs = self.libclangs();
        let mut missing = Vec::new();
        if self.program("cc").is_none() {
            missing.push(Need::CCompiler);
        }
        if self.program(&self.cxx).is_none() {
            missing.push(Need::CxxCompiler);
        }
        if libclangs.is_empty() {
            missing.push(Need::Libclang);
        }
        if !self.own_headers && !libclangs.iter().any(|libclang| self.has_headers(libclang)) {
            missing.push(Need::ClangHeaders);
        }
        if self.program("ccache").is_none() {
            missing.push(Need::Ccache);
        }
        missing
    }

    /// One line that says what was found.
    pub(crate) fn summary(&self) -> String {
        let libclang = self
            .libclangs()
            .into_iter()
            .find(|libclang| self.own_headers || self.has_headers(libclang));
        let cxx = self.program(&self.cxx);
        let show =
            |found: Option<PathBuf>| found.map_or("none".to_string(), |path| path.display().to_string());
        format!(
            "C++ {}, libclang {}, ccache {}",
            show(cxx),
            show(libclang),
            show(self.program("ccache"))
        )
    }

    /// The program of that name (or at that path).
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return Some(PathBuf::from(name)).filter(|path| path.is_file());
        }
        self.path
            .iter()
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
    }

    /// Every libclang in the usual places.
    pub(crate) fn libclangs(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = self
            .libraries
            .iter()
            .flat_map(|folder| {
                let entries = fs::read_dir(folder).into_iter().flatten().flatten();
                entries
                    .filter(|entry| is_libclang(&entry.file_name().to_string_lossy()))
                    .map(|entry| entry.path())
            })
            // Debian keeps a library as a chain of links; a link to nothing is not a library.
            .filter(|path| path.exists())
            .collect();
        found.sort();
        found.dedup();
        found
    }

    fn has_headers(&self, libclang: &Path) -> bool {
        let mut folders: Vec<PathBuf> = Vec::new();
        for place in [Some(libclang.to_path_buf()), libclang.canonicalize().ok()]
            .into_iter()
            .flatten()
        {
            let Some(folder) = place.parent() else { continue };
            folders.push(folder.join("clang"));
            folders.push(folder.join("../lib/clang"));
            if let Some(version) = version(&place) {
                folders.push(folder.join(format!("llvm-{version}/lib/clang")));
                folders.push(folder.join(format!("../llvm-{version}/lib/clang")));
            }
        }
        folders.extend(self.headers.iter().cloned());
        folders.iter().any(|folder| {
            let versions = fs::read_dir(folder).into_iter().flatten().flatten();
            versions
                .into_iter()
                .any(|version| version.path().join("include/stddef.h").is_file())
        })
    }
}

/// `libclang.so`, `libclang.so.1`, `libclang-14.so.13`, `libclang.dylib`; not the C++ library `libclang-cpp.so`.
fn is_libclang(name: &str) -> bool {
    let shared = name.ends_with(".dylib") || name.ends_with(".so") || name.contains(".so.");
    shared
        && (name.starts_with("libclang.") || name.starts_with("libclang-"))
        && !name.starts_with("libclang-cpp")
}

/// The major version in a path such as `/usr/lib/llvm-14/lib/libclang.so.1` or `.../libclang-14.so.13`.
pub(crate) fn version(libclang: &Path) -> Option<u32> {
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let name = libclang.file_name()?.to_str()?;
    let from_name = name.strip_prefix("libclang-").and_then(number);
    from_name.or_else(|| {
        let folders = libclang.iter().filter_map(|folder| folder.to_str());
        folders
            .filter_map(|folder| folder.strip_prefix("llvm-"))
            .find_map(number)
    })
}

/// Where libclang may be: what the user says, what the linker's cache knows, and the usual folders.
fn library_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(named) = env::var_os("LIBCLANG_PATH").map(PathBuf::from) {
        // bindgen takes the library itself or its folder.
        folders.extend(if named.is_file() {
            named.parent().map(Path::to_path_buf)
        } else {
            Some(named)
        });
    }
    for (parent, prefix, below) in [
        ("/usr/lib", "llvm", "lib"),
        ("/usr/local", "llvm", "lib"),
        // The folders of Debian's architectures, such as x86_64-linux-gnu.
        ("/usr/lib", "", ""),
        ("/opt/homebrew/opt", "llvm", "lib"),
        ("/usr/local/opt", "llvm", "lib"),
    ] {
        let mut children: Vec<PathBuf> = fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join(below))
            .filter(|folder| folder.is_dir())
            .collect();
        children.sort();
        folders.extend(children);
    }
    let usual = [
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/Library/Developer/CommandLineTools/usr/lib",
    ];
    folders.extend(usual.map(PathBuf::from));
    folders
}

/// Folders that only the linker's cache knows; bindgen does not look there unless it is told to.
pub(crate) fn folder_of_linker_cache() -> Option<PathBuf> {
    let output = ["ldconfig", "/sbin/ldconfig"]
        .into_iter()
        .find_map(|program| Command::new(program).arg("-p").output().ok())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries = text
        .lines()
        .filter_map(|line| line.split_once(" => "))
        .map(|(_, path)| Path::new(path.trim()));
    libraries
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| is_libclang(&name.to_string_lossy()))
        })
        .find_map(|path| path.parent().map(Path::to_path_buf))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = env::temp_dir().join(format!("xtask-prepare-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn file(&self, path: &str) -> PathBuf {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn machine(folder: &Folder) -> Machine {
        Machine {
            path: vec![folder.0.join("bin")],
            libraries: vec![
                folder.0.join("lib/x86_64-linux-gnu"),
                folder.0.join("lib/llvm-14/lib"),
            ],
            headers: vec![],
            cxx: "c++".to_string(),
            own_headers: false,
        }
    }

    #[test]
    fn an_empty_machine_misses_everything() {
        let folder = Folder::new("empty");
        let all = [
            Need::CCompiler,
            Need::CxxCompiler,
            Need::Libclang,
            Need::ClangHeaders,
            Need::Ccache,
        ];
        assert_eq!(machine(&folder).missing(), all);
    }

    #[test]
    fn debian_with_the_small_set_misses_nothing() {
        let folder = Folder::new("debian");
        for name in [
            "bin/cc",
            "bin/c++",
            "bin/ccache",
            "lib/x86_64-linux-gnu/libclang-14.so.13",
        ] {
            folder.file(name);
        }
        assert_eq!(machine(&folder).missing(), [Need::ClangHeaders]);
        folder.file("lib/llvm-14/lib/clang/14.0.6/include/stddef.h");
        assert_eq!(machine(&folder).missing(), []);
    }

    #[test]
    fn headers_of_another_version_do_not_count() {
        let folder = Folder::new("versions");
        folder.file("lib/x86_64-linux-gnu/libclang-19.so.1");
        folder.file("lib/llvm-14/lib/clang/14.0.6/include/stddef.h");
        assert!(machine(&folder).missing().contains(&Need::ClangHeaders));
    }

    #[test]
    fn libclang_for_cpp_and_broken_links_are_not_libclang() {
        let folder = Folder::new("cpp");
        folder.file("lib/llvm-14/lib/libclang-cpp.so.14");
        std::os::unix::fs::symlink("nowhere", folder.0.join("lib/llvm-14/lib/libclang.so.1")).unwrap();
        assert_eq!(machine(&folder).libclangs(), Vec::<PathBuf>::new());
        let real = folder.file("lib/llvm-14/lib/libclang.so");
        assert_eq!(machine(&folder).libclangs(), [real]);
    }

    #[test]
    fn a_compiler_named_by_the_user_is_looked_for() {
        let folder = Folder::new("named");
        let mut machine = machine(&folder);
        machine.cxx = folder.file("opt/clang++").display().to_string();
        assert!(!machine.missing().contains(&Need::CxxCompiler));
    }

    #[test]
    fn versions_are_read_from_names_and_folders() {
        for (path, expected) in [
            ("/usr/lib/x86_64-linux-gnu/libclang-14.so.13", Some(14)),
            ("/usr/lib/llvm-19/lib/libclang.so.1", Some(19)),
            ("/usr/lib64/libclang.so", None),
        ] {
            assert_eq!(version(Path::new(path)), expected, "{path}");
        }
    }
}
