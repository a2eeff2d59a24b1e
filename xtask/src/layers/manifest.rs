//! Reads the dependencies out of a Cargo.toml: as much TOML as that takes, and no more.

/// In which table a dependency stands.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    /// `[dependencies]`
    Normal,
    /// `[dev-dependencies]`
    Dev,
    /// `[build-dependencies]`
    Build,
}

/// One dependency: the package's own name, also when the manifest gives it another.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Dependency {
    /// Which table it stands in.
    pub(crate) kind: Kind,
    /// The package.
    pub(crate) package: String,
}

/// All dependencies of a manifest, those for single targets among them.
pub(crate) fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found = Vec::new();
    let mut table = Table::Other;
    for line in manifest.lines() {
        let line = without_comment(line).trim();
        if line.starts_with('[') {
            table = table_of(line);
            if let Table::One(kind, package) = &table {
                found.push(Dependency {
                    kind: *kind,
                    package: package.clone(),
                });
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let key = key.trim();
        match &table {
            Table::Many(kind) => {
                // `name = ...` or `name.workspace = true`
                let name = key.split('.').next().unwrap_or(key).trim().trim_matches('"');
                let package = renamed(value).unwrap_or(name).to_string();
                found.push(Dependency { kind: *kind, package });
            }
            Table::One(kind, _) if key == "package" => {
                let package = value.trim().trim_matches('"').to_string();
                found.pop();
                found.push(Dependency { kind: *kind, package });
            }
            _ => {}
        }
    }
    found.sort();
    found.dedup();
    found
}

enum Table {
    /// A table whose keys are dependencies.
    Many(Kind),
    /// A table that is one dependency.
    One(Kind, String),
    Other,
}

/// `[dependencies]`, `[dev-dependencies.name]`, `[target.'cfg(unix)'.build-dependencies]` and so on.
fn table_of(line: &str) -> Table {
    let mut words = words(line.trim_matches(['[', ']']));
    if words.first().is_some_and(|word| word == "target") && words.len() > 2 {
        words.drain(..2);
    }
    let kind = match words.first().map(String::as_str) {
        Some("dependencies") => Kind::Normal,
        Some("dev-dependencies") => Kind::Dev,
        Some("build-dependencies") => Kind::Build,
        _ => return Table::Other,
    };
    match words.into_iter().nth(1) {
        None => Table::Many(kind),
        Some(package) => Table::One(kind, package),
    }
}

/// The parts of a dotted key; quotes hold dots together.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in key.chars() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            (None, '.') => words.push(String::new()),
            (_, other) => words
                .last_mut()
                .expect("the list begins with one word")
                .push(other),
        }
    }
    words.into_iter().map(|word| word.trim().to_string()).collect()
}

/// The name in `{ package = "name", ... }`.
fn renamed(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("package")?;
    rest.trim_start()
        .strip_prefix('=')?
        .trim_start()
        .strip_prefix('"')?
        .split('"')
        .next()
}

fn without_comment(line: &str) -> &str {
    let mut quote = None;
    for (position, character) in line.char_indices() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            (None, '#') => return &line[..position],
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_dependency_is_read() {
        let manifest = r#"
            [package]
            name = "x"            # bytes = "1"
            [features]
            default = ["dep:y"]
            [dependencies]
            plain = "1"           # a comment with = in it
            dotted.workspace = true
            inline = { workspace = true, features = ["a#b"] }
            alias = { version = "1", package = "real" }
            [dependencies.own]
            version = "1"
            [dependencies.other]
            package = "renamed"
            [target.'cfg(target_os = "linux")'.dependencies]
            linux = "1"
            [dev-dependencies]
            tested = "1"
            [build-dependencies]
            built = "1"
            [lints]
            workspace = true
        "#;
        let names = |kind| -> Vec<String> {
            dependencies(manifest)
                .into_iter()
                .filter(|found| found.kind == kind)
                .map(|found| found.package)
                .collect()
        };
        assert_eq!(
            names(Kind::Normal),
            ["dotted", "inline", "linux", "own", "plain", "real", "renamed"]
        );
        assert_eq!(names(Kind::Dev), ["tested"]);
        assert_eq!(names(Kind::Build), ["built"]);
    }
}
