//! A token request that all callers of a key share, in a task of its own: no caller's end ends it.

use crate::error::{TokenError, TokenErrorKind};
use crate::http::ExchangeError;
use crate::manager::GrantedScope;
use crate::shared_slot::SharedSlot;
use jeton_proto::lifecycle::{CachedToken, MintReason, TokenId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

/// How many token requests one flight makes at most.
const MAX_ATTEMPTS: u32 = 3;

/// A flight that is under way.
pub(crate) struct Flight {
    serial: u64,
    reason: MintReason,
    landing: watch::Receiver<Option<Outcome>>,
}

/// How a flight ended.
#[derive(Clone)]
pub(crate) enum Outcome {
    Granted(Arc<CachedToken>),
    Failed(TokenError),
    /// A flight with a stronger reason took its place; its result is discarded.
    Superseded,
}

/// What a caller does who wants to wait.
pub(crate) enum Entry {
    Wait(watch::Receiver<Option<Outcome>>),
    DecideAgain,
}

static NEXT_SERIAL: AtomicU64 = AtomicU64::new(0);

impl Flight {
    pub(crate) fn begin(
        slot: &Arc<SharedSlot>,
        runtime: &Handle,
        reason: MintReason,
    ) -> (Self, watch::Receiver<Option<Outcome>>) {
        let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
        let (sender, landing) = watch::channel(None);
        let seat = Seat { slot: Arc::clone(slot), serial, sender };
        runtime.spawn(fly(seat, reason));
        (Self { serial, reason, landing: landing.clone() }, landing)
    }

    /// The landing to wait for, when this flight serves `reason` too. A forced one never joins an unforced one: that
    /// one may bring a token from before the rejection.
    pub(crate) fn joined_by(&self, reason: MintReason) -> Option<watch::Receiver<Option<Outcome>>> {
        let serves = match reason {
            MintReason::Early | MintReason::Needed => true,
            MintReason::Forced => self.reason == MintReason::Forced,
        };
        serves.then(|| self.landing.clone())
    }
}

/// A flight's place in its slot. However the flight ends, by landing, panic or a runtime that shuts down, dropping the
/// seat frees the place.
struct Seat {
    slot: Arc<SharedSlot>,
    serial: u64,
    sender: watch::Sender<Option<Outcome>>,
}

impl Seat {
    fn land(self, reason: MintReason, outcome: Result<Arc<CachedToken>, TokenError>) {
        let mut flight = self.slot.lock_flight();
        let current = flight.as_ref().is_some_and(|flight| flight.serial == self.serial);
        let outcome = match outcome {
            _ if !current => Outcome::Superseded,
            Ok(token) => Outcome::Granted(self.slot.granted(&token, reason)),
            Err(error) => {
                self.slot.failed(&error);
                Outcome::Failed(error)
            }
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
        if flight.as_ref().is_some_and(|flight| flight.serial == self.serial) {
            *flight = None;
        }
    }
}

async fn fly(seat: Seat, reason: MintReason) {
    let outcome = mint(&seat.slot, reason).await;
    seat.land(reason, outcome);
}

async fn mint(slot: &SharedSlot, reason: MintReason) -> Result<Arc<CachedToken>, TokenError> {
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
        let pause = pause.max(error.retry_after().unwrap_or_default());
        if attempt >= MAX_ATTEMPTS || !worth_another_attempt(&error) || Instant::now() + pause >= deadline {
            return Err(error);
        }
        tracing::debug!(%error, attempt, pause_ms = pause.as_millis(), "token request failed, trying again");
        tokio::time::sleep(pause).await;
    }
    Err(TokenError::new(TokenErrorKind::FlightLost))
}

/// A time-out is not worth another attempt within the flight: everybody has waited for that long already.
fn worth_another_attempt(error: &TokenError) -> bool {
    let timed_out =
        matches!(error.kind(), TokenErrorKind::Unreachable { fault: ExchangeError::TimedOut, .. });
    error.is_retryable() && !timed_out
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
    let lifetime: Duration = slot
        .slot_now()
        .lifetime_of(id, response.expires_in, &engine.refresh_policy, granted.sent_at)
        .ok_or_else(expired)?;
    // The parser let visible ASCII through, so the header can be made.
    let token = CachedToken::new(response.access_token, response.scope, granted.sent_at, lifetime);
    let token = token.map_err(|_| expired())?;
    if token.expires_at() <= slot.clock.now() {
        return Err(expired());
    }
    Ok(Arc::new(token))
}
