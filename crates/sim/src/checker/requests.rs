//! The books on token requests: how many, when, and what has to keep them back (I3, I4, I8, I10).

use super::breaker::BreakerBook;
use super::credential::{Refused, Told};
use super::ending::Closing;
use super::tokens::{Forced, GrantBook, Wanted};
use super::{Checker, Invariant};
use crate::clock::Moment;
use crate::event::{LineId, RequestEnd};
use std::collections::{BTreeMap, BTreeSet};

/// Requests of one flight are no further apart than this.
const LONGEST_FLIGHT_MS: u64 = 16_000;
const MINUTE_MS: u64 = 60_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    in_air: BTreeMap<u64, InAir>,
}

#[derive(Clone, Copy, Debug)]
struct InAir {
    line: LineId,
    sent: Moment,
    order: u64,
    forced: Forced,
    superseded: bool,
    secret: u32,
}

/// What is kept of a manager as a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct ManagerBook {
    pause: Option<Pause>,
    pub(super) refused: Option<Refused>,
    pub(super) told: Option<Told>,
    pub(super) closing: Option<Closing>,
    /// So many of its keys, from the first, are prefetched.
    pub(super) prefetched: u8,
    pub(super) failures_in_row: u32,
    pub(super) breaker: BreakerBook,
    /// The probes in the air, those that were taken for lost among them.
    pub(super) probes: BTreeSet<u64>,
    quota_full_at_ms: u64,
    /// When the last pause that it was told is over by the slowest clock.
    pub(super) paused_until_ms: u64,
}

/// A `Retry-After` in force.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until_elapsed_ms: u64,
    order: u64,
}

impl Checker {
    pub(super) fn request_sent(&mut self, request: u64, line: LineId, secret: u32) {
        self.not_after_the_end(line);
        self.prefetched(line);
        let forced = self.forced(line);
        self.one_at_a_time(line);
        self.not_too_early(line);
        self.not_too_often(line);
        self.not_paused(line);
        self.not_refused(line, secret);
        self.through_the_breaker(request, line);
        self.within_the_quota(line);
        let (now, order) = (self.now, self.order);
        let book = self.line(line);
        book.in_air.push(request);
        let begun = book.run.filter(|(_, last_ms)| now.timers_ms <= last_ms + LONGEST_FLIGHT_MS);
        book.run = Some((begun.map_or(order, |(first, _)| first), now.timers_ms));
        let in_air = InAir { line, sent: now, order, forced, superseded: false, secret };
        self.requests.in_air.insert(request, in_air);
    }

    /// Whether requests of this line belong to a flight that has begun.
    pub(super) fn has_flight(&self, line: LineId) -> bool {
        let run = self.lines.get(&line).and_then(|book| book.run);
        run.is_some_and(|(_, last_ms)| self.now.timers_ms <= last_ms + LONGEST_FLIGHT_MS)
    }

    fn forced(&self, line: LineId) -> Forced {
        let Some(book) = self.lines.get(&line) else {
            return Forced::No;
        };
        let recent = book.run.filter(|(_, last_ms)| self.now.timers_ms <= last_ms + LONGEST_FLIGHT_MS);
        match (book.wants_another, recent) {
            (None, _) => Forced::No,
            (Some(Wanted::Perhaps), _) => Forced::Perhaps,
            (Some(Wanted::Since(rejected)), Some((first, _))) if first < rejected => Forced::Perhaps,
            (Some(Wanted::Since(_)), _) => Forced::Yes,
        }
    }

    /// A second request takes the place of the first only when the token was rejected in between.
    fn one_at_a_time(&mut self, line: LineId) {
        let Some(book) = self.lines.get(&line) else {
            return;
        };
        let (wanted, now_ms) = (book.wants_another, self.now.timers_ms);
        let mut crowd = Vec::new();
        for request in &book.in_air {
            if let Some(in_air) = self.requests.in_air.get_mut(request)
                && !in_air.superseded
            {
                // A flight that was not begun for the rejection may try again after it, and may only be about to take off.
                let took_off_with_it = in_air.sent.timers_ms == now_ms;
                let allowed = wanted.is_some() && (in_air.forced != Forced::Yes || took_off_with_it);
                in_air.superseded = true;
                if !allowed {
                    crowd.push(*request);
                }
            }
        }
        if !crowd.is_empty() {
            let seen = format!("{line} sent a request while {crowd:?} was in the air");
            self.violated(Invariant::OneRequest, seen);
        }
    }

    /// At most one mint per half-life, as long as there is no reason for more.
    fn not_too_early(&mut self, line: LineId) {
        let Some(last) = self.lines.get(&line).and_then(|book| book.undisturbed) else {
            return;
        };
        // A token that was granted again keeps the earliest of its ends.
        if self.stepped > last.first_came || self.has_ended(line, last.token) {
            return;
        }
        let wall_ms = self.now.wall_ms.saturating_sub(last.grant.sent.wall_ms);
        let age_ms = wall_ms.max(self.now.boot_ms.saturating_sub(last.grant.sent.boot_ms));
        if age_ms < last.grant.life_ms / 2 {
            let seen = format!(
                "{line} sent a request when its token {} was {age_ms} ms old, of {} ms",
                last.token, last.grant.life_ms
            );
            let forced = last.after_rejection;
            self.violated(if forced { Invariant::OneForcedMint } else { Invariant::OneRequest }, seen);
        }
    }

