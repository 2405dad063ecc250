//! A worker: one process with a token manager, which does what the coordinator's lines say.

mod log;
mod tally;

use super::line::{Ahead, Order, Part, Report, Store, from_line, to_line};
use super::monotonic::Monotonic;
use super::{leash, secrets};
use bytes::Bytes;
use jeton::http::{ExchangeFuture, ExchangeLimits, HttpExchange, ReqwestExchange, TlsRoots};
use jeton::store::{FileStore, KeyRing, RedisStore, SharedStore, StoreKey};
use jeton::{RefreshAhead, Secret, TokenError, TokenKey, TokenManager};
use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally::{Burst, Tally};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// The name of the program's command that makes it a worker.
pub const COMMAND: &str = "worker";
/// How many orders may wait.
const MOST_ORDERS: usize = 64;
const CONNECTING: Duration = Duration::from_secs(3);

/// Works until standard input closes.
pub fn run() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _said = writeln!(io::stderr().lock(), "worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> Result<(), Box<dyn std::error::Error>> {
    leash::end_with_parent()?;
    tracing::subscriber::set_global_default(log::StoreLog)?;
    let mut first = String::new();
    io::stdin().lock().read_line(&mut first)?;
    let part: Part = from_line(&first)?;
    let (sender, orders) = mpsc::channel(MOST_ORDERS);
    std::thread::spawn(move || read_orders(&sender));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let worker = Worker::new(part)?;
        tell(&Report::Ready);
        worker.obey(orders).await
    })
}

/// A thread of its own, so that a worker ends with its standard input whatever its runtime is busy with.
fn read_orders(sender: &mpsc::Sender<Order>) {
    for line in io::stdin().lock().lines() {
        let order = line.ok().and_then(|line| from_line(&line).ok());
        let Some(order) = order else { break };
        if sender.blocking_send(order).is_err() {
            break;
        }
    }
    std::process::exit(0);
}

/// A line that cannot be written means that nobody reads any more, and the end comes by standard input.
fn tell(report: &Report) {
    if let Ok(line) = to_line(report) {
        let mut out = io::stdout().lock();
        let _written = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

struct Worker {
    part: Part,
    exchange: Arc<Told>,
    store: Option<(Arc<dyn SharedStore>, KeyRing)>,
    manager: TokenManager,
    keys: Vec<TokenKey>,
    asking: Option<Asking>,
}

struct Asking {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    tally: Arc<Tally>,
}

impl Worker {
    fn new(part: Part) -> Result<Self, Box<dyn std::error::Error>> {
        let inner = ReqwestExchange::new(&TlsRoots::default(), CONNECTING)?;
        let exchange = Arc::new(Told { inner, dawdle: part.dawdle });
        let store = match open(&part.store)? {
            Some(store) => {
                let key = StoreKey::parse(&Secret::from(part.store_key.as_str()))?;
                Some((store, KeyRing::new(&key)?))
            }
            None => None,
        };
        let manager = manager(&part, &exchange, store.as_ref())?;
        let keys = part.scopes.iter().map(|scope| TokenKey::scope(scope)).collect::<Result<_, _>>()?;
        Ok(Self { part, exchange, store, manager, keys, asking: None })
    }

    async fn obey(mut self, mut orders: mpsc::Receiver<Order>) -> Result<(), Box<dyn std::error::Error>> {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Renew => {
                    self.manager = manager(&self.part, &self.exchange, self.store.as_ref())?;
                    tell(&Report::Renewed);
                }
                Order::Burst { burst, key, tasks, at } => self.burst(burst, key, tasks, at),
                Order::Reject { key } => {
                    if let Some(key) = self.keys.get(key) {
                        let token = self.manager.token(key).await?;
                        self.manager.reject(key, &token);
                    }
                    tell(&Report::Rejected);
                }
                Order::Ask { tasks, pause } => self.ask(tasks, pause),
                Order::Rest => self.rest().await,
            }
        }
        Ok(())
    }

    fn burst(&self, number: u64, key: usize, tasks: usize, at: Monotonic) {
        let Some(key) = self.keys.get(key).cloned() else { return };
        let mut calls = JoinSet::new();
        for _ in 0..tasks {
            let (manager, key) = (self.manager.clone(), key.clone());
            calls.spawn(async move {
                tokio::time::sleep(at.left()).await;
                call(&manager, &key).await
            });
        }
        tokio::spawn(async move {
            let mut burst = Burst::default();
            while let Some(ended) = calls.join_next().await {
                match ended {
                    Ok(Call { outcome: Ok(serial), waited, at }) => burst.given(serial, waited, at),
                    Ok(Call { outcome: Err(error), waited, .. }) => tell(&Report::Failed { waited, error }),
                    Err(error) => {
                        tell(&Report::Failed { waited: Duration::ZERO, error: error.to_string() });
                    }
                }
            }
            burst.reports(number).iter().for_each(tell);
            tell(&Report::Done { burst: number });
        });
    }

    fn ask(&mut self, count: usize, pause: Duration) {
        let (stop, stopped) = watch::channel(false);
        let tally = Arc::new(Tally::of(self.keys.len()));
        let mut tasks = JoinSet::new();
        for (index, key) in (0..self.keys.len()).cycle().zip(self.keys.iter().cycle()).take(count) {
            let (manager, key) = (self.manager.clone(), key.clone());
            let (stopped, tally) = (stopped.clone(), Arc::clone(&tally));
            tasks.spawn(async move {
                while !*stopped.borrow() {
                    let Call { outcome, waited, at } = call(&manager, &key).await;
                    match outcome {
                        Ok(serial) => {
                            if tally.got(index, serial, waited) {
                                tell(&Report::Got { key: index, serial, at });
                            }
                        }
                        Err(error) => tell(&Report::Failed { waited, error }),
                    }
                    tokio::time::sleep(pause).await;
                }
            });
        }
        self.asking = Some(Asking { stop, tasks, tally });
    }

    async fn rest(&mut self) {
        let Some(Asking { stop, mut tasks, tally }) = self.asking.take() else { return };
        stop.send_replace(true);
        while tasks.join_next().await.is_some() {}
        tell(&tally.report());
    }
}

