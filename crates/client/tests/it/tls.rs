//! https to the token endpoint: what is trusted, and that a server which is not learns nothing.

mod child;
mod environment;
mod evidence;
mod identity;
mod odd_servers;
mod proxies;
mod proxy;
mod redirects;
mod refused;
mod versions;

use crate::support::authority::Authority;
use crate::support::recorder::{Recorder, grant};
use evidence::{METHODS, ask, holds_the_secret};

#[tokio::test]
async fn r4_4_a_certificate_of_the_given_authority_is_trusted_under_tls_1_2_and_1_3() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost", "127.0.0.1"]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for method in METHODS {
            // By name with the name in the hello, by address without any (RFC 6066 §3).
            for (host, server_name) in [("localhost", Some("localhost")), ("127.0.0.1", None)] {
                let server = Recorder::tls(identity.server(&[version]), grant()).await;
                let url = format!("https://{host}:{}/token", server.port());
                assert_eq!(ask(&url, authority.roots(), method).await.unwrap(), "granted");
                let [connection] = &server.connections().await[..] else { panic!("one connection") };
                assert_eq!(connection.server_name.as_deref(), server_name);
                let is_seen = [&connection.raw, &connection.application].map(|bytes| holds_the_secret(bytes));
                assert_eq!(is_seen, [false, true], "the secret travels within TLS alone");
                assert!(connection.encrypted_bytes() > connection.application.len());
            }
        }
    }
}
