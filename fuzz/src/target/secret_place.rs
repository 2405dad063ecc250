//! Where a secret is. Input: the text of a place; `@@` stands for what is secret in it.

use crate::input::{CANARY, planted, text};
use crate::verdict::{Verdict, fit_for_a_log, holds, same, silent};
use jeton::credentials::{CommandLine, InvalidPlace, SecretPlace, VaultPlace};
use std::path::Path;

/// The longest text of a command, in bytes.
const MAX_LINE_BYTES: usize = 8192;

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(str::parse, input)
}

fn check_with(parser: impl Fn(&str) -> Result<SecretPlace, InvalidPlace>, input: &[u8]) -> Verdict {
    let text = text(&planted(input));
    let place = match parser(&text) {
        Ok(place) => place,
        Err(error) => return fit_for_a_log(&error),
    };
    let named = |form: &str| text.strip_prefix(form).unwrap_or_default();
    match &place {
        SecretPlace::Environment(name) => {
            same("the name of the variable", &name.as_str(), &named("env:"))?;
            holds(!name.is_empty() && !name.contains(['=', '\0']), || format!("no variable: {name:?}"))?;
        }
        SecretPlace::File(path) => {
            same("the path", &path.as_path(), &Path::new(named("file:")))?;
            holds(path.as_os_str() != "", || "no path".to_owned())?;
        }
        SecretPlace::StandardInput => same("standard input", &text.as_str(), &"-")?,
        SecretPlace::Command(line) => command(&parser, named("cmd:"), line, &place)?,
        SecretPlace::Systemd(name) => {
            same("the name of the credential", &name.as_str(), &named("systemd:"))?;
            let leads_out = name.contains('/') || matches!(name.as_str(), "" | "." | "..");
            holds(!leads_out, || format!("{name:?} leads out of the directory"))?;
        }
        SecretPlace::Vault(place) => return vault(&text, place),
        SecretPlace::Aws(_) => {
            let name = named("aws:").split(['#', '?']).next().unwrap_or_default();
            holds(!name.is_empty() && place.to_string().contains(name), || format!("another one: {place}"))?;
        }
        SecretPlace::Keyring(_) => {
            let (service, user) = named("keyring:").rsplit_once('/').unwrap_or_default();
            let told = format!("the keyring entry of service {service} and user {user}");
            same("the entry", &place.to_string(), &told)?;
        }
    }
    holds(place.reads_standard_input() == (text == "-"), || "standard input is read unasked".to_owned())
}

/// Nothing that stands behind the options is shown, and no path leads out of its mount.
fn vault(text: &str, place: &VaultPlace) -> Verdict {
    let shown = place.to_string();
    let leads_out = shown.split('/').any(|segment| matches!(segment, "." | ".."));
    holds(!leads_out, || format!("{shown:?} leads out of the mount"))?;
    holds(!shown.contains(char::is_control), || format!("not for a log: {shown:?}"))?;
    let (secret, _) = text.split_once('?').unwrap_or((text, ""));
    if secret.contains(CANARY) { Ok(()) } else { silent(&shown) }
}

/// Words that are quoted anew are the same words, and none holds more than stood there.
fn command(
    parser: &impl Fn(&str) -> Result<SecretPlace, InvalidPlace>,
    text: &str,
    line: &CommandLine,
    place: &SecretPlace,
) -> Verdict {
    holds(text.len() <= MAX_LINE_BYTES, || format!("a command of {} bytes", text.len()))?;
    let words = || line.arguments().iter().map(String::as_str).chain([line.program()]);
    let bytes: usize = words().map(str::len).sum();
    holds(bytes <= text.len(), || format!("{bytes} bytes in words of {}", text.len()))?;
    holds(!line.program().is_empty(), || "no program".to_owned())?;
    if !line.program().contains(CANARY) {
        silent(&format!("{place} {place:?}"))?;
    }
    let quoted = |word: &str| format!("'{}'", word.replace('\'', r"'\''"));
    let again = [line.program()].into_iter().chain(line.arguments().iter().map(String::as_str));
    let again = format!("cmd:{}", again.map(quoted).collect::<Vec<_>>().join(" "));
    if again.len() <= MAX_LINE_BYTES {
        same("the words quoted anew", &parser(&again).as_ref(), &Ok(place))?;
    }
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '/' | '.' | ','));
    if plain {
        let expected: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
        let found: Vec<&str> =
            [line.program()].into_iter().chain(line.arguments().iter().map(String::as_str)).collect();
        same("the plain words", &found, &expected)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grammar_that_tells_secrets_or_loses_words_is_caught() {
        for good in [
            "env:A",
            "file:/a",
            "-",
            "cmd:pass show @@",
            "cmd:a 'b c' \"d\\\"\" e\\ f",
            "systemd:a",
            "@@",
            "@@:@@",
            "env:A=@@",
            "cmd:@@ |",
            "cmd:''",
            "systemd:../@@",
            "aws:prod/a#b?region=c&profile=d",
            "aws:@@?@@=@@",
            "aws:@@ ",
            "keyring:https://a/b",
            "keyring:@@",
            "vault:@@",
            "vault:@@/a#@@",
            "bao:secret/a%2Fb#c?auth=approle&role_id=env:A&secret_id=@@",
            "vault:secret/a?@@=1&kv=2",
            "vault:secret/a?token=-&address=@@",
            "vault:secret/%2E%2E/@@",
            "op:@@",
            "",
        ] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        let telling = |text: &str| Err(InvalidPlace::Form { form: "cmd", what: text.to_owned() });
        assert!(check_with(telling, b"cmd:@@").is_err());
        let literal = |text: &str| Ok(SecretPlace::Environment(text.to_owned()));
        assert!(check_with(literal, b"@@").is_err());
        let blind = |text: &str| match text.strip_prefix("cmd:") {
            Some(line) => {
                line.split_whitespace().collect::<Vec<_>>().join("").parse().map(SecretPlace::Command)
            }
            None => text.parse(),
        };
        assert!(check_with(blind, b"cmd:a b").is_err());
        let out = |text: &str| Ok(SecretPlace::Systemd(text.trim_start_matches("systemd:").to_owned()));
        assert!(check_with(out, b"systemd:..").is_err());
        let told = |_: &str| "vault:c4n4ry-v4lue/b".parse();
        assert!(check_with(told, b"vault:a/b?token=@@").is_err());
    }
}
