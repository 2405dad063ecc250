//! Authorization server metadata (RFC 8414).

use crate::wire::client_auth::ClientAuthMethod;
use serde::{Deserialize, Serialize};

/// The largest metadata document that is parsed, in bytes.
pub const MAX_METADATA_BYTES: usize = 256 * 1024;

/// The members of RFC 8414 §2 that the client-credentials grant uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationServerMetadata {
    /// The issuer identifier: an https URL without query or fragment.
    pub issuer: String,
    /// Where tokens are requested.
    pub token_endpoint: String,
    /// Where the verification keys are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// The scopes that may be asked for, as far as the server tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes_supported: Option<Vec<String>>,
    /// Required by RFC 8414 and empty where there is no authorization endpoint.
    #[serde(default)]
    pub response_types_supported: Vec<String>,
    /// The grants; left out, RFC 8414 §2 means `authorization_code` and `implicit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_types_supported: Option<Vec<String>>,
    /// The client authentication methods; left out, RFC 8414 §2 means `client_secret_basic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// The algorithms of client assertions; RFC 8414 §2 wants them told where a method has assertions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_signing_alg_values_supported: Option<Vec<String>>,
    /// Where a token is asked about (RFC 7662).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection_endpoint: Option<String>,
    /// The client authentication methods there; left out, RFC 8414 §2 says nothing of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// The algorithms of client assertions there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection_endpoint_auth_signing_alg_values_supported: Option<Vec<String>>,
    /// The algorithms of answers that are JWTs (RFC 9701 §7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection_signing_alg_values_supported: Option<Vec<String>>,
    /// Where a token is revoked (RFC 7009).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<String>,
    /// The client authentication methods there; left out, RFC 8414 §2 means `client_secret_basic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// The algorithms of client assertions there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint_auth_signing_alg_values_supported: Option<Vec<String>>,
    /// Where the signed list of revoked tokens is ([`crate::revocation`]). A member of our own: RFC 8414 §2 lets there
    /// be others, and readers pass over those that they do not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jeton_revocation_feed_uri: Option<String>,
    /// Where clients with mutual TLS go, in place of the endpoints beside it (RFC 8705 §5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls_endpoint_aliases: Option<MtlsEndpointAliases>,
    /// Whether the server binds tokens to the certificate of the client; left out, it does not (RFC 8705 §3.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_certificate_bound_access_tokens: Option<bool>,
    /// Human-readable documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_documentation: Option<String>,
}

/// The endpoints of a server for clients with mutual TLS (RFC 8705 §5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MtlsEndpointAliases {
    /// Where tokens are requested; left out, it is where everybody requests them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
}

impl AuthorizationServerMetadata {
    /// Reads a metadata document and holds it against the issuer it was asked of (RFC 8414 §3.3).
    ///
    /// # Errors
    /// [`InvalidMetadata`]: too large, not the JSON object expected, or of another issuer.
    pub fn parse(document: &[u8], expected_issuer: &str) -> Result<Self, InvalidMetadata> {
        if document.len() > MAX_METADATA_BYTES {
            return Err(InvalidMetadata::TooLarge);
        }
        let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
        // A list would be read as the members in their order.
        if document.trim_ascii_start().first() != Some(&b'{') {
            return Err(InvalidMetadata::Json { line: 1, column: 1 });
        }
        let metadata: Self = serde_json::from_slice(document)
            .map_err(|error| InvalidMetadata::Json { line: error.line(), column: error.column() })?;
        if metadata.issuer != expected_issuer {
            return Err(InvalidMetadata::Issuer);
        }
        Ok(metadata)
    }

    /// Where a client with this method requests tokens: with mutual TLS at the alias, where there is one (RFC 8705 §5).
    ///
    /// An alias is held to the same rules for URLs as any token endpoint; its host may be another.
    #[must_use]
    pub fn token_endpoint_for(&self, method: ClientAuthMethod) -> &str {
        match method {
            ClientAuthMethod::TlsClientAuth | ClientAuthMethod::SelfSignedTlsClientAuth => {
                let aliases = self.mtls_endpoint_aliases.as_ref();
                aliases.and_then(|aliases| aliases.token_endpoint.as_deref()).unwrap_or(&self.token_endpoint)
            }
            ClientAuthMethod::ClientSecretBasic
            | ClientAuthMethod::ClientSecretPost
            | ClientAuthMethod::ClientSecretJwt
            | ClientAuthMethod::PrivateKeyJwt => &self.token_endpoint,
        }
    }

    /// The document as JSON.
    ///
    /// # Errors
    /// None in practice: every member is a text or a list of texts.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

/// Why a metadata document was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMetadata {
    /// More than [`MAX_METADATA_BYTES`].
    #[error("the metadata document is larger than {MAX_METADATA_BYTES} bytes")]
    TooLarge,
    /// Not JSON, or without `issuer` or `token_endpoint`.
    #[error("the metadata document is not the JSON object of RFC 8414: line {line}, column {column}")]
    Json {
        /// The line of the fault, from 1.
        line: usize,
        /// The column of the fault, from 1.
        column: usize,
    },
    /// The document names another issuer than the one it was asked of.
    #[error("the metadata document names another issuer than the one it was asked of (RFC 8414 section 3.3)")]
    Issuer,
}

