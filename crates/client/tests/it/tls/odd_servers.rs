//! Servers that break off, speak something else, or want what the client does not have.

use super::evidence::{METHODS, ask, holds_the_secret, nothing_was_sent};
use crate::support::authority::Authority;
use crate::support::recorder::{Recorder, grant};
use jeton::TokenErrorKind;
use jeton::http::TlsRoots;
use std::net::SocketAddr;

/// A fatal alert of TLS, in the clear (RFC 8446 §6).
fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

#[tokio::test]
async fn r4_4_who_speaks_no_tls_on_the_port_of_https_gets_no_byte_of_a_request() {
    let redirect =
        b"HTTP/1.1 301 Moved\r\nlocation: http://localhost/token\r\ncontent-length: 0\r\n\r\n".to_vec();
    let greeting = b"220 mail.example ESMTP ready for STARTTLS\r\n".to_vec();
    let authority = Authority::new();
    for (case, bytes) in [
        ("a token", grant()),
        ("a redirect to http", redirect),
        ("another protocol", greeting),
        ("nothing", Vec::new()),
        ("handshake_failure", alert(40)),
        ("protocol_version", alert(70)),
        ("unrecognized_name", alert(112)),
        ("close_notify", vec![21, 3, 3, 0, 2, 1, 0]),
    ] {
        let server = Recorder::saying(bytes).await;
        let url = format!("https://localhost:{}/token", server.port());
        let error = ask(&url, authority.roots(), METHODS[1]).await.unwrap_err();
        assert!(matches!(error.kind(), TokenErrorKind::Unreachable { .. }), "{case}: {error}");
        let connections = server.connections().await;
        assert!((1..=3).contains(&connections.len()), "{case}");
        for connection in &connections {
            nothing_was_sent(connection, case);
        }
    }
}

async fn is_refused_after(target: SocketAddr, roots: TlsRoots, cut: usize, tail: Vec<u8>) {
    let case = format!("cut after {cut} bytes, and {tail:?}");
    let server = Recorder::before(target, Some((cut, tail))).await;
    let url = format!("https://localhost:{}/token", server.port());
    let error = ask(&url, roots, METHODS[0]).await.unwrap_err();
    assert!(matches!(error.kind(), TokenErrorKind::Unreachable { .. }), "{case}: {error}");
    for connection in server.connections().await {
        nothing_was_sent(&connection, &case);
    }
}

#[tokio::test]
async fn r4_4_a_handshake_that_is_cut_gets_no_byte_of_a_request() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let target = Recorder::tls(identity.server(&[version]), grant()).await;
        for tail in [Vec::new(), alert(40), alert(0)] {
            let mut asking = tokio::task::JoinSet::new();
            // From the first byte to the middle of the certificate.
            for cut in [0, 1, 5, 6, 60, 130, 300] {
                asking.spawn(is_refused_after(target.address, authority.roots(), cut, tail.clone()));
            }
            while let Some(asked) = asking.join_next().await {
                asked.unwrap();
            }
        }
        for connection in target.connections().await {
            assert_eq!(connection.application, b"", "{version:?}");
        }
    }
}

/// The server is the right one; what it wants is a certificate, and the client has none.
#[tokio::test]
async fn r4_1_a_certificate_that_is_wanted_and_not_there_is_a_clear_error() {
    let (authority, of_clients) = (Authority::new(), Authority::new());
    let identity = authority.issue(&["localhost"]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = identity.server_for_clients_of(&of_clients, &[version]);
        let server = Recorder::tls(config, grant()).await;
        let url = format!("https://localhost:{}/token", server.port());
        let error = ask(&url, authority.roots(), METHODS[0]).await.unwrap_err();
        assert!(matches!(error.kind(), TokenErrorKind::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("CertificateRequired"), "{version:?}: {error}");
        for connection in server.connections().await {
            assert_eq!(
                connection.application, b"",
                "the server reads no request of a client that it refused"
            );
            assert!(!holds_the_secret(&connection.raw));
        }
    }
}
