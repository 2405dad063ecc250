//! The documents that a server shows, written once, and what is found under which path.

use super::{Answer, PublishedKeys, reply};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use jeton_proto::jose::assertion_key::AssertionAlgorithm;
use jeton_proto::jose::assertion_verification::ED25519_ALGORITHM;
use jeton_proto::rotation::DEFAULT_JWKS_MAX_AGE;
use jeton_proto::wire::client_auth::ClientAuthMethod;
use jeton_proto::wire::metadata::AuthorizationServerMetadata;
use jeton_proto::wire::token_request::CLIENT_CREDENTIALS;
use std::sync::Arc;

const TOKEN_PATH: &str = "/oauth/token";
const JWKS_PATH: &str = "/oauth/jwks";
const METADATA_PATH: &str = "/.well-known/oauth-authorization-server";

/// The metadata and the keys of an issuer.
#[derive(Clone, Debug)]
pub struct Documents {
    /// The path of the issuer without a slash at its end; empty for most.
    issuer_path: String,
    metadata: Bytes,
    jwks: Arc<PublishedKeys>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Token,
    Jwks,
    Metadata,
    Live,
    Ready,
}

impl Documents {
    /// The documents of `issuer`, whose public keys are the JWK Set `jwks` and stay it.
    ///
    /// # Errors
    /// None in practice: metadata is made of texts alone.
    pub fn new(issuer: &str, jwks: Vec<u8>) -> Result<Self, serde_json::Error> {
        let jwks = Arc::new(PublishedKeys::new(jwks, DEFAULT_JWKS_MAX_AGE));
        Self::showing(issuer, jwks, MutualTls::NotOffered)
    }

    /// The documents of `issuer`, whose public keys are what `jwks` shows at each moment.
    ///
    /// # Errors
    /// None in practice: metadata is made of texts alone.
    pub fn showing(
        issuer: &str,
        jwks: Arc<PublishedKeys>,
        mutual_tls: MutualTls,
    ) -> Result<Self, serde_json::Error> {
        let base = issuer.trim_end_matches('/');
        let metadata = AuthorizationServerMetadata {
            issuer: issuer.to_owned(),
            token_endpoint: format!("{base}{TOKEN_PATH}"),
            jwks_uri: Some(format!("{base}{JWKS_PATH}")),
            scopes_supported: None,
            response_types_supported: Vec::new(),
            grant_types_supported: Some(vec![CLIENT_CREDENTIALS.to_owned()]),
            token_endpoint_auth_methods_supported: Some(
                methods(mutual_tls).map(|method| method.as_str().to_owned()).collect(),
            ),
            token_endpoint_auth_signing_alg_values_supported: Some(
                AssertionAlgorithm::ALL
                    .map(AssertionAlgorithm::as_str)
                    .into_iter()
                    .chain([ED25519_ALGORITHM])
                    .map(str::to_owned)
                    .collect(),
            ),
            mtls_endpoint_aliases: None,
            tls_client_certificate_bound_access_tokens: match mutual_tls {
                MutualTls::Offered => Some(true),
                MutualTls::NotOffered => None,
            },
            service_documentation: None,
        };
        let authority_and_path = base.split_once("://").map_or(base, |(_, rest)| rest);
        let issuer_path = authority_and_path.split_once('/').map(|(_, path)| format!("/{path}"));
        Ok(Self { issuer_path: issuer_path.unwrap_or_default(), metadata: metadata.to_json()?.into(), jwks })
    }

    /// What is at `path`. A proxy before the server may keep the path of the issuer or take it off: both are found.
    pub(super) fn route(&self, path: &str) -> Option<Route> {
        let below = path.strip_prefix(self.issuer_path.as_str());
        let route = |path| match path {
            TOKEN_PATH => Some(Route::Token),
            JWKS_PATH => Some(Route::Jwks),
            METADATA_PATH | "/.well-known/openid-configuration" => Some(Route::Metadata),
            "/healthz" | "/livez" => Some(Route::Live),
            "/readyz" => Some(Route::Ready),
            _ => None,
        };
        // RFC 8414 §3.1 puts the well-known part before the path of the issuer.
        below
            .and_then(route)
            .or_else(|| route(path))
            .or_else(|| (path.strip_prefix(METADATA_PATH)? == self.issuer_path).then_some(Route::Metadata))
    }

    pub(super) fn metadata(&self) -> Answer {
        reply::document(&self.metadata, HeaderValue::from_static("application/json"))
    }

    pub(super) fn jwks(&self, headers: &HeaderMap) -> Answer {
        self.jwks.answer(headers)
    }
}

/// Whether callers are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MutualTls {
    /// They are, at the address of the issuer.
    Offered,
    /// They are not.
    NotOffered,
}

fn methods(mutual_tls: MutualTls) -> impl Iterator<Item = ClientAuthMethod> {
    ClientAuthMethod::ALL.into_iter().filter(move |method| match method {
        ClientAuthMethod::ClientSecretBasic
        | ClientAuthMethod::ClientSecretPost
        | ClientAuthMethod::ClientSecretJwt
        | ClientAuthMethod::PrivateKeyJwt => true,
        ClientAuthMethod::TlsClientAuth | ClientAuthMethod::SelfSignedTlsClientAuth => {
            mutual_tls == MutualTls::Offered
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jeton_proto::wire::metadata::well_known_urls;

    fn path_of(url: &str) -> String {
        url::Url::parse(url).unwrap().path().to_owned()
    }

    #[test]
    fn everything_that_the_metadata_names_is_found_where_it_says() {
        for issuer in [
            "http://localhost:8080",
            "https://id.example.com/",
            "https://id.example.com/a/b",
            "https://id.example.com/oauth",
            "https://id.example.com/.well-known",
        ] {
            let documents = Documents::new(issuer, b"{}".to_vec()).unwrap();
            let metadata = AuthorizationServerMetadata::parse(&documents.metadata, issuer).unwrap();
            assert_eq!(documents.route(&path_of(&metadata.token_endpoint)), Some(Route::Token), "{issuer}");
            assert_eq!(documents.route(&path_of(&metadata.jwks_uri.unwrap())), Some(Route::Jwks), "{issuer}");
            for url in well_known_urls(issuer).unwrap() {
                assert_eq!(documents.route(&path_of(&url)), Some(Route::Metadata), "{url}");
            }
            assert_eq!(documents.route("/oauth/token"), Some(Route::Token), "a proxy may take the path off");
        }
    }

    #[test]
    fn nothing_else_is_found() {
        let documents = Documents::new("https://id.example.com/a", b"{}".to_vec()).unwrap();
        for path in [
            "/",
            "",
            "/oauth/token/",
            "/OAUTH/TOKEN",
            "//oauth/token",
            "/b/oauth/token",
            "/a",
            "/metrics",
            "/.well-known/oauth-authorization-server/b",
        ] {
            assert_eq!(documents.route(path), None, "{path}");
        }
    }
}
