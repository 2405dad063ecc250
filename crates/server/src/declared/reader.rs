//! Takes one file apart, and finds all that is wrong with it at once.

mod members;

use super::client::{DeclaredClient, DeclaredSecrets, FileFault, Place};
use super::text::Lines;
use crate::registry::parse_jwks;
use jeton_proto::issuance::{
    ClientCredentials, ClientKeys, ClientSettings, ClientStatus, InvalidClientSettings, NamedSecret,
    RegisteredClient, TlsSubject,
};
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use jeton_proto::wire::scope::Scope;
use serde::Deserialize;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// The keys of a client.
const KEYS: &str = "client_id, scope, default_scope, audience, token_lifetime_seconds, signing_algorithm, status, labels, jwks, \
     jwks_file, jwks_uri, tls_client_auth_subject_dn, tls_client_auth_san_dns, tls_client_auth_san_uri, tls_client_auth_san_ip, \
     tls_client_auth_san_email, certificates, workloads and secret_digests";

/// The clients of the file `file`, whose text this is; paths in it are relative to `dir`.
pub(super) fn read(file: &str, text: &str, dir: &Path) -> Result<Vec<DeclaredClient>, Vec<FileFault>> {
    let mut reader = Reader { file, dir, lines: Lines::of(text), faults: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            reader.fault(&error.span().unwrap_or(0..0), error.message());
        }
        return Err(reader.faults);
    }
    let clients = reader.document(document.into_inner());
    if reader.faults.is_empty() { Ok(clients) } else { Err(reader.faults) }
}

struct Reader<'a> {
    file: &'a str,
    dir: &'a Path,
    lines: Lines,
    faults: Vec<FileFault>,
}

/// A client as far as it was read, and where its members stand.
struct Draft {
    settings: ClientSettings,
    status: Option<ClientStatus>,
    credentials: ClientCredentials,
    secrets: DeclaredSecrets,
    spans: HashMap<String, Range<usize>>,
}

impl<'a> Reader<'a> {
    fn place(&self, span: &Range<usize>) -> Place {
        Place { file: self.file.to_owned(), line: self.lines.line(span) }
    }

    fn fault(&mut self, span: &Range<usize>, what: impl Into<String>) {
        let place = self.place(span);
        self.faults.push(FileFault { place, what: what.into() });
    }

    /// One client, or several as tables `[[client]]`.
    fn document(&mut self, mut document: DeTable<'a>) -> Vec<DeclaredClient> {
        let Some(clients) = document.remove("client") else {
            return self.client(document, 0..0).into_iter().collect();
        };
        for (key, _) in document {
            let what = format!("{}: beside [[client]] there are no other keys", printable(key.get_ref()));
            self.fault(&key.span(), what);
        }
        let span = clients.span();
        let DeValue::Array(clients) = clients.into_inner() else {
            self.fault(&span, "client: several clients are written as tables, [[client]]");
            return Vec::new();
        };
        let mut found = Vec::new();
        for client in clients {
            let span = client.span();
            match client.into_inner() {
                DeValue::Table(table) => found.extend(self.client(table, span)),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => self.fault(&span, "client: each is a table, [[client]]"),
            }
        }
        found
    }

    fn client(&mut self, table: DeTable<'a>, span: Range<usize>) -> Option<DeclaredClient> {
        let faults_before = self.faults.len();
        let mut draft = Draft {
            settings: ClientSettings::new(""),
            status: None,
            credentials: ClientCredentials::default(),
            secrets: DeclaredSecrets::InRegistry,
            spans: HashMap::new(),
        };
        for (key, value) in table {
            let name = key.get_ref().as_ref().to_owned();
            draft.spans.insert(name.clone(), key.span());
            if !self.setting(&mut draft, &name, &value) && !self.credential(&mut draft, &name, &value) {
                let what = format!("there is no key {}; the keys are {KEYS}", printable(&name));
                self.fault(&key.span(), what);
            }
        }
        if !draft.spans.contains_key("client_id") {
            self.fault(&span, "client_id is missing");
        }
        if self.faults.len() > faults_before {
            return None;
        }
        let at = draft.spans.get("client_id").cloned().unwrap_or(span);
        self.check(&draft, &at);
        let place = self.place(&at);
        let Draft { settings, status, credentials, secrets, .. } = draft;
        Some(DeclaredClient { settings, status, credentials, secrets, place })
    }

