//! The URL of a database: nothing in it is left out silently.

use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::error::OpenError;
use crate::tls::{Tls, Trust};

/// Settings that this engine needs to be as it sets them.
const OWN: [&str; 6] = [
    "role",
    "session_authorization",
    "search_path",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "transaction_read_only",
];
/// What `synchronous_commit` may be: the least that is promised, and more.
pub(crate) const SYNCHRONOUS: [&str; 2] = ["on", "remote_apply"];

/// Where a database is, and how to speak to it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// As the URL says.
    pub config: Config,
    pub tls: Tls,
    /// `options` of the URL, checked.
    pub options: String,
}

impl Endpoint {
    /// Reads a URL, or a connection string of libpq. `sslrootcert` and the `verify` modes need the URL form.
    ///
    /// # Errors
    /// `Url` naming the parameter, never the value of one that may be secret; `Weaker`; `Tls`.
    pub(crate) fn parse(url: &str) -> Result<Self, OpenError> {
        let (url, mode, roots) = split(url)?;
        let mut config: Config = url
            .parse()
            .map_err(OpenError::database("read the database URL"))?;
        let trust = match mode.as_deref() {
            Some("verify-ca") => Trust::Root,
            Some("verify-full") => Trust::RootAndName,
            Some("require") if roots.is_some() => Trust::Root,
            Some("require" | "prefer" | "disable") | None => Trust::Anybody,
            Some(other) => {
                let known = "disable, prefer, require, verify-ca or verify-full";
                return Err(OpenError::Url(format!("sslmode={other}: it is one of {known}")));
            }
        };
        match mode.as_deref() {
            Some("disable") => config.ssl_mode(SslMode::Disable),
            Some("require" | "verify-ca" | "verify-full") => config.ssl_mode(SslMode::Require),
            // Given in a connection string, or not at all.
            _ => &mut config,
        };
        let options = config.get_options().unwrap_or_default().to_owned();
        check_options(&options)?;
        Ok(Self {
            config,
            tls: Tls::new(trust, roots.as_deref())?,
            options,
        })
    }
}

/// Takes out of a URL what tokio-postgres does not know: `sslmode` and `sslrootcert`.
fn split(url: &str) -> Result<(String, Option<String>, Option<PathBuf>), OpenError> {
    let as_it_is = || Ok((url.to_owned(), None, None));
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return as_it_is();
    }
    let host = url.find('@').unwrap_or(0);
    let Some(query) = url[host..].find('?').map(|at| host + at) else {
        return as_it_is();
    };
    let (mut kept, mut mode, mut roots) = (Vec::new(), None, None);
    for parameter in url[query + 1..].split('&') {
        match parameter.split_once('=') {
            Some(("sslmode", value)) => mode = Some(decode(value)?),
            Some(("sslrootcert", value)) => roots = Some(PathBuf::from(decode(value)?)),
            _ => kept.push(parameter),
        }
    }
    let kept = kept.join("&");
    let kept = if kept.is_empty() { kept } else { format!("?{kept}") };
    Ok((format!("{}{kept}", &url[..query]), mode, roots))
}

/// Undoes percent encoding.
fn decode(text: &str) -> Result<String, OpenError> {
    let failed = || OpenError::Url("a percent sign is followed by two hexadecimal digits of UTF-8".into());
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        bytes.push(u8::from_str_radix(digits.ok_or_else(failed)?, 16).map_err(|_| failed())?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| failed())
}

/// Refuses settings that would make the engine's promises untrue.
fn check_options(options: &str) -> Result<(), OpenError> {
    let mut words = words(options).into_iter();
    while let Some(word) = words.next() {
        let setting = match word.as_str() {
            "-c" => words.next(),
            other => other
                .strip_prefix("--")
                .or_else(|| other.strip_prefix("-c"))
                .map(ToOwned::to_owned),
        };
        let Some((name, value)) = setting.as_deref().and_then(|setting| setting.split_once('=')) else {
            return Err(OpenError::Url(format!(
                "options has `{word}`: it takes `-c name=value` and `--name=value`"
            )));
        };
        let name = name.replace('-', "_").to_ascii_lowercase();
        if name == "synchronous_commit" {
            if !SYNCHRONOUS.contains(&value.to_ascii_lowercase().as_str()) {
                let (setting, value) = ("synchronous_commit", value.to_owned());
                return Err(OpenError::NotDurable { setting, value });
            }
        } else if OWN.contains(&name.as_str()) {
            return Err(OpenError::Url(format!("options sets {name}, which Ruche sets")));
        }
    }
    Ok(())
}

/// Words as the server splits them: at blanks, unless a backslash stands before.
fn words(options: &str) -> Vec<String> {
    let (mut words, mut word, mut escaped) = (Vec::new(), String::new(), false);
    for letter in options.chars() {
        match letter {
            '\\' if !escaped => escaped = true,
            blank if blank.is_ascii_whitespace() && !escaped => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            other => {
                word.push(other);
                escaped = false;
            }
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
