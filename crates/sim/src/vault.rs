//! Where managers read their secret from that have it from a source: slow, changed while they run, and at times not to be
//! read.

use crate::canary::secret;
use crate::event::Event;
use crate::fault::FaultKind;
use crate::journal::Journal;
use crate::weather::Weather;
use fastrand::Rng;
use jeton::Secret;
use jeton::credentials::{SecretFuture, SecretReading, SecretSource, SourceFault, SourceFaultKind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::sleep;

/// How long it takes to read.
const READING: Duration = Duration::from_millis(5);

/// The source of one world.
#[derive(Debug)]
pub struct Vault {
    journal: Arc<Journal>,
    weather: Arc<Weather>,
    generation: AtomicU32,
    random: Mutex<Rng>,
}

impl Vault {
    /// A source with the first secret.
    pub fn new(journal: Arc<Journal>, weather: Arc<Weather>, random: Rng) -> Arc<Self> {
        Arc::new(Self { journal, weather, generation: AtomicU32::new(0), random: Mutex::new(random) })
    }

    /// Puts the secret of this generation in.
    pub fn put(&self, generation: u32) {
        self.generation.store(generation, Ordering::Relaxed);
        self.journal.record(&Event::SecretInSource { secret: generation });
    }
}

impl SecretSource for Vault {
    fn read(&self) -> SecretFuture<'_> {
        let draw = self.random.lock().unwrap_or_else(PoisonError::into_inner).f64();
        let unreadable = draw < self.weather.chance();
        Box::pin(async move {
            sleep(READING).await;
            if unreadable {
                self.journal.fault(FaultKind::SecretUnreadable);
                return Err(SourceFault::new(SourceFaultKind::Unreachable, "the vault", "it is sealed"));
            }
            let secret = secret(self.generation.load(Ordering::Relaxed));
            Ok(SecretReading::new(Secret::from(secret.as_str())))
        })
    }
}
