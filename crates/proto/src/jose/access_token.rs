//! JWT access tokens (RFC 9068): written by an authorization server, read by a resource server.

#[cfg(test)]
mod tests;

use crate::issuance::CertificateThumbprint;
use crate::jose::jwk::{KeyError, SigningKey};
use crate::jose::jws::{self, InvalidJson, json};
use crate::time::Timestamp;
use crate::wire::json_text::needs_no_escape;
use crate::wire::scope::Scope;
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
        self.sign_with_room(claims, 0)
    }

    /// The same, in a text that has room for `room_bytes` more: whoever writes an answer around the token need not copy it, nor wipe
    /// the copy.
    ///
    /// # Errors
    /// As [`AccessTokenSigner::sign`].
    pub fn sign_with_room(
        &self,
        claims: &AccessTokenClaims<'_>,
        room_bytes: usize,
    ) -> Result<String, KeyError> {
        let payload = claims.to_json();
        let encoded = |bytes: usize| bytes.div_ceil(3) * 4;
        let behind_header_bytes = encoded(payload.len()) + 1 + encoded(self.key.signature_bytes());
        let mut token = String::with_capacity(self.header.len() + behind_header_bytes + room_bytes);
        token.push_str(&self.header);
        jws::append_payload_and_signature(&mut token, &self.key, payload.as_bytes())?;
        Ok(token)
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
        let texts = [self.issuer, self.subject, self.client_id, self.jwt_id];
        let bytes: usize = texts.iter().chain(self.audience).map(|text| text.len() + 3).sum();
        let mut json = String::with_capacity(bytes + 256);
        json.push_str("{\"iss\":");
        push_text(&mut json, self.issuer);
        json.push_str(",\"aud\":");
        push_audience(&mut json, self.audience);
        json.push_str(",\"sub\":");
        push_text(&mut json, self.subject);
        json.push_str(",\"client_id\":");
        push_text(&mut json, self.client_id);
        if let Some(scope) = self.scope.filter(|scope| !scope.is_empty()) {
            json.push_str(",\"scope\":");
            push_scope(&mut json, scope);
        }
        json.push_str(",\"iat\":");
        push_seconds(&mut json, self.issued_at);
        json.push_str(",\"exp\":");
        push_seconds(&mut json, self.expires_at);
        json.push_str(",\"jti\":");
        push_text(&mut json, self.jwt_id);
        if let Some(thumbprint) = self.confirmation {
            json.push_str(",\"cnf\":{\"x5t#S256\":\"");
            json.push_str(&thumbprint.to_base64url());
            json.push_str("\"}");
        }
        json.push('}');
        json
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

fn push_audience(json: &mut String, audience: &[&str]) {
    if let [one] = audience {
        return push_text(json, one);
    }
    json.push('[');
    for (position, one) in audience.iter().enumerate() {
        if position > 0 {
            json.push(',');
        }
        push_text(json, one);
    }
    json.push(']');
}

/// A scope token has neither quote, backslash nor control character (RFC 6749 §3.3), so nothing is to be escaped.
fn push_scope(json: &mut String, scope: &Scope) {
    for (position, token) in scope.tokens().enumerate() {
        json.push(if position == 0 { '"' } else { ' ' });
        json.push_str(token);
    }
    json.push('"');
}

fn push_seconds(json: &mut String, at: Timestamp) {
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
    let digits = digits.get(digits.len() - used..).unwrap_or_default();
    // Digits are ASCII.
    json.push_str(std::str::from_utf8(digits).unwrap_or_default());
}

/// A JSON string (RFC 8259 §7).
fn push_text(json: &mut String, text: &str) {
    json.push('"');
    if needs_no_escape(text) {
        json.push_str(text);
    } else {
        text.chars().for_each(|character| push_escaped(json, character));
    }
    json.push('"');
}

fn push_escaped(json: &mut String, character: char) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    match character {
        '"' => json.push_str("\\\""),
        '\\' => json.push_str("\\\\"),
        '\u{0}'..='\u{1f}' => {
            json.push_str(if character < '\u{10}' { "\\u000" } else { "\\u001" });
            json.push(HEX.get(character as usize % 16).copied().unwrap_or('0'));
        }
        _ => json.push(character),
    }
}
