//! Clients of other authors, in the form in which anyone would write them (R5.9).

use super::{Running, add_worker};
use oauth2::basic::{BasicClient, BasicErrorResponseType};
use oauth2::{
    AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, RequestTokenError, Scope,
    TokenResponse as _, TokenUrl,
};
use std::collections::HashMap;
use std::sync::Once;

pub(super) fn http_client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    });
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap()
}

/// What the crate's own `reqwest` feature does, with the version of reqwest that is here.
async fn exchange(request: HttpRequest) -> Result<HttpResponse, reqwest::Error> {
    let answer = http_client().execute(request.try_into()?).await?;
    let mut response = HttpResponse::new(Vec::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    *response.body_mut() = answer.bytes().await?.to_vec();
    Ok(response)
}

#[tokio::test]
async fn the_oauth2_crate_gets_a_token_and_understands_the_errors() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let client = |secret: &str, auth_type: AuthType| {
        BasicClient::new(ClientId::new("worker".to_owned()))
            .set_client_secret(ClientSecret::new(secret.to_owned()))
            .set_token_uri(TokenUrl::new(format!("{}/oauth/token", server.issuer)).unwrap())
            .set_auth_type(auth_type)
    };
    for auth_type in [AuthType::BasicAuth, AuthType::RequestBody] {
        let good = client(secret.expose(), auth_type.clone());
        let token = good
            .exchange_client_credentials()
            .add_scope(Scope::new("a".to_owned()))
            .request_async(&exchange)
            .await;
        let token = token.unwrap();
        assert_eq!(token.access_token().secret().split('.').count(), 3);
        assert_eq!(token.expires_in().unwrap().as_secs(), 3600);
        assert_eq!(token.scopes().unwrap(), &vec![Scope::new("a".to_owned())]);
        assert!(token.refresh_token().is_none());

        let greedy = good.exchange_client_credentials().add_scope(Scope::new("admin".to_owned()));
        let Err(RequestTokenError::ServerResponse(error)) = greedy.request_async(&exchange).await else {
            panic!("no error answer");
        };
        assert_eq!(error.error(), &BasicErrorResponseType::InvalidScope);

        let wrong = client("wrong", auth_type).exchange_client_credentials().request_async(&exchange).await;
        let Err(RequestTokenError::ServerResponse(error)) = wrong else { panic!("no error answer") };
        assert_eq!(error.error(), &BasicErrorResponseType::InvalidClient);
    }
    server.stop().await;
}

#[tokio::test]
async fn reqwest_gets_a_token_at_localhost() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let token_url = format!("{}/oauth/token", server.issuer);
    let form = HashMap::from([("grant_type", "client_credentials"), ("scope", "a b")]);
    let by_header = http_client().post(&token_url).basic_auth("worker", Some(secret.expose())).form(&form);
    let mut form = form.clone();
    form.extend([("client_id", "worker"), ("client_secret", secret.expose().as_str())]);
    let by_body = http_client().post(&token_url).form(&form);
    for request in [by_header, by_body] {
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        let token: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(token["scope"], "a b");
    }
    let as_json = http_client().post(&token_url).json(&form).send().await.unwrap();
    assert_eq!(as_json.status().as_u16(), 400);
    server.stop().await;
}
