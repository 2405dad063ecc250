//! Quotas of very many keys in bounded memory.

use super::{Quota, QuotaExhausted, QuotaPolicy};
use crate::time::Moment;
use std::fmt;
use std::time::Duration;

/// How many keys share one set, and compete for its places.
pub const WAYS: usize = 8;

/// The quotas of the keys that have used some of theirs, a fixed number at most.
///
/// A key is a hash that the holder makes with a random key of the process, so that nobody outside can choose who shares
/// a set with whom. In a full set a new key takes the place of the one that owes least, which is then as if it had used
/// nothing: forgetting favours, and never harms, the key that is forgotten; and a key that owes much is forgotten only
/// after eight others in its set owe more. A key of which nothing is owed any more needs no place.
///
/// Memory is taken as sets are first used, 8 bytes a set before that.
#[derive(Clone)]
pub struct QuotaTable {
    sets: Vec<Option<Box<[Slot; WAYS]>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: u64,
    quota: Quota,
}

impl QuotaTable {
    /// A table for up to `keys` keys, rounded up to whole sets; at least one set, at most 2^20 keys.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        Self { sets: vec![None; keys.min(1 << 20).div_ceil(WAYS).max(1)] }
    }

    /// How many keys it can hold at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// How many keys it holds, those that owe nothing any more included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sets.iter().flatten().flat_map(|set| set.iter()).filter(|slot| slot.is_used()).count()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Uses one of the quota of `key`. [`QuotaExhausted`] when nothing is left of it now; then nothing is used.
    pub fn reserve(&mut self, key: u64, policy: &QuotaPolicy, now: Moment) -> Result<(), QuotaExhausted> {
        let index = self.index(key);
        let Some(set) = self.sets.get_mut(index) else { return Ok(()) };
        let set = set.get_or_insert_with(Box::default);
        let Some(slot) = place(&mut set[..], key, now) else { return Ok(()) };
        if slot.key != key {
            *slot = Slot { key, quota: Quota::default() };
        }
        let (quota, turn) = slot.quota.reserve(policy, Duration::ZERO, now);
        slot.quota = quota;
        turn.map(drop)
    }

    /// Whether something is left of the quota of `key`; nothing is used.
    pub fn standing(&self, key: u64, policy: &QuotaPolicy, now: Moment) -> Result<(), QuotaExhausted> {
        let quota = self.slot(key).map(|slot| slot.quota).unwrap_or_default();
        quota.reserve(policy, Duration::ZERO, now).1.map(drop)
    }

    /// Whether `key` still owes something.
    #[must_use]
    pub fn owes(&self, key: u64, now: Moment) -> bool {
        self.slot(key).is_some_and(|slot| !slot.quota.debt_at(now).is_zero())
    }

    fn slot(&self, key: u64) -> Option<&Slot> {
        let set = self.sets.get(self.index(key))?.as_ref()?;
        set.iter().find(|slot| slot.key == key && slot.is_used())
    }

    fn index(&self, key: u64) -> usize {
        // The share of the key in all keys, of the sets: without a division. The halves are exchanged, since the holder may choose the
        // table by the high bits.
        let share = u128::from(key.rotate_left(32)) * self.sets.len() as u128;
        usize::try_from(share >> 64).unwrap_or_default()
    }
}

impl fmt::Debug for QuotaTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaTable").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

impl Slot {
    fn is_used(&self) -> bool {
        self.quota != Quota::default()
    }
}

