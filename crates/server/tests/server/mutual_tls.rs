//! Clients that authenticate by the certificate of their connection (RFC 8705), in a real handshake, and what their tokens are
//! bound to.

use super::foreign_programs::{node, python};
use super::tls::{Authority, Identity, ask, connect, post};
use super::{Answer, Running};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton_proto::issuance::{CertificateThumbprint, ClientCredentials, ClientSettings, TlsSubject};
use jeton_server::{Config, Listen, Registry, TlsFiles, certificate_thumbprint};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use tempfile::TempDir;

/// A server that trusts an authority of clients, with a client of each method.
struct World {
    dir: TempDir,
    server: Running,
    authority: Authority,
    /// Of `by-authority`, which is registered by the subject of its certificate.
    certified: Identity,
    /// Of `by-itself`, which is registered by its certificate.
    own: Identity,
}

impl World {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let (certified, own) = (authority.client(), Identity::self_signed());
        let client_ca = dir.path().join("clients.pem");
        fs::write(&client_ca, authority.issuer.pem()).unwrap();
        let files = TlsFiles { client_ca: Some(client_ca), ..authority.server().write(dir.path()) };
        let registry = Registry::open(dir.path()).unwrap();
        let subject = TlsSubject::DistinguishedName("CN=billing".to_owned());
        let by_authority = ClientCredentials { tls_subject: Some(subject), ..ClientCredentials::default() };
        registry.add_with(settings("by-authority"), by_authority).unwrap();
        let certificates = vec![certificate_thumbprint(&own.certificate).unwrap()];
        let by_itself = ClientCredentials { certificates, ..ClientCredentials::default() };
        registry.add_with(settings("by-itself"), by_itself).unwrap();
        let free = || Listen::Localhost { port: 0 };
        let server = Running::with(Config {
            tls: Some(files),
            listen: free(),
            admin_listen: Some(free()),
            ..Config::new(dir.path())
        });
        Self { dir, server, authority, certified, own }
    }

    async fn token(&self, client_id: &str, identity: Option<&Identity>) -> Answer {
        let config = self.authority.client_config(identity);
        let mut stream = connect(self.server.address, config).await.unwrap();
        let body = format!("grant_type=client_credentials&client_id={client_id}");
        ask(&mut stream, &post(&body, "close")).await
    }
}

fn settings(client_id: &str) -> ClientSettings {
    ClientSettings { allowed_scope: "a jeton:admin:read".parse().unwrap(), ..ClientSettings::new(client_id) }
}

/// That the answer has a token of this client, which is bound to this certificate (RFC 8705 section 3.1).
fn assert_bound(answer: &Value, client_id: &str, identity: &Identity) {
    let token = answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}"));
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    let thumbprint = URL_SAFE_NO_PAD.encode(CertificateThumbprint::of(&identity.der()).0);
    assert_eq!(claims["cnf"], json!({ "x5t#S256": thumbprint }), "{claims}");
    assert_eq!(claims["sub"], client_id);
}

