//! Keys that clients and issuers of workload identities publish: fetched when they are needed, shared by all requests.
//!
//! A set is fetched again when it is no longer fresh, and for a key that is not in it at most once in [`UNKNOWN_KEY_PAUSE`].
//! Requests that want the same set at the same time share one fetch, which goes on when they go away. While a set cannot be
//! had, the one before it is used for a day.

mod fetch;
#[cfg(test)]
mod tests;

pub use fetch::InvalidKeyAuthorities;
use fetch::{FetchError, Fetched, Fetcher};

use jeton_proto::jose::jwk::{ClientKeySet, PrivateKey};
use jeton_proto::time::{Clock, Timestamp};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a set is fresh when its server does not say, and the bounds of what it may say.
const FRESH_FOR: Duration = Duration::from_mins(10);
const LEAST_FRESH_FOR: Duration = Duration::from_mins(1);
const MOST_FRESH_FOR: Duration = Duration::from_hours(24);
/// How long a set is used that cannot be fetched again.
const STALE_FOR: Duration = Duration::from_hours(24);
/// The least time between a fetch and the next one for the sake of a key that is not in the set.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(30);
/// The least time between a fetch that failed and the next one.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);
/// The longest that a fetch takes, metadata and keys together.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The most sets that are held. Each belongs to the registration of a client, so nobody else can add one.
const MAX_SETS: usize = 4096;

/// Where a set is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyLocation {
    /// At this URL: `jwks_uri` of RFC 7591 §2.
    JwkSet(String),
    /// Where the metadata of this issuer say (RFC 8414, `OpenID` Connect Discovery §4).
    Issuer(String),
}

impl KeyLocation {
    fn as_str(&self) -> &str {
        match self {
            Self::JwkSet(url) | Self::Issuer(url) => url,
        }
    }
}

/// There are no keys to check an assertion with, so nothing can be said of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys at {location} cannot be had: {cause}")]
pub(crate) struct KeysUnavailable {
    location: String,
    cause: String,
}

impl KeysUnavailable {
    /// When asking again may help.
    pub(crate) const RETRY_AFTER: Duration = FAILURE_PAUSE;
}

/// All sets that are held. Clones share them.
#[derive(Clone)]
pub(crate) struct RemoteKeys(Arc<Shared>);

struct Shared {
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    places: Mutex<HashMap<KeyLocation, Arc<Place>>>,
}

#[derive(Default)]
struct Place {
    state: Mutex<State>,
    /// Whoever fetches has it.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    tried_at: Option<Timestamp>,
    /// Whether the fetch that began then is under way.
    is_fetching: bool,
    failure: Option<String>,
    /// The private key in the set that was fetched last.
    told_private: Option<PrivateKey>,
}

struct Held {
    keys: Arc<ClientKeySet>,
    fetched_at: Timestamp,
    fresh_for: Duration,
}

/// A fetch that is under way. One that is dropped before it has landed, by a panic or with its runtime, counts as failed.
struct Flight<'a> {
    place: &'a Place,
    location: &'a KeyLocation,
    begun_at: Timestamp,
}

/// What is to be done for a request.
enum Want {
    /// There is what it needs.
    Use(Arc<ClientKeySet>),
    /// It has to be fetched first; what there is will do if that fails.
    Fetch,
    /// It was tried a moment ago, and there is nothing to wait for.
    Nothing,
}

impl RemoteKeys {
    /// Trusts `authorities`, PEM certificates, or where there are none those of the platform.
    ///
    /// # Errors
    /// When there is no certificate in the text.
    pub(crate) fn new(
        authorities: Option<&[u8]>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, InvalidKeyAuthorities> {
        let fetcher = Fetcher::new(authorities)?;
        Ok(Self(Arc::new(Shared { fetcher, clock, places: Mutex::default() })))
    }

    /// Keys that may be used now.
    pub(crate) async fn usable(&self, location: &KeyLocation) -> Result<Arc<ClientKeySet>, KeysUnavailable> {
        let place = self.place(location);
        let want = place.state().want(None, self.now());
        match want {
            Want::Use(keys) => return Ok(keys),
            Want::Fetch => self.fetch(&place, location, None).await,
            Want::Nothing => {}
        }
        let state = place.state();
        state.usable(self.now()).ok_or_else(|| KeysUnavailable {
            location: location.as_str().to_owned(),
            cause: state.failure.clone().unwrap_or_else(|| "they are being fetched".to_owned()),
        })
    }

    /// Keys that are newer than `seen`, which lacks the key of some assertion; `None` where there are none to be had now.
    pub(crate) async fn newer_than(
        &self,
        location: &KeyLocation,
        seen: &Arc<ClientKeySet>,
    ) -> Option<Arc<ClientKeySet>> {
        let place = self.place(location);
        let want = place.state().want(Some(seen), self.now());
        match want {
            Want::Use(keys) => return Some(keys),
            Want::Fetch => self.fetch(&place, location, Some(Arc::clone(seen))).await,
            Want::Nothing => return None,
        }
        place.state().usable(self.now()).filter(|keys| !Arc::ptr_eq(keys, seen))
    }

    /// Fetches, unless somebody has done so meanwhile. The task is its own: a request that goes away stops it for nobody.
    async fn fetch(&self, place: &Arc<Place>, location: &KeyLocation, seen: Option<Arc<ClientKeySet>>) {
        let (shared, place, location) = (Arc::clone(&self.0), Arc::clone(place), location.clone());
        let task = tokio::spawn(async move {
            let _turn = place.turn.lock().await;
            let now = shared.clock.now();
            if !matches!(place.state().want(seen.as_ref(), now), Want::Fetch) {
                return;
            }
            let flight = Flight::begin(&place, &location, now);
            let fetch = tokio::time::timeout(FETCH_TIMEOUT, shared.fetcher.fetch(&location)).await;
            flight.land(fetch.unwrap_or(Err(FetchError::TimedOut)));
        });
        // A panic there leaves the set as it was.
        let _ended = task.await;
    }

    fn place(&self, location: &KeyLocation) -> Arc<Place> {
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(location) {
            return Arc::clone(place);
        }
        if places.len() >= MAX_SETS {
            // Registrations come and go; what is in use is fetched again.
            places.clear();
        }
        Arc::clone(places.entry(location.clone()).or_default())
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

impl std::fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RemoteKeys(…)")
    }
}

impl Place {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Flight<'a> {
    fn begin(place: &'a Place, location: &'a KeyLocation, now: Timestamp) -> Self {
        place.state().begin(now);
        Self { place, location, begun_at: now }
    }

