//! The settings file: typed, every key known, and weaker than the environment and the command line.
//!
//! The file gives default values to the options of the command line. So there is one list of settings, one way to read
//! them, and `--help` shows what the file says.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Command;
use serde::Deserialize;

/// Variable that names the file.
pub const VARIABLE: &str = "RUCHE_CONFIG";
/// The reference: every key with what it means, all of them commented out.
pub const REFERENCE: &str = include_str!("settings/default.toml");
/// Bytes of a settings file at most.
const BYTES_MAX: u64 = 65_536;

/// What a settings file may say.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    store: Store,
    database: Database,
    serve: Serve,
    log: Log,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Store {
    data_dir: Option<PathBuf>,
    keys_dir: Option<PathBuf>,
    archive_dir: Option<PathBuf>,
    deployment: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Database {
    url: Option<String>,
    read_url: Option<String>,
    tree_heads_url: Option<String>,
    wait_s: Option<u64>,
    readers: Option<u16>,
    nodes: Option<u16>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Serve {
    listen: Option<SocketAddr>,
    publish_dir: Option<PathBuf>,
    publish_url: Option<String>,
    otlp_endpoint: Option<String>,
    telemetry_wait: Option<u16>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Log {
    json: Option<bool>,
    filter: Option<String>,
}

/// Why a settings file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("the settings file {path}: {source}", path = path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than any settings file.
    #[error("the settings file {path} has more than {BYTES_MAX} bytes", path = path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// It is no TOML, or says something that Ruche does not know.
    #[error("the settings file {path}, {source}", path = path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// What, and in which line.
        source: toml::de::Error,
    },
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let unreadable = |source| SettingsError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let path_owned = || path.to_owned();
        if std::fs::metadata(path).map_err(unreadable)?.len() > BYTES_MAX {
            return Err(SettingsError::TooLarge { path: path_owned() });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        toml::from_str(&text).map_err(|source| SettingsError::Wrong {
            path: path_owned(),
            source,
        })
    }

    /// Makes what the file says the default of the options.
    pub fn as_defaults(self, command: Command) -> Command {
        let Self {
            store,
            database,
            serve,
            log,
        } = self;
        let global: [(&str, Option<OsString>); 10] = [
            ("data_dir", store.data_dir.map(Into::into)),
            ("keys_dir", store.keys_dir.map(Into::into)),
            ("archive_dir", store.archive_dir.map(Into::into)),
            ("deployment", store.deployment.map(Into::into)),
            ("database_url", database.url.map(Into::into)),
            ("database_read_url", database.read_url.map(Into::into)),
            ("tree_heads_url", database.tree_heads_url.map(Into::into)),
            ("database_wait", text(database.wait_s)),
            ("database_readers", text(database.readers)),
            ("nodes", text(database.nodes)),
        ];
        let of_serve: [(&str, Option<OsString>); 7] = [
            ("listen", text(serve.listen)),
            ("publish_dir", serve.publish_dir.map(Into::into)),
            ("publish_url", serve.publish_url.map(Into::into)),
            ("otlp_endpoint", serve.otlp_endpoint.map(Into::into)),
            ("telemetry_wait", text(serve.telemetry_wait)),
            ("log_json", text(log.json)),
            ("log", log.filter.map(Into::into)),
        ];
        let command = with_defaults(command, global);
        ["serve", "demo"].into_iter().fold(command, |command, name| {
            let of_serve = of_serve.clone();
            command.mut_subcommand(name, |subcommand| with_defaults(subcommand, of_serve))
        })
    }
}

fn text(value: Option<impl ToString>) -> Option<OsString> {
    value.map(|value| value.to_string().into())
}

fn with_defaults<const N: usize>(command: Command, values: [(&str, Option<OsString>); N]) -> Command {
    values.into_iter().fold(command, |command, (name, value)| {
        let Some(value) = value else { return command };
        // A secret of the file is not told by --help.
        command.mut_arg(name, |arg| {
            let secret = arg.is_hide_env_values_set();
            arg.default_value(value).hide_default_value(secret)
        })
    })
}

/// The settings file that the command line or the environment names, before anything else of them is read.
pub fn file_of(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            return arguments.next().map(PathBuf::from);
        }
        let inline = argument.to_str().and_then(|text| text.strip_prefix("--config="));
        if let Some(path) = inline {
            return Some(path.into());
        }
        if argument == "--" {
            break;
        }
    }
    std::env::var_os(VARIABLE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_says_nothing_and_names_every_key() {
        assert_eq!(
            toml::from_str::<Settings>(REFERENCE).unwrap(),
            Settings::default()
        );
        // With every example taken out of its comment it is a file that says everything.
        let line = |line: &str| match line.strip_prefix("# ") {
            Some(key) if key.contains(" = ") => key.to_owned(),
            _ => line.to_owned(),
        };
        let all: Vec<String> = REFERENCE.lines().map(line).collect();
        let all: Settings = toml::from_str(&all.join("\n")).unwrap();
        let shown = format!("{all:?}");
        assert!(!shown.contains("None"), "not in the reference: {shown}");
    }

    #[test]
    fn a_key_that_is_not_known_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ruche.toml");
        std::fs::write(&path, "[store]\ndata_dir = \"x\"\n\n[database]\nadress = \"y\"\n").unwrap();
        let error = Settings::read(&path).unwrap_err().to_string();
        assert!(error.contains("line 5") && error.contains("adress"), "{error}");
        let absent = Settings::read(&folder.path().join("absent.toml")).unwrap_err();
        assert!(absent.to_string().contains("absent.toml"), "{absent}");
    }

    #[test]
    fn the_file_is_named_anywhere_before_the_end_of_options() {
        let arguments = |all: &[&str]| all.iter().map(OsString::from).collect::<Vec<_>>();
        let found = |all: &[&str]| file_of(&arguments(all));
        assert_eq!(
            found(&["ruche", "--config", "a.toml", "serve"]),
            Some("a.toml".into())
        );
        assert_eq!(
            found(&["ruche", "serve", "--config=b.toml"]),
            Some("b.toml".into())
        );
    }
}
