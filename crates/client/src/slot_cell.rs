//! The state of one slot, replaced as a whole: what the lifecycle knows, and what the hot path compares with.

use crate::clock::{PRECISE_BEFORE_EXPIRY, Timeline};
use crate::error::TokenError;
use crate::sync::Swap;
use jeton_proto::backoff::{BackoffPolicy, Failure};
use jeton_proto::gate::CredentialGeneration;
use jeton_proto::lifecycle::{CachedToken, MintReason, RefreshPolicy, Slot, TokenId};
use jeton_proto::time::Moment;
use std::sync::Arc;

/// A slot that many threads read and change. Every change is one step; none is lost.
pub(crate) struct SlotCell {
    state: Swap<State>,
    timeline: Timeline,
}

#[derive(Clone, Default)]
pub(crate) struct State {
    /// What the hot path compares with; nothing until the token was given out once.
    pub(crate) fresh: Option<Fresh>,
    pub(crate) slot: Slot,
    pub(crate) last_error: Option<TokenError>,
    /// Whether the token in hand was given out.
    pub(crate) used: bool,
    /// The credential to which the last failure happened, or a later one for which what it was refused for was forgotten.
    failed_with: CredentialGeneration,
}

#[derive(Clone)]
pub(crate) struct Fresh {
    pub(crate) token: Arc<CachedToken>,
    from_millis: u64,
    span_millis: u64,
}

