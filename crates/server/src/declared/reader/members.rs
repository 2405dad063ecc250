//! The members of a client that have a form of their own.

use super::super::client::DeclaredSecret;
use super::super::directory::read_text;
use super::{InvalidClientSettings, Reader, normal};
use crate::registry::{certificate_thumbprint, parse_digest_text};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::issuance::{
    CertificateThumbprint, ClientKeys, InvalidCredentials, MAX_CLIENT_JWKS_BYTES, WorkloadTrust,
};
use jeton_proto::time::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::DeValue;
use toml::value::{Datetime, Offset};

/// Which members a fault may be of, the likeliest first.
pub(super) const fn of(error: InvalidClientSettings) -> &'static [&'static str] {
    match error {
        InvalidClientSettings::ClientId => &["client_id"],
        InvalidClientSettings::AllowedScope => &["scope"],
        InvalidClientSettings::DefaultScope => &["default_scope", "scope"],
        InvalidClientSettings::TooManyAudiences
        | InvalidClientSettings::Audience
        | InvalidClientSettings::AudienceIsClient => &["audience"],
        InvalidClientSettings::TokenLifetime => &["token_lifetime_seconds"],
        InvalidClientSettings::Labels => &["labels"],
        InvalidClientSettings::Credentials(error) => match error {
            InvalidCredentials::TooManySecrets
            | InvalidCredentials::SecretName
            | InvalidCredentials::SameSecretName
            | InvalidCredentials::SecretTerm => &["secret_digests"],
            InvalidCredentials::Keys | InvalidCredentials::PrivateKey(_) => {
                &["jwks", "jwks_file", "workloads"]
            }
            InvalidCredentials::KeysUrl => &["jwks_uri", "workloads"],
            InvalidCredentials::TlsSubject => &[
                "tls_client_auth_subject_dn",
                "tls_client_auth_san_dns",
                "tls_client_auth_san_uri",
                "tls_client_auth_san_ip",
                "tls_client_auth_san_email",
            ],
            InvalidCredentials::TooManyCertificates => &["certificates"],
            InvalidCredentials::TooManyWorkloads | InvalidCredentials::Workload => &["workloads"],
        },
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkloadTable {
    issuer: String,
    audience: String,
    subject: Option<String>,
    jwks: Option<serde_json::Value>,
    jwks_uri: Option<String>,
    #[serde(default)]
    claims: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DigestTable {
    name: String,
    digest: Spanned<String>,
    not_before: Option<Spanned<Datetime>>,
    expires_at: Option<Spanned<Datetime>>,
}

impl<'a> Reader<'a> {
    pub(super) fn jwks_file(&mut self, value: &Spanned<DeValue<'a>>) -> Option<ClientKeys> {
        let name: String = self.value("jwks_file", value)?;
        let read = read_text(&self.dir.join(&name), MAX_CLIENT_JWKS_BYTES as u64);
        match read {
            Ok(text) => Some(ClientKeys::Inline(text)),
            Err(error) => {
                self.fault(&value.span(), format!("jwks_file: it cannot be read: {error}"));
                None
            }
        }
    }

    pub(super) fn certificates(&mut self, value: &Spanned<DeValue<'a>>) -> Vec<CertificateThumbprint> {
        let texts: Vec<Spanned<String>> = self.value("certificates", value).unwrap_or_default();
        let mut found = Vec::new();
        for text in texts {
            let bytes = URL_SAFE_NO_PAD.decode(text.get_ref()).ok().and_then(|bytes| bytes.try_into().ok());
            match bytes.map(CertificateThumbprint).or_else(|| certificate_thumbprint(text.get_ref())) {
                Some(print) => found.push(print),
                None => self.fault(
                    &text.span(),
                    "certificates: each is a certificate as PEM, or its SHA-256 in base64url (x5t#S256)",
                ),
            }
        }
        found
    }

    pub(super) fn workloads(&mut self, value: &Spanned<DeValue<'a>>) -> Vec<WorkloadTrust> {
        let tables: Vec<Spanned<WorkloadTable>> = self.value("workloads", value).unwrap_or_default();
        let mut found = Vec::new();
        for table in tables {
            let span = table.span();
            let table = table.into_inner();
            let keys = match (table.jwks, table.jwks_uri) {
                (Some(_), Some(_)) => {
                    self.fault(&span, "workloads: jwks and jwks_uri cannot be given together");
                    continue;
                }
                (Some(document), None) => Some(normal(ClientKeys::Inline(document.to_string()))),
                (None, url) => url.map(ClientKeys::Url),
            };
            found.push(WorkloadTrust {
                issuer: table.issuer,
                keys,
                audience: table.audience,
                subject: table.subject,
                claims: table.claims.into_iter().collect(),
            });
        }
        found
    }

    pub(super) fn secret_digests(&mut self, value: &Spanned<DeValue<'a>>) -> Vec<DeclaredSecret> {
        let tables: Vec<DigestTable> = self.value("secret_digests", value).unwrap_or_default();
        let mut found = Vec::new();
        for table in tables {
            let Some((key_id, digest)) = parse_digest_text(table.digest.get_ref()) else {
                self.fault(
                    &table.digest.span(),
                    "digest: it is what `jeton client hash --secret PLACE` prints; a secret has no place in a file",
                );
                continue;
            };
            let not_before = table.not_before.and_then(|at| self.timestamp("not_before", &at));
            let expires_at = table.expires_at.and_then(|at| self.timestamp("expires_at", &at));
            let place = self.place(&table.digest.span());
            found.push(DeclaredSecret { name: table.name, digest, key_id, not_before, expires_at, place });
        }
        found
    }

    fn timestamp(&mut self, name: &str, at: &Spanned<Datetime>) -> Option<Timestamp> {
        let read = unix_seconds(at.get_ref());
        if read.is_none() {
            let what = format!("{name}: it is a date and time with its offset, such as 2027-01-31T00:00:00Z");
            self.fault(&at.span(), what);
        }
        read.map(Timestamp::from_unix_seconds)
    }
}

/// The seconds of a time since 1970 (RFC 3339); `None` for one before, or without date, time or offset.
fn unix_seconds(at: &Datetime) -> Option<u64> {
    let (date, time) = (at.date?, at.time?);
    let offset_minutes = match at.offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    // Years begin in March here, so that the day that is not always there is the last one.
    let (year, month) = (i64::from(date.year), i64::from(date.month));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + i64::from(date.day) - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    let seconds =
        i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or(0));
    u64::try_from(days * 86_400 + seconds - offset_minutes * 60).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_1970() {
        let seconds = |text: &str| unix_seconds(&text.parse().unwrap());
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T12:34:56Z"), Some(951_827_696));
        assert_eq!(seconds("2027-01-31T00:00:00Z"), Some(1_801_353_600));
        assert_eq!(seconds("2027-01-31T02:00:00+02:00"), Some(1_801_353_600));
        assert_eq!(seconds("1969-12-31T23:59:59Z"), None);
        assert_eq!(seconds("2027-01-31"), None);
        assert_eq!(seconds("2027-01-31T00:00:00"), None);
    }
}
