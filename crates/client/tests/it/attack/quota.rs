//! A quota that is used up: it makes nobody spin, costs nothing that was not sent, and is no fault of the server.

use crate::attack::within;
use crate::support::{Behaviour, Endpoint, VirtualClock, builder_with_clock, millis, secs};
use jeton::{BreakerPolicy, Clock, QuotaPolicy, RefreshAhead, TokenErrorKind, TokenKey, TokenManager};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Builder;
use tokio::time::sleep;

/// Counts what is told of failed flights.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicU64>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if *event.metadata().level() == tracing::Level::WARN {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Runs `work` under virtual time on a thread of its own, so that a loop without a pause fails the test instead of
/// holding it; gives how many failures were told of.
fn warnings_of<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) -> u64 {
    within(secs(60), move || {
        use tracing_subscriber::layer::SubscriberExt as _;
        let warnings = Warnings::default();
        let subscriber = tracing_subscriber::registry().with(warnings.clone());
        let _told = tracing::subscriber::set_default(subscriber);
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(work());
        warnings.0.load(Ordering::SeqCst)
    })
}

fn one_an_hour(endpoint: &Arc<Endpoint>) -> jeton::TokenManagerBuilder {
    let quota = QuotaPolicy::new(1, secs(3600)).unwrap();
    builder_with_clock(endpoint, VirtualClock::with_boot_clock()).request_quota(quota)
}

fn keys(count: usize) -> Vec<TokenKey> {
    (0..count).map(|number| TokenKey::scope(&format!("scope:{number}")).unwrap()).collect()
}

#[test]
fn r3_9_a_keeper_does_not_spin_on_a_quota_that_is_used_up() {
    let warnings = warnings_of(|| async {
        let endpoint = Endpoint::granting(600);
        let manager = keys(2).into_iter().fold(one_an_hour(&endpoint), jeton::TokenManagerBuilder::prefetch);
        let _kept = manager.build().unwrap();
        sleep(secs(1800)).await;
        assert_eq!(endpoint.requests(), 1);
    });
    assert!(warnings <= 200, "{warnings} flights failed in half an hour");
}

#[test]
fn r3_9_callers_do_not_begin_a_flight_each_while_the_quota_is_used_up() {
    let warnings = warnings_of(|| async {
        let endpoint = Endpoint::granting(600);
        let manager = one_an_hour(&endpoint).refresh_ahead(RefreshAhead::OnDemand).build().unwrap();
        let key = TokenKey::default();
        manager.token(&key).await.unwrap();
        let handle = manager.handle(&key).unwrap();
        sleep(secs(500)).await;
        for _ in 0..1000 {
            assert!(handle.get_with(|_| ()).is_some(), "it is good for 100 s");
            tokio::task::yield_now().await;
        }
        sleep(secs(101)).await;
        for _ in 0..1000 {
            let error = manager.token(&key).await.unwrap_err();
            assert!(matches!(error.kind(), TokenErrorKind::QuotaExhausted { .. }), "{error}");
            let after = error.retry_after().unwrap();
            assert!(after > secs(2900) && after <= secs(3600), "{after:?}");
        }
        sleep(secs(3600)).await;
        assert!(manager.token(&key).await.is_ok(), "there is a turn again");
    });
    assert!(warnings <= 10, "{warnings} flights failed");
}

#[tokio::test(start_paused = true)]
async fn t26_who_waited_long_for_a_turn_does_not_make_the_server_look_down() {
    let endpoint = Endpoint::granting(3600);
    endpoint.set_latency(secs(2));
    let breaker = BreakerPolicy::new(3, secs(60), secs(60)).unwrap();
    let quota = QuotaPolicy::new(1, millis(500)).unwrap();
    let clock = VirtualClock::with_boot_clock();
    let manager =
        builder_with_clock(&endpoint, clock).breaker_policy(breaker).request_quota(quota).build().unwrap();
    let tasks: Vec<_> = keys(60)
        .into_iter()
        .map(|key| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.token_within(&key, secs(60)).await.map(|_| ()) })
        })
        .collect();
    for task in tasks {
        if let Err(error) = task.await.unwrap() {
            assert!(matches!(error.kind(), TokenErrorKind::QuotaExhausted { .. }), "{error}");
        }
    }
    sleep(secs(31)).await;
    assert!(manager.token(&TokenKey::default()).await.is_ok(), "the server was never down");
}

/// What is asked while the endpoint is down, and not sent, uses nothing up.
#[tokio::test(start_paused = true)]
async fn r3_9_what_was_not_sent_costs_no_turn() {
    let endpoint = Endpoint::new(Behaviour::Break);
    let clock: Arc<dyn Clock> = VirtualClock::with_boot_clock();
    let breaker = BreakerPolicy::new(1, secs(5), secs(5)).unwrap();
    let quota = QuotaPolicy::new(60, secs(1)).unwrap();
    let build = |endpoint| -> TokenManager {
        let builder = builder_with_clock(endpoint, Arc::clone(&clock));
        builder.breaker_policy(breaker).request_quota(quota).build().unwrap()
    };
    let manager = build(&endpoint);
    let keys = keys(50);
    for key in &keys {
        manager.token_within(key, secs(1)).await.unwrap_err();
    }
    let used = endpoint.requests();
    endpoint.set(Behaviour::Hang);
    sleep(secs(60)).await;
    assert!(endpoint.requests() <= used + 12, "probes alone");
    // All look at once, and one of them probes.
    for key in &keys {
        let _refused = manager.token_within(key, millis(0)).await;
    }
    endpoint.set(Behaviour::Grant { expires_in: 3600 });
    sleep(secs(20)).await;
    for key in &keys {
        let outcome = manager.token_within(key, millis(100)).await;
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn t9_a_flight_that_was_superseded_while_it_waited_for_its_turn_sends_nothing() {
    let endpoint = Endpoint::granting(100);
    let quota = QuotaPolicy::new(2, secs(3)).unwrap();
    let clock = VirtualClock::with_boot_clock();
    let manager = builder_with_clock(&endpoint, clock)
        .request_quota(quota)
        .refresh_ahead(RefreshAhead::OnDemand)
        .build()
        .unwrap();
    let (first, other) = (TokenKey::default(), TokenKey::scope("other").unwrap());
    let token = manager.token(&first).await.unwrap();
    sleep(secs(85)).await;
    manager.token(&other).await.unwrap();
    manager.token(&TokenKey::scope("third").unwrap()).await.unwrap();
    manager.token(&first).await.unwrap();
    sleep(secs(1)).await;
    assert_eq!(endpoint.requests(), 3, "the early flight waits for its turn");
    manager.reject(&first, &token);
    let _forced = manager.token_within(&first, secs(60)).await;
    sleep(secs(30)).await;
    assert_eq!(endpoint.requests(), 4);
}
