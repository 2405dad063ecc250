//! Credentials that change all the time, are put in force by hand beside a source, or whose source is in the way.

use crate::support::{Behaviour, Endpoint, InMemory, VirtualClock, basic, key, millis, refusal, secs};
use jeton::credentials::{FileSource, Reread, Rotation, SecretFuture, SecretReading};
use jeton::{Secret, SecretSource, TokenKey, TokenManager, TokenManagerBuilder};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A source that gives the next reading of a script with each read, so much later.
pub(super) struct Scripted {
    script: Box<dyn Fn(u64) -> SecretReading + Send + Sync>,
    pub(super) latency: Mutex<Duration>,
    reread: Reread,
    pub(super) reads: AtomicU64,
}

impl Scripted {
    pub(super) fn new(
        reread: Reread,
        script: impl Fn(u64) -> SecretReading + Send + Sync + 'static,
    ) -> Arc<Self> {
        let latency = Mutex::default();
        Arc::new(Self { script: Box::new(script), latency, reread, reads: AtomicU64::new(0) })
    }
}

impl SecretSource for Scripted {
    fn read(&self) -> SecretFuture<'_> {
        let reading = (self.script)(self.reads.fetch_add(1, Ordering::SeqCst));
        let latency = *self.latency.lock().unwrap();
        Box::pin(async move {
            if !latency.is_zero() {
                sleep(latency).await;
            }
            Ok(reading)
        })
    }

    fn reread(&self) -> Reread {
        self.reread
    }
}

pub(super) fn of(text: impl Into<String>) -> SecretReading {
    SecretReading::new(Secret::new(text.into()))
}

pub(super) fn builder(endpoint: &Arc<Endpoint>, source: Arc<dyn SecretSource>) -> TokenManagerBuilder {
    TokenManager::builder("https://as.example/token", "billing")
        .clock(VirtualClock::with_boot_clock())
        .exchange(Arc::new(InMemory(Arc::clone(endpoint))))
        .client_secret_source(source)
}

fn last(endpoint: &Endpoint) -> Option<String> {
    endpoint.last_authorization.lock().unwrap().clone()
}