#[tokio::test]
async fn a_certificate_of_the_connection_authenticates_its_client_and_binds_the_token() {
    let world = World::start();
    for (client_id, identity) in [("by-authority", &world.certified), ("by-itself", &world.own)] {
        let answer = world.token(client_id, Some(identity)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_bound(&answer.json(), client_id, identity);
    }
    let (stranger, alike) = (Authority::new().client(), Identity::self_signed());
    for (client_id, identity) in [
        ("by-authority", Some(&world.own)),
        ("by-authority", Some(&stranger)),
        ("by-itself", Some(&world.certified)),
        ("by-itself", Some(&alike)),
        ("absent", Some(&world.own)),
        ("by-authority", None),
        ("by-itself", None),
    ] {
        let answer = world.token(client_id, identity).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"), "{client_id}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn the_administrative_api_takes_a_bound_token_over_its_certificate_alone() {
    let world = World::start();
    let token = world.token("by-itself", Some(&world.own)).await.json();
    let token = token["access_token"].as_str().unwrap();
    let request = format!(
        "GET /admin/clients HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    for (identity, status) in [(Some(&world.own), 200), (Some(&world.certified), 401), (None, 401)] {
        let config = world.authority.client_config(identity);
        let mut stream = connect(world.server.admin[0], config).await.unwrap();
        let answer = ask(&mut stream, &request).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn the_metadata_tell_what_certificates_are_good_for() {
    let world = World::start();
    let config = world.authority.client_config(None);
    let mut stream = connect(world.server.address, config).await.unwrap();
    let request =
        "GET /.well-known/oauth-authorization-server HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let metadata = ask(&mut stream, request).await.json();
    assert_eq!(metadata["tls_client_certificate_bound_access_tokens"], true);
    let methods = metadata["token_endpoint_auth_methods_supported"].as_array().unwrap();
    for method in ["tls_client_auth", "self_signed_tls_client_auth"] {
        assert!(methods.contains(&json!(method)), "{metadata}");
    }
    world.server.stop().await;
}

/// Runs `program` with the certificate of an identity; whether it succeeded, and its one line of JSON.
async fn ask_by_certificate(world: &World, mut program: Command, identity: &Identity) -> (bool, Value) {
    let file = |name: &str, content: &str| {
        let path = world.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let ca = file("ca.pem", &world.authority.issuer.pem());
    program.arg("--cert").arg(file("foreign.pem", &identity.certificate));
    program.arg("--key").arg(file("foreign.key", &identity.key));
    program.env("NODE_EXTRA_CA_CERTS", &ca).env("REQUESTS_CA_BUNDLE", &ca).env_remove("CLIENT_SECRET");
    let ended = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
    let answer = serde_json::from_slice(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&ended.stderr)));
    (ended.status.success(), answer)
}

#[tokio::test]
async fn openid_client_has_a_token_that_is_bound_to_its_certificate() {
    let world = World::start();
    let program = |client_id: &str, method: &str| {
        let mut command = node("openid_client.mjs");
        command.args([&world.server.issuer, client_id, "--scope", "a", "--auth-method", method]);
        command
    };
    let methods = [
        ("by-authority", "tls_client_auth", &world.certified, &world.own),
        ("by-itself", "self_signed_tls_client_auth", &world.own, &world.certified),
    ];
    for (client_id, method, identity, other) in methods {
        let (succeeded, answer) = ask_by_certificate(&world, program(client_id, method), identity).await;
        assert!(succeeded && answer["token"]["scope"] == "a", "{method}: {answer}");
        assert_bound(&answer["token"], client_id, identity);
        let (succeeded, answer) = ask_by_certificate(&world, program(client_id, method), other).await;
        assert!(!succeeded && answer.get("token").is_none(), "{method}: {answer}");
    }
    let counted = world.server.counters.values();
    assert_eq!((counted.granted, counted.refused()), (2, 2));
    world.server.stop().await;
}

#[tokio::test]
async fn authlib_has_a_token_that_is_bound_to_its_certificate() {
    let world = World::start();
    for (client_id, identity, other) in
        [("by-authority", &world.certified, &world.own), ("by-itself", &world.own, &world.certified)]
    {
        let program = || {
            let mut command = python("authlib_client.py");
            command.arg(format!("{}/oauth/token", world.server.issuer));
            command.args([client_id, "--scope", "a", "--auth-method", "none"]);
            command
        };
        let (succeeded, answer) = ask_by_certificate(&world, program(), identity).await;
        assert!(succeeded && answer["token"]["scope"] == "a", "{client_id}: {answer}");
        assert_bound(&answer["token"], client_id, identity);
        let (succeeded, answer) = ask_by_certificate(&world, program(), other).await;
        assert!(!succeeded && answer["error"] == "invalid_client", "{client_id}: {answer}");
    }
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_has_a_token_that_is_bound_to_its_certificate() {
    let world = World::start();
    let file = |name: &str, content: &str| {
        let path = world.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let ca = file("ca.pem", &world.authority.issuer.pem());
    for (client_id, identity) in [("by-authority", &world.certified), ("by-itself", &world.own)] {
        let mut command = Command::new("curl");
        command.args(["-q", "--noproxy", "*", "--max-time", "30", "--silent", "--show-error", "--cacert"]);
        command.arg(&ca).arg("--cert").arg(file("curl.pem", &identity.certificate));
        command.arg("--key").arg(file("curl.key", &identity.key));
        command.args(["--data", &format!("grant_type=client_credentials&client_id={client_id}")]);
        let ended = command.arg(format!("{}/oauth/token", world.server.issuer)).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        assert_bound(&serde_json::from_slice(&ended.stdout).unwrap(), client_id, identity);
    }
    world.server.stop().await;
}
