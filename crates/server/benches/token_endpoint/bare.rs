//! The limit: hyper and nothing else, with the cryptography that a token cannot do without.

use crate::{CLIENT_ID, ISSUER, SCOPE};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, PRAGMA};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::rc::Rc;

/// How a client proves itself.
enum Proof {
    /// By the secret with this SHA-256.
    Secret(Vec<u8>),
    /// By an assertion that this key verifies.
    Assertion(ParsedPublicKey),
}

struct Bare {
    proof: Proof,
    key: EcdsaKeyPair,
    /// Header and payload, encoded.
    signing_input: String,
    random: SystemRandom,
}

/// Serves a client with this secret.
pub(crate) async fn serve(secret: &str, announce: impl FnOnce(u16), ended: impl Future<Output = ()>) {
    let digest = digest(&SHA256, secret.as_bytes()).as_ref().to_vec();
    serve_with(Proof::Secret(digest), announce, ended).await;
}

/// Serves a client whose assertions are verified with this public key.
pub(crate) async fn serve_assertions(
    point: &str,
    announce: impl FnOnce(u16),
    ended: impl Future<Output = ()>,
) {
    let point = URL_SAFE_NO_PAD.decode(point).unwrap();
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).unwrap();
    serve_with(Proof::Assertion(key), announce, ended).await;
}

async fn serve_with(proof: Proof, announce: impl FnOnce(u16), ended: impl Future<Output = ()>) {
    let bare = Rc::new(Bare::new(proof));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    announce(listener.local_addr().unwrap().port());
    let local = tokio::task::LocalSet::new();
    let accepting = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let bare = Rc::clone(&bare);
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| bare.answer(request));
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
            });
        }
    };
    tokio::select! {
        () = local.run_until(accepting) => {}
        () = ended => {}
    }
}

impl Bare {
    fn new(proof: Proof) -> Self {
        let header = format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{}"}}"#, "k".repeat(43));
        let payload = format!(
            r#"{{"iss":"{ISSUER}","aud":"{ISSUER}","sub":"{CLIENT_ID}","client_id":"{CLIENT_ID}","scope":"{SCOPE}","iat":1800000000,"exp":1800003600,"jti":"{}"}}"#,
            "j".repeat(22)
        );
        Self {
            proof,
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            signing_input: format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload)),
            random: SystemRandom::new(),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let authenticated = match &self.proof {
            Proof::Secret(digest) => secret_is_right(&head.headers, digest),
            Proof::Assertion(key) => assertion_is_right(&body, key),
        };
        if !authenticated || !body.starts_with(b"grant_type=client_credentials") {
            let mut refused = Response::new(Full::default());
            *refused.status_mut() = StatusCode::UNAUTHORIZED;
            return Ok(refused);
        }
        let signature = self.key.sign(&self.random, self.signing_input.as_bytes()).unwrap();
        let mut json = String::with_capacity(self.signing_input.len() + 256);
        json.push_str(r#"{"access_token":""#);
        json.push_str(&self.signing_input);
        json.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut json);
        json.push_str(r#"","token_type":"Bearer","expires_in":3600,"scope":""#);
        json.push_str(SCOPE);
        json.push_str(r#""}"#);
        let mut answer = Response::new(Full::new(Bytes::from(json)));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
        answer.headers_mut().insert("x-request-id", HeaderValue::from_static("rrrrrrrrrrrrrrrrrrrrrr"));
        Ok(answer)
    }
}

fn secret_is_right(headers: &HeaderMap, expected: &[u8]) -> bool {
    let credential = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Basic "));
    let credential = STANDARD.decode(credential.unwrap()).unwrap();
    let colon = credential.iter().position(|byte| *byte == b':').unwrap();
    let presented = digest(&SHA256, &credential[colon + 1..]);
    &credential[..colon] == CLIENT_ID.as_bytes()
        && aws_lc_rs::constant_time::verify_slices_are_equal(presented.as_ref(), expected).is_ok()
}

fn assertion_is_right(body: &[u8], key: &ParsedPublicKey) -> bool {
    let text = std::str::from_utf8(body).unwrap();
    let (_, assertion) = text.split_once("client_assertion=").unwrap();
    let (input, signature) = assertion.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    key.verify_sig(input.as_bytes(), &signature).is_ok()
}
