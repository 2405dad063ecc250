use super::*;
use jeton_proto::jose::jwk::{JwkSet, SigningKey};
use jeton_proto::jose::jws::Algorithm;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A clock that is set.
struct SetClock(AtomicU64);

impl SetClock {
    fn pass(&self, span: Duration) {
        self.0.fetch_add(span.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A server of documents whose answer can be changed, and which counts its requests.
struct Origin {
    base: String,
    answer: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
}

impl Origin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (answer, requests) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
        let (of_task, counter) = (Arc::clone(&answer), Arc::clone(&requests));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                counter.fetch_add(1, Ordering::SeqCst);
                // Long enough for others to come along.
                tokio::time::sleep(Duration::from_millis(50)).await;
                let answer = of_task.lock().unwrap().clone();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { base, answer, requests }
    }

    fn location(&self) -> KeyLocation {
        KeyLocation::JwkSet(format!("{}/keys", self.base))
    }

    fn say(&self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        *self.answer.lock().unwrap() = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
    }

    fn publish(&self, keys: &[&SigningKey], headers: &str) {
        self.say("200 OK", headers, &set(keys));
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn set(keys: &[&SigningKey]) -> String {
    JwkSet::from_keys(keys.iter().map(|key| key.public_jwk())).unwrap().to_json().to_string()
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::Es256).unwrap()
}

fn remote() -> (RemoteKeys, Arc<SetClock>) {
    let clock = Arc::new(SetClock(AtomicU64::new(1_800_000_000_000)));
    let of_keys: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
    (RemoteKeys::new(None, of_keys).unwrap(), clock)
}

#[tokio::test]
async fn t44_requests_share_a_fetch_and_a_set_that_is_fresh() {
    let (origin, (remote, clock)) = (Origin::start().await, remote());
    let (one, two) = (key(), key());
    origin.publish(&[&one], "Cache-Control: max-age=120\r\n");
    let location = origin.location();
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let (remote, location) = (remote.clone(), location.clone());
            tokio::spawn(async move { remote.usable(&location).await.unwrap().len() })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), 1);
    }
    assert_eq!(origin.requests(), 1);
    origin.publish(&[&one, &two], "");
    clock.pass(Duration::from_secs(119));
    assert_eq!(remote.usable(&location).await.unwrap().len(), 1);
    clock.pass(Duration::from_secs(1));
    assert_eq!(remote.usable(&location).await.unwrap().len(), 2);
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn t44_unknown_keys_cause_one_fetch_in_half_a_minute() {
    let (origin, (remote, clock)) = (Origin::start().await, remote());
    let (one, two) = (key(), key());
    origin.publish(&[&one], "");
    let location = origin.location();
    let seen = remote.usable(&location).await.unwrap();
    origin.publish(&[&one, &two], "");
    assert!(remote.newer_than(&location, &seen).await.is_none(), "it was fetched a moment ago");
    clock.pass(UNKNOWN_KEY_PAUSE);
    let newer = remote.newer_than(&location, &seen).await.unwrap();
    assert!(newer.knows(Some(two.key_id())) && !seen.knows(Some(two.key_id())));
    assert!(
        Arc::ptr_eq(&remote.newer_than(&location, &seen).await.unwrap(), &newer),
        "others had it fetched"
    );
    for _ in 0..100 {
        assert!(remote.newer_than(&location, &newer).await.is_none());
    }
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn t44_while_the_url_is_down_the_keys_of_before_are_used_for_a_day() {
    let (origin, (remote, clock)) = (Origin::start().await, remote());
    let one = key();
    origin.publish(&[&one], "Cache-Control: no-store\r\n");
    let location = origin.location();
    remote.usable(&location).await.unwrap();
    for broken in ["", "<html>", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}"] {
        origin.say("200 OK", "", broken);
        clock.pass(Duration::from_hours(1));
        assert_eq!(remote.usable(&location).await.unwrap().len(), 1, "{broken}");
    }
    origin.say("302 Found", "Location: http://127.0.0.1:1/\r\n", "");
    let before = origin.requests();
    clock.pass(Duration::from_hours(1));
    for _ in 0..50 {
        assert_eq!(remote.usable(&location).await.unwrap().len(), 1);
    }
    assert_eq!(origin.requests(), before + 1, "it is not asked again and again");
    clock.pass(Duration::from_hours(20));
    let error = remote.usable(&location).await.unwrap_err().to_string();
    assert!(error.contains("302") && error.contains(location.as_str()), "{error}");
    origin.publish(&[&one], "");
    clock.pass(FAILURE_PAUSE);
    assert_eq!(remote.usable(&location).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_private_key_that_is_published_is_good_for_nothing_and_told_once() {
    let (origin, (remote, clock)) = (Origin::start().await, remote());
    let (good, location) = (key(), origin.location());
    let leaked = r#"{"kty":"OKP","crv":"Ed25519","kid":"leaked","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"canary"}"#;
    let alone = format!(r#"{{"keys":[{leaked}]}}"#);
    let both = set(&[&good]).replacen('[', &format!("[{leaked},"), 1);
    origin.say("200 OK", "", &alone);
    let error = remote.usable(&location).await.unwrap_err().to_string();
    assert!(error.contains("key 1 of the jwks has the private member \"d\"") && !error.contains("canary"));
    let private = Some(PrivateKey { position: Some(1), member: "d" });
    for (body, told) in [(&both, private), (&both, private), (&set(&[&good]), None), (&both, private)] {
        origin.say("200 OK", "", body);
        clock.pass(FRESH_FOR);
        let keys = remote.usable(&location).await.unwrap();
        assert!(keys.len() == 1 && keys.knows(Some(good.key_id())) && !keys.knows(Some("leaked")));
        assert!(!format!("{keys:?}").contains("canary"));
        assert_eq!(remote.place(&location).state().told_private, told);
    }
}

#[test]
fn a_private_key_is_told_when_it_comes_and_not_at_each_fetch() {
    let set = |key: &str| ClientKeySet::parse(format!(r#"{{"keys":[{{{key}}}]}}"#).as_bytes()).unwrap();
    let (private, public) = (set(r#""d":"canary""#), set(""));
    let location = KeyLocation::JwkSet("https://a.example/keys".to_owned());
    let written = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&written);
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || Lines(Arc::clone(&writer))).finish();
    let mut state = State::default();
    tracing::subscriber::with_default(subscriber, || {
        for keys in [&private, &private, &public, &private] {
            state.tell_private(keys, &location);
        }
    });
    let log = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("a private key is published there").count(), 2, "{log}");
    assert!(log.contains(location.as_str()) && !log.contains("canary"), "{log}");
}

/// What is logged.
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_request_that_goes_away_takes_the_fetch_from_nobody() {
    let (origin, (remote, _)) = (Origin::start().await, remote());
    origin.publish(&[&key()], "");
    let location = origin.location();
    let gone = tokio::time::timeout(Duration::from_millis(1), remote.usable(&location)).await;
    assert!(gone.is_err());
    assert_eq!(remote.usable(&location).await.unwrap().len(), 1);
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_fetch_that_is_cut_off_keeps_no_later_one_away() {
    let (origin, (remote, clock)) = (Origin::start().await, remote());
    let (one, two) = (key(), key());
    origin.publish(&[&one], "");
    let location = origin.location();
    remote.usable(&location).await.unwrap();
    origin.publish(&[&one, &two], "");
    clock.pass(FRESH_FOR);
    let elsewhere =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (of_other, at) = (remote.clone(), location.clone());
    drop(elsewhere.spawn(async move { of_other.usable(&at).await.map(drop) }));
    let begun = async {
        while origin.requests() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), begun).await.unwrap();
    let ended = move || elsewhere.shutdown_timeout(Duration::from_secs(20));
    tokio::task::spawn_blocking(ended).await.unwrap();
    assert_eq!(remote.usable(&location).await.unwrap().len(), 1, "it failed a moment ago");
    clock.pass(FAILURE_PAUSE);
    assert_eq!(remote.usable(&location).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_fetch_that_panics_is_a_fetch_that_failed() {
    let (remote, clock) = remote();
    let location = KeyLocation::JwkSet("http://127.0.0.1:1/keys".to_owned());
    let (place, at, now) = (remote.place(&location), location.clone(), clock.now());
    let panicked = tokio::spawn(async move {
        let _flight = Flight::begin(&place, &at, now);
        panic!("on purpose");
    });
    assert!(panicked.await.unwrap_err().is_panic());
    let error = remote.usable(&location).await.unwrap_err().to_string();
    assert!(error.contains("cut off"), "{error}");
    assert!(!remote.place(&location).state().is_fetching);
}

#[tokio::test]
async fn a_set_that_is_too_long_and_a_url_that_is_none_are_refused() {
    let (origin, (remote, _)) = (Origin::start().await, remote());
    origin.say("200 OK", "", &format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300_000)));
    let error = remote.usable(&origin.location()).await.unwrap_err().to_string();
    assert!(error.contains("longer than"), "{error}");
    for bad in ["http://192.0.2.1/keys", "ftp://localhost/keys", "keys", "http://localhost.example/keys"] {
        let error = remote.usable(&KeyLocation::JwkSet(bad.to_owned())).await.unwrap_err().to_string();
        assert!(error.contains("none that is fetched"), "{error}");
    }
    assert!(RemoteKeys::new(Some(b"no certificate"), Arc::new(SetClock(AtomicU64::new(0)))).is_err());
}

#[tokio::test]
async fn the_metadata_of_an_issuer_lead_to_its_keys() {
    let (keys, (remote, clock)) = (Origin::start().await, remote());
    let issuer = Origin::start().await;
    keys.publish(&[&key()], "");
    let metadata = |named: &str| format!("{{\"issuer\":\"{named}\",\"jwks_uri\":\"{}/keys\"}}", keys.base);
    issuer.say("200 OK", "", &metadata("http://localhost:1"));
    let location = KeyLocation::Issuer(issuer.base.clone());
    let error = remote.usable(&location).await.unwrap_err().to_string();
    assert!(error.contains("metadata"), "{error}");
    issuer.say("200 OK", "", &metadata(&issuer.base));
    clock.pass(FAILURE_PAUSE);
    assert_eq!(remote.usable(&location).await.unwrap().len(), 1);
}
