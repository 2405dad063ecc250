//! A token request that all callers of a key share, in a task of its own: no caller's end ends it.

use crate::error::{TokenError, TokenErrorKind};
use crate::http::ExchangeError;
use crate::manager::GrantedScope;
use crate::shared_slot::SharedSlot;
use jeton_proto::lifecycle::{CachedToken, MintReason, TokenId};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

/// How many token requests one flight makes at most.
const MAX_ATTEMPTS: u32 = 3;
/// How much later than its own deadline a flight may land before its place is given to another.
const GRACE: Duration = Duration::from_secs(1);
/// The least pause after a token that had expired: `expires_in` is told in whole seconds, so a token in its last second
/// looks so until it is dead and the server makes another.
const EXPIRED_TOKEN_PAUSE: Duration = Duration::from_secs(1);

/// A flight that is under way.
pub(crate) struct Flight {
    serial: u64,
    reason: MintReason,
    landing: watch::Receiver<Option<Outcome>>,
    overdue_at: Instant,
}

/// How a flight ended.
#[derive(Clone)]
pub(crate) enum Outcome {
    Granted(Arc<CachedToken>),
    Failed(TokenError),
    /// Another flight took its place, or what it brought is of no use any more: whoever waited decides again.
    Superseded,
}

/// What a caller does who wants to wait.
pub(crate) enum Entry {
    Wait(Ticket),
    DecideAgain,
}

/// A share in a flight.
pub(crate) struct Ticket {
    pub(crate) landing: watch::Receiver<Option<Outcome>>,
    /// When it is no use to wait any longer.
    pub(crate) overdue_at: Instant,
}

static NEXT_SERIAL: AtomicU64 = AtomicU64::new(0);

impl Flight {
    /// A flight and its seat, to be launched once the slot's lock is free.
    pub(crate) fn prepare(slot: &Arc<SharedSlot>, reason: MintReason) -> (Self, Seat) {
        let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
        let (sender, landing) = watch::channel(None);
        let overdue_at = Instant::now() + slot.engine.total_timeout + GRACE;
        (
            Self { serial, reason, landing, overdue_at },
            Seat { slot: Arc::clone(slot), serial, reason, sender },
        )
    }

    pub(crate) fn ticket(&self) -> Ticket {
        Ticket { landing: self.landing.clone(), overdue_at: self.overdue_at }
    }

    /// Whether this flight serves `reason` too. A forced one never joins an unforced one: that one may bring a token
    /// from before the rejection. Nobody joins one that is overdue: its task is on a runtime that nobody drives.
    pub(crate) fn serves(&self, reason: MintReason) -> bool {
        let strong_enough = match reason {
            MintReason::Early | MintReason::Needed => true,
            MintReason::Forced => self.reason == MintReason::Forced,
        };
        strong_enough && Instant::now() < self.overdue_at
    }
}

/// A flight's place in its slot. However the flight ends, by landing, panic or a runtime that shuts down, dropping the
/// seat frees the place.
pub(crate) struct Seat {
    slot: Arc<SharedSlot>,
    serial: u64,
    reason: MintReason,
    sender: watch::Sender<Option<Outcome>>,
}

impl Seat {
    /// Begins the flight. The slot's lock must be free: a runtime that has shut down drops the task, and the seat in it,
    /// before this returns.
    pub(crate) fn launch(self, runtime: &Handle) {
        runtime.spawn(fly(self));
    }

    fn is_of(&self, flight: Option<&Flight>) -> bool {
        flight.is_some_and(|flight| flight.serial == self.serial)
    }

    fn land(self, outcome: Result<Arc<CachedToken>, TokenError>) {
        let mut flight = self.slot.lock_flight();
        let current = self.is_of(flight.as_ref());
        let outcome = match outcome {
            _ if !current => Outcome::Superseded,
            Ok(token) => self.slot.granted(&token, self.reason).map_or(Outcome::Superseded, Outcome::Granted),
            Err(error) => Outcome::Failed(self.slot.failed(error)),
        };
        // The place is freed under the same lock that changed the slot, so that nobody begins a flight in between.
        if current {
            *flight = None;
        }
        drop(flight);
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut flight = self.slot.lock_flight();
        if self.is_of(flight.as_ref()) {
            *flight = None;
        }
    }
}

