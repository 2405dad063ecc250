//! Sequences that break token managers: lost flights, runtimes that end, rejections at the wrong moment.

mod bearer;
mod breaker;
mod credential;
mod credential_watch;
mod fleet;
mod fleet_lives;
mod fleet_outage;
mod fleet_rig;
mod fleet_waits;
mod keeper;
mod landing;
mod quota;
mod refusal;
mod source;
mod storm;
mod told;
mod wire;

use crate::support::{
    Behaviour, Endpoint, VirtualClock, builder, builder_with_clock, key, millis, refusal, secs,
};
use jeton::http::{ExchangeFuture, ExchangeLimits, HttpExchange};
use jeton::{
    BackoffPolicy, Clock, RefreshAhead, SystemClock, TokenErrorKind, TokenHandle, TokenManagerBuilder,
};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn on_system_clock(endpoint: &Arc<Endpoint>) -> TokenManagerBuilder {
    builder_with_clock(endpoint, Arc::new(SystemClock))
}

fn on_demand(endpoint: &Arc<Endpoint>) -> TokenHandle {
    let manager = builder(endpoint).refresh_ahead(RefreshAhead::OnDemand).build().unwrap();
    manager.handle(&key()).unwrap()
}

async fn text(handle: &TokenHandle) -> String {
    handle.token().await.unwrap().access_token().to_owned()
}

/// Runs `work` on a thread of its own; fails when that takes more than `patience`.
fn within<T: Send + 'static>(patience: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(patience).expect("the work hangs or panics")
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn t12_a_flight_on_a_runtime_that_has_shut_down_locks_nobody_out() {
    let endpoint = Endpoint::granting(3600);
    let first = runtime();
    let manager = first.block_on(async { on_system_clock(&endpoint).build().unwrap() });
    drop(first);
    let handle = manager.handle(&key()).unwrap();
    let token = within(secs(10), move || {
        // The runtime of the manager refuses the task, and drops it while it is being handed over.
        handle.prefetch();
        handle.prefetch();
        runtime().block_on(async { text(&handle).await })
    });
    assert_eq!(token, "token-1");
}

#[test]
fn t12_a_flight_on_a_runtime_that_nobody_drives_blocks_the_others_for_a_bounded_time() {
    let endpoint = Endpoint::granting(3600);
    let manager = on_system_clock(&endpoint).total_timeout(millis(200)).build().unwrap();
    let handle = manager.handle(&key()).unwrap();
    let idle = runtime();
    idle.block_on(async { handle.prefetch() });
    let outcome = within(secs(20), {
        let handle = handle.clone();
        move || runtime().block_on(async { handle.token_within(secs(10)).await.map(|token| token.id()) })
    });
    assert!(outcome.is_ok(), "{outcome:?}");
    drop(idle);
    assert!(handle.get_with(|_| ()).is_some(), "the end of the lost flight changes nothing");
}

#[test]
fn t12_outside_of_a_runtime_a_wait_is_an_error_and_what_is_left_is_served() {
    let endpoint = Endpoint::granting(100);
    let clock = Stepped::new();
    let first = runtime();
    let handle = first.block_on(async {
        let manager = builder_with_clock(&endpoint, Arc::clone(&clock) as Arc<dyn Clock>).build().unwrap();
        let handle = manager.handle(&key()).unwrap();
        handle.token().await.unwrap();
        handle
    });
    clock.0.fetch_add(95_000, Ordering::SeqCst);
    let Poll::Ready(Ok(token)) = poll_once(handle.token()) else { panic!("the token is good for 5 s") };
    assert_eq!(token.access_token(), "token-1");
    clock.0.fetch_add(5_000, Ordering::SeqCst);
    let Poll::Ready(Err(error)) = poll_once(handle.token()) else { panic!("nobody can be waited for") };
    assert!(matches!(error.kind(), TokenErrorKind::NoRuntime), "{error}");
}

