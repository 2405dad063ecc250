//! A connection to one server, or to whichever is the master now: made on first use, and made again when it breaks.

use super::address::Address;
use super::connection::Connection;
use super::dialler::{Dialler, Driver};
use super::fault;
use super::followers::Followers;
use super::sentinel::Sentinels;
use crate::store::StoreFault;
use crate::sync::{Mutex, lock};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// The longest that connecting takes, with everything that belongs to it.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The waits between tries to connect grow from the one to the other.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where a link leads to.
pub(super) enum Place {
    Fixed(Address),
    /// Wherever the sentinels say.
    Master(Sentinels),
}

/// How to get there.
pub(super) struct Route {
    pub(super) dialler: Arc<Dialler>,
    pub(super) place: Place,
    pub(super) followers: Arc<Followers>,
}

/// A connection that is kept up for as long as this is there.
pub(super) struct Link {
    route: Arc<Route>,
    state: Mutex<Option<watch::Receiver<State>>>,
}

#[derive(Clone)]
enum State {
    /// The first try since the last connection, or ever. It is worth waiting for.
    Connecting,
    Up(Connection),
    /// The last try failed; the next one comes by itself.
    Down(StoreFault),
}

impl Link {
    /// Does nothing yet.
    pub(super) fn new(route: Route) -> Self {
        Self { route: Arc::new(route), state: Mutex::new(None) }
    }

    /// The connection: waited for when it is being made for the first time, or again after it broke; not waited
    /// for when that failed.
    pub(super) async fn connection(&self) -> Result<Connection, StoreFault> {
        if let Some(connection) = self.connected() {
            return Ok(connection);
        }
        let mut state = self.kept_up();
        let state = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        match state.as_deref() {
            Ok(State::Up(connection)) => Ok(connection.clone()),
            Ok(State::Down(fault)) => Err(fault.clone()),
            Ok(State::Connecting) | Err(_) => Err(fault::unreachable(
                &self.route.place.to_string(),
                "the runtime that kept the connection ended",
            )),
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.route.place
    }

    /// The connection, if there is one now.
    pub(super) fn connected(&self) -> Option<Connection> {
        let state = lock(&self.state);
        let state = state.as_ref().filter(|state| state.has_changed().is_ok())?;
        match &*state.borrow() {
            State::Up(connection) => Some(connection.clone()),
            State::Connecting | State::Down(_) => None,
        }
    }

    /// Sees to it that somebody keeps the connection up: its task ends with its runtime, of which there may be several.
    fn kept_up(&self) -> watch::Receiver<State> {
        let mut state = lock(&self.state);
        if let Some(receiver) = state.as_ref().filter(|receiver| receiver.has_changed().is_ok()) {
            return receiver.clone();
        }
        let (sender, receiver) = watch::channel(State::Connecting);
        *state = Some(receiver.clone());
        tokio::spawn(keep_up(Arc::clone(&self.route), sender));
        receiver
    }
}

/// Connects, and connects again, until nobody is interested any more.
async fn keep_up(route: Arc<Route>, state: watch::Sender<State>) {
    let mut failures = 0;
    loop {
        tokio::select! {
            () = state.closed() => return,
            () = one_life(&route, &state, &mut failures) => {}
        }
        tokio::select! {
            () = state.closed() => return,
            () = sleep(pause(failures)) => {}
        }
    }
}

/// One connection from its making to its end, or one try to make it.
async fn one_life(route: &Route, state: &watch::Sender<State>, failures: &mut u32) {
    let opened = match timeout(CONNECT_WITHIN, route.open()).await {
        Ok(opened) => opened,
        Err(_) => Err(fault::timed_out(&route.place.to_string(), "no connection", CONNECT_WITHIN)),
    };
    let (connection, mut driver) = match opened {
        Ok(opened) => opened,
        Err(fault) => {
            tracing::debug!(%fault, "no connection to the store");
            *failures = failures.saturating_add(1);
            state.send_replace(State::Down(fault));
            return;
        }
    };
    let since = Instant::now();
    state.send_replace(State::Up(connection.clone()));
    route.followers.unsettled();
    let fault = tokio::select! {
        () = driver.ended() => fault::unreachable(connection.server(), "the connection broke"),
        fault = connection.ailing(since) => fault,
    };
    tracing::debug!(%fault, "a connection to the store is over");
    // A server that hangs up on us at once is not to be asked as often as it does.
    *failures = if since.elapsed() < LONGEST_PAUSE { failures.saturating_add(1) } else { 0 };
    state.send_replace(if *failures > 1 { State::Down(fault) } else { State::Connecting });
    // Those who wait for an answer learn now that there will be none; those who follow look for themselves.
    drop(driver);
    route.followers.unsettled();
}

fn pause(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        some => {
            let longest = SHORTEST_PAUSE.saturating_mul(2u32.saturating_pow(some.min(16))).min(LONGEST_PAUSE);
            // A fleet that lost its store at once is not to come back at once.
            longest.mul_f64(0.5 + fastrand::f64() / 2.0)
        }
    }
}

impl Route {
    async fn open(&self) -> Result<(Connection, Driver), StoreFault> {
        let followers = Some(Arc::clone(&self.followers));
        match &self.place {
            Place::Fixed(address) => Connection::open(&self.dialler, address, followers).await,
            Place::Master(sentinels) => sentinels.master(&self.dialler, followers).await,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(address) => write!(f, "{address}"),
            Self::Master(sentinels) => write!(f, "master `{}`", sentinels.master_name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_and_stay_within_a_second() {
        assert_eq!(pause(0), Duration::ZERO);
        for failures in 1..100 {
            let longest = if failures > 4 { 1000 } else { 50 << failures };
            let pause = pause(failures).as_millis();
            assert!((longest / 2..=longest).contains(&pause), "{failures}: {pause} of {longest}");
        }
    }
}
