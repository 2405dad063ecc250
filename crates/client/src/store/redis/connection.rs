//! A connection that is up, as those see it who share it.

use super::address::Address;
use super::dialler::{Dialler, Driver, Meter};
use super::fault;
use super::followers::Followers;
use crate::store::StoreFault;
use crate::sync::{Mutex, lock};
use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Cmd, Pipeline, ProtocolVersion, PushInfo, PushKind, RedisError, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
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
    /// No two connections have the same.
    id: u64,
    server: Arc<str>,
    pipe: MultiplexedConnection,
    health: Arc<Health>,
    meter: Meter,
    in_flight: Arc<Semaphore>,
    /// Held while subscribing and unsubscribing, so that the server hears them in the order that was decided on.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
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
        let (pipe, driver) = dialler.dial(address, config, &meter).await?;
        let connection = Self {
            id: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
            server: address.to_string().into(),
            pipe,
            health: Arc::default(),
            meter,
            in_flight: Arc::new(Semaphore::new(MOST_IN_FLIGHT)),
            turn: Arc::default(),
        };
        Ok((connection, driver))
    }

    /// Where it leads to, fit for messages.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Whether both are the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Sends `commands` in one write, and waits for the answer to each; errors of the server are answers.
    pub(super) async fn ask(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreFault> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        let count = commands.len();
        for command in commands {
            pipeline.add_command(command);
        }
        let mut pipe = self.pipe.clone();
        self.answered(async move { pipe.send_packed_commands(&pipeline, 0, count).await }).await
    }

    /// Is told from now on what is published on `channel`.
    pub(super) async fn subscribe(&self, channel: &[u8]) -> Result<(), StoreFault> {
        let mut pipe = self.pipe.clone();
        self.answered(async move { pipe.subscribe(channel).await }).await
    }

    /// Is not told any more.
    pub(super) async fn unsubscribe(&self, channel: &[u8]) -> Result<(), StoreFault> {
        let mut pipe = self.pipe.clone();
        self.answered(async move { pipe.unsubscribe(channel).await }).await
    }

    async fn answered<T>(&self, asked: impl Future<Output = Result<T, RedisError>>) -> Result<T, StoreFault> {
        // Whoever gives up waiting, here or by dropping this, has the connection looked at.
        let mut waiting = Waiting { health: Some(&self.health) };
        let within = timeout(ANSWER_WITHIN, async {
            let _place = self.in_flight.acquire().await;
            asked.await
        });
        let Ok(answer) = within.await else {
            return Err(fault::timed_out(&self.server, "no answer", ANSWER_WITHIN));
        };
        waiting.health = None;
        self.meter.reset();
        answer.map_err(|error| match error.code() {
            Some(_) => fault::broken(&self.server, &error),
            None => {
                // A closed connection tells it to everyone; the reason, if the server gave one, was told before.
                let retired = lock(&self.health.retired).clone();
                retired.unwrap_or_else(|| fault::broken(&self.server, &error))
            }
        })
    }

    /// Gives the connection up for `reason`: another one may lead elsewhere, or log in anew.
    pub(super) fn retire(&self, reason: StoreFault) {
        lock(&self.health.retired).get_or_insert(reason);
        self.health.retiring.notify_one();
    }

    /// Ends with the reason why the connection is to be given up, once there is one.
    pub(super) async fn ailing(&self, since: Instant) -> StoreFault {
        loop {
            tokio::select! {
                () = self.health.retiring.notified() => {
                    sleep_until(since + KEPT_AT_LEAST).await;
                    if let Some(reason) = lock(&self.health.retired).clone() {
                        return reason;
                    }
                }
                () = self.health.suspected.notified() => {
                    let ping = async { self.pipe.clone().send_packed_command(&::redis::cmd("PING")).await };
                    match timeout(ANSWER_WITHIN, ping).await {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => return fault::broken(&self.server, &error),
                        Err(_) => return fault::timed_out(&self.server, "no answer to a ping", ANSWER_WITHIN),
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
