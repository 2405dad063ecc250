//! The keys of the issuer: fetched once, shared by all requests, fetched again before they grow old.

pub(crate) mod schedule;
pub(crate) mod source;

use arc_swap::ArcSwapOption;
use jeton::http::EndpointUrl;
use jeton::{Clock, Timestamp};
use jeton_proto::jose::jwk::JwkSet;
use schedule::{Age, KeyPolicy, Lifetime, Reason, Schedule};
use source::{FetchError, FetchedKeys, KeySource, Route};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// The keys of one issuer. Cheap to clone; all clones share one set.
#[derive(Clone)]
pub(crate) struct KeyCache {
    shared: Arc<Shared>,
}

struct Shared {
    source: KeySource,
    policy: KeyPolicy,
    clock: Arc<dyn Clock>,
    snapshot: ArcSwapOption<Snapshot>,
    state: Mutex<State>,
}

/// A set of keys as it was fetched.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) set: JwkSet,
    lifetime: Lifetime,
    jwks_uri: EndpointUrl,
}

/// How much longer than a fetch may take a request waits for one. A fetch that has not ended by then is on a runtime
/// that nobody drives.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct State {
    schedule: Schedule,
    flights_started: u64,
    flight: Option<Flight>,
    last_error: Option<FetchError>,
}

/// A fetch under way. It ends when the sender is gone, whatever happened to its task.
#[derive(Clone)]
struct Flight {
    number: u64,
    ended: watch::Receiver<()>,
}

impl State {
    fn is_current(&self, flight_number: u64) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.number == flight_number)
    }
}

/// There are no keys to check a token with, so nothing can be said of any token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no keys of the issuer {issuer}: {}",
    cause.as_ref().map_or_else(|| "none have been fetched yet".to_owned(), ToString::to_string)
)]
pub struct KeysUnavailable {
    issuer: String,
    retry_after: Duration,
    #[source]
    cause: Option<FetchError>,
}

