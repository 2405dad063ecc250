//! One world: a client, its callers, a server, an API and the way between them, from its beginning to its end.

use crate::api::Api;
use crate::authority::{Authority, AuthoritySettings, ISSUER, SetupError};
use crate::callers;
use crate::canary::{Canaries, LogReader, PanicWatch, secret};
use crate::checker::{BreakerRule, QuotaRule, Rules};
use crate::clock::{ClientClock, ServerClock, WorldClock, millis};
use crate::door::{Door, Workshop};
use crate::event::Event;
use crate::fault::FaultKind;
use crate::journal::{Journal, Summary, Trace};
use crate::network::{KeyRoute, Network};
use crate::plan::{Exit, Plan, SecretFrom, Stream};
use crate::schedule;
use crate::usher::Usher;
use crate::vault::Vault;
use crate::weather::Weather;
use jeton::bearer::{BearerLayer, BearerService};
use jeton::{BreakerPolicy, Clock, Drained, QuotaPolicy, Secret, SecretSource, TokenKey, TokenManager};
use jeton_guard::Guard;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, sleep};
use tower_layer::Layer as _;

/// The faults of a world end so long before it does.
const LAST_CALM: Duration = Duration::from_mins(20);
/// How long after the last handle is gone its tasks are counted: longer than any token request may take.
const AFTERMATH: Duration = Duration::from_mins(2);

/// What a world is made of.
pub struct World {
    /// Its plan.
    pub plan: Plan,
    /// Its journal.
    pub journal: Arc<Journal>,
    /// Its weather.
    pub weather: Arc<Weather>,
    /// Its authorization server.
    pub authority: Arc<Authority>,
    /// Its API.
    pub api: Api,
    /// Who is woken in one instant goes on in order.
    pub usher: Arc<Usher>,
    /// What must not be printed.
    pub canaries: Canaries,
    network: Arc<Network>,
    vault: Arc<Vault>,
    client_clock: Arc<dyn Clock>,
    workshop: Arc<dyn Workshop>,
    clients: Mutex<Option<Arc<Clients>>>,
    managers: AtomicU32,
}

/// The manager of the moment, as its callers hold it.
pub struct Clients {
    /// Its number.
    pub number: u32,
    /// A door to each key.
    pub doors: Vec<Arc<dyn Door>>,
    /// The bearer layer before the API, for each key.
    pub bearers: Vec<BearerService<Api>>,
    manager: TokenManager,
}

/// Runs the world of `plan` to its end.
///
/// # Errors
/// [`SetupError`] when it cannot be set up; what happens in it is in the summary.
pub fn run(
    plan: &Plan,
    rules: &Rules,
    workshop: &Arc<dyn Workshop>,
    trace: Trace,
) -> Result<Summary, SetupError> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| SetupError(error.to_string()))?;
    // What the client draws comes from the generator of the thread.
    fastrand::seed(plan.stream(Stream::Client).u64(..));
    let panics = PanicWatch::begin();
    let summary = runtime.block_on(async {
        let clock = WorldClock::starting_now();
        let journal = Journal::new(Arc::clone(&clock), rules.clone(), trace);
        let canaries = Canaries::new();
        let reader = LogReader::new(canaries.clone(), &journal);
        let _reading = tracing::subscriber::set_default(reader);
        let world = World::new(plan.clone(), &journal, canaries, Arc::clone(workshop))?;
        live(world).await;
        panics.tell(&journal);
        journal.record(&Event::Ended);
        Ok(journal.summary())
    });
    drop(panics);
    summary
}