async fn fly(seat: Seat) {
    let outcome = unless_it_panics(mint(&seat)).await;
    seat.land(outcome);
}

/// A panic in a flight is a failure like any other, with its pause: without one, each caller would begin the next.
async fn unless_it_panics<T>(minting: impl Future<Output = Result<T, TokenError>>) -> Result<T, TokenError> {
    let mut minting = pin!(minting);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| minting.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(TokenError::new(TokenErrorKind::FlightLost))))
    })
    .await
}

async fn mint(seat: &Seat) -> Result<Arc<CachedToken>, TokenError> {
    let (slot, reason) = (&*seat.slot, seat.reason);
    let engine = &slot.engine;
    let deadline = Instant::now() + engine.total_timeout;
    for attempt in 1.. {
        let left = deadline.saturating_duration_since(Instant::now());
        let error = match engine.server.request_token(&slot.key, left).await {
            Ok(granted) => match accept(slot, granted) {
                Ok(token) => {
                    tracing::debug!(token = %token.id(), ?reason, attempt, expires_at = %token.expires_at(),
                        client_id = %engine.server.credential.client_id, "token minted");
                    return Ok(token);
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        let pause = engine.backoff_policy.transient_pause(attempt, fastrand::f64());
        let pause = pause.max(error.retry_after().unwrap_or_default()).max(least_pause(&error));
        if attempt >= MAX_ATTEMPTS || !worth_another_attempt(&error) || Instant::now() + pause >= deadline {
            return Err(error);
        }
        tracing::debug!(%error, attempt, pause_ms = pause.as_millis(), "token request failed, trying again");
        tokio::time::sleep(pause).await;
        if !seat.is_of(slot.lock_flight().as_ref()) {
            return Err(error);
        }
    }
    Err(TokenError::new(TokenErrorKind::FlightLost))
}

/// A time-out is not worth another attempt within the flight: everybody has waited for that long already.
fn worth_another_attempt(error: &TokenError) -> bool {
    let timed_out =
        matches!(error.kind(), TokenErrorKind::Unreachable { fault: ExchangeError::TimedOut, .. });
    error.is_retryable() && !timed_out
}

fn least_pause(error: &TokenError) -> Duration {
    match error.kind() {
        TokenErrorKind::ExpiredToken { .. } => EXPIRED_TOKEN_PAUSE,
        TokenErrorKind::Refused { .. }
        | TokenErrorKind::Malformed { .. }
        | TokenErrorKind::Redirected { .. }
        | TokenErrorKind::Unreachable { .. }
        | TokenErrorKind::NarrowedScope { .. }
        | TokenErrorKind::DeadlinePassed { .. }
        | TokenErrorKind::FlightLost
        | TokenErrorKind::NoRuntime
        | TokenErrorKind::TooManyKeys { .. }
        | TokenErrorKind::Request(_) => Duration::ZERO,
    }
}

/// Makes a cached token of a granted one.
fn accept(
    slot: &SharedSlot,
    granted: crate::authorization_server::Granted,
) -> Result<Arc<CachedToken>, TokenError> {
    let engine = &slot.engine;
    let response = granted.response;
    if let (GrantedScope::MustBeComplete, Some(requested), Some(scope)) =
        (engine.granted_scope, &slot.key.scope, &response.scope)
        && !requested.is_subset_of(scope)
    {
        return Err(TokenError::new(TokenErrorKind::NarrowedScope {
            server: engine.server.name(),
            granted: scope.clone(),
            requested: requested.clone(),
        }));
    }
    let expired = || TokenError::new(TokenErrorKind::ExpiredToken { server: engine.server.name() });
    let id = TokenId::of(response.access_token.expose());
    let life = slot
        .slot_now()
        .lifetime_of(id, response.expires_in, &engine.refresh_policy, granted.sent_at)
        .ok_or_else(expired)?;
    // The parser let visible ASCII through, so the header can be made.
    let token = CachedToken::new(response.access_token, response.scope, granted.sent_at, life);
    let token = token.map_err(|_| expired())?;
    if token.expires_at() <= slot.clock.now() {
        return Err(expired());
    }
    Ok(Arc::new(token))
}
