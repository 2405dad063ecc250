//! Many tasks on real threads against a server that fails at random: what has to hold, held at every step.

use crate::support::{SECRET, key, millis, secs};
use bytes::Bytes;
use http::{Request, Response};
use jeton::http::{ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange};
use jeton::{
    BackoffPolicy, Clock, Secret, SystemClock, Timestamp, TokenHandle, TokenId, TokenManager,
    TokenManagerBuilder,
};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SEED: u64 = 0x6a65_746f_6e21;
const TASKS: u64 = 64;
const LENGTH: Duration = Duration::from_secs(2);
/// The longest that one call may take: the longest wait asked for, and a machine that is busy.
const BOUND: Duration = Duration::from_secs(2);

/// A clock that runs so many times as fast as the system's.
struct Hurried {
    started: Instant,
    times: u32,
}

impl Clock for Hurried {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(1_700_000_000).saturating_add(self.started.elapsed() * self.times)
    }
}

/// Grants a new token each time, unless it fails.
struct Stormy {
    lives: Range<u64>,
    draws: Mutex<fastrand::Rng>,
    requests: AtomicU64,
    grants: AtomicU64,
    under_way: AtomicU64,
    most_under_way: AtomicU64,
}

impl Stormy {
    fn new(lives: Range<u64>) -> Self {
        let zero = AtomicU64::default;
        let draws = Mutex::new(fastrand::Rng::with_seed(SEED));
        Self { lives, draws, requests: zero(), grants: zero(), under_way: zero(), most_under_way: zero() }
    }

