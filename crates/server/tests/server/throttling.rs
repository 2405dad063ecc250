//! Limits on callers: requests of a client, failed authentications, clients that mint per call (T41).

use super::foreign_clients::http_client;
use super::log::{Log, logging_to};
use super::{Answer, FORM, Running, add_worker, basic, read_to_end};
use jeton_proto::issuance::ClientSettings;
use jeton_proto::mint_per_call::MintPolicy;
use jeton_proto::secret::Secret;
use jeton_server::{Config, CounterValues, Listen, MintPerCall, Registry, RequestRate, Throttling};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

/// Where the attacker of these tests is; the others are at 127.0.0.1.
pub(super) const ELSEWHERE: &str = "127.0.0.2:0";

fn start_with(data_dir: &Path, throttling: Throttling) -> Running {
    Running::with(Config { listen: Listen::Localhost { port: 0 }, throttling, ..Config::new(data_dir) })
}

pub(super) async fn connect_from(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(from.parse().unwrap())?;
    socket.connect(to).await
}

/// A token request that comes from another address of this machine.
async fn ask_from(server: &Running, from: &str, client_id: &str, secret: &str) -> Answer {
    let body = "grant_type=client_credentials";
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{FORM}{}Content-Length: {}\r\n\r\n{body}",
        basic(client_id, secret),
        body.len()
    );
    let mut stream = connect_from(from, server.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    Answer::parse(&read_to_end(&mut stream).await)
}

#[track_caller]
fn assert_slowed_down(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (429, "temporarily_unavailable"), "{answer:?}");
    let pause: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&pause), "{answer:?}");
}

#[tokio::test]
async fn t41_knowing_a_client_id_is_not_enough_to_lock_it_out() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let other = Registry::open(dir.path()).unwrap().add(ClientSettings::new("other")).unwrap();
    let server = Running::start(dir.path());
    let (mut failed, mut slowed) = (0, 0);
    while slowed < 50 {
        let answer = ask_from(&server, ELSEWHERE, "worker", "guess").await;
        if answer.status == 401 {
            failed += 1;
        } else {
            assert_slowed_down(&answer);
            assert_eq!(answer.header("www-authenticate"), None);
            slowed += 1;
        }
        assert!(failed < 1000, "it is never slowed down");
        assert_eq!(server.request_token("worker", &secret, "").await.status, 200, "from its own address");
    }
    assert!(failed >= 10, "a few failures are answered as such: {failed}");
    assert_eq!(
        ask_from(&server, ELSEWHERE, "worker", secret.expose()).await.status,
        200,
        "who has the secret"
    );
    assert_eq!(ask_from(&server, ELSEWHERE, "other", other.expose()).await.status, 200, "its neighbour");
    assert_eq!(
        ask_from(&server, ELSEWHERE, "other", "guess").await.status,
        401,
        "failures are of one client"
    );
    assert_eq!(server.request_token("worker", &Secret::from("guess"), "").await.status, 401);
    let CounterValues { limited_failures, .. } = server.counters.values();
    assert_eq!(limited_failures, slowed);
    server.stop().await;
}

