//! Profiles as people and programs read them.

use super::report::{ProfileReport, Report, SecretReport, ServerReport, Status};
use crate::failure::Failure;
use crate::lifespan::Lifespan;
use crate::output::harmless;
use crate::settings::ProfileSummary;
use jeton::{CachedToken, Timestamp};
use serde_json::{Value, json};
use std::fmt::Write as _;

const UNSET: &str = "-";

/// One line for each profile, in columns.
pub(super) fn table(profiles: &[ProfileSummary]) -> String {
    if profiles.is_empty() {
        return String::new();
    }
    let rows: Vec<[String; 6]> = profiles.iter().map(row).collect();
    let head =
        ["PROFILE", "CLIENT ID", "TOKEN URL OR ISSUER", "METHOD", "SCOPE", "SECRET"].map(str::to_owned);
    let all: Vec<&[String; 6]> = std::iter::once(&head).chain(&rows).collect();
    let mut table = String::new();
    for row in &all {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
            let _infallible = write!(line, "{cell:<width$}  ", width = width.unwrap_or(0));
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

fn row(profile: &ProfileSummary) -> [String; 6] {
    let told = |value: &Option<String>| value.as_deref().map_or_else(|| UNSET.to_owned(), harmless);
    [
        harmless(&profile.name),
        told(&profile.client_id),
        harmless(server(profile)),
        told(&profile.auth_method),
        told(&profile.scope),
        told(&profile.secret),
    ]
}

/// Where tokens are asked for, or of whom that is asked.
fn server(profile: &ProfileSummary) -> &str {
    profile.token_url.as_deref().or(profile.issuer.as_deref()).unwrap_or(UNSET)
}

/// A profile, by the names of the RFCs where they have them.
pub(super) fn summary(profile: &ProfileSummary) -> Value {
    json!({
        "name": profile.name,
        "token_endpoint": profile.token_url,
        "issuer": profile.issuer,
        "client_id": profile.client_id,
        "token_endpoint_auth_method": profile.auth_method,
        "scope": profile.scope,
        "credential": profile.credential,
        "secret_place": profile.secret,
    })
}

/// A block for each profile, and one for what is wrong outside of them.
pub(super) fn text(report: &Report, now: Timestamp) -> String {
    let mut text = String::new();
    if !report.faults.is_empty() {
        let name = report.settings_file.display().to_string();
        head(&mut text, &name, Status::Faulty);
        faults(&mut text, &report.faults);
    }
    for profile in &report.profiles {
        head(&mut text, &profile.summary.name, profile.status());
        body(&mut text, profile, now);
    }
    text
}

fn head(text: &mut String, name: &str, status: Status) {
    let _infallible = writeln!(text, "{}: {}", harmless(name), status.as_str());
}

fn line(text: &mut String, label: &str, value: &str) {
    let _infallible = writeln!(text, "  {label:<7}  {}", harmless(value));
}

fn faults(text: &mut String, faults: &[Failure]) {
    for fault in faults {
        line(text, "error", fault.message().unwrap_or_default());
        if let Some(hint) = fault.what_to_do() {
            line(text, "hint", hint);
        }
    }
}

fn body(text: &mut String, profile: &ProfileReport, now: Timestamp) {
    let ProfileReport { summary, faults: wrong, secret, server: asked } = profile;
    let told = |value: &Option<String>| value.clone().unwrap_or_else(|| UNSET.to_owned());
    line(text, "client", &format!("{} at {}", told(&summary.client_id), server(summary)));
    let method = summary.auth_method.as_deref().unwrap_or("what the issuer offers");
    line(text, "method", method);
    match secret {
        SecretReport::Unread => {}
        SecretReport::LeftInStandardInput => {
            let what = "left in standard input: check this profile alone to have it read";
            line(text, "secret", what);
        }
        SecretReport::Read { place, since, due_after } => {
            let age = since.map(|since| format!(", there for {}", Lifespan(now.saturating_since(since))));
            line(text, "secret", &format!("{place}{}", age.unwrap_or_default()));
            if secret.rotation_due(now) == Some(true) {
                let after = Lifespan(*due_after);
                line(text, "warning", &format!("it ought to be replaced: that is due after {after}"));
            }
        }
    }
    faults(text, wrong);
    match asked {
        ServerReport::NotAsked => {}
        ServerReport::Granted(token) => {
            let scope = token.granted_scope().map(|scope| format!(" for {scope}")).unwrap_or_default();
            let life = Lifespan(token.expires_at().saturating_since(now));
            line(text, "server", &format!("gave a token{scope}, which expires in {life}"));
        }
        ServerReport::Failed { failure, .. } => faults(text, std::slice::from_ref(failure)),
    }
}

/// The report, by the names of the RFCs where they have them.
pub(super) fn document(report: &Report, now: Timestamp) -> Value {
    let profiles: Vec<Value> = report.profiles.iter().map(|profile| of_profile(profile, now)).collect();
    json!({
        "settings_file": report.settings_file.to_string_lossy(),
        "status": report.status().as_str(),
        "faults": of_faults(&report.faults),
        "profiles": profiles,
    })
}

fn of_faults(faults: &[Failure]) -> Vec<Value> {
    let of = |fault: &Failure| {
        json!({
            "message": fault.message(),
            "hint": fault.what_to_do(),
            "line": fault.place().map(|place| place.line),
            "column": fault.place().map(|place| place.column),
        })
    };
    faults.iter().map(of).collect()
}

fn of_profile(profile: &ProfileReport, now: Timestamp) -> Value {
    let mut document = summary(&profile.summary);
    let since = profile.secret.since();
    let others = [
        ("status", json!(profile.status().as_str())),
        ("faults", json!(of_faults(&profile.faults))),
        ("secret_read", json!(matches!(profile.secret, SecretReport::Read { .. }))),
        ("secret_since", json!(since.map(Timestamp::as_unix_seconds))),
        ("secret_age_seconds", json!(since.map(|since| now.saturating_since(since).as_secs()))),
        ("rotation_due", json!(profile.secret.rotation_due(now))),
        ("server", of_server(&profile.server, now)),
    ];
    if let Some(fields) = document.as_object_mut() {
        fields.extend(others.map(|(name, value)| (name.to_owned(), value)));
    }
    document
}

fn of_server(server: &ServerReport, now: Timestamp) -> Value {
    match server {
        ServerReport::NotAsked => Value::Null,
        ServerReport::Granted(token) => granted(token, now),
        ServerReport::Failed { failure, error } => json!({
            "granted": false,
            "error": error,
            "message": failure.message(),
            "hint": failure.what_to_do(),
        }),
    }
}

fn granted(token: &CachedToken, now: Timestamp) -> Value {
    json!({
        "granted": true,
        "scope": token.granted_scope().map(ToString::to_string),
        "expires_in": token.expires_at().saturating_since(now).as_secs(),
        "expires_at": token.expires_at().as_unix_seconds(),
        "fingerprint": token.id().to_string(),
    })
}
