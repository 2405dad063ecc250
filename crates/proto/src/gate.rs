//! Whether one client may ask one endpoint now, for whatever scope: a pause that the server asked for, a client that it
//! refused, and the client's own quota.
//!
//! What a [`Slot`](crate::lifecycle::Slot) remembers concerns one scope; a `Retry-After` and an `invalid_client` concern
//! all of them (traps T18 and T24). A breaker concerns all clients of the endpoint, so it stands [apart](crate::breaker).

use crate::backoff::{Backoff, BackoffPolicy, Failure, FailureClass};
use crate::quota::{Quota, QuotaExhausted, QuotaPolicy};
use crate::time::Moment;
use std::time::Duration;

/// Which credential of a client, counted from its first. A refusal is remembered of the credential that was refused, so
/// that replacing it makes an end of that at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialGeneration(u64);

impl CredentialGeneration {
    /// The one that replaces this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// How many there were before this one.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.0
    }
}

/// How many credentials in a row are tried at once, each because it is another one than was refused: what one token request may
/// come upon while a rotation is under way, and some more. A source that tells another one with each read, as one that is broken or
/// written to by two does, is no way around the pauses (trap T24).
const MAX_REFUSED_IN_A_ROW: u32 = 12;
/// After how long without a refusal the count begins anew.
const IN_A_ROW_WITHIN: Duration = Duration::from_mins(15);

/// What one client knows of one endpoint.
///
/// ```
/// use jeton_proto::backoff::{BackoffPolicy, Failure, FailureClass};
/// use jeton_proto::gate::{CredentialGeneration, Gate};
/// use jeton_proto::time::{Moment, Timestamp};
///
/// let now = Moment::from(Timestamp::from_unix_seconds(1_000_000));
/// let (old, new) = (CredentialGeneration::default(), CredentialGeneration::default().next());
/// let refused = Failure { class: FailureClass::Credential, retry_after: None };
/// let gate = Gate::default().failed(refused, old, &BackoffPolicy::default(), 0.5, now);
///
/// assert!(gate.closed_for(old, now).is_some(), "the refused credential is not sent again");
/// assert!(gate.closed_for(new, now).is_none(), "another one is");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate {
    pause: Option<Pause>,
    refusal: Option<Refusal>,
    quota: Quota,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    since: Moment,
    span: Duration,
}

