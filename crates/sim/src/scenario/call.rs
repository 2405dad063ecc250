//! Callers: what they ask for, and what is noted of what they get.

use super::log::{Call, Log, Outcome};
use super::server::{FIRST_SECRET, Server, number_of};
use super::step::{CallForm, How, Then};
use crate::clock::{WorldClock, millis};
use jeton::{TokenError, TokenHandle};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The longest wait of a caller that names none, as the manager's settings have it.
pub(super) const USUAL_WAIT: Duration = Duration::from_secs(15);
/// By how much a timer may be late, which counts in milliseconds.
const TIMER_STEP_MS: u64 = 2;

/// What callers and steps share.
pub(super) struct Stage {
    pub(super) clock: Arc<WorldClock>,
    pub(super) log: Arc<Mutex<Log>>,
    pub(super) server: Arc<Server>,
    pub(super) deaths: Deaths,
    /// The error that was looked at last: callers share them, and reading one takes longer than all the rest of a call.
    pub(super) last_error: Mutex<Option<TokenError>>,
}

/// Whether a dead token that is given out can be held against the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deaths {
    Judged,
    /// The server told another life than the true one, or there is no boot clock and the wall clock steps back: nobody
    /// could know.
    Unknowable,
}

impl Stage {
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.clock.moment().timers_ms
    }

    pub(super) fn broken(&self, what: String) {
        let now_ms = self.now_ms();
        self.log().broken.push((now_ms, what));
    }

    fn judge_error(&self, error: &TokenError) {
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_some_and(|last| std::ptr::eq(last.kind(), error.kind())) {
            return;
        }
        if format!("{error} {error:?}").contains(FIRST_SECRET) {
            self.broken("a caller was told the secret".to_owned());
        }
        *last = Some(error.clone());
    }

    fn judge_token(&self, number: u64) {
        let boot_ms = self.clock.moment().boot_ms;
        match self.server.death_of(number) {
            None => self.broken(format!("token {number} was given out, and never granted")),
            Some(death_ms) if self.deaths == Deaths::Judged && boot_ms >= death_ms => {
                let late_ms = boot_ms - death_ms;
                self.broken(format!("token {number} was given out {late_ms} ms after its death"));
            }
            Some(_) => {}
        }
    }
}

/// Asks as `call` says, again and again until `until` where it says so.
pub(super) async fn caller(stage: Arc<Stage>, handle: TokenHandle, call: Arc<CallForm>, until: Instant) {
    let name: Arc<str> = Arc::from(&*call.name);
    loop {
        ask(&stage, &handle, &call, &name).await;
        let Some(every) = call.every else { return };
        sleep(every.0).await;
        if Instant::now() >= until {
            return;
        }
    }
}

async fn ask(stage: &Stage, handle: &TokenHandle, call: &CallForm, name: &Arc<str>) {
    let within = call.within.map_or(USUAL_WAIT, |within| within.0);
    let mut asking = Asking { stage, name, asked_ms: stage.now_ms(), outcome: None };
    let got = match call.how {
        How::Wait => match handle.token_within(within).await {
            Ok(token) => Ok(Some((token.id(), number_of(token.access_token()), token.lifetime()))),
            Err(error) => Err(error),
        },
        How::Look => {
            let look =
                |token: &jeton::CachedToken| (token.id(), number_of(token.access_token()), token.lifetime());
            Ok(handle.get_with(look))
        }
    };
    let late_ms = (stage.now_ms() - asking.asked_ms).saturating_sub(millis(within));
    if late_ms > TIMER_STEP_MS {
        stage.broken(format!("a call of \"{name}\" was answered {late_ms} ms after its deadline"));
    }
    asking.outcome = Some(match got {
        Ok(Some((id, number, life))) => {
            let number = number.unwrap_or_default();
            stage.judge_token(number);
            match call.then {
                Then::Nothing => {}
                Then::Accept => handle.accept(id),
                Then::Reject => handle.reject(id),
            }
            Outcome::Token { number, life_ms: millis(life) }
        }
        Ok(None) => Outcome::Waiting,
        Err(error) => {
            stage.judge_error(&error);
            Outcome::Error(error)
        }
    });
}

/// A call under way. Dropping it without an outcome is how a caller is cancelled.
struct Asking<'a> {
    stage: &'a Stage,
    name: &'a Arc<str>,
    asked_ms: u64,
    outcome: Option<Outcome>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let answered_ms = self.stage.now_ms();
        let outcome = self.outcome.take().unwrap_or(Outcome::Cancelled);
        let (name, asked_ms) = (Arc::clone(self.name), self.asked_ms);
        self.stage.log().calls.push(Call { name, asked_ms, answered_ms, outcome });
    }
}
