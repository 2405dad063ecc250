//! The documents that a server shows, written once, and what is found under which path.

use super::inquiry::Inquiry;
use super::{Answer, PublishedKeys, reply};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use jeton_proto::jose::assertion_key::AssertionAlgorithm;
use jeton_proto::jose::assertion_verification::ED25519_ALGORITHM;
use jeton_proto::jose::jws::Algorithm;
use jeton_proto::rotation::DEFAULT_JWKS_MAX_AGE;
use jeton_proto::wire::client_auth::ClientAuthMethod;
use jeton_proto::wire::metadata::AuthorizationServerMetadata;
use jeton_proto::wire::token_request::CLIENT_CREDENTIALS;
use std::sync::Arc;

const TOKEN_PATH: &str = "/oauth/token";
const INTROSPECTION_PATH: &str = "/oauth/introspect";
const REVOCATION_PATH: &str = "/oauth/revoke";
const REVOCATIONS_PATH: &str = "/oauth/revocations";
const JWKS_PATH: &str = "/oauth/jwks";
const METADATA_PATH: &str = "/.well-known/oauth-authorization-server";
/// The `OpenAPI` description of what is found here.
const DESCRIPTION: &str = include_str!("openapi.json");

/// What is found under which path.
const ROUTES: [(&str, Route); 11] = [
    (TOKEN_PATH, Route::Token),
    (INTROSPECTION_PATH, Route::Inquiry(Inquiry::Introspection)),
    (REVOCATION_PATH, Route::Inquiry(Inquiry::Revocation)),
    (REVOCATIONS_PATH, Route::Revocations),
    (JWKS_PATH, Route::Jwks),
    (METADATA_PATH, Route::Metadata),
    ("/.well-known/openid-configuration", Route::Metadata),
    ("/oauth/openapi.json", Route::Description),
    ("/healthz", Route::Live),
    ("/livez", Route::Live),
    ("/readyz", Route::Ready),
];

/// The metadata and the keys of an issuer.
#[derive(Clone, Debug)]
pub struct Documents {
    /// The path of the issuer without a slash at its end; empty for most.
    issuer_path: String,
    inquiries: Inquiries,
    metadata: Bytes,
    jwks: Arc<PublishedKeys>,
}