#[tokio::test]
async fn t41_an_unknown_a_disabled_and_a_known_client_are_slowed_down_alike() {
    let dir = tempfile::tempdir().unwrap();
    add_worker(dir.path());
    let registry = Registry::open(dir.path()).unwrap();
    let disabled_secret = registry.add(ClientSettings::new("disabled")).unwrap();
    registry.disable("disabled").unwrap();
    let server = Running::start(dir.path());
    let mut answers = Vec::new();
    for (client_id, secret) in
        [("worker", "guess"), ("absent", "guess"), ("disabled", disabled_secret.expose().as_str())]
    {
        let mut last = ask_from(&server, "127.0.0.1:0", client_id, secret).await;
        let mut asked = 1;
        while last.status == 401 {
            assert!(asked < 1000, "{client_id} is never slowed down");
            last = ask_from(&server, "127.0.0.1:0", client_id, secret).await;
            asked += 1;
        }
        assert_slowed_down(&last);
        answers.push((
            last.status,
            last.headers.iter().filter(|line| !line.starts_with("retry-after")).cloned().collect::<Vec<_>>(),
            last.body,
        ));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    server.stop().await;
}

#[tokio::test]
async fn t41_a_caller_that_was_slowed_down_is_let_in_when_its_client_is_added() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let server = Running::start(dir.path());
    let mut asked = 0;
    while server.request_token("late", &Secret::from("guess"), "").await.status != 429 {
        asked += 1;
        assert!(asked < 1000, "it is never slowed down");
    }
    let secret = registry.add(ClientSettings::new("late")).unwrap();
    let mut asked = 0;
    while server.request_token("late", &secret, "").await.status != 200 {
        asked += 1;
        assert!(asked < 1000, "the registry is not read again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn t41_failures_that_are_slowed_down_are_told_once() {
    let log = Log::default();
    let _logging = logging_to(&log);
    let dir = tempfile::tempdir().unwrap();
    add_worker(dir.path());
    let server = Running::start(dir.path());
    for _ in 0..60 {
        ask_from(&server, ELSEWHERE, "worker", "jeton_secret_canary").await;
    }
    server.stop().await;
    let text = log.text();
    assert_eq!(text.matches("are slowed down").count(), 1, "{text}");
    assert!(text.matches("token refused").count() < 40, "{text}");
    assert!(!text.contains("canary"));
}

#[tokio::test]
async fn r5_6_a_client_that_asks_too_often_is_told_when_to_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let other = Registry::open(dir.path()).unwrap().add(ClientSettings::new("other")).unwrap();
    // One more each second: in the test's time the burst alone matters.
    let client_requests = RequestRate::new(1, 5).unwrap();
    let server = start_with(dir.path(), Throttling { client_requests, ..Throttling::default() });
    for _ in 0..100 {
        let failed = server.request_token("worker", &Secret::from("guess"), "").await.status;
        assert!([401, 429].contains(&failed), "{failed}");
    }
    let mut answers = Vec::new();
    for _ in 0..50 {
        answers.push(server.request_token("worker", &secret, "").await);
    }
    let granted = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(granted >= 5, "the failures of others used nothing up: {granted}");
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(!refused.is_empty());
    for answer in &refused {
        assert_slowed_down(answer);
    }
    assert!(refused[0].body.contains("too many token requests"), "{:?}", refused[0]);
    assert_eq!(server.request_token("other", &other, "").await.status, 200);
    assert_eq!(server.counters.values().limited_client, refused.len() as u64);
    server.stop().await;
}

#[tokio::test]
async fn r5_6_what_is_wrong_with_the_request_of_a_client_counts_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let client_requests = RequestRate::new(1, 3).unwrap();
    let server = start_with(dir.path(), Throttling { client_requests, ..Throttling::default() });
    let mut slowed = false;
    for _ in 0..50 {
        let answer = server.request_token("worker", &secret, "&scope=zzz").await;
        if answer.status == 429 {
            slowed = true;
            break;
        }
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_scope"));
    }
    assert!(slowed, "requests that are refused for another reason are never too many");
    server.stop().await;
}

fn per_call(choice: MintPerCall) -> Throttling {
    Throttling {
        client_requests: RequestRate::Off,
        mint_per_call: choice,
        mints_per_token_life: MintPolicy::new(4).unwrap(),
    }
}

/// Asks as often as `scopes` says, and gives the status, the `Retry-After` and the answer of each.
async fn ask_again_and_again(
    server: &Running,
    secret: &Secret<String>,
    scopes: &[&str],
) -> Vec<(u16, Option<u64>, serde_json::Value)> {
    let client = http_client();
    let mut answers = Vec::new();
    for scope in scopes {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let request = client
            .post(format!("http://{}/oauth/token", server.address))
            .basic_auth("worker", Some(secret.expose()))
            .form(&form);
        let answer = request.send().await.unwrap();
        let pause = answer.headers().get("retry-after").map(|pause| pause.to_str().unwrap().parse().unwrap());
        answers.push((answer.status().as_u16(), pause, answer.json().await.unwrap()));
    }
    answers
}

fn distinct_tokens(answers: &[(u16, Option<u64>, serde_json::Value)]) -> usize {
    let tokens = answers.iter().filter_map(|(_, _, body)| body["access_token"].as_str());
    tokens.collect::<std::collections::HashSet<_>>().len()
}

