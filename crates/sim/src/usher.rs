//! Lets those who were woken in one instant go on in the order of their numbers.
//!
//! tokio wakes the receivers of one `watch` in an order that it draws from a generator of its own. What callers do next
//! would then depend on more than the seed; so whoever was woken stands in line, and goes on a millisecond later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// The line of one world.
#[derive(Debug, Default)]
pub struct Usher {
    line: Mutex<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
}

impl Usher {
    /// Stands in line with this number.
    pub async fn line_up(self: &Arc<Self>, number: u64) {
        let (go, gone) = oneshot::channel();
        let is_first = {
            let mut line = self.line();
            let is_first = line.is_empty();
            line.entry(number).or_default().push(go);
            is_first
        };
        if is_first {
            let usher = Arc::clone(self);
            tokio::spawn(async move {
                sleep(Duration::from_millis(1)).await;
                let line = std::mem::take(&mut *usher.line());
                for go in line.into_values().flatten() {
                    // Who went away in the meantime does not go on.
                    let _went = go.send(());
                }
            });
        }
        // The sender is kept until it sends.
        let _went = gone.await;
    }

    fn line(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<oneshot::Sender<()>>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