impl Fresh {
    fn of(slot: &Slot, timeline: Timeline) -> Option<Self> {
        let (token, since, window) = slot.first_window()?;
        let span = window.min(token.lifetime().saturating_sub(PRECISE_BEFORE_EXPIRY));
        Some(Self {
            token: Arc::clone(token),
            from_millis: timeline.millis(since),
            span_millis: u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Whether the window has `now_millis` in it; what is before its start wraps around to far behind its end.
    #[inline]
    pub(crate) fn covers(&self, now_millis: u64) -> bool {
        now_millis.wrapping_sub(self.from_millis) < self.span_millis
    }
}

impl SlotCell {
    pub(crate) fn new(timeline: Timeline) -> Self {
        Self { state: Swap::new(State::default()), timeline }
    }

    #[cfg(jeton_loom)]
    pub(crate) fn that_replaces(replacing: crate::sync::Replacing, timeline: Timeline) -> Self {
        Self { state: Swap::that_replaces(replacing, State::default()), timeline }
    }

    #[cfg(not(jeton_loom))]
    #[inline]
    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<State>> {
        self.state.load()
    }

    #[cfg(jeton_loom)]
    pub(crate) fn load(&self) -> Arc<State> {
        self.state.load()
    }

    /// Takes a granted token in. Gives what callers get: perhaps one that was in hand and lives longer, and nothing when
    /// the token was rejected already.
    pub(crate) fn granted(
        &self,
        token: &Arc<CachedToken>,
        reason: MintReason,
        policy: &RefreshPolicy,
        jitter: f64,
        now: Moment,
    ) -> Option<Arc<CachedToken>> {
        let mut given = None;
        self.state.update(|state| {
            let slot = state.slot.granted(Arc::clone(token), reason, policy, jitter, now);
            given = slot.backup(now).cloned();
            State { slot, fresh: None, last_error: None, used: false, failed_with: state.failed_with }
        });
        given
    }

    pub(crate) fn failed(
        &self,
        error: &TokenError,
        failure: Failure,
        with: CredentialGeneration,
        policy: &BackoffPolicy,
        jitter: f64,
        now: Moment,
    ) {
        self.state.update(|state| State {
            slot: state.slot.failed(failure, policy, jitter, now),
            last_error: Some(error.clone()),
            failed_with: with,
            fresh: Fresh::of(&state.slot, self.timeline).filter(|_| state.used),
            used: state.used,
        });
    }

    pub(crate) fn rejected(&self, id: TokenId, now: Moment) {
        self.change(|slot| slot.rejected(id, now));
    }

    pub(crate) fn accepted(&self, id: TokenId) {
        if self.load().slot.awaits_acceptance(id) {
            self.change(|slot| slot.accepted(id));
        }
    }

    /// Forgets what an older credential than `current` was refused for.
    pub(crate) fn catch_up_with(&self, current: CredentialGeneration) {
        let behind = |state: &State| state.last_error.is_some() && state.failed_with < current;
        if behind(&self.load()) {
            // The current one may have failed in between, and that is not to be forgotten.
            self.state.update(|state| {
                if !behind(state) {
                    return state.clone();
                }
                let slot = state.slot.credential_replaced();
                let fresh = Fresh::of(&slot, self.timeline).filter(|_| state.used);
                State { fresh, slot, failed_with: current, ..state.clone() }
            });
        }
    }

    /// Notes that the token of `seen` was given out, and lets the hit path find it. One that was granted in between was
    /// given to nobody yet.
    pub(crate) fn mark_used(&self, seen: &State) {
        if seen.used {
            return;
        }
        let given = seen.slot.token().map(|token| token.id());
        self.state.update(|state| {
            let used = state.used || state.slot.token().is_some_and(|token| Some(token.id()) == given);
            State { fresh: Fresh::of(&state.slot, self.timeline).filter(|_| used), used, ..state.clone() }
        });
    }

    fn change(&self, next: impl Fn(&Slot) -> Slot) {
        self.state.update(|state| {
            let slot = next(&state.slot);
            let fresh = Fresh::of(&slot, self.timeline).filter(|_| state.used);
            State { fresh, slot, ..state.clone() }
        });
    }
}

#[cfg(test)]
#[cfg(not(jeton_loom))]
mod tests {
    use super::*;
    use jeton_proto::secret::Secret;
    use jeton_proto::time::Timestamp;
    use std::time::Duration;

    const START: Moment = Moment::new(Timestamp::from_unix_seconds(1_700_000_000), None);

    fn granted(slot: &Slot, life: Duration, now: Moment) -> Slot {
        let token = Arc::new(CachedToken::new(Secret::from("a"), None, now, life).unwrap());
        slot.granted(token, MintReason::Needed, &RefreshPolicy::default(), 1.0, now)
    }

    #[test]
    fn t5_the_hit_path_leaves_the_last_second_of_every_token_to_the_precise_clock() {
        let second = Duration::from_secs(1);
        for seconds in [1, 2, 3, 5, 60, 3600] {
            let life = Duration::from_secs(seconds);
            let once = granted(&Slot::default(), life, START);
            // The server had no other token, so the one in hand is not asked for again before its end.
            let again = granted(&once, life, START.saturating_add(life / 2));
            for slot in [once, again] {
                let fresh = Fresh::of(&slot, Timeline::Wall).unwrap();
                let millis = |moment: Moment| Timeline::Wall.millis(moment);
                assert_eq!(fresh.covers(millis(START)), seconds > 1, "{seconds}");
                let last = START.wall().saturating_add(life).saturating_sub(second);
                assert!(!fresh.covers(last.as_unix_millis()) && !fresh.covers(u64::MAX), "{seconds}");
                assert!(!fresh.covers(millis(START) - 1), "{seconds}");
            }
        }
    }

    #[test]
    fn a_token_that_nobody_was_given_does_not_count_as_used() {
        let cell = SlotCell::new(Timeline::Wall);
        let take = |name: &str, now: Moment| {
            let token = CachedToken::new(Secret::from(name), None, now, Duration::from_secs(3600)).unwrap();
            cell.granted(&Arc::new(token), MintReason::Needed, &RefreshPolicy::default(), 0.5, now).unwrap();
        };
        take("old", START);
        let seen = Arc::clone(&cell.load());
        take("new", START.saturating_add(Duration::from_secs(60)));
        cell.mark_used(&seen);
        assert!(!cell.load().used && cell.load().fresh.is_none());
        cell.mark_used(&Arc::clone(&cell.load()));
        assert!(cell.load().used && cell.load().fresh.is_some());
    }

    #[test]
    fn what_was_forgotten_for_another_credential_is_forgotten_once() {
        let cell = SlotCell::new(Timeline::Wall);
        let error = TokenError::new(crate::error::TokenErrorKind::FlightLost);
        let failure = Failure { class: jeton_proto::backoff::FailureClass::Terminal, retry_after: None };
        let old = CredentialGeneration::default();
        cell.failed(&error, failure, old, &BackoffPolicy::default(), 0.5, START);
        assert!(cell.load().slot.backing_off(START).is_some());
        cell.catch_up_with(old.next());
        let caught_up = Arc::clone(&cell.load());
        assert!(caught_up.slot.backing_off(START).is_none() && caught_up.last_error.is_some());
        cell.catch_up_with(old.next());
        assert!(Arc::ptr_eq(&caught_up, &cell.load()), "who asks next has nothing to change");
    }

    #[test]
    fn t5_the_hit_path_counts_by_the_boot_clock_where_there_is_one() {
        let both = |seconds| Moment::new(START.wall(), Some(Duration::from_secs(seconds)));
        let slot = granted(&Slot::default(), Duration::from_secs(3600), both(100));
        let fresh = Fresh::of(&slot, Timeline::Boot).unwrap();
        assert!(fresh.covers(Timeline::Boot.millis(both(100))));
        assert!(!fresh.covers(Timeline::Boot.millis(both(3700))));
        assert!(!fresh.covers(Timeline::Boot.millis(both(99))));
    }
}
