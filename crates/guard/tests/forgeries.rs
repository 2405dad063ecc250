//! Forged and malformed tokens over HTTP: 401 and never 5xx, in bounded time, with no request to anywhere they name.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod issuer;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Request, Response};
use issuer::{API, Issuer, signed};
use jeton_guard::{Algorithm, Guard};
use jeton_proto::jose::jwk::SigningKey;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

struct Target {
    issuer: Arc<Issuer>,
    key: SigningKey,
    app: Router,
    address: std::net::SocketAddr,
}

impl Target {
    async fn start() -> Self {
        let issuer = Issuer::in_memory();
        let key = issuer.new_key(Algorithm::Es256);
        // The exchange of this guard panics when anything but the issuer is asked.
        let guard = Guard::builder(&issuer.url, API)
            .clock(Arc::clone(&issuer.clock) as _)
            .exchange(Arc::clone(&issuer) as _)
            .build()
            .unwrap();
        guard.prefetch().await.unwrap();
        let app = Router::new().route("/", get(|| async { "let through" })).layer(guard.layer());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = app.clone();
        tokio::spawn(async move { axum::serve(listener, served).await.unwrap() });
        Self { issuer, key, app, address }
    }

    fn header(&self) -> Value {
        json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.key.key_id() })
    }

    /// Sends the token over a socket and gives the status and the challenge.
    async fn send(&self, token: &str) -> (u16, String) {
        let mut socket = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: api\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        let exchange = async {
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        let answer = tokio::time::timeout(Duration::from_secs(5), exchange).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let challenge =
            answer.lines().find_map(|line| line.strip_prefix("www-authenticate: ")).unwrap_or_default();
        (status, challenge.to_owned())
    }

    async fn refuses(&self, token: &str, what: &str) {
        let (status, challenge) = self.send(token).await;
        assert_eq!(status, 401, "{what}: {challenge}");
        assert!(challenge.contains(r#"error="invalid_token""#), "{what}: {challenge}");
    }
}

#[tokio::test]
async fn the_token_that_the_forgeries_are_made_from_is_good() {
    let target = Target::start().await;
    let token = signed(&target.key, &target.header().to_string(), &target.issuer.claims().to_string());
    assert_eq!(target.send(&token).await.0, 200);
}

#[tokio::test]
async fn t43_forged_headers() {
    let target = Target::start().await;
    let claims = target.issuer.claims().to_string();
    let attacker = SigningKey::generate(Algorithm::Es256).unwrap();
    let with = |changes: Value| {
        let mut header = target.header();
        header.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        header.to_string()
    };
    for name in ["none", "None", "NONE", "nOnE", "HS256", "ES384", "PS256", "es256", ""] {
        target.refuses(&signed(&target.key, &with(json!({ "alg": name })), &claims), name).await;
        let unsecured = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(with(json!({ "alg": name }))),
            URL_SAFE_NO_PAD.encode(&claims)
        );
        target.refuses(&unsecured, name).await;
    }
    for changes in [
        json!({ "jwk": attacker.public_jwk().to_json() }),
        json!({ "jku": "https://attacker.example/jwks" }),
        json!({ "x5u": "https://attacker.example/cert" }),
        json!({ "x5c": ["MII"] }),
        json!({ "kid": "https://attacker.example/jwks" }),
        json!({ "kid": "../../../../dev/null" }),
        json!({ "kid": attacker.key_id() }),
    ] {
        target.refuses(&signed(&attacker, &with(changes.clone()), &claims), &changes.to_string()).await;
    }
    for changes in [
        json!({ "crit": ["exp"] }),
        json!({ "crit": ["b64"], "b64": false }),
        json!({ "b64": false }),
        json!({ "typ": "JWT" }),
        json!({ "typ": null }),
        json!({ "kid": 1 }),
        json!({ "kid": "k".repeat(1000) }),
        json!({ "alg": ["ES256"] }),
    ] {
        target.refuses(&signed(&target.key, &with(changes.clone()), &claims), &changes.to_string()).await;
    }
    let repeated = target.header().to_string().replacen('{', r#"{"alg":"none","#, 1);
    target.refuses(&signed(&target.key, &repeated, &claims), "repeated alg").await;
    let untyped = target.header().to_string().replace(r#","typ":"at+jwt""#, "");
    assert!(!untyped.contains("typ"));
    target.refuses(&signed(&target.key, &untyped, &claims), "no typ").await;
}

#[tokio::test]
async fn t43_hmac_with_the_public_key() {
    let target = Target::start().await;
    let set = target.issuer.key_set();
    let jwk = set["keys"][0].clone();
    let point = [&[4], decoded(&jwk["x"]).as_slice(), decoded(&jwk["y"]).as_slice()].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", STANDARD.encode(&point));
    let mut header = target.header();
    header["alg"] = json!("HS256");
    for secret in [jwk.to_string(), set.to_string(), pem.clone(), format!("{pem}\n"), STANDARD.encode(&point)]
    {
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(target.issuer.claims().to_string())
        );
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        let tag = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, input.as_bytes()));
        target.refuses(&format!("{input}.{tag}"), &secret).await;
    }
}

