//! One token key as all its callers share it: the slot, the flight that is under way, and who waits for it.

use crate::clock::{HotClock, PRECISE_BEFORE_EXPIRY};
use crate::error::{TokenError, TokenErrorKind};
use crate::flight::{Entry, Flight, Outcome, Seat, Ticket};
use crate::key::TokenKey;
use crate::manager::{Engine, RefreshAhead};
use arc_swap::ArcSwap;
use jeton_proto::lifecycle::{CachedToken, Decision, MintReason, Slot, TokenId};
use jeton_proto::time::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often a caller starts over when the flight it waited for was lost or superseded.
const MAX_ROUNDS: u32 = 8;
/// The longest sleep of the task that renews ahead, so that it notices a clock step or a suspend.
const LONGEST_NAP: Duration = Duration::from_mins(1);
/// How often that task looks whether its token was replaced, once the renewal is due.
const DUE_NAP: Duration = Duration::from_secs(1);

pub(crate) struct SharedSlot {
    pub(crate) engine: Arc<Engine>,
    pub(crate) key: TokenKey,
    pub(crate) clock: HotClock,
    state: ArcSwap<State>,
    flight: Mutex<Option<Flight>>,
    /// Dropped with the slot: it ends the task that renews ahead.
    alive: watch::Sender<()>,
}

struct State {
    /// What the hit path compares with; nothing until the token was given out once.
    fresh: Option<Fresh>,
    slot: Slot,
    last_error: Option<TokenError>,
    /// Whether the token in hand was given out.
    used: bool,
}

struct Fresh {
    token: Arc<CachedToken>,
    from_millis: u64,
    span_millis: u64,
}

impl State {
    fn new(slot: Slot, last_error: Option<TokenError>, used: bool) -> Self {
        let window = slot.first_window().filter(|_| used);
        let fresh = window.map(|(token, window)| {
            let until = window.end.min(token.expires_at().saturating_sub(PRECISE_BEFORE_EXPIRY));
            Fresh {
                token: Arc::clone(token),
                from_millis: window.start.as_unix_millis(),
                span_millis: until.as_unix_millis().saturating_sub(window.start.as_unix_millis()),
            }
        });
        Self { fresh, slot, last_error, used }
    }
}

impl Fresh {
    /// Whether the window has `now` in it; what is before its start wraps around to far behind its end.
    #[inline]
    fn covers(&self, now: Timestamp) -> bool {
        now.as_unix_millis().wrapping_sub(self.from_millis) < self.span_millis
    }
}

/// What a caller gets at once, if anything.
enum Ready {
    Token(Arc<CachedToken>),
    Refused(TokenError),
    Wait {
        /// How long to wait at most before taking the token that is good for a little longer.
        patience: Option<Duration>,
    },
}

impl SharedSlot {
    pub(crate) fn new(engine: Arc<Engine>, key: TokenKey) -> Arc<Self> {
        let state = ArcSwap::from_pointee(State::new(Slot::default(), None, false));
        let (alive, _) = watch::channel(());
        let clock = engine.hot_clock();
        Arc::new(Self { engine, key, clock, state, flight: Mutex::new(None), alive })
    }

    /// The hit path: one load and one tick; no lock, await or allocation while the token is fresh.
    #[allow(clippy::inline_always, reason = "the call costs a fifth of what it does")]
    #[inline(always)]
    pub(crate) fn get_with<R>(self: &Arc<Self>, take: impl FnOnce(&CachedToken) -> R) -> Option<R> {
        // Read before the guard is taken: taking it is a full barrier, behind which each load is waited for.
        let now = self.clock.ahead_of_now();
        let state = self.state.load();
        match &state.fresh {
            Some(fresh) if fresh.covers(now) => Some(take(&fresh.token)),
            // The tick runs ahead: what it finds wanting may be fresh still.
            Some(_) | None => self.get_precisely(&state).map(|token| take(token)),
        }
    }