    fn not_too_often(&mut self, line: LineId) {
        let (now_ms, most) = (self.now.timers_ms, self.rules.most_requests_a_minute);
        let book = self.line(line);
        book.sent_ms.push_back(now_ms);
        while book.sent_ms.front().is_some_and(|sent_ms| sent_ms + MINUTE_MS <= now_ms) {
            book.sent_ms.pop_front();
        }
        let count = book.sent_ms.len();
        if count > most {
            book.sent_ms.clear();
            self.violated(Invariant::OneRequest, format!("{line} sent {count} requests in a minute"));
        }
    }

    fn not_paused(&mut self, line: LineId) {
        let pause = self.managers.get(&line.manager).and_then(|book| book.pause);
        if let Some(pause) = pause
            && self.elapsed_ms < pause.until_elapsed_ms
            && self.stepped_back <= pause.order
        {
            let left_ms = pause.until_elapsed_ms - self.elapsed_ms;
            let seen = format!("{line} sent a request {left_ms} ms before it was to");
            self.violated(Invariant::RetryAfter, seen);
        }
    }

    pub(super) fn quota_is_used_up(&self, manager: u32) -> bool {
        let full_at_ms = self.managers.get(&manager).map_or(0, |book| book.quota_full_at_ms);
        self.rules.quota.is_some_and(|rule| {
            let ahead_ms = rule.interval_ms.saturating_mul(u64::from(rule.burst.saturating_sub(1)));
            full_at_ms.saturating_add(rule.interval_ms) >= self.elapsed_ms.saturating_add(ahead_ms)
        })
    }

    fn within_the_quota(&mut self, line: LineId) {
        let Some(rule) = self.rules.quota else {
            return;
        };
        let elapsed_ms = self.elapsed_ms;
        let book = self.managers.entry(line.manager).or_default();
        // The quota is used up when what was sent reaches so far ahead of the time.
        let mut ahead_ms = rule.interval_ms.saturating_mul(u64::from(rule.burst.saturating_sub(1)));
        if self.stepped_ms.is_some_and(|stepped_ms| self.now.timers_ms <= stepped_ms + LONGEST_FLIGHT_MS) {
            // Those who had a turn before the step wait it out by timers, and come together with those who have one now.
            ahead_ms = ahead_ms.saturating_mul(2).saturating_add(rule.interval_ms);
        }
        let exceeded = book.quota_full_at_ms > elapsed_ms.saturating_add(ahead_ms);
        book.quota_full_at_ms = book.quota_full_at_ms.max(elapsed_ms).saturating_add(rule.interval_ms);
        if exceeded {
            self.violated(Invariant::Quota, format!("{line} sent a request beyond the quota"));
        }
    }

    pub(super) fn request_ended(&mut self, request: u64, end: RequestEnd) {
        let Some(in_air) = self.requests.in_air.remove(&request) else {
            return;
        };
        let line = in_air.line;
        self.line(line).in_air.retain(|other| *other != request);
        self.count_for_the_breaker(request, line, end);
        self.abandoned(request, line, end);
        match end {
            RequestEnd::Granted { token, life_ms } => self.token_arrived(&in_air, token, life_ms),
            RequestEnd::InvalidClient => {
                let book = self.line(line);
                book.undisturbed = None;
                let first = book.run.is_some_and(|(first, _)| first == in_air.order);
                self.secret_refused(line, in_air.secret, in_air.order, first && !in_air.superseded);
            }
            RequestEnd::Answered { status: _, retry_after_ms } => {
                self.line(line).undisturbed = None;
                if let Some(pause_ms) = retry_after_ms {
                    self.pause(line, pause_ms);
                }
            }
            RequestEnd::Broken | RequestEnd::TimedOut | RequestEnd::Abandoned | RequestEnd::Panicked => {
                self.line(line).undisturbed = None;
            }
        }
    }

    fn token_arrived(&mut self, in_air: &InAir, token: u32, life_ms: u64) {
        self.secret_granted(in_air.line.manager, in_air.secret);
        let grant = GrantBook { sent: in_air.sent, came: self.now, life_ms, order: self.order };
        let alive = grant.is_alive_by_wall(self.now) && grant.is_alive_by_boot(self.now);
        let wanted = self.lines.get(&in_air.line).and_then(|book| book.wants_another);
        let may_be_superseded = matches!(wanted, Some(Wanted::Since(rejected)) if in_air.order < rejected)
            && (self.quota_is_used_up(in_air.line.manager) || self.pauses_may_return());
        if in_air.superseded {
            self.line(in_air.line).undisturbed = None;
        } else if may_be_superseded {
            // The flight that the rejection made may wait for its turn in the quota.
            self.granted(in_air.line, token, grant, Forced::Perhaps);
            self.doubt(in_air.line, token);
        } else {
            self.granted(in_air.line, token, grant, in_air.forced);
            if alive {
                self.flight_landed(in_air.line);
            }
        }
    }

    fn pause(&mut self, line: LineId, pause_ms: u64) {
        let pause = Pause { until_elapsed_ms: self.elapsed_ms.saturating_add(pause_ms), order: self.order };
        let longer = |old: Option<Pause>| {
            old.is_none_or(|old| old.until_elapsed_ms < pause.until_elapsed_ms).then_some(pause).or(old)
        };
        let book = self.managers.entry(line.manager).or_default();
        book.pause = longer(book.pause);
        // Half as long again spreads a fleet, and a client without a clock that never steps may wait for twice that.
        self.may_pause(line.manager, pause_ms.saturating_mul(3));
    }

    pub(super) fn may_pause(&mut self, manager: u32, for_ms: u64) {
        let until_ms = self.now.timers_ms.saturating_add(for_ms);
        let book = self.managers.entry(manager).or_default();
        book.paused_until_ms = book.paused_until_ms.max(until_ms);
    }
}