#[tokio::test]
async fn t43_forged_claims() {
    let target = Target::start().await;
    let header = target.header().to_string();
    let good = target.issuer.claims();
    let sign = |claims: &str| signed(&target.key, &header, claims);
    for (name, value) in [
        ("exp", json!("9999999999")),
        ("exp", json!(9_999_999_999.5)),
        ("exp", json!(1e300)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(-1)),
        ("exp", json!(null)),
        ("exp", json!(0)),
        ("nbf", json!("0")),
        ("nbf", json!(1_700_001_000)),
        ("iat", json!([])),
        ("iss", json!("https://attacker.example")),
        ("iss", json!(["https://as.example"])),
        ("aud", json!("https://other.example")),
        ("aud", json!([])),
        ("aud", json!({ "https://api.example": 1 })),
        ("scope", json!(["orders:read"])),
        ("sub", json!("")),
        ("client_id", json!(1)),
    ] {
        let mut claims = good.clone();
        claims[name] = value.clone();
        target.refuses(&sign(&claims.to_string()), &format!("{name} {value}")).await;
    }
    for name in ["exp", "iat", "iss", "aud", "sub", "client_id", "jti"] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        target.refuses(&sign(&claims.to_string()), name).await;
    }
    let text = good.to_string();
    for bad in [
        text.replacen('{', r#"{"exp":1,"#, 1),
        text.replace(r#""exp":"#, r#""exp":NaN,"x":"#),
        text.replace(r#""exp":"#, r#""exp":1e999,"x":"#),
        "[]".to_owned(),
        String::new(),
        format!("{}1{}", "[".repeat(5000), "]".repeat(5000)),
    ] {
        target.refuses(&sign(&bad), &bad.chars().take(60).collect::<String>()).await;
    }
}

#[tokio::test]
async fn t43_other_encodings() {
    let target = Target::start().await;
    let good = target.issuer.token(&target.key);
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    for (bad, what) in [
        (format!("{good}="), "padding"),
        (format!("{header}=.{payload}.{signature}"), "padding in the header"),
        (format!("{header}.{payload}="), "padding in the payload"),
        (format!("{header}.{payload}"), "two parts"),
        (format!("{header}.{payload}."), "no signature"),
        (format!("{good}."), "four parts"),
        (format!("{header}.{payload}.{signature}.{signature}.{signature}"), "a JWE has five parts"),
        (
            format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}"#),
            "JSON serialization",
        ),
        (format!("{header}.{payload}.{}", "A".repeat(86)), "a signature of zeros"),
        (format!("{header}.{payload}.{}", &STANDARD.encode([0xff; 64])), "the other alphabet"),
        ("...".to_owned(), "dots"),
        ("~".to_owned(), "one character"),
    ] {
        target.refuses(&bad, what).await;
    }
}

#[tokio::test]
async fn t43_long_tokens() {
    let target = Target::start().await;
    let padded = target.issuer.token_with(&target.key, &json!({ "padding": "x".repeat(16_000) }));
    target.refuses(&padded, "a token over the limit").await;
    target.refuses(&"A".repeat(200_000), "200 kB").await;
    // The HTTP server itself refuses a field of a megabyte; the layer does too when it is handed one.
    let request = Request::get("/").header(AUTHORIZATION, format!("Bearer {}", "A".repeat(1 << 20)));
    let answer: Response<Body> =
        target.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(answer.headers()[WWW_AUTHENTICATE].to_str().unwrap().contains("malformed"));
    let over_the_socket = target.send(&"A".repeat(1 << 20)).await.0;
    assert!(over_the_socket == 431 || over_the_socket == 401, "{over_the_socket}");
}

#[tokio::test]
async fn t43_any_changed_character_is_refused() {
    let target = Target::start().await;
    let good = target.issuer.token(&target.key);
    for at in (0..good.len()).step_by(7) {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        target.refuses(&String::from_utf8(bytes).unwrap(), &format!("byte {at}")).await;
    }
}

fn decoded(member: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(member.as_str().unwrap()).unwrap()
}
