//! Private keys of each kind, and what a server is told of them.

use jeton::Secret;
use jeton_proto::jose::assertion_key::{AssertionAlgorithm, AssertionKey};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Of a secret, HS256 is all there is; these are for keys.
pub(super) const OF_KEYS: [AssertionAlgorithm; 4] = [
    AssertionAlgorithm::Es256,
    AssertionAlgorithm::Rs256,
    AssertionAlgorithm::Ps256,
    AssertionAlgorithm::EdDsa,
];

/// The file with a key for `algorithm`.
pub(super) fn file(algorithm: AssertionAlgorithm) -> PathBuf {
    let name = match algorithm {
        AssertionAlgorithm::Es256 => "p256-pkcs8.pem",
        AssertionAlgorithm::Rs256 | AssertionAlgorithm::Ps256 => "rsa2048-pkcs8.pem",
        AssertionAlgorithm::EdDsa => "ed25519-pkcs8.pem",
        AssertionAlgorithm::Hs256 => panic!("a secret is in no file"),
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/keys").join(name)
}

/// The certificate of the key for ES256.
pub(super) fn certificate() -> PathBuf {
    file(AssertionAlgorithm::Es256).with_file_name("p256-certificate.pem")
}

pub(super) fn text(algorithm: AssertionAlgorithm) -> Secret<String> {
    Secret::new(std::fs::read_to_string(file(algorithm)).unwrap())
}

/// Another key of the same kind, made for this call.
pub(super) fn another(algorithm: AssertionAlgorithm) -> Secret<String> {
    let kind = match algorithm {
        AssertionAlgorithm::Es256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        AssertionAlgorithm::Rs256 | AssertionAlgorithm::Ps256 => &rcgen::PKCS_RSA_SHA256,
        AssertionAlgorithm::EdDsa => &rcgen::PKCS_ED25519,
        AssertionAlgorithm::Hs256 => panic!("no key"),
    };
    Secret::new(rcgen::KeyPair::generate_for(kind).unwrap().serialize_pem())
}

/// The public half as a JWK, without an algorithm, so that one RSA key serves both of its own.
pub(super) fn public_jwk(private: &Secret<String>, key_id: Option<&str>) -> Value {
    let mut jwk = AssertionKey::from_text(private, None).unwrap().public_jwk().unwrap();
    let members = jwk.as_object_mut().unwrap();
    members.remove("alg");
    members.insert("use".to_owned(), json!("sig"));
    if let Some(key_id) = key_id {
        members.insert("kid".to_owned(), json!(key_id));
    }
    jwk
}