struct Stepped(AtomicU64);

impl Stepped {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(1_700_000_000_000)))
    }
}

impl Clock for Stepped {
    fn now(&self) -> jeton::Timestamp {
        jeton::Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test(start_paused = true)]
async fn r3_7_the_longest_wait_there_is_is_no_panic() {
    let endpoint = Endpoint::granting(3600);
    let handle = on_demand(&endpoint);
    assert!(handle.token_within(Duration::MAX).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn t12_a_panicking_exchange_is_a_failure_with_its_pause_and_not_a_loop() {
    let endpoint = Endpoint::granting(100);
    let policy = BackoffPolicy::new(secs(10), secs(10), secs(10)).unwrap();
    let manager =
        builder(&endpoint).backoff_policy(policy).refresh_ahead(RefreshAhead::OnDemand).build().unwrap();
    let handle = manager.handle(&key()).unwrap();
    handle.token().await.unwrap();
    endpoint.set(Behaviour::Panic);
    sleep(secs(95)).await;
    assert_eq!(text(&handle).await, "token-1", "five seconds are left of it");
    sleep(secs(20)).await;
    let before = endpoint.requests();
    for _ in 0..20 {
        let error = handle.token().await.unwrap_err();
        assert!(matches!(error.kind(), TokenErrorKind::FlightLost), "{error}");
    }
    assert!(endpoint.requests() <= before + 1, "{} requests", endpoint.requests() - before);
}

/// A clock that panics when it is read so many times after it was armed.
struct Fused {
    fuse: AtomicU64,
}

impl Clock for Fused {
    fn now(&self) -> jeton::Timestamp {
        let burnt = self.fuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(burnt != Ok(1), "the clock panics");
        SystemClock.now()
    }
}

/// Arms the clock once it has been asked for the first time, so that the panic happens while the flight lands.
struct Arming {
    clock: Arc<Fused>,
    reads: u64,
    inner: crate::support::InMemory,
}

impl HttpExchange for Arming {
    fn exchange(&self, request: http::Request<bytes::Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        Box::pin(async move {
            let answer = self.inner.exchange(request, limits).await;
            if self.inner.0.requests() == 1 {
                self.clock.fuse.store(self.reads, Ordering::SeqCst);
            }
            answer
        })
    }
}

#[test]
fn t12_a_panic_under_the_lock_of_a_slot_ends_nothing() {
    for reads in 1..=8 {
        let endpoint = Endpoint::granting(3600);
        endpoint.set_latency(millis(1));
        let clock = Arc::new(Fused { fuse: AtomicU64::new(0) });
        let inner = crate::support::InMemory(Arc::clone(&endpoint));
        let exchange = Arc::new(Arming { clock: Arc::clone(&clock), reads, inner });
        let manager = builder_with_clock(&endpoint, Arc::clone(&clock) as Arc<dyn Clock>).exchange(exchange);
        let runtime = runtime();
        let handle = runtime.block_on(async { manager.build().unwrap().handle(&key()).unwrap() });
        runtime.block_on(async {
            handle.prefetch();
            sleep(millis(50)).await;
        });
        clock.fuse.store(0, Ordering::SeqCst);
        std::thread::sleep(millis(600));
        // Soon, and on a loaded machine later.
        for _ in 0..100 {
            runtime.block_on(async {
                handle.prefetch();
                sleep(millis(50)).await;
            });
            clock.fuse.store(0, Ordering::SeqCst);
            if handle.get_with(|_| ()).is_some() {
                break;
            }
        }
        assert!(handle.get_with(|_| ()).is_some(), "read {reads}: the background still works");
        assert!(endpoint.requests() <= 2, "read {reads}: {} requests", endpoint.requests());
    }
}

/// Never answers, whatever its limits.
struct Silent(AtomicU64);

impl HttpExchange for Silent {
    fn exchange(&self, _: http::Request<bytes::Bytes>, _: ExchangeLimits) -> ExchangeFuture<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn t7_an_exchange_that_ignores_its_limits_does_not_hold_the_key_for_ever() {
    let endpoint = Endpoint::granting(100);
    let silent = Arc::new(Silent(AtomicU64::new(0)));
    let manager = builder(&endpoint).exchange(Arc::clone(&silent) as Arc<dyn HttpExchange>);
    let manager = manager.request_timeout(secs(5)).build().unwrap();
    let started = tokio::time::Instant::now();
    let error = manager.token(&key()).await.unwrap_err();
    assert!(matches!(error.kind(), TokenErrorKind::Unreachable { .. }), "{error}");
    assert!(started.elapsed() <= millis(5500), "{:?}", started.elapsed());
    sleep(secs(60)).await;
    manager.token(&key()).await.unwrap_err();
    assert_eq!(silent.0.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_while_a_caller_waits_for_the_rest_of_a_token_does_not_end_its_wait() {
    let endpoint = Endpoint::granting(100);
    let handle = on_demand(&endpoint);
    let first = handle.token().await.unwrap();
    sleep(secs(96)).await;
    endpoint.set_latency(secs(6));
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { text(&handle).await }
    });
    sleep(millis(500)).await;
    handle.reject(first.id());
    let token = waiting.await.unwrap();
    assert!(token != "token-1", "{token} was rejected");
}

#[tokio::test(start_paused = true)]
async fn t9_an_early_flight_that_brings_the_rejected_token_does_not_answer_the_rejection() {
    let endpoint = Endpoint::new(Behaviour::GrantSame { token: "old", expires_in: "3600" });
    let handle = on_demand(&endpoint);
    let old = handle.token().await.unwrap();
    sleep(secs(3000)).await;
    endpoint.set_latency(secs(2));
    handle.token().await.unwrap();
    sleep(secs(1)).await;
    handle.reject(old.id());
    sleep(secs(2)).await;
    assert_eq!(endpoint.requests(), 2, "the early flight has landed");
    endpoint.set(Behaviour::GrantSame { token: "new", expires_in: "3600" });
    assert_eq!(text(&handle).await, "new");
}

#[tokio::test(start_paused = true)]
async fn t9_a_prefetch_after_a_rejection_does_not_rest_on_an_early_flight() {
    let endpoint = Endpoint::granting(3600);
    let handle = on_demand(&endpoint);
    let first = handle.token().await.unwrap();
    sleep(secs(3000)).await;
    endpoint.set_latency(secs(2));
    handle.token().await.unwrap();
    sleep(secs(1)).await;
    handle.reject(first.id());
    handle.prefetch();
    handle.prefetch();
    sleep(secs(5)).await;
    assert_eq!((text(&handle).await.as_str(), endpoint.requests()), ("token-3", 3));
}

#[tokio::test(start_paused = true)]
async fn t11_a_superseded_flight_makes_no_further_attempt() {
    let endpoint = Endpoint::granting(3600);
    let handle = on_demand(&endpoint);
    let first = handle.token().await.unwrap();
    sleep(secs(3000)).await;
    endpoint.set(Behaviour::Break);
    endpoint.set_latency(secs(1));
    handle.token().await.unwrap();
    sleep(millis(500)).await;
    handle.reject(first.id());
    endpoint.set(Behaviour::Grant { expires_in: 3600 });
    let answered = tokio::spawn({
        let handle = handle.clone();
        async move { text(&handle).await }
    });
    sleep(millis(100)).await;
    assert_eq!(answered.await.unwrap(), "token-3");
    sleep(secs(20)).await;
    assert_eq!(endpoint.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn r3_4_the_first_error_says_when_to_ask_again_as_the_later_ones_do() {
    for behaviour in [refusal(401, "invalid_client"), Behaviour::Hang] {
        let endpoint = Endpoint::new(behaviour);
        let handle = on_demand(&endpoint);
        let first = handle.token().await.unwrap_err();
        let again = handle.token().await.unwrap_err();
        assert!(first.retry_after().is_some_and(|after| after > Duration::ZERO), "{first:?}");
        assert_eq!(first.retry_after(), again.retry_after());
        sleep(first.retry_after().unwrap()).await;
        let before = endpoint.requests();
        handle.token().await.unwrap_err();
        assert_eq!(endpoint.requests(), before + 1, "the pause is over");
    }
}

/// A server that gives out one token until it dies, and tells what is left of it in whole seconds.
struct UntilItDies {
    clock: Arc<VirtualClock>,
    life_millis: u64,
    requests: AtomicU64,
}

impl HttpExchange for UntilItDies {
    fn exchange(&self, _: http::Request<bytes::Bytes>, _: ExchangeLimits) -> ExchangeFuture<'_> {
        Box::pin(async move {
            sleep(millis(7)).await;
            self.requests.fetch_add(1, Ordering::SeqCst);
            let now = self.clock.now().as_unix_millis();
            let (serial, left) = (now / self.life_millis, self.life_millis - now % self.life_millis);
            let body = format!(
                r#"{{"access_token":"t{serial}","token_type":"Bearer","expires_in":{}}}"#,
                left / 1000
            );
            Ok(http::Response::new(body.into()))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn t4_the_last_second_of_a_token_that_is_given_out_until_it_dies_is_no_outage() {
    let clock = VirtualClock::new();
    let server =
        Arc::new(UntilItDies { clock: Arc::clone(&clock), life_millis: 60_000, requests: AtomicU64::new(0) });
    let endpoint = Endpoint::granting(60);
    let manager = builder_with_clock(&endpoint, Arc::clone(&clock) as Arc<dyn Clock>)
        .exchange(Arc::clone(&server) as Arc<dyn HttpExchange>)
        .build()
        .unwrap();
    for call in 0..60_000 {
        let token = manager.token(&key()).await;
        let token = token.unwrap_or_else(|error| panic!("call {call}: {error}"));
        assert!(clock.now() < token.expires_at());
        sleep(millis(97)).await;
    }
    let lives = 60_000 * 97 / 60_000;
    let requests = server.requests.load(Ordering::SeqCst);
    assert!(requests <= 8 * lives, "{requests} requests in {lives} lives");
}

#[tokio::test(start_paused = true)]
async fn t3_a_token_without_end_that_the_server_gives_out_again_and_again_is_no_outage() {
    for expires_in in ["null", "0"] {
        let endpoint = Endpoint::new(Behaviour::GrantSame { token: "endless", expires_in });
        let clock = VirtualClock::new();
        let manager = builder_with_clock(&endpoint, Arc::clone(&clock) as Arc<dyn Clock>).build().unwrap();
        for _ in 0..3600 {
            let token = manager.token(&key()).await.unwrap();
            assert!(clock.now() < token.expires_at());
            sleep(secs(1)).await;
        }
        assert!(endpoint.requests() <= 2 * 12 + 1, "{} requests an hour", endpoint.requests());
    }
}

#[test]
fn r3_7_the_number_of_keys_is_bounded_among_racing_threads_too() {
    let endpoint = Endpoint::granting(60);
    let manager = on_system_clock(&endpoint).build().unwrap();
    let handle = |name: String| manager.handle(&jeton::TokenKey::default().with_audience(name)).is_ok();
    for number in 0..jeton::MAX_KEYS - 8 {
        assert!(handle(number.to_string()));
    }
    let barrier = std::sync::Barrier::new(8);
    let accepted: usize = std::thread::scope(|scope| {
        let race = |thread: usize| {
            let (barrier, handle) = (&barrier, &handle);
            scope.spawn(move || {
                barrier.wait();
                (0..50).filter(|number| handle(format!("{thread} {number}"))).count()
            })
        };
        let threads: Vec<_> = (0..8).map(race).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(accepted, 8);
}
