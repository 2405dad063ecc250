//! The client against every malformed answer of `testdata/negative/token_endpoint`: an error that says what was wrong,
//! few requests, bounded memory, no panic, nothing secret and nothing foreign in what is said (R3.8, T3, T15 to T18,
//! T24, T34).

mod case;
mod certificate;
mod endpoint;
mod observation;

use crate::secrecy::Log;
use crate::support::{SECRET, key, millis, secs};
use case::{Case, Scheme};
use endpoint::{Endpoint, InMemory};
use jeton::http::TlsRoots;
use jeton::{
    BackoffPolicy, CachedToken, RefreshAhead, Secret, TokenError, TokenManager, TokenManagerBuilder,
};
use observation::{Observation, Outcome};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::runtime::{Builder, Handle};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

/// Cases that are under way at a time; most of them only wait.
const WORKERS: usize = 16;
const WORKER_NAME: &str = "negative-case";

#[test]
fn r3_8_every_malformed_answer_of_the_corpus_has_the_outcome_that_its_file_says() {
    let started = Instant::now();
    let cases = case::read_all();
    let panics = count_panics_of_workers();
    let failures = run_all(&cases);
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(panics.load(Ordering::SeqCst), 0, "a panic on the client's thread");
    assert!(started.elapsed() < secs(60), "{} cases took {:?}", cases.len(), started.elapsed());
}

#[test]
fn the_corpus_is_large_and_every_class_of_it_is_there() {
    let cases = case::read_all();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    for class in ["body", "header", "framing", "transport"] {
        let prefix = format!("{class}/");
        let count = cases.iter().filter(|case| case.name.starts_with(&prefix)).count();
        assert!(count >= 15, "{count} cases in {class}");
    }
    let in_memory = cases.iter().filter(|case| in_memory(case).is_some()).count();
    assert!(in_memory >= 100, "{in_memory} cases can be handed over in memory");
    let with_canary = |case: &&Case| format!("{:?}{:?}", case.answer, case.raw).contains("canary");
    let canaries = cases.iter().filter(with_canary).count();
    assert!(canaries >= 100, "{canaries} cases have a word in them that must not be repeated");
}

const UNTRUE: &str = r#"# The expectations are the wrong ones on purpose.
[answer]
status = 401
body = '{"error":"invalid_client"}'
[error]
kind = "Malformed"
says = "something else"
retryable = true
requests_at_most = 3
"#;

#[test]
fn an_expectation_that_is_not_met_is_reported() {
    let wrong = Case::parse("untrue", UNTRUE).unwrap();
    let right = UNTRUE.replace("Malformed", "Refused").replace("something else", "invalid_client");
    let right = right.replace("retryable = true", "retryable = false").replace("at_most = 3", "at_most = 1");
    let right = Case::parse("true", &right).unwrap();
    let token = UNTRUE.split("[error]").next().unwrap().to_owned()
        + "[token]\naccess_token = \"a\"\nlife_seconds = 60\n";
    let token = Case::parse("token", &token).unwrap();
    let leak = UNTRUE.replace("invalid_client\"", "invalid_client\", \"error_description\":\"canary\"");
    let leak = Case::parse("leak", &leak).unwrap();
    let failures = run_all(&[wrong, right, token, leak]);
    let of = |name: &str| failures.iter().filter(|failure| failure.starts_with(name)).count();
    assert_eq!(of("untrue "), 6, "kind, words and retryable, in memory and on the socket: {failures:#?}");
    assert_eq!(of("true "), 0, "{failures:#?}");
    assert_eq!(of("token "), 2, "{failures:#?}");
    assert_eq!(of("leak "), 8, "{failures:#?}");
}

#[test]
fn files_that_are_no_cases_are_refused() {
    for (what, text) in [
        ("no comment", UNTRUE.split_once('\n').unwrap().1.to_owned()),
        ("a word that is not in the format", UNTRUE.replace("status", "state")),
        ("too many requests", UNTRUE.replace("at_most = 3", "at_most = 4")),
        ("a terminal error that is retried", UNTRUE.replace("retryable = true", "retryable = false")),
        ("an error that says nothing", UNTRUE.replace("something else", "")),
        ("no answer", UNTRUE.replace("[answer]", "[other]")),
        ("no expectation", UNTRUE.split("[error]").next().unwrap().to_owned()),
    ] {
        assert!(Case::parse("case", &text).is_err(), "{what}");
    }
}

