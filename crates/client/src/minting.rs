//! The token requests of one flight: their attempts, their turn in the quota, and what is made of the answer.

use crate::authorization_server::Granted;
use crate::credentials::InForce;
use crate::error::{TokenError, TokenErrorKind};
use crate::flight::Seat;
use crate::gatekeeper::Settlement;
use crate::manager::{Engine, GrantedScope};
use crate::telemetry::MintOutcome;
use jeton_proto::backoff::{Failure, FailureClass};
use jeton_proto::breaker::{Passage, Phase};
use jeton_proto::gate::CredentialGeneration;
use jeton_proto::lifecycle::{CachedToken, Life, TokenId};
use jeton_proto::time::Moment;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How many token requests one flight makes at most, besides those that try another credential.
const MAX_ATTEMPTS: u32 = 3;
/// How many other credentials one flight tries at most: what the source holds by now, which may change again while the request is
/// on its way, and the one before it.
const MAX_OTHER_CREDENTIALS: u32 = 8;
/// How many of them it tries at once. Before the next there is a pause, each twice as long as the one before: who rotates faster than a
/// request arrives will not do so for ever.
const OTHER_CREDENTIALS_AT_ONCE: u32 = 3;
const FIRST_PAUSE_BETWEEN_CREDENTIALS: Duration = Duration::from_millis(100);
/// The least pause after a token that had expired: `expires_in` is told in whole seconds, so a token in its last second
/// looks so until it is dead and the server makes another.
const EXPIRED_TOKEN_PAUSE: Duration = Duration::from_secs(1);
/// What a wall clock in whole milliseconds may be behind a timer, so that a pause that was slept through is over by both.
const CLOCK_GRAIN: Duration = Duration::from_millis(1);

/// Why a flight brought nothing, and what the slot is to make of it.
pub(crate) struct Mishap {
    pub(crate) error: TokenError,
    pub(crate) failure: Failure,
    pub(crate) with: CredentialGeneration,
}

/// Asks for a token, up to three times within the flight's time.
pub(crate) async fn mint(seat: &Seat) -> Result<Arc<CachedToken>, Mishap> {
    let engine = Arc::clone(&seat.engine);
    let deadline = Instant::now() + engine.total_timeout;
    let mut others = 0;
    let mut attempt = 1;
    loop {
        let in_force = engine.credentials.in_force(left_until(deadline)).await;
        let in_force = in_force.map_err(|error| Mishap::of(error, engine.credentials.generation()))?;
        engine.watch_credential();
        let with = in_force.generation;
        let error = match attempt_once(seat, &in_force, deadline, attempt).await {
            Ok(Ok(token)) => return Ok(token),
            Ok(Err(error)) => error,
            // Somebody else's request was refused with this credential in the meantime: there may be another by now.
            Err(_) if others < MAX_OTHER_CREDENTIALS && overtaken(&engine, with, deadline).await => {
                others += 1;
                continue;
            }
            Err(unsent) => return Err(unsent),
        };
        let mishap = Mishap::of(error, with);
        if mishap.failure.class == FailureClass::Credential && others < MAX_OTHER_CREDENTIALS {
            let asking = engine.credentials.whom_to_ask();
            others += 1;
            if engine.credentials.replacing(with, asking, left_until(deadline)).await.is_some() {
                tracing::info!("the credential was replaced, trying the new one");
                if pause_between_credentials(seat, others, deadline).await {
                    continue;
                }
                return Err(mishap);
            }
            others = MAX_OTHER_CREDENTIALS;
            engine.look_soon();
        }
        let pause =
            engine.backoff_policy.transient_pause(attempt, engine.draw()).max(least_pause(&mishap.error));
        let closed_for = engine.gatekeeper.closed_for(with, engine.clock.moment());
        let pause = pause.max(closed_for.unwrap_or_default()).saturating_add(CLOCK_GRAIN);
        let error = &mishap.error;
        let in_time = Instant::now() + pause + engine.least_time_for_a_request() <= deadline;
        if attempt >= MAX_ATTEMPTS || !worth_another_attempt(error) || !in_time {
            return Err(mishap);
        }
        tracing::debug!(%error, attempt, pause_ms = pause.as_millis(), "token request failed, trying again");
        seat.pauses_until(Instant::now() + pause);
        tokio::time::sleep(pause).await;
        if !seat.is_current() {
            return Err(mishap);
        }
        attempt += 1;
    }
}

