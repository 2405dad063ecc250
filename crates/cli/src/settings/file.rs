//! The settings file, in TOML. A key that is not known is refused: it is a setting that would be passed over.

mod reader;

use super::Origin;
use super::profile::ProfileName;
use super::section::ClientSection;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// The longest settings file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The settings file that was read, or an empty one.
#[derive(Debug, Default)]
pub(crate) struct SettingsFile {
    path: PathBuf,
    text: String,
    pub(super) content: Content,
    /// What is wrong with it, in the order of the file.
    pub(super) faults: Vec<FileFault>,
}

/// What the settings file says.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The keys at the top.
    pub(super) top: ClientSection,
    /// The tables `[client.NAME]`.
    pub(super) profiles: BTreeMap<ProfileName, Profile>,
    pub(super) server: ServerSection,
}

/// A table `[client.NAME]`.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) section: ClientSection,
    /// Where its name stands.
    pub(super) span: Range<usize>,
}

/// The keys of the section `[server]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerSection {
    pub(super) listen: Option<Spanned<String>>,
    pub(super) issuer: Option<Spanned<String>>,
    pub(super) data_dir: Option<Spanned<String>>,
    pub(super) database: Option<Spanned<String>>,
    pub(super) database_password: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
    pub(super) previous_key: Option<Spanned<String>>,
    pub(super) default_audience: Option<Spanned<String>>,
    pub(super) signing_algorithms: Option<Spanned<Vec<String>>>,
    pub(super) key_rotation_period: Option<Spanned<String>>,
    pub(super) jwks_max_age: Option<Spanned<String>>,
    pub(super) longest_token_lifetime: Option<Spanned<String>>,
    pub(super) clients_dir: Option<Spanned<String>>,
    pub(super) unnamed_clients: Option<Spanned<String>>,
    pub(super) audit_log: Option<Spanned<String>>,
    pub(super) metrics_listen: Option<Spanned<String>>,
    pub(super) otlp_endpoint: Option<Spanned<String>>,
    pub(super) otlp_interval: Option<Spanned<String>>,
    pub(super) admin_listen: Option<Spanned<String>>,
    pub(super) tls_certificate: Option<Spanned<String>>,
    pub(super) tls_key: Option<Spanned<String>>,
    pub(super) tls_client_ca: Option<Spanned<String>>,
    pub(super) assertion_audience: Option<Spanned<String>>,
    pub(super) key_authorities: Option<Spanned<String>>,
    pub(super) client_requests_per_second: Option<Spanned<NumberOrText>>,
    pub(super) client_burst: Option<Spanned<NumberOrText>>,
    pub(super) mint_per_call: Option<Spanned<String>>,
    pub(super) mints_per_token_life: Option<Spanned<NumberOrText>>,
}

/// A number, or a text that may be one; kept as text, as flags and variables have it.
#[derive(Clone, Debug)]
pub(super) struct NumberOrText(pub(super) String);

impl<'de> Deserialize<'de> for NumberOrText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl serde::de::Visitor<'_> for Reader {
            type Value = NumberOrText;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number or a string")
            }

            fn visit_i64<E>(self, number: i64) -> Result<NumberOrText, E> {
                Ok(NumberOrText(number.to_string()))
            }

            fn visit_str<E>(self, text: &str) -> Result<NumberOrText, E> {
                Ok(NumberOrText(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// What is wrong in the settings file.
#[derive(Debug)]
pub(super) struct FileFault {
    /// In which profile; a fault outside of all of them concerns every command.
    pub(super) profile: Option<ProfileName>,
    /// The key of a client whose value is wrong.
    pub(super) key: Option<String>,
    pub(super) failure: Failure,
}

impl SettingsFile {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let fault = |what: String| {
            let message = format!("the settings file {}: {what}", path.display());
            Failure::new(ExitCode::Configuration, message)
        };
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
        match read {
            Ok(bytes) if bytes as u64 <= MAX_FILE_BYTES => Ok(Self::parse(path, text)),
            Ok(_) => Err(fault(format!("it is longer than {MAX_FILE_BYTES} bytes"))),
            Err(error) => Err(fault(error.to_string())),
        }
    }

    /// Reads the text of the file `path`.
    pub(super) fn parse(path: &Path, text: String) -> Self {
        let (content, faults) = reader::read(path, &text);
        Self { path: path.to_owned(), text, content, faults }
    }

    /// Where it is, if there is one.
    pub(super) fn path(&self) -> Option<&Path> {
        Some(self.path.as_path()).filter(|path| !path.as_os_str().is_empty())
    }

    /// The place of a key.
    pub(super) fn origin(&self, name: &'static str, span: Range<usize>) -> Origin {
        let (line, column) = place(&self.text, span.start);
        Origin::File { path: self.path.clone(), line, column, name }
    }
}

/// Line and column of a byte, counted from 1, the column in characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}
