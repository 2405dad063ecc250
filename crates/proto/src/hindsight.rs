//! What may be forgotten because it is over, by a clock that may be wrong for a while.
//!
//! One look at a wall clock says little: it may have jumped ahead by a day, and be set right a moment later. Whoever forgets
//! revocations by such a look makes revoked tokens good again. So only that counts as over which was over at every look of
//! [`WATCHED_FOR`], and how long that is the boot clock tells, which nobody steps.

use crate::time::{Moment, Timestamp};
use std::time::Duration;

/// For how long the wall clock must have shown at least a time before that time counts as past: 10 min. A clock that is wrong
/// for less than this has nothing forgotten, however often and however far it jumps.
pub const WATCHED_FOR: Duration = Duration::from_mins(10);

/// Watches the wall clock.
///
/// ```
/// use jeton_proto::hindsight::Hindsight;
/// use jeton_proto::time::{Moment, Timestamp};
/// use std::time::Duration;
///
/// let at = |wall, boot| Moment::new(Timestamp::from_unix_seconds(wall), Some(Duration::from_secs(boot)));
/// let mut hindsight = Hindsight::default();
/// assert_eq!(hindsight.look(at(5_000, 10)), None);
/// // A day ahead, a minute later.
/// assert_eq!(hindsight.look(at(91_460, 70)), None);
/// // Ten minutes after the first look, that one was past without a doubt.
/// assert_eq!(hindsight.look(at(5_600, 610)), Some(Timestamp::from_unix_seconds(5_000)));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Hindsight {
    /// Since when no look has shown an earlier time than this one did.
    begun: Option<Moment>,
}

impl Hindsight {
    /// Takes note of a look at the clocks. At most once in [`WATCHED_FOR`] it gives a time: what was over then may be forgotten.
    ///
    /// Where there is no boot clock the wall clock tells how long it was, and a jump ahead may pass for that time: then
    /// everything that was over before the jump may go, and what only the jump has ended stays for one look more.
    pub fn look(&mut self, now: Moment) -> Option<Timestamp> {
        let begun = self.begun.filter(|begun| begun.wall() <= now.wall());
        let watched = begun.and_then(|begun| now.since(begun));
        match (begun, watched) {
            (Some(begun), Some(watched)) if watched >= WATCHED_FOR => {
                self.begun = Some(now);
                Some(begun.wall())
            }
            (Some(_), Some(_)) => None,
            // The first look, or one that shows an earlier time than all before: watching begins anew.
            (_, None) | (None, _) => {
                self.begun = Some(now);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(wall: u64, boot: u64) -> Moment {
        Moment::new(Timestamp::from_unix_seconds(wall), Some(Duration::from_secs(boot)))
    }

    #[test]
    fn a_clock_that_is_right_has_things_forgotten_within_twenty_minutes() {
        let mut hindsight = Hindsight::default();
        let forgotten = (0..1_200).filter_map(|second| hindsight.look(at(50_000 + second, second)));
        assert_eq!(forgotten.collect::<Vec<_>>(), [Timestamp::from_unix_seconds(50_000)]);
        assert_eq!(hindsight.look(at(51_200, 1_200)), Some(Timestamp::from_unix_seconds(50_600)));
    }

    #[test]
    fn a_clock_that_was_ahead_from_the_beginning_counts_from_when_it_is_right() {
        let mut hindsight = Hindsight::default();
        for (now, expected) in [
            (at(90_000, 0), None),
            (at(90_300, 300), None),
            (at(3_700, 500), None),
            (at(4_299, 1_099), None),
            (at(4_300, 1_100), Some(3_700)),
        ] {
            assert_eq!(hindsight.look(now), expected.map(Timestamp::from_unix_seconds), "{now:?}");
        }
    }

    proptest! {
        /// However often the wall clock jumps, and however far: as long as it was right once in every 10 min, only that is
        /// forgotten which is over by the true time.
        #[test]
        fn nothing_is_forgotten_that_is_not_over(
            looks in proptest::collection::vec((1_u64..240, 0_u64..1 << 22), 1..200),
            begins_right in any::<bool>(),
        ) {
            let mut hindsight = Hindsight::default();
            let (mut boot, mut right_at) = (0, 0);
            for (index, (pause, ahead)) in looks.iter().enumerate() {
                boot += pause;
                // Whatever it shows, it is right again before the time is over.
                let overdue = boot - right_at + 240 >= WATCHED_FOR.as_secs();
                let ahead = if overdue || (index == 0 && begins_right) { 0 } else { *ahead };
                if ahead == 0 {
                    right_at = boot;
                }
                let truth = 1_000_000 + boot;
                if let Some(over) = hindsight.look(at(truth + ahead, boot)) {
                    prop_assert!(over <= Timestamp::from_unix_seconds(truth), "{over} at {truth}");
                }
            }
        }
    }
}