/// Waits before the next of `others` credentials is tried, where several were refused one after the other; whether there is time for it.
async fn pause_between_credentials(seat: &Seat, others: u32, deadline: Instant) -> bool {
    let Some(doublings) = others.checked_sub(OTHER_CREDENTIALS_AT_ONCE + 1) else { return true };
    let pause = FIRST_PAUSE_BETWEEN_CREDENTIALS.saturating_mul(1 << doublings);
    let until = Instant::now() + pause;
    if until + seat.engine.least_time_for_a_request() > deadline {
        return false;
    }
    seat.pauses_until(until);
    tokio::time::sleep_until(until).await;
    seat.is_current()
}

/// Whether the credential `with` was refused, and another one is in force.
async fn overtaken(engine: &Engine, with: CredentialGeneration, deadline: Instant) -> bool {
    let refused = engine.gatekeeper.refused(with, engine.clock.moment()).is_some();
    refused && engine.credentials.is_newer_than(with, left_until(deadline)).await
}

/// One token request, when its turn has come and the way is free: the outer error is a request that was not sent.
async fn attempt_once(
    seat: &Seat,
    in_force: &InForce,
    deadline: Instant,
    attempt: u32,
) -> Result<Result<Arc<CachedToken>, TokenError>, Mishap> {
    let (engine, with) = (&*seat.engine, in_force.generation);
    // Looked at before a turn is taken, since what is not sent is not to use the quota up.
    if engine.gatekeeper.closed_for(with, engine.clock.moment()).is_some() {
        return Err(Mishap::unsent(engine.why_closed(with), with));
    }
    wait_for_turn(seat, with, deadline).await?;
    let Some(pass) = Pass::obtain(engine, with) else {
        return Err(Mishap::unsent(engine.why_closed(with), with));
    };
    let left = left_until(deadline);
    let (minting, begun) = (engine.telemetry.mint_began(seat.reason), Instant::now());
    let answer = engine.server.request_token(&seat.key, &in_force.credential, left).await;
    let outcome = answer.and_then(|granted| accept(seat, granted));
    minting.ended(outcome.as_ref().map_or_else(MintOutcome::of, |_| MintOutcome::Granted), begun.elapsed());
    if let Some(skew) = engine.server.skew() {
        engine.telemetry.clock_skew(skew.at_least_seconds());
    }
    pass.settle(&outcome);
    if outcome.is_ok() {
        engine.credentials.accepted(with);
    }
    engine.tell_credential();
    if let Ok(token) = &outcome {
        tracing::debug!(token = %token.id(), attempt, expires_at = %token.expires_at(), "token minted");
    }
    Ok(outcome)
}

/// Waits for a turn in the quota, for half of the time that is left at most: a request that has hardly any time would end
/// in a time-out that is not the server's (trap T26).
async fn wait_for_turn(seat: &Seat, with: CredentialGeneration, deadline: Instant) -> Result<(), Mishap> {
    let engine = &*seat.engine;
    let patience = left_until(deadline) / 2;
    let turn = engine.reserve_turn(patience).map_err(|error| {
        engine.telemetry.quota_refused();
        Mishap::not_before(error, with)
    })?;
    if !turn.is_zero() {
        tracing::warn!(wait_ms = turn.as_millis(), "the request quota is used up, waiting for a turn");
        tokio::time::sleep(turn).await;
        if !seat.is_current() {
            return Err(Mishap::unsent(TokenError::new(TokenErrorKind::FlightLost), with));
        }
    }
    Ok(())
}

/// Leave to send one request, given back when the request is dropped before its end (trap T26).
struct Pass<'a> {
    engine: &'a Engine,
    passage: Option<Passage>,
    with: CredentialGeneration,
    obtained: Moment,
}

