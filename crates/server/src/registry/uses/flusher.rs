//! The thread that writes down when secrets were used.

use super::SecretUses;
use crate::store::{CommitError, Store};
use crate::workers::{Worker, Workers};
use jeton_proto::time::Clock;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// The time between two writings.
const FLUSH_INTERVAL: Duration = Duration::from_mins(1);
/// The most batches at once: as many as there can be clients.
const MOST_BATCHES: usize = 200;
/// The pause between two batches, in which others have their turn at the store.
const BETWEEN_BATCHES: Duration = Duration::from_millis(20);

/// Writes down the uses of secrets once a minute. Dropping this writes what is left, and ends the thread.
#[derive(Debug)]
pub(crate) struct UseFlusher {
    /// It is closed when this is dropped, which is how the thread knows.
    _end: SyncSender<()>,
}

impl UseFlusher {
    /// Starts the thread.
    pub(crate) fn start(
        store: Box<dyn Store>,
        uses: Arc<SecretUses>,
        clock: Arc<dyn Clock>,
        workers: &Workers,
    ) -> io::Result<Self> {
        let (end, ended) = sync_channel(1);
        let mut writer = Writer { store, uses, clock, failing: false };
        workers.start(Worker::Uses, move |_| keep_writing(&mut writer, &ended))?;
        Ok(Self { _end: end })
    }
}

fn keep_writing(writer: &mut Writer, ended: &Receiver<()>) {
    loop {
        match ended.recv_timeout(FLUSH_INTERVAL) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => writer.flush(),
            Err(RecvTimeoutError::Disconnected) => return writer.flush(),
        }
    }
}

pub(super) struct Writer {
    pub(super) store: Box<dyn Store>,
    pub(super) uses: Arc<SecretUses>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) failing: bool,
}

impl Writer {
    /// Writes what is new. What cannot be written now is tried again the next time; that is told once.
    pub(super) fn flush(&mut self) {
        for _ in 0..MOST_BATCHES {
            let unwritten = self.uses.unwritten();
            if unwritten.is_empty() {
                return;
            }
            let writes: Vec<_> = unwritten.iter().map(|unwritten| unwritten.write.clone()).collect();
            match self.store.commit(&writes, self.clock.now()) {
                Ok(_) => {
                    self.failing = false;
                    unwritten.iter().for_each(super::Unwritten::is_written);
                }
                // Somebody was faster with what was to be removed.
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        let error: &dyn std::error::Error = &error;
                        tracing::warn!(
                            error,
                            "the last uses of secrets cannot be written down; trying again"
                        );
                    }
                    return;
                }
            }
            thread::sleep(BETWEEN_BATCHES);
        }
    }
}
