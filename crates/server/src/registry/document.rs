//! A client as a JSON document, with the names of RFC 7591 §2 where it has them.
//!
//! A member that is not known may be a restriction that a newer version keeps: such a document is not read.

use super::record::ClientRecord;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::issuance::{
    CertificateThumbprint, ClientCredentials, ClientKeys, ClientSettings, ClientStatus, NamedSecret,
    SecretDigest, TlsSubject, WorkloadTrust,
};
use jeton_proto::jose::jwk::PrivateKey;
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use jeton_proto::wire::scope::Scope;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientDocument {
    status: StatusName,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_scope: Option<String>,
    #[serde(default)]
    audience: Vec<String>,
    token_lifetime_seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signing_algorithm: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    created_at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    managed_by: Option<String>,
    #[serde(default)]
    secrets: Vec<SecretDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwks: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_client_auth_subject_dn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_client_auth_san_dns: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_client_auth_san_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_client_auth_san_ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_client_auth_san_email: Option<String>,
    #[serde(default, rename = "x5t#S256", skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    workloads: Vec<WorkloadDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StatusName {
    Enabled,
    Disabled,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretDocument {
    name: String,
    /// In hexadecimal digits.
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
    created_at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkloadDocument {
    issuer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwks: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<String>,
    audience: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    claims: Vec<(String, String)>,
}

/// Why a document is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidDocument {
    /// Not JSON of the kind, or with a member that is not known.
    #[error("its document cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A member has a value that is none.
    #[error("its member {0} cannot be read")]
    Member(&'static str),
}

/// The document of a client.
pub(super) fn render(record: &ClientRecord) -> Result<String, InvalidDocument> {
    let (settings, credentials) = (&record.settings, &record.credentials);
    let (jwks, jwks_uri) = render_keys(credentials.keys.as_ref())?;
    let subject = |wanted: &str| {
        let held = credentials.tls_subject.as_ref().filter(|subject| subject.member() == wanted);
        held.map(|subject| subject.value().to_owned())
    };
    let workloads = credentials.workloads.iter().map(render_workload).collect::<Result<_, _>>()?;
    let document = ClientDocument {
        status: match settings.status {
            ClientStatus::Enabled => StatusName::Enabled,
            ClientStatus::Disabled => StatusName::Disabled,
        },
        scope: settings.allowed_scope.to_string(),
        default_scope: settings.default_scope.as_ref().map(Scope::to_string),
        audience: settings.audiences.clone(),
        token_lifetime_seconds: settings.token_lifetime.as_secs(),
        signing_algorithm: settings.signing_algorithm.map(|algorithm| algorithm.as_str().to_owned()),
        labels: settings.labels.clone(),
        created_at_ms: record.created_at.as_unix_millis(),
        managed_by: record.managed_by.clone(),
        secrets: credentials.secrets.iter().map(render_secret).collect(),
        jwks,
        jwks_uri,
        tls_client_auth_subject_dn: subject("tls_client_auth_subject_dn"),
        tls_client_auth_san_dns: subject("tls_client_auth_san_dns"),
        tls_client_auth_san_uri: subject("tls_client_auth_san_uri"),
        tls_client_auth_san_ip: subject("tls_client_auth_san_ip"),
        tls_client_auth_san_email: subject("tls_client_auth_san_email"),
        certificates: credentials.certificates.iter().map(|print| URL_SAFE_NO_PAD.encode(print.0)).collect(),
        workloads,
    };
    Ok(serde_json::to_string(&document)?)
}

/// The client `client_id` of a document. Whether its values hold together is not judged here.
///
/// Versions before took a JWK Set with private keys, which verified nothing. They are left out, so that nobody is shown them, and the
/// client has its tokens as before; they are gone for good when the client is written the next time.
pub(super) fn parse(client_id: &str, body: &str) -> Result<ClientRecord, InvalidDocument> {
    let mut document: ClientDocument = serde_json::from_str(body)?;
    let of_workloads = document.workloads.iter_mut().map(|workload| &mut workload.jwks);
    let mut had_private = false;
    for jwks in of_workloads.chain([&mut document.jwks]).flatten() {
        had_private |= PrivateKey::take_out_of(jwks);
    }
    if had_private {
        let client_id = printable(client_id);
        tracing::warn!(
            client_id,
            "a private key was registered with this client, so it is no secret; give the client a new one"
        );
    }
    record_of(client_id, document)
}

/// The members of a client's document.
pub(crate) fn members(record: &ClientRecord) -> Result<Map<String, Value>, InvalidDocument> {
    Ok(serde_json::from_str(&render(record)?)?)
}

/// The client of a document with these members, as [`parse`] reads it.
pub(crate) fn of_members(
    client_id: &str,
    members: Map<String, Value>,
) -> Result<ClientRecord, InvalidDocument> {
    record_of(client_id, serde_json::from_value(Value::Object(members))?)
}

fn record_of(client_id: &str, document: ClientDocument) -> Result<ClientRecord, InvalidDocument> {
    let scope = |member, text: &str| text.parse::<Scope>().map_err(|_| InvalidDocument::Member(member));
    let algorithm = document
        .signing_algorithm
        .as_deref()
        .map(|name| Algorithm::parse(name).ok_or(InvalidDocument::Member("signing_algorithm")));
    let settings = ClientSettings {
        client_id: client_id.to_owned(),
        allowed_scope: scope("scope", &document.scope)?,
        default_scope: document
            .default_scope
            .as_deref()
            .map(|text| scope("default_scope", text))
            .transpose()?,
        audiences: document.audience,
        token_lifetime: Duration::from_secs(document.token_lifetime_seconds),
        signing_algorithm: algorithm.transpose()?,
        labels: document.labels,
        status: match document.status {
            StatusName::Enabled => ClientStatus::Enabled,
            StatusName::Disabled => ClientStatus::Disabled,
        },
    };
    let subjects = [
        document.tls_client_auth_subject_dn.map(TlsSubject::DistinguishedName),
        document.tls_client_auth_san_dns.map(TlsSubject::Dns),
        document.tls_client_auth_san_uri.map(TlsSubject::Uri),
        document.tls_client_auth_san_ip.map(TlsSubject::Ip),
        document.tls_client_auth_san_email.map(TlsSubject::Email),
    ];
    let mut subjects = subjects.into_iter().flatten();
    let tls_subject = subjects.next();
    if subjects.next().is_some() {
        return Err(InvalidDocument::Member("tls_client_auth_*: there is more than one"));
    }
    let credentials = ClientCredentials {
        secrets: document.secrets.into_iter().map(parse_secret).collect::<Result<_, _>>()?,
        keys: parse_keys(document.jwks, document.jwks_uri)?,
        tls_subject,
        certificates: document
            .certificates
            .iter()
            .map(|text| parse_thumbprint(text))
            .collect::<Result<_, _>>()?,
        workloads: document.workloads.into_iter().map(parse_workload).collect::<Result<_, _>>()?,
    };
    Ok(ClientRecord {
        settings,
        credentials,
        created_at: Timestamp::from_unix_millis(document.created_at_ms),
        managed_by: document.managed_by,
    })
}

/// A client as people may see it: its members by their names, without digests and sealed secrets.
pub(crate) fn shown(record: &ClientRecord) -> BTreeMap<String, Value> {
    let document = render(record).ok().and_then(|body| serde_json::from_str(&body).ok());
    let mut members: BTreeMap<String, Value> = document.unwrap_or_default();
    members.remove("created_at_ms");
    if let Some(Value::Array(secrets)) = members.get_mut("secrets") {
        for secret in secrets.iter_mut().filter_map(Value::as_object_mut) {
            secret.remove("digest");
            secret.remove("sealed");
        }
    }
    members
}

type KeyMembers = (Option<Value>, Option<String>);

fn render_keys(keys: Option<&ClientKeys>) -> Result<KeyMembers, InvalidDocument> {
    Ok(match keys {
        None => (None, None),
        Some(ClientKeys::Inline(document)) => (Some(parse_jwks(document)?), None),
        Some(ClientKeys::Url(url)) => (None, Some(url.clone())),
    })
}

/// The JSON of a JWK Set. Editors put a byte order mark before it, and whoever reads its keys takes that.
pub(crate) fn parse_jwks(document: &str) -> serde_json::Result<Value> {
    serde_json::from_str(document.strip_prefix('\u{feff}').unwrap_or(document))
}

fn parse_keys(jwks: Option<Value>, jwks_uri: Option<String>) -> Result<Option<ClientKeys>, InvalidDocument> {
    match (jwks, jwks_uri) {
        (None, None) => Ok(None),
        (Some(document), None) => Ok(Some(ClientKeys::Inline(document.to_string()))),
        (None, Some(url)) => Ok(Some(ClientKeys::Url(url))),
        // RFC 7591 §2: they "MUST NOT both be present".
        (Some(_), Some(_)) => Err(InvalidDocument::Member("jwks_uri: there is jwks already")),
    }
}

fn render_secret(secret: &NamedSecret) -> SecretDocument {
    SecretDocument {
        name: secret.name.clone(),
        digest: hexadecimal(secret.digest.as_bytes()),
        sealed: secret.sealed.as_ref().map(|sealed| URL_SAFE_NO_PAD.encode(sealed)),
        created_at_ms: secret.created_at.as_unix_millis(),
        not_before_ms: secret.not_before.map(Timestamp::as_unix_millis),
        expires_at_ms: secret.expires_at.map(Timestamp::as_unix_millis),
    }
}

fn parse_secret(document: SecretDocument) -> Result<NamedSecret, InvalidDocument> {
    let sealed = document
        .sealed
        .map(|text| URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidDocument::Member("sealed")));
    Ok(NamedSecret {
        name: document.name,
        digest: parse_digest(&document.digest).ok_or(InvalidDocument::Member("digest"))?,
        sealed: sealed.transpose()?,
        created_at: Timestamp::from_unix_millis(document.created_at_ms),
        not_before: document.not_before_ms.map(Timestamp::from_unix_millis),
        expires_at: document.expires_at_ms.map(Timestamp::from_unix_millis),
    })
}

/// Two digits a byte.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _infallible = write!(digits, "{byte:02x}");
        digits
    })
}

