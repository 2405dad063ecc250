//! What the world is like at the moment: how likely faults are, and which of the servers is in a mood.

use crate::fault::FaultKind;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a server behaves that is down for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outage {
    /// Nobody listens.
    Refusing,
    /// Nobody answers.
    Silent,
    /// Everything is answered with 503.
    Failing,
}

/// The weather of one world.
#[derive(Debug, Default)]
pub struct Weather {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    chance: f64,
    outage: Option<Outage>,
    secret_fault: Option<FaultKind>,
    refuse_all: bool,
    revoked: BTreeSet<u32>,
}

impl Weather {
    /// How likely a request meets a fault.
    pub fn chance(&self) -> f64 {
        self.state().chance
    }

    /// From now on requests meet faults with this likelihood.
    pub fn set_chance(&self, chance: f64) {
        self.state().chance = chance;
    }

    /// How the server is down, if it is.
    pub fn outage(&self) -> Option<Outage> {
        self.state().outage
    }

    /// Takes the server down, or up again.
    pub fn set_outage(&self, outage: Option<Outage>) {
        self.state().outage = outage;
    }

    /// Who is behind with the secret, if anybody is.
    pub fn secret_fault(&self) -> Option<FaultKind> {
        self.state().secret_fault
    }

    /// Says who is behind with the secret.
    pub fn set_secret_fault(&self, fault: Option<FaultKind>) {
        self.state().secret_fault = fault;
    }

    /// Lets the API refuse every token, or no longer.
    pub fn set_refuse_all(&self, refuse_all: bool) {
        self.state().refuse_all = refuse_all;
    }

    /// Revokes a token, for ever.
    pub fn revoke(&self, token: u32) {
        self.state().revoked.insert(token);
    }

    /// Why the API refuses `token` whatever it is, if it does; `draw` is a fraction for the single refusals.
    pub fn refusal(&self, token: u32, draw: f64) -> Option<FaultKind> {
        let state = self.state();
        if state.revoked.contains(&token) {
            return Some(FaultKind::TokenRevoked);
        }
        if state.refuse_all {
            return Some(FaultKind::UnauthorizedStorm);
        }
        (draw < state.chance / 4.0).then_some(FaultKind::TokenRefusedOnce)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
