//! Credentials that are nearly right, sent in the wrong place, or looked for where they do not belong.

use super::log::{Log, logging_to};
use super::{FORM, Running, add_worker, basic};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jeton_proto::issuance::ClientSettings;
use jeton_proto::time::{Clock, Timestamp};
use jeton_server::{Config, Listen, Registry};
use std::path::Path;
use std::sync::Arc;

const GRANT: &str = "grant_type=client_credentials";

/// A text with every byte escaped, which is the same text to a form.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |escaped, byte| format!("{escaped}%{byte:02x}"))
}

#[tokio::test]
async fn t35_a_credential_that_is_nearly_right_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let registry = Registry::open(dir.path()).unwrap();
    let spaced = registry.add(ClientSettings::new("a b+c:d")).unwrap();
    let server = Running::start(dir.path());
    let secret = secret.expose().as_str();
    let ask = async |client_id: &str, client_secret: &str| {
        server.post(FORM, format!("{GRANT}&client_id={client_id}&client_secret={client_secret}")).await.status
    };
    assert_eq!(ask("worker", secret).await, 200);
    assert_eq!(ask(&escaped("worker"), &escaped(secret)).await, 200, "an escape is the same text");
    assert_eq!(ask("a+b%2Bc:d", spaced.expose()).await, 200, "and so is a plus for a space");
    for client_id in [
        "Worker",
        "WORKER",
        "worker+",
        "+worker",
        "worker%20",
        "worker%0a",
        "worker%2f",
        "worke",
        "workerr",
        "worker%25",
        "%EF%BD%97orker",
        "worker%E2%80%8B",
        "w%D0%BErker",
        "a+b+c:d",
        "*",
        "%25",
        "'+OR+1=1--",
    ] {
        assert_eq!(ask(client_id, secret).await, 401, "{client_id}");
    }
    let other_case: String =
        secret
            .chars()
            .map(|letter| {
                if letter.is_lowercase() { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
            })
            .collect();
    let shorter = secret.get(..secret.len() - 1).unwrap();
    let without_prefix = secret.trim_start_matches("jeton_secret_");
    for client_secret in [
        &format!("{secret}+"),
        &format!("{secret}%0a"),
        &format!("+{secret}"),
        &format!("{secret}="),
        &other_case,
        shorter,
        without_prefix,
        spaced.expose(),
        "%20",
    ] {
        assert_eq!(ask("worker", client_secret).await, 401, "{client_secret}");
    }
    server.stop().await;
}

#[tokio::test]
async fn t36_what_repeats_after_decoding_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let headers = format!("{FORM}{}", basic("worker", secret.expose()));
    for (more, status) in [
        ("&&&", 200),
        ("&=", 200),
        ("&=&x==&y=%26%3D", 200),
        ("&scope=a+b", 200),
        ("&scope=a%20b", 200),
        ("&scope=%61", 200),
        ("&Scope=zzz", 200),
        ("&scope+=zzz", 200),
        ("&client_id=worker", 200),
        ("&client_id=wor%6ber", 200),
        ("&client_secret=", 200),
        ("&scope=a&sc%6fpe=a", 400),
        ("&sc%6Fpe=a&sc%6fpe=b", 400),
        ("&scope=&scope=", 400),
        ("&=&=", 400),
        ("&client_id=worker&client_id=worker", 400),
        ("&client_id=Worker", 400),
        ("&client%5Fsecret=x", 400),
        ("&client_assertion=x", 400),
        ("&scope=%2", 400),
        ("&scope=%u0061", 400),
        ("&scope=a%00", 400),
        ("&%00=a", 400),
        ("&scope=a%0ab", 400),
        ("&scope=a%09b", 400),
        ("&scope=a%C2%A0b", 400),
        ("&scope=%C0%AE", 400),
        ("&grant_type%00=x", 400),
    ] {
        let answer = server.post(&headers, format!("{GRANT}{more}")).await;
        assert_eq!(answer.status, status, "{more}: {answer:?}");
        if status == 400 {
            assert!(["invalid_request", "invalid_scope"].contains(&answer.error().as_str()), "{more}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn t34_a_secret_in_the_wrong_parameter_is_not_logged() {
    let log = Log::default();
    let _logging = logging_to(&log);
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let secret = secret.expose().as_str();
    let authenticated = format!("{FORM}{}", basic("worker", secret));
    for (headers, body) in [
        (FORM, format!("{GRANT}&client_id={secret}&client_secret=worker")),
        (FORM, format!("{GRANT}&client_id={secret}")),
        (FORM, format!("{GRANT}&{secret}={secret}&{secret}={secret}")),
        (&format!("{FORM}{}", basic(secret, "worker")), GRANT.to_owned()),
        (&format!("{FORM}Authorization: Bearer {secret}\r\n"), GRANT.to_owned()),
        (&authenticated, format!("{GRANT}&scope={secret}")),
        (&authenticated, format!("{GRANT}&resource={secret}")),
        (&authenticated, format!("grant_type={secret}")),
    ] {
        assert!((400..402).contains(&server.post(headers, body).await.status));
    }
    let in_path = format!(
        "GET /{secret}?client_secret={secret} HTTP/1.1\r\nHost: {secret}\r\nConnection: close\r\n\r\n"
    );
    assert!(server.raw(in_path).await.starts_with("HTTP/1.1 404"));
    server.stop().await;
    let random = secret.trim_start_matches("jeton_secret_");
    assert!(log.text().contains("not shown") && !log.text().contains(random), "{}", log.text());
}

#[tokio::test]
async fn t34_no_file_has_a_secret_in_any_form() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let token = server.request_token("worker", &secret, "").await.json()["access_token"].clone();
    let registry = Registry::open(dir.path()).unwrap();
    let gone = registry.add(ClientSettings::new("gone")).unwrap();
    registry.remove("gone").unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        files += 1;
        for needle in [secret.expose(), gone.expose(), token.as_str().unwrap()] {
            assert_is_nowhere(needle, &content, &path);
        }
    }
    assert!(files >= 4, "the registry with its log, and the key");
    server.stop().await;
}

fn assert_is_nowhere(secret: &str, content: &[u8], path: &Path) {
    let random = secret.trim_start_matches("jeton_secret_");
    let raw = URL_SAFE_NO_PAD.decode(random).unwrap_or_else(|_| random.as_bytes().to_vec());
    let hex = raw.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let forms = [
        secret.as_bytes().to_vec(),
        random.as_bytes().to_vec(),
        STANDARD.encode(secret).into_bytes(),
        STANDARD.encode(&raw).into_bytes(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        raw,
    ];
    for form in forms {
        assert!(
            !content.windows(form.len()).any(|window| window == form),
            "a secret is in {}",
            path.display()
        );
    }
}

struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[tokio::test]
async fn a_clock_that_cannot_be_right_makes_no_server_fail() {
    for (now, expires_at) in [
        (Timestamp::EPOCH, 3600),
        (Timestamp::from_unix_seconds(253_402_300_800), 253_402_304_400),
        (Timestamp::MAX, Timestamp::MAX.as_unix_seconds()),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let secret = add_worker(dir.path());
        let listen = Listen::Localhost { port: 0 };
        let server = Running::with(Config { listen, clock: Arc::new(At(now)), ..Config::new(dir.path()) });
        let answer = server.request_token("worker", &secret, "").await;
        assert_eq!(answer.status, 200, "{now}");
        let json = answer.json();
        let payload = json["access_token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
        let claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        assert_eq!(
            (claims["exp"].as_u64(), claims["iat"].as_u64()),
            (Some(expires_at), Some(now.as_unix_seconds()))
        );
        server.stop().await;
    }
}