    #[cold]
    fn get_precisely<'a>(self: &Arc<Self>, state: &'a State) -> Option<&'a Arc<CachedToken>> {
        let token = match state.slot.decide(self.clock.now()) {
            Decision::Serve(token) => token,
            Decision::ServeAndRefresh(token) => {
                self.refresh_in_background();
                token
            }
            Decision::Await { .. } | Decision::Refuse { .. } => return None,
        };
        self.mark_used(state);
        Some(token)
    }

    /// A token by `deadline`. What is left of an old one is better than an error: a caller that could have it waits for
    /// no more than half of what is left.
    pub(crate) async fn token_by(
        self: &Arc<Self>,
        deadline: Instant,
        wait: Duration,
    ) -> Result<Arc<CachedToken>, TokenError> {
        for _ in 0..MAX_ROUNDS {
            let patience = match self.ready() {
                Ready::Token(token) => return Ok(token),
                Ready::Refused(error) => return Err(error),
                Ready::Wait { patience } => patience,
            };
            let ticket = match self.enter() {
                Ok(Entry::Wait(ticket)) => ticket,
                Ok(Entry::DecideAgain) => continue,
                Err(error) => return self.backup().ok_or(error),
            };
            let until = patience.map_or(deadline, |patience| deadline.min(Instant::now() + patience));
            match landed(ticket, until).await {
                Some(Outcome::Granted(token)) if self.clock.now() < token.expires_at() => {
                    self.mark_used(&self.state.load());
                    return Ok(token);
                }
                Some(Outcome::Failed(error)) => return self.backup().ok_or(error),
                Some(Outcome::Granted(_) | Outcome::Superseded) => {}
                None => {
                    if let Some(token) = self.backup() {
                        return Ok(token);
                    }
                    if deadline <= Instant::now() {
                        return Err(TokenError::new(TokenErrorKind::DeadlinePassed { waited: wait }));
                    }
                }
            }
        }
        self.backup().ok_or_else(|| TokenError::new(TokenErrorKind::FlightLost))
    }

    fn ready(self: &Arc<Self>) -> Ready {
        let (state, now) = (self.state.load(), self.clock.now());
        match state.slot.decide(now) {
            Decision::Serve(token) => {
                self.mark_used(&state);
                Ready::Token(Arc::clone(token))
            }
            Decision::ServeAndRefresh(token) => {
                self.mark_used(&state);
                self.refresh_in_background();
                Ready::Token(Arc::clone(token))
            }
            Decision::Refuse { retry_after } => {
                let cause = state.last_error.clone();
                let error = cause.unwrap_or_else(|| TokenError::new(TokenErrorKind::FlightLost));
                Ready::Refused(error.retry_after_of(Some(retry_after)))
            }
            Decision::Await { reason: _, backup } => {
                let left = |token: &Arc<CachedToken>| token.expires_at().saturating_since(now);
                Ready::Wait { patience: backup.map(|token| left(token) / 2) }
            }
        }
    }

    fn backup(&self) -> Option<Arc<CachedToken>> {
        let state = self.state.load();
        let token = state.slot.backup(self.clock.now()).cloned();
        if token.is_some() {
            self.mark_used(&state);
        }
        token
    }

    /// Notes that the token in hand was given out, and lets the hit path find it.
    fn mark_used(&self, seen: &State) {
        if !seen.used {
            self.state.rcu(|state| State::new(state.slot.clone(), state.last_error.clone(), true));
        }
    }

    /// Joins the flight under way, or begins one. What made the caller wait is looked at again under the lock, since a
    /// flight may have landed or the token been rejected in between.
    fn enter(self: &Arc<Self>) -> Result<Entry, TokenError> {
        // Waiting takes a runtime's timer; the caller's own is the only one that is sure to be driven.
        let runtime = Handle::try_current().map_err(|_| TokenError::new(TokenErrorKind::NoRuntime))?;
        let mut flight = self.lock_flight();
        let reason = match self.state.load().slot.decide(self.clock.now()) {
            Decision::Await { reason, .. } => reason,
            Decision::Serve(_) | Decision::ServeAndRefresh(_) | Decision::Refuse { .. } => {
                return Ok(Entry::DecideAgain);
            }
        };
        let (ticket, seat) = self.join(&mut flight, reason);
        drop(flight);
        if let Some(seat) = seat {
            seat.launch(&runtime);
        }
        Ok(Entry::Wait(ticket))
    }

    /// Begins a flight that nobody waits for, unless one is under way. Without a runtime the next caller that waits
    /// will see to it.
    pub(crate) fn refresh_in_background(self: &Arc<Self>) {
        let mut flight = match self.flight.try_lock() {
            Ok(flight) => flight,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody is seeing to it.
            Err(TryLockError::WouldBlock) => return,
        };
        let reason = match self.state.load().slot.decide(self.clock.now()) {
            Decision::ServeAndRefresh(_) => MintReason::Early,
            Decision::Await { reason, .. } => reason,
            Decision::Serve(_) | Decision::Refuse { .. } => return,
        };
        let runtime = match self.engine.runtime() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::debug!(%error, "no background refresh"),
        };
        let (_, seat) = self.join(&mut flight, reason);
        drop(flight);
        if let Some(seat) = seat {
            seat.launch(&runtime);
        }
    }

    /// A share in the flight that serves `reason`, and the seat of a new one where none did.
    fn join(self: &Arc<Self>, place: &mut Option<Flight>, reason: MintReason) -> (Ticket, Option<Seat>) {
        if let Some(flight) = place.as_ref().filter(|flight| flight.serves(reason)) {
            return (flight.ticket(), None);
        }
        let (flight, seat) = Flight::prepare(self, reason);
        let ticket = flight.ticket();
        *place = Some(flight);
        (ticket, Some(seat))
    }

    pub(crate) fn lock_flight(&self) -> MutexGuard<'_, Option<Flight>> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a granted token in. Gives what callers get: perhaps one that was in hand and lives longer, and nothing when
    /// the token was rejected already.
    pub(crate) fn granted(
        self: &Arc<Self>,
        token: &Arc<CachedToken>,
        reason: MintReason,
    ) -> Option<Arc<CachedToken>> {
        let (now, jitter) = (self.clock.now(), fastrand::f64());
        let policy = &self.engine.refresh_policy;
        self.state.rcu(|state| {
            let slot = state.slot.granted(Arc::clone(token), reason, policy, jitter, now);
            State::new(slot, None, false)
        });
        self.renew_ahead();
        self.state.load().slot.backup(now).cloned()
    }

    /// Notes a failure, and adds to it when the server is asked again.
    pub(crate) fn failed(&self, error: TokenError) -> TokenError {
        let (now, jitter) = (self.clock.now(), fastrand::f64());
        let policy = &self.engine.backoff_policy;
        self.state.rcu(|state| {
            let slot = state.slot.failed(error.failure(), policy, jitter, now);
            State::new(slot, Some(error.clone()), state.used)
        });
        let left = self.seconds_left(now);
        tracing::warn!(%error, client_id = %self.engine.server.credential.client_id, backup_seconds_left = left,
            "token request failed");
        error.retry_after_of(self.state.load().slot.backing_off(now))
    }

    fn seconds_left(&self, now: Timestamp) -> u64 {
        let state = self.state.load();
        state.slot.backup(now).map_or(0, |token| token.expires_at().saturating_since(now).as_secs())
    }

    pub(crate) fn reject(&self, id: TokenId) {
        let now = self.clock.now();
        self.change(|slot| slot.rejected(id, now));
        tracing::debug!(token = %id, "token rejected by an API");
    }

    pub(crate) fn accept(&self, id: TokenId) {
        if self.state.load().slot.awaits_acceptance(id) {
            self.change(|slot| slot.accepted(id));
        }
    }

    fn change(&self, next: impl Fn(&Slot) -> Slot) {
        self.state.rcu(|state| State::new(next(&state.slot), state.last_error.clone(), state.used));
    }

    pub(crate) fn slot_now(&self) -> Slot {
        self.state.load().slot.clone()
    }

    /// Starts the task that renews the token in hand when its advisory time comes, provided that it was used by then:
    /// nobody waits for a token that could have been fetched before, and a key that is no longer used falls silent.
    fn renew_ahead(self: &Arc<Self>) {
        let ahead = match self.engine.refresh_ahead {
            RefreshAhead::WhileUsed => self.engine.runtime(),
            RefreshAhead::OnDemand => return,
        };
        let id = self.state.load().slot.token().map(|token| token.id());
        if let (Ok(runtime), Some(id)) = (ahead, id) {
            runtime.spawn(renewal(Arc::downgrade(self), id, self.alive.subscribe()));
        }
    }

    /// How long to sleep before looking again at the token `id`; `None` when there is nothing left to do for it.
    fn nap(self: &Arc<Self>, id: TokenId) -> Option<Duration> {
        let state = self.state.load();
        let now = self.clock.now();
        let token = state.slot.token().filter(|token| token.id() == id && now < token.expires_at())?;
        let advisory_at = state.slot.advisory_at()?;
        if now < token.obtained_at() || now < advisory_at {
            return Some(advisory_at.saturating_since(now).clamp(Duration::from_millis(1), LONGEST_NAP));
        }
        if !state.used {
            return None;
        }
        self.refresh_in_background();
        Some(state.slot.backing_off(now).unwrap_or(DUE_NAP).min(LONGEST_NAP))
    }
}

