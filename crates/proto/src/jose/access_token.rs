//! JWT access tokens (RFC 9068): written by an authorization server, read by a resource server.

#[cfg(test)]
mod tests;

use crate::issuance::CertificateThumbprint;
use crate::jose::jwk::{KeyError, SigningKey};
use crate::jose::jws::{self, InvalidJson, json};
use crate::time::Timestamp;
use crate::wire::json_text::needs_no_escape;
use crate::wire::scope::Scope;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The `typ` of a JWT access token (RFC 9068 §2.1).
pub const MEDIA_TYPE: &str = "at+jwt";
/// The latest time that is taken in a claim: the end of the year 9999, in seconds since the Unix epoch.
pub const MAX_NUMERIC_DATE_SECONDS: u64 = 253_402_300_799;

/// Signs access tokens with one key. The header is written and encoded once.
///
/// ```
/// use jeton_proto::jose::access_token::{AccessTokenClaims, AccessTokenSigner};
/// use jeton_proto::jose::{jwk::SigningKey, jws::Algorithm};
/// use jeton_proto::time::Timestamp;
///
/// let signer = AccessTokenSigner::new(SigningKey::generate(Algorithm::Es256)?);
/// let token = signer.sign(&AccessTokenClaims {
///     issuer: "https://as.example",
///     audience: &["https://api.example"],
///     subject: "reporting",
///     client_id: "reporting",
///     scope: None,
///     issued_at: Timestamp::from_unix_seconds(1_700_000_000),
///     expires_at: Timestamp::from_unix_seconds(1_700_003_600),
///     jwt_id: "bUvBDNRkSbxhTYBbV1HsYw",
///     confirmation: None,
/// })?;
/// assert_eq!(token.split('.').count(), 3);
/// # Ok::<(), jeton_proto::jose::jwk::KeyError>(())
/// ```
#[derive(Debug)]
pub struct AccessTokenSigner {
    key: SigningKey,
    header: String,
}

impl AccessTokenSigner {
    /// A signer that uses `key`.
    pub fn new(key: SigningKey) -> Self {
        let header = jws::encoded_header(&key, MEDIA_TYPE);
        Self { key, header }
    }

    /// The key that signs.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Makes the token with these claims.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the cryptographic library fails.
    pub fn sign(&self, claims: &AccessTokenClaims<'_>) -> Result<String, KeyError> {
        self.sign_behind(&CommonClaims::of(claims), &claims.own(), 0)
    }

    /// Makes the token with the claims that it has in common with others, and those of its own. The text has room for `room_bytes`
    /// more: whoever writes an answer around the token need not copy it, nor wipe the copy.
    ///
    /// # Errors
    /// As [`AccessTokenSigner::sign`].
    pub fn sign_behind(
        &self,
        common: &CommonClaims,
        own: &OwnClaims<'_>,
        room_bytes: usize,
    ) -> Result<String, KeyError> {
        let mut rest = Vec::with_capacity(256 + own.jwt_id.len());
        rest.extend_from_slice(&common.rest);
        own.push(&mut rest);
        let encoded = |bytes: usize| bytes.div_ceil(3) * 4;
        let behind_common_bytes = encoded(rest.len()) + 1 + encoded(self.key.signature_bytes());
        let common_bytes = self.header.len() + common.encoded.len();
        let mut token = String::with_capacity(common_bytes + behind_common_bytes + room_bytes);
        token.push_str(&self.header);
        token.push_str(&common.encoded);
        jws::append_payload_and_signature(&mut token, &self.key, &rest)?;
        Ok(token)
    }
}

/// The claims that every token of one grant to one client has, written and encoded once.
///
/// ```
/// use jeton_proto::jose::access_token::{AccessTokenClaims, AccessTokenSigner, CommonClaims, OwnClaims};
/// use jeton_proto::jose::{jwk::SigningKey, jws::Algorithm};
/// use jeton_proto::time::Timestamp;
///
/// let own = OwnClaims {
///     issued_at: Timestamp::from_unix_seconds(1_700_000_000),
///     expires_at: Timestamp::from_unix_seconds(1_700_003_600),
///     jwt_id: "bUvBDNRkSbxhTYBbV1HsYw",
///     confirmation: None,
/// };
/// let common = CommonClaims::new("https://as.example", &["https://api.example"], "reporting", None);
/// let signer = AccessTokenSigner::new(SigningKey::generate(Algorithm::EdDsa)?);
/// let token = signer.sign_behind(&common, &own, 0)?;
/// assert_eq!(token, signer.sign(&AccessTokenClaims {
///     issuer: "https://as.example",
///     audience: &["https://api.example"],
///     subject: "reporting",
///     client_id: "reporting",
///     scope: None,
///     issued_at: own.issued_at,
///     expires_at: own.expires_at,
///     jwt_id: own.jwt_id,
///     confirmation: None,
/// })?);
/// # Ok::<(), jeton_proto::jose::jwk::KeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonClaims {
    /// In base64url, as far as they fill groups of three bytes.
    encoded: String,
    /// The bytes behind those, two at most.
    rest: Vec<u8>,
}

