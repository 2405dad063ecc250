//! One process: the real client and its callers in a runtime of their own.

use super::fitting::{Counter, Fitting};
use super::issuer::{CLIENT_ID, Issuer, SECRET, number_of};
use super::plan::Plan;
use super::post::{PostBox, ServerByPost, StoreByPost};
use crate::clock::{ClientClock, WorldClock};
use crate::plan::exponential;
use fastrand::Rng;
use jeton::store::{KeyRing, StoreKey};
use jeton::{Clock, Secret, TokenKey, TokenManager};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep, sleep_until};

/// How long a caller waits: patience, a lease that nobody ends, and a token request.
pub const WAIT: Duration = Duration::from_secs(13);

/// A call that was answered.
#[derive(Clone, Debug)]
pub struct Call {
    /// By which process.
    pub process: usize,
    /// In which of its lives.
    pub incarnation: u32,
    /// For which key.
    pub key: u8,
    /// When it was made, in true time.
    pub asked_ms: u64,
    /// When it was answered.
    pub answered_ms: u64,
    /// The number of the token, or why there was none.
    pub got: Result<Option<usize>, String>,
    /// Whether an API refused the token, and its process was told.
    pub is_rejected: bool,
}

/// Where processes note their calls.
pub type CallLog = Arc<Mutex<Vec<Call>>>;

/// What a process lives in.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The parts around it.
    pub fitting: &'a dyn Fitting,
    /// Where its calls are noted.
    pub log: &'a CallLog,
    /// Whose tokens its APIs judge.
    pub issuer: &'a Arc<Mutex<Issuer>>,
}

/// One process.
#[derive(Debug)]
pub struct Process {
    /// Which life of it this is.
    pub incarnation: u32,
    /// Its letters.
    pub post: Arc<PostBox>,
    /// Its clock.
    pub clock: Arc<WorldClock>,
    runtime: Runtime,
    begun: Instant,
    born_ms: u64,
    /// Dropped before the runtime is; nobody else has one.
    _manager: TokenManager,
    callers: Vec<JoinHandle<()>>,
}

/// The keys that every process seals with.
fn ring() -> Result<KeyRing, String> {
    KeyRing::new(&StoreKey::from_bytes(&[7; 32])).map_err(|error| error.to_string())
}

impl Process {
    /// Starts one at `now_ms` of true time, with a wall clock that is off by `off_ms`.
    ///
    /// # Errors
    /// When the client refuses its settings.
    pub fn start(
        around: &Surroundings<'_>,
        (number, incarnation): (usize, u32),
        now_ms: u64,
        off_ms: i64,
    ) -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let (plan, fitting) = (around.plan, around.fitting);
        let built = runtime.block_on(async {
            let clock = WorldClock::starting_now();
            clock.suspend(now_ms);
            clock.step(off_ms);
            let post = PostBox::new(Arc::clone(&clock));
            let client_clock: Arc<dyn Clock> = Arc::new(ClientClock::new(Arc::clone(&clock), plan.boot));
            let store = fitting.store(Arc::new(StoreByPost(Arc::clone(&post))));
            let salt = 100 + 1000 * number as u64 + u64::from(incarnation);
            let mut random = plan.stream(salt);
            let manager = TokenManager::builder("https://as.example/token", CLIENT_ID)
                .client_secret(Secret::from(SECRET))
                .exchange(Arc::new(ServerByPost(Arc::clone(&post))))
                .clock(fitting.clock(client_clock))
                .jitter_seed(random.u64(..))
                .shared_store(store, fitting.keys(ring()?))
                .build()
                .map_err(|error| error.to_string())?;
            let keys = (0..plan.keys).map(|key| TokenKey::scope(&format!("key:{key}")));
            let keys: Result<Vec<_>, _> = keys.collect();
            let keys = keys.map_err(|error| error.to_string())?;
            let handles: Result<Vec<_>, _> = keys.iter().map(|key| manager.handle(key)).collect();
            let counters = fitting.counters(handles.map_err(|error| error.to_string())?);
            let mut callers = Vec::new();
            for (key, counter) in (0..plan.keys).zip(counters) {
                let caller = Caller {
                    process: number,
                    incarnation,
                    key,
                    counter,
                    clock: Arc::clone(&clock),
                    log: Arc::clone(around.log),
                    issuer: Arc::clone(around.issuer),
                    mean_gap: plan.mean_gap,
                };
                callers.push(tokio::spawn(caller.calls(Rng::with_seed(random.u64(..)))));
            }
            Ok::<_, String>((clock, post, manager, callers, Instant::now()))
        });
        let (clock, post, manager, callers, begun) = built?;
        Ok(Self { incarnation, post, clock, runtime, begun, born_ms: now_ms, _manager: manager, callers })
    }

    /// Lets it go on until `until_ms` of true time.
    pub fn run_until(&self, until_ms: u64) {
        let until = self.begun + Duration::from_millis(until_ms.saturating_sub(self.born_ms));
        self.runtime.block_on(async { sleep_until(until).await });
    }

    /// Lets it go on at `now_ms` that was held still: its clock shows it at once.
    pub fn thaw(&self, now_ms: u64) {
        self.runtime.block_on(async {
            let until = self.begun + Duration::from_millis(now_ms.saturating_sub(self.born_ms));
            advance(until.saturating_duration_since(Instant::now())).await;
        });
    }

    /// Whether a caller of it panicked: they call for ever.
    pub fn has_panicked(&self) -> bool {
        self.callers.iter().any(JoinHandle::is_finished)
    }
}

struct Caller {
    process: usize,
    incarnation: u32,
    key: u8,
    counter: Arc<dyn Counter>,
    clock: Arc<WorldClock>,
    log: CallLog,
    issuer: Arc<Mutex<Issuer>>,
    mean_gap: Duration,
}

impl Caller {
    async fn calls(self, mut random: Rng) {
        if random.bool() {
            sleep(Duration::from_millis(random.u64(0..200))).await;
        }
        loop {
            let asked_ms = self.clock.moment().boot_ms;
            let got = self.counter.within(WAIT).await;
            let answered_ms = self.clock.moment().boot_ms;
            let mut is_rejected = false;
            let got = got.map(|token| {
                let number = number_of(token.access_token());
                is_rejected = number.is_some_and(|number| self.is_revoked(number));
                if is_rejected {
                    self.counter.reject(token.id());
                }
                number
            });
            let Self { process, incarnation, key, .. } = self;
            let call = Call { process, incarnation, key, asked_ms, answered_ms, got, is_rejected };
            self.log.lock().unwrap_or_else(PoisonError::into_inner).push(call);
            sleep(exponential(&mut random, self.mean_gap)).await;
        }
    }

    fn is_revoked(&self, number: usize) -> bool {
        let issuer = self.issuer.lock().unwrap_or_else(PoisonError::into_inner);
        issuer.grant(number).is_some_and(|grant| grant.revoked)
    }
}
