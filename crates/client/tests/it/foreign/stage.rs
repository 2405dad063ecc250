//! Servers with a client for each method of authentication.

use super::keys;
use super::programs::ForeignServer;
use crate::support::authority::{Authority, Identity};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jeton::Secret;
use jeton::http::TlsRoots;
use rcgen::DnType;
use serde_json::{Value, json};
use std::path::PathBuf;
use tempfile::TempDir;

pub(super) const CLIENT_SECRET: &str = "canary-secret-of-more-than-32-bytes";

/// One client for each algorithm, named after it; those with a key have it under the key id `first`.
pub(super) fn assertion_clients() -> Value {
    let mut clients = vec![json!({
        "client_id": "HS256", "client_secret": CLIENT_SECRET, "scope": "orders:read orders:write",
        "token_endpoint_auth_method": "client_secret_jwt", "token_endpoint_auth_signing_alg": "HS256",
    })];
    clients.extend(keys::OF_KEYS.map(|algorithm| {
        json!({
            "client_id": algorithm.as_str(), "scope": "orders:read orders:write",
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": { "keys": [keys::public_jwk(&keys::text(algorithm), Some("first"))] },
        })
    }));
    Value::from(clients)
}

/// `oidc-provider` over TLS with clients that show certificates.
pub(super) struct TlsStage {
    folder: TempDir,
    authority: Authority,
    pub(super) ca_file: PathBuf,
    pub(super) roots: TlsRoots,
    pub(super) server: ForeignServer,
    /// Of the authority, for the client `subject`.
    pub(super) by_subject: Identity,
    /// Of the authority, for the client `name`.
    pub(super) by_name: Identity,
    /// Its own, registered for the client `pinned`.
    pub(super) pinned: Identity,
    /// With the subject of the first, and of another authority.
    pub(super) impostor: Identity,
}

impl TlsStage {
    pub(super) fn start() -> Self {
        let (authority, other) = (Authority::new(), Authority::new());
        let folder = tempfile::tempdir().unwrap();
        let for_server = authority.issue(&["localhost"]);
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let ca_file = write("ca.pem", &authority.pem());
        let files = [write("server.pem", &for_server.pem), write("server.key", &for_server.key_pem)];
        let pinned = Identity::self_signed("pinned");
        let (scope, tls) = ("orders:read orders:write", "tls_client_auth");
        let clients = json!([
            { "client_id": "subject", "scope": scope, "token_endpoint_auth_method": tls,
              "tls_client_auth_subject_dn": "OU=billing,O=Example,CN=subject" },
            { "client_id": "name", "scope": scope, "token_endpoint_auth_method": tls,
              "tls_client_auth_san_dns": "billing.example" },
            { "client_id": "pinned", "scope": scope, "token_endpoint_auth_method": "self_signed_tls_client_auth",
              "jwks": { "keys": [with_certificate(&pinned)] } },
        ]);
        let server = ForeignServer::oidc_provider_over_tls(&clients, [&files[0], &files[1], &ca_file], &[]);
        let by_subject = subject_of(&authority);
        let by_name = authority.issue(&["billing.example"]);
        let roots = authority.roots();
        let impostor = subject_of(&other);
        Self { folder, authority, ca_file, roots, server, by_subject, by_name, pinned, impostor }
    }

    /// A new certificate for the client `subject`.
    pub(super) fn subject_again(&self) -> Identity {
        subject_of(&self.authority)
    }

    /// A file with this text.
    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The SHA-256 of a certificate in hexadecimal, as the server tells which one it saw.
    #[expect(clippy::unused_self, reason = "it reads as what the stage tells")]
    pub(super) fn fingerprint(&self, identity: &Identity) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der_of(identity));
        digest.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }
}

fn subject_of(authority: &Authority) -> Identity {
    authority.issue_as(&[], |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "subject");
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::OrganizationalUnitName, "billing");
    })
}

fn der_of(identity: &Identity) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    CertificateDer::from_pem_slice(identity.pem.as_bytes()).unwrap().to_vec()
}

/// The public key with its certificate beside, which is how `oidc-provider` knows it (RFC 8705 §2.2).
fn with_certificate(identity: &Identity) -> Value {
    let mut jwk = keys::public_jwk(&Secret::new(identity.key_pem.clone()), None);
    jwk["x5c"] = json!([STANDARD.encode(der_of(identity))]);
    jwk
}
