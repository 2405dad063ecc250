//! Client authentication: the names of its methods, and the Basic header of a shared secret (RFC 6749 §2.3.1).

use super::form::{InvalidComponent, decode_component};
use crate::secret::{Secret, Wiped, wiped_header_value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use std::fmt;
use std::str::FromStr;
use zeroize::{Zeroize, Zeroizing};

/// The longest Basic credential that is parsed, in bytes of base64.
pub const MAX_BASIC_BYTES: usize = 8192;
/// The value of `client_assertion_type` for a JWT (RFC 7523 §2.2).
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How a client proves who it is at the token endpoint, by the names of RFC 7591 §2, RFC 8705 §2 and `OpenID` Connect
/// Core §9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientAuthMethod {
    /// Client id and secret in the `Authorization: Basic` header (RFC 6749 §2.3.1). The default.
    #[default]
    ClientSecretBasic,
    /// Client id and secret as form parameters (RFC 6749 §2.3.1).
    ClientSecretPost,
    /// A JWT with an HMAC under the secret (`OpenID` Connect Core §9, RFC 7523 §2.2).
    ClientSecretJwt,
    /// A JWT signed with a private key whose public key the server knows (`OpenID` Connect Core §9, RFC 7523 §2.2).
    PrivateKeyJwt,
    /// Mutual TLS with a certificate of an authority that the server trusts (RFC 8705 §2.1).
    TlsClientAuth,
    /// Mutual TLS with a certificate that the server knows itself (RFC 8705 §2.2).
    SelfSignedTlsClientAuth,
}

impl ClientAuthMethod {
    /// Whether it is by a client secret, sent or as the key of an assertion.
    #[must_use]
    pub const fn is_by_secret(self) -> bool {
        match self {
            Self::ClientSecretBasic | Self::ClientSecretPost | Self::ClientSecretJwt => true,
            Self::PrivateKeyJwt | Self::TlsClientAuth | Self::SelfSignedTlsClientAuth => false,
        }
    }

    /// Every method.
    pub const ALL: [Self; 6] = [
        Self::ClientSecretBasic,
        Self::ClientSecretPost,
        Self::ClientSecretJwt,
        Self::PrivateKeyJwt,
        Self::TlsClientAuth,
        Self::SelfSignedTlsClientAuth,
    ];

    /// The name as the registry of RFC 7591 and server metadata spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::ClientSecretJwt => "client_secret_jwt",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth => "tls_client_auth",
            Self::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
        }
    }
}

impl fmt::Display for ClientAuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ClientAuthMethod {
    type Err = UnknownClientAuthMethod;

    /// Reads a name. Names are case-sensitive.
    fn from_str(text: &str) -> Result<Self, UnknownClientAuthMethod> {
        Self::ALL.into_iter().find(|method| method.as_str() == text).ok_or(UnknownClientAuthMethod)
    }
}

/// A name that is not in the list of [`ClientAuthMethod`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the client authentication method must be client_secret_basic, client_secret_post, client_secret_jwt, \
     private_key_jwt, tls_client_auth or self_signed_tls_client_auth"
)]
pub struct UnknownClientAuthMethod;

/// Whether client id and secret are form-encoded before they are joined for Basic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BasicEncoding {
    /// As RFC 6749 §2.3.1 wants it.
    #[default]
    FormUrlEncoded,
    /// Joined as they are, for servers that do not decode.
    Raw,
}

