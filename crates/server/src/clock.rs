//! The one place of this crate that reads the time of the machine.

use jeton_proto::time::{Clock, Timestamp};
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    fn now(&self) -> Timestamp {
        // A machine before 1970 issues tokens that are expired, which is the harmless way to be wrong.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_unix_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}
