//! Metadata of authorization servers (RFC 8414): where it is found, what is refused, and what a manager makes of it.

use crate::support::{Endpoint, InMemory, SECRET, VirtualClock, basic, key};
use bytes::Bytes;
use http::{Request, Response};
use jeton::discovery::{Discovery, DiscoveryError};
use jeton::http::{ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange, InvalidUrl};
use jeton::{BuildError, ClientAuthMethod, Secret, TokenManager, TokenManagerBuilder};
use jeton_proto::wire::metadata::{AuthorizationServerMetadata, InvalidMetadata};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const ISSUER: &str = "https://as.example/tenant";
const FIRST: &str = "https://as.example/.well-known/oauth-authorization-server/tenant";
const SECOND: &str = "https://as.example/tenant/.well-known/openid-configuration";

/// Answers by URL, and 404 elsewhere.
#[derive(Default)]
struct Pages {
    answers: BTreeMap<&'static str, (u16, String)>,
    asked: Mutex<Vec<String>>,
}

impl Pages {
    fn with(mut self, url: &'static str, status: u16, body: &str) -> Self {
        self.answers.insert(url, (status, body.to_owned()));
        self
    }
}

impl HttpExchange for Pages {
    fn exchange(&self, request: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        let url = request.uri().to_string();
        assert!(request.headers().get("authorization").is_none() && request.body().is_empty());
        let answer = self.answers.get(&*url).cloned();
        self.asked.lock().unwrap().push(url);
        Box::pin(async move {
            match answer {
                Some((0, _)) => Err(ExchangeError::Connect("refused".to_owned())),
                Some((1, _)) => {
                    tokio::time::sleep(limits.time * 2).await;
                    Err(ExchangeError::TimedOut)
                }
                Some((status, body)) => {
                    Ok(Response::builder().status(status).body(Bytes::from(body)).unwrap())
                }
                None => Ok(Response::builder().status(404).body(Bytes::new()).unwrap()),
            }
        })
    }
}

fn document(more: &Value) -> String {
    let mut document = json!({ "issuer": ISSUER, "token_endpoint": "https://as.example/tenant/token" });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document.to_string()
}

async fn fetch(pages: Pages) -> (Result<AuthorizationServerMetadata, DiscoveryError>, Vec<String>) {
    let pages = Arc::new(pages);
    let found = Discovery::of(ISSUER).exchange(Arc::clone(&pages) as Arc<dyn HttpExchange>).fetch().await;
    let asked = pages.asked.lock().unwrap().clone();
    (found, asked)
}

#[tokio::test]
async fn metadata_is_found_at_the_place_of_rfc_8414_else_at_that_of_openid_connect() {
    let (found, asked) = fetch(Pages::default().with(FIRST, 200, &document(&json!({})))).await;
    assert_eq!(found.unwrap().token_endpoint, "https://as.example/tenant/token");
    assert_eq!(asked, [FIRST]);
    for missing in [404, 400, 500] {
        let pages = Pages::default().with(FIRST, missing, "").with(SECOND, 200, &document(&json!({})));
        let (found, asked) = fetch(pages).await;
        assert!(found.is_ok());
        assert_eq!(asked, [FIRST, SECOND]);
    }
}

#[tokio::test]
async fn r4_1_metadata_of_another_issuer_is_refused() {
    for other in ["https://as.example", "https://as.example/tenant/", "https://evil.example/tenant", ""] {
        let document = document(&json!({ "issuer": other }));
        let pages = Pages::default().with(FIRST, 200, &document).with(SECOND, 200, &document);
        let (found, _) = fetch(pages).await;
        let fault = InvalidMetadata::Issuer;
        assert_eq!(
            found,
            Err(DiscoveryError::Metadata { server: "as.example".to_owned(), fault }),
            "{other}"
        );
    }
}