/// Whether there are endpoints for requests about tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inquiries {
    Answered,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Token,
    Inquiry(Inquiry),
    Revocations,
    Jwks,
    Metadata,
    Description,
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
        Self::over(&metadata(issuer, mutual_tls), Inquiries::None, jwks)
    }

    /// The same of an issuer that answers requests about its tokens too, and signs those answers with one of `algorithms`.
    ///
    /// # Errors
    /// None in practice: metadata is made of texts alone.
    pub fn with_inquiries(
        issuer: &str,
        jwks: Arc<PublishedKeys>,
        mutual_tls: MutualTls,
        algorithms: &[Algorithm],
    ) -> Result<Self, serde_json::Error> {
        let base = issuer.trim_end_matches('/');
        let issuing = metadata(issuer, mutual_tls);
        let methods = issuing.token_endpoint_auth_methods_supported.clone();
        let assertions = issuing.token_endpoint_auth_signing_alg_values_supported.clone();
        let signing = algorithms.iter().map(|algorithm| algorithm.as_str().to_owned()).collect();
        let metadata = AuthorizationServerMetadata {
            introspection_endpoint: Some(format!("{base}{INTROSPECTION_PATH}")),
            introspection_endpoint_auth_methods_supported: methods.clone(),
            introspection_endpoint_auth_signing_alg_values_supported: assertions.clone(),
            introspection_signing_alg_values_supported: Some(signing),
            revocation_endpoint: Some(format!("{base}{REVOCATION_PATH}")),
            revocation_endpoint_auth_methods_supported: methods,
            revocation_endpoint_auth_signing_alg_values_supported: assertions,
            jeton_revocation_feed_uri: Some(format!("{base}{REVOCATIONS_PATH}")),
            ..issuing
        };
        Self::over(&metadata, Inquiries::Answered, jwks)
    }

    fn over(
        metadata: &AuthorizationServerMetadata,
        inquiries: Inquiries,
        jwks: Arc<PublishedKeys>,
    ) -> Result<Self, serde_json::Error> {
        let base = metadata.issuer.trim_end_matches('/');
        let authority_and_path = base.split_once("://").map_or(base, |(_, rest)| rest);
        let issuer_path = authority_and_path.split_once('/').map(|(_, path)| format!("/{path}"));
        let issuer_path = issuer_path.unwrap_or_default();
        Ok(Self { issuer_path, inquiries, metadata: metadata.to_json()?.into(), jwks })
    }

    /// What is at `path`. A proxy before the server may keep the path of the issuer or take it off: both are found.
    pub(super) fn route(&self, path: &str) -> Option<Route> {
        let below = path.strip_prefix(self.issuer_path.as_str());
        let answers = self.inquiries == Inquiries::Answered;
        let route = |path| {
            let found = ROUTES.iter().find(|(there, _)| *there == path).map(|(_, route)| *route);
            found.filter(|route| answers || !matches!(route, Route::Inquiry(_) | Route::Revocations))
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

    pub(super) fn description() -> Answer {
        let body = Bytes::from_static(DESCRIPTION.as_bytes());
        reply::document(&body, HeaderValue::from_static("application/json"))
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

fn metadata(issuer: &str, mutual_tls: MutualTls) -> AuthorizationServerMetadata {
    let base = issuer.trim_end_matches('/');
    AuthorizationServerMetadata {
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
        introspection_endpoint: None,
        introspection_endpoint_auth_methods_supported: None,
        introspection_endpoint_auth_signing_alg_values_supported: None,
        introspection_signing_alg_values_supported: None,
        revocation_endpoint: None,
        revocation_endpoint_auth_methods_supported: None,
        revocation_endpoint_auth_signing_alg_values_supported: None,
        jeton_revocation_feed_uri: None,
        mtls_endpoint_aliases: None,
        tls_client_certificate_bound_access_tokens: match mutual_tls {
            MutualTls::Offered => Some(true),
            MutualTls::NotOffered => None,
        },
        service_documentation: None,
    }
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
            let jwks = Arc::new(PublishedKeys::new(b"{}".to_vec(), DEFAULT_JWKS_MAX_AGE));
            let offered = MutualTls::NotOffered;
            let documents = Documents::with_inquiries(issuer, jwks, offered, &[Algorithm::EdDsa]).unwrap();
            let metadata = AuthorizationServerMetadata::parse(&documents.metadata, issuer).unwrap();
            assert_eq!(documents.route(&path_of(&metadata.token_endpoint)), Some(Route::Token), "{issuer}");
            assert_eq!(documents.route(&path_of(&metadata.jwks_uri.unwrap())), Some(Route::Jwks), "{issuer}");
            for (url, route) in [
                (metadata.introspection_endpoint, Route::Inquiry(Inquiry::Introspection)),
                (metadata.revocation_endpoint, Route::Inquiry(Inquiry::Revocation)),
                (metadata.jeton_revocation_feed_uri, Route::Revocations),
            ] {
                assert_eq!(documents.route(&path_of(&url.unwrap())), Some(route), "{issuer}");
            }
            assert_eq!(metadata.introspection_signing_alg_values_supported.unwrap(), ["EdDSA"]);
            for url in well_known_urls(issuer).unwrap() {
                assert_eq!(documents.route(&path_of(&url)), Some(Route::Metadata), "{url}");
            }
            assert_eq!(documents.route("/oauth/token"), Some(Route::Token), "a proxy may take the path off");
        }
    }

    #[test]
    fn every_path_is_described_and_every_description_is_of_one() {
        let description: serde_json::Value = serde_json::from_str(DESCRIPTION).unwrap();
        let described: Vec<_> = description["paths"].as_object().unwrap().iter().collect();
        for (path, route) in ROUTES {
            let methods: Vec<_> = description["paths"][path].as_object().unwrap().keys().collect();
            let wanted = if matches!(route, Route::Token | Route::Inquiry(_)) { "post" } else { "get" };
            assert_eq!(methods, [wanted], "{path}");
        }
        assert_eq!(described.len(), ROUTES.len());
    }

    #[test]
    fn nothing_else_is_found() {
        let documents = Documents::new("https://id.example.com/a", b"{}".to_vec()).unwrap();
        for path in [
            "/",
            "",
            "/oauth/token/",
            "/oauth/introspect",
            "/oauth/revocations",
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
