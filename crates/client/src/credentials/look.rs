//! A look at a place that may block: on a thread for that, one at a time.

use super::source::{SecretReading, SourceFault, SourceFaultKind};
use crate::sync::{Mutex, lock};
use tokio::runtime::Handle;
use tokio::sync::watch;

pub(super) type Looked = Result<SecretReading, SourceFault>;
type Share = watch::Receiver<Option<Looked>>;

/// The look that is under way. Whoever gives up waiting leaves it to the next, so that a file system which hangs holds one
/// thread and no more; and nobody waits for who waits, whose runtime may be one that nobody drives.
#[derive(Debug, Default)]
pub(super) struct Look {
    under_way: Mutex<Option<Share>>,
}

impl Look {
    /// What the look under way brings, or this one. Without a runtime it is done on the spot.
    pub(super) async fn at(&self, look: impl FnOnce() -> Looked + Send + 'static) -> Looked {
        let Ok(runtime) = Handle::try_current() else {
            return look();
        };
        let mut looked = self.share(&runtime, look);
        let brought = looked.wait_for(Option::is_some).await;
        let brought = brought.ok().and_then(|brought| brought.clone());
        let mut under_way = lock(&self.under_way);
        // What it brought is not kept; another one that has begun since is.
        if under_way.as_ref().is_some_and(|known| known.same_channel(&looked)) {
            *under_way = None;
        }
        drop(under_way);
        brought.unwrap_or_else(|| {
            Err(SourceFault::new(
                SourceFaultKind::Unreachable,
                "the source of the secret",
                "its reader was lost with its runtime",
            ))
        })
    }

    fn share(&self, runtime: &Handle, look: impl FnOnce() -> Looked + Send + 'static) -> Share {
        let mut under_way = lock(&self.under_way);
        if let Some(share) = under_way.as_ref().filter(|share| goes_on(share)) {
            return share.clone();
        }
        let (sender, share) = watch::channel(None);
        *under_way = Some(share.clone());
        runtime.spawn_blocking(move || sender.send_replace(Some(look())));
        share
    }
}

/// What one brought that ended with nobody waiting may be old; and one may be lost with its runtime.
fn goes_on(share: &Share) -> bool {
    share.has_changed().is_ok() && share.borrow().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jeton_proto::secret::Secret;
    use std::sync::mpsc;
    use std::time::Duration;

    fn reading(text: &str) -> SecretReading {
        Secret::from(text).into()
    }

    #[tokio::test]
    async fn t32_a_look_that_hangs_holds_one_thread_and_is_waited_for_by_the_next() {
        let look = Look::default();
        let (go_on, held) = mpsc::channel::<()>();
        let hanging = look.at(move || {
            let _held = held.recv();
            Ok(reading("first"))
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), hanging).await.is_err());
        let second = look.at(|| Ok(reading("second")));
        tokio::pin!(second);
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut second).await.is_err());
        go_on.send(()).unwrap();
        assert_eq!(second.await, Ok(reading("first")));
        assert_eq!(look.at(|| Ok(reading("third"))).await, Ok(reading("third")));
    }

    #[tokio::test]
    async fn t32_what_a_look_brought_when_nobody_waited_is_of_the_past() {
        let look = Look::default();
        let (go_on, held) = mpsc::channel::<()>();
        let hanging = look.at(move || {
            let _held = held.recv();
            Ok(reading("past"))
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), hanging).await.is_err());
        go_on.send(()).unwrap();
        while lock(&look.under_way).as_ref().is_some_and(goes_on) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(look.at(|| Ok(reading("now"))).await, Ok(reading("now")));
    }
}
