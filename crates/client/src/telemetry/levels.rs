//! What the gauges of a manager show: values that are kept here, so that a recorder that is installed late sees them
//! too, and so that many keys make one number.

use jeton_proto::breaker::Phase;
use jeton_proto::lifecycle::MintReason;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Levels {
    pub(super) waiters: u64,
    under_way: [u64; 3],
    pub(super) breaker: Phase,
    pub(super) skew_seconds: Option<f64>,
    /// The keys that are in trouble, and no others: as many as the manager has keys at most.
    troubled: BTreeMap<u64, Trouble>,
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
        let mut trouble = self.troubled.remove(&key).unwrap_or_default();
        change(&mut trouble);
        if trouble != Trouble::default() {
            self.troubled.insert(key, trouble);
        }
    }

    /// Forgets a key; whether there was anything to forget.
    pub(super) fn forget(&mut self, key: u64) -> bool {
        self.troubled.remove(&key).is_some()
    }

    /// The keys that back off, and the longest pause.
    pub(super) fn backing_off(&self) -> Figure {
        figure(self.troubled.values().filter_map(|trouble| trouble.pause), f64::max)
    }

    /// The keys that live on a backup, and the least that is left.
    pub(super) fn on_backup(&self) -> Figure {
        figure(self.troubled.values().filter_map(|trouble| trouble.backup_left), f64::min)
    }
}

fn figure(durations: impl Iterator<Item = Duration>, worse: fn(f64, f64) -> f64) -> Figure {
    let mut keys = 0;
    let seconds = durations.inspect(|_| keys += 1).map(|duration| duration.as_secs_f64()).reduce(worse);
    Figure { keys, seconds: seconds.unwrap_or_default() }
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
        assert!(levels.troubled.is_empty(), "a key without trouble takes no room");
    }
}
