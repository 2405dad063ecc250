//! A client with a certificate: it is shown to the server that was asked for, and to nobody else.

use super::evidence::nothing_was_sent;
use crate::support::authority::Authority;
use crate::support::recorder::{Connection, Recorder, grant};
use crate::support::{key, secs};
use jeton::http::TlsRoots;
use jeton::{Secret, TokenError, TokenErrorKind, TokenManager};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// A client of this authority, and its certificate as it would be seen on the network.
struct Client {
    pem: String,
    der: Vec<u8>,
}

impl Client {
    fn of(authority: &Authority) -> Self {
        let identity = authority.issue(&["billing.example"]);
        let der = CertificateDer::from_pem_slice(identity.pem.as_bytes()).unwrap().to_vec();
        Self { pem: format!("{}{}", identity.pem, identity.key_pem), der }
    }

    async fn ask(&self, server: &Recorder, roots: TlsRoots) -> Result<(), TokenError> {
        let url = format!("https://localhost:{}/token", server.port());
        let builder =
            TokenManager::builder(url, "billing").client_certificate(Secret::from(self.pem.as_str()));
        let builder = builder.tls_roots(roots).request_timeout(secs(10)).total_timeout(secs(20));
        builder.build().unwrap().token(&key()).await.map(drop)
    }

    fn is_in(&self, connection: &Connection) -> bool {
        connection.raw.windows(self.der.len()).any(|window| window == self.der)
    }
}

#[tokio::test]
async fn r4_1_a_server_that_is_refused_sees_neither_the_certificate_nor_a_request() {
    let (authority, other, of_clients) = (Authority::new(), Authority::new(), Authority::new());
    let client = Client::of(&of_clients);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let good = authority.issue(&["localhost"]).server_for_clients_of(&of_clients, &[version]);
        let good = Recorder::tls(good, grant()).await;
        client.ask(&good, authority.roots()).await.unwrap();
        // TLS 1.2 shows the certificates of both to everybody on the way, and that it can be found so is known by that.
        let is_shown = version.version == rustls::ProtocolVersion::TLSv1_2;
        assert_eq!(client.is_in(&good.connections().await[0]), is_shown, "{version:?}");

        for identity in [other.issue(&["localhost"]), authority.issue(&["elsewhere.example"])] {
            let server =
                Recorder::tls(identity.server_for_clients_of(&of_clients, &[version]), grant()).await;
            let error = client.ask(&server, authority.roots()).await.unwrap_err();
            assert!(matches!(error.kind(), TokenErrorKind::Unreachable { .. }), "{error}");
            let connections = server.connections().await;
            assert!(!connections.is_empty());
            for connection in &connections {
                nothing_was_sent(connection, "with a certificate");
                assert!(!client.is_in(connection), "{version:?}");
            }
        }
    }
}

#[tokio::test]
async fn t17_no_redirect_is_followed_with_a_certificate() {
    let (authority, of_clients) = (Authority::new(), Authority::new());
    let client = Client::of(&of_clients);
    let config = || authority.issue(&["localhost"]).server_for_clients_of(&of_clients, rustls::ALL_VERSIONS);
    let (over_tls, in_the_clear) = (Recorder::tls(config(), grant()).await, Recorder::plain(grant()).await);
    for status in [300, 301, 302, 303, 305, 307, 308] {
        for location in [
            format!("https://localhost:{}/", over_tls.port()),
            format!("http://localhost:{}/", in_the_clear.port()),
        ] {
            let answer =
                format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
            let server = Recorder::tls(config(), answer.into_bytes()).await;
            let error = client.ask(&server, authority.roots()).await.unwrap_err();
            assert!(matches!(error.kind(), TokenErrorKind::Redirected { .. }), "{status}: {error}");
            assert_eq!(server.connections().await.len(), 1);
        }
    }
    assert!(over_tls.connections().await.is_empty() && in_the_clear.connections().await.is_empty());
}