/// The slot of `key`, or the one that it is to take.
fn place(set: &mut [Slot], key: u64, now: Moment) -> Option<&mut Slot> {
    let own = set.iter().position(|slot| slot.key == key && slot.is_used());
    let at = own.or_else(|| {
        let debts = set.iter().map(|slot| slot.quota.debt_at(now)).enumerate();
        debts.min_by_key(|(_, debt)| *debt).map(|(at, _)| at)
    });
    at.and_then(|at| set.get_mut(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    const START: Moment = Moment::new(Timestamp::from_unix_seconds(1_700_000_000), None);

    fn after(millis: u64) -> Moment {
        START.saturating_add(Duration::from_millis(millis))
    }

    fn policy(burst: u32) -> QuotaPolicy {
        QuotaPolicy::new(burst, Duration::from_secs(1)).unwrap()
    }

    #[test]
    fn t41_a_million_keys_take_no_more_memory_than_the_table_has() {
        let mut table = QuotaTable::new(4096);
        for key in 0..1_000_000_u64 {
            let key = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert!(table.reserve(key, &policy(3), START).is_ok(), "a new key has all of its quota");
        }
        assert_eq!((table.len(), table.capacity()), (4096, 4096));
    }

    #[test]
    fn t41_a_key_that_owes_much_is_not_washed_out_by_a_million_that_owe_little() {
        let mut table = QuotaTable::new(4096);
        let guilty = 77;
        while table.reserve(guilty, &policy(5), START).is_ok() {}
        for key in 0..1_000_000_u64 {
            let _used = table.reserve(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63, &policy(5), START);
        }
        assert!(table.standing(guilty, &policy(5), START).is_err());
        assert!(table.standing(guilty, &policy(5), after(1000)).is_ok(), "it is forgiven with time alone");
    }

    #[test]
    fn a_span_is_spread_over_a_count() {
        let spread = QuotaPolicy::spread(100, Duration::from_hours(1));
        assert_eq!(spread, QuotaPolicy::new(100, Duration::from_secs(36)).unwrap());
        let least = QuotaPolicy::spread(0, Duration::ZERO);
        assert!(Quota::default().reserve(&least, Duration::ZERO, START).1.is_ok());
        // Parts of a millisecond add up, though clocks tell whole ones.
        let (fast, mut quota) = (QuotaPolicy::spread(1000, Duration::from_millis(10)), Quota::default());
        let mut granted = 0;
        for millis in 0..100 {
            for _ in 0..1000 {
                let (next, turn) = quota.reserve(&fast, Duration::ZERO, after(millis));
                quota = next;
                granted += u32::from(turn.is_ok());
            }
        }
        assert_eq!(granted, 1000 + 99 * 100);
    }

    proptest! {
        /// While fewer keys than ways are in use, each goes exactly by a quota of its own, whoever its neighbours are.
        #[test]
        fn r5_6_each_key_has_a_quota_of_its_own(
            asks in prop::collection::vec((0_u64..WAYS as u64, 0_u64..700), 1..300), burst in 1_u32..5,
        ) {
            let policy = policy(burst);
            // One set: all keys are neighbours.
            let mut table = QuotaTable::new(1);
            let mut alone = [Quota::default(); WAYS];
            let mut now = 0;
            for (key, pause) in asks {
                now += pause;
                let own = &mut alone[usize::try_from(key).unwrap()];
                let standing = table.standing(key, &policy, after(now));
                let expected = own.reserve(&policy, Duration::ZERO, after(now));
                *own = expected.0;
                prop_assert_eq!(standing, expected.1.map(drop));
                prop_assert_eq!(table.reserve(key, &policy, after(now)), expected.1.map(drop));
                prop_assert_eq!(table.owes(key, after(now)), !own.debt_at(after(now)).is_zero());
            }
        }

        /// Whatever others do, a key is at no time granted less than it would be alone. (It may be refused what it would be granted
        /// alone, when it was granted more before: a quota that was forgotten is a whole one.)
        #[test]
        fn t41_what_others_do_never_refuses_a_key(
            asks in prop::collection::vec((0_u64..40, 0_u64..300), 1..400), burst in 1_u32..5,
        ) {
            let policy = policy(burst);
            let mut table = QuotaTable::new(2 * WAYS);
            let mut alone = vec![(Quota::default(), 0, 0); 40];
            let mut now = 0;
            for (key, pause) in asks {
                now += pause;
                let (own, granted_alone, granted) = &mut alone[usize::try_from(key).unwrap()];
                let (next, turn) = own.reserve(&policy, Duration::ZERO, after(now));
                *own = next;
                *granted_alone += u32::from(turn.is_ok());
                // As a hash would be, so that both sets are used.
                let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                *granted += u32::from(table.reserve(hash, &policy, after(now)).is_ok());
                prop_assert!(*granted >= *granted_alone);
            }
        }
    }
}
