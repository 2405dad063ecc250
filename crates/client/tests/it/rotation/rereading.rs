//! Sources that are read again though nothing was refused, and what is told of the credential's age.

use crate::support::{Behaviour, Endpoint, InMemory, VirtualClock, basic, key, secs};
use jeton::credentials::{Reread, Rotation, SecretFuture, SecretReading, SourceFault, SourceFaultKind};
use jeton::{
    BuildError, Clock as _, Secret, SecretSource, Timestamp, TokenKey, TokenManager, TokenManagerBuilder,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;

/// A source that is read as often as it says.
struct Place {
    secret: Mutex<Option<&'static str>>,
    since: Mutex<Option<Timestamp>>,
    reread: Reread,
    reads: AtomicU64,
}

impl Place {
    fn new(reread: Reread) -> Arc<Self> {
        let reads = AtomicU64::new(0);
        Arc::new(Self { secret: Mutex::new(Some("old")), since: Mutex::new(None), reread, reads })
    }

    fn put(&self, secret: Option<&'static str>) {
        *self.secret.lock().unwrap() = secret;
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }
}

impl SecretSource for Place {
    fn read(&self) -> SecretFuture<'_> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let (secret, since) = (*self.secret.lock().unwrap(), *self.since.lock().unwrap());
        Box::pin(async move {
            let empty = || SourceFault::new(SourceFaultKind::Malformed, "the place", "it is empty");
            let reading = SecretReading::new(Secret::from(secret.ok_or_else(empty)?));
            Ok(match since {
                Some(since) => reading.in_force_since(since),
                None => reading,
            })
        })
    }

    fn reread(&self) -> Reread {
        self.reread
    }
}

fn builder(endpoint: &Arc<Endpoint>, place: &Arc<Place>) -> TokenManagerBuilder {
    TokenManager::builder("https://as.example/token", "billing")
        .clock(VirtualClock::new())
        .exchange(Arc::new(InMemory(Arc::clone(endpoint))))
        .client_secret_source(Arc::clone(place) as Arc<dyn SecretSource>)
}

