//! Clients of a shared store that break one rule each.

use bytes::Bytes;
use jeton::store::{
    Change, KeyRing, Reading, Record, RecordName, SharedStore, StoreFuture, StoreKey, Subscription, Swap,
    Version,
};
use jeton::{Clock, Timestamp, TokenHandle, TokenId};
use sim::fleet::fitting::{Counter, Fitting, GotFuture, RealCounter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

type Store = Arc<dyn SharedStore>;

/// What is read through it has no lease.
pub(crate) struct ShowsNoLease;

struct WithoutLeases(Store);

fn without_lease(reading: Reading) -> Reading {
    Reading { record: reading.record.map(|record| Record { lease_left: None, ..record }), ..reading }
}

impl Fitting for ShowsNoLease {
    fn store(&self, store: Store) -> Store {
        Arc::new(WithoutLeases(store))
    }
}

impl SharedStore for WithoutLeases {
    fn load<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Reading> {
        Box::pin(async move { self.0.load(name).await.map(without_lease) })
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> StoreFuture<'a, Swap> {
        Box::pin(async move {
            Ok(match self.0.compare_and_swap(name, expected, change).await? {
                Swap::Conflict(reading) => Swap::Conflict(without_lease(reading)),
                written @ Swap::Written { .. } => written,
            })
        })
    }

    fn subscribe<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Subscription> {
        self.0.subscribe(name)
    }

    fn kind(&self) -> &'static str {
        "model"
    }
}

/// Asks for one key, and gives out the token of another.
pub(crate) struct MixesKeysUp;

impl Fitting for MixesKeysUp {
    fn counters(&self, mut handles: Vec<TokenHandle>) -> Vec<Arc<dyn Counter>> {
        handles.reverse();
        handles.into_iter().map(|handle| Arc::new(RealCounter(handle)) as Arc<dyn Counter>).collect()
    }
}

/// Has a clock that goes at half speed.
pub(crate) struct SlowClock;

struct HalfSpeed {
    clock: Arc<dyn Clock>,
    begun: Timestamp,
}

impl Fitting for SlowClock {
    fn clock(&self, clock: Arc<dyn Clock>) -> Arc<dyn Clock> {
        Arc::new(HalfSpeed { begun: clock.now(), clock })
    }
}

impl Clock for HalfSpeed {
    fn now(&self) -> Timestamp {
        self.begun.saturating_add(self.clock.now().saturating_since(self.begun) / 2)
    }

    fn since_boot(&self) -> Option<Duration> {
        self.clock.since_boot().map(|since_boot| since_boot / 2)
    }
}

/// Does nothing about a rejected token.
pub(crate) struct DeafToRejections;

struct Deaf(TokenHandle);

impl Fitting for DeafToRejections {
    fn counters(&self, handles: Vec<TokenHandle>) -> Vec<Arc<dyn Counter>> {
        handles.into_iter().map(|handle| Arc::new(Deaf(handle)) as Arc<dyn Counter>).collect()
    }
}

impl Counter for Deaf {
    fn within(&self, wait: Duration) -> GotFuture<'_> {
        Box::pin(async move { self.0.token_within(wait).await.map_err(|error| error.to_string()) })
    }

    fn reject(&self, _token: TokenId) {}
}

/// Gives no token once its store has failed, until that works again.
#[derive(Default)]
pub(crate) struct FailsWithItsStore(Arc<AtomicBool>);

struct Watched(Store, Arc<AtomicBool>);

struct Dependent(TokenHandle, Arc<AtomicBool>);

impl Fitting for FailsWithItsStore {
    fn store(&self, store: Store) -> Store {
        Arc::new(Watched(store, Arc::clone(&self.0)))
    }

    fn counters(&self, handles: Vec<TokenHandle>) -> Vec<Arc<dyn Counter>> {
        let dependent = |handle| Arc::new(Dependent(handle, Arc::clone(&self.0))) as Arc<dyn Counter>;
        handles.into_iter().map(dependent).collect()
    }
}

impl Counter for Dependent {
    fn within(&self, wait: Duration) -> GotFuture<'_> {
        Box::pin(async move {
            let token = self.0.token_within(wait).await.map_err(|error| error.to_string())?;
            if self.1.load(Ordering::Relaxed) { Err("the store is down".to_owned()) } else { Ok(token) }
        })
    }

    fn reject(&self, token: TokenId) {
        self.0.reject(token);
    }
}

impl SharedStore for Watched {
    fn load<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Reading> {
        Box::pin(async move {
            let reading = self.0.load(name).await;
            self.1.store(reading.is_err(), Ordering::Relaxed);
            reading
        })
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> StoreFuture<'a, Swap> {
        Box::pin(async move {
            let swap = self.0.compare_and_swap(name, expected, change).await;
            self.1.store(swap.is_err(), Ordering::Relaxed);
            swap
        })
    }

    fn subscribe<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Subscription> {
        self.0.subscribe(name)
    }

    fn kind(&self) -> &'static str {
        "model"
    }
}

/// Gives each process a key of its own.
#[derive(Default)]
pub(crate) struct AKeyEach(AtomicU8);

impl Fitting for AKeyEach {
    fn keys(&self, _keys: KeyRing) -> KeyRing {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        KeyRing::new(&StoreKey::from_bytes(&[number; 32])).unwrap()
    }
}

/// Writes its client id beside what is sealed.
pub(crate) struct TellsWhoItIs;

struct Talkative(Store);

impl Fitting for TellsWhoItIs {
    fn store(&self, store: Store) -> Store {
        Arc::new(Talkative(store))
    }
}

impl SharedStore for Talkative {
    fn load<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Reading> {
        self.0.load(name)
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> StoreFuture<'a, Swap> {
        let note = Bytes::from_static(b"of 63616e6172792d636c69656e742d6964");
        self.0.compare_and_swap(name, expected, Change { note, ..change })
    }

    fn subscribe<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Subscription> {
        self.0.subscribe(name)
    }

    fn kind(&self) -> &'static str {
        "model"
    }
}

/// Takes it for granted that there is a token.
pub(crate) struct PanicsOnErrors;

struct Sure(TokenHandle);

impl Fitting for PanicsOnErrors {
    fn counters(&self, handles: Vec<TokenHandle>) -> Vec<Arc<dyn Counter>> {
        handles.into_iter().map(|handle| Arc::new(Sure(handle)) as Arc<dyn Counter>).collect()
    }
}

impl Counter for Sure {
    fn within(&self, wait: Duration) -> GotFuture<'_> {
        Box::pin(async move { Ok(self.0.token_within(wait).await.expect("there is always a token")) })
    }

    fn reject(&self, token: TokenId) {
        self.0.reject(token);
    }
}
