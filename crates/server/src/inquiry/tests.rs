use crate::{Config, Listen, Registry, Server};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use jeton_proto::issuance::ClientSettings;
use jeton_proto::revocation::MAX_REVOKED_TOKENS;
use jeton_proto::secret::Secret;
use jeton_proto::wire::client_auth::{BasicEncoding, basic_authorization};
use serde_json::Value;

type Client<'a> = (&'a str, &'a Secret<String>);

async fn ask(
    server: &Server,
    path: &str,
    (client_id, secret): Client<'_>,
    body: String,
) -> (u16, HeaderMap, Value) {
    let basic = basic_authorization(client_id, secret, BasicEncoding::FormUrlEncoded).unwrap();
    let request = Request::post(path)
        .header("host", "x")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(AUTHORIZATION, basic)
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let answer = server.face().answer(request, ([127, 0, 0, 1], 1).into()).await;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, serde_json::from_slice(&body).unwrap())
}

async fn token(server: &Server, client: Client<'_>) -> String {
    let (_, _, answer) =
        ask(server, "/oauth/token", client, "grant_type=client_credentials".to_owned()).await;
    answer["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_that_has_used_its_share_is_told_when_to_come_again_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let worker = registry.add(ClientSettings::new("worker")).unwrap();
    let other = registry.add(ClientSettings::new("other")).unwrap();
    let scope = "jeton:revoke".parse().unwrap();
    let warden = ClientSettings { allowed_scope: scope, ..ClientSettings::new("warden") };
    let warden = registry.add(warden).unwrap();
    let config = Config { listen: Listen::Localhost { port: 0 }, ..Config::new(dir.path()) };
    let server = Server::bind(config).unwrap();
    let (of_worker, of_other) =
        (token(&server, ("worker", &worker)).await, token(&server, ("other", &other)).await);
    let revoke =
        async |client, token: &str| ask(&server, "/oauth/revoke", client, format!("token={token}")).await;

    server.face().endpoint().desk.revocations.fill("worker", MAX_REVOKED_TOKENS / 2);
    let (status, headers, body) = revoke(("worker", &worker), &of_worker).await;
    assert_eq!(
        (status, body["error"].as_str()),
        (503, Some("temporarily_unavailable")),
        "RFC 7009 section 2.2.1"
    );
    assert_eq!(headers.get(RETRY_AFTER), Some(&HeaderValue::from_static("60")));
    assert_eq!(headers.get(CACHE_CONTROL), Some(&HeaderValue::from_static("no-store")));
    assert_eq!(revoke(("other", &other), &of_other).await.0, 200);
    assert_eq!(revoke(("warden", &warden), &of_worker).await.0, 200, "who cleans up has no share");
    let counted = server.inquiry_counters().values();
    assert_eq!((counted.revoked, counted.revocation_share_used, counted.revocation_unavailable), (2, 1, 0));
    server.audit().unwrap().close();
    let audit = std::fs::read_to_string(dir.path().join("audit.jsonl")).unwrap();
    let told = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told: Vec<_> = told.filter(|record| record["rule"] == "revocation_share_used").collect();
    assert_eq!((told.len(), told[0]["client_id"].as_str()), (1, Some("worker")), "{audit}");
}
