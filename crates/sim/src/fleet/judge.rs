//! Whether what passes between a fleet, its store and its server is as it has to be.

use super::issuer::Issuer;
use super::plan::{Plan, Storms};
use super::process::Call;
use crate::clock::{BootClock, millis};
use std::collections::BTreeMap;
use std::fmt;

/// For so long after a trouble what it caused may still be under way: a flight, a lease, a pause.
const SETTLES_MS: u64 = 35_000;
/// By how much the time at which something is seen may be off.
const GRAIN_MS: u64 = 500;
/// For how long a token that was fetched for a rejection may be given out though it is rejected too, beyond a quarter of its life.
const PROBATION_MS: u64 = 5_000;
/// A token request takes no longer than this while all is well.
const OVERLAP_MS: u64 = 1_000;
/// So many of the newest tokens of a key may be in hand at once when all is well.
const MOST_IN_HAND: usize = 3;

/// What has to hold of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// While all is well one process asks for a token of a key, and not before half of the last one's life is over, or it was
    /// revoked.
    OneRequest,
    /// Where processes are killed and nothing else happens, each kill costs one request at most.
    OnePerKill,
    /// A token that is given out was granted for the key that it is given out for.
    RightToken,
    /// It lives.
    NoDeadToken,
    /// It was not rejected in this process.
    RejectedStaysAway,
    /// While the server is well every call gets a token, whatever the store does.
    NoCallFails,
    /// Once all is well everybody has a token that was shared.
    SharesAgain,
    /// Nothing that the store is given shows a secret.
    NothingShown,
    /// Nothing panics.
    NoPanic,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::OneRequest,
        Self::OnePerKill,
        Self::RightToken,
        Self::NoDeadToken,
        Self::RejectedStaysAway,
        Self::NoCallFails,
        Self::SharesAgain,
        Self::NothingShown,
        Self::NoPanic,
    ];
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// When.
    pub at_ms: u64,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, at {} ms: {}", self.invariant, self.at_ms, self.seen)
    }
}

/// A process in one of its lives.
type Life = (usize, u32);

#[derive(Debug)]
struct InAir {
    process: usize,
    sent_ms: u64,
}

/// Looks at everything that happens.
#[derive(Debug)]
pub struct Judge {
    plan: Plan,
    /// Until when what went wrong may have consequences.
    unsettled_until_ms: u64,
    /// The same for what went wrong with the server.
    server_unwell_until_ms: u64,
    /// When each process was last held still.
    thawed_ms: BTreeMap<usize, u64>,
    /// When the wall clock of each process that has no other last stepped back.
    stepped_back_ms: BTreeMap<usize, u64>,
    /// When the store's clock last stepped back.
    store_stepped_back_ms: u64,
    in_air: BTreeMap<u8, Vec<InAir>>,
    revoked_ms: BTreeMap<u8, u64>,
    needless: u64,
    kills: u64,
    first_given_ms: BTreeMap<(Life, usize), u64>,
    rejected_ms: BTreeMap<(Life, usize), u64>,
    in_hand: BTreeMap<(usize, u8), usize>,
    violations: Vec<Violation>,
}

