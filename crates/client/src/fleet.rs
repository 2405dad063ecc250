//! A flight of a manager that shares its tokens with other processes: [`jeton_proto::flight`] decides, and this does what it says.

use crate::flight::Seat;
use crate::manager::GrantedScope;
use crate::minting::{self, Mishap};
use crate::store::entry::Unreached;
use crate::store::link::{Draft, LONGEST_PAUSE, Pause, Place, Seen, StoreLink, Swapped, Writing};
use crate::store::{StoreFault, StoreFaultKind, Subscription, Version};
use crate::sync::{Mutex, lock};
use crate::telemetry::{LeaseOutcome, Unusable};
use jeton_proto::backoff::FailureClass;
use jeton_proto::flight::{Action, End, Event, Flight, Found, LOOK_AGAIN_AFTER, Sequence, Shared, Wish};
use jeton_proto::lifecycle::{CachedToken, TokenId};
use jeton_proto::time::Moment;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long whoever waits for a token may wait for it to be in the store too. A healthy store has it by then, so that a
/// process which ends as soon as it has its token leaves it to the next one.
const WRITTEN_WITHIN: Duration = Duration::from_millis(20);
/// How often a follower looks that the store tells nothing.
const UNTOLD_LOOKS: Duration = Duration::from_millis(100);
/// How many versions of its own a flight remembers.
const MOST_VERSIONS: usize = 16;
/// How often a change is made again that met a version of this flight's own.
const MOST_SWAPS: u32 = 4;
/// How often a lease is prolonged within its time.
const PROLONGED: u32 = 3;

/// One key's place in the store, and what is known of what is there.
pub(crate) struct Berth {
    pub(crate) place: Place,
    known: Mutex<Known>,
}

/// What was last seen of a record.
#[derive(Clone, Copy, Default)]
struct Known {
    version: Option<Version>,
    /// The token that the store gave this place to.
    held: Option<(TokenId, Sequence)>,
    /// The place of the newest token that was seen there.
    newest: Sequence,
}

impl Berth {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, known: Mutex::default() }
    }
}

/// What a flight brought.
pub(crate) enum Brought {
    /// A token that it asked the server for.
    Minted(Arc<CachedToken>),
    /// A token that another process had asked for.
    Adopted(Arc<CachedToken>),
    /// Nothing, for which nobody is to blame: whoever waited decides again.
    Nothing,
}

/// A flight with the store that it goes by.
pub(crate) struct Sortie {
    link: Arc<StoreLink>,
    berth: Arc<Berth>,
    flight: Flight,
    first: Option<Action>,
    /// The versions that this flight wrote, or may have written: a change that is not answered may have been made.
    own: VecDeque<Version>,
    /// The last of them, as long as the store has not said what became of it.
    unanswered: Option<Version>,
    following: Following,
    /// The store's clock, and when it showed that.
    clock: Option<(u64, Moment)>,
    rejecting: Option<TokenId>,
    /// Who could not reach the server, as was last seen in the store.
    unreached: Unreached,
}

enum Following {
    NotYet,
    Told(Subscription),
    /// The store could not be asked to tell.
    Untold,
}

impl Sortie {
    /// The flight of `seat`, where its manager shares a store.
    pub(crate) fn of(seat: &Seat) -> Option<Self> {
        let (link, slot) = (seat.engine.store.as_ref()?, seat.slot.upgrade()?);
        let berth = Arc::clone(slot.berth.as_ref()?);
        let known = *lock(&berth.known);
        let held = slot.cell.load().slot.token().cloned();
        let held_sequence =
            known.held.filter(|(id, _)| held.as_ref().is_some_and(|held| held.id() == *id)).map(|(_, at)| at);
        let wish =
            Wish { reason: seat.reason, held, held_sequence, seen: known.version, newest: known.newest };
        let now = seat.engine.clock.moment();
        let (flight, first) = Flight::begin(wish, seat.engine.following_patience(), now);
        Some(Self {
            link: Arc::clone(link),
            berth,
            flight,
            first: Some(first),
            own: VecDeque::new(),
            unanswered: None,
            following: Following::NotYet,
            clock: None,
            rejecting: None,
            unreached: Unreached::default(),
        })
    }

    /// Until there is a token, or none is to be had.
    pub(crate) async fn fetch(&mut self, seat: &Seat) -> Result<Brought, Mishap> {
        let Some(mut action) = self.first.take() else { return Ok(Brought::Nothing) };
        loop {
            let event = match action {
                Action::TakeLease { expected, rejecting } => self.take_lease(seat, expected, rejecting).await,
                Action::Load => self.look(seat).await,
                Action::Follow { at_most } => {
                    self.follow(at_most).await;
                    if !seat.is_current() {
                        return Ok(Brought::Nothing);
                    }
                    Event::Woken
                }
                Action::Mint => return self.mint(seat).await,
                Action::Finish(end) => return self.ended(seat, end),
                // Both come after the minting alone.
                Action::Publish { .. } | Action::Release { .. } => return Ok(Brought::Nothing),
            };
            action = self.flight.on(event, seat.engine.clock.moment());
        }
    }

