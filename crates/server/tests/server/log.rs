//! What the log says, and what it never says.

use super::{FORM, Running, add_worker, basic};
use base64::Engine as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::LevelFilter;

/// What was logged so far.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Logs to `log` on this thread, everything, until the guard is dropped.
pub(super) fn logging_to(log: &Log) -> DefaultGuard {
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_default(subscriber)
}

#[tokio::test]
async fn t34_the_log_tells_each_request_and_no_secret_or_token() {
    let log = Log::default();
    let _logging = logging_to(&log);
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = Running::start(dir.path());
    let token = server.request_token("worker", &secret, "&scope=b").await.json()["access_token"].clone();
    let by_header = format!("{FORM}{}", basic("worker", secret.expose()));
    assert_eq!(server.post(&by_header, "grant_type=client_credentials&scope=zzz").await.status, 400);
    assert_eq!(server.post(&by_header, "grant_type=x&grant_type=y").await.status, 400);
    assert_eq!(
        server.post(FORM, "client_id=evil%0A2030-01-01%20token+granted&client_secret=canary").await.status,
        401
    );
    server.stop().await;

    let text = log.text();
    let line = |needle: &str| {
        text.lines().find(|line| line.contains(needle)).unwrap_or_else(|| panic!("{needle}: {text}"))
    };
    assert!(
        line("token granted").contains("client_id=\"worker\"")
            && line("token granted").contains("scope=\"b\"")
    );
    assert!(line("invalid_scope").contains("the scope zzz is not among"));
    assert!(
        line("invalid_client").contains("evil?2030-01-01")
            && line("invalid_client").contains("not registered")
    );
    assert!(!text.lines().any(|line| line.starts_with("2030")), "a caller wrote a line of its own: {text}");
    let secret = secret.expose().as_str();
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("worker:{secret}"));
    let random = secret.trim_start_matches("jeton_secret_");
    for forbidden in [secret, random, &encoded, token.as_str().unwrap(), "canary"] {
        assert!(!text.contains(forbidden), "{forbidden} is in the log");
    }
}
