use super::*;
use crate::{Config, Listen, Registry, Server};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, Full};
use jeton_proto::issuance::{ClientCredentials, ClientKeys, ClientSettings, ClientStatus, TlsSubject};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

struct Rig {
    server: Server,
    registry: Registry,
    _data_dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let data_dir = tempfile::tempdir().unwrap();
        let config = Config { listen: Listen::Localhost { port: 0 }, ..Config::new(data_dir.path()) };
        let server = Server::bind(config).unwrap();
        let registry = Registry::open(data_dir.path()).unwrap();
        Self { server, registry, _data_dir: data_dir }
    }

    fn add(&self, client_id: &str, credentials: ClientCredentials) {
        self.registry.add_with(ClientSettings::new(client_id), credentials).unwrap();
    }

    /// Asks over a connection with this certificate; the body goes on with `more`.
    async fn ask(&self, certificate: Option<&ClientCertificate>, more: &str) -> (u16, Value) {
        let body = format!("grant_type=client_credentials{more}");
        let mut request = Request::post("/oauth/token")
            .header("host", "x")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        if let Some(certificate) = certificate {
            request.extensions_mut().insert(Arc::new(certificate.clone()));
        }
        let answer = self.server.face().answer(request, PEER).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

fn certificate(trust: CertificateTrust) -> ClientCertificate {
    let mut params = CertificateParams::new(vec!["worker.example".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "worker");
    params.subject_alt_names.push(SanType::URI("spiffe://example/worker".try_into().unwrap()));
    let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
    ClientCertificate { der, trust }
}

fn by_subject(subject: TlsSubject) -> ClientCredentials {
    ClientCredentials { tls_subject: Some(subject), ..ClientCredentials::default() }
}

fn claims(answer: &Value) -> Value {
    let payload = answer["access_token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_with_the_name_of_the_client_is_taken() {
    let rig = Rig::new();
    let anchored = certificate(CertificateTrust::Anchored);
    for (client_id, subject) in [
        ("by-name", TlsSubject::DistinguishedName("CN=worker".to_owned())),
        ("by-host", TlsSubject::Dns("worker.example".to_owned())),
        ("by-uri", TlsSubject::Uri("spiffe://example/worker".to_owned())),
    ] {
        rig.add(client_id, by_subject(subject));
        let (status, answer) = rig.ask(Some(&anchored), &format!("&client_id={client_id}")).await;
        assert_eq!(status, 200, "{answer}");
        let bound = URL_SAFE_NO_PAD.encode(CertificateThumbprint::of(&anchored.der).0);
        assert_eq!(claims(&answer)["cnf"], json!({ "x5t#S256": bound }));
    }
}

#[tokio::test]
async fn a_certificate_that_is_registered_itself_needs_no_authority() {
    let rig = Rig::new();
    let own = certificate(CertificateTrust::Presented);
    let thumbprint = CertificateThumbprint::of(&own.der);
    rig.add("listed", ClientCredentials { certificates: vec![thumbprint], ..ClientCredentials::default() });
    let set = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x5c": [STANDARD.encode(&own.der)],
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }] });
    let keys = Some(ClientKeys::Inline(set.to_string()));
    rig.add("in-keys", ClientCredentials { keys, ..ClientCredentials::default() });
    for client_id in ["listed", "in-keys"] {
        let (status, answer) = rig.ask(Some(&own), &format!("&client_id={client_id}")).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(claims(&answer)["cnf"]["x5t#S256"], thumbprint.to_base64url());
        let other = certificate(CertificateTrust::Anchored);
        assert_eq!(rig.ask(Some(&other), &format!("&client_id={client_id}")).await.0, 401, "{client_id}");
    }
}

#[test]
fn a_certificate_beside_its_private_key_is_good_for_nobody() {
    let own = certificate(CertificateTrust::Presented);
    let set = |private: &str| {
        let x5c = STANDARD.encode(&own.der);
        format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","x5c":["{x5c}"]{private}}}]}}"#)
    };
    let certificates = |set: &str| ClientKeySet::parse(set.as_bytes()).unwrap().certificates().len();
    assert_eq!((certificates(&set("")), certificates(&set(r#","d":"AAAA""#))), (1, 0));
}

#[tokio::test]
async fn t35_every_certificate_that_is_not_the_clients_has_one_answer() {
    let rig = Rig::new();
    let anchored = certificate(CertificateTrust::Anchored);
    let presented = ClientCertificate { trust: CertificateTrust::Presented, ..anchored.clone() };
    let broken = ClientCertificate { der: b"no certificate".to_vec(), ..anchored.clone() };
    let named = || by_subject(TlsSubject::DistinguishedName("CN=worker".to_owned()));
    rig.add("named", named());
    rig.add("other", by_subject(TlsSubject::DistinguishedName("CN=other".to_owned())));
    rig.add("without", ClientCredentials::default());
    let disabled = ClientSettings { status: ClientStatus::Disabled, ..ClientSettings::new("disabled") };
    rig.registry.add_with(disabled, named()).unwrap();
    let refused = rig.ask(None, "&client_id=nobody&client_secret=x").await;
    assert_eq!((refused.0, &refused.1["error"]), (401, &json!("invalid_client")));
    for (certificate, client_id) in [
        (&anchored, "nobody"),
        (&anchored, "other"),
        (&anchored, "without"),
        (&anchored, "disabled"),
        (&presented, "named"),
        (&broken, "named"),
    ] {
        let answer = rig.ask(Some(certificate), &format!("&client_id={client_id}")).await;
        assert_eq!(answer, refused, "{client_id}");
    }
    assert_eq!(rig.ask(Some(&anchored), "&client_id=named").await.0, 200);
    for (certificate, more) in [(Some(&anchored), ""), (None, "&client_id=named"), (None, "")] {
        let (status, answer) = rig.ask(certificate, more).await;
        assert_eq!((status, &answer["error"]), (401, &json!("invalid_client")), "{more}");
    }
}

#[tokio::test]
async fn a_secret_over_a_connection_with_a_certificate_is_a_secret() {
    let rig = Rig::new();
    let secret = rig.registry.add(ClientSettings::new("worker")).unwrap();
    let more = format!("&client_id=worker&client_secret={}", secret.expose());
    let (status, answer) = rig.ask(Some(&certificate(CertificateTrust::Presented)), &more).await;
    assert_eq!(status, 200, "{answer}");
    assert!(claims(&answer).get("cnf").is_none(), "the token is not bound to what the client did not use");
}
