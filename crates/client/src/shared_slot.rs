//! One token key as all its callers share it: the slot, the flight that is under way, and who waits for it.

use crate::clock::HotClock;
use crate::error::{TokenError, TokenErrorKind};
use crate::fleet::Berth;
use crate::flight::{BegunFor, Errand, Outcome, Seat, Ticket};
use crate::keeper::Watch;
use crate::key::TokenKey;
use crate::manager::Engine;
use crate::minting::Mishap;
use crate::runway::{Held, Runway};
use crate::slot_cell::{SlotCell, State};
use crate::store::entry::Identity;
use crate::sync::{Mutex, lock};
use crate::telemetry::{KeyTelemetry, ServedFrom};
use jeton_proto::breaker::Phase;
use jeton_proto::lifecycle::{CachedToken, Decision, MintReason, TokenId};
use jeton_proto::time::Moment;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How often a caller starts over when the flight it waited for was lost or superseded.
const MAX_ROUNDS: u32 = 8;
/// How much later than its own deadline a flight may land before its place is given to another.
const GRACE: Duration = Duration::from_secs(1);
/// How often callers wait for a look at the shared store while the server is to be left alone.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) struct SharedSlot {
    pub(crate) engine: Arc<Engine>,
    pub(crate) key: Arc<TokenKey>,
    pub(crate) clock: HotClock,
    pub(crate) telemetry: KeyTelemetry,
    pub(crate) cell: SlotCell,
    pub(crate) runway: Runway<Ticket>,
    /// Where its token is in the shared store.
    pub(crate) berth: Option<Arc<Berth>>,
    /// When the store was last looked at because the server is to be left alone.
    looked: Mutex<Option<Instant>>,
    /// When somebody was last refused, because there was no token to be had.
    pub(crate) asked_in_vain: Mutex<Option<Moment>>,
    /// Whether a keeper is at work.
    pub(crate) watch: Mutex<Watch>,
    /// Wakes the keeper.
    pub(crate) wake: Arc<Notify>,
    always_fresh: AtomicBool,
    /// Dropped with the slot: it ends its flights.
    alive: watch::Sender<()>,
}

/// What a caller gets at once, if anything.
enum Ready {
    Token(Arc<CachedToken>),
    Refused(TokenError),
    /// A flight is under way that waits out a pause of the server.
    Join(Ticket),
    Wait {
        /// How long to wait at most before taking the token that is good for a little longer.
        patience: Option<Duration>,
    },
}

/// What a caller does who wants to wait.
enum Entry {
    Wait(Ticket),
    DecideAgain,
}

impl SharedSlot {
    pub(crate) fn new(engine: Arc<Engine>, key: TokenKey) -> Arc<Self> {
        let (clock, telemetry) = (engine.hot_clock(), engine.telemetry.key());
        let berth = engine.store.as_ref().map(|link| {
            let (endpoint, client_id) = (engine.server.token_endpoint.as_str(), &engine.server.client_id);
            let identity = Identity::of(endpoint, client_id, engine.credentials.method(), &key);
            Arc::new(Berth::new(link.place(identity)))
        });
        Arc::new(Self {
            cell: SlotCell::new(clock.timeline),
            engine,
            key: Arc::new(key),
            clock,
            telemetry,
            runway: Runway::new(),
            berth,
            looked: Mutex::new(None),
            asked_in_vain: Mutex::new(None),
            watch: Mutex::new(Watch::default()),
            wake: Arc::new(Notify::new()),
            always_fresh: AtomicBool::new(false),
            alive: watch::Sender::new(()),
        })
    }

    /// The hit path: one load and one tick; no lock, await or allocation while the token is fresh.
    #[allow(clippy::inline_always, reason = "the call costs a fifth of what it does")]
    #[inline(always)]
    pub(crate) fn get_with<R>(self: &Arc<Self>, take: impl FnOnce(&CachedToken) -> R) -> Option<R> {
        // Read before the guard is taken: taking it is a full barrier, behind which each load is waited for.
        let now = self.clock.ahead_of_now();
        let state = self.cell.load();
        match &state.fresh {
            Some(fresh) if fresh.covers(now) => {
                self.telemetry.hit();
                Some(take(&fresh.token))
            }
            // The tick runs ahead: what it finds wanting may be fresh still.
            Some(_) | None => self.get_precisely(&state).map(|token| take(token)),
        }
    }

