//! The settings file of the command line. Input: its text; `@@` stands for what is secret in it.

use crate::input::{planted, text};
use crate::verdict::{Verdict, holds, printable, silent};
use jeton_cli::settings_faults;
use toml::{Table, Value};

/// The longest message that is told of a settings file, hint included, in bytes.
const MAX_TOLD_BYTES: usize = 1024;
const KEYS: [&str; 20] = [
    "token_url",
    "client_id",
    "client_secret_file",
    "client_secret",
    "auth_method",
    "scopes",
    "audience",
    "resource",
    "endpoint_params",
    "ca_file",
    "plain_http_hosts",
    "cache",
    "cache_dir",
    "cache_keys",
    "cache_name_key",
    "cache_user",
    "cache_password",
    "cache_ca_file",
    "client",
    "server",
];

pub(crate) fn check(input: &[u8]) -> Verdict {
    check_with(settings_faults, input)
}

fn check_with(faults_of: impl Fn(&str) -> Vec<String>, input: &[u8]) -> Verdict {
    let text = text(&planted(input));
    let faults = faults_of(&text);
    for fault in &faults {
        holds(fault.len() <= MAX_TOLD_BYTES, || format!("{} bytes are told", fault.len()))?;
        holds(fault.starts_with("error: ") && fault.lines().count() <= 2, || format!("told as {fault:?}"))?;
        fault.lines().try_for_each(printable)?;
        // The name of a key that is not known is told, so that it can be found, and that of a profile; no secret stands before a
        // `=` or between brackets.
        if !fault.contains("unknown field `") && !fault.contains("in [client.") {
            silent(fault)?;
        }
    }
    let Ok(table) = text.parse::<Table>() else {
        return holds(!faults.is_empty(), || "what is not TOML was taken".to_owned());
    };
    let known = table.keys().all(|key| KEYS.contains(&key.as_str()));
    holds(known || !faults.is_empty(), || "an unknown key was passed over".to_owned())?;
    if faults.is_empty() {
        let named = |name: &str| table.get(name).is_some_and(Value::is_str);
        let whole = named("token_url")
            && named("client_id")
            && (named("client_secret_file") || named("client_secret"));
        holds(whole, || "settings that are not whole were taken".to_owned())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_told_again_or_passed_over_are_caught() {
        let good = b"token_url = \"https://x/\"\nclient_id = \"c\"\nclient_secret_file = \"s\"\n";
        assert_eq!(check(good), Ok(()));
        assert!(check_with(|_| Vec::new(), b"tokenurl = 1").is_err());
        assert!(check_with(|_| Vec::new(), b"=").is_err());
        let telling = |text: &str| vec![format!("error: {text}")];
        assert!(check_with(telling, b"client_secret = \"@@\"").is_err());
        assert!(check_with(|_| vec![format!("error: \u{1b}[2J")], good).is_err());
    }
}
