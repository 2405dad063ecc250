//! The books on token requests: how many, when, and what has to keep them back (I3, I4, I8 to I12).

use super::tokens::{Forced, GrantBook, Wanted};
use super::{BreakerRule, Checker, Invariant};
use crate::clock::Moment;
use crate::event::{LineId, RequestEnd};
use std::collections::BTreeMap;

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
}

/// What is kept of a manager as a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct ManagerBook {
    pause: Option<Pause>,
    pub(super) refused: Option<Refused>,
    /// When it was last told a secret, in events.
    pub(super) secret_replaced: u64,
    failures_in_row: u32,
    breaker: BreakerBook,
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

/// A refused credential that is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    since_elapsed_ms: u64,
    order: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum BreakerBook {
    #[default]
    Closed,
    Open {
        since_elapsed_ms: u64,
        order: u64,
        openings: u32,
    },
    Probing {
        request: u64,
        since_elapsed_ms: u64,
        openings: u32,
    },
}

impl Checker {
    pub(super) fn secret_replaced(&mut self, manager: u32) {
        let order = self.order;
        let book = self.managers.entry(manager).or_default();
        book.secret_replaced = order;
        book.refused = None;
    }

    pub(super) fn request_sent(&mut self, request: u64, line: LineId) {
        if self.managers_gone {
            self.violated(Invariant::NothingLeft, format!("{line} sent a request after the end"));
        }
        let forced = self.forced(line);
        self.one_at_a_time(line);
        self.not_too_early(line);
        self.not_too_often(line);
        self.not_paused(line);
        self.not_refused(line);
        self.through_the_breaker(request, line);
        self.within_the_quota(line);
        let (now, order) = (self.now, self.order);
        let book = self.line(line);
        book.in_air.push(request);
        let begun = book.run.filter(|(_, last_ms)| now.timers_ms <= last_ms + LONGEST_FLIGHT_MS);
        book.run = Some((begun.map_or(order, |(first, _)| first), now.timers_ms));
        self.requests.in_air.insert(request, InAir { line, sent: now, order, forced, superseded: false });
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

    fn not_refused(&mut self, line: LineId) {
        let Some(refused) = self.managers.get(&line.manager).and_then(|book| book.refused) else {
            return;
        };
        let since_ms = self.elapsed_ms - refused.since_elapsed_ms;
        if since_ms < self.rules.terminal_ms && self.stepped_back <= refused.order {
            let seen = format!("{line} sent the refused credential again after {since_ms} ms");
            self.violated(Invariant::TerminalError, seen);
        }
    }

    fn through_the_breaker(&mut self, request: u64, line: LineId) {
        let Some(rule) = self.rules.breaker else {
            return;
        };
        let (elapsed_ms, stepped_back) = (self.elapsed_ms, self.stepped_back);
        let book = self.managers.entry(line.manager).or_default();
        let probing = |openings| BreakerBook::Probing { request, since_elapsed_ms: elapsed_ms, openings };
        let seen = match book.breaker {
            BreakerBook::Closed => None,
            BreakerBook::Open { since_elapsed_ms, order, openings } => {
                book.breaker = probing(openings);
                let open_ms = elapsed_ms - since_elapsed_ms;
                let early = open_ms < rule.window_ms(openings) && stepped_back <= order;
                early.then(|| format!("{line} sent a request {open_ms} ms after the breaker opened"))
            }
            BreakerBook::Probing { since_elapsed_ms, openings, .. }
                if elapsed_ms - since_elapsed_ms >= rule.probe_lost_ms =>
            {
                book.breaker = probing(openings);
                None
            }
            BreakerBook::Probing { request, .. } => {
                Some(format!("{line} sent a request beside the probe {request}"))
            }
        };
        if let Some(seen) = seen {
            self.violated(Invariant::Breaker, seen);
        }
    }

    /// Whether a pause or the breaker may keep this manager from sending anything.
    pub(super) fn is_held_back(&self, manager: u32) -> bool {
        self.managers.get(&manager).is_some_and(|book| {
            let is_closed = matches!(book.breaker, BreakerBook::Closed);
            !is_closed || self.now.timers_ms < book.paused_until_ms
        })
    }

    fn within_the_quota(&mut self, line: LineId) {
        let Some(rule) = self.rules.quota else {
            return;
        };
        let elapsed_ms = self.elapsed_ms;
        let book = self.managers.entry(line.manager).or_default();
        // The quota is used up when what was sent reaches so far ahead of the time.
        let ahead_ms = rule.interval_ms.saturating_mul(u64::from(rule.burst.saturating_sub(1)));
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
        match end {
            RequestEnd::Granted { token, life_ms } => self.token_arrived(&in_air, token, life_ms),
            RequestEnd::InvalidClient => {
                // It is remembered for up to ten times as long when it is refused again and again.
                self.may_pause(line.manager, self.rules.terminal_ms.saturating_mul(10));
                let refused = Refused { since_elapsed_ms: self.elapsed_ms, order: self.order };
                let replaced = self.managers.get(&line.manager).map_or(0, |book| book.secret_replaced);
                self.line(line).undisturbed = None;
                if replaced < in_air.order {
                    self.managers.entry(line.manager).or_default().refused = Some(refused);
                }
            }
            RequestEnd::Answered { status: _, retry_after_ms } => {
                self.line(line).undisturbed = None;
                if let Some(pause_ms) = retry_after_ms {
                    self.pause(line, pause_ms);
                }
            }
            RequestEnd::Broken | RequestEnd::TimedOut | RequestEnd::Abandoned => {
                self.line(line).undisturbed = None;
            }
        }
    }

    fn token_arrived(&mut self, in_air: &InAir, token: u32, life_ms: u64) {
        // Whoever is granted a token is not refused.
        self.managers.entry(in_air.line.manager).or_default().refused = None;
        let grant = GrantBook { sent: in_air.sent, life_ms, order: self.order };
        let alive = grant.is_alive_by_wall(self.now) && grant.is_alive_by_boot(self.now);
        if in_air.superseded {
            self.line(in_air.line).undisturbed = None;
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

    fn may_pause(&mut self, manager: u32, for_ms: u64) {
        let until_ms = self.now.timers_ms.saturating_add(for_ms);
        let book = self.managers.entry(manager).or_default();
        book.paused_until_ms = book.paused_until_ms.max(until_ms);
    }

    fn count_for_the_breaker(&mut self, request: u64, line: LineId, end: RequestEnd) {
        let Some(rule) = self.rules.breaker else {
            return;
        };
        let failed = match end {
            RequestEnd::Broken | RequestEnd::TimedOut => Some(true),
            RequestEnd::Answered { status, .. } => Some(status >= 500),
            RequestEnd::Granted { .. } | RequestEnd::InvalidClient => Some(false),
            // The client's own doing says nothing about the server.
            RequestEnd::Abandoned => None,
        };
        let (elapsed_ms, order) = (self.elapsed_ms, self.order);
        let book = self.managers.entry(line.manager).or_default();
        let open = |openings| BreakerBook::Open { since_elapsed_ms: elapsed_ms, order, openings };
        book.failures_in_row = match failed {
            Some(true) => book.failures_in_row + 1,
            Some(false) => 0,
            None => book.failures_in_row,
        };
        book.breaker = match (book.breaker, failed) {
            (BreakerBook::Closed, Some(true)) if book.failures_in_row >= rule.opens_after => open(0),
            (BreakerBook::Probing { request: probe, openings, .. }, Some(true)) if probe == request => {
                open(openings + 1)
            }
            (BreakerBook::Probing { request: probe, .. }, None) if probe == request => BreakerBook::Closed,
            (state, Some(true) | None) => state,
            (_, Some(false)) => BreakerBook::Closed,
        };
    }
}

impl BreakerRule {
    fn window_ms(&self, openings: u32) -> u64 {
        self.least_window_ms.saturating_mul(1 << openings.min(16)).min(self.most_window_ms)
    }
}
