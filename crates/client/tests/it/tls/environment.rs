//! What the environment can do to TLS, and what it cannot.

use super::child::{Child, is_child};
use super::evidence::nothing_was_sent;
use crate::support::authority::Authority;
use crate::support::recorder::{Recorder, grant};
use std::path::PathBuf;
use tempfile::TempDir;

/// What turns verification off, down or around somewhere else.
const SWITCHES: [(&str, &str); 24] = [
    ("NODE_TLS_REJECT_UNAUTHORIZED", "0"),
    ("PYTHONHTTPSVERIFY", "0"),
    ("GIT_SSL_NO_VERIFY", "1"),
    ("CURL_INSECURE", "1"),
    ("CARGO_HTTP_CHECK_REVOKE", "false"),
    ("GODEBUG", "x509ignoreCN=0,tls10server=1,tls10default=1"),
    ("RUSTLS_DANGEROUS", "1"),
    ("RUSTLS_NO_VERIFY", "1"),
    ("REQWEST_DANGER_ACCEPT_INVALID_CERTS", "true"),
    ("DANGER_ACCEPT_INVALID_CERTS", "true"),
    ("SSL_NO_VERIFY", "1"),
    ("SSL_VERIFY", "false"),
    ("TLS_SKIP_VERIFY", "true"),
    ("VAULT_SKIP_VERIFY", "true"),
    ("JETON_INSECURE", "true"),
    ("JETON_TLS_VERIFY", "false"),
    ("JETON_TLS_SKIP_VERIFY", "true"),
    ("OPENSSL_CONF", "/dev/null"),
    ("OPENSSL_ia32cap", "0"),
    ("MIN_TLS_VERSION", "TLSv1"),
    ("SSL_VERSION", "TLSv1"),
    ("HTTPLIB2_CA_CERTS", "/dev/null"),
    ("PERL_LWP_SSL_VERIFY_HOSTNAME", "0"),
    ("AWS_LC_FIPS", "0"),
];

/// A server, its authority, and that one's certificate in a file.
struct Stage {
    folder: TempDir,
    ca_file: PathBuf,
    server: Recorder,
}

impl Stage {
    async fn new() -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, authority.pem()).unwrap();
        let config = authority.issue(&["localhost"]).server(rustls::ALL_VERSIONS);
        Self { folder, ca_file, server: Recorder::tls(config, grant()).await }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/token", self.server.port())
    }

    async fn heard_nothing(&self) {
        for connection in self.server.connections().await {
            nothing_was_sent(&connection, "the environment");
        }
    }
}

#[tokio::test]
async fn r4_4_no_switch_in_the_environment_turns_verification_off() {
    if is_child().await {
        return;
    }
    let test = "tls::environment::r4_4_no_switch_in_the_environment_turns_verification_off";
    let stage = Stage::new().await;
    let mut child = Child::of(test);
    for (name, value) in SWITCHES {
        child = child.env(name, value);
    }
    // What adds trust for others, and is not asked here.
    for name in
        ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO"]
    {
        child = child.env(name, &stage.ca_file);
    }
    child.refused(&stage.url(), "UnknownIssuer").await;
    stage.heard_nothing().await;
}

#[tokio::test]
async fn r4_4_no_key_of_a_connection_is_written_to_a_file_that_the_environment_names() {
    if is_child().await {
        return;
    }
    let test =
        "tls::environment::r4_4_no_key_of_a_connection_is_written_to_a_file_that_the_environment_names";
    let stage = Stage::new().await;
    let log = stage.folder.path().join("keys.log");
    Child::of(test).roots(&stage.ca_file).env("SSLKEYLOGFILE", &log).granted(&stage.url()).await;
    assert!(!log.exists(), "{}", std::fs::read_to_string(log).unwrap());
}

#[tokio::test]
async fn r4_4_the_environment_names_the_platforms_authorities_and_a_ca_file_is_beyond_it() {
    if is_child().await {
        return;
    }
    let test =
        "tls::environment::r4_4_the_environment_names_the_platforms_authorities_and_a_ca_file_is_beyond_it";
    let (stage, other) = (Stage::new().await, Stage::new().await);
    // As OpenSSL has it: these take the place of what the machine trusts.
    Child::of(test).env("SSL_CERT_FILE", &stage.ca_file).granted(&stage.url()).await;
    Child::of(test).env("SSL_CERT_DIR", stage.folder.path()).granted(&stage.url()).await;
    Child::of(test).env("SSL_CERT_FILE", &other.ca_file).refused(&stage.url(), "BadSignature").await;
    // Where they lead nowhere, there is the list of Mozilla, and nothing less strict.
    let empty = stage.folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let missing = stage.folder.path().join("missing");
    for file in [&empty, &missing] {
        Child::of(test).env("SSL_CERT_FILE", file).refused(&stage.url(), "UnknownIssuer").await;
    }
    // Who names authorities has named all of them.
    let child = Child::of(test).roots(&stage.ca_file).env("SSL_CERT_FILE", &other.ca_file);
    child.granted(&stage.url()).await;
    let child = Child::of(test).roots(&stage.ca_file).env("SSL_CERT_FILE", &other.ca_file);
    child.refused(&other.url(), "BadSignature").await;
    other.heard_nothing().await;
}
