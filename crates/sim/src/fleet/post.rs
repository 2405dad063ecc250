//! What processes say to the store and to the server, and what they hear.

use crate::clock::WorldClock;
use bytes::Bytes;
use http::{Request, Response};
use jeton::http::{ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange};
use jeton::store::{
    Change, Reading, RecordName, SharedStore, StoreFault, StoreFaultKind, StoreFuture, Subscription, Swap,
    Version,
};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Where an answer is awaited.
pub type Awaited<T> = oneshot::Sender<T>;

/// What a process asks.
#[derive(Debug)]
pub enum Letter {
    /// For a record.
    Load {
        /// Its name.
        name: RecordName,
        /// Who waits.
        awaited: Awaited<Result<Reading, StoreFault>>,
    },
    /// For a change.
    Swap {
        /// Of which record.
        name: RecordName,
        /// The version to be there.
        expected: Option<Version>,
        /// The change.
        change: Change,
        /// Who waits.
        awaited: Awaited<Result<Swap, StoreFault>>,
    },
    /// To be told of changes.
    Subscribe {
        /// Of which record.
        name: RecordName,
        /// Who waits.
        awaited: Awaited<Result<Subscription, StoreFault>>,
    },
    /// For a token.
    Token {
        /// The body of the request.
        body: Bytes,
        /// Who waits.
        awaited: Awaited<Result<Response<Bytes>, ExchangeError>>,
    },
}

/// The letters of one turn, each with the true time at which it was put in.
#[derive(Debug)]
pub struct PostBox {
    clock: Arc<WorldClock>,
    letters: Mutex<Vec<(u64, Letter)>>,
}

impl PostBox {
    /// An empty one, of a process with this clock.
    pub fn new(clock: Arc<WorldClock>) -> Arc<Self> {
        Arc::new(Self { clock, letters: Mutex::default() })
    }

    fn put(&self, letter: Letter) {
        let letter = (self.clock.moment().boot_ms, letter);
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
    }

    /// Takes what was put in.
    pub fn collect(&self) -> Vec<(u64, Letter)> {
        std::mem::take(&mut *self.letters.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a letter in, and waits for its answer.
    async fn answer<T>(&self, letter: impl FnOnce(Awaited<T>) -> Letter) -> Option<T> {
        let (awaited, answer) = oneshot::channel();
        self.put(letter(awaited));
        answer.await.ok()
    }
}

/// The store, as one process reaches it.
pub struct StoreByPost(pub Arc<PostBox>);

fn lost<T>(answer: Option<Result<T, StoreFault>>) -> Result<T, StoreFault> {
    answer.unwrap_or_else(|| Err(StoreFault::new(StoreFaultKind::Unreachable, "the connection broke")))
}

impl SharedStore for StoreByPost {
    fn load<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Reading> {
        let name = *name;
        Box::pin(async move { lost(self.0.answer(|awaited| Letter::Load { name, awaited }).await) })
    }

    fn compare_and_swap<'a>(
        &'a self,
        name: &'a RecordName,
        expected: Option<Version>,
        change: Change,
    ) -> StoreFuture<'a, Swap> {
        let name = *name;
        Box::pin(async move {
            lost(self.0.answer(|awaited| Letter::Swap { name, expected, change, awaited }).await)
        })
    }

    fn subscribe<'a>(&'a self, name: &'a RecordName) -> StoreFuture<'a, Subscription> {
        let name = *name;
        Box::pin(async move { lost(self.0.answer(|awaited| Letter::Subscribe { name, awaited }).await) })
    }

    fn kind(&self) -> &'static str {
        "model"
    }
}

impl fmt::Debug for StoreByPost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreByPost")
    }
}

/// The server, as one process reaches it.
#[derive(Debug)]
pub struct ServerByPost(pub Arc<PostBox>);

impl HttpExchange for ServerByPost {
    fn exchange(&self, request: Request<Bytes>, _limits: ExchangeLimits) -> ExchangeFuture<'_> {
        let body = request.into_body();
        Box::pin(async move {
            let answer = self.0.answer(|awaited| Letter::Token { body, awaited }).await;
            answer.unwrap_or_else(|| Err(ExchangeError::Interrupted("connection reset by peer".to_owned())))
        })
    }
}
