//! The tokens that the issuer has revoked: its signed list, followed in the background for all requests.

mod feed;
mod follower;
mod settings;

pub use feed::FeedError;
pub(crate) use settings::InvalidFeedSettings;
pub use settings::{RevocationFeed, WhenStale};

use crate::keys::KeyCache;
use follower::Follower;
use jeton::http::EndpointUrl;
use jeton::{Clock, Timestamp};
use jeton_proto::revocation::{FeedPosition, RevokedTokens};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How much longer than a request to the issuer may take a caller waits for the first answer.
const GRACE: Duration = Duration::from_secs(1);

/// Knows the revoked tokens. Cheap to clone; all clones share one list.
#[derive(Clone)]
pub(crate) struct Revocations {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    keys: KeyCache,
    settings: settings::Checked,
    clock: Arc<dyn Clock>,
    known: RwLock<RevokedTokens>,
    state: Mutex<State>,
    /// Whether the task lives.
    following: AtomicBool,
    /// Whether the list was asked for once, with whatever result.
    asked: watch::Sender<bool>,
    born_at: Timestamp,
}

/// How the polls went.
#[derive(Default)]
struct State {
    /// When the last poll began that left nothing out.
    confirmed_at: Option<Timestamp>,
    failures: u32,
    last_error: Option<FeedError>,
    /// Where the list is, as far as it is known.
    place: Option<EndpointUrl>,
    /// The entity tag of the last page, and from where it was asked.
    tag: Option<(FeedPosition, String)>,
}

/// What is known of the revoked tokens: for metrics, and for the readiness of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationStatus {
    /// How many revoked tokens are remembered.
    pub known: usize,
    /// When the issuer last confirmed that none is missing; `None`: never.
    pub confirmed_at: Option<Timestamp>,
    /// How long ago that was, or how long the guard has been waiting for it. With 5 s between two polls it is under 7 s
    /// while all is well.
    pub staleness: Duration,
    /// How many polls have failed since one succeeded.
    pub failures: u32,
    /// Why the last poll failed, unless a later one succeeded.
    pub last_error: Option<FeedError>,
}

/// What is known of the revoked tokens is too old to let anybody through ([`WhenStale::RefuseAfter`]).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not known which tokens the issuer has revoked in the last {} s{}",
    staleness.as_secs(),
    cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default()
)]
pub struct RevocationsStale {
    staleness: Duration,
    retry_after: Duration,
    #[source]
    cause: Option<Box<FeedError>>,
}

impl RevocationsStale {
    /// When asking again may help.
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

/// What the list says of a token.
pub(crate) enum Verdict {
    Good,
    Revoked,
    Unknown(RevocationsStale),
}

impl Revocations {
    pub(crate) fn new(keys: KeyCache, settings: settings::Checked, clock: Arc<dyn Clock>) -> Self {
        let born_at = clock.now();
        let (known, state, following) = (RwLock::default(), Mutex::default(), AtomicBool::new(false));
        let asked = watch::Sender::new(false);
        Self { shared: Arc::new(Shared { keys, settings, clock, known, state, following, asked, born_at }) }
    }

    /// Whether the token with this `jti` was revoked. Waits only while the list was never asked for.
    pub(crate) async fn verdict(&self, jwt_id: &str) -> Verdict {
        self.first().await;
        let shared = &*self.shared;
        if shared.known().contains(jwt_id) {
            return Verdict::Revoked;
        }
        match shared.settings.when_stale {
            WhenStale::Allow => Verdict::Good,
            WhenStale::RefuseAfter(limit) => {
                let status = self.status();
                if status.staleness < limit {
                    return Verdict::Good;
                }
                Verdict::Unknown(RevocationsStale {
                    staleness: status.staleness,
                    retry_after: shared.settings.poll_interval.max(Duration::from_secs(1)),
                    cause: status.last_error.map(Box::new),
                })
            }
        }
    }

    /// Starts to follow the list, unless that is being done, and waits until it was asked for once.
    pub(crate) async fn first(&self) {
        self.follow();
        if *self.shared.asked.borrow() {
            return;
        }
        if Handle::try_current().is_ok() {
            let patience = self.shared.keys.source().timeout + GRACE;
            let mut asked = self.shared.asked.subscribe();
            let _in_time = tokio::time::timeout(patience, asked.wait_for(|asked| *asked)).await;
        }
    }

    pub(crate) fn status(&self) -> RevocationStatus {
        let now = self.shared.clock.now();
        let known = self.shared.known().len();
        let state = self.shared.state();
        let since = state.confirmed_at.unwrap_or(self.shared.born_at);
        RevocationStatus {
            known,
            confirmed_at: state.confirmed_at,
            staleness: settings::staleness(since, now),
            failures: state.failures,
            last_error: state.last_error.clone(),
        }
    }

    fn follow(&self) {
        if self.shared.following.load(Ordering::Acquire) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.shared.following.swap(true, Ordering::AcqRel) {
            runtime.spawn(Follower::of(&self.shared).run());
        }
    }
}

impl Shared {
    fn known(&self) -> std::sync::RwLockReadGuard<'_, RevokedTokens> {
        // What is known is whole after every page, and a part of a page does no harm.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