    async fn answer(&self, limits: ExchangeLimits) -> Result<Response<Bytes>, ExchangeError> {
        let serial = self.requests.fetch_add(1, Ordering::SeqCst);
        let (kind, pause, life) = {
            let mut draws = self.draws.lock().unwrap();
            (draws.u32(0..100), draws.u64(0..4), draws.u64(self.lives.clone()))
        };
        tokio::time::sleep(millis(pause)).await;
        let answer = |body: String| Ok(Response::new(Bytes::from(body)));
        match kind {
            0..80 => {
                self.grants.fetch_add(1, Ordering::SeqCst);
                answer(format!(r#"{{"access_token":"s{serial}","token_type":"Bearer","expires_in":{life}}}"#))
            }
            80..84 => Err(ExchangeError::Interrupted("reset by peer".to_owned())),
            84..86 => answer(r#"{"error":"temporarily_unavailable"}"#.to_owned()),
            86..88 => answer("<html>".to_owned()),
            88..98 => {
                tokio::time::sleep(limits.time).await;
                Err(ExchangeError::TimedOut)
            }
            // Never, whatever the limits say.
            _ => std::future::pending().await,
        }
    }
}

struct UnderWay<'a>(&'a AtomicU64);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Exchange(Arc<Stormy>);

impl HttpExchange for Exchange {
    fn exchange(&self, _: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        Box::pin(async move {
            let now = self.0.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.most_under_way.fetch_max(now, Ordering::SeqCst);
            let _under_way = UnderWay(&self.0.under_way);
            self.0.answer(limits).await
        })
    }
}

/// What all tasks know of rejections. Counted before and after each, so that one under way is not missed.
#[derive(Default)]
struct Rejections {
    begun: AtomicU64,
    ended: AtomicU64,
    ids: Mutex<HashSet<TokenId>>,
}

/// One of the many callers, with what it has seen.
struct Caller {
    handle: TokenHandle,
    clock: Arc<dyn Clock>,
    rejections: Arc<Rejections>,
    /// One call in so many is a rejection.
    rejects_one_in: u32,
    draws: fastrand::Rng,
    own_rejected: HashSet<TokenId>,
    /// The last token with its expiry, and how many rejections had ended before it was asked for.
    last: Option<(TokenId, Timestamp, u64)>,
    calls: u64,
}

impl Caller {
    async fn run(mut self) -> u64 {
        let end = Instant::now() + LENGTH;
        while Instant::now() < end {
            self.calls += 1;
            let short = millis(self.draws.u64(0..3));
            if self.draws.u32(0..self.rejects_one_in) == 0 {
                self.reject();
            }
            match self.draws.u32(0..1000) {
                0..10 => self.handle.prefetch(),
                10..60 => self.ask(short).await,
                60..400 => self.ask(secs(1)).await,
                _ => self.get(),
            }
            tokio::task::yield_now().await;
        }
        self.calls
    }

    fn get(&mut self) {
        let (ended, now) = (self.rejections.ended.load(Ordering::SeqCst), self.clock.now());
        if let Some((id, expires_at)) = self.handle.get_with(|token| (token.id(), token.expires_at())) {
            self.given(id, expires_at, now, ended);
        }
    }

    async fn ask(&mut self, wait: Duration) {
        let (ended, now) = (self.rejections.ended.load(Ordering::SeqCst), self.clock.now());
        let started = Instant::now();
        let outcome = self.handle.token_within(wait).await;
        assert!(started.elapsed() < BOUND, "a call took {:?}", started.elapsed());
        match outcome {
            Ok(token) => self.given(token.id(), token.expires_at(), now, ended),
            Err(error) => {
                let after = self.clock.now();
                let rejections = self.rejections.begun.load(Ordering::SeqCst);
                if let Some((id, expires_at, before)) = self.last {
                    let lost = after < expires_at && rejections == before;
                    assert!(!lost, "{error}, though {id} is good until {expires_at} and it is {after}");
                }
            }
        }
    }

    fn given(&mut self, id: TokenId, expires_at: Timestamp, asked_at: Timestamp, rejections: u64) {
        assert!(
            asked_at < expires_at,
            "{id} had expired at {expires_at} when it was asked for at {asked_at}"
        );
        assert!(!self.own_rejected.contains(&id), "{id} was rejected by this caller, and given out again");
        self.last = Some((id, expires_at, rejections));
    }

    fn reject(&mut self) {
        if let Some((id, ..)) = self.last.take() {
            self.rejections.begun.fetch_add(1, Ordering::SeqCst);
            self.rejections.ids.lock().unwrap().insert(id);
            self.own_rejected.insert(id);
            // Some API had taken it, so the rejection is believed at once.
            self.handle.accept(id);
            self.handle.reject(id);
            self.rejections.ended.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A storm with tokens that live for `lives` seconds of the clock that `builder` was given.
async fn storm(builder: TokenManagerBuilder, clock: Arc<dyn Clock>, lives: Range<u64>, rejects_one_in: u32) {
    let server = Arc::new(Stormy::new(lives.clone()));
    let manager = builder
        .client_secret(Secret::from(SECRET))
        .exchange(Arc::new(Exchange(Arc::clone(&server))))
        .backoff_policy(BackoffPolicy::new(millis(1), millis(5), secs(1)).unwrap())
        .request_timeout(millis(5))
        .total_timeout(millis(300))
        .build()
        .unwrap();
    let handle = manager.handle(&key()).unwrap();
    drop(manager);
    let rejections = Arc::new(Rejections::default());
    let caller = |task: u64| Caller {
        handle: handle.clone(),
        clock: Arc::clone(&clock),
        rejections: Arc::clone(&rejections),
        rejects_one_in,
        draws: fastrand::Rng::with_seed(SEED ^ task),
        own_rejected: HashSet::new(),
        last: None,
        calls: 0,
    };
    let begun = clock.now();
    let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(caller(task).run())).collect();
    let mut calls = 0;
    for task in tasks {
        calls += task.await.unwrap();
    }
    let lasted = clock.now().saturating_since(begun);
    let rejected = u64::try_from(rejections.ids.lock().unwrap().len()).unwrap();
    assert!(calls > 100 * TASKS && rejected > 0, "{calls} calls with {rejected} rejections are no storm");
    check_requests(&server, rejected, lasted, secs(lives.start));
    nothing_is_left(handle).await;
}

fn check_requests(server: &Stormy, rejected: u64, lasted: Duration, shortest_life: Duration) {
    let (grants, requests) = (server.grants.load(Ordering::SeqCst), server.requests.load(Ordering::SeqCst));
    let times = |span: Duration| u64::try_from(lasted.as_millis() / span.as_millis()).unwrap() + 1;
    // One mint for each rejected token, and its forerunner where one was under way; beside those one in half a life.
    let most_grants = 2 * rejected + times(shortest_life / 2);
    assert!(grants > 1 && grants <= most_grants, "{grants} grants of {most_grants} at most");
    // A pause of 50 ms at least follows each flight that failed, and a flight has three attempts.
    let most_failures = 3 * times(millis(50)) + rejected;
    assert!(requests - grants <= most_failures, "{requests} requests for {grants} grants");
    let most_under_way = server.most_under_way.load(Ordering::SeqCst);
    assert!(most_under_way <= 3, "{most_under_way} requests for one key at a time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_has_to_hold_holds_in_a_storm_of_rejections_over_the_tick() {
    let builder = TokenManager::builder("https://as.example/token", "billing");
    storm(builder, Arc::new(SystemClock), 1..4, 5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_has_to_hold_holds_in_a_storm_of_expiries() {
    let clock: Arc<dyn Clock> = Arc::new(Hurried { started: Instant::now(), times: 200 });
    let builder = TokenManager::builder("https://as.example/token", "billing").clock(Arc::clone(&clock));
    storm(builder, clock, 10..30, 20_000).await;
}

async fn nothing_is_left(handle: TokenHandle) {
    drop(handle);
    let patience = Instant::now() + secs(5);
    while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
        assert!(Instant::now() < patience, "tasks outlive the last handle");
        tokio::time::sleep(millis(5)).await;
    }
}