impl<'a> Pass<'a> {
    fn obtain(engine: &'a Engine, with: CredentialGeneration) -> Option<Self> {
        let obtained = engine.clock.moment();
        let passage = engine.gatekeeper.admit(with, obtained)?;
        if let Passage::Probe { .. } = passage {
            engine.telemetry.breaker(Phase::HalfOpen);
            tracing::debug!("probing a token endpoint that was down");
        }
        Some(Self { engine, passage: Some(passage), with, obtained })
    }

    fn settle(mut self, outcome: &Result<Arc<CachedToken>, TokenError>) {
        let (engine, with) = (self.engine, self.with);
        let (jitter, now) = (engine.draw(), engine.clock.moment());
        let Some(passage) = self.passage.take() else { return };
        let outcome = outcome.as_ref().map(|_| ());
        let (before, after) = engine.gatekeeper.settle(passage, &Settlement { outcome, with, jitter, now });
        engine.telemetry.breaker(after);
        if (before, after) == (Phase::Closed, Phase::Open) {
            tracing::warn!("the token endpoint is down; it is asked by one probe at a time from now on");
        } else if before != Phase::Closed && after == Phase::Closed {
            tracing::info!("the token endpoint is up again");
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(passage) = self.passage.take() {
            self.engine.gatekeeper.abandon(passage, self.with, self.obtained);
        }
    }
}

impl Mishap {
    pub(crate) fn of(error: TokenError, with: CredentialGeneration) -> Self {
        Self { failure: error.failure(), error, with }
    }

    /// Nothing was sent, because the way is closed or the flight given up: it tells nothing of the server, whatever error
    /// the callers are told, and the slot makes no pause of its own of it.
    pub(crate) fn unsent(error: TokenError, with: CredentialGeneration) -> Self {
        let failure = Failure { class: FailureClass::Local, retry_after: None };
        Self { error, failure, with }
    }

    /// Nothing was sent, and nothing is worth trying before the time that `error` tells.
    pub(crate) fn not_before(error: TokenError, with: CredentialGeneration) -> Self {
        let failure = Failure { class: FailureClass::Local, retry_after: error.retry_after() };
        Self { error, failure, with }
    }
}

fn left_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// A time-out is not worth another attempt within the flight: everybody has waited for that long already.
fn worth_another_attempt(error: &TokenError) -> bool {
    error.is_retryable() && !error.took_all_its_time()
}

fn least_pause(error: &TokenError) -> Duration {
    if matches!(error.kind(), TokenErrorKind::ExpiredToken { .. }) {
        EXPIRED_TOKEN_PAUSE
    } else {
        Duration::ZERO
    }
}

/// Makes a cached token of a granted one.
fn accept(seat: &Seat, granted: Granted) -> Result<Arc<CachedToken>, TokenError> {
    let engine = &seat.engine;
    let response = granted.response;
    if let (GrantedScope::MustBeComplete, Some(requested), Some(scope)) =
        (engine.granted_scope, &seat.key.scope, &response.scope)
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
    let held = seat.slot.upgrade().map(|slot| slot.cell.load().slot.clone()).unwrap_or_default();
    let life = held
        .lifetime_of(id, response.expires_in, &engine.refresh_policy, granted.sent)
        .and_then(|life| shortened(life, granted.age))
        .ok_or_else(expired)?;
    // The parser let visible ASCII through, so the header can be made.
    let token = CachedToken::new(response.access_token, response.scope, granted.sent, life);
    let token = token.map_err(|_| expired())?;
    if token.left(engine.clock.moment()).is_zero() {
        return Err(expired());
    }
    Ok(Arc::new(token))
}

fn shortened(life: Life, age: Duration) -> Option<Life> {
    let left = |span: Duration| span.checked_sub(age).filter(|left| !left.is_zero());
    match life {
        Life::Stated(span) => left(span).map(Life::Stated),
        Life::Assumed(span) => left(span).map(Life::Assumed),
    }
}
