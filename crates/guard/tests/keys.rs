//! How the keys of the issuer are fetched, kept and replaced.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod issuer;

use issuer::{API, Behaviour, Issuer, set_of};
use jeton_guard::{Algorithm, FetchError, Guard, GuardBuilder, Refusal, Rejection};
use jeton_proto::jose::jwk::SigningKey;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn builder(issuer: &Arc<Issuer>) -> GuardBuilder {
    Guard::builder(&issuer.url, API).clock(Arc::clone(&issuer.clock) as _).exchange(Arc::clone(issuer) as _)
}

fn guard(issuer: &Arc<Issuer>) -> Guard {
    builder(issuer).build().unwrap()
}

fn unknown_key(outcome: &Result<jeton_guard::Principal, Refusal>) -> bool {
    matches!(outcome, Err(Refusal::InvalidToken(Rejection::UnknownKey { .. })))
}

#[tokio::test]
async fn a_hundred_first_requests_make_one_fetch() {
    let issuer = Issuer::in_memory();
    let key = issuer.new_key(Algorithm::Es256);
    let guard = guard(&issuer);
    let token = issuer.token(&key);
    let checks: Vec<_> = (0..100)
        .map(|_| {
            let (guard, token) = (guard.clone(), token.clone());
            tokio::spawn(async move { guard.check(&token).await.unwrap().client_id().to_owned() })
        })
        .collect();
    for check in checks {
        assert_eq!(check.await.unwrap(), "reporting");
    }
    assert_eq!(issuer.key_set_requests(), 1);
    assert_eq!(issuer.metadata_requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn every_algorithm_of_the_closed_list_is_taken() {
    let issuer = Issuer::in_memory();
    let guard = guard(&issuer);
    let keys: Vec<_> = Algorithm::ALL.into_iter().map(|algorithm| issuer.new_key(algorithm)).collect();
    for key in &keys {
        assert!(guard.check(&issuer.token(key)).await.is_ok(), "{}", key.algorithm());
    }
    let only = builder(&issuer).algorithms(&[Algorithm::EdDsa]).build().unwrap();
    for key in &keys {
        let accepted = only.check(&issuer.token(key)).await.is_ok();
        assert_eq!(accepted, key.algorithm() == Algorithm::EdDsa);
    }
}

#[tokio::test]
async fn r6_3_a_rotated_key_works_at_once_and_the_old_one_until_it_is_removed() {
    let issuer = Issuer::in_memory();
    let old = issuer.new_key(Algorithm::Es256);
    let guard = guard(&issuer);
    guard.check(&issuer.token(&old)).await.unwrap();
    let new = issuer.new_key(Algorithm::Es256);
    guard.check(&issuer.token(&new)).await.unwrap();
    guard.check(&issuer.token(&old)).await.unwrap();
    assert_eq!(issuer.key_set_requests(), 2);
}

#[tokio::test]
async fn t44_a_burst_of_unknown_keys_makes_one_fetch_and_a_steady_flood_one_per_cooldown() {
    let issuer = Issuer::in_memory();
    let key = issuer.new_key(Algorithm::Es256);
    let guard = guard(&issuer);
    guard.prefetch().await.unwrap();
    let attacker = SigningKey::generate(Algorithm::Es256).unwrap();
    let burst: Vec<_> = (0..200)
        .map(|number| {
            let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": format!("made up {number}") });
            let token = issuer::signed(&attacker, &header.to_string(), &issuer.claims().to_string());
            let guard = guard.clone();
            tokio::spawn(async move { unknown_key(&guard.check(&token).await) })
        })
        .collect();
    for check in burst {
        assert!(check.await.unwrap());
    }
    assert_eq!(issuer.key_set_requests(), 2, "the first fetch and one for the burst");

    let good = issuer.token_with(&key, &json!({ "exp": 9_999_999_999_u64 }));
    for _ in 0..60 {
        issuer.clock.advance(Duration::from_secs(2));
        assert!(unknown_key(&guard.check(&issuer.token(&attacker)).await));
        assert!(guard.check(&good).await.is_ok());
    }
    assert_eq!(issuer.key_set_requests(), 2 + 4, "two minutes of flood, one fetch in 30 s");
}

#[tokio::test]
async fn t44_a_removed_key_stops_within_one_interval() {
    let issuer = Issuer::in_memory();
    let (old, new) = (issuer.new_key(Algorithm::Es256), issuer.new_key(Algorithm::Es256));
    let guard = guard(&issuer);
    let token = issuer.token(&old);
    guard.check(&token).await.unwrap();
    issuer.publish(set_of(&[&new]));
    issuer.clock.advance(Duration::from_secs(199));
    assert!(guard.check(&token).await.is_ok(), "not before keys are due");
    issuer.clock.advance(Duration::from_secs(101));
    assert!(unknown_key(&guard.check(&token).await), "not even once after the interval");
    assert!(guard.check(&issuer.token(&new)).await.is_ok());
}

#[tokio::test]
async fn keys_are_renewed_in_the_background_while_requests_pass() {
    let issuer = Issuer::in_memory();
    let key = issuer.new_key(Algorithm::Es256);
    let guard = guard(&issuer);
    let token = issuer.token(&key);
    guard.check(&token).await.unwrap();
    issuer.clock.advance(Duration::from_secs(290));
    issuer.behave(Behaviour::Hangs);
    tokio::time::timeout(Duration::from_secs(1), guard.check(&token)).await.unwrap().unwrap();
    issuer.asked(2).await;
    assert_eq!(issuer.metadata_requests.load(Ordering::SeqCst), 1, "the place of the keys is remembered");
}

#[tokio::test]
async fn max_age_shortens_the_interval() {
    let issuer = Issuer::in_memory();
    issuer.cache_control("public, max-age=60");
    let (old, new) = (issuer.new_key(Algorithm::Es256), issuer.new_key(Algorithm::Es256));
    let guard = guard(&issuer);
    let token = issuer.token(&old);
    guard.check(&token).await.unwrap();
    issuer.publish(set_of(&[&new]));
    issuer.clock.advance(Duration::from_mins(1));
    assert!(unknown_key(&guard.check(&token).await));
}

#[tokio::test]
async fn t44_good_tokens_pass_through_hours_of_outage_up_to_the_stale_limit() {
    for outage in [
        Behaviour::RefusesConnections,
        Behaviour::Fails(503),
        Behaviour::Says("<html>"),
        Behaviour::Says("{\"keys\":[]}"),
    ] {
        let issuer = Issuer::in_memory();
        let key = issuer.new_key(Algorithm::Es256);
        let guard = guard(&issuer);
        let token = issuer.token_with(&key, &json!({ "exp": 9_999_999_999_u64 }));
        guard.check(&token).await.unwrap();
        issuer.behave(outage.clone());
        for _ in 0..23 {
            issuer.clock.advance(Duration::from_hours(1));
            assert!(guard.check(&token).await.is_ok(), "{outage:?}");
        }
        issuer.clock.advance(Duration::from_hours(1));
        let refused = guard.check(&token).await.unwrap_err();
        assert_eq!(refused.status(), 503, "{outage:?}");

        issuer.behave(Behaviour::Answers);
        issuer.clock.advance(Duration::from_mins(1));
        assert!(guard.check(&token).await.is_ok(), "{outage:?}");
    }
}

#[tokio::test]
async fn requests_do_not_queue_behind_an_issuer_that_hangs() {
    let issuer = Issuer::in_memory();
    let key = issuer.new_key(Algorithm::Es256);
    let guard = builder(&issuer).fetch_timeout(Duration::from_millis(200)).build().unwrap();
    let token = issuer.token_with(&key, &json!({ "exp": 9_999_999_999_u64 }));
    guard.check(&token).await.unwrap();
    issuer.behave(Behaviour::Hangs);
    issuer.clock.advance(Duration::from_mins(6));
    guard.check(&token).await.unwrap();
    for _ in 0..5 {
        issuer.clock.advance(Duration::from_mins(1));
        tokio::time::timeout(Duration::from_millis(100), guard.check(&token)).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test]
async fn with_no_keys_ever_the_answer_is_503_and_the_issuer_is_left_alone_in_between() {
    let issuer = Issuer::in_memory();
    let key = issuer.new_key(Algorithm::Es256);
    issuer.behave(Behaviour::Fails(500));
    let guard = guard(&issuer);
    for _ in 0..50 {
        let refused = guard.check(&issuer.token(&key)).await.unwrap_err();
        let Refusal::KeysUnavailable(unavailable) = &refused else { panic!("{refused}") };
        assert!(unavailable.retry_after() >= Duration::from_secs(1));
        assert!(refused.to_string().contains("as.example answered with the status 500"), "{refused}");
    }
    // One fetch: the first place, then the second.
    assert_eq!(issuer.metadata_requests.load(Ordering::SeqCst), 1);
    issuer.behave(Behaviour::Answers);
    issuer.clock.advance(Duration::from_secs(31));
    assert!(guard.check(&issuer.token(&key)).await.is_ok());
}

#[tokio::test]
async fn t7_a_request_that_goes_away_takes_the_fetch_of_nobody_else_with_it() {
    let issuer = Issuer::in_memory();
    let key = issuer.new_key(Algorithm::Es256);
    let guard = guard(&issuer);
    let token = issuer.token(&key);
    {
        let mut cancelled = Box::pin(guard.check(&token));
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(cancelled.as_mut().poll(context)));
        assert!(polled.await.is_pending());
    }
    issuer.asked(1).await;
    assert!(guard.check(&token).await.is_ok());
    assert_eq!(issuer.key_set_requests(), 1);
}

#[tokio::test]
async fn t45_one_bad_key_in_the_set_does_not_drop_the_good_ones() {
    let issuer = Issuer::in_memory();
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let mut keys = vec![json!({ "kty": "EC", "crv": "P-256", "x": "AA" }), json!(7)];
    keys.extend(set_of(&[&key]));
    issuer.publish(keys);
    assert!(guard(&issuer).check(&issuer.token(&key)).await.is_ok());
}

#[tokio::test]
async fn metadata_of_another_issuer_is_refused() {
    let issuer = Issuer::in_memory();
    let other = Guard::builder("https://as.example/", API)
        .clock(Arc::clone(&issuer.clock) as _)
        .exchange(Arc::clone(&issuer) as _)
        .build()
        .unwrap();
    let refused = other.prefetch().await.unwrap_err().to_string();
    assert!(refused.contains("names another issuer"), "{refused}");
    assert_eq!(issuer.key_set_requests(), 0);
}

#[tokio::test]
async fn a_key_set_on_plain_http_is_not_fetched() {
    let issuer = Issuer::in_memory();
    issuer.behave(Behaviour::Says(
        r#"{"issuer":"https://as.example","token_endpoint":"https://as.example/t","jwks_uri":"http://as.example/jwks"}"#,
    ));
    let refused = guard(&issuer).prefetch().await.unwrap_err().to_string();
    assert!(refused.contains("plain http to as.example"), "{refused}");
    assert_eq!(issuer.key_set_requests(), 0);
}

#[tokio::test]
async fn a_redirect_is_an_error_that_says_so() {
    let issuer = Issuer::in_memory();
    issuer.behave(Behaviour::Fails(302));
    let refused = guard(&issuer).prefetch().await.unwrap_err().to_string();
    assert!(refused.contains("302; a redirect is not followed"), "{refused}");
}

#[test]
fn t12_outside_a_runtime_the_answer_is_an_error_and_not_a_panic() {
    let issuer = Issuer::in_memory();
    let guard = guard(&issuer);
    let mut prefetch = Box::pin(guard.prefetch());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match prefetch.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Err(unavailable)) => {
            assert!(unavailable.to_string().contains(&FetchError::NoRuntime.to_string()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn t12_a_runtime_that_ends_during_a_fetch_leaves_a_guard_that_works_on_the_next_one() {
    let issuer = Issuer::in_memory();
    let key = issuer.new_key(Algorithm::Es256);
    let guard = guard(&issuer);
    issuer.behave(Behaviour::Hangs);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    first.block_on(async {
        let waited = tokio::time::timeout(Duration::from_millis(50), guard.prefetch()).await;
        assert!(waited.is_err(), "the issuer hangs");
    });
    drop(first);
    issuer.behave(Behaviour::Answers);
    runtime().block_on(async {
        assert!(guard.check(&issuer.token(&key)).await.is_ok());
    });
}

#[test]
fn settings_that_make_no_sense_are_refused_with_their_reason() {
    let refusal = |builder: GuardBuilder| builder.build().unwrap_err().to_string();
    let with = || Guard::builder("https://as.example", API);
    let second = Duration::from_secs(1);
    for (builder, reason) in [
        (Guard::builder("http://as.example", API), "plain http to as.example"),
        (Guard::builder("as.example", API), "not a URL"),
        (Guard::builder("https://as.example?x=1", API), "no query"),
        (Guard::builder("https://as.example", ""), "audiences"),
        (with().audience(""), "audiences"),
        (with().clock_skew(Duration::from_mins(2)), "clock skew"),
        (with().algorithms(&[]), "algorithm"),
        (with().max_token_bytes(0), "longest token"),
        (with().refresh_interval(second), "refresh interval"),
        (with().unknown_key_cooldown(Duration::ZERO), "cooldown"),
        (with().stale_limit(second), "stale limit"),
        (with().fetch_timeout(Duration::ZERO), "time for a fetch"),
    ] {
        let refused = refusal(builder);
        assert!(refused.contains(reason), "{refused}");
    }
}
