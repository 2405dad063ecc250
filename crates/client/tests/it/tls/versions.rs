//! TLS 1.2 and 1.3 alone (R4.4).

use super::evidence::{METHODS, ask, nothing_was_sent};
use crate::foreign::programs::{OldTls, python};
use crate::support::authority::Authority;
use crate::support::recorder::{Recorder, grant};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};

/// A client that takes every version; what it and the server agree on.
async fn lenient_client(port: u16) -> Value {
    let mut command = tokio::process::Command::from(python("old_tls.py"));
    let output = command.args(["ask", &port.to_string()]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_4_tls_1_0_and_1_1_are_not_spoken() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"]);
    let folder = tempfile::tempdir().unwrap();
    let [certificate, private_key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&certificate, &identity.pem).unwrap();
    std::fs::write(&private_key, &identity.key_pem).unwrap();
    for (version, method) in [("TLSv1", METHODS[0]), ("TLSv1.1", METHODS[0]), ("TLSv1.1", METHODS[1])] {
        let mut server = OldTls::start(version, &certificate, &private_key);
        // The server speaks it, and so the refusal is ours.
        assert_eq!(lenient_client(server.port).await["version"], version);
        // Another test may have met this port when it was still free, and asked there in vain.
        let mut heard = std::iter::repeat_with(|| server.next()).take(3);
        assert!(heard.any(|heard| heard["said"] == "anyone there?"), "{version}");

        let recorder = Recorder::before(SocketAddr::from((Ipv4Addr::LOCALHOST, server.port)), None).await;
        let url = format!("https://localhost:{}/token", recorder.port());
        let error = ask(&url, authority.roots(), method).await.unwrap_err();
        assert!(error.to_string().contains("alert: ProtocolVersion"), "{version}: {error}");
        for connection in &recorder.connections().await {
            assert_eq!(server.next()["error"], "UNSUPPORTED_PROTOCOL");
            nothing_was_sent(connection, version);
            assert_eq!(connection.encrypted_bytes(), 0);
        }
    }
    // By the same way and with the same certificate a server of today gets its request.
    let mut server = OldTls::start("TLSv1.2", &certificate, &private_key);
    let url = format!("https://localhost:{}/token", server.port);
    ask(&url, authority.roots(), METHODS[0]).await.unwrap_err();
    let heard = server.next();
    assert_eq!(heard["version"], "TLSv1.2");
    assert!(heard["said"].as_str().unwrap().starts_with("POST /token HTTP/1.1\r\n"), "{heard}");
}

#[tokio::test]
async fn r4_4_what_is_offered_is_tls_1_2_and_1_3_with_forward_secrecy_and_sealed_records() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"]);
    let server = Recorder::tls(identity.server(rustls::ALL_VERSIONS), grant()).await;
    let url = format!("https://localhost:{}/token", server.port());
    ask(&url, authority.roots(), METHODS[0]).await.unwrap();
    let connection = server.connections().await.remove(0);
    // Extension 43 with a list of 4 bytes: 1.3 and 1.2 (RFC 8446 §4.2.1).
    let versions = [0, 43, 0, 5, 4, 3, 4, 3, 3];
    assert!(connection.raw.windows(versions.len()).any(|window| window == versions), "{:?}", connection.raw);
    assert!(connection.cipher_suites.len() > 3);
    for suite in &connection.cipher_suites {
        let is_of_1_3 = suite.starts_with("TLS13_") || suite == "TLS_EMPTY_RENEGOTIATION_INFO_SCSV";
        let is_sealed = suite.contains("_GCM_") || suite.contains("_CHACHA20_POLY1305_");
        assert!(is_of_1_3 || suite.starts_with("TLS_ECDHE_") && is_sealed, "{suite}");
    }
}
