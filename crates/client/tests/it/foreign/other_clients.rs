//! The servers with clients of others, so that what ours meets is known to be right.

use super::keys;
use super::programs::{ForeignServer, node};
use super::stage::{CLIENT_SECRET, TlsStage, assertion_clients};
use crate::support::authority::Identity;
use serde_json::Value;
use std::collections::HashSet;
use std::process::Command;

/// What `openid-client` of npm answers.
fn run(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn openid_client(server: &ForeignServer, client_id: &str, arguments: &[&str]) -> Command {
    let mut command = node("openid_client.mjs");
    command.args([&server.url(""), client_id, "--scope", "orders:read"]).args(arguments);
    command
}

#[test]
fn openid_client_gets_tokens_of_oidc_provider_by_assertions_in_every_algorithm() {
    let server = ForeignServer::oidc_provider(&assertion_clients(), &[]);
    for algorithm in keys::OF_KEYS {
        let name = algorithm.as_str();
        for key_id in [None, Some("first")] {
            let mut command =
                openid_client(&server, name, &["--auth-method", "private_key_jwt", "--times", "2"]);
            command.args(["--alg", name]).arg("--key").arg(keys::file(algorithm));
            command.args(key_id.map(|key_id| ["--kid", key_id]).into_iter().flatten());
            assert_eq!(run(&mut command)["token"]["scope"], "orders:read", "{name}");
        }
    }
    let mut command =
        openid_client(&server, "HS256", &["--auth-method", "client_secret_jwt", "--times", "2"]);
    assert_eq!(run(command.env("CLIENT_SECRET", CLIENT_SECRET))["token"]["scope"], "orders:read");

    let seen = server.seen();
    assert_eq!((seen.len(), server.token_requests()), (18, 18));
    let ids: HashSet<_> = seen.iter().map(|each| each["claims"]["jti"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 18);
    // The issuer as one string; it takes the URL of the token endpoint as well.
    assert!(seen.iter().all(|each| each["claims"]["aud"] == server.url("") && each["error"].is_null()));
}

#[test]
fn oidc_provider_refuses_the_assertions_of_openid_client_that_are_wrong() {
    let server = ForeignServer::oidc_provider(&assertion_clients(), &[]);
    let wrong = tempfile::NamedTempFile::new().unwrap();
    let es256 = keys::OF_KEYS[0];
    std::fs::write(wrong.path(), keys::another(es256).expose()).unwrap();
    let by_key = ["--auth-method", "private_key_jwt", "--alg", "ES256"];
    let mut command = openid_client(&server, "ES256", &by_key);
    assert_eq!(run(command.arg("--key").arg(wrong.path()))["error"], "invalid_client");
    // The key of another client, and a key id that nobody has.
    let mut command = openid_client(&server, "RS256", &by_key);
    assert_eq!(run(command.arg("--key").arg(keys::file(es256)))["error"], "invalid_client");
    let mut command = openid_client(&server, "ES256", &by_key);
    assert_eq!(
        run(command.args(["--kid", "unknown"]).arg("--key").arg(keys::file(es256)))["error"],
        "invalid_client"
    );
    let mut command = openid_client(&server, "HS256", &["--auth-method", "client_secret_jwt"]);
    let answer = run(command.env("CLIENT_SECRET", "another-secret-of-more-than-32-bytes!"));
    assert_eq!(answer["error"], "invalid_client");
    assert!(server.seen().iter().all(|each| each["error"] == "invalid_client"), "{:?}", server.seen());
}

#[test]
fn openid_client_gets_tokens_of_oidc_provider_by_a_certificate() {
    let stage = TlsStage::start();
    let [subject, name] = [&stage.by_subject, &stage.by_name];
    for (client_id, method, identity, error) in [
        ("subject", "tls_client_auth", subject, None),
        ("name", "tls_client_auth", name, None),
        ("pinned", "self_signed_tls_client_auth", &stage.pinned, None),
        (
            "subject",
            "tls_client_auth",
            name,
            Some("certificate subject value does not match the registered one"),
        ),
        ("subject", "tls_client_auth", &stage.impostor, Some("client certificate was not verified")),
        ("pinned", "self_signed_tls_client_auth", subject, Some("unregistered client certificate provided")),
    ] {
        let answer = stage.ask_by_certificate(client_id, method, identity);
        let seen = stage.server.seen().pop().unwrap();
        assert_eq!(seen["certificate"], stage.fingerprint(identity), "{client_id}: {answer}");
        match error {
            None => assert_eq!(answer["token"]["scope"], "orders:read", "{client_id}: {answer}"),
            Some(detail) => {
                assert_eq!(answer["error"], "invalid_client", "{client_id}: {answer}");
                assert_eq!(seen["detail"], detail);
            }
        }
    }
}

/// With curl there is a second opinion of what the endpoint wants, and none at the port that asks for no certificate.
#[test]
fn curl_gets_a_token_of_oidc_provider_by_a_certificate_at_its_own_port_alone() {
    let stage = TlsStage::start();
    let curl = |url: &str| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--noproxy", "*", "--cacert"]).arg(&stage.ca_file);
        command.arg("--cert").arg(stage.write("curl-cert.pem", &stage.by_subject.pem));
        command.arg("--key").arg(stage.write("curl-key.pem", &stage.by_subject.key_pem));
        run(command.args(["-d", "grant_type=client_credentials&client_id=subject&scope=orders:read", url]))
    };
    assert_eq!(curl(&stage.server.mutual_tls_token_url())["scope"], "orders:read");
    assert_eq!(curl(&stage.server.token_url())["error"], "invalid_client");
    assert_eq!(stage.server.seen().pop().unwrap()["detail"], "client certificate was not provided");
}

impl TlsStage {
    fn ask_by_certificate(&self, client_id: &str, method: &str, identity: &Identity) -> Value {
        let mut command = openid_client(&self.server, client_id, &["--auth-method", method]);
        command.env("NODE_EXTRA_CA_CERTS", &self.ca_file);
        command.arg("--cert").arg(self.write("cert.pem", &identity.pem));
        run(command.arg("--key").arg(self.write("key.pem", &identity.key_pem)))
    }
}
