//! Requests by `private_key_jwt`: each has an assertion of its own.

use crate::{CLIENT_ID, ISSUER};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::jose::jwk::{JwkSet, SigningKey};
use jeton_proto::jose::jws::{self, Algorithm};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// A client that signs.
pub(crate) struct Signing {
    key: SigningKey,
    number: u64,
}

impl Signing {
    pub(crate) fn new() -> Self {
        Self { key: SigningKey::generate(Algorithm::Es256).unwrap(), number: 0 }
    }

    /// What is registered of it.
    pub(crate) fn jwks(&self) -> String {
        JwkSet::from_keys([self.key.public_jwk()]).unwrap().to_json().to_string()
    }

    /// The public point, uncompressed, in base64url.
    pub(crate) fn point(&self) -> String {
        let jwk = self.key.public_jwk().to_json();
        let half = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        URL_SAFE_NO_PAD.encode([vec![4], half("x"), half("y")].concat())
    }

    /// The next request, with an assertion that nobody has seen.
    pub(crate) fn request(&mut self, path: &str) -> Vec<u8> {
        self.number += 1;
        #[expect(clippy::disallowed_methods, reason = "a client knows the time")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": CLIENT_ID, "sub": CLIENT_ID, "aud": ISSUER, "jti": format!("{:022}", self.number),
            "iat": now, "exp": now + 60,
        });
        let assertion = jws::sign(&self.key, "JWT", claims.to_string().as_bytes()).unwrap();
        let body = format!(
            "grant_type=client_credentials&scope=orders%3Aread+orders%3Awrite&client_assertion_type=\
             urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion={assertion}"
        );
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost:8080\r\nAccept: */*\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len(),
        )
        .into_bytes()
    }
}