impl Judge {
    /// One that has seen nothing.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            unsettled_until_ms: 0,
            server_unwell_until_ms: 0,
            thawed_ms: BTreeMap::new(),
            stepped_back_ms: BTreeMap::new(),
            store_stepped_back_ms: 0,
            in_air: BTreeMap::new(),
            revoked_ms: BTreeMap::new(),
            needless: 0,
            kills: 0,
            first_given_ms: BTreeMap::new(),
            rejected_ms: BTreeMap::new(),
            in_hand: BTreeMap::new(),
            violations: Vec::new(),
        }
    }

    /// What did not hold: the first of each.
    pub fn into_violations(self) -> Vec<Violation> {
        self.violations
    }

    /// Notes what was seen.
    pub fn violated(&mut self, invariant: Invariant, at_ms: u64, seen: String) {
        if self.violations.iter().all(|violation| violation.invariant != invariant) {
            self.violations.push(Violation { invariant, at_ms, seen });
        }
    }

    /// Something went wrong, whose consequences last for so much longer than usual.
    pub fn troubled(&mut self, now_ms: u64, longer_ms: u64) {
        self.unsettled_until_ms = self.unsettled_until_ms.max(now_ms + SETTLES_MS + longer_ms);
    }

    /// The server is unwell, and may have asked for a pause of so long.
    pub fn server_troubled(&mut self, now_ms: u64, pause_ms: u64) {
        let until_ms = now_ms + 2 * SETTLES_MS + 2 * pause_ms;
        self.server_unwell_until_ms = self.server_unwell_until_ms.max(until_ms);
        self.troubled(now_ms, SETTLES_MS + 2 * pause_ms);
    }

    /// A process goes on that was held still.
    pub fn thawed(&mut self, process: usize, now_ms: u64) {
        self.thawed_ms.insert(process, now_ms);
        self.troubled(now_ms, 0);
    }

    /// The store's clock stepped back.
    pub fn store_stepped_back(&mut self, now_ms: u64) {
        self.store_stepped_back_ms = now_ms;
    }

    /// The wall clock of a process stepped back.
    pub fn stepped_back(&mut self, process: usize, now_ms: u64) {
        if self.plan.boot == BootClock::Absent {
            self.stepped_back_ms.insert(process, now_ms);
        }
    }

    /// A process was killed.
    pub fn killed(&mut self, process: usize, now_ms: u64) {
        self.kills += 1;
        if self.plan.storms != Storms::Kills {
            self.troubled(now_ms, 0);
        }
        for flying in self.in_air.values_mut() {
            flying.retain(|in_air| in_air.process != process);
        }
        self.in_hand.retain(|(holder, _), _| *holder != process);
    }

    /// APIs refuse the newest token of a key.
    pub fn revoked(&mut self, key: u8, now_ms: u64) {
        self.revoked_ms.insert(key, now_ms);
    }

    /// A token request of `process` for `key` was sent.
    pub fn asked(&mut self, issuer: &Issuer, process: usize, key: u8, sent_ms: u64) {
        let flying = self.in_air.entry(key).or_default();
        let other = flying.iter().find(|in_air| in_air.process != process);
        let beside =
            other.map(|other| format!("while process {} asks since {} ms", other.process, other.sent_ms));
        let since_ms = other.map_or(sent_ms, |other| other.sent_ms);
        flying.push(InAir { process, sent_ms });
        // Who rejected a token waits for nobody whose request may have been sent before that.
        let rejected_ms = self.revoked_ms.get(&key).map_or(0, |revoked_ms| revoked_ms + SETTLES_MS);
        let newest = issuer.grants_of(key).next();
        let half_ms = millis(self.plan.life) / 2;
        let early =
            newest.filter(|(_, grant)| !grant.revoked && sent_ms + GRAIN_MS < grant.asked_ms + half_ms);
        // That one may have been answered by now.
        let early =
            early.filter(|(_, grant)| rejected_ms < sent_ms || sent_ms >= grant.asked_ms + OVERLAP_MS);
        let asked_ms = early.map_or(since_ms, |(_, grant)| grant.asked_ms.min(since_ms));
        let why = beside.filter(|_| rejected_ms < sent_ms).or_else(|| {
            early.map(|(number, grant)| format!("{} ms after token {number}", sent_ms - grant.asked_ms))
        });
        let Some(why) = why else { return };
        self.needless += 1;
        if self.needless > self.kills && self.plan.storms == Storms::Kills {
            let seen =
                format!("{} needless requests after {} kills: key {key} {why}", self.needless, self.kills);
            self.violated(Invariant::OnePerKill, sent_ms, seen);
        }
        let is_settled = asked_ms.min(sent_ms) > self.unsettled_until_ms;
        if is_settled && self.plan.storms != Storms::Kills {
            let seen = format!("process {process} asks for key {key} {why}");
            self.violated(Invariant::OneRequest, sent_ms, seen);
        }
    }

    /// The request has its answer, or never will.
    pub fn answered(&mut self, process: usize, key: u8) {
        if let Some(flying) = self.in_air.get_mut(&key)
            && let Some(at) = flying.iter().position(|in_air| in_air.process == process)
        {
            flying.remove(at);
        }
    }

    /// A call was answered.
    pub fn called(&mut self, issuer: &Issuer, call: &Call) {
        let Call { process, incarnation, key, asked_ms, answered_ms, .. } = *call;
        let life = (process, incarnation);
        let number = match &call.got {
            Ok(Some(number)) => *number,
            Ok(None) => {
                return self.violated(Invariant::RightToken, answered_ms, "a token of nobody".to_owned());
            }
            Err(error) => {
                let was_held =
                    self.thawed_ms.get(&process).is_some_and(|thawed_ms| *thawed_ms + 1000 >= asked_ms);
                if asked_ms > self.server_unwell_until_ms && !was_held {
                    let seen = format!("process {process} got no token of key {key}: {error}");
                    self.violated(Invariant::NoCallFails, answered_ms, seen);
                }
                return;
            }
        };
        let grant = issuer.grant(number).filter(|grant| grant.key == key);
        let Some(grant) = grant else {
            let seen = format!("process {process} gave token {number} out for key {key}");
            return self.violated(Invariant::RightToken, answered_ms, seen);
        };
        // Who has no clock but one that stepped back cannot know, and no more can who is told by a store whose clock did.
        let stepped_ms = self.stepped_back_ms.get(&process).copied().unwrap_or_default();
        let stepped_ms = stepped_ms.max(self.store_stepped_back_ms);
        if answered_ms >= grant.dies_at_ms && stepped_ms < grant.asked_ms.saturating_sub(GRAIN_MS) {
            let late_ms = answered_ms - grant.dies_at_ms;
            let seen = format!("process {process} gave token {number} out {late_ms} ms after its end");
            self.violated(Invariant::NoDeadToken, answered_ms, seen);
        }
        let first_ms = *self.first_given_ms.entry((life, number)).or_insert(answered_ms);
        if let Some(rejected_ms) = self.rejected_ms.get(&(life, number)).filter(|at_ms| **at_ms < asked_ms) {
            let seen = format!("process {process} gave token {number} out, rejected at {rejected_ms} ms");
            self.violated(Invariant::RejectedStaysAway, answered_ms, seen);
        }
        // What was fetched for a rejection is on probation at first.
        let probation_ms = millis(self.plan.life) / 4 + PROBATION_MS;
        if call.is_rejected && answered_ms >= first_ms + probation_ms {
            self.rejected_ms.entry((life, number)).or_insert(answered_ms);
        }
        self.in_hand.insert((process, key), number);
    }

    /// All has been well for long: who has what?
    pub fn recovered(&mut self, issuer: &Issuer, now_ms: u64) {
        for process in 0..self.plan.processes {
            for key in 0..self.plan.keys {
                let newest: Vec<usize> =
                    issuer.grants_of(key).take(MOST_IN_HAND).map(|(number, _)| number).collect();
                let held = self.in_hand.get(&(process, key)).copied();
                if held.is_none_or(|held| !newest.contains(&held)) {
                    let seen = format!(
                        "process {process} has {held:?} of key {key}, where {newest:?} are the newest"
                    );
                    self.violated(Invariant::SharesAgain, now_ms, seen);
                }
            }
        }
    }
}