#[tokio::test]
async fn a_client_that_mints_per_call_is_left_alone_when_that_is_off_and_told_once_by_default() {
    for (choice, lines, counted) in [(MintPerCall::Off, 0, 0), (MintPerCall::Warn, 1, 16)] {
        let log = Log::default();
        let _logging = logging_to(&log);
        let dir = tempfile::tempdir().unwrap();
        let secret = add_worker(dir.path());
        let server = start_with(dir.path(), per_call(choice));
        let answers = ask_again_and_again(&server, &secret, &["a"; 20]).await;
        assert!(answers.iter().all(|(status, ..)| *status == 200), "{choice:?}");
        assert_eq!(distinct_tokens(&answers), 20, "{choice:?}");
        let counters = server.counters.values();
        assert_eq!((counters.minted_per_call, counters.granted), (counted, 20), "{choice:?}");
        server.stop().await;
        let text = log.text();
        assert_eq!(text.matches("asks for a new token again and again").count(), lines, "{choice:?}: {text}");
    }
}

#[tokio::test]
async fn a_client_that_mints_per_call_is_refused_and_told_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = start_with(dir.path(), per_call(MintPerCall::Refuse));
    let answers = ask_again_and_again(&server, &secret, &["a"; 10]).await;
    assert!(answers[..4].iter().all(|(status, ..)| *status == 200), "{answers:?}");
    for (status, pause, body) in &answers[4..] {
        assert_eq!((*status, body["error"].as_str()), (429, Some("temporarily_unavailable")));
        assert!(body["error_description"].as_str().unwrap().contains("keep each token"), "{body}");
        assert!((800..=900).contains(&pause.unwrap()), "a quarter of an hour: {pause:?}");
    }
    let others = ask_again_and_again(&server, &secret, &["b", "a b"]).await;
    assert!(others.iter().all(|(status, ..)| *status == 200), "other tokens are another matter: {others:?}");
    let elsewhere = ask_from(&server, ELSEWHERE, "worker", secret.expose()).await;
    assert_eq!(elsewhere.status, 200, "and so are other workers of a fleet");
    assert_eq!(server.counters.values().limited_mint_per_call, 6);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_mints_per_call_is_given_the_same_token_with_what_is_left_of_its_life() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let settings = ClientSettings {
        allowed_scope: "a b".parse().unwrap(),
        token_lifetime: Duration::from_secs(8),
        ..ClientSettings::new("worker")
    };
    let secret = registry.add(settings).unwrap();
    let server = start_with(dir.path(), per_call(MintPerCall::SameToken));
    let answers = ask_again_and_again(&server, &secret, &["a"; 30]).await;
    assert!(answers.iter().all(|(status, ..)| *status == 200));
    let first = distinct_tokens(&answers);
    assert!((5..20).contains(&first), "four and the one that is kept, or few more: {first}");
    assert!(server.counters.values().same_token >= 10);
    let kept = answers.last().unwrap().2["access_token"].clone();
    let other = ask_again_and_again(&server, &secret, &["b"; 8]).await;
    assert!(other.iter().all(|(_, _, body)| body["access_token"] != kept && body["scope"] == "b"));
    // Past the half of its life another one takes its place, and no answer ever tells more than is left.
    let mut asked = 0;
    loop {
        let answer = ask_again_and_again(&server, &secret, &["a"]).await.remove(0);
        assert_eq!(answer.0, 200);
        assert!((4..=8).contains(&answer.2["expires_in"].as_u64().unwrap()), "{answer:?}");
        if answer.2["access_token"] != kept {
            break;
        }
        asked += 1;
        assert!(asked < 1000, "the same token for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    registry.disable("worker").unwrap();
    let mut asked = 0;
    while ask_again_and_again(&server, &secret, &["a"]).await[0].0 == 200 {
        asked += 1;
        assert!(asked < 1000, "a disabled client goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_was_changed_is_given_no_token_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let secret = add_worker(dir.path());
    let server = start_with(dir.path(), per_call(MintPerCall::SameToken));
    let last = async |times: usize| {
        let answers = ask_again_and_again(&server, &secret, &vec!["a"; times]).await;
        answers.last().unwrap().2["access_token"].clone()
    };
    let kept = last(30).await;
    assert_eq!(last(5).await, kept, "for half of its life");
    let label = |record: &mut jeton_server::ClientRecord| {
        record.settings.labels.insert("team".to_owned(), "billing".to_owned());
        Ok(())
    };
    Registry::open(dir.path()).unwrap().update("worker", label).unwrap();
    let mut asked = 0;
    while last(1).await == kept {
        asked += 1;
        assert!(asked < 1000, "the token of before is given for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
}