async fn live(world: Arc<World>) {
    let begun = Instant::now();
    let until = begun + world.plan.lasts;
    let weather =
        tokio::spawn(schedule::weather(Arc::clone(&world), until - LAST_CALM.min(world.plan.lasts / 4)));
    let callers: Vec<_> = (0..world.plan.callers)
        .map(|number| tokio::spawn(callers::caller(Arc::clone(&world), number, until)))
        .collect();
    for task in callers.into_iter().chain([weather]) {
        // A panic has been noted where it happened.
        let _ended = task.await;
    }
    last_stand(&world).await;
    let client = world.clients().take();
    match world.plan.exit {
        Exit::Dropped => {
            drop(client);
            world.journal.record(&Event::ManagersGone);
            look_for_tasks(&world).await;
        }
        Exit::Closed { within_ms } => {
            if let Some(client) = client {
                close(&world, &client, within_ms).await;
                // Its handles live on until here.
                drop(client);
            }
        }
    }
}

async fn close(world: &Arc<World>, client: &Arc<Clients>, within_ms: u64) {
    let manager = client.number;
    let late: Vec<_> = (0..world.plan.keys)
        .map(|key| tokio::spawn(callers::late_call(Arc::clone(world), Arc::clone(client), key)))
        .collect();
    world.journal.record(&Event::Closing { manager, within_ms });
    let drained = world.workshop.close(&client.manager, Duration::from_millis(within_ms)).await;
    let given_up = match drained {
        Drained::All => 0,
        Drained::GivenUp { requests } => requests,
    };
    world.journal.record(&Event::Closed { manager, given_up });
    world.journal.record(&Event::ManagersGone);
    for caller in late {
        // A panic has been noted where it happened.
        let _ended = caller.await;
    }
    look_for_tasks(world).await;
}

/// Callers who go away in the middle of a storm, so that the end comes while requests are in the air.
async fn last_stand(world: &Arc<World>) {
    world.journal.record(&Event::CalmEnded);
    world.weather.set_chance(world.plan.storm_chance);
    world.journal.clock().suspend(millis(world.plan.token_lifetime));
    world.journal.fault(FaultKind::Suspend);
    let callers: Vec<_> = (0..world.plan.keys)
        .map(|key| tokio::spawn(callers::last_call(Arc::clone(world), key, Duration::from_millis(700))))
        .collect();
    for caller in callers {
        // A panic has been noted where it happened.
        let _ended = caller.await;
    }
}

async fn look_for_tasks(world: &World) {
    sleep(AFTERMATH).await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    world.journal.record(&Event::TasksLeft { tasks });
}

impl World {
    fn new(
        plan: Plan,
        journal: &Arc<Journal>,
        canaries: Canaries,
        workshop: Arc<dyn Workshop>,
    ) -> Result<Arc<Self>, SetupError> {
        let clock = journal.clock();
        let server_clock = ServerClock(Arc::clone(clock));
        let scopes: Vec<_> = (0..plan.keys).map(|key| format!("key:{key}")).collect();
        let settings = AuthoritySettings {
            token_lifetime: plan.token_lifetime,
            reissue: plan.reissue,
            scope: scopes.join(" "),
            secret: secret(0),
        };
        let authority = Arc::new(Authority::new(&settings, server_clock.clone())?);
        let weather = Arc::new(Weather::default());
        let client_clock: Arc<dyn Clock> = Arc::new(ClientClock::new(Arc::clone(clock), plan.boot));
        let network = Network::new(
            Arc::clone(journal),
            Arc::clone(&authority),
            Arc::clone(&weather),
            Arc::clone(&client_clock),
            plan.stream(Stream::Network),
        );
        let guard = Guard::builder(ISSUER, crate::authority::AUDIENCE)
            .clock(Arc::new(server_clock))
            .exchange(Arc::new(KeyRoute(Arc::clone(&network))))
            .build()
            .map_err(|error| SetupError(error.to_string()))?;
        let usher = Arc::new(Usher::default());
        let draws = plan.stream(Stream::Api).u64(..);
        let api = Api::new(&guard, Arc::clone(journal), Arc::clone(&weather), Arc::clone(&usher), draws);
        let client_clock = workshop.clock(client_clock);
        let vault = Vault::new(Arc::clone(journal), Arc::clone(&weather), plan.stream(Stream::Vault));
        let world = Self {
            plan,
            journal: Arc::clone(journal),
            weather,
            authority,
            api,
            usher,
            canaries,
            network,
            vault,
            client_clock,
            workshop,
            clients: Mutex::new(None),
            managers: AtomicU32::new(0),
        };
        world.restart(0)?;
        Ok(Arc::new(world))
    }