impl KeysUnavailable {
    /// When asking again may help: 1 s to one refresh interval.
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl KeyCache {
    pub(crate) fn new(source: KeySource, policy: KeyPolicy, clock: Arc<dyn Clock>) -> Self {
        let snapshot = ArcSwapOption::empty();
        let state = Mutex::default();
        Self { shared: Arc::new(Shared { source, policy, clock, snapshot, state }) }
    }

    /// Where the keys, and whatever else the issuer publishes, come from.
    pub(crate) fn source(&self) -> &KeySource {
        &self.shared.source
    }

    /// Keys that may be used now. Waits only when there are none, or when they are overdue and the issuer was not
    /// found out of reach yet.
    pub(crate) async fn usable(&self) -> Result<Arc<Snapshot>, KeysUnavailable> {
        let Some(snapshot) = self.shared.snapshot.load_full() else {
            return self.first(None).await;
        };
        // The time is read after the keys: one from before they were fetched would look like a clock that stepped back.
        let now = self.shared.clock.now();
        match snapshot.lifetime.age(now) {
            Age::Fresh => Ok(snapshot),
            Age::Due => {
                self.start(Reason::Age, Some(&snapshot), now);
                Ok(snapshot)
            }
            Age::Overdue => {
                let failing = self.state().schedule.failures() > 0;
                match self.start(Reason::Age, Some(&snapshot), now) {
                    // While the issuer is out of reach, requests do not queue up behind its time-outs.
                    Some(flight) if !failing => self.landed(flight).await,
                    Some(_) | None => {}
                }
                Ok(self.shared.snapshot.load_full().unwrap_or(snapshot))
            }
            Age::TooOld => self.first(Some(&snapshot)).await,
        }
    }

    /// Keys that are newer than `seen`, which lacks the key of some token; `None` when there are none to be had now.
    pub(crate) async fn newer_than(&self, seen: &Arc<Snapshot>) -> Option<Arc<Snapshot>> {
        let now = self.shared.clock.now();
        if let Some(flight) = self.start(Reason::UnknownKey, Some(seen), now) {
            self.landed(flight).await;
        }
        self.shared.snapshot.load_full().filter(|current| !Arc::ptr_eq(current, seen))
    }

    /// Waits for the first keys, or the first after those `seen`, which are too old.
    async fn first(&self, seen: Option<&Arc<Snapshot>>) -> Result<Arc<Snapshot>, KeysUnavailable> {
        if let Some(flight) = self.start(Reason::Age, seen, self.shared.clock.now()) {
            self.landed(flight).await;
        }
        let snapshot = self.shared.snapshot.load_full();
        let now = self.shared.clock.now();
        match snapshot.map(|snapshot| (snapshot.lifetime.age(now), snapshot)) {
            Some((Age::Fresh | Age::Due | Age::Overdue, snapshot)) => Ok(snapshot),
            Some((Age::TooOld, _)) | None => {
                let state = self.state();
                Err(KeysUnavailable {
                    issuer: self.shared.source.issuer.clone(),
                    retry_after: state.schedule.pause(now).unwrap_or_default().max(Duration::from_secs(1)),
                    cause: state.last_error.clone(),
                })
            }
        }
    }

    /// The fetch under way, or a new one if one may start and none has landed since the caller saw `seen`.
    fn start(&self, reason: Reason, seen: Option<&Arc<Snapshot>>, now: Timestamp) -> Option<Flight> {
        let mut state = self.state();
        if let Some(flight) = &state.flight {
            return Some(flight.clone());
        }
        // Keys are stored under the same lock, so nothing can land between this look and the start.
        let current = self.shared.snapshot.load_full();
        if current.as_ref().map(Arc::as_ptr) != seen.map(Arc::as_ptr) {
            return None;
        }
        if !state.schedule.allows(reason, &self.shared.policy, now) {
            return None;
        }
        let Ok(runtime) = Handle::try_current() else {
            state.last_error = Some(FetchError::NoRuntime);
            return None;
        };
        let last = current.map(|snapshot| snapshot.jwks_uri.clone());
        let route = Route::choose(reason, last, state.schedule.failures());
        let (ends_when_dropped, ended) = watch::channel(());
        state.schedule.started(reason, now);
        state.flights_started += 1;
        let flight = Flight { number: state.flights_started, ended };
        state.flight = Some(flight.clone());
        drop(state);
        let shared = Arc::clone(&self.shared);
        let landing = Landing { shared, number: flight.number, _ends_when_dropped: ends_when_dropped };
        // The task belongs to the cache: a request that goes away takes the keys of nobody else with it.
        runtime.spawn(async move { landing.shared.fetch(landing.number, route, now).await });
        Some(flight)
    }

    async fn landed(&self, mut flight: Flight) {
        let patience = self.shared.source.timeout + GRACE;
        // Nothing is ever sent: the error tells that the sender is gone.
        if tokio::time::timeout(patience, flight.ended.changed()).await.is_err() {
            self.shared.end(flight.number, Some(FetchError::TimedOut));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    async fn fetch(&self, flight_number: u64, route: Route, started_at: Timestamp) {
        let timed = tokio::time::timeout(self.source.timeout, self.source.fetch(route, started_at));
        let outcome = timed.await.unwrap_or(Err(FetchError::TimedOut));
        let mut state = self.state();
        if !state.is_current(flight_number) {
            // Given up by those who waited for it; what came later counts.
            return;
        }
        match outcome {
            Ok(fetched) => {
                state.schedule.succeeded();
                state.last_error = None;
                self.keep(fetched, started_at);
            }
            Err(error) => self.failed(&mut state, error),
        }
    }

    /// Ends the flight, unless another has taken its place.
    fn end(&self, flight_number: u64, failure: Option<FetchError>) {
        let mut state = self.state();
        if !state.is_current(flight_number) {
            return;
        }
        state.flight = None;
        if let Some(error) = failure {
            self.failed(&mut state, error);
        }
    }

    fn failed(&self, state: &mut State, error: FetchError) {
        tracing::warn!(issuer = %self.source.issuer, %error, "could not fetch the keys of the issuer");
        let now = self.clock.now();
        state.schedule.failed(&self.policy, error.retry_after(), fastrand::f64(), now);
        state.last_error = Some(error);
    }

    fn keep(&self, fetched: FetchedKeys, started_at: Timestamp) {
        let FetchedKeys { set, jwks_uri, max_age } = fetched;
        tracing::debug!(issuer = %self.source.issuer, keys = set.keys().len(), "fetched the keys of the issuer");
        let lifetime = Lifetime::new(&self.policy, started_at, max_age, fastrand::f64());
        self.snapshot.store(Some(Arc::new(Snapshot { set, lifetime, jwks_uri })));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the flight on every way out of its task: done, panicked, or dropped with the runtime.
struct Landing {
    shared: Arc<Shared>,
    number: u64,
    _ends_when_dropped: watch::Sender<()>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        // A runtime that ends is no fault of the issuer. A panic would come again at once without a pause.
        let failure = std::thread::panicking().then_some(FetchError::Panicked);
        self.shared.end(self.number, failure);
    }
}
