//! A connection that is up, as those see it who share it.

use super::address::Address;
use super::dialler::{Dialler, Driver, Meter};
use super::fault;
use super::followers::Followers;
use crate::store::StoreFault;
use crate::sync::{Mutex, lock};
use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Cmd, Pipeline, ProtocolVersion, PushInfo, PushKind, RedisError, Value};
use std::io::ErrorKind::BrokenPipe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{MutexGuard, Notify, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// The longest wait for an answer. Whoever asks may be in more of a hurry.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// The most commands whose answers are waited for on one connection.
const MOST_IN_FLIGHT: usize = 64;
/// A connection is not given up sooner for what its server answered, so that asking again does not become a storm.
const KEPT_AT_LEAST: Duration = Duration::from_secs(1);

static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// A connection. Cheap to clone; what is asked of it after its end fails at once.
#[derive(Clone)]
pub(super) struct Connection {
    shared: Arc<Shared>,
}

struct Shared {
    /// No two connections have the same.
    id: u64,
    server: String,
    pipe: MultiplexedConnection,
    health: Health,
    meter: Meter,
    in_flight: Semaphore,
    /// Closed once nobody drives the connection any more.
    ended: watch::Receiver<()>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Health {
    /// An answer did not come in time.
    suspected: Notify,
    /// The server said something that another connection may mend, and this.
    retired: Mutex<Option<StoreFault>>,
    retiring: Notify,
}

impl Connection {
    /// Connects to the server at `address`, and passes on what it tells unasked.
    pub(super) async fn open(
        dialler: &Dialler,
        address: &Address,
        followers: Option<Arc<Followers>>,
    ) -> Result<(Self, Driver), StoreFault> {
        let meter = Meter::default();
        let mut config = AsyncConnectionConfig::new();
        if dialler.protocol == ProtocolVersion::RESP3 {
            let meter = meter.clone();
            config = config.set_push_sender(move |push: PushInfo| {
                meter.reset();
                if let Some(followers) = &followers {
                    hear(followers, &push);
                }
                Ok::<(), ()>(())
            });
        }
        let (pipe, driving) = dialler.dial(address, config, &meter).await?;
        let (alive, ended) = watch::channel(());
        // A task of its own, so that nothing else is looked at whenever bytes come and go.
        let driver = Driver::start(async move {
            driving.await;
            drop(alive);
        });
        let shared = Shared {
            id: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
            server: address.to_string(),
            pipe,
            health: Health::default(),
            meter,
            in_flight: Semaphore::new(MOST_IN_FLIGHT),
            ended,
            turn: tokio::sync::Mutex::default(),
        };
        Ok((Self { shared: Arc::new(shared) }, driver))
    }

    /// Held while subscribing and unsubscribing, so that the server hears them in the order that was decided on.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.shared.turn.lock().await
    }

    /// Where it leads to, fit for messages.
    pub(super) fn server(&self) -> &str {
        &self.shared.server
    }

    /// Whether both are the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.shared.id == other.shared.id
    }

    /// Sends `commands` in one write, and waits for the answer to each; errors of the server are answers.
    pub(super) async fn ask(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreFault> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        let count = commands.len();
        for command in commands {
            pipeline.add_command(command);
        }
        let mut pipe = self.shared.pipe.clone();
        self.answered(async move { pipe.send_packed_commands(&pipeline, 0, count).await }).await
    }

    /// Is told from now on what is published on `channel`.
    pub(super) async fn subscribe(&self, channel: &[u8]) -> Result<(), StoreFault> {
        let mut pipe = self.shared.pipe.clone();
        self.answered(async move { pipe.subscribe(channel).await }).await
    }

    /// Is not told any more.
    pub(super) async fn unsubscribe(&self, channel: &[u8]) -> Result<(), StoreFault> {
        let mut pipe = self.shared.pipe.clone();
        self.answered(async move { pipe.unsubscribe(channel).await }).await
    }

    async fn answered<T>(&self, asked: impl Future<Output = Result<T, RedisError>>) -> Result<T, StoreFault> {
        // Whoever gives up waiting, here or by dropping this, has the connection looked at.
        let mut waiting = Waiting { health: Some(&self.shared.health) };
        let mut within = pin!(timeout(ANSWER_WITHIN, async {
            let _place = self.shared.in_flight.acquire().await;
            asked.await
        }));
        let mut ended = self.shared.ended.clone();
        let answer = tokio::select! {
            biased;
            answer = &mut within => answer,
            // What was handed over in the moment of the end lies where nobody will look for it. What was answered
            // before it is there.
            _ = ended.changed() => {
                let answer = timeout(Duration::ZERO, within).await;
                Ok(answer.ok().and_then(Result::ok).unwrap_or_else(|| Err(std::io::Error::from(BrokenPipe).into())))
            }
        };
        let Ok(answer) = answer else {
            return Err(fault::timed_out(&self.shared.server, "no answer", ANSWER_WITHIN));
        };
        waiting.health = None;
        self.shared.meter.reset();
        answer.map_err(|error| {
            // A closed connection looks the same to everyone; why it was given up was told before.
            let reason = lock(&self.shared.health.retired).clone().filter(|_| error.code().is_none());
            reason.unwrap_or_else(|| fault::broken(&self.shared.server, &error))
        })
    }

    /// Gives the connection up for `reason`: another one may lead elsewhere, or log in anew.
    pub(super) fn retire(&self, reason: StoreFault) {
        lock(&self.shared.health.retired).get_or_insert(reason);
        self.shared.health.retiring.notify_one();
    }

    /// Ends with the reason why the connection is to be given up, once there is one.
    pub(super) async fn ailing(&self, since: Instant) -> StoreFault {
        loop {
            tokio::select! {
                () = self.shared.health.retiring.notified() => {
                    sleep_until(since + KEPT_AT_LEAST).await;
                    let reason = lock(&self.shared.health.retired).clone();
                    if let Some(reason) = reason {
                        return reason;
                    }
                }
                () = self.shared.health.suspected.notified() => {
                    let ping = async { self.shared.pipe.clone().send_packed_command(&::redis::cmd("PING")).await };
                    match timeout(ANSWER_WITHIN, ping).await {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => return fault::broken(&self.shared.server, &error),
                        Err(_) => return fault::timed_out(&self.shared.server, "no answer to a ping", ANSWER_WITHIN),
                    }
                }
            }
        }
    }
}

/// Wakes those who follow the channel of a message.
fn hear(followers: &Followers, push: &PushInfo) {
    if push.kind == PushKind::Message
        && let Some(Value::BulkString(channel)) = push.data.first()
    {
        followers.wake(channel);
    }
}

struct Waiting<'a> {
    health: Option<&'a Health>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(health) = self.health {
            health.suspected.notify_one();
        }
    }
}