    /// The client may know a new secret. Its refusals are forgotten, its tokens stay.
    pub fn learn_secret(&self, generation: u32) {
        match (self.plan.secret_from, self.client()) {
            (SecretFrom::Source, _) => self.vault.put(generation),
            (SecretFrom::Telling, Some(client)) => {
                let replaced = client.manager.replace_credential(Secret::from(secret(generation).as_str()));
                debug_assert!(replaced.is_ok(), "a secret of the canary's is one");
                let manager = client.number;
                self.journal.record(&Event::SecretReplaced { manager, secret: generation });
            }
            (SecretFrom::Telling, None) => {}
        }
    }

    /// The client is built anew, with this secret; the one before goes when its last caller does.
    pub fn restart(&self, generation: u32) -> Result<(), SetupError> {
        let setup = |error: &dyn std::error::Error| SetupError(error.to_string());
        let number = self.managers.fetch_add(1, Ordering::Relaxed);
        let QuotaRule { interval_ms, burst } = self.plan.quota;
        let quota = QuotaPolicy::new(burst, Duration::from_millis(interval_ms));
        let BreakerRule { opens_after, first_window_ms, longest_window_ms } = self.plan.breaker;
        let breaker = BreakerPolicy::new(
            opens_after,
            Duration::from_millis(first_window_ms),
            Duration::from_millis(longest_window_ms),
        );
        let keys: Result<Vec<_>, _> =
            (0..self.plan.keys).map(|key| TokenKey::scope(&format!("key:{key}"))).collect();
        let keys = keys.map_err(|error| setup(&error))?;
        let prefetched = keys.get(..usize::from(self.plan.prefetched)).unwrap_or_default();
        let builder = TokenManager::builder(format!("{ISSUER}/oauth/token"), crate::authority::CLIENT_ID);
        let builder = match self.plan.secret_from {
            SecretFrom::Telling => builder.client_secret(Secret::from(secret(generation).as_str())),
            SecretFrom::Source => {
                self.vault.put(generation);
                builder.client_secret_source(Arc::clone(&self.vault) as Arc<dyn SecretSource>)
            }
        };
        self.journal.record(&Event::ManagerBuilt { manager: number, prefetched: self.plan.prefetched });
        let builder = builder
            .request_quota(quota.map_err(|error| setup(&error))?)
            .breaker_policy(breaker.map_err(|error| setup(&error))?)
            .jitter_seed(self.plan.stream(Stream::Client).u64(..).wrapping_add(u64::from(number)))
            .clock(Arc::clone(&self.client_clock))
            .exchange(self.workshop.exchange(self.network.route_of(number)));
        let manager = self.workshop.settings(builder, prefetched).build().map_err(|error| setup(&error))?;
        self.workshop.built(&manager);
        let (mut doors, mut bearers) = (Vec::new(), Vec::new());
        for key in &keys {
            let handle = manager.handle(key).map_err(|error| setup(&error))?;
            bearers.push(BearerLayer::new(handle.clone()).layer(self.api.clone()));
            doors.push(self.workshop.door(handle));
        }
        self.canaries.look(&self.journal, "Debug of the manager", &manager);
        *self.clients() = Some(Arc::new(Clients { number, doors, bearers, manager }));
        Ok(())
    }

    /// The manager of the moment; none after the end.
    pub fn client(&self) -> Option<Arc<Clients>> {
        self.clients().clone()
    }

    fn clients(&self) -> MutexGuard<'_, Option<Arc<Clients>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").field("manager", &self.manager).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("plan", &self.plan).finish_non_exhaustive()
    }
}