pub(super) fn parse_digest(hex: &str) -> Option<SecretDigest> {
    let mut digest = [0; 32];
    if hex.len() != 2 * digest.len() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(SecretDigest::new(digest))
}

fn parse_thumbprint(text: &str) -> Result<CertificateThumbprint, InvalidDocument> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(CertificateThumbprint).ok_or(InvalidDocument::Member("x5t#S256"))
}

fn render_workload(trust: &WorkloadTrust) -> Result<WorkloadDocument, InvalidDocument> {
    let (jwks, jwks_uri) = render_keys(trust.keys.as_ref())?;
    Ok(WorkloadDocument {
        issuer: trust.issuer.clone(),
        jwks,
        jwks_uri,
        audience: trust.audience.clone(),
        subject: trust.subject.clone(),
        claims: trust.claims.clone(),
    })
}

fn parse_workload(document: WorkloadDocument) -> Result<WorkloadTrust, InvalidDocument> {
    Ok(WorkloadTrust {
        issuer: document.issuer,
        keys: parse_keys(document.jwks, document.jwks_uri)?,
        audience: document.audience,
        subject: document.subject,
        claims: document.claims,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> ClientRecord {
        let at = Timestamp::from_unix_millis;
        let keys =
            r#"{"keys":[{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let secret = NamedSecret {
            sealed: Some(vec![1, 2]),
            not_before: Some(at(3)),
            expires_at: Some(at(4)),
            ..NamedSecret::new("a", SecretDigest::new([0xab; 32]), at(2))
        };
        ClientRecord {
            settings: ClientSettings {
                allowed_scope: "a b".parse().unwrap(),
                default_scope: Some("a".parse().unwrap()),
                audiences: vec!["https://api.example".to_owned()],
                token_lifetime: Duration::from_secs(77),
                signing_algorithm: Some(Algorithm::EdDsa),
                labels: [("team".to_owned(), "é".to_owned())].into(),
                status: ClientStatus::Disabled,
                ..ClientSettings::new("client")
            },
            credentials: ClientCredentials {
                secrets: vec![secret],
                keys: Some(ClientKeys::Inline(keys.to_owned())),
                tls_subject: Some(TlsSubject::Uri("spiffe://a/b".to_owned())),
                certificates: vec![CertificateThumbprint([7; 32])],
                workloads: vec![WorkloadTrust {
                    issuer: "https://ci.example".to_owned(),
                    keys: Some(ClientKeys::Url("https://ci.example/jwks".to_owned())),
                    audience: "https://as.example".to_owned(),
                    subject: Some("repo:*".to_owned()),
                    claims: vec![("ref".to_owned(), "main".to_owned())],
                }],
            },
            created_at: at(1),
            managed_by: Some("files".to_owned()),
        }
    }

    #[test]
    fn a_client_is_read_as_it_was_written() {
        let plain = ClientRecord {
            settings: ClientSettings::new("client"),
            credentials: ClientCredentials::default(),
            created_at: Timestamp::EPOCH,
            managed_by: None,
        };
        for record in [whole(), plain] {
            assert_eq!(parse("client", &render(&record).unwrap()).unwrap(), record);
        }
    }

    #[test]
    fn a_byte_order_mark_before_the_keys_is_left_out() {
        let mut record = whole();
        let Some(ClientKeys::Inline(jwks)) = record.credentials.keys.clone() else { panic!("keys") };
        record.credentials.keys = Some(ClientKeys::Inline(format!("\u{feff}{jwks}")));
        assert_eq!(parse("client", &render(&record).unwrap()).unwrap(), whole());
    }

    #[test]
    fn a_private_key_of_a_version_before_is_shown_to_nobody_and_its_client_stays() {
        let mut document: Value = serde_json::from_str(&render(&whole()).unwrap()).unwrap();
        let mut private = document["jwks"]["keys"][0].clone();
        private["d"] = "canary".into();
        document["jwks"]["keys"].as_array_mut().unwrap().push(private);
        document["workloads"][0].as_object_mut().unwrap().remove("jwks_uri");
        document["workloads"][0]["jwks"] = document["jwks"].clone();
        let read = parse("client", &document.to_string()).unwrap();
        assert_eq!(read.credentials.keys, whole().credentials.keys);
        assert_eq!(read.credentials.workloads[0].keys, whole().credentials.keys);
        let shown = format!("{:?} {:?} {}", shown(&read), read, render(&read).unwrap());
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn what_is_not_known_is_not_passed_over() {
        let body = render(&whole()).unwrap();
        let mut document: Value = serde_json::from_str(&body).unwrap();
        document["only_on_mondays"] = true.into();
        let error = parse("client", &document.to_string()).unwrap_err().to_string();
        assert!(error.contains("only_on_mondays"), "{error}");
    }

    #[test]
    fn values_that_are_none_are_told_by_their_member() {
        for (member, value) in [
            ("scope", "\"\\\"\""),
            ("signing_algorithm", "\"none\""),
            ("x5t#S256", "[\"AAAA\"]"),
            ("jwks_uri", "\"https://a.example\""),
            ("tls_client_auth_san_dns", "\"a.example\""),
        ] {
            let mut document: Value = serde_json::from_str(&render(&whole()).unwrap()).unwrap();
            document[member] = serde_json::from_str(value).unwrap();
            let error = parse("client", &document.to_string()).unwrap_err().to_string();
            let named = member.split("_san").next().unwrap();
            assert!(error.contains(named), "{member}: {error}");
        }
    }
}
