//! Races, faults and clocks that the fetching of keys must survive.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod issuer;

use issuer::{API, Behaviour, Issuer, set_of};
use jeton::{Clock, Timestamp};
use jeton_guard::{Algorithm, FetchError, Guard, GuardBuilder};
use jeton_proto::jose::jwk::SigningKey;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;

fn builder(issuer: &Arc<Issuer>) -> GuardBuilder {
    Guard::builder(&issuer.url, API).clock(Arc::clone(&issuer.clock) as _).exchange(Arc::clone(issuer) as _)
}

fn guard(issuer: &Arc<Issuer>) -> Guard {
    builder(issuer).build().unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A token that outlives every test.
fn lasting(issuer: &Issuer, key: &SigningKey) -> String {
    issuer.token_with(key, &json!({ "exp": 9_999_999_999_u64 }))
}

type Interruption = Box<dyn FnOnce() + Send>;

/// A clock with which something happens, on another thread, while a caller reads the time.
#[derive(Default)]
struct InterruptingClock {
    /// The interruption, and at how many readings from now.
    next: Mutex<Option<(usize, Interruption)>>,
}

impl Clock for InterruptingClock {
    fn now(&self) -> Timestamp {
        let due = {
            let mut next = self.next.lock().unwrap();
            match next.take() {
                Some((1, interruption)) => Some(interruption),
                other => {
                    *next = other.map(|(readings, interruption)| (readings - 1, interruption));
                    None
                }
            }
        };
        if let Some(interruption) = due {
            std::thread::spawn(interruption).join().unwrap();
        }
        issuer::T0
    }
}

/// Checks `token`, and interrupts at the given reading of the clock with a check of the same token on another thread.
/// Tells whether it came to that.
fn interrupted(guard: &Guard, clock: &InterruptingClock, reading: usize, token: &str) -> bool {
    let (other, its_token) = (guard.clone(), token.to_owned());
    let interruption = move || {
        runtime().block_on(other.check(&its_token)).unwrap();
    };
    *clock.next.lock().unwrap() = Some((reading, Box::new(interruption)));
    runtime().block_on(guard.check(token)).unwrap();
    clock.next.lock().unwrap().take().is_none()
}

#[test]
fn t13_a_caller_that_comes_as_a_fetch_lands_uses_it_and_does_not_start_another() {
    let mut interruptions = 0;
    for reading in 1..=6 {
        let (issuer, clock) = (Issuer::in_memory(), Arc::new(InterruptingClock::default()));
        let key = issuer.new_key(Algorithm::Es256);
        let guard = builder(&issuer).clock(Arc::clone(&clock) as _).build().unwrap();
        interruptions += usize::from(interrupted(&guard, &clock, reading, &issuer.token(&key)));
        assert_eq!(issuer.key_set_requests(), 1, "at reading {reading}");
    }
    assert!(interruptions >= 3, "{interruptions}");
}

#[test]
fn t44_every_racer_with_a_token_of_a_rotated_key_finds_the_key() {
    let mut interruptions = 0;
    for reading in 1..=6 {
        let (issuer, clock) = (Issuer::in_memory(), Arc::new(InterruptingClock::default()));
        issuer.new_key(Algorithm::Es256);
        let guard = builder(&issuer).clock(Arc::clone(&clock) as _).build().unwrap();
        runtime().block_on(guard.prefetch()).unwrap();
        let new = issuer.new_key(Algorithm::Es256);
        interruptions += usize::from(interrupted(&guard, &clock, reading, &issuer.token(&new)));
        assert_eq!(issuer.key_set_requests(), 2, "at reading {reading}");
    }
    assert!(interruptions >= 3, "{interruptions}");
}

#[tokio::test]
async fn t12_a_fetch_that_panics_is_a_failure_and_is_backed_off() {
    let issuer = Issuer::in_memory();
    let key = issuer.new_key(Algorithm::Es256);
    let guard = guard(&issuer);
    issuer.behave(Behaviour::Panics);
    for _ in 0..20 {
        let refused = guard.check(&issuer.token(&key)).await.unwrap_err();
        assert_eq!(refused.status(), 503);
        assert!(refused.to_string().contains(&FetchError::Panicked.to_string()), "{refused}");
    }
    assert_eq!(issuer.metadata_requests.load(Ordering::SeqCst), 1);
    issuer.behave(Behaviour::Answers);
    issuer.clock.advance(Duration::from_secs(1));
    assert!(guard.check(&issuer.token(&key)).await.is_ok());
}

#[test]
fn t12_a_fetch_on_a_runtime_that_nobody_drives_holds_up_nobody_for_long() {
    let issuer = Issuer::in_memory();
    let key = issuer.new_key(Algorithm::Es256);
    let guard = builder(&issuer).fetch_timeout(Duration::from_millis(100)).build().unwrap();
    let token = lasting(&issuer, &key);
    let idle = runtime();
    idle.block_on(guard.check(&token)).unwrap();
    // Keys that are due are fetched in the background, on a runtime that then stands still.
    issuer.clock.advance(Duration::from_secs(290));
    idle.block_on(guard.check(&token)).unwrap();
    issuer.clock.advance(Duration::from_secs(290));
    let other = runtime();
    other.block_on(async {
        let held_up = tokio::time::timeout(Duration::from_secs(5), guard.check(&token)).await;
        assert!(held_up.is_ok_and(|outcome| outcome.is_ok()), "the keys at hand are used");
        issuer.clock.advance(Duration::from_mins(1));
        guard.check(&token).await.unwrap();
        issuer.asked(2).await;
    });
    // What the lost fetch brings later on does not take the place of what came since.
    issuer.publish(set_of(&[&SigningKey::generate(Algorithm::Es256).unwrap()]));
    idle.block_on(async { tokio::time::sleep(Duration::from_millis(200)).await });
    other.block_on(guard.check(&token)).unwrap();
}

#[tokio::test]
async fn t44_a_token_with_a_made_up_key_does_not_end_the_refresh_while_the_metadata_is_down() {
    for (fault, pause_millis) in [(Behaviour::MetadataFails(500), 1), (Behaviour::MetadataHangs, 120)] {
        let issuer = Issuer::in_memory();
        let (old, new) = (issuer.new_key(Algorithm::Es256), SigningKey::generate(Algorithm::Es256).unwrap());
        let guard = builder(&issuer).fetch_timeout(Duration::from_millis(100)).build().unwrap();
        guard.prefetch().await.unwrap();
        issuer.behave(fault.clone());
        let made_up = lasting(&issuer, &SigningKey::generate(Algorithm::Es256).unwrap());
        assert_eq!(guard.check(&made_up).await.unwrap_err().status(), 401, "{fault:?}");
        issuer.publish(set_of(&[&new]));
        let (removed, fresh) = (lasting(&issuer, &old), lasting(&issuer, &new));
        for _ in 0..10 {
            issuer.clock.advance(Duration::from_mins(5));
            let _background = guard.check(&removed).await;
            tokio::time::sleep(Duration::from_millis(pause_millis)).await;
        }
        assert!(guard.check(&fresh).await.is_ok(), "{fault:?}");
        assert_eq!(guard.check(&removed).await.unwrap_err().status(), 401, "{fault:?}");
    }
}

#[tokio::test]
async fn r6_3_a_rotated_key_is_found_while_the_metadata_is_down() {
    let issuer = Issuer::in_memory();
    issuer.new_key(Algorithm::Es256);
    let guard = guard(&issuer);
    guard.prefetch().await.unwrap();
    issuer.behave(Behaviour::MetadataFails(503));
    let new = issuer.new_key(Algorithm::Es256);
    assert!(guard.check(&issuer.token(&new)).await.is_ok());
}