/// Runs the cases side by side, and says what is wrong, case by case.
fn run_all(cases: &[Case]) -> Vec<String> {
    let servers = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let authority = authority();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS.min(cases.len()) {
            let work = || {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let found = run(case, servers.handle(), &authority);
                    failures.lock().unwrap().extend(found);
                }
            };
            std::thread::Builder::new().name(WORKER_NAME.to_owned()).spawn_scoped(scope, work).unwrap();
        }
    });
    servers.shutdown_background();
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    failures
}

/// One case over a socket, and in memory where an exchange can carry it.
fn run(case: &Case, servers: &Handle, authority: &[u8]) -> Vec<String> {
    let on_socket = || {
        let endpoint = Endpoint::start(servers, case.raw());
        let scheme = match case.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let url = format!("{scheme}://{}/token", endpoint.address);
        observe(builder(case, &url).tls_roots(TlsRoots::Only(authority.to_vec())), &|| endpoint.requests())
    };
    let mut failures = judged(case, "on the socket", on_socket);
    if let Some(exchange) = in_memory(case) {
        let builder = || builder(case, "https://as.example/token").exchange(Arc::clone(&exchange) as _);
        failures.extend(judged(case, "in memory", || observe(builder(), &|| exchange.requests())));
    }
    failures
}

fn in_memory(case: &Case) -> Option<Arc<InMemory>> {
    case.answer.as_ref().and_then(InMemory::of)
}

fn judged(case: &Case, place: &str, observe: impl FnOnce() -> Observation) -> Vec<String> {
    let faults = match catch_unwind(AssertUnwindSafe(observe)) {
        Ok(observation) => observation.faults(case),
        Err(_) => vec!["a panic".to_owned()],
    };
    faults.into_iter().map(|fault| format!("{} {place}: {fault}", case.name)).collect()
}

fn builder(case: &Case, url: &str) -> TokenManagerBuilder {
    TokenManager::builder(url, "billing")
        .client_secret(Secret::from(SECRET))
        .request_timeout(case.request_timeout_ms.map_or(secs(10), millis))
        .total_timeout(secs(20))
        .wait_timeout(secs(40))
        .refresh_ahead(RefreshAhead::OnDemand)
        .backoff_policy(BackoffPolicy::new(millis(1), millis(1), secs(60)).unwrap())
}

/// Asks twice, on a runtime of this thread alone, so that this thread's allocations are the client's.
fn observe(builder: TokenManagerBuilder, requests: &dyn Fn() -> u64) -> Observation {
    let log = Log::default();
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(log.clone());
    let own_targets = Targets::new().with_target("jeton", tracing::Level::TRACE);
    let _default =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(layer).with(own_targets));
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let manager = runtime.block_on(async { builder.build().unwrap() });
    let mut said = String::new();
    let ask = |said: &mut String| {
        let mut answer = None;
        let measured = allocation_counter::measure(|| {
            answer = Some(runtime.block_on(manager.token(&key())));
        });
        let answer = answer.unwrap();
        if let Ok(token) = &answer {
            write!(said, "{token:?} ").unwrap();
        }
        (outcome(answer), measured.bytes_max)
    };
    let (first, peak_bytes) = ask(&mut said);
    let requests_after_first = requests();
    let (second, _) = ask(&mut said);
    let requests_after_second = requests();
    write!(said, "{manager:?} {}", log.text()).unwrap();
    Observation { first, second, requests_after_first, requests_after_second, peak_bytes, said }
}

fn outcome(answer: Result<Arc<CachedToken>, TokenError>) -> Outcome {
    match answer {
        Ok(token) => Outcome::Token {
            access_token: token.access_token().to_owned(),
            life_seconds: token.expires_at().saturating_since(token.obtained_at()).as_secs(),
            scope: token.granted_scope().map(ToString::to_string),
        },
        Err(error) => Outcome::Failed {
            kind: variant(&format!("{:?}", error.kind())),
            message: error.to_string(),
            debug: format!("{error:?}"),
            retryable: error.is_retryable(),
        },
    }
}

/// The name that the `Debug` of an enum begins with.
fn variant(debug: &str) -> String {
    debug.chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// A certificate authority that signed nothing: the cases over https have no TLS worth the name.
fn authority() -> Vec<u8> {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    issuer.pem().into_bytes()
}

/// Counts the panics that something between the client and its callers would swallow.
fn count_panics_of_workers() -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let (counter, before) = (Arc::clone(&count), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() == Some(WORKER_NAME) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        before(info);
    }));
    count
}
