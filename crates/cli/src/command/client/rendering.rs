//! A client as it is shown, with the names of RFC 7591 where it has them. Nothing secret is in it.

use crate::lifespan::Lifespan;
use crate::moment;
use crate::output;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::issuance::{
    ClientCredentials, ClientKeys, ClientSettings, ClientStatus, NamedSecret, SecretTerm, WorkloadTrust,
};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::time::Timestamp;
use jeton_server::{ClientRecord, LastUses};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What is set for a client.
pub(super) fn settings(settings: &ClientSettings) -> Value {
    json!({
        "client_id": settings.client_id,
        "grant_types": ["client_credentials"],
        "scope": settings.allowed_scope.to_string(),
        "default_scope": settings.default_scope.as_ref().map(ToString::to_string),
        "audience": settings.audiences,
        "token_lifetime_seconds": settings.token_lifetime.as_secs(),
        "signing_algorithm": settings.signing_algorithm.map(Algorithm::as_str),
        "labels": settings.labels,
        "status": status_name(settings.status),
    })
}

/// All that there is of a client.
pub(super) fn record(record: &ClientRecord, uses: &LastUses, now: Timestamp) -> Value {
    let mut document = settings(&record.settings);
    let credentials = &record.credentials;
    let secrets: Vec<_> = credentials.secrets.iter().map(|held| secret(held, uses, now)).collect();
    set(&mut document, "client_id_issued_at", json!(record.created_at.as_unix_seconds()));
    set(&mut document, "managed_by", json!(record.managed_by));
    set(&mut document, "secrets", json!(secrets));
    match &credentials.keys {
        None => {}
        Some(ClientKeys::Inline(jwks)) => {
            set(&mut document, "jwks", serde_json::from_str(jwks).unwrap_or_default());
        }
        Some(ClientKeys::Url(url)) => set(&mut document, "jwks_uri", json!(url)),
    }
    if let Some(subject) = &credentials.tls_subject {
        set(&mut document, subject.member(), json!(subject.value()));
    }
    set(&mut document, "x5t#S256", json!(thumbprints(credentials)));
    set(&mut document, "workloads", credentials.workloads.iter().map(workload).collect());
    document
}

/// Adds a member to an object.
pub(super) fn set(document: &mut Value, member: &str, value: Value) {
    if let Some(members) = document.as_object_mut() {
        members.insert(member.to_owned(), value);
    }
}

/// One secret, without its digest.
pub(super) fn secret(secret: &NamedSecret, uses: &LastUses, now: Timestamp) -> Value {
    let seconds = |at: Option<Timestamp>| at.map(Timestamp::as_unix_seconds);
    json!({
        "name": secret.name,
        "created_at": secret.created_at.as_unix_seconds(),
        "not_before": seconds(secret.not_before),
        "expires_at": seconds(secret.expires_at),
        "last_used_at": seconds(uses.of(secret)),
        "term": term_name(secret.term(now)),
        "sealed": secret.sealed.is_some(),
    })
}

fn workload(trust: &WorkloadTrust) -> Value {
    let claims: serde_json::Map<_, _> =
        trust.claims.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "issuer": trust.issuer,
        "audience": trust.audience,
        "subject": trust.subject,
        "claims": claims,
    })
}

fn thumbprints(credentials: &ClientCredentials) -> Vec<String> {
    credentials.certificates.iter().map(|print| URL_SAFE_NO_PAD.encode(print.0)).collect()
}

/// How the state of a secret is called.
pub(super) const fn term_name(term: SecretTerm) -> &'static str {
    match term {
        SecretTerm::NotYet => "not yet",
        SecretTerm::InForce => "in force",
        SecretTerm::Expired => "expired",
    }
}

const fn status_name(status: ClientStatus) -> &'static str {
    match status {
        ClientStatus::Enabled => "enabled",
        ClientStatus::Disabled => "disabled",
    }
}

/// A client for people.
pub(super) fn text(record: &ClientRecord, uses: &LastUses, now: Timestamp) -> String {
    let (settings, credentials) = (&record.settings, &record.credentials);
    let mut lines = vec![
        ("client id", settings.client_id.clone()),
        ("status", status_name(settings.status).to_owned()),
        ("added", moment::second(record.created_at)),
        ("managed by", record.managed_by.clone().unwrap_or_else(|| "nobody but this command".to_owned())),
        ("scope", settings.allowed_scope.to_string()),
        ("default scope", settings.default_scope.as_ref().map_or("the same".to_owned(), ToString::to_string)),
        ("token lifetime", Lifespan(settings.token_lifetime).to_string()),
    ];
    lines.extend(settings.audiences.iter().map(|audience| ("audience", audience.clone())));
    lines.extend(settings.signing_algorithm.map(|name| ("signed with", name.as_str().to_owned())));
    lines.extend(settings.labels.iter().map(|(name, value)| ("label", format!("{name}={value}"))));
    lines.extend(credentials.secrets.iter().map(|held| ("secret", secret_line(held, uses, now))));
    match &credentials.keys {
        None => {}
        Some(ClientKeys::Inline(_)) => lines.push(("jwks", "kept here; see --output json".to_owned())),
        Some(ClientKeys::Url(url)) => lines.push(("jwks uri", url.clone())),
    }
    lines.extend(
        credentials
            .tls_subject
            .as_ref()
            .map(|subject| ("certificate", format!("{} {}", subject.member(), subject.value()))),
    );
    lines.extend(
        thumbprints(credentials).into_iter().map(|print| ("certificate", format!("x5t#S256 {print}"))),
    );
    lines.extend(credentials.workloads.iter().map(|trust| ("workload", workload(trust).to_string())));
    output::labelled(&lines)
}

fn secret_line(secret: &NamedSecret, uses: &LastUses, now: Timestamp) -> String {
    let mut line = format!(
        "{}: {}, made {}",
        secret.name,
        term_name(secret.term(now)),
        moment::distance(secret.created_at, now)
    );
    if let Some(end) = secret.expires_at {
        let _infallible = write!(line, ", ends {}", moment::distance(end, now));
    }
    match uses.of(secret) {
        Some(used_at) => {
            let _infallible = write!(line, ", last used {}", moment::distance(used_at, now));
        }
        None => line.push_str(", never used"),
    }
    if secret.sealed.is_some() {
        line.push_str(", kept for client_secret_jwt");
    }
    line
}

/// One line for each client, in columns.
pub(super) fn table(clients: &[ClientRecord]) -> String {
    if clients.is_empty() {
        return String::new();
    }
    let id_width = clients.iter().map(|record| record.settings.client_id.len()).max().unwrap_or(0).max(9);
    let mut table =
        format!("{:<id_width$}  {:<8}  {:<10}  {:<8}  SCOPE\n", "CLIENT ID", "STATUS", "ADDED", "LIFETIME");
    for record in clients {
        let settings = &record.settings;
        let row = format!(
            "{:<id_width$}  {:<8}  {:<10}  {:<8}  {}",
            settings.client_id,
            status_name(settings.status),
            moment::date(record.created_at),
            Lifespan(settings.token_lifetime).to_string(),
            settings.allowed_scope,
        );
        table.push_str(row.trim_end());
        table.push('\n');
    }
    table
}