fn last(endpoint: &Endpoint) -> Option<String> {
    endpoint.last_authorization.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn t32_a_file_like_source_is_read_before_each_request_so_that_the_old_secret_is_not_sent_again() {
    let (endpoint, place) =
        (Endpoint::new(Behaviour::Takes(vec!["old"])), Place::new(Reread::BeforeEachRequest));
    let manager = builder(&endpoint, &place).build().unwrap();
    manager.token(&key()).await.unwrap();
    place.put(Some("new"));
    endpoint.set(Behaviour::Takes(vec!["new"]));
    manager.token(&TokenKey::default()).await.unwrap();
    assert_eq!((endpoint.requests(), last(&endpoint)), (2, Some(basic("new"))), "no refusal in between");
    assert_eq!(manager.credential().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn t32_an_empty_read_keeps_the_secret_in_hand() {
    let (endpoint, place) =
        (Endpoint::new(Behaviour::Takes(vec!["old"])), Place::new(Reread::BeforeEachRequest));
    let manager = builder(&endpoint, &place).build().unwrap();
    manager.token(&key()).await.unwrap();
    place.put(None);
    manager.token(&TokenKey::default()).await.unwrap();
    assert_eq!(last(&endpoint), Some(basic("old")));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_costs_something_is_read_once_a_period_and_one_that_cannot_change_never() {
    for (reread, least, most) in [(Reread::Periodically, 54, 67), (Reread::WhenRefused, 1, 1)] {
        let (endpoint, place) = (Endpoint::new(Behaviour::Takes(vec!["old"])), Place::new(reread));
        let manager = builder(&endpoint, &place).credential_period(secs(60)).build().unwrap();
        manager.token(&key()).await.unwrap();
        sleep(secs(3600)).await;
        let reads = place.reads();
        assert!((least..=most).contains(&reads), "{reread:?}: {reads} reads");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_changes_in_the_background_costs_no_refused_request() {
    let (endpoint, place) = (Endpoint::new(Behaviour::Takes(vec!["old"])), Place::new(Reread::Periodically));
    let manager = builder(&endpoint, &place).credential_period(secs(10)).build().unwrap();
    manager.token(&key()).await.unwrap();
    place.put(Some("new"));
    sleep(secs(12)).await;
    endpoint.set(Behaviour::Takes(vec!["new"]));
    let before = endpoint.requests();
    manager.token(&TokenKey::default()).await.unwrap();
    assert_eq!((endpoint.requests(), last(&endpoint)), (before + 1, Some(basic("new"))));
}

#[tokio::test(start_paused = true)]
async fn t33_a_refused_secret_that_is_mended_is_tried_within_seconds() {
    let (endpoint, place) =
        (Endpoint::new(Behaviour::Takes(vec!["new"])), Place::new(Reread::BeforeEachRequest));
    let manager = builder(&endpoint, &place).build().unwrap();
    // Refused again and again, so that the pause has grown long.
    for _ in 0..1000 {
        manager.token(&key()).await.unwrap_err();
        sleep(secs(10)).await;
    }
    place.put(Some("new"));
    let before = endpoint.requests();
    sleep(secs(6)).await;
    manager.token(&key()).await.unwrap();
    assert_eq!(endpoint.requests(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn the_task_that_looks_ends_with_the_manager() {
    for closes in [true, false] {
        let (endpoint, place) =
            (Endpoint::new(Behaviour::Takes(vec!["old"])), Place::new(Reread::Periodically));
        let manager = builder(&endpoint, &place).credential_period(secs(1)).build().unwrap();
        manager.token(&key()).await.unwrap();
        if closes {
            manager.close(secs(1)).await;
        }
        drop(manager);
        sleep(secs(1)).await;
        let before = place.reads();
        sleep(secs(60)).await;
        assert_eq!(place.reads(), before);
        assert_eq!(Arc::strong_count(&place), 1, "nobody holds the source any more");
    }
}

#[tokio::test(start_paused = true)]
async fn r4_3_age_generation_and_a_rotation_that_is_due_are_told() {
    let (endpoint, place) =
        (Endpoint::new(Behaviour::Takes(vec!["old", "new"])), Place::new(Reread::BeforeEachRequest));
    let now = VirtualClock::new().now();
    let day = Duration::from_hours(24);
    *place.since.lock().unwrap() = Some(now.saturating_sub(day * 91));
    let manager = builder(&endpoint, &place).build().unwrap();
    assert_eq!(manager.credential().age, None, "nothing was read yet");
    manager.token(&key()).await.unwrap();
    let status = manager.credential();
    assert_eq!(status.age.unwrap().as_secs() / 86_400, 91);
    assert_eq!((status.generation, status.rotation), (0, Rotation::Due));

    place.put(Some("new"));
    *place.since.lock().unwrap() = Some(now);
    manager.token(&TokenKey::default()).await.unwrap();
    let status = manager.credential();
    assert_eq!((status.generation, status.rotation), (1, Rotation::NotDue));
    assert!(status.age.unwrap() < day);
}

#[test]
fn spans_out_of_bounds_are_refused() {
    let build = |change: fn(TokenManagerBuilder) -> TokenManagerBuilder| {
        change(builder(&Endpoint::granting(60), &Place::new(Reread::Periodically))).build().unwrap_err()
    };
    let names = |error: BuildError| match error {
        BuildError::CredentialSpan { name, .. } => name,
        other => panic!("{other}"),
    };
    assert_eq!(names(build(|builder| builder.credential_period(Duration::ZERO))), "credential_period");
    assert_eq!(names(build(|builder| builder.credential_period(secs(86_401)))), "credential_period");
    assert_eq!(names(build(|builder| builder.rotation_due_after(Duration::ZERO))), "rotation_due_after");
}