    #[cold]
    fn get_precisely<'a>(self: &Arc<Self>, state: &'a State) -> Option<&'a Arc<CachedToken>> {
        let token = match self.decide(state) {
            Decision::Serve(token) => token,
            Decision::ServeAndRefresh(token) => {
                self.refresh_in_background();
                token
            }
            Decision::Await { .. } | Decision::Refuse { .. } | Decision::RefuseAndRefresh { .. } => {
                return None;
            }
        };
        self.telemetry.hit();
        self.mark_used(state);
        Some(token)
    }

    fn decide<'a>(&self, state: &'a State) -> Decision<'a> {
        let now = self.clock.now();
        match state.slot.decide(now) {
            served @ Decision::Serve(_) => served,
            // Only who would ask the endpoint has to know what is known of it.
            Decision::ServeAndRefresh(_)
            | Decision::Await { .. }
            | Decision::Refuse { .. }
            | Decision::RefuseAndRefresh { .. } => state.slot.decide_on(self.engine.way(now), now),
        }
    }

    /// A token by `deadline`. What is left of an old one is better than an error: a caller that could have it waits for
    /// no more than half of what is left.
    pub(crate) async fn token_by(
        self: &Arc<Self>,
        deadline: Instant,
        wait: Duration,
    ) -> Result<Arc<CachedToken>, TokenError> {
        for _ in 0..MAX_ROUNDS {
            let (ticket, patience) = match self.ready() {
                Ready::Token(token) => return Ok(token),
                Ready::Refused(error) => return Err(error),
                Ready::Join(ticket) => (ticket, None),
                Ready::Wait { patience } => match self.enter() {
                    Ok(Entry::Wait(ticket)) => (ticket, patience),
                    Ok(Entry::DecideAgain) => continue,
                    Err(error) => return self.backup().ok_or(error),
                },
            };
            let until = patience.map_or(deadline, |patience| deadline.min(Instant::now() + patience));
            let waiting = self.engine.telemetry.waiting();
            let outcome = landed(ticket, until).await;
            drop(waiting);
            match outcome {
                Some(Outcome::Granted(token)) if !token.left(self.clock.now()).is_zero() => {
                    self.engine.telemetry.served(ServedFrom::Flight, token.left(self.clock.now()));
                    self.mark_used(&self.cell.load());
                    return Ok(token);
                }
                Some(Outcome::Adopted) => {
                    if let Some(token) = self.adopted() {
                        return Ok(token);
                    }
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

    /// The token that another process had fetched, unless it is high time to fetch the next one.
    fn adopted(self: &Arc<Self>) -> Option<Arc<CachedToken>> {
        let state = self.cell.load();
        let token = match self.decide(&state) {
            Decision::Serve(token) => token,
            Decision::ServeAndRefresh(token) => {
                self.refresh_in_background();
                token
            }
            Decision::Await { .. } | Decision::Refuse { .. } | Decision::RefuseAndRefresh { .. } => {
                return None;
            }
        };
        self.engine.telemetry.served(ServedFrom::Flight, token.left(self.clock.now()));
        self.mark_used(&state);
        Some(Arc::clone(token))
    }

    fn ready(self: &Arc<Self>) -> Ready {
        self.cell.catch_up_with(self.engine.credentials.generation());
        let state = self.cell.load();
        match self.decide(&state) {
            Decision::Serve(token) => {
                self.telemetry.hit();
                self.mark_used(&state);
                Ready::Token(Arc::clone(token))
            }
            Decision::ServeAndRefresh(token) => {
                self.telemetry.hit();
                self.mark_used(&state);
                self.refresh_in_background();
                Ready::Token(Arc::clone(token))
            }
            Decision::Refuse { retry_after } => match self.waiting_out_a_pause(&state) {
                Some(ticket) => Ready::Join(ticket),
                None => match self.look_in_store(&state) {
                    Some(ticket) => Ready::Join(ticket),
                    None => Ready::Refused(self.refusal(&state, retry_after)),
                },
            },
            Decision::RefuseAndRefresh { reason: _, retry_after } => {
                if let Some(ticket) = self.look_in_store(&state) {
                    return Ready::Join(ticket);
                }
                self.refresh_in_background();
                Ready::Refused(self.refusal(&state, retry_after))
            }
            Decision::Await { reason: _, backup } => {
                let left = |token: &Arc<CachedToken>| token.left(self.clock.now());
                Ready::Wait { patience: backup.map(|token| left(token) / 2) }
            }
        }
    }

    /// A share in the flight that began before the server asked for a pause, and will go on after it: whoever comes meanwhile
    /// waits with the others, as long as it has time for; and in the one that finds out for its caller whether an endpoint is
    /// up that was down long ago. While the endpoint is down nobody waits.
    fn waiting_out_a_pause(&self, state: &State) -> Option<Ticket> {
        let reason = match state.slot.decide(self.clock.now()) {
            Decision::Await { reason, .. } => reason,
            Decision::Serve(_)
            | Decision::ServeAndRefresh(_)
            | Decision::Refuse { .. }
            | Decision::RefuseAndRefresh { .. } => return None,
        };
        let phase = self.engine.gatekeeper.breaker.phase();
        let ticket = self.runway.hold().joined(reason, self.engine.uptime());
        ticket.filter(|ticket| match phase {
            Phase::Closed => true,
            // Somebody waits for it, since nobody knew any more whether the endpoint is down.
            Phase::HalfOpen => ticket.begun_for == BegunFor::Caller,
            Phase::Open => false,
        })
    }

    /// A share in a look at the shared store: while the server is to be left alone, another process may have a token. Once in a
    /// while it is worth a caller's time.
    fn look_in_store(self: &Arc<Self>, state: &State) -> Option<Ticket> {
        let link = self.engine.store.as_ref().filter(|link| link.answers())?;
        let runtime = Handle::try_current().ok()?;
        let reason = match state.slot.decide(self.clock.now()) {
            Decision::Await { reason, .. } => reason,
            // It is the pause alone that keeps it from being asked for.
            Decision::Refuse { .. } | Decision::RefuseAndRefresh { .. } => state.slot.reason_of_need(),
            Decision::Serve(_) | Decision::ServeAndRefresh(_) => return None,
        };
        let mut runway = self.runway.hold();
        {
            let (mut looked, now) = (lock(&self.looked), Instant::now());
            if looked.is_some_and(|at| now < at + LOOK_EVERY) {
                return None;
            }
            *looked = Some(now);
        }
        let (ticket, seat) = self.join(&mut runway, reason, BegunFor::Caller, Errand::Look).ok()?;
        drop(runway);
        tracing::trace!(store = link.kind(), "looking whether another process has a token");
        if let Some(seat) = seat {
            seat.launch(&runtime);
        }
        Some(ticket)
    }

    /// What a caller is told while there is no token to be had; its asking keeps the keeper at it.
    fn refusal(self: &Arc<Self>, state: &State, retry_after: Duration) -> TokenError {
        let now = self.clock.now();
        if !self.engine.operations.is_open() {
            return TokenError::new(TokenErrorKind::Closed);
        }
        *lock(&self.asked_in_vain) = Some(now);
        self.wake_idle_keeper();
        // What happened before the last pause is not why there is no token now.
        let own = state.last_error.as_ref().filter(|_| state.slot.backing_off(now).is_some());
        self.engine.refusal(own, now).retry_after_of(Some(retry_after))
    }

    fn backup(&self) -> Option<Arc<CachedToken>> {
        let (state, now) = (self.cell.load(), self.clock.now());
        let token = state.slot.backup(now).cloned();
        if token.is_some() {
            self.engine.telemetry.served(ServedFrom::Backup, state.slot.left(now).unwrap_or_default());
            self.mark_used(&state);
        }
        token
    }

    fn mark_used(&self, seen: &State) {
        self.cell.mark_used(seen);
    }

    /// Joins the flight under way, or begins one. What made the caller wait is looked at again under the lock, since a
    /// flight may have landed or the token been rejected in between.
    fn enter(self: &Arc<Self>) -> Result<Entry, TokenError> {
        // Waiting takes a runtime's timer; the caller's own is the only one that is sure to be driven.
        let runtime = Handle::try_current().map_err(|_| TokenError::new(TokenErrorKind::NoRuntime))?;
        let mut runway = self.runway.hold();
        let reason = match self.decide(&self.cell.load()) {
            Decision::Await { reason, .. } => reason,
            Decision::Serve(_)
            | Decision::ServeAndRefresh(_)
            | Decision::Refuse { .. }
            | Decision::RefuseAndRefresh { .. } => return Ok(Entry::DecideAgain),
        };
        let (ticket, seat) = self.join(&mut runway, reason, BegunFor::Caller, Errand::Fetch)?;
        drop(runway);
        if let Some(seat) = seat {
            seat.launch(&runtime);
        }
        Ok(Entry::Wait(ticket))
    }

    /// Begins a flight that nobody waits for, unless one is under way. Without a runtime the next caller that waits
    /// will see to it.
    pub(crate) fn refresh_in_background(self: &Arc<Self>) {
        let mut runway = self.runway.hold();
        let reason = match self.decide(&self.cell.load()) {
            Decision::ServeAndRefresh(_) => MintReason::Early,
            Decision::Await { reason, .. } | Decision::RefuseAndRefresh { reason, .. } => reason,
            Decision::Serve(_) | Decision::Refuse { .. } => return,
        };
        let runtime = self.engine.runtime();
        let joined = runtime.and_then(|runtime| {
            let joined = self.join(&mut runway, reason, BegunFor::Later, Errand::Fetch)?;
            Ok((runtime, joined))
        });
        drop(runway);
        let (runtime, (_, seat)) = match joined {
            Ok(joined) => joined,
            Err(error) => return tracing::debug!(%error, "no background refresh"),
        };
        if let Some(seat) = seat {
            seat.launch(&runtime);
        }
    }

    /// A share in the flight that serves `reason`, and the seat of a new one where none did.
    fn join(
        self: &Arc<Self>,
        runway: &mut Held<'_, Ticket>,
        reason: MintReason,
        begun_for: BegunFor,
        errand: Errand,
    ) -> Result<(Ticket, Option<Seat>), TokenError> {
        let now = Instant::now();
        let on_engine_clock = |instant: Instant| instant.saturating_duration_since(self.engine.epoch);
        if let Some(ticket) = runway.joined(reason, on_engine_clock(now)) {
            return Ok((ticket, None));
        }
        let in_air = self.engine.operations.depart();
        let in_air = in_air.ok_or_else(|| TokenError::new(TokenErrorKind::Closed))?;
        let overdue_at = now + self.engine.longest_flight() + GRACE;
        let (sender, landing) = watch::channel(None);
        let ticket = Ticket { landing, overdue_at, begun_for };
        let serial = runway.begin(reason, ticket.clone(), on_engine_clock(overdue_at));
        let seat = Seat {
            slot: Arc::downgrade(self),
            engine: Arc::clone(&self.engine),
            key: Arc::clone(&self.key),
            serial,
            reason,
            sender,
            errand,
            pausing: Mutex::new(None),
            alive: self.alive.subscribe(),
            in_air,
        };
        Ok((ticket, Some(seat)))
    }

    /// Takes a granted token in, and gives what callers get.
    pub(crate) fn granted(&self, token: &Arc<CachedToken>, reason: MintReason) -> Option<Arc<CachedToken>> {
        let engine = &*self.engine;
        let given = self.cell.granted(token, reason, &engine.refresh_policy, engine.draw(), self.clock.now());
        *lock(&self.asked_in_vain) = None;
        given
    }

    /// Notes a failure, and adds to it when the server is asked again.
    pub(crate) fn failed(&self, mishap: &Mishap) -> TokenError {
        let (engine, now) = (&*self.engine, self.clock.now());
        let (error, with) = (&mishap.error, mishap.with);
        self.cell.failed(error, mishap.failure, with, &engine.backoff_policy, engine.draw(), now);
        let pause = self.cell.load().slot.backing_off(now).max(engine.gatekeeper.closed_for(with, now));
        error.clone().retry_after_of(pause.or(error.retry_after()))
    }

    /// Tells of a token that was granted; `left_before` is what was left of the one before it.
    pub(crate) fn tell_granted(&self, left_before: Option<Duration>) {
        self.telemetry.publish(left_before);
        self.telemetry.backing_off(None);
        self.telemetry.backup_left(None);
    }

    /// Tells of a flight that failed.
    pub(crate) fn tell_failed(&self, error: &TokenError) {
        let left = self.life_left();
        tracing::warn!(%error, client_id = %self.engine.server.client_id,
            backup_seconds_left = left.unwrap_or_default().as_secs(), "token request failed");
        self.telemetry.backing_off(error.retry_after());
        self.telemetry.backup_left(left);
    }

    /// How much of its life is left to the token in hand.
    pub(crate) fn life_left(&self) -> Option<Duration> {
        self.cell.load().slot.left(self.clock.now())
    }

    pub(crate) fn reject(&self, id: TokenId) {
        self.cell.rejected(id, self.clock.now());
        self.engine.telemetry.rejected();
        tracing::debug!(token = %id, "token rejected by an API");
    }

    pub(crate) fn accept(&self, id: TokenId) {
        self.cell.accepted(id);
    }

    /// Publishes the hits that were counted, with the life left of the token that made them.
    pub(crate) fn publish(&self) {
        self.telemetry.publish(self.life_left());
    }

    /// Shows how long the server is left alone for this key, and how much is left of the token that tides over that.
    pub(crate) fn tell_trouble(&self) {
        let (state, now) = (self.cell.load(), self.clock.now());
        if state.last_error.is_some() {
            self.telemetry.backing_off(state.slot.backing_off(now));
            self.telemetry.backup_left(state.slot.left(now));
        }
    }

    /// Keeps the token fresh from now on, whether it is used or not.
    pub(crate) fn keep_fresh(self: &Arc<Self>) {
        self.always_fresh.store(true, Ordering::Relaxed);
        self.refresh_in_background();
        self.wake_keeper();
    }

    pub(crate) fn is_always_fresh(&self) -> bool {
        self.always_fresh.load(Ordering::Relaxed)
    }

    /// Sees to it that a keeper is at work, without rousing one that sleeps.
    fn wake_idle_keeper(self: &Arc<Self>) {
        let idle = !lock(&self.watch).is_on_duty(self.engine.uptime());
        if idle {
            self.wake_keeper();
        }
    }
}

impl Drop for SharedSlot {
    fn drop(&mut self) {
        self.wake.notify_one();
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
