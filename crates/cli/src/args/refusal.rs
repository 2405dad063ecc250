//! What is told of a command line that cannot be read.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// So long is the longest word that is told again; flags and the names of commands are shorter.
const MAX_TOLD_BYTES: usize = 24;
/// Stands in for a word that is not told again.
const NOT_TOLD: &str = "(not shown, as it may be a secret)";

/// The error without the words that may be a secret: one that belongs to no flag, as when a secret stands behind a blank too many, and
/// one that does not look like the name of a flag, a command or a value. The flag that it was given for, and the usage, are told.
pub(super) fn without_secrets(mut error: clap::Error) -> clap::Error {
    let word = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        // The argument of all others is one that exists.
        _ => ContextKind::InvalidValue,
    };
    let harmless = match error.get(word) {
        Some(ContextValue::String(text)) if word == ContextKind::InvalidArg => {
            text.starts_with('-') && looks_like_a_name(text)
        }
        Some(ContextValue::String(text)) => looks_like_a_name(text),
        Some(_) | None => true,
    };
    if !harmless {
        error.insert(word, ContextValue::String(NOT_TOLD.to_owned()));
        // Hints how to give the same word in another way.
        error.remove(ContextKind::Suggested);
    }
    error
}

fn looks_like_a_name(word: &str) -> bool {
    word.len() <= MAX_TOLD_BYTES && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use crate::args::Cli;

    #[test]
    fn t34_a_word_of_the_command_line_that_may_be_a_secret_is_not_told_again() {
        for secret in ["canary-secret-1", "Canary", "canary-of-more-than-24-bytes", "canary=secret", "canáry"]
        {
            for args in [
                &["token", secret][..],
                &["token", "--client-secret", "env:A", secret],
                &[secret],
                &["cache", secret],
                &["token", "--output", secret],
                &["token", &format!("--no-cache={secret}")],
                &["call", &format!("-----BEGIN {secret}")],
                &["call", "GET", "http://localhost", &format!("-----BEGIN {secret}")],
                &["token", &format!("--nonsense={secret}")],
                &["token", "--nonsense", secret],
            ] {
                let error = Cli::read(["jeton"].iter().chain(args)).unwrap_err();
                let told = format!("{error} {error:?} {}", error.render().ansi());
                assert!(!told.contains(secret), "{args:?}: {told}");
            }
        }
    }

    #[test]
    fn what_is_mistyped_is_told_again() {
        for (args, words) in [
            (&["tokn"][..], &["unrecognized subcommand 'tokn'", "'token'"][..]),
            (
                &["token", "--client-secert", "x"],
                &["unexpected argument '--client-secert'", "'--client-secret'"],
            ),
            (&["token", "--output", "jsn"], &["invalid value 'jsn' for '--output <FORMAT>'", "text, json"]),
            (&["token", "billing"], &["unexpected argument '(not shown", "Usage: jeton token"]),
            (
                &["token", "--client", "a", "--client", "b"],
                &["'--client <NAME>' cannot be used multiple times"],
            ),
        ] {
            let told = Cli::read(["jeton"].iter().chain(args)).unwrap_err().to_string();
            for word in words {
                assert!(told.contains(word), "{word}: {told}");
            }
        }
    }
}