/// How many requests an endpoint that refuses every secret gets in ten minutes from the callers of five keys.
async fn refused_requests(source: &Arc<Scripted>) -> u64 {
    let endpoint = Endpoint::new(refusal(401, "invalid_client"));
    let manager = builder(&endpoint, Arc::clone(source) as Arc<dyn SecretSource>).build().unwrap();
    let callers: Vec<_> = (0..5_u64)
        .map(|number| {
            let manager = manager.clone();
            tokio::spawn(async move {
                let key = TokenKey::scope(&format!("scope-{number}")).unwrap();
                for _ in 0..6000 {
                    manager.token(&key).await.unwrap_err();
                    sleep(millis(90 + number)).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    endpoint.requests()
}

#[tokio::test(start_paused = true)]
async fn t24_a_source_that_tells_another_secret_each_time_is_no_way_around_the_pauses() {
    for reread in [Reread::WhenRefused, Reread::Periodically, Reread::BeforeEachRequest] {
        let garbage = refused_requests(&Scripted::new(reread, |read| of(format!("garbage-{read}")))).await;
        let flips = Scripted::new(reread, |read| of(if read % 2 == 0 { "one" } else { "two" }));
        let flips = refused_requests(&flips).await;
        let pairs = Scripted::new(reread, |read| {
            let (one, two) = if read % 2 == 0 { ("one", "two") } else { ("two", "one") };
            of(one).with_previous(Secret::from(two))
        });
        let pairs = refused_requests(&pairs).await;
        println!("{reread:?}: garbage {garbage}, flips {flips}, pairs {pairs}");
        // The first of each key are on their way together.
        assert!(garbage.max(flips).max(pairs) <= 80, "{reread:?}: {garbage}, {flips}, {pairs}");
    }
}

#[tokio::test(start_paused = true)]
async fn t24_a_secret_that_is_mended_after_much_garbage_is_tried_within_minutes() {
    let endpoint = Endpoint::new(Behaviour::Takes(vec!["good"]));
    let mended = Arc::new(AtomicU64::new(0));
    let holds = Arc::clone(&mended);
    let source = Scripted::new(Reread::BeforeEachRequest, move |read| match holds.load(Ordering::SeqCst) {
        0 => of(format!("garbage-{read}")),
        _ => of("good"),
    });
    let manager = builder(&endpoint, source).build().unwrap();
    for _ in 0..600 {
        manager.token(&key()).await.unwrap_err();
        sleep(secs(1)).await;
    }
    mended.store(1, Ordering::SeqCst);
    for second in 0.. {
        if manager.token(&key()).await.is_ok() {
            break;
        }
        assert!(second <= 301, "locked out");
        sleep(secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn r3_3_a_secret_that_was_put_in_force_by_hand_is_not_overtaken_by_what_the_source_held_before() {
    for reread in [Reread::WhenRefused, Reread::Periodically, Reread::BeforeEachRequest] {
        let endpoint = Endpoint::new(Behaviour::Takes(vec!["old", "new", "newest"]));
        let held = Arc::new(Mutex::new("old"));
        let holds = Arc::clone(&held);
        let source = Scripted::new(reread, move |_| of(*holds.lock().unwrap()));
        let manager = builder(&endpoint, source).credential_period(secs(5)).build().unwrap();
        manager.token(&key()).await.unwrap();
        manager.replace_credential(Secret::from("new")).unwrap();
        for scope in 0..3 {
            manager.token(&TokenKey::scope(&format!("scope-{scope}")).unwrap()).await.unwrap();
            assert_eq!(last(&endpoint), Some(basic("new")), "{reread:?}: the source has nothing newer");
            sleep(secs(20)).await;
        }
        if reread != Reread::WhenRefused {
            *held.lock().unwrap() = "newest";
            sleep(secs(20)).await;
            manager.token(&TokenKey::scope("newest").unwrap()).await.unwrap();
            assert_eq!(last(&endpoint), Some(basic("newest")), "{reread:?}: what is put there later counts");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r3_3_a_secret_that_was_put_in_force_by_hand_and_is_refused_gives_way_to_that_of_the_source() {
    let endpoint = Endpoint::new(Behaviour::Takes(vec!["good"]));
    let source = Scripted::new(Reread::BeforeEachRequest, |_| of("good"));
    let manager = builder(&endpoint, source).build().unwrap();
    manager.token(&key()).await.unwrap();
    manager.replace_credential(Secret::from("typo")).unwrap();
    manager.token(&TokenKey::default()).await.unwrap();
    assert_eq!((endpoint.requests(), last(&endpoint)), (3, Some(basic("good"))));
}

#[test]
fn r3_3_a_read_that_comes_back_after_a_later_one_does_not_bring_the_old_secret_back() {
    let virtual_time =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (stalled, driven) = (virtual_time(), virtual_time());
    let endpoint = Endpoint::new(Behaviour::Takes(vec!["old", "new"]));
    let source = Scripted::new(Reread::WhenRefused, |read| of(if read == 0 { "old" } else { "new" }));
    *source.latency.lock().unwrap() = millis(300);
    let manager = stalled.block_on(async {
        let source = Arc::clone(&source) as Arc<dyn SecretSource>;
        let manager = builder(&endpoint, source).total_timeout(secs(30)).build().unwrap();
        manager.handle(&key()).unwrap().prefetch();
        sleep(millis(10)).await;
        manager
    });
    driven.block_on(async {
        while manager.token(&TokenKey::default()).await.is_err() {
            sleep(secs(1)).await;
        }
    });
    assert_eq!(last(&endpoint), Some(basic("new")));
    stalled.block_on(async { sleep(secs(2)).await });
    driven.block_on(async {
        manager.token(&TokenKey::scope("other").unwrap()).await.unwrap();
        assert_eq!(last(&endpoint), Some(basic("new")), "the first read is long of the past");
    });
}

#[tokio::test(start_paused = true)]
async fn t10_a_source_that_hangs_does_not_use_up_the_time_of_a_request_while_a_secret_is_in_hand() {
    for total in [2, 5, 10, 30] {
        let (endpoint, source) = (
            Endpoint::new(Behaviour::Takes(vec!["good"])),
            Scripted::new(Reread::BeforeEachRequest, |_| of("good")),
        );
        let shared = Arc::clone(&source) as Arc<dyn SecretSource>;
        let manager = builder(&endpoint, shared).total_timeout(secs(total)).build().unwrap();
        manager.token(&key()).await.unwrap();
        *source.latency.lock().unwrap() = secs(1_000_000);
        let begun = Instant::now();
        let outcome = manager.token(&TokenKey::default()).await;
        assert!(outcome.is_ok(), "of {total} s: {:?}", outcome.err());
        assert!(begun.elapsed() <= secs(3), "of {total} s: {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn t33_a_key_that_is_kept_fresh_notices_a_mended_secret_without_a_caller() {
    let endpoint = Endpoint::new(refusal(401, "invalid_client"));
    let held = Arc::new(Mutex::new("bad"));
    let holds = Arc::clone(&held);
    let source = Scripted::new(Reread::BeforeEachRequest, move |_| of(*holds.lock().unwrap()));
    let manager = builder(&endpoint, source).prefetch(key()).build().unwrap();
    // The pauses have grown long.
    sleep(secs(3600)).await;
    let before = endpoint.requests();
    while endpoint.requests() == before {
        sleep(secs(1)).await;
    }
    endpoint.set(Behaviour::Takes(vec!["good"]));
    *held.lock().unwrap() = "good";
    sleep(secs(40)).await;
    assert_eq!(last(&endpoint), Some(basic("good")));
    let requests = endpoint.requests();
    manager.token(&key()).await.unwrap();
    assert_eq!(endpoint.requests(), requests, "it is there");
}

#[tokio::test(start_paused = true)]
async fn r4_3_taking_turns_makes_no_credential_younger_and_tells_a_due_rotation_once() {
    let endpoint = Endpoint::new(Behaviour::Takes(vec!["old"]));
    let step = Arc::new(AtomicU64::new(0));
    let at = Arc::clone(&step);
    let source = Scripted::new(Reread::BeforeEachRequest, move |_| {
        of("new").with_previous(Secret::from(if at.load(Ordering::SeqCst) == 0 { "none" } else { "old" }))
    });
    let manager = builder(&endpoint, source).rotation_due_after(secs(3600)).build().unwrap();
    manager.token(&key()).await.unwrap_err();
    let since = manager.credential().since;
    sleep(secs(3600)).await;
    step.store(1, Ordering::SeqCst);
    manager.token(&key()).await.unwrap();
    let status = manager.credential();
    assert!(status.is_previous);
    assert_eq!(
        (status.since, status.rotation),
        (since, Rotation::Due),
        "another previous one is no rotation"
    );
}

#[test]
fn t12_a_file_that_is_read_on_a_runtime_that_nobody_drives_is_read_by_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "s3cr3t").unwrap();
    let current_thread = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (stalled, driven) = (current_thread(), current_thread());
    let endpoint = Endpoint::granting(60);
    let manager = stalled.block_on(async {
        let manager = TokenManager::builder("https://as.example/token", "billing")
            .exchange(Arc::new(InMemory(Arc::clone(&endpoint))))
            .client_secret_source(Arc::new(FileSource::new(&path)))
            .total_timeout(secs(30))
            .build()
            .unwrap();
        manager.handle(&key()).unwrap().prefetch();
        tokio::task::yield_now().await;
        manager
    });
    driven.block_on(async {
        let begun = std::time::Instant::now();
        while manager.token(&TokenKey::default()).await.is_err() {
            assert!(begun.elapsed() < secs(40), "locked out");
            sleep(millis(100)).await;
        }
    });
    drop(stalled);
}

#[cfg(target_os = "linux")]
#[test]
fn t32_a_pipe_that_nobody_writes_to_does_not_hold_the_end_of_the_runtime_up() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let endpoint = Endpoint::granting(60);
    let (over, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let manager = TokenManager::builder("https://as.example/token", "billing")
            .exchange(Arc::new(InMemory(endpoint)))
            .client_secret_source(Arc::new(FileSource::new(&path)))
            .total_timeout(secs(1))
            .build()
            .unwrap();
        let error = runtime.block_on(manager.token(&key())).unwrap_err();
        drop((manager, runtime));
        over.send(error).unwrap();
    });
    let error = ended.recv_timeout(secs(30)).expect("the runtime ends");
    assert!(error.to_string().contains("did not answer in time"), "{error}");
}
