//! A look at a place that may block: on a thread for that, one at a time.

use super::source::{SecretReading, SourceFault, SourceFaultKind};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

pub(super) type Looked = Result<SecretReading, SourceFault>;

/// The look that is under way. Whoever gives up waiting leaves it to the next, so that a file system which hangs holds one
/// thread and no more.
#[derive(Debug, Default)]
pub(super) struct Look {
    under_way: Mutex<Option<JoinHandle<Looked>>>,
}

impl Look {
    /// What the look under way brings, or this one. Without a runtime it is done on the spot.
    pub(super) async fn at(&self, look: impl FnOnce() -> Looked + Send + 'static) -> Looked {
        let Ok(runtime) = Handle::try_current() else {
            return look();
        };
        let mut under_way = self.under_way.lock().await;
        // What one brought that ended with nobody waiting may be old.
        let left = under_way.take().filter(|left| !left.is_finished());
        let looking = under_way.insert(left.unwrap_or_else(|| runtime.spawn_blocking(look)));
        let looked = looking.await;
        *under_way = None;
        looked.unwrap_or_else(|_lost| {
            Err(SourceFault::new(
                SourceFaultKind::Unreachable,
                "the source of the secret",
                "its reader was lost with its runtime",
            ))
        })
    }
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
        while look.under_way.lock().await.as_ref().is_some_and(|left| !left.is_finished()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(look.at(|| Ok(reading("now"))).await, Ok(reading("now")));
    }
}