impl CommonClaims {
    /// `iss`, `aud` (as [`AccessTokenClaims::audience`] has it), `client_id`, of which `sub` is the same, and `scope`.
    #[must_use]
    pub fn new(issuer: &str, audience: &[&str], client_id: &str, scope: Option<&Scope>) -> Self {
        Self::of(&AccessTokenClaims {
            issuer,
            audience,
            subject: client_id,
            client_id,
            scope,
            issued_at: Timestamp::EPOCH,
            expires_at: Timestamp::EPOCH,
            jwt_id: "",
            confirmation: None,
        })
    }

    fn of(claims: &AccessTokenClaims<'_>) -> Self {
        let mut json = Vec::new();
        claims.push_common(&mut json);
        let (groups, rest) = json.as_chunks::<3>();
        Self { encoded: URL_SAFE_NO_PAD.encode(groups.as_flattened()), rest: rest.to_vec() }
    }
}

/// The claims that a token has for itself, as [`AccessTokenClaims`] has them.
#[derive(Clone, Copy, Debug)]
pub struct OwnClaims<'a> {
    /// `iat`.
    pub issued_at: Timestamp,
    /// `exp`.
    pub expires_at: Timestamp,
    /// `jti`: unique among the tokens of the issuer.
    pub jwt_id: &'a str,
    /// The certificate that whoever uses the token must have, as `x5t#S256` in `cnf` (RFC 8705 §3.1).
    pub confirmation: Option<CertificateThumbprint>,
}

impl OwnClaims<'_> {
    /// Writes the end of the object.
    fn push(&self, json: &mut Vec<u8>) {
        json.extend_from_slice(b",\"iat\":");
        push_seconds(json, self.issued_at);
        json.extend_from_slice(b",\"exp\":");
        push_seconds(json, self.expires_at);
        json.extend_from_slice(b",\"jti\":");
        push_text(json, self.jwt_id);
        if let Some(thumbprint) = self.confirmation {
            json.extend_from_slice(b",\"cnf\":{\"x5t#S256\":\"");
            json.extend_from_slice(thumbprint.to_base64url().as_bytes());
            json.extend_from_slice(b"\"}");
        }
        json.push(b'}');
    }
}

/// The claims of an access token to be made (RFC 9068 §2.2). Times are written in whole seconds, rounded down.
#[derive(Clone, Copy, Debug)]
pub struct AccessTokenClaims<'a> {
    /// `iss`: the issuer, as its metadata has it.
    pub issuer: &'a str,
    /// `aud`: written as a string when it is one, as an array otherwise.
    pub audience: &'a [&'a str],
    /// `sub`: with the client-credentials grant an identifier of the client.
    pub subject: &'a str,
    /// `client_id`.
    pub client_id: &'a str,
    /// `scope`: left out when there is none or it is empty (RFC 9068 §2.2.3).
    pub scope: Option<&'a Scope>,
    /// `iat`.
    pub issued_at: Timestamp,
    /// `exp`.
    pub expires_at: Timestamp,
    /// `jti`: unique among the tokens of the issuer.
    pub jwt_id: &'a str,
    /// The certificate that whoever uses the token must have, as `x5t#S256` in `cnf` (RFC 8705 §3.1).
    pub confirmation: Option<CertificateThumbprint>,
}

impl AccessTokenClaims<'_> {
    /// The claims as a JSON object.
    pub fn to_json(&self) -> String {
        let mut json = Vec::new();
        self.push_common(&mut json);
        self.own().push(&mut json);
        // Texts and ASCII are all that was written.
        String::from_utf8(json).unwrap_or_default()
    }

    /// Writes the beginning of the object.
    fn push_common(&self, json: &mut Vec<u8>) {
        json.extend_from_slice(b"{\"iss\":");
        push_text(json, self.issuer);
        json.extend_from_slice(b",\"aud\":");
        push_audience(json, self.audience);
        json.extend_from_slice(b",\"sub\":");
        push_text(json, self.subject);
        json.extend_from_slice(b",\"client_id\":");
        push_text(json, self.client_id);
        if let Some(scope) = self.scope.filter(|scope| !scope.is_empty()) {
            json.extend_from_slice(b",\"scope\":");
            push_scope(json, scope);
        }
    }
}

impl<'a> AccessTokenClaims<'a> {
    fn own(&self) -> OwnClaims<'a> {
        let Self { issued_at, expires_at, jwt_id, confirmation, .. } = *self;
        OwnClaims { issued_at, expires_at, jwt_id, confirmation }
    }
}

/// The claims of an access token whose signature has been checked. Only [`crate::verification::decide`] makes them.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedClaims {
    issuer: String,
    audience: Vec<String>,
    subject: String,
    client_id: String,
    scope: Option<Scope>,
    issued_at: Timestamp,
    expires_at: Timestamp,
    not_before: Option<Timestamp>,
    jwt_id: String,
    all: Map<String, Value>,
}

impl VerifiedClaims {
    /// `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `aud`, one or several, never none.
    pub fn audience(&self) -> &[String] {
        &self.audience
    }

