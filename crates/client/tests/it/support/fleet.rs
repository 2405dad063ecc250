//! A store with troubles, and managers that share it.

use super::{Endpoint, InMemory, SECRET, VirtualClock, millis};
use jeton::store::{
    Change, KeyRing, MemoryStore, Reading, RecordName, SharedStore, StoreFault, StoreFaultKind,
};
use jeton::store::{StoreFuture, StoreKey, Subscription, Swap, Version};
use jeton::{Secret, TokenManager, TokenManagerBuilder};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::sleep;

/// What a store does that does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// It fails at once.
    Fails(StoreFaultKind),
    /// It never answers.
    Hangs,
    /// It reads, and does not write.
    ReadOnly,
    /// It does what it is asked for, and does not say so.
    LosesAnswers,
    /// It never tells of changes.
    Silent,
}

/// A store in memory with troubles, and everything that it was given.
pub(crate) struct Store {
    inner: MemoryStore,
    trouble: Mutex<Trouble>,
    asked: AtomicUsize,
    pub(crate) names: Mutex<Vec<RecordName>>,
    pub(crate) given: Mutex<Vec<u8>>,
}

impl Store {
    pub(crate) fn new(clock: &Arc<VirtualClock>) -> Arc<Self> {
        let clock: Arc<dyn jeton::Clock> = Arc::clone(clock) as _;
        Arc::new(Self {
            inner: MemoryStore::with_clock(clock),
            trouble: Mutex::new(Trouble::None),
            asked: AtomicUsize::new(0),
            names: Mutex::default(),
            given: Mutex::default(),
        })
    }

    pub(crate) fn set(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn with<T>(
        &self,
        writes: bool,
        asking: impl Future<Output = Result<T, StoreFault>>,
    ) -> Result<T, StoreFault> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        sleep(millis(1)).await;
        let trouble = *self.trouble.lock().unwrap();
        match trouble {
            Trouble::Fails(kind) => Err(StoreFault::new(kind, "on purpose")),
            Trouble::ReadOnly if writes => Err(StoreFault::new(StoreFaultKind::Unwritable, "on purpose")),
            Trouble::None | Trouble::Silent | Trouble::ReadOnly => asking.await,
            Trouble::Hangs => std::future::pending().await,
            Trouble::LosesAnswers => {
                asking.await?;
                std::future::pending().await
            }
        }
    }
}

impl SharedStore for Store {
    fn load<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Reading> {
        Box::pin(self.with(false, self.inner.load(name)))
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> StoreFuture<'a, Swap> {
        self.names.lock().unwrap().push(*name);
        self.given.lock().unwrap().extend_from_slice(format!("{name}{change:?}").as_bytes());
        Box::pin(self.with(true, self.inner.compare_and_swap(name, expected, change)))
    }

    fn subscribe<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Subscription> {
        let silent = *self.trouble.lock().unwrap() == Trouble::Silent;
        let (sender, receiver) = tokio::sync::watch::channel(());
        Box::pin(self.with(false, async move {
            if silent { Ok(Subscription::new(receiver, sender)) } else { self.inner.subscribe(name).await }
        }))
    }

    fn kind(&self) -> &'static str {
        "test"
    }
}

/// A server, a store, and a clock for all.
pub(crate) struct Fleet {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Arc<VirtualClock>,
}

impl Fleet {
    pub(crate) fn granting(expires_in: u64) -> Self {
        let clock = VirtualClock::with_boot_clock();
        Self { endpoint: Endpoint::granting(expires_in), store: Store::new(&clock), clock }
    }

    pub(crate) fn builder(&self) -> TokenManagerBuilder {
        let clock: Arc<dyn jeton::Clock> = Arc::clone(&self.clock) as _;
        self.builder_on(&self.endpoint, clock)
    }

    pub(crate) fn builder_on(
        &self,
        endpoint: &Arc<Endpoint>,
        clock: Arc<dyn jeton::Clock>,
    ) -> TokenManagerBuilder {
        TokenManager::builder("https://as.example/token", "billing")
            .client_secret(Secret::from(SECRET))
            .exchange(Arc::new(InMemory(Arc::clone(endpoint))))
            .clock(clock)
            .shared_store(Arc::clone(&self.store) as _, ring(1))
    }

    pub(crate) fn manager(&self) -> TokenManager {
        self.builder().build().unwrap()
    }

    pub(crate) fn managers(&self, count: usize) -> Vec<TokenManager> {
        (0..count).map(|_| self.manager()).collect()
    }
}

pub(crate) fn ring(byte: u8) -> KeyRing {
    KeyRing::new(&StoreKey::from_bytes(&[byte; 32])).unwrap()
}