#[tokio::test]
async fn what_was_wrong_is_told_of_the_place_that_tells_more() {
    let server = || "as.example".to_owned();
    let (found, _) = fetch(Pages::default()).await;
    assert_eq!(found, Err(DiscoveryError::Status { server: server(), status: 404 }));
    let (found, _) = fetch(Pages::default().with(SECOND, 503, "")).await;
    assert_eq!(found, Err(DiscoveryError::Status { server: server(), status: 503 }));
    let (found, _) = fetch(Pages::default().with(FIRST, 200, "<html>").with(SECOND, 404, "")).await;
    assert!(matches!(found, Err(DiscoveryError::Metadata { .. })), "{found:?}");
    // A redirect is not followed.
    let (found, asked) = fetch(Pages::default().with(FIRST, 302, "").with(SECOND, 307, "")).await;
    assert_eq!(found, Err(DiscoveryError::Status { server: server(), status: 302 }));
    assert_eq!(asked.len(), 2);
    let (found, asked) = fetch(Pages::default().with(FIRST, 0, "")).await;
    assert!(matches!(found, Err(DiscoveryError::Exchange { .. })), "{found:?}");
    assert_eq!(asked, [FIRST], "the other place is at the same host");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up_in_time() {
    let begun = tokio::time::Instant::now();
    let (found, _) = fetch(Pages::default().with(FIRST, 1, "")).await;
    let fault = ExchangeError::TimedOut;
    assert_eq!(found, Err(DiscoveryError::Exchange { server: "as.example".to_owned(), fault }));
    assert!(begun.elapsed().as_secs() <= 10);
}

#[tokio::test]
async fn r4_4_a_token_endpoint_in_plain_http_and_an_issuer_that_is_none_are_refused() {
    let pages =
        Pages::default().with(FIRST, 200, &document(&json!({ "token_endpoint": "http://as.example/token" })));
    let (found, _) = fetch(pages).await;
    assert!(matches!(found, Err(DiscoveryError::TokenEndpoint(InvalidUrl::PlainHttp { .. }))), "{found:?}");
    for issuer in ["http://as.example", "as.example", "https://as.example?x", ""] {
        let found = Discovery::of(issuer).exchange(Arc::new(Pages::default())).fetch().await;
        assert!(matches!(found, Err(DiscoveryError::Issuer | DiscoveryError::Url(_))), "{issuer}: {found:?}");
    }
}

fn managed(more: &Value) -> (Arc<Endpoint>, TokenManagerBuilder) {
    let endpoint = Endpoint::granting(60);
    let document = document(more);
    let metadata = AuthorizationServerMetadata::parse(document.as_bytes(), ISSUER).unwrap();
    let builder = TokenManager::builder(&metadata.token_endpoint, "billing")
        .metadata(metadata)
        .clock(VirtualClock::new())
        .exchange(Arc::new(InMemory(Arc::clone(&endpoint))));
    (endpoint, builder)
}

#[tokio::test(start_paused = true)]
async fn r4_1_the_method_is_one_that_the_server_offers() {
    let (endpoint, builder) = managed(&json!({}));
    builder.client_secret(Secret::from(SECRET)).build().unwrap().token(&key()).await.unwrap();
    assert_eq!(*endpoint.last_authorization.lock().unwrap(), Some(basic(SECRET)), "none listed means basic");

    let only = |method: &str| json!({ "token_endpoint_auth_methods_supported": [method] });
    let (endpoint, builder) = managed(&only("client_secret_post"));
    builder.client_secret(Secret::from(SECRET)).build().unwrap().token(&key()).await.unwrap();
    assert!(endpoint.last_body.lock().unwrap().contains("client_secret="));

    let (_, builder) = managed(&only("private_key_jwt"));
    let error = builder.client_secret(Secret::from(SECRET)).build().unwrap_err();
    assert!(matches!(error, BuildError::Credential(_)));
    let told = "the credential is refused: the server offers the methods private_key_jwt; the client has a client secret";
    assert_eq!(error.to_string(), told);

    // What is set is not overridden: the operator may know better than the document.
    let (endpoint, builder) = managed(&only("private_key_jwt"));
    let builder =
        builder.client_secret(Secret::from(SECRET)).auth_method(ClientAuthMethod::ClientSecretBasic);
    builder.build().unwrap().token(&key()).await.unwrap();
    assert_eq!(*endpoint.last_authorization.lock().unwrap(), Some(basic(SECRET)));
}

#[tokio::test(start_paused = true)]
async fn the_algorithm_of_an_rsa_key_is_one_that_the_server_lists() {
    let pem = {
        use base64::Engine as _;
        let key =
            jeton_proto::jose::jwk::SigningKey::generate(jeton_proto::jose::jws::Algorithm::Rs256).unwrap();
        let body = base64::engine::general_purpose::STANDARD.encode(key.to_pkcs8().unwrap().expose());
        format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    };
    for (listed, expected) in [("RS256", "RS256"), ("PS256", "PS256")] {
        let (endpoint, builder) = managed(&json!({
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": [listed, "ES256"],
        }));
        let manager = builder.private_key(Secret::from(pem.as_str())).build().unwrap();
        manager.token(&key()).await.unwrap();
        let body = endpoint.last_body.lock().unwrap().clone();
        let (_, assertion) =
            form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "client_assertion").unwrap();
        let header = crate::methods::part(&assertion, 0);
        assert_eq!(header["alg"], expected);
        assert_eq!(crate::methods::part(&assertion, 1)["aud"], ISSUER);
    }
    let (_, builder) = managed(&json!({
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
    }));
    let error = builder.private_key(Secret::from(pem.as_str())).build().unwrap_err().to_string();
    assert!(error.contains("signed with ES256; the key of the client signs RS256, PS256"), "{error}");
}

#[test]
fn mutual_tls_goes_to_the_endpoint_that_the_server_has_for_it() {
    let (_, builder) = managed(&json!({
        "token_endpoint_auth_methods_supported": ["tls_client_auth", "client_secret_basic"],
        "mtls_endpoint_aliases": { "token_endpoint": "http://mtls.as.example/token" },
    }));
    // Refused for its plain http, so it was the alias that was looked at.
    let error = builder.client_certificate(Secret::from("x")).build().unwrap_err().to_string();
    assert!(error.contains("plain http to mtls.as.example"), "{error}");
}

#[tokio::test]
async fn a_time_beyond_all_bounds_is_no_panic() {
    let pages = Arc::new(Pages::default());
    let fetched = Discovery::of(ISSUER).exchange(pages).timeout(std::time::Duration::MAX).fetch().await;
    assert!(matches!(fetched, Err(DiscoveryError::Status { status: 404, .. })), "{fetched:?}");
}
