//! A token request that all callers of a key share, in a task of its own: no caller's end ends it.

use crate::error::{TokenError, TokenErrorKind};
use crate::fleet::{Brought, Settled, Sortie};
use crate::key::TokenKey;
use crate::manager::{Engine, InAir};
use crate::minting::{self, Mishap};
use crate::shared_slot::SharedSlot;
use crate::sync::{Mutex, lock};
use jeton_proto::gate::CredentialGeneration;
use jeton_proto::lifecycle::{CachedToken, MintReason};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Instrument;

/// How a flight ended.
#[derive(Clone)]
pub(crate) enum Outcome {
    Granted(Arc<CachedToken>),
    /// There is a token of another process in hand, which may be due for renewal already.
    Adopted,
    Failed(TokenError),
    /// Another flight took its place, or what it brought is of no use any more: whoever waited decides again.
    Superseded,
}

/// A share in a flight.
#[derive(Clone)]
pub(crate) struct Ticket {
    pub(crate) landing: watch::Receiver<Option<Outcome>>,
    /// When it is no use to wait any longer.
    pub(crate) overdue_at: Instant,
    pub(crate) begun_for: BegunFor,
}

/// For whom a flight was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BegunFor {
    /// A caller, who waits for it.
    Caller,
    /// Nobody who waits: it fetches the next token ahead of time, or finds out whether the server is up again.
    Later,
}

/// A flight's place in its slot. However the flight ends, by landing, panic or a runtime that shuts down, dropping the
/// seat frees the place. It does not keep the slot alive: when the last handle is gone, nobody can take the token.
pub(crate) struct Seat {
    pub(crate) slot: Weak<SharedSlot>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) key: Arc<TokenKey>,
    pub(crate) serial: u64,
    pub(crate) reason: MintReason,
    pub(crate) sender: watch::Sender<Option<Outcome>>,
    pub(crate) errand: Errand,
    /// Ends with the slot.
    pub(crate) alive: watch::Receiver<()>,
    pub(crate) in_air: InAir,
    /// Until when it waits before it asks the server again.
    pub(crate) pausing: Mutex<Option<Instant>>,
}

/// What a flight is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Fetch a token, from the server where it has to.
    Fetch,
    /// Look whether another process has one, while the server is to be left alone.
    Look,
}

impl Seat {
    /// Begins the flight. The slot's lock must be free: a runtime that has shut down drops the task, and the seat in it,
    /// before this returns.
    pub(crate) fn launch(self, runtime: &Handle) {
        let span = tracing::info_span!("token_request", client_id = %self.engine.server.client_id,
            server = self.engine.server.name(), reason = ?self.reason, serial = self.serial);
        runtime.spawn(fly(self).instrument(span));
    }

    pub(crate) fn is_current(&self) -> bool {
        self.slot.upgrade().is_some_and(|slot| slot.runway.hold().is_current(self.serial))
    }

    /// Until when the flight waits before it asks the server again, as far as others should know.
    pub(crate) fn pause_until(&self) -> Option<Instant> {
        *lock(&self.pausing)
    }

    pub(crate) fn pauses_until(&self, instant: Instant) {
        *lock(&self.pausing) = Some(instant);
    }

    fn land(&self, outcome: Result<Brought, Mishap>) {
        let Some(slot) = self.slot.upgrade() else { return };
        let left_before = slot.life_left();
        let mut runway = slot.runway.hold();
        let current = runway.is_current(self.serial);
        let outcome = match outcome {
            _ if !current => Outcome::Superseded,
            Ok(Brought::Minted(token)) => {
                slot.granted(&token, self.reason).map_or(Outcome::Superseded, Outcome::Granted)
            }
            Ok(Brought::Adopted(token)) => {
                slot.granted(&token, self.reason).map_or(Outcome::Superseded, |_| Outcome::Adopted)
            }
            Ok(Brought::Nothing) => Outcome::Superseded,
            Err(mishap) => Outcome::Failed(slot.failed(&mishap)),
        };
        // The place is freed under the same lock that changed the slot, so that nobody begins a flight in between.
        runway.clear(self.serial);
        drop(runway);
        slot.wake_keeper();
        // Told with no lock held: recorders and subscribers are the application's, and may ask for a token themselves.
        match &outcome {
            Outcome::Granted(_) | Outcome::Adopted => slot.tell_granted(left_before),
            Outcome::Failed(error) => slot.tell_failed(error),
            Outcome::Superseded => {}
        }
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.upgrade() {
            slot.runway.hold().clear(self.serial);
        }
    }
}

