//! The keys of the issuer: fetched once, shared by all requests, fetched again before they grow old.

pub(crate) mod schedule;
pub(crate) mod source;

use arc_swap::ArcSwapOption;
use jeton::http::EndpointUrl;
use jeton::{Clock, Timestamp};
use jeton_proto::jose::jwk::JwkSet;
use schedule::{Age, KeyPolicy, Lifetime, Reason, Schedule};
use source::{FetchError, FetchedKeys, KeySource};
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

#[derive(Default)]
struct State {
    schedule: Schedule,
    flight: Option<Flight>,
    last_error: Option<FetchError>,
}

/// A fetch under way. It ends when the sender is gone, whatever happened to its task.
type Flight = watch::Receiver<()>;

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

    /// Keys that may be used now. Waits only when there are none, or when they are overdue and the issuer was not
    /// found out of reach yet.
    pub(crate) async fn usable(&self) -> Result<Arc<Snapshot>, KeysUnavailable> {
        let now = self.shared.clock.now();
        let Some((snapshot, age)) = self.held(now) else {
            return self.first().await;
        };
        match age {
            Age::Fresh => Ok(snapshot),
            Age::Due => {
                self.start(Reason::Age, now);
                Ok(snapshot)
            }
            Age::Overdue => {
                let failing = self.state().schedule.has_failed();
                match self.start(Reason::Age, now) {
                    // While the issuer is out of reach, requests do not queue up behind its time-outs.
                    Some(flight) if !failing => self.landed(flight).await,
                    Some(_) | None => {}
                }
                Ok(self.shared.snapshot.load_full().unwrap_or(snapshot))
            }
            Age::TooOld => self.first().await,
        }
    }

    /// Keys that are newer than `seen`, which lacks the key of some token; `None` when there are none to be had now.
    pub(crate) async fn newer_than(&self, seen: &Arc<Snapshot>) -> Option<Arc<Snapshot>> {
        if let Some(current) = self.other_than(seen) {
            return Some(current);
        }
        let flight = self.start(Reason::UnknownKey, self.shared.clock.now())?;
        self.landed(flight).await;
        self.other_than(seen)
    }

    fn other_than(&self, seen: &Arc<Snapshot>) -> Option<Arc<Snapshot>> {
        self.shared.snapshot.load_full().filter(|current| !Arc::ptr_eq(current, seen))
    }

    fn held(&self, now: Timestamp) -> Option<(Arc<Snapshot>, Age)> {
        let snapshot = self.shared.snapshot.load_full()?;
        let age = snapshot.lifetime.age(now);
        Some((snapshot, age))
    }

    /// Waits for the first keys, or the first after too long a time.
    async fn first(&self) -> Result<Arc<Snapshot>, KeysUnavailable> {
        if let Some(flight) = self.start(Reason::Age, self.shared.clock.now()) {
            self.landed(flight).await;
        }
        let now = self.shared.clock.now();
        match self.held(now) {
            Some((snapshot, Age::Fresh | Age::Due | Age::Overdue)) => Ok(snapshot),
            Some((_, Age::TooOld)) | None => {
                let state = self.state();
                Err(KeysUnavailable {
                    issuer: self.shared.source.issuer.clone(),
                    retry_after: state.schedule.pause(now).unwrap_or_default().max(Duration::from_secs(1)),
                    cause: state.last_error.clone(),
                })
            }
        }
    }

    /// The fetch under way, or a new one if one may start.
    fn start(&self, reason: Reason, now: Timestamp) -> Option<Flight> {
        let mut state = self.state();
        if let Some(flight) = &state.flight {
            return Some(flight.clone());
        }
        if !state.schedule.allows(reason, &self.shared.policy, now) {
            return None;
        }
        let Ok(runtime) = Handle::try_current() else {
            state.last_error = Some(FetchError::NoRuntime);
            return None;
        };
        // Where the keys were last time is asked directly, unless something is wrong with what is there.
        let known = match reason {
            Reason::Age if !state.schedule.has_failed() => {
                self.shared.snapshot.load().as_ref().map(|snapshot| snapshot.jwks_uri.clone())
            }
            Reason::Age | Reason::UnknownKey => None,
        };
        let (ends_when_dropped, flight) = watch::channel(());
        state.schedule.started(reason, now);
        state.flight = Some(flight.clone());
        drop(state);
        let landing = Landing { shared: Arc::clone(&self.shared), _ends_when_dropped: ends_when_dropped };
        // The task belongs to the cache: a request that goes away takes the keys of nobody else with it.
        runtime.spawn(async move { landing.shared.fetch(known, now).await });
        Some(flight)
    }

    async fn landed(&self, mut flight: Flight) {
        // Nothing is ever sent: the error tells that the sender is gone.
        let _ended = flight.changed().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    async fn fetch(&self, known: Option<EndpointUrl>, started_at: Timestamp) {
        let timed = tokio::time::timeout(self.source.timeout, self.source.fetch(known, started_at));
        let outcome = timed.await.unwrap_or(Err(FetchError::TimedOut));
        let mut state = self.state();
        match outcome {
            Ok(fetched) => {
                state.schedule.succeeded();
                state.last_error = None;
                self.keep(fetched, started_at);
            }
            Err(error) => {
                tracing::warn!(issuer = %self.source.issuer, %error, "could not fetch the keys of the issuer");
                let now = self.clock.now();
                state.schedule.failed(&self.policy, error.retry_after(), fastrand::f64(), now);
                state.last_error = Some(error);
            }
        }
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
    _ends_when_dropped: watch::Sender<()>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.shared.state().flight = None;
    }
}
