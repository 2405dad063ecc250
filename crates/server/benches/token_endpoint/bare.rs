//! The limit: hyper and nothing else, with the cryptography that a token cannot do without.

use crate::{CLIENT_ID, ISSUER, SCOPE};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::rc::Rc;

struct Bare {
    secret_digest: Vec<u8>,
    key: EcdsaKeyPair,
    /// Header and payload, encoded.
    signing_input: String,
    random: SystemRandom,
}

pub(crate) async fn serve(secret: &str, announce: impl FnOnce(u16), ended: impl Future<Output = ()>) {
    let bare = Rc::new(Bare::new(secret));
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
    fn new(secret: &str) -> Self {
        let header = format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{}"}}"#, "k".repeat(43));
        let payload = format!(
            r#"{{"iss":"{ISSUER}","aud":"{ISSUER}","sub":"{CLIENT_ID}","client_id":"{CLIENT_ID}","scope":"{SCOPE}","iat":1800000000,"exp":1800003600,"jti":"{}"}}"#,
            "j".repeat(22)
        );
        Self {
            secret_digest: digest(&SHA256, secret.as_bytes()).as_ref().to_vec(),
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            signing_input: format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload)),
            random: SystemRandom::new(),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let credential =
            head.headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Basic "));
        let credential = STANDARD.decode(credential.unwrap()).unwrap();
        let colon = credential.iter().position(|byte| *byte == b':').unwrap();
        let presented = digest(&SHA256, &credential[colon + 1..]);
        let authenticated = &credential[..colon] == CLIENT_ID.as_bytes()
            && aws_lc_rs::constant_time::verify_slices_are_equal(presented.as_ref(), &self.secret_digest)
                .is_ok();
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
