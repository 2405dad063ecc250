//! The names of the variables that secrets are read from, as far as they can be told before the settings are.

use crate::settings::{CLIENT_SECRET_VARIABLE, Layers};
use jeton::credentials::Environment;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The variables that hold a secret whatever the settings are.
const ALWAYS: [&str; 1] = [CLIENT_SECRET_VARIABLE];

/// Those of a place that reads its own token from the environment, where nothing else is said.
const VAULT_TOKENS: [&str; 2] = ["BAO_TOKEN", "VAULT_TOKEN"];

const CONFIG_FLAG: &str = "--config";

/// The longest settings file that is looked through, in bytes. A longer one is refused when it is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The names that are written `env:NAME` on the command line, in the variables of this program and in the settings file, and those that
/// always hold a secret. That some of these sources will not be read does no harm: a secret is in them all the same.
pub(super) fn of_secrets(arguments: &[OsString], environment: &Environment) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ALWAYS.map(str::to_owned).into();
    for argument in arguments {
        names.extend(argument.to_str().into_iter().flat_map(in_argument).map(str::to_owned));
    }
    for (name, value) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("JETON_") && !ALWAYS.contains(&name)) {
            names.extend(in_text(&value.to_string_lossy()).map(str::to_owned));
        }
    }
    if let Some(text) = settings_text(named_settings(arguments).as_deref(), environment) {
        names.extend(in_text(&text).map(str::to_owned));
    }
    names
}

/// Those of the place in `PLACE`, or `--FLAG=PLACE`. Elsewhere in an argument it is text, such as the body of a call.
fn in_argument(argument: &str) -> Vec<&str> {
    let value = argument.starts_with("--").then(|| argument.split_once('=')).flatten();
    in_place(value.map_or(argument, |(_, value)| value))
}

/// Those of each place that stands alone, or in quotes, in a list.
fn in_text(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '[' | ']'));
    words.flat_map(in_place)
}

/// `env:NAME`; and with Vault, those that its options name so, and its own.
fn in_place(place: &str) -> Vec<&str> {
    let options = match place.split_once(':') {
        Some(("env", name)) if !name.is_empty() => return vec![name],
        Some(("vault" | "bao", rest)) => rest.split(['?', '&']).skip(1),
        Some(_) | None => return Vec::new(),
    };
    let named = options.filter_map(|option| option.split_once("=env:")).map(|(_, name)| name);
    named.filter(|name| !name.is_empty()).chain(VAULT_TOKENS).collect()
}

/// The text of the settings file. What can be read only once, as a pipe, is left to the one that reads it.
fn settings_text(named: Option<&Path>, environment: &Environment) -> Option<String> {
    let path = Layers::path(named, environment).ok()??;
    if !path.metadata().ok()?.is_file() || path.as_os_str() == OsStr::new("/dev/stdin") {
        return None;
    }
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_FILE_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The settings file that the command line names, in whichever of its two forms.
fn named_settings(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == CONFIG_FLAG {
            return arguments.next().map(PathBuf::from);
        }
        let value = argument.to_str().and_then(|text| text.strip_prefix(CONFIG_FLAG)?.strip_prefix('='));
        if let Some(value) = value {
            return Some(PathBuf::from(value));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_file_is_the_one_that_the_command_line_names() {
        let named = |line: &str| {
            let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            named_settings(&arguments)
        };
        assert_eq!(named("token --config a.toml"), Some(PathBuf::from("a.toml")));
        assert_eq!(named("--config=b.toml token"), Some(PathBuf::from("b.toml")));
        assert_eq!(named("token --configuration c.toml --config"), None);
    }

    #[test]
    fn names_are_found_where_sources_are_written() {
        for (argument, name) in [
            ("env:A", Some("A")),
            ("--client-secret=env:A=B", Some("A=B")),
            ("--data=x env:A", None),
            ("x=env:A", None),
            ("file:env:A", None),
        ] {
            assert_eq!(in_argument(argument), name.into_iter().collect::<Vec<_>>(), "{argument}");
        }
        let vault = "--client-secret=vault:secret/env:A#b?auth=approle&role_id=env:R&secret_id=env:S";
        assert_eq!(in_argument(vault), ["R", "S", "BAO_TOKEN", "VAULT_TOKEN"]);
        assert_eq!(in_argument("bao:secret/a"), VAULT_TOKENS);
        let file = "cache_keys = [\"env:A\", 'env:B']\npassword=\"env:C\" # env:D\n\"file:env:E\" env:";
        assert_eq!(in_text(file).collect::<Vec<_>>(), ["A", "B", "C", "D"]);
        assert_eq!(in_text("env:A file:x,env:B").collect::<Vec<_>>(), ["A", "B"]);
    }
}