    /// Reads a member that is set for a client; whether it is one.
    fn setting(&mut self, draft: &mut Draft, name: &str, value: &Spanned<DeValue<'a>>) -> bool {
        let settings = &mut draft.settings;
        match name {
            "client_id" => settings.client_id = self.value(name, value).unwrap_or_default(),
            "scope" => settings.allowed_scope = self.scope(name, value).unwrap_or_else(Scope::empty),
            "default_scope" => settings.default_scope = self.scope(name, value),
            "audience" => {
                settings.audiences = match value.get_ref() {
                    DeValue::String(one) => vec![one.to_string()],
                    DeValue::Integer(_)
                    | DeValue::Float(_)
                    | DeValue::Boolean(_)
                    | DeValue::Datetime(_)
                    | DeValue::Array(_)
                    | DeValue::Table(_) => self.value(name, value).unwrap_or_default(),
                }
            }
            "token_lifetime_seconds" => {
                if let Some(seconds) = self.value(name, value) {
                    settings.token_lifetime = Duration::from_secs(seconds);
                }
            }
            "signing_algorithm" => {
                let algorithm: Option<String> = self.value(name, value);
                settings.signing_algorithm = algorithm.as_deref().and_then(Algorithm::parse);
                if algorithm.is_some() && settings.signing_algorithm.is_none() {
                    let names = Algorithm::ALL.map(Algorithm::as_str).join(", ");
                    self.fault(&value.span(), format!("signing_algorithm: it is one of {names}"));
                }
            }
            "status" => {
                draft.status = match self.value::<String>(name, value).as_deref() {
                    Some("enabled") => Some(ClientStatus::Enabled),
                    Some("disabled") => Some(ClientStatus::Disabled),
                    Some(_) => {
                        self.fault(&value.span(), "status: it is enabled or disabled");
                        None
                    }
                    None => None,
                }
            }
            "labels" => settings.labels = self.value(name, value).unwrap_or_default(),
            _ => return false,
        }
        true
    }

    /// Reads a member that a client authenticates with; whether it is one.
    fn credential(&mut self, draft: &mut Draft, name: &str, value: &Spanned<DeValue<'a>>) -> bool {
        match name {
            "jwks" | "jwks_file" | "jwks_uri" => {
                let keys = match name {
                    "jwks" => self.value::<serde_json::Value>(name, value).map(|document| {
                        ClientKeys::Inline(
                            document.as_str().map_or_else(|| document.to_string(), str::to_owned),
                        )
                    }),
                    "jwks_file" => self.jwks_file(value),
                    _ => self.value(name, value).map(ClientKeys::Url),
                };
                if draft.credentials.keys.is_some() {
                    self.fault(&value.span(), "jwks, jwks_file and jwks_uri: a client has one of them");
                }
                draft.credentials.keys = keys.map(normal);
            }
            "certificates" => draft.credentials.certificates = self.certificates(value),
            "workloads" => draft.credentials.workloads = self.workloads(value),
            "secret_digests" => draft.secrets = DeclaredSecrets::These(self.secret_digests(value)),
            _ => {
                let subject: fn(String) -> TlsSubject = match name {
                    "tls_client_auth_subject_dn" => TlsSubject::DistinguishedName,
                    "tls_client_auth_san_dns" => TlsSubject::Dns,
                    "tls_client_auth_san_uri" => TlsSubject::Uri,
                    "tls_client_auth_san_ip" => TlsSubject::Ip,
                    "tls_client_auth_san_email" => TlsSubject::Email,
                    _ => return false,
                };
                if draft.credentials.tls_subject.is_some() {
                    self.fault(&value.span(), "tls_client_auth_*: a client has one of them");
                }
                draft.credentials.tls_subject = self.value(name, value).map(subject);
            }
        }
        true
    }

    /// A value of its type, or the fault of one that is none.
    fn value<T: Deserialize<'a>>(&mut self, name: &str, value: &Spanned<DeValue<'a>>) -> Option<T> {
        let read = T::deserialize(ValueDeserializer::from(value.clone()));
        read.map_err(|error| {
            let span = error.span().unwrap_or_else(|| value.span());
            self.fault(&span, format!("{name}: {}", error.message()));
        })
        .ok()
    }

    fn scope(&mut self, name: &str, value: &Spanned<DeValue<'a>>) -> Option<Scope> {
        let text: String = self.value(name, value)?;
        text.parse().map_err(|error| self.fault(&value.span(), format!("{name}: {error}"))).ok()
    }

    /// That settings and credentials hold together, as the registry will look at them.
    fn check(&mut self, draft: &Draft, at: &Range<usize>) {
        let mut credentials = draft.credentials.clone();
        if let DeclaredSecrets::These(secrets) = &draft.secrets {
            credentials.secrets = secrets
                .iter()
                .map(|secret| NamedSecret {
                    not_before: secret.not_before,
                    expires_at: secret.expires_at,
                    ..NamedSecret::new(&secret.name, secret.digest, Timestamp::EPOCH)
                })
                .collect();
        }
        if let Err(error) = RegisteredClient::new(draft.settings.clone(), credentials) {
            let member = members::of(error).iter().find_map(|member| draft.spans.get(*member));
            self.fault(&member.unwrap_or(at).clone(), error.to_string());
        }
    }
}

/// A document as the registry renders it, so that spaces and the order of members make no difference.
fn normal(keys: ClientKeys) -> ClientKeys {
    match keys {
        ClientKeys::Inline(text) => {
            let document = parse_jwks(&text);
            ClientKeys::Inline(document.map_or(text, |document| document.to_string()))
        }
        ClientKeys::Url(url) => ClientKeys::Url(url),
    }
}

#[cfg(test)]
mod tests;