    /// A look at what is there, which asks the server for nothing.
    pub(crate) async fn glance(&mut self, seat: &Seat) -> Brought {
        let Event::Loaded(Some(found)) = self.look(seat).await else { return Brought::Nothing };
        match self.flight.wish().adopts(&found, seat.engine.clock.moment()) {
            Some(shared) => self.adopted(seat, shared.clone(), found.free_version()),
            None => Brought::Nothing,
        }
    }

    fn ended(&self, seat: &Seat, end: End) -> Result<Brought, Mishap> {
        match end {
            End::Adopted { shared, version } => Ok(self.adopted(seat, shared, version)),
            End::Minted { token, .. } => Ok(Brought::Minted(token)),
            End::Failed => Ok(Brought::Nothing),
            End::Paused { retry_after } => {
                let error = seat.engine.left_alone().retry_after_of(Some(retry_after));
                Err(Mishap::not_before(error, seat.engine.credentials.generation()))
            }
        }
    }

    fn adopted(&self, seat: &Seat, shared: Shared, version: Option<Version>) -> Brought {
        let Shared { token, sequence } = shared;
        tracing::debug!(token = %token.id(), expires_at = %token.expires_at(), "token of another process adopted");
        seat.engine.telemetry.adopted(seat.reason);
        *lock(&self.berth.known) = Known { version, held: Some((token.id(), sequence)), newest: sequence };
        Brought::Adopted(token)
    }

    async fn take_lease(
        &mut self,
        seat: &Seat,
        expected: Option<Version>,
        rejecting: Option<TokenId>,
    ) -> Event {
        self.rejecting = rejecting;
        match self
            .swap(seat, expected, Writing::Lease { rejecting, pause: None, unreached: self.unreached })
            .await
        {
            Ok((version, Swapped::Written { now })) => Event::Leased { version, store_millis: now },
            Ok((_, Swapped::Conflict(seen))) => Event::Conflict(seen.found),
            Err(_) => Event::StoreFailed,
        }
    }

    async fn look(&mut self, seat: &Seat) -> Event {
        let clock = &seat.engine.clock;
        match self.link.load(&self.berth.place, || clock.moment()).await {
            Ok(seen) => Event::Loaded(self.noted(seat, seen).found),
            Err(_) => Event::StoreFailed,
        }
    }

    /// Waits to be told of a change. The first time, what happened until the store began to tell is looked at first.
    async fn follow(&mut self, at_most: Duration) {
        match &mut self.following {
            Following::NotYet => {
                self.following = match self.link.subscribe(&self.berth.place).await {
                    Ok(subscription) => Following::Told(subscription),
                    Err(_) => Following::Untold,
                };
            }
            Following::Told(subscription) => {
                // Told or not, it looks.
                let _told = tokio::time::timeout(at_most, subscription.changed()).await;
            }
            Following::Untold => tokio::time::sleep(at_most.min(UNTOLD_LOOKS)).await,
        }
    }

    /// Asks the server. As long as that takes it prolongs the lease; or where another has that for longer than this flight
    /// could wait, it goes on looking what comes of it.
    async fn mint(&mut self, seat: &Seat) -> Result<Brought, Mishap> {
        tokio::select! {
            biased;
            minted = minting::mint(seat) => minted.map(Brought::Minted),
            brought = self.meanwhile(seat) => Ok(brought),
        }
    }

    async fn meanwhile(&mut self, seat: &Seat) -> Brought {
        match self.flight.fence() {
            Some(_) => match self.keep_lease(seat).await {},
            None => self.keep_looking(seat).await,
        }
    }

    async fn keep_looking(&mut self, seat: &Seat) -> Brought {
        while !matches!(self.following, Following::NotYet) {
            self.follow(LOOK_AGAIN_AFTER).await;
            match self.glance(seat).await {
                Brought::Nothing => {}
                brought @ (Brought::Adopted(_) | Brought::Minted(_)) => return brought,
            }
        }
        std::future::pending().await
    }

