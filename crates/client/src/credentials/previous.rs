//! A secret and the one before it, in two places.

use super::source::{Reread, SecretFuture, SecretReading, SecretSource, SourceFault};
use crate::sync::{Mutex, lock};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long the previous secret is waited for: it is never worth the current one.
const PREVIOUS_WITHIN: Duration = Duration::from_secs(3);

/// A source made of two: the current secret from one, the previous from the other, as while a rotation is rolled out by files.
///
/// That there is no previous secret is nothing to speak of; what else is wrong with its source is a warning, told once, and the
/// current secret is used alone.
pub struct WithPrevious {
    current: Arc<dyn SecretSource>,
    previous: Arc<dyn SecretSource>,
    /// What was last told of the previous one.
    told: Mutex<Option<SourceFault>>,
}

impl WithPrevious {
    /// The secret of `current`, and before it that of `previous`.
    #[must_use]
    pub fn new(current: Arc<dyn SecretSource>, previous: Arc<dyn SecretSource>) -> Self {
        Self { current, previous, told: Mutex::default() }
    }

    async fn previous(&self) -> Option<SecretReading> {
        let Ok(read) = tokio::time::timeout(PREVIOUS_WITHIN, self.previous.read()).await else {
            tracing::warn!("the previous client secret is not used: its source did not answer in time");
            return None;
        };
        let (reading, fault) = match read {
            Ok(reading) => (Some(reading), None),
            Err(fault) if fault.is_of_nothing() => (None, None),
            Err(fault) => (None, Some(fault)),
        };
        let mut told = lock(&self.told);
        if *told != fault {
            if let Some(fault) = &fault {
                tracing::warn!(%fault, "the previous client secret is not used");
            }
            *told = fault;
        }
        reading
    }
}

impl SecretSource for WithPrevious {
    fn read(&self) -> SecretFuture<'_> {
        Box::pin(async {
            let (current, previous) = tokio::join!(self.current.read(), self.previous());
            let mut reading = current?;
            let other = previous.map(|previous| previous.current).filter(|other| *other != reading.current);
            reading.previous = other.or(reading.previous);
            Ok(reading)
        })
    }

    /// As often as the current one, where the previous one can be read as often.
    fn reread(&self) -> Reread {
        match (self.current.reread(), self.previous.reread()) {
            (Reread::BeforeEachRequest, Reread::Periodically) => Reread::Periodically,
            (current, Reread::WhenRefused | Reread::Periodically | Reread::BeforeEachRequest) => current,
        }
    }
}

impl fmt::Debug for WithPrevious {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithPrevious").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
