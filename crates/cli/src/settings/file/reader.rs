//! Takes a settings file apart, and finds all that is wrong with it at once.

use super::{Content, FileFault, Profile, ServerSection, place};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::settings::profile::ProfileName;
use crate::settings::section::{ClientSection, KNOWN, NotTaken};
use jeton_proto::wire::error_response::printable;
use serde::Deserialize as _;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

/// More is not told of one file.
const MAX_FAULTS: usize = 100;
/// How the fault of a text begins that names no place of a secret.
const NO_PLACE: &str = "it must say where the secret is";

/// The content of a settings file, as far as it can be read, and what is wrong with it.
pub(super) fn read(path: &Path, text: &str) -> (Content, Vec<FileFault>) {
    let mut reader = Reader { path, text, content: Content::default(), faults: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        reader.document(document.into_inner());
    } else {
        // What could be made of the rest is not what was meant.
        for error in &errors {
            reader.error(error, 0..0, None);
        }
    }
    let Reader { content, mut faults, .. } = reader;
    faults.sort_by_key(|(at, _)| *at);
    (content, faults.into_iter().map(|(_, fault)| fault).take(MAX_FAULTS).collect())
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    content: Content,
    /// With the bytes at which they are.
    faults: Vec<(usize, FileFault)>,
}

type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;

impl<'a> Reader<'a> {
    fn document(&mut self, document: DeTable<'a>) {
        let mut top = ClientSection::default();
        for (key, value) in document {
            let span = value.span();
            match key.get_ref().as_ref() {
                "client" => self.profiles(value),
                "server" => match ServerSection::deserialize(ValueDeserializer::from(value)) {
                    Ok(server) => self.content.server = server,
                    Err(error) => self.error(&error, span, None),
                },
                _ => self.key(&mut top, &key, value, None),
            }
        }
        self.content.top = top;
    }

    fn profiles(&mut self, value: Spanned<DeValue<'a>>) {
        let span = value.span();
        let DeValue::Table(tables) = value.into_inner() else {
            self.fault(span, "client: it is written as tables, [client.NAME]", None);
            return;
        };
        for (key, value) in tables {
            match key.get_ref().parse::<ProfileName>() {
                Ok(name) => self.profile(name, &key, value),
                Err(error) => self.fault(key.span(), &format!("client: {error}"), None),
            }
        }
    }

    fn profile(&mut self, name: ProfileName, key: &Key<'_>, value: Spanned<DeValue<'a>>) {
        let mut section = ClientSection::default();
        match value.into_inner() {
            DeValue::Table(table) => {
                for (key, value) in table {
                    self.key(&mut section, &key, value, Some(&name));
                }
            }
            // A key of a client, written as if there were one client.
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                let what = "client: the keys of a client stand in its table, [client.NAME]";
                return self.fault(key.span(), what, None);
            }
        }
        self.content.profiles.insert(name, Profile { section, span: key.span() });
    }

    fn key(
        &mut self,
        section: &mut ClientSection,
        key: &Key<'_>,
        value: Spanned<DeValue<'a>>,
        profile: Option<&ProfileName>,
    ) {
        match section.take(key.get_ref(), value) {
            Ok(()) => {}
            Err(NotTaken::Value { error, span }) => {
                self.error(&error, span, profile);
                if let Some((_, fault)) = self.faults.last_mut() {
                    fault.key = Some(key.get_ref().to_string());
                    if error.message().starts_with(NO_PLACE) {
                        let hint = match key.get_ref().as_ref() {
                            "client_secret" => "client_secret_file = \"PATH\"".to_owned(),
                            // It is a key that is known, so nothing secret.
                            key => format!("{key} = \"file:PATH\""),
                        };
                        let hint = format!("secrets are not written in the settings file; write {hint}");
                        fault.failure = fault.failure.clone().hint(hint);
                    }
                }
            }
            Err(NotTaken::Unknown) => {
                let mut known: Vec<String> =
                    KNOWN.iter().map(|known| format!("`{}`", known.name.file)).collect();
                if profile.is_none() {
                    known.extend(["`server`".to_owned(), "`client`".to_owned()]);
                }
                let what = format!("unknown field `{}`, expected one of {}", key.get_ref(), known.join(", "));
                self.fault(key.span(), &printable(&what), profile);
            }
        }
    }

    /// The message of the parser without the line that it quotes, and without a value: a secret may be in both. The name
    /// of a key is told, cut and cleaned.
    fn error(&mut self, error: &Error, around: Range<usize>, profile: Option<&ProfileName>) {
        let what = error.message();
        let what = match what.rsplit_once(", expected ") {
            // What stands before the first colon is "invalid type" or the like.
            Some((found, expected)) if found.starts_with("invalid ") => {
                format!("{}, expected {expected}", found.split(':').next().unwrap_or_default())
            }
            Some(_) | None => printable(what.lines().next().unwrap_or("it is not toml")),
        };
        self.fault(error.span().unwrap_or(around), &what, profile);
    }

    fn fault(&mut self, span: Range<usize>, what: &str, profile: Option<&ProfileName>) {
        let (line, column) = place(self.text, span.start);
        let message = format!("{}:{line}:{column}: {what}", self.path.display());
        let failure = Failure::new(ExitCode::Configuration, message).at(line, column);
        self.faults.push((span.start, FileFault { profile: profile.cloned(), key: None, failure }));
    }
}