    fn land(self, fetched: Result<Fetched, FetchError>) {
        self.place.state().land(fetched, self.location, self.begun_at);
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut state = self.place.state();
        if state.is_fetching {
            state.land(Err(FetchError::CutOff), self.location, self.begun_at);
        }
    }
}

impl State {
    fn want(&self, seen: Option<&Arc<ClientKeySet>>, now: Timestamp) -> Want {
        let usable = self.usable(now);
        match (usable, seen) {
            (Some(keys), Some(seen)) if !Arc::ptr_eq(&keys, seen) => Want::Use(keys),
            (Some(_) | None, Some(_)) => self.fetch_after(UNKNOWN_KEY_PAUSE, now),
            (Some(keys), None) if self.is_fresh(now) => Want::Use(keys),
            (Some(keys), None) if self.is_fetching => Want::Use(keys),
            (Some(keys), None) => match self.fetch_after(FAILURE_PAUSE, now) {
                Want::Fetch => Want::Fetch,
                Want::Use(_) | Want::Nothing => Want::Use(keys),
            },
            (None, None) => self.fetch_after(FAILURE_PAUSE, now),
        }
    }

    /// A fetch that is under way is joined. A clock that was set back to before the last try closes nothing.
    fn fetch_after(&self, pause: Duration, now: Timestamp) -> Want {
        match self.tried_at {
            Some(_) if self.is_fetching => Want::Fetch,
            Some(tried_at) if now >= tried_at && now < tried_at.saturating_add(pause) => Want::Nothing,
            Some(_) | None => Want::Fetch,
        }
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        let fresh =
            |held: &Held| now >= held.fetched_at && now < held.fetched_at.saturating_add(held.fresh_for);
        self.held.as_ref().is_some_and(fresh)
    }

    fn usable(&self, now: Timestamp) -> Option<Arc<ClientKeySet>> {
        let usable = |held: &&Held| now < held.fetched_at.saturating_add(held.fresh_for + STALE_FOR);
        self.held.as_ref().filter(usable).map(|held| Arc::clone(&held.keys))
    }

    /// Warns of a private key once, until the set has had none.
    fn tell_private(&mut self, keys: &ClientKeySet, location: &KeyLocation) {
        let found = keys.private_key();
        if let Some(private) = found.filter(|_| self.told_private != found) {
            let location = location.as_str();
            tracing::warn!(
                location,
                %private,
                "a private key is published there; it is good for nothing here, and its owner has to make a new one"
            );
        }
        self.told_private = found;
    }

    fn begin(&mut self, now: Timestamp) {
        self.tried_at = Some(now);
        self.is_fetching = true;
    }

    fn land(&mut self, fetched: Result<Fetched, FetchError>, location: &KeyLocation, now: Timestamp) {
        self.is_fetching = false;
        match fetched {
            Ok(Fetched { keys, max_age }) => {
                self.tell_private(&keys, location);
                let fresh_for = max_age.unwrap_or(FRESH_FOR).clamp(LEAST_FRESH_FOR, MOST_FRESH_FOR);
                self.held = Some(Held { keys: Arc::new(keys), fetched_at: now, fresh_for });
                self.failure = None;
            }
            Err(error) => {
                let location = location.as_str();
                tracing::warn!(location, %error, "keys that assertions are verified with cannot be fetched");
                self.failure = Some(error.to_string());
            }
        }
    }
}