/// The `Authorization` value of `client_secret_basic`.
///
/// # Errors
/// With [`BasicEncoding::Raw`], when the client id has a colon: the server could not tell where it ends.
pub fn basic_authorization(
    client_id: &str,
    client_secret: &Secret<String>,
    encoding: BasicEncoding,
) -> Result<HeaderValue, ColonInClientId> {
    let mut joined =
        Zeroizing::new(String::with_capacity(3 * (client_id.len() + client_secret.expose().len()) + 1));
    match encoding {
        BasicEncoding::FormUrlEncoded => {
            joined.extend(form_urlencoded::byte_serialize(client_id.as_bytes()));
            joined.push(':');
            joined.extend(form_urlencoded::byte_serialize(client_secret.expose().as_bytes()));
        }
        BasicEncoding::Raw => {
            if client_id.contains(':') {
                return Err(ColonInClientId);
            }
            joined.push_str(client_id);
            joined.push(':');
            joined.push_str(client_secret.expose());
        }
    }
    let mut value = String::with_capacity(6 + joined.len().div_ceil(3) * 4);
    value.push_str("Basic ");
    STANDARD.encode_string(joined.as_bytes(), &mut value);
    // Base64 has no byte that a header refuses, so the error arm cannot be reached.
    wiped_header_value(value.into_bytes()).map_err(|_| ColonInClientId)
}

/// A client id with a colon, which the raw form of Basic cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a client id with a colon cannot be sent in the raw form of client_secret_basic")]
pub struct ColonInClientId;

/// What a Basic header carried.
#[derive(Debug, PartialEq, Eq)]
pub struct BasicCredentials {
    /// The client id, decoded.
    pub client_id: String,
    /// The client secret, decoded.
    pub client_secret: Secret<String>,
}

/// Reads an `Authorization` value as `client_secret_basic` (RFC 6749 §2.3.1): scheme in any case, base64 with
/// padding, then id and secret each form-decoded.
///
/// # Errors
/// [`InvalidBasic`] says what is wrong; none of them carries a part of the header.
pub fn parse_basic(authorization: &[u8]) -> Result<BasicCredentials, InvalidBasic> {
    let (scheme, rest) = match authorization.iter().position(|byte| *byte == b' ') {
        Some(space) => authorization.split_at(space),
        None => return Err(InvalidBasic::Scheme),
    };
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return Err(InvalidBasic::Scheme);
    }
    let encoded = rest.trim_ascii();
    if encoded.len() > MAX_BASIC_BYTES {
        return Err(InvalidBasic::TooLong);
    }
    let joined = Wiped::from(STANDARD.decode(encoded).map_err(|_| InvalidBasic::Base64)?);
    let joined = joined.as_ref();
    let colon = joined.iter().position(|byte| *byte == b':').ok_or(InvalidBasic::Colon)?;
    let (client_id, secret) = joined.split_at(colon);
    Ok(BasicCredentials {
        client_id: decode_half(client_id)?,
        client_secret: Secret::new(decode_half(secret.get(1..).unwrap_or_default())?),
    })
}

/// Why an `Authorization` value is no `client_secret_basic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBasic {
    /// Another scheme, or none.
    #[error("the authorization scheme is not Basic")]
    Scheme,
    /// More than [`MAX_BASIC_BYTES`].
    #[error("the Basic credential is longer than {MAX_BASIC_BYTES} bytes")]
    TooLong,
    /// Not base64 with padding (RFC 7617 §2).
    #[error("the Basic credential is not base64")]
    Base64,
    /// No colon between id and secret.
    #[error("the Basic credential has no colon")]
    Colon,
    /// A `%` that two hexadecimal digits do not follow.
    #[error("the Basic credential is not form-encoded: a percent sign without two hexadecimal digits")]
    Percent,
    /// Bytes that are not UTF-8.
    #[error("the Basic credential is not UTF-8")]
    Utf8,
    /// A control character, NUL among them.
    #[error("the Basic credential has a control character")]
    Control,
}

/// The id or the secret: a component of a form, and without control characters.
fn decode_half(encoded: &[u8]) -> Result<String, InvalidBasic> {
    let mut half = decode_component(encoded)?.into_owned();
    let has_control = if half.is_ascii() {
        half.bytes().fold(false, |found, byte| found | byte.is_ascii_control())
    } else {
        half.chars().any(char::is_control)
    };
    if has_control {
        half.zeroize();
        return Err(InvalidBasic::Control);
    }
    Ok(half)
}

