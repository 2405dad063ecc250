//! A store that does what a script says, one answer at a time.

use crate::support::fleet::{Fleet, ring};
use crate::support::{Endpoint, InMemory, SECRET, VirtualClock, key, millis};
use jeton::store::{BodyChange, Change, MemoryStore, Reading, RecordName, SharedStore, StoreFault};
use jeton::store::{StoreFaultKind, StoreFuture, Subscription, Swap, Version};
use jeton::{Secret, TokenError, TokenManager, TokenManagerBuilder};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What a store is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Load,
    /// The lease is taken or prolonged.
    Lease,
    Publish,
    Release,
    Subscribe,
}

/// What it does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    It,
    /// It fails at once.
    Fails(StoreFaultKind),
    /// It does nothing, and never answers.
    Hangs,
    /// It does it, and never answers.
    ItAndHangs,
    /// It does it, and answers so much later.
    ItAndIsLate(Duration),
    Panics,
}

type Script = Box<dyn FnMut(Asked) -> Does + Send>;

pub(super) struct Rig {
    pub(super) inner: MemoryStore,
    script: Mutex<Script>,
    pub(super) log: Mutex<Vec<(Instant, Asked)>>,
}

impl Rig {
    pub(super) fn new(clock: &Arc<VirtualClock>) -> Arc<Self> {
        let inner = MemoryStore::with_clock(Arc::clone(clock) as _);
        Arc::new(Self { inner, script: Mutex::new(Box::new(|_| Does::It)), log: Mutex::default() })
    }

    pub(super) fn plays(&self, script: impl FnMut(Asked) -> Does + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub(super) fn asked(&self, what: Asked) -> usize {
        self.log.lock().unwrap().iter().filter(|(_, asked)| *asked == what).count()
    }

    async fn act<T>(
        &self,
        asked: Asked,
        work: impl Future<Output = Result<T, StoreFault>>,
    ) -> Result<T, StoreFault> {
        self.log.lock().unwrap().push((Instant::now(), asked));
        let does = (self.script.lock().unwrap())(asked);
        sleep(millis(1)).await;
        match does {
            Does::It => work.await,
            Does::Fails(kind) => Err(StoreFault::new(kind, "on purpose")),
            Does::Hangs => std::future::pending().await,
            Does::ItAndHangs => {
                work.await?;
                std::future::pending().await
            }
            Does::ItAndIsLate(by) => {
                let done = work.await;
                sleep(by).await;
                done
            }
            Does::Panics => panic!("the store panics"),
        }
    }
}

impl SharedStore for Rig {
    fn load<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Reading> {
        Box::pin(self.act(Asked::Load, self.inner.load(name)))
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> StoreFuture<'a, Swap> {
        let asked = match (&change.lease, &change.body) {
            (Some(_), _) => Asked::Lease,
            (None, BodyChange::Put { .. }) => Asked::Publish,
            (None, BodyChange::Keep | BodyChange::Drop) => Asked::Release,
        };
        Box::pin(self.act(asked, self.inner.compare_and_swap(name, expected, change)))
    }

    fn subscribe<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Subscription> {
        Box::pin(self.act(Asked::Subscribe, self.inner.subscribe(name)))
    }

    fn kind(&self) -> &'static str {
        "rig"
    }
}

/// A fleet on such a store.
pub(super) struct Rigged {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) store: Arc<Rig>,
    pub(super) clock: Arc<VirtualClock>,
}

impl Rigged {
    pub(super) fn granting(expires_in: u64) -> Self {
        let Fleet { endpoint, clock, .. } = Fleet::granting(expires_in);
        Self { endpoint, store: Rig::new(&clock), clock }
    }

    pub(super) fn builder(&self) -> TokenManagerBuilder {
        self.builder_on(&self.endpoint, Arc::clone(&self.clock) as _)
    }

    pub(super) fn builder_on(
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

    pub(super) fn manager(&self) -> TokenManager {
        self.builder().build().unwrap()
    }

    pub(super) fn managers(&self, count: usize) -> Vec<TokenManager> {
        (0..count).map(|_| self.manager()).collect()
    }
}

/// What each of `each` callers of every manager got, and how long it waited.
pub(super) async fn waits(
    managers: &[TokenManager],
    each: usize,
) -> Vec<(Result<String, TokenError>, Duration)> {
    let tasks: Vec<_> = managers
        .iter()
        .flat_map(|manager| (0..each).map(|_| manager.clone()))
        .map(|manager| {
            tokio::spawn(async move {
                let begun = Instant::now();
                let token = manager.token(&key()).await.map(|token| token.access_token().to_owned());
                (token, begun.elapsed())
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

pub(super) fn longest(outcomes: &[(Result<String, TokenError>, Duration)]) -> Duration {
    outcomes.iter().map(|(_, waited)| *waited).max().unwrap()
}