/// Where the metadata of `issuer` may be, in the order to try: the well-known path of RFC 8414 §3.1, inserted
/// between host and path, then `OpenID` Connect's, appended to the path (RFC 8414 §5). `None` when `issuer` is no
/// http or https URL.
///
/// ```
/// use jeton_proto::wire::metadata::well_known_urls;
///
/// let urls = well_known_urls("https://id.example.com/tenant").unwrap();
/// assert_eq!(urls[0], "https://id.example.com/.well-known/oauth-authorization-server/tenant");
/// assert_eq!(urls[1], "https://id.example.com/tenant/.well-known/openid-configuration");
/// ```
#[must_use]
pub fn well_known_urls(issuer: &str) -> Option<[String; 2]> {
    let (scheme, rest) = issuer.split_once("://")?;
    // What no URL has (RFC 3986 appendix A) some readers pass over or take for a slash, and so find another host.
    let foreign = |character: char| character == '\\' || character == ' ' || character.is_ascii_control();
    if !matches!(scheme, "https" | "http") || rest.contains(['?', '#']) || rest.contains(foreign) {
        return None;
    }
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, path.trim_end_matches('/')),
        None => (rest, ""),
    };
    if authority.is_empty() {
        return None;
    }
    let slash = if path.is_empty() { "" } else { "/" };
    Some([
        format!("{scheme}://{authority}/.well-known/oauth-authorization-server{slash}{path}"),
        format!("{scheme}://{authority}{slash}{path}/.well-known/openid-configuration"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &[u8] = br#"{"issuer":"https://as.example","token_endpoint":"https://as.example/token",
        "jwks_uri":"https://as.example/jwks","unknown_member":[1,2,3]}"#;

    #[test]
    fn a_document_is_read_and_unknown_members_do_not_matter() {
        let metadata = AuthorizationServerMetadata::parse(DOCUMENT, "https://as.example").unwrap();
        assert_eq!(metadata.token_endpoint, "https://as.example/token");
        assert_eq!(metadata.grant_types_supported, None);
    }

    #[test]
    fn mutual_tls_goes_to_the_alias_of_the_token_endpoint() {
        let parse = |aliases: &str| {
            let document = format!(
                r#"{{"issuer":"i","token_endpoint":"t"{aliases},"tls_client_certificate_bound_access_tokens":true}}"#
            );
            AuthorizationServerMetadata::parse(document.as_bytes(), "i").unwrap()
        };
        let aliased = parse(r#","mtls_endpoint_aliases":{"token_endpoint":"m","other_endpoint":1}"#);
        assert_eq!(aliased.tls_client_certificate_bound_access_tokens, Some(true));
        for method in ClientAuthMethod::ALL {
            let mutual = method.as_str().contains("tls");
            assert_eq!(aliased.token_endpoint_for(method), if mutual { "m" } else { "t" }, "{method}");
            for without in ["", r#","mtls_endpoint_aliases":{}"#] {
                assert_eq!(parse(without).token_endpoint_for(method), "t");
            }
        }
        let written = aliased.to_json().unwrap();
        assert_eq!(AuthorizationServerMetadata::parse(&written, "i").unwrap(), aliased);
    }

    #[test]
    fn a_document_of_another_issuer_is_refused() {
        for other in ["https://as.example/", "https://AS.example", "https://evil.example"] {
            assert_eq!(AuthorizationServerMetadata::parse(DOCUMENT, other), Err(InvalidMetadata::Issuer));
        }
    }

    #[test]
    fn bad_documents_say_where() {
        let parse = |document: &[u8]| AuthorizationServerMetadata::parse(document, "x").unwrap_err();
        assert_eq!(parse(br#"["x","y"]"#), InvalidMetadata::Json { line: 1, column: 1 });
        assert!(matches!(parse(b"<html>"), InvalidMetadata::Json { line: 1, .. }));
        assert!(matches!(parse(br#"{"issuer":"x"}"#), InvalidMetadata::Json { .. }));
        assert_eq!(parse(&vec![b' '; MAX_METADATA_BYTES + 1]), InvalidMetadata::TooLarge);
    }

    #[test]
    fn well_known_locations_without_a_path() {
        for issuer in ["http://localhost:8080", "http://localhost:8080/"] {
            let [rfc_8414, openid] = well_known_urls(issuer).unwrap();
            assert_eq!(rfc_8414, "http://localhost:8080/.well-known/oauth-authorization-server");
            assert_eq!(openid, "http://localhost:8080/.well-known/openid-configuration");
        }
        for bad in ["", "ftp://x", "https://", "https:///x", "https://x?y", "as.example"] {
            assert_eq!(well_known_urls(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_issuer_that_two_readers_take_for_two_hosts_has_no_location() {
        for odd in [
            "https://\\/as.example",
            "https://\t/as.example",
            "https://as.example\\@b",
            "https://as.example\0",
        ] {
            assert_eq!(well_known_urls(odd), None, "{odd:?}");
        }
    }
}
