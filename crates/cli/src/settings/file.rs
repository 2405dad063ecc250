//! The settings file, in TOML. A key that is not known is refused: it is a setting that would be passed over.

use super::Origin;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use jeton::credentials::{InvalidPlace, SecretPlace};
use jeton_proto::wire::error_response::printable;
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
}

/// The keys of the settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    pub(super) token_url: Option<Spanned<String>>,
    pub(super) client_id: Option<Spanned<String>>,
    pub(super) client_secret: Option<Spanned<PlaceOfSecret>>,
    pub(super) client_secret_file: Option<Spanned<String>>,
    pub(super) auth_method: Option<Spanned<String>>,
    pub(super) scopes: Option<Spanned<Vec<String>>>,
    pub(super) audience: Option<Spanned<String>>,
    pub(super) resource: Option<Spanned<Vec<String>>>,
    pub(super) endpoint_params: Option<Spanned<BTreeMap<String, String>>>,
    pub(super) ca_file: Option<Spanned<String>>,
    pub(super) plain_http_hosts: Option<Spanned<Vec<String>>>,
    pub(super) cache: Option<Spanned<String>>,
    pub(super) cache_dir: Option<Spanned<String>>,
    pub(super) cache_keys: Option<Spanned<Vec<String>>>,
    pub(super) cache_name_key: Option<Spanned<String>>,
    pub(super) cache_user: Option<Spanned<String>>,
    pub(super) cache_password: Option<Spanned<String>>,
    pub(super) cache_ca_file: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) server: ServerSection,
}

/// The keys of the section `[server]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerSection {
    pub(super) listen: Option<Spanned<String>>,
    pub(super) issuer: Option<Spanned<String>>,
    pub(super) data_dir: Option<Spanned<String>>,
    pub(super) default_audience: Option<Spanned<String>>,
    pub(super) signing_algorithm: Option<Spanned<String>>,
    pub(super) longest_token_lifetime: Option<Spanned<String>>,
}

/// Where a secret is. A secret itself is refused with the place at which it stands, whatever the file is read for.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PlaceOfSecret(pub(super) SecretPlace);

impl TryFrom<String> for PlaceOfSecret {
    type Error = InvalidPlace;

    fn try_from(text: String) -> Result<Self, InvalidPlace> {
        text.parse().map(Self)
    }
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
            Ok(bytes) if bytes as u64 <= MAX_FILE_BYTES => Self::parse(path, text),
            Ok(_) => Err(fault(format!("it is longer than {MAX_FILE_BYTES} bytes"))),
            Err(error) => Err(fault(error.to_string())),
        }
    }

    /// Reads the text of the file `path`.
    pub(super) fn parse(path: &Path, text: String) -> Result<Self, Failure> {
        match toml::from_str(&text) {
            Ok(content) => Ok(Self { path: path.to_owned(), text, content }),
            Err(error) => Err(syntax_failure(path, &text, &error)),
        }
    }

    /// The place of a key.
    pub(super) fn origin(&self, name: &'static str, span: Range<usize>) -> Origin {
        let (line, column) = place(&self.text, span.start);
        Origin::File { path: self.path.clone(), line, column, name }
    }
}

/// The message of the parser without the line that it quotes, and without a value: a secret may be in both. The name
/// of a key is told, cut and cleaned.
fn syntax_failure(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let (line, column) = place(text, error.span().map_or(0, |span| span.start));
    let what = error.message();
    let what = match what.rsplit_once(", expected ") {
        // What stands before the first colon is "invalid type" or the like.
        Some((found, expected)) if found.starts_with("invalid ") => {
            format!("{}, expected {expected}", found.split(':').next().unwrap_or_default())
        }
        Some(_) | None => printable(what.lines().next().unwrap_or("it is not toml")),
    };
    let message = format!("{}:{line}:{column}: {what}", path.display());
    let failure = Failure::new(ExitCode::Configuration, message);
    if what.starts_with("it must say where the secret is") {
        return failure
            .hint("secrets are not written in the settings file; write client_secret_file = \"PATH\"");
    }
    failure
}

/// Line and column of a byte, counted from 1, the column in characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}