/// How the flight ended; `None` when it did not by `until`, or is lost: its runtime shut down, or nobody drives it.
async fn landed(mut ticket: Ticket, until: Instant) -> Option<Outcome> {
    let until = until.min(ticket.overdue_at);
    match tokio::time::timeout_at(until, ticket.landing.wait_for(Option::is_some)).await {
        Ok(Ok(outcome)) => outcome.clone(),
        Ok(Err(_)) | Err(_) => None,
    }
}

async fn renewal(slot: Weak<SharedSlot>, id: TokenId, mut alive: watch::Receiver<()>) {
    loop {
        let Some(nap) = slot.upgrade().and_then(|slot| slot.nap(id)) else {
            return;
        };
        tokio::select! {
            () = tokio::time::sleep(nap) => {}
            _dropped = alive.changed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jeton_proto::lifecycle::RefreshPolicy;
    use jeton_proto::secret::Secret;

    const START: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

    fn granted(slot: &Slot, life: Duration, now: Timestamp) -> Slot {
        let token = Arc::new(CachedToken::new(Secret::from("a"), None, now, life).unwrap());
        slot.granted(token, MintReason::Needed, &RefreshPolicy::default(), 1.0, now)
    }

    #[test]
    fn t5_the_hit_path_leaves_the_last_second_of_every_token_to_the_precise_clock() {
        for seconds in [1, 2, 3, 5, 60, 3600] {
            let life = Duration::from_secs(seconds);
            let once = granted(&Slot::default(), life, START);
            let half = START.saturating_add(life / 2);
            // The server had no other token, so the one in hand is not asked for again before its end.
            let again = granted(&once, life, half);
            for slot in [once, again] {
                let state = State::new(slot, None, true);
                let fresh = state.fresh.unwrap();
                assert_eq!(fresh.covers(START), seconds > 1, "{seconds}");
                let last = START.saturating_add(life).saturating_sub(PRECISE_BEFORE_EXPIRY);
                assert!(!fresh.covers(last) && !fresh.covers(Timestamp::MAX), "{seconds}");
                assert!(!fresh.covers(START.saturating_sub(Duration::from_millis(1))), "{seconds}");
            }
        }
    }
}