struct Call {
    outcome: Result<u64, String>,
    waited: Duration,
    at: Monotonic,
}

async fn call(manager: &TokenManager, key: &TokenKey) -> Call {
    let begun = Instant::now();
    let answer = manager.token(key).await;
    let (waited, at) = (begun.elapsed(), Monotonic::now());
    let outcome = match answer {
        Ok(token) => secrets::serial_of(token.access_token()).ok_or_else(|| "a foreign token".to_owned()),
        Err(error) => Err(told(&error)),
    };
    Call { outcome, waited, at }
}

fn told(error: &TokenError) -> String {
    format!("{error} ({:?})", error.kind())
}

fn open(store: &Store) -> Result<Option<Arc<dyn SharedStore>>, Box<dyn std::error::Error>> {
    Ok(match store {
        Store::None => None,
        Store::File(directory) => Some(Arc::new(FileStore::open(directory)?)),
        Store::Redis(url) => Some(Arc::new(RedisStore::at(url.as_str()).build()?)),
    })
}

fn manager(
    part: &Part,
    exchange: &Arc<Told>,
    store: Option<&(Arc<dyn SharedStore>, KeyRing)>,
) -> Result<TokenManager, jeton::BuildError> {
    let mut builder = TokenManager::builder(part.token_url.as_str(), secrets::CLIENT_ID)
        .client_secret(Secret::from(secrets::SECRET))
        .exchange(Arc::clone(exchange) as Arc<dyn HttpExchange>)
        .refresh_ahead(match part.ahead {
            Ahead::WhileUsed => RefreshAhead::WhileUsed,
            Ahead::OnDemand => RefreshAhead::OnDemand,
        });
    if let Some((store, ring)) = store {
        builder = builder.shared_store(Arc::clone(store), ring.clone());
    }
    if let Some(lease) = part.lease {
        builder = builder.lease(lease);
    }
    builder.build()
}

/// The real exchange, which tells the coordinator first, and takes its time.
#[derive(Debug)]
struct Told {
    inner: ReqwestExchange,
    dawdle: Duration,
}

impl HttpExchange for Told {
    fn exchange(&self, request: http::Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        Box::pin(async move {
            let scope = form_urlencoded::parse(request.body())
                .find_map(|(name, value)| (name == "scope").then(|| value.into_owned()))
                .unwrap_or_default();
            tell(&Report::Flying { scope });
            if !self.dawdle.is_zero() {
                tokio::time::sleep(self.dawdle).await;
            }
            self.inner.exchange(request, limits).await
        })
    }
}