    /// `sub`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `client_id`.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// `scope`; absent when the token has none.
    pub fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// `iat`.
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// `exp`.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// `nbf`.
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// `jti`.
    pub fn jwt_id(&self) -> &str {
        &self.jwt_id
    }

    /// Every claim of the token, those above among them.
    pub fn all(&self) -> &Map<String, Value> {
        &self.all
    }

    /// Reads the payload of a token whose signature is good.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, InvalidClaims> {
        let all = json::parse_object(payload).map_err(InvalidClaims::Json)?;
        Ok(Self {
            issuer: text(&all, "iss")?,
            audience: audience(&all)?,
            subject: text(&all, "sub")?,
            client_id: text(&all, "client_id")?,
            scope: scope(&all)?,
            issued_at: numeric_date(&all, "iat")?.ok_or(InvalidClaims::Missing("iat"))?,
            expires_at: numeric_date(&all, "exp")?.ok_or(InvalidClaims::Missing("exp"))?,
            not_before: numeric_date(&all, "nbf")?,
            jwt_id: text(&all, "jti")?,
            all,
        })
    }
}

/// Why the payload of a token with a good signature is no set of access token claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClaims {
    /// The payload is no JSON object of the strict kind.
    #[error("the payload {0}")]
    Json(InvalidJson),
    /// A claim that RFC 9068 §2.2 requires is not there.
    #[error("the claim \"{0}\" is missing")]
    Missing(&'static str),
    /// A claim has a value of the wrong type, an empty one, or one out of bounds.
    #[error("the claim \"{0}\" has no valid value")]
    Value(&'static str),
}

fn text(claims: &Map<String, Value>, name: &'static str) -> Result<String, InvalidClaims> {
    match claims.get(name) {
        None => Err(InvalidClaims::Missing(name)),
        Some(Value::String(value)) if !value.is_empty() => Ok(value.clone()),
        Some(_) => Err(InvalidClaims::Value(name)),
    }
}

/// RFC 7519 §4.1.3: one string, or an array of strings.
fn audience(claims: &Map<String, Value>) -> Result<Vec<String>, InvalidClaims> {
    let wrong = InvalidClaims::Value("aud");
    match claims.get("aud") {
        None => Err(InvalidClaims::Missing("aud")),
        Some(Value::String(one)) if !one.is_empty() => Ok(vec![one.clone()]),
        Some(Value::Array(several)) if !several.is_empty() => {
            several.iter().map(|value| value.as_str().map(str::to_owned).ok_or(wrong)).collect()
        }
        Some(_) => Err(wrong),
    }
}

fn scope(claims: &Map<String, Value>) -> Result<Option<Scope>, InvalidClaims> {
    match claims.get("scope") {
        None => Ok(None),
        Some(Value::String(value)) => value.parse().map(Some).map_err(|_| InvalidClaims::Value("scope")),
        Some(_) => Err(InvalidClaims::Value("scope")),
    }
}

/// RFC 7519 §2 lets a `NumericDate` have a fraction. No issuer needs one, and implementations round it differently, so
/// a whole number of seconds is asked for.
fn numeric_date(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Timestamp>, InvalidClaims> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(seconds) if seconds <= MAX_NUMERIC_DATE_SECONDS => {
                Ok(Some(Timestamp::from_unix_seconds(seconds)))
            }
            Some(_) | None => Err(InvalidClaims::Value(name)),
        },
    }
}

fn push_audience(json: &mut Vec<u8>, audience: &[&str]) {
    if let [one] = audience {
        return push_text(json, one);
    }
    json.push(b'[');
    for (position, one) in audience.iter().enumerate() {
        if position > 0 {
            json.push(b',');
        }
        push_text(json, one);
    }
    json.push(b']');
}

/// A scope token has neither quote, backslash nor control character (RFC 6749 §3.3), so nothing is to be escaped.
fn push_scope(json: &mut Vec<u8>, scope: &Scope) {
    for (position, token) in scope.tokens().enumerate() {
        json.push(if position == 0 { b'"' } else { b' ' });
        json.extend_from_slice(token.as_bytes());
    }
    json.push(b'"');
}

fn push_seconds(json: &mut Vec<u8>, at: Timestamp) {
    let mut digits = [0_u8; 20];
    let mut rest = at.as_unix_seconds();
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    json.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// A JSON string (RFC 8259 §7).
fn push_text(json: &mut Vec<u8>, text: &str) {
    json.push(b'"');
    if needs_no_escape(text) {
        json.extend_from_slice(text.as_bytes());
    } else {
        text.bytes().for_each(|byte| push_escaped(json, byte));
    }
    json.push(b'"');
}

/// What is beyond ASCII stands for itself, byte by byte.
fn push_escaped(json: &mut Vec<u8>, byte: u8) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    match byte {
        b'"' => json.extend_from_slice(b"\\\""),
        b'\\' => json.extend_from_slice(b"\\\\"),
        0..=0x1f => {
            json.extend_from_slice(if byte < 0x10 { b"\\u000" } else { b"\\u001" });
            json.push(HEX.get(usize::from(byte % 16)).copied().unwrap_or(b'0'));
        }
        _ => json.push(byte),
    }
}
