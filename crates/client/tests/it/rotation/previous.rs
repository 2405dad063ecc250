//! The current secret and the one before it, while a rotation is rolled out.

use crate::support::{Behaviour, Endpoint, InMemory, VirtualClock, basic, key, millis, secs};
use jeton::credentials::{SecretFuture, SecretReading};
use jeton::{Secret, SecretSource, TokenKey, TokenManager};
use std::sync::{Arc, Mutex};
use tokio::time::sleep;

/// A source that knows two secrets.
struct Pair(Mutex<(&'static str, &'static str)>);

impl SecretSource for Pair {
    fn read(&self) -> SecretFuture<'_> {
        let (current, previous) = *self.0.lock().unwrap();
        let reading = SecretReading::new(Secret::from(current)).with_previous(Secret::from(previous));
        Box::pin(async move { Ok(reading) })
    }
}

fn manager(endpoint: &Arc<Endpoint>, pair: &Arc<Pair>) -> TokenManager {
    TokenManager::builder("https://as.example/token", "billing")
        .clock(VirtualClock::new())
        .exchange(Arc::new(InMemory(Arc::clone(endpoint))))
        .client_secret_source(Arc::clone(pair) as Arc<dyn SecretSource>)
        .build()
        .unwrap()
}

fn pair(current: &'static str, previous: &'static str) -> Arc<Pair> {
    Arc::new(Pair(Mutex::new((current, previous))))
}

fn last(endpoint: &Endpoint) -> Option<String> {
    endpoint.last_authorization.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn r4_3_the_previous_secret_is_tried_in_the_same_flight_when_the_current_one_is_refused() {
    let (endpoint, pair) = (Endpoint::new(Behaviour::Takes(vec!["old"])), pair("new", "old"));
    let manager = manager(&endpoint, &pair);
    manager.token(&key()).await.unwrap();
    assert_eq!((endpoint.requests(), last(&endpoint)), (2, Some(basic("old"))));
    assert!(manager.credential().is_previous);

    // As long as it works, it is used at once.
    manager.token(&TokenKey::default()).await.unwrap();
    assert_eq!((endpoint.requests(), last(&endpoint)), (3, Some(basic("old"))));

    // After a while the current one is tried again, which the server has heard of by now.
    endpoint.set(Behaviour::Takes(vec!["new"]));
    sleep(secs(301)).await;
    manager.token(&key()).await.unwrap();
    assert_eq!(last(&endpoint), Some(basic("new")));
    assert!(!manager.credential().is_previous);
}

#[tokio::test(start_paused = true)]
async fn r4_3_the_current_secret_is_used_as_long_as_it_is_taken() {
    let (endpoint, pair) = (Endpoint::new(Behaviour::Takes(vec!["new", "old"])), pair("new", "old"));
    let manager = manager(&endpoint, &pair);
    for _ in 0..5 {
        manager.token(&key()).await.unwrap();
        assert_eq!(last(&endpoint), Some(basic("new")));
        sleep(secs(61)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn t24_when_both_are_refused_one_request_goes_for_each_pause() {
    let (endpoint, pair) = (Endpoint::new(Behaviour::Takes(vec![])), pair("new", "old"));
    let manager = manager(&endpoint, &pair);
    for _ in 0..50 {
        manager.token(&key()).await.unwrap_err();
        manager.token(&TokenKey::default()).await.unwrap_err();
    }
    assert_eq!(endpoint.requests(), 2, "each was sent once");
    for _ in 0..3600 {
        sleep(secs(1)).await;
        assert!(manager.token(&key()).await.is_err());
    }
    let in_an_hour = endpoint.requests() - 2;
    assert!((3..=130).contains(&in_an_hour), "{in_an_hour} requests in an hour");

    // What the source holds by now is tried at once, whatever was remembered.
    *pair.0.lock().unwrap() = ("newest", "new");
    endpoint.set(Behaviour::Takes(vec!["newest"]));
    sleep(secs(3600)).await;
    manager.token(&key()).await.unwrap();
    assert_eq!(last(&endpoint), Some(basic("newest")));
}

#[tokio::test(start_paused = true)]
async fn t33_a_changed_current_secret_is_tried_before_the_previous_one() {
    let (endpoint, pair) = (Endpoint::new(Behaviour::Takes(vec!["a", "b"])), pair("b", "a"));
    let manager = manager(&endpoint, &pair);
    manager.token(&key()).await.unwrap();
    *pair.0.lock().unwrap() = ("c", "b");
    endpoint.set(Behaviour::Takes(vec!["c"]));
    sleep(secs(60)).await;
    manager.token(&key()).await.unwrap();
    // One for the first token, and for the second, which was fetched ahead, one that was refused and one that was not.
    assert_eq!((endpoint.requests(), last(&endpoint)), (3, Some(basic("c"))));
}

#[tokio::test(start_paused = true)]
async fn r4_3_callers_of_many_scopes_share_what_was_learned_of_the_current_secret() {
    let (endpoint, pair) = (Endpoint::new(Behaviour::Takes(vec!["old"])), pair("new", "old"));
    endpoint.set_latency(millis(50));
    let manager = manager(&endpoint, &pair);
    let scopes = (0..20).map(|number| TokenKey::scope(&format!("scope-{number}")).unwrap());
    let asking: Vec<_> = scopes
        .map(|key| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.token(&key).await.map(drop) })
        })
        .collect();
    for asked in asking {
        asked.await.unwrap().unwrap();
    }
    // Those that were on their way together are refused together, and nobody is told of it.
    assert!(endpoint.requests() <= 40, "{}", endpoint.requests());
}
