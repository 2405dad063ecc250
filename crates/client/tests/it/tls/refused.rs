//! Servers that are not the one that was asked for: they get no byte of a request.

use super::evidence::{METHODS, ask, nothing_was_sent};
use crate::support::authority::{Authority, Identity};
use crate::support::recorder::{Recorder, grant};
use jeton::http::TlsRoots;
use jeton::{ClientAuthMethod, Fault, TokenErrorKind};
use rcgen::{DnType, ExtendedKeyUsagePurpose, SanType};
use rustls::SupportedProtocolVersion;
use std::sync::Arc;

/// A certificate that must be refused, what is trusted, the host asked for, and what the error says.
struct Case {
    name: &'static str,
    identity: Identity,
    roots: TlsRoots,
    host: &'static str,
    says: &'static str,
}

fn cases() -> Vec<Case> {
    let (authority, other) = (Authority::new(), Authority::new());
    let leaf = authority.that_may_not_sign();
    let good = authority.issue(&["localhost", "127.0.0.1"]);
    let case = |name, identity, host, says| Case { name, identity, roots: authority.roots(), host, says };
    let expired = authority.issue_as(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let future = authority.issue_as(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2990, 1, 1);
        params.not_after = rcgen::date_time_ymd(2991, 1, 1);
    });
    let common_name = authority.issue_as(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, "localhost");
    });
    let address_as_name = authority.issue_as(&["localhost"], |params| {
        params.subject_alt_names = vec![SanType::DnsName("127.0.0.1".try_into().unwrap())];
    });
    let for_clients = authority.issue_as(&["localhost"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    vec![
        case("expired", expired, "localhost", "expired"),
        case("not yet valid", future, "localhost", "not valid yet"),
        case("another name", authority.issue(&["elsewhere.example"]), "localhost", "not valid for name"),
        case("a part of the name", authority.issue(&["ocalhost"]), "localhost", "not valid for name"),
        case("a name below", authority.issue(&["*.localhost"]), "localhost", "not valid for name"),
        case("the name as common name alone", common_name, "localhost", "not valid for name"),
        case("another address", authority.issue(&["127.0.0.2"]), "127.0.0.1", "not valid for name"),
        case("no address", authority.issue(&["localhost"]), "127.0.0.1", "not valid for name"),
        case("an address as a name", address_as_name, "127.0.0.1", "not valid for name"),
        case("for clients", for_clients, "localhost", "certificate"),
        case("self-signed", Identity::self_signed("localhost"), "localhost", "UnknownIssuer"),
        case("an authority of the same name", other.issue(&["localhost"]), "localhost", "certificate"),
        case(
            "signed by what is no authority",
            leaf.issue_with_chain(&["localhost"]),
            "localhost",
            "certificate",
        ),
        Case {
            name: "an authority that the platform does not know",
            identity: good,
            roots: TlsRoots::Platform,
            host: "localhost",
            says: "UnknownIssuer",
        },
    ]
}

async fn is_refused(case: Arc<Case>, version: &'static SupportedProtocolVersion, method: ClientAuthMethod) {
    let server = Recorder::tls(case.identity.server(&[version]), grant()).await;
    let url = format!("https://{}:{}/token", case.host, server.port());
    let error = ask(&url, case.roots.clone(), method).await.unwrap_err();
    assert!(error.to_string().contains(case.says), "{}: {error}", case.name);
    assert!(matches!(error.kind(), TokenErrorKind::Unreachable { .. }) && error.fault() == Fault::Server);
    assert!(error.is_retryable(), "a certificate is renewed, and the server is right again");
    let connections = server.connections().await;
    assert!((1..=3).contains(&connections.len()), "{}: {} connections", case.name, connections.len());
    for connection in &connections {
        nothing_was_sent(connection, case.name);
    }
}

#[tokio::test]
async fn r4_4_a_certificate_that_does_not_vouch_for_the_server_gets_no_byte_of_a_request() {
    let cases: Vec<_> = cases().into_iter().map(Arc::new).collect();
    for some in cases.chunks(4) {
        let mut asking = tokio::task::JoinSet::new();
        for case in some {
            for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
                for method in METHODS {
                    asking.spawn(is_refused(Arc::clone(case), version, method));
                }
            }
        }
        while let Some(asked) = asking.join_next().await {
            asked.unwrap();
        }
    }
}
