//! The lock that changes are made under: one of the kernel's, on a file that is there for nothing else.
//!
//! It belongs to the open file, so two stores of one process are kept apart like two processes, and it ends with its
//! holder however that ends. Records whose names begin alike share one.

use super::directory::{Open, fault};
use crate::store::{RecordName, StoreFault, StoreFaultKind};
use std::fs::{File, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// How many locks there are.
pub(super) const SHARDS: u8 = 16;

const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// Which lock the record `name` is changed under: its first hexadecimal digit.
pub(super) fn shard(name: &RecordName) -> u8 {
    name.bytes().first().map_or(0, |byte| byte >> 4)
}

/// The lock, until it is dropped.
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock as soon as it is free, for at most `patience`.
    pub(super) fn take(open: &Open, shard: u8, patience: Duration) -> Result<Self, StoreFault> {
        let until = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(lock) = Self::try_take(open, shard)? {
                return Ok(lock);
            }
            let now = Instant::now();
            if now >= until {
                let what = format!(
                    "another process has held {} for {patience:?}",
                    open.path().join(Open::lock_name(shard)).display()
                );
                return Err(StoreFault::new(StoreFaultKind::TimedOut, what));
            }
            let out_of_step = 0.5 + fastrand::f64() / 2.0;
            thread::sleep(pause.mul_f64(out_of_step).min(until.saturating_duration_since(now)));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Takes the lock if it is free.
    pub(super) fn try_take(open: &Open, shard: u8) -> Result<Option<Self>, StoreFault> {
        // Again, since the file may be removed between the two steps; where that goes on it is a fault.
        for _ in 0..4 {
            let file = open.lock_file(shard)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => {
                    return Err(fault("lock", &open.path().join(Open::lock_name(shard)), &error));
                }
            }
            let lock = Self(file);
            if open.is_lock_file(&lock.0, shard)? {
                return Ok(Some(lock));
            }
        }
        let what = format!("the lock files in {} are removed while they are used", open.path().display());
        Err(StoreFault::new(StoreFaultKind::Unwritable, what))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do, were it not for a child process that was forked in the meantime and has the file too.
        // Nothing can be done about an error, and the file is closed next.
        let _unlocked = self.0.unlock();
    }
}
