//! What waits to be written: bounded, and cheap to add to.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// From so many bytes on the writer is woken, and does not wait for its tick.
pub(super) const BATCH_BYTES: usize = 64 * 1024;

/// The members of records, one on each line, and how many found no room.
#[derive(Debug)]
pub(super) struct Queue {
    pending: Mutex<Pending>,
    capacity_bytes: usize,
}

#[derive(Debug, Default)]
struct Pending {
    lines: Vec<u8>,
    lost: u64,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits.
    Waits,
    /// It waits, and makes a batch with those before it.
    MakesABatch,
    /// There was no room for it.
    Lost,
}

impl Queue {
    pub(super) const fn new(capacity_bytes: usize) -> Self {
        let pending = Mutex::new(Pending { lines: Vec::new(), lost: 0 });
        Self { pending, capacity_bytes }
    }

    pub(super) fn push(&self, members: &[u8]) -> Pushed {
        let mut pending = self.lock();
        let before = pending.lines.len();
        let after = before + members.len() + 1;
        // Once something is lost, all is until the writer has taken what there is: the loss is one gap and not many.
        if after > self.capacity_bytes || pending.lost > 0 {
            pending.lost = pending.lost.saturating_add(1);
            return Pushed::Lost;
        }
        pending.lines.extend_from_slice(members);
        pending.lines.push(b'\n');
        if before < BATCH_BYTES && after >= BATCH_BYTES { Pushed::MakesABatch } else { Pushed::Waits }
    }

    /// Puts what waits into `batch`, which is empty, and gives the number of those that were lost after it.
    pub(super) fn take(&self, batch: &mut Vec<u8>) -> u64 {
        batch.clear();
        let mut pending = self.lock();
        mem::swap(&mut pending.lines, batch);
        mem::take(&mut pending.lost)
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Nothing panics while it is held.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted_until_the_queue_is_taken() {
        let queue = Queue::new(10);
        assert_eq!(
            [b"abcd", b"efgh", b"ijkl"].map(|line| queue.push(line)),
            [Pushed::Waits, Pushed::Waits, Pushed::Lost]
        );
        assert_eq!(queue.push(b""), Pushed::Lost, "the gap is one");
        let mut batch = Vec::new();
        assert_eq!((queue.take(&mut batch), batch.as_slice()), (2, &b"abcd\nefgh\n"[..]));
        assert_eq!(queue.push(b""), Pushed::Waits);
        assert_eq!((queue.take(&mut batch), batch.as_slice()), (0, &b"\n"[..]));
    }

    #[test]
    fn the_writer_is_woken_once_a_batch() {
        let queue = Queue::new(10 * BATCH_BYTES);
        let line = vec![b'x'; 1023];
        let woken = (0..128).filter(|_| queue.push(&line) == Pushed::MakesABatch).count();
        assert_eq!(woken, 1);
    }
}