    async fn keep_lease(&mut self, seat: &Seat) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(self.link.lease / PROLONGED).await;
            let Some(fence) = self.flight.fence() else { continue };
            let pause = seat.pause_until().and_then(|until| self.pause_of(seat, until));
            let writing = Writing::Lease { rejecting: self.rejecting, pause, unreached: self.unreached };
            match self.swap(seat, Some(fence), writing).await {
                Ok((version, Swapped::Written { .. })) => self.flight.prolonged(version),
                // Another process has it, or will: what this one brings is compared with what is there then.
                Ok((_, Swapped::Conflict(_))) => return std::future::pending().await,
                Err(_) => {}
            }
        }
    }

    /// What is left to do when the flight brought `result`: the store gets the token, or its lease back. `land` gives the
    /// result to whoever waits; it is called once, when that is done or takes too long.
    pub(crate) async fn settle(&mut self, seat: &Seat, result: Settled<'_>, land: impl FnOnce()) {
        let event = match result {
            Settled::Minted(token) => Event::Minted(Arc::clone(token)),
            Settled::Failed { pause } => Event::MintFailed { pause },
        };
        if matches!(event, Event::MintFailed { .. }) && self.flight.fence().is_none() {
            land();
            // A lease that may have been written, though nobody said so, is not left there.
            if let Some(version) = self.unanswered {
                let _released = self
                    .swap(seat, Some(version), Writing::Nothing { pause: None, unreached: self.unreached })
                    .await;
            }
            return;
        }
        let action = self.flight.on(event, seat.engine.clock.moment());
        let mut writing = std::pin::pin!(self.write(seat, action));
        let written = tokio::time::timeout(WRITTEN_WITHIN, &mut writing).await;
        land();
        let newer = match written {
            Ok(newer) => newer,
            Err(_elapsed) => writing.await,
        };
        if let Some(newer) = newer
            && let Some(slot) = seat.slot.upgrade()
        {
            slot.granted(&newer, seat.reason);
        }
    }

    /// Gives a token that another process published in the meantime.
    async fn write(&mut self, seat: &Seat, mut action: Action) -> Option<Arc<CachedToken>> {
        let mut place = None;
        loop {
            let event = match action {
                Action::Publish { expected, shared } => {
                    place = Some(shared.sequence);
                    self.publish(seat, expected, shared).await
                }
                Action::Release { expected, pause } => {
                    let pause = pause.and_then(|pause| self.pause_of(seat, Instant::now() + pause));
                    let written = self
                        .swap(seat, Some(expected), Writing::Nothing { pause, unreached: self.unreached })
                        .await;
                    Self::tell_lease(seat, &written, LeaseOutcome::Released);
                    match written {
                        Ok((version, Swapped::Written { .. })) => Event::Written(version),
                        Ok((_, Swapped::Conflict(seen))) => Event::Conflict(seen.found),
                        Err(_) => Event::StoreFailed,
                    }
                }
                Action::Finish(End::Adopted { shared, version }) => {
                    return match self.adopted(seat, shared, version) {
                        Brought::Adopted(token) => Some(token),
                        Brought::Minted(_) | Brought::Nothing => None,
                    };
                }
                Action::Finish(End::Minted { token, published }) => {
                    let mut known = lock(&self.berth.known);
                    // One that could not be shared, as far as is known, has its place too: it does not come back.
                    known.newest = known.newest.max(place.unwrap_or_default());
                    if let Some((sequence, version)) = published {
                        (known.version, known.held) = (Some(version), Some((token.id(), sequence)));
                    }
                    return None;
                }
                Action::Finish(End::Failed | End::Paused { .. })
                | Action::TakeLease { .. }
                | Action::Load
                | Action::Follow { .. }
                | Action::Mint => return None,
            };
            action = self.flight.on(event, seat.engine.clock.moment());
        }
    }

    async fn publish(&mut self, seat: &Seat, expected: Option<Version>, shared: Shared) -> Event {
        // A token whose age by the store's clock nobody can tell would live longer where the wall clock is behind.
        if self.clock.is_none() && matches!(self.look(seat).await, Event::StoreFailed) {
            return Event::StoreFailed;
        }
        let now = seat.engine.clock.moment();
        let life = shared.token.left(now);
        let writing =
            Writing::Token { obtained_by_store: self.by_store(shared.token.obtained()), shared, life };
        let written = self.swap(seat, expected, writing).await;
        // Where the store failed, the end of the lease is told of when it is given back.
        if written.is_ok() {
            Self::tell_lease(seat, &written, LeaseOutcome::Published);
        }
        match written {
            Ok((version, Swapped::Written { .. })) => Event::Written(version),
            Ok((_, Swapped::Conflict(seen))) => Event::Conflict(seen.found),
            Err(_) => Event::StoreFailed,
        }
    }

    fn tell_lease(seat: &Seat, written: &Result<(Version, Swapped), StoreFault>, outcome: LeaseOutcome) {
        let outcome = match written {
            Ok((_, Swapped::Written { .. })) => outcome,
            Ok((_, Swapped::Conflict(_))) | Err(_) => LeaseOutcome::Lost,
        };
        seat.engine.telemetry.lease(outcome);
    }

    /// Makes a change. One that meets a version of this flight's own is made on top of it: it was written, though nobody said so.
    async fn swap(
        &mut self,
        seat: &Seat,
        expected: Option<Version>,
        writing: Writing,
    ) -> Result<(Version, Swapped), StoreFault> {
        let no_version = || StoreFault::new(StoreFaultKind::LeftAlone, "the system has no random numbers");
        let draft = Draft::new(writing).ok_or_else(no_version)?;
        let version = draft.version;
        self.own.push_back(version);
        if self.own.len() > MOST_VERSIONS {
            self.own.pop_front();
        }
        self.unanswered = Some(version);
        let clock = &seat.engine.clock;
        let mut expected = expected;
        let mut swaps = 1;
        loop {
            let swapped = self.link.swap(&self.berth.place, expected, &draft, || clock.moment()).await?;
            self.unanswered = None;
            let seen = match swapped {
                Swapped::Written { now } => {
                    self.clock = Some((now, clock.moment()));
                    return Ok((version, Swapped::Written { now }));
                }
                Swapped::Conflict(seen) => self.noted(seat, seen),
            };
            let there = seen.found.as_ref().map(|found| found.version);
            if there == Some(version) {
                return Ok((version, Swapped::Written { now: seen.now }));
            }
            let is_own = there.is_some_and(|there| self.own.contains(&there));
            if !is_own || there == expected || swaps == MOST_SWAPS {
                return Ok((version, Swapped::Conflict(seen)));
            }
            (expected, swaps) = (there, swaps + 1);
        }
    }

    /// Notes the store's clock, and takes out what this manager has no use for.
    fn noted(&mut self, seat: &Seat, mut seen: Seen) -> Seen {
        self.clock = Some((seen.now, seat.engine.clock.moment()));
        self.unreached = seen.unreached;
        if let Some(found) = &mut seen.found
            && is_too_narrow(seat, found)
        {
            seat.engine.telemetry.store_unusable(Unusable::NarrowedScope);
            found.token = None;
        }
        seen
    }

    /// What the store's clock showed at `moment`, or a little less.
    fn by_store(&self, moment: Moment) -> Option<u64> {
        let (millis, read) = self.clock?;
        // In this order: where a wall clock that stepped back has both say yes, the token is taken for older.
        match (read.since(moment), moment.since(read)) {
            (Some(earlier), _) => Some(millis.saturating_sub(whole_millis(earlier))),
            (None, Some(later)) => Some(millis.saturating_add(whole_millis(later))),
            (None, None) => None,
        }
    }

    /// How long every process is to leave the server alone after `mishap`: where the server answered, and said so or was not
    /// well. That it could not be reached may be this process's own trouble, as it may be the next one's; when a third one cannot reach it
    /// either, the others need not try in turn.
    pub(crate) fn shared_pause(&mut self, seat: &Seat, mishap: &Mishap) -> Option<Duration> {
        let engine = &*seat.engine;
        match mishap.failure.class {
            FailureClass::Transient => {}
            FailureClass::Terminal | FailureClass::Credential | FailureClass::Local => return None,
        }
        let own = || engine.backoff_policy.transient_pause(1, engine.draw());
        if mishap.error.is_of_the_server() {
            return Some(mishap.failure.retry_after.unwrap_or_else(own));
        }
        let is_for_all;
        (self.unreached, is_for_all) = self.unreached.and(self.link.mark);
        is_for_all.then(own)
    }

    fn pause_of(&self, seat: &Seat, until: Instant) -> Option<Pause> {
        let left = until.saturating_duration_since(Instant::now()).min(LONGEST_PAUSE);
        let now = self.by_store(seat.engine.clock.moment())?;
        (!left.is_zero()).then(|| Pause { until: now.saturating_add(whole_millis(left)), left })
    }
}

impl Drop for Sortie {
    /// However it ends, the next one is not to take what was seen for newer than what this one brought.
    fn drop(&mut self) {
        let mut known = lock(&self.berth.known);
        known.newest = known.newest.max(self.flight.newest());
    }
}

/// How the part of a flight ended that asks the server.
pub(crate) enum Settled<'a> {
    Minted(&'a Arc<CachedToken>),
    Failed {
        /// How long every process is to leave the server alone.
        pause: Option<Duration>,
    },
}

fn is_too_narrow(seat: &Seat, found: &Found) -> bool {
    let granted = found.token.as_ref().and_then(|shared| shared.token.granted_scope());
    match (seat.engine.granted_scope, &seat.key.scope, granted) {
        (GrantedScope::MustBeComplete, Some(requested), Some(granted)) => !requested.is_subset_of(granted),
        (GrantedScope::MustBeComplete | GrantedScope::MayBeNarrower, _, _) => false,
    }
}

fn whole_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
