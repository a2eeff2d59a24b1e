//! The TOML file of `--config`.

use std::fs;
use std::path::Path;

use toml::de::DeTable;

use super::error::ConfigError;
use super::settings::Settings;

/// Reads the file at `path`. A key that is no setting is refused with its name and its line.
pub fn read(path: &Path) -> Result<Settings, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::ReadFile {
        path: path.to_owned(),
        source,
    })?;
    parse(&text, path)
}

/// Parses the text of the file at `path`.
pub fn parse(text: &str, path: &Path) -> Result<Settings, ConfigError> {
    let syntax = |error: toml::de::Error| ConfigError::FileSyntax {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        message: error.message().to_owned(),
    };
    let table = DeTable::parse(text).map_err(syntax)?;
    let names = Settings::names();
    let mut unknown: Vec<_> = table
        .get_ref()
        .keys()
        .filter(|key| !names.iter().any(|name| name.as_str() == key.get_ref().as_ref()))
        .collect();
    unknown.sort_by_key(|key| key.span().start);
    if let Some(key) = unknown.first() {
        return Err(ConfigError::UnknownKey {
            path: path.to_owned(),
            line: line_of(text, key.span().start),
            key: key.get_ref().to_string(),
            remedy: remedy(key.get_ref(), &names),
        });
    }
    toml::from_str(text).map_err(syntax)
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

fn remedy(key: &str, names: &[String]) -> String {
    let folded = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
    match names.iter().find(|name| folded(name) == folded(key)) {
        Some(name) => format!("write it `{name}`"),
        None => format!("remove it, or use one of: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Settings, String> {
        parse(text, Path::new("node.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_may_hold_every_setting() {
        let settings = parsed(
            r#"
            id = 2
            cluster = "demo"
            data-dir = "/data/n{id}"
            initial-cluster = "1=quic://a:1,2=quic://b:1"
            log-format = "json"
            [initial-client-urls]
            1 = "http://a:2"
            2 = "http://b:2"
            "#,
        )
        .unwrap();
        assert_eq!(settings.id, Some(2));
        assert_eq!(
            settings.initial_client_urls.unwrap().to_string(),
            "1=http://a:2,2=http://b:2"
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_name_and_line() {
        let error = parsed("id = 1\n\ndata_dir = \"x\"\n").unwrap_err();
        assert_eq!(
            error,
            "node.toml, line 3: unknown key `data_dir`; write it `data-dir`"
        );
        let error = parsed("id = 1\n[quota]\nbytes = 1\n").unwrap_err();
        assert!(
            error.starts_with("node.toml, line 2: unknown key `quota`; remove it"),
            "{error}"
        );
        assert!(error.contains("election-timeout-ms"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_line() {
        let error = parsed("cluster = \"demo\"\nid = \"one\"\n").unwrap_err();
        assert!(error.starts_with("node.toml, line 2: "), "{error}");
        let error = parsed("cluster = \"Demo\"").unwrap_err();
        assert!(error.contains("lower-case"), "{error}");
        let error = parsed("id = \n").unwrap_err();
        assert!(error.starts_with("node.toml, line 1: "), "{error}");
    }
}