impl From<InvalidComponent> for InvalidBasic {
    fn from(error: InvalidComponent) -> Self {
        match error {
            InvalidComponent::Percent => Self::Percent,
            InvalidComponent::Utf8 => Self::Utf8,
            InvalidComponent::Nul => Self::Control,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(client_id: &str, secret: &str) -> HeaderValue {
        basic_authorization(client_id, &Secret::from(secret), BasicEncoding::FormUrlEncoded).unwrap()
    }

    #[test]
    fn every_method_is_read_by_its_name_and_named_in_the_error() {
        let error = UnknownClientAuthMethod.to_string();
        for method in ClientAuthMethod::ALL {
            assert_eq!(method.as_str().parse(), Ok(method));
            assert!(error.contains(method.as_str()), "{method}");
        }
        for unknown in ["", "none", "CLIENT_SECRET_BASIC", "client_secret_basic "] {
            assert_eq!(unknown.parse::<ClientAuthMethod>(), Err(UnknownClientAuthMethod), "{unknown}");
        }
    }

    #[test]
    fn t14_reserved_characters_round_trip() {
        for (client_id, secret) in [
            ("a:b", "c:d"),
            ("a+b", "c d"),
            ("100%", "50%25"),
            ("x&y=z", "é ü"),
            ("s6BhdRkqt3", "gX1fBat3bV"),
        ] {
            let parsed = parse_basic(header(client_id, secret).as_bytes()).unwrap();
            assert_eq!(
                (parsed.client_id.as_str(), parsed.client_secret.expose().as_str()),
                (client_id, secret)
            );
        }
    }

    #[test]
    fn t14_the_example_of_rfc_6749_section_2_3_1() {
        assert_eq!(
            header("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw"),
            "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"
        );
    }

    #[test]
    fn t14_a_long_secret_has_no_line_break() {
        let value = header("id", &"s".repeat(1000));
        assert!(!value.as_bytes().iter().any(u8::is_ascii_control));
    }

    #[test]
    fn t14_raw_joins_without_encoding_and_refuses_a_colon_in_the_id() {
        let raw = |id: &str| basic_authorization(id, &Secret::from("p%w +"), BasicEncoding::Raw);
        assert_eq!(raw("id").unwrap(), format!("Basic {}", STANDARD.encode("id:p%w +")));
        assert_eq!(raw("a:b"), Err(ColonInClientId));
    }

    #[test]
    fn t36_broken_headers_are_told_apart() {
        let basic = |joined: &[u8]| format!("Basic {}", STANDARD.encode(joined)).into_bytes();
        let check = |value: &[u8], expected: InvalidBasic| assert_eq!(parse_basic(value), Err(expected));
        check(b"Bearer abc", InvalidBasic::Scheme);
        check(b"Basic", InvalidBasic::Scheme);
        check(b"Basic !!!", InvalidBasic::Base64);
        check(b"Basic YTpi\0", InvalidBasic::Base64);
        check(&basic(b"no-colon"), InvalidBasic::Colon);
        check(&basic(b"a:%4"), InvalidBasic::Percent);
        check(&basic(b"a:%zz"), InvalidBasic::Percent);
        check(&basic(b"a:\xff\xfe"), InvalidBasic::Utf8);
        check(&basic(b"a%00:b"), InvalidBasic::Control);
        check(format!("Basic {}", "A".repeat(9000)).as_bytes(), InvalidBasic::TooLong);
        assert!(parse_basic(b"bAsIc YTpi").is_ok());
    }

    proptest! {
        #[test]
        fn t14_any_text_without_controls_round_trips(client_id in "\\PC{1,40}", secret in "\\PC{0,40}") {
            prop_assume!(!client_id.chars().chain(secret.chars()).any(char::is_control));
            let parsed = parse_basic(header(&client_id, &secret).as_bytes()).unwrap();
            prop_assert_eq!(parsed.client_id, client_id);
            prop_assert_eq!(parsed.client_secret.expose(), &secret);
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _answered = parse_basic(&bytes);
        }
    }
}