/// How the part of a flight ended in which callers wait for it.
enum Flown {
    Landing(Result<Brought, Mishap>),
    /// The last handle is gone: nobody can take what this would bring.
    Deserted,
}

async fn fly(seat: Seat) {
    let (mut alive, mut closed) = (seat.alive.clone(), seat.in_air.closed());
    let with = seat.engine.credentials.generation();
    let mut sortie = Sortie::of(&seat);
    let flown = tokio::select! {
        biased;
        _gone = alive.changed() => Flown::Deserted,
        () = closed.wait() => {
            Flown::Landing(Err(Mishap::unsent(TokenError::new(TokenErrorKind::Closed), with)))
        }
        brought = landed_unless_it_panics(with, fetch(&seat, sortie.as_mut())) => Flown::Landing(brought),
    };
    match (sortie, flown) {
        (None, Flown::Deserted) => {}
        (None, Flown::Landing(brought)) => seat.land(brought),
        (Some(mut sortie), flown) => settle(&seat, &mut sortie, flown).await,
    }
}

async fn fetch(seat: &Seat, sortie: Option<&mut Sortie>) -> Result<Brought, Mishap> {
    match (sortie, seat.errand) {
        (None, Errand::Fetch) => minting::mint(seat).await.map(Brought::Minted),
        (None, Errand::Look) => Ok(Brought::Nothing),
        (Some(sortie), Errand::Fetch) => sortie.fetch(seat).await,
        (Some(sortie), Errand::Look) => Ok(sortie.glance(seat).await),
    }
}

/// Lands, with the store told of it before, where that does not take long.
async fn settle(seat: &Seat, sortie: &mut Sortie, flown: Flown) {
    match flown {
        Flown::Landing(Ok(Brought::Minted(token))) => {
            let land = || seat.land(Ok(Brought::Minted(Arc::clone(&token))));
            sortie.settle(seat, Settled::Minted(&token), land).await;
        }
        Flown::Landing(Ok(brought @ (Brought::Adopted(_) | Brought::Nothing))) => seat.land(Ok(brought)),
        Flown::Landing(Err(mishap)) => {
            let pause = sortie.shared_pause(seat, &mishap);
            sortie.settle(seat, Settled::Failed { pause }, || seat.land(Err(mishap))).await;
        }
        Flown::Deserted => sortie.settle(seat, Settled::Failed { pause: None }, || {}).await,
    }
}

/// A panic in a flight is a failure like any other, with its pause: without one, each caller would begin the next.
async fn landed_unless_it_panics<T>(
    with: CredentialGeneration,
    minting: impl Future<Output = Result<T, Mishap>>,
) -> Result<T, Mishap> {
    let lost = || Err(Mishap::of(TokenError::new(TokenErrorKind::FlightLost), with));
    unless_it_panics(minting).await.unwrap_or_else(lost)
}

/// What `working` gives, or nothing where it panics: sources and exchanges may be the application's.
pub(crate) async fn unless_it_panics<T>(working: impl Future<Output = T>) -> Option<T> {
    let mut working = pin!(working);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| working.as_mut().poll(context))) {
        Ok(polled) => polled.map(Some),
        Err(_panic) => Poll::Ready(None),
    })
    .await
}