impl Pause {
    /// This pause, which is to end `span` after `now`.
    fn prolonged(self, span: Duration, now: Moment) -> Self {
        let passed = now.since(self.since).unwrap_or_default();
        Self { since: self.since, span: passed.saturating_add(span) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Refusal {
    backoff: Backoff,
    /// The newest credential that was refused.
    of: CredentialGeneration,
    /// How many were, each sent after the one before it was refused, with no grant in between.
    in_a_row: u32,
    /// The oldest one that was sent since the last of them was refused.
    tried: Option<CredentialGeneration>,
    /// When the last one was refused.
    at: Moment,
    /// The one request that finds out whether it still holds, once it was forgotten, and until when others wait for that.
    trial: Option<Pause>,
}

impl Refusal {
    /// Whether it holds for the credential `with`: it is the one that was refused, or one more after too many.
    fn holds_for(&self, with: CredentialGeneration) -> bool {
        self.of == with || (self.of < with && self.in_a_row >= MAX_REFUSED_IN_A_ROW)
    }

    /// How many are refused in a row once `with` is too, and what was tried since. Those that were on their way together count
    /// as one.
    fn in_a_row_with(&self, with: CredentialGeneration, now: Moment) -> (u32, Option<CredentialGeneration>) {
        let pause = self.backoff.pause().saturating_add(IN_A_ROW_WITHIN);
        let is_later = self.of != with && self.tried.is_some_and(|tried| tried <= with);
        match now.left_of(pause, self.at) {
            Some(_) if is_later => (self.in_a_row.saturating_add(1), None),
            Some(_) => (self.in_a_row, self.tried),
            None => (1, None),
        }
    }

    fn remaining(&self, now: Moment) -> Option<Duration> {
        let tried = self.trial.and_then(|trial| now.left_of(trial.span, trial.since));
        self.backoff.remaining(now).max(tried)
    }
}

impl Gate {
    /// How long it is closed to the credential `with`; `None` when a request may go, as far as the quota allows.
    #[must_use]
    pub fn closed_for(&self, with: CredentialGeneration, now: Moment) -> Option<Duration> {
        let paused = self.pause.and_then(|pause| now.left_of(pause.span, pause.since));
        paused.max(self.refused_for(with, now))
    }

    /// How long a refusal of the credential `with` is remembered; or of those before it, once so many were refused in a row that
    /// one more is not worth trying at once.
    #[must_use]
    pub fn refused_for(&self, with: CredentialGeneration, now: Moment) -> Option<Duration> {
        self.refusal.filter(|refusal| refusal.holds_for(with)).and_then(|refusal| refusal.remaining(now))
    }

    /// The pause, unless the wall clock stepped back to before its beginning: it is over then, and does not come to life again
    /// when the clock comes by there once more.
    fn pause_at(&self, now: Moment) -> Option<Pause> {
        self.pause.filter(|pause| now.since(pause.since).is_some())
    }

    /// Reserves a turn in the quota, as [`Quota::reserve`] does.
    pub fn reserve(
        &self,
        policy: &QuotaPolicy,
        patience: Duration,
        now: Moment,
    ) -> (Self, Result<Duration, QuotaExhausted>) {
        let (quota, turn) = self.quota.reserve(policy, patience, now);
        (Self { quota, pause: self.pause_at(now), ..*self }, turn)
    }

    /// Notes that a request is sent with the credential `with`, which takes `at_most` that long. Where a refusal of it has just
    /// been forgotten, that request finds out whether it still holds, and all others wait for it: a wrong secret is not sent
    /// once for each scope whenever its time has come (trap T24).
    #[must_use]
    pub fn sent(&self, with: CredentialGeneration, at_most: Duration, now: Moment) -> Self {
        let trial = Some(Pause { since: now, span: at_most });
        let refusal = self.refusal.map(|refusal| {
            let tried = Some(refusal.tried.map_or(with, |tried| tried.min(with)));
            let refusal = if refusal.of < with { Refusal { tried, ..refusal } } else { refusal };
            if refusal.holds_for(with) && refusal.remaining(now).is_none() {
                Refusal { trial, ..refusal }
            } else {
                refusal
            }
        });
        Self { refusal, pause: self.pause_at(now), ..*self }
    }

    /// Notes a failed request that was sent with the credential `with`. `jitter` (a fraction from 0 to 1) places the end
    /// of the pause. A shorter pause never takes the place of a longer one, and a late refusal of an older credential
    /// changes nothing. Refusals of one credential that were on their way together count as one.
    #[must_use]
    pub fn failed(
        &self,
        failure: Failure,
        with: CredentialGeneration,
        policy: &BackoffPolicy,
        jitter: f64,
        now: Moment,
    ) -> Self {
        let asked = failure.retry_after.map(|asked| policy.spread(asked, jitter));
        let before = self.pause_at(now);
        let left = before.and_then(|pause| now.left_of(pause.span, pause.since));
        let pause = match (asked, before, left) {
            (Some(span), None, _) | (Some(span), Some(_), None) => Some(Pause { since: now, span }),
            (Some(span), Some(before), Some(left)) if left < span => Some(before.prolonged(span, now)),
            (Some(_) | None, before, _) => before,
        };
        let refusal = match failure.class {
            FailureClass::Credential if self.refusal.is_none_or(|refusal| refusal.of <= with) => {
                let known = self.refusal.filter(|refusal| refusal.holds_for(with));
                let (in_a_row, tried) =
                    self.refusal.map_or((1, None), |refusal| refusal.in_a_row_with(with, now));
                // What comes while a trial is out is no echo, though a step back may have the memory of it come to life again.
                let is_echo =
                    |known: &Refusal| known.trial.is_none() && known.backoff.remaining(now).is_some();
                let together = known.filter(is_echo);
                // The pause that the server asked for is kept above, for every credential.
                let own = Failure { retry_after: None, ..failure };
                let before = known.map(|known| known.backoff);
                let (backoff, at) = together.map_or_else(
                    || (policy.after(before.as_ref(), own, jitter, now), now),
                    |known| (known.backoff, known.at),
                );
                Some(Refusal { backoff, of: with, in_a_row, tried, at, trial: None })
            }
            FailureClass::Credential
            | FailureClass::Transient
            | FailureClass::Terminal
            | FailureClass::Local => self.given_up(with).refusal,
        };
        Self { pause, refusal, ..*self }
    }

    /// Notes that a request with the credential `with` ended without telling anything of it: the next one may find out.
    #[must_use]
    pub fn given_up(&self, with: CredentialGeneration) -> Self {
        let refusal = self.refusal.map(|refusal| {
            if refusal.holds_for(with) { Refusal { trial: None, ..refusal } } else { refusal }
        });
        Self { refusal, ..*self }
    }

    /// Notes that a token was granted to the credential `with`: it is not refused, whatever was remembered. A pause
    /// stays in force, since it may have been asked for after the token was.
    #[must_use]
    pub fn granted(&self, with: CredentialGeneration) -> Self {
        Self { refusal: self.refusal.filter(|refusal| refusal.of > with), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    const START: Moment = Moment::new(Timestamp::from_unix_seconds(1_700_000_000), None);
    const OLD: CredentialGeneration = CredentialGeneration(0);
    const NEW: CredentialGeneration = CredentialGeneration(1);

    fn after(seconds: u64) -> Moment {
        START.saturating_add(Duration::from_secs(seconds))
    }

    fn failed(
        gate: Gate,
        class: FailureClass,
        retry_after: Option<u64>,
        with: CredentialGeneration,
        at: u64,
    ) -> Gate {
        let failure = Failure { class, retry_after: retry_after.map(Duration::from_secs) };
        gate.failed(failure, with, &BackoffPolicy::default(), 0.0, after(at))
    }

    #[test]
    fn t5_a_pause_that_a_step_back_ended_does_not_come_to_life_again() {
        let day = 24 * 3600;
        let paused = failed(Gate::default(), FailureClass::Transient, Some(day), OLD, 3600);
        let (asked, turn) = paused.reserve(&QuotaPolicy::default(), Duration::ZERO, after(0));
        assert!(turn.is_ok());
        assert_eq!(paused.closed_for(OLD, after(0)), None);
        assert_eq!(asked.closed_for(OLD, after(3600)), None, "who asked in between knew that it was over");
        // A longer one does not make an end of the one that it goes on from.
        let longer = failed(paused, FailureClass::Transient, Some(2 * day), OLD, 3700);
        assert!(longer.closed_for(OLD, after(3650)).is_some());
    }

    #[test]
    fn t18_a_pause_holds_for_every_credential_and_a_shorter_one_does_not_end_it() {
        let gate = failed(Gate::default(), FailureClass::Transient, Some(60), OLD, 0);
        let gate = failed(gate, FailureClass::Transient, Some(3), OLD, 1);
        for with in [OLD, NEW] {
            assert_eq!(gate.closed_for(with, after(59)), Some(Duration::from_secs(1)));
            assert_eq!(gate.closed_for(with, after(60)), None);
        }
        let gate = failed(gate, FailureClass::Transient, Some(3), OLD, 58);
        assert_eq!(gate.closed_for(OLD, after(60)), Some(Duration::from_secs(1)), "a later end counts");
    }

    #[test]
    fn t24_after_too_many_in_a_row_another_credential_is_tried_after_the_pause_alone() {
        let of = CredentialGeneration;
        let send = |gate: Gate, with, at| gate.sent(of(with), Duration::from_secs(5), after(at));
        let refuse = |gate, with, at| failed(gate, FailureClass::Credential, None, of(with), at);
        let most = u64::from(MAX_REFUSED_IN_A_ROW);
        let mut gate = Gate::default();
        for with in 0..most {
            assert_eq!(gate.closed_for(of(with), after(with)), None, "{with}: another one is tried at once");
            gate = refuse(send(gate, with, with), with, with);
        }
        let refused_at = most - 1;
        assert_eq!(gate.closed_for(of(most), after(refused_at)), Some(Duration::from_secs(30)));
        // The pauses grow, and one request alone finds out whether it still holds.
        let (tried, next, tried_at) = (most + 2, most + 3, refused_at + 30);
        let gate = send(gate, tried, tried_at);
        assert!(gate.closed_for(of(next), after(tried_at)).is_some());
        assert_eq!(gate.given_up(of(tried)).closed_for(of(next), after(tried_at)), None);
        let gate = refuse(gate, tried, tried_at + 1);
        assert_eq!(gate.closed_for(of(next), after(tried_at + 1)), Some(Duration::from_secs(60)));
        // A grant makes an end of it, and so does the time.
        assert_eq!(gate.granted(of(next)).closed_for(of(next + 1), after(tried_at + 1)), None);
        let much_later = tried_at + 1 + 60 + 15 * 60;
        let gate = refuse(send(gate, next, much_later), next, much_later);
        assert_eq!(gate.closed_for(of(next + 1), after(much_later)), None);
    }

    #[test]
    fn t24_credentials_that_were_on_their_way_together_count_as_one() {
        let of = CredentialGeneration;
        let all = |gate: Gate, withs: std::ops::Range<u64>, at| {
            let sent = |gate: Gate, with| gate.sent(of(with), Duration::from_secs(5), after(at));
            let gate = withs.clone().fold(gate, sent);
            withs.fold(gate, |gate, with| failed(gate, FailureClass::Credential, None, of(with), at))
        };
        let last = u64::from(MAX_REFUSED_IN_A_ROW) - 1;
        let mut gate = Gate::default();
        for round in 0..last {
            gate = all(gate, round * 10..round * 10 + 10, round);
        }
        assert_eq!(gate.closed_for(of(last * 10), after(last)), None);
        let gate = all(gate, last * 10..last * 10 + 10, last);
        assert!(gate.closed_for(of(last * 10 + 10), after(last)).is_some());
    }

    #[test]
    fn t24_a_refused_credential_is_remembered_longer_each_time_and_forgotten_when_it_is_replaced() {
        let mut gate = Gate::default();
        let mut now = 0;
        for expected in [30, 60, 120, 240, 300, 300] {
            gate = failed(gate, FailureClass::Credential, None, OLD, now);
            assert_eq!(gate.closed_for(OLD, after(now)), Some(Duration::from_secs(expected)));
            assert_eq!(gate.closed_for(NEW, after(now)), None);
            now += expected;
        }
        let gate = failed(gate, FailureClass::Credential, None, NEW, now);
        assert_eq!(gate.closed_for(NEW, after(now)), Some(Duration::from_secs(30)), "it begins anew");
        let late = failed(gate, FailureClass::Credential, None, OLD, now);
        assert_eq!(
            late.closed_for(NEW, after(now)),
            Some(Duration::from_secs(30)),
            "a late refusal of the old one"
        );
    }

    #[test]
    fn t24_refusals_that_were_on_their_way_together_count_as_one() {
        let gate =
            (0..50).fold(Gate::default(), |gate, _| failed(gate, FailureClass::Credential, None, OLD, 0));
        assert_eq!(gate.closed_for(OLD, after(0)), Some(Duration::from_secs(30)));
        let gate = failed(gate, FailureClass::Credential, None, OLD, 31);
        assert_eq!(gate.closed_for(OLD, after(31)), Some(Duration::from_secs(60)));
    }

    #[test]
    fn t24_one_request_finds_out_whether_a_forgotten_refusal_still_holds() {
        let span = Duration::from_secs(10);
        let refused = failed(Gate::default(), FailureClass::Credential, None, OLD, 0);
        let tried = refused.sent(OLD, span, after(30));
        assert_eq!(tried.closed_for(OLD, after(31)), Some(Duration::from_secs(9)), "the others wait");
        assert_eq!(tried.closed_for(NEW, after(31)), None);
        assert_eq!(tried.granted(OLD).closed_for(OLD, after(31)), None);
        let again = failed(tried, FailureClass::Credential, None, OLD, 31);
        assert_eq!(again.closed_for(OLD, after(31)), Some(Duration::from_secs(60)));
        // Also when a step back has the memory of the first one come to life again.
        let stepped = refused.sent(OLD, span, Moment::from(START.wall().saturating_sub(span)));
        let again = failed(stepped, FailureClass::Credential, None, OLD, 1);
        assert_eq!(again.closed_for(OLD, after(1)), Some(Duration::from_secs(60)));
        let unknown = failed(tried, FailureClass::Transient, None, OLD, 31);
        assert_eq!(unknown.closed_for(OLD, after(31)), None, "it told nothing: the next one tries");
        assert_eq!(tried.given_up(OLD).closed_for(OLD, after(31)), None);
        assert_eq!(tried.closed_for(OLD, after(40)), None, "it is lost: the next one tries");
        assert_eq!(Gate::default().sent(OLD, span, after(0)).closed_for(OLD, after(0)), None);
    }

    #[test]
    fn a_token_ends_the_refusal_of_its_credential_and_of_older_ones_only() {
        let refused = failed(Gate::default(), FailureClass::Credential, None, OLD, 0);
        assert_eq!(refused.granted(OLD).closed_for(OLD, after(1)), None);
        let refused = failed(Gate::default(), FailureClass::Credential, None, NEW, 0);
        assert!(refused.granted(OLD).closed_for(NEW, after(1)).is_some());
    }

    #[test]
    fn what_concerns_one_scope_or_this_side_alone_does_not_close_it() {
        for class in [FailureClass::Transient, FailureClass::Terminal, FailureClass::Local] {
            let gate = failed(Gate::default(), class, None, OLD, 0);
            assert_eq!(gate.closed_for(OLD, after(0)), None, "{class:?}");
        }
    }
}
