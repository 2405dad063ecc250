//! What the gauges of a manager show: values that are kept here, so that a recorder that is installed late sees them
//! too, and so that many keys make one number.

use jeton_proto::breaker::Phase;
use jeton_proto::lifecycle::MintReason;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Levels {
    pub(super) waiters: u64,
    under_way: [u64; 3],
    pub(super) breaker: Phase,
    pub(super) skew_seconds: Option<f64>,
    /// Nothing without a shared store.
    pub(super) store_up: Option<bool>,
    /// The keys that are in trouble, and no others: as many as the manager has keys at most.
    troubled: BTreeMap<u64, Trouble>,
    /// The same by length, so that ten thousand keys in trouble do not each look at all the others.
    pauses: BTreeSet<(Duration, u64)>,
    backups: BTreeSet<(Duration, u64)>,
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) pause: Option<Duration>,
    pub(super) backup_left: Option<Duration>,
}

/// How many keys something is true of, and the one figure that stands for all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figure {
    pub(super) keys: u64,
    pub(super) seconds: f64,
}

impl Levels {
    pub(super) fn under_way(&mut self, reason: MintReason) -> &mut u64 {
        let [early, needed, forced] = &mut self.under_way;
        match reason {
            MintReason::Early => early,
            MintReason::Needed => needed,
            MintReason::Forced => forced,
        }
    }

    pub(super) fn change(&mut self, key: u64, change: impl FnOnce(&mut Trouble)) {
        let before = self.troubled.remove(&key).unwrap_or_default();
        let mut after = before;
        change(&mut after);
        replace(&mut self.pauses, key, before.pause, after.pause);
        replace(&mut self.backups, key, before.backup_left, after.backup_left);
        if after != Trouble::default() {
            self.troubled.insert(key, after);
        }
    }

    /// Forgets a key; whether there was anything to forget.
    pub(super) fn forget(&mut self, key: u64) -> bool {
        let known = self.troubled.contains_key(&key);
        self.change(key, |trouble| *trouble = Trouble::default());
        known
    }

    /// The keys that back off, and the longest pause.
    pub(super) fn backing_off(&self) -> Figure {
        Figure::of(&self.pauses, self.pauses.last())
    }

    /// The keys that live on a backup, and the least that is left.
    pub(super) fn on_backup(&self) -> Figure {
        Figure::of(&self.backups, self.backups.first())
    }
}

impl Figure {
    fn of(all: &BTreeSet<(Duration, u64)>, worst: Option<&(Duration, u64)>) -> Self {
        let keys = u64::try_from(all.len()).unwrap_or(u64::MAX);
        Self { keys, seconds: worst.map_or(0.0, |(span, _)| span.as_secs_f64()) }
    }
}

fn replace(all: &mut BTreeSet<(Duration, u64)>, key: u64, before: Option<Duration>, after: Option<Duration>) {
    if let Some(span) = before {
        all.remove(&(span, key));
    }
    if let Some(span) = after {
        all.insert((span, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_keys_make_one_number_and_one_that_recovers_does_not_hide_the_others() {
        let mut levels = Levels::default();
        for (key, pause, left) in [(1, 30, 600), (2, 5, 60), (3, 90, 9_000)] {
            levels.change(key, |trouble| trouble.pause = Some(Duration::from_secs(pause)));
            levels.change(key, |trouble| trouble.backup_left = Some(Duration::from_secs(left)));
        }
        assert_eq!(levels.backing_off(), Figure { keys: 3, seconds: 90.0 });
        assert_eq!(levels.on_backup(), Figure { keys: 3, seconds: 60.0 });
        levels.change(2, |trouble| *trouble = Trouble::default());
        levels.change(3, |trouble| trouble.pause = None);
        assert_eq!(levels.backing_off(), Figure { keys: 1, seconds: 30.0 });
        assert_eq!(levels.on_backup(), Figure { keys: 2, seconds: 600.0 });
        assert!(levels.forget(1) && levels.forget(3) && !levels.forget(3));
        assert_eq!((levels.backing_off(), levels.on_backup()), Default::default());
        let room = levels.troubled.len() + levels.pauses.len() + levels.backups.len();
        assert_eq!(room, 0, "a key without trouble takes no room");
    }

    #[test]
    fn the_figures_are_those_of_all_keys_after_any_changes() {
        let mut draws = fastrand::Rng::with_seed(7);
        let mut levels = Levels::default();
        for _ in 0..5_000 {
            let (key, seconds) = (draws.u64(0..20), draws.u64(0..5));
            let span = (seconds > 0).then(|| Duration::from_secs(seconds));
            match draws.u32(0..5) {
                0 => drop(levels.forget(key)),
                1 | 2 => levels.change(key, |trouble| trouble.pause = span),
                _ => levels.change(key, |trouble| trouble.backup_left = span),
            }
            let of = |spans: Vec<Duration>, worst: Option<Duration>| Figure {
                keys: u64::try_from(spans.len()).unwrap(),
                seconds: worst.unwrap_or_default().as_secs_f64(),
            };
            let pauses: Vec<_> = levels.troubled.values().filter_map(|trouble| trouble.pause).collect();
            let left: Vec<_> = levels.troubled.values().filter_map(|trouble| trouble.backup_left).collect();
            assert_eq!(levels.backing_off(), of(pauses.clone(), pauses.iter().max().copied()));
            assert_eq!(levels.on_backup(), of(left.clone(), left.iter().min().copied()));
        }
    }
}
