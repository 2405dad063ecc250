//! Plays a scenario to the real client under virtual time.

use super::call::{Deaths, Stage, caller};
use super::expectation::Unmet;
use super::file::{InvalidScenario, Scenario, Timed, USUAL_SCOPE};
use super::log::{Closing, Log};
use super::server::{CLIENT_ID, FIRST_SECRET, Route, Server, token_text};
use super::shared::{Face, Gate, SharedModel};
use super::step::{
    Action, Behaviour, Breaker, CallForm, Does, Given, Judged, Narrower, Renew, SecretFrom, Sharing,
};
use super::timeline;
use crate::clock::{BootClock, ClientClock, WorldClock};
use jeton::credentials::{SecretFuture, SecretReading};
use jeton::store::{KeyRing, StoreKey};
use jeton::{
    Clock, Drained, GrantedScope, InvalidScope, QuotaPolicy, RefreshAhead, Secret, SecretSource, TokenId,
    TokenKey, TokenManager, TokenManagerBuilder,
};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

const TOKEN_URL: &str = "https://as.example/token";
/// How long after the last handle is gone the endpoint must not be asked.
const AFTERMATH: Duration = Duration::from_hours(48);

/// Why a scenario could not be played.
#[derive(Debug, thiserror::Error)]
pub enum Unplayable {
    /// Its file.
    #[error(transparent)]
    File(#[from] InvalidScenario),
    /// What it gives the client, which refuses it.
    #[error("{file}: the client cannot be set up: {what}; correct what [given] or a step says")]
    Setup {
        /// The file.
        file: String,
        /// What was refused.
        what: String,
    },
}

/// A scenario that was played.
#[derive(Debug)]
pub struct Played {
    /// What happened.
    pub log: Log,
    /// The expectations that are not met, and what must never happen and did.
    pub unmet: Vec<Unmet>,
    title: String,
}

impl Played {
    /// What the scenario shows.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What happened, line by line.
    pub fn timeline(&self) -> Vec<String> {
        timeline::lines(&self.log)
    }
}

/// Plays `scenario` from its beginning to its end.
///
/// # Errors
/// [`Unplayable`] when the client refuses the settings.
pub fn play(scenario: &Scenario) -> Result<Played, Unplayable> {
    let setup = |what: String| Unplayable::Setup { file: scenario.file.clone(), what };
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| setup(error.to_string()))?;
    let log = runtime.block_on(on_stage(scenario)).map_err(setup)?;
    let unmet = scenario.expect.judge(&scenario.file, &log);
    Ok(Played { log, unmet, title: scenario.title().to_owned() })
}

/// A source of secrets that gives what it is set to.
#[derive(Clone)]
struct Vault(Arc<Mutex<String>>);

impl SecretSource for Vault {
    fn read(&self) -> SecretFuture<'_> {
        let secret = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move { Ok(SecretReading::new(Secret::new(secret))) })
    }
}

/// The client, and who uses it.
struct Cast {
    stage: Arc<Stage>,
    vault: Vault,
    /// Those that were killed are gone.
    managers: Vec<Option<TokenManager>>,
    gates: Vec<Arc<Gate>>,
    store: Option<Arc<SharedModel>>,
    begun: Instant,
    callers: Vec<Calling>,
}

/// A caller at work.
struct Calling {
    name: String,
    manager: u32,
    task: JoinHandle<()>,
}

async fn on_stage(scenario: &Scenario) -> Result<Log, String> {
    let given = &scenario.given;
    let clock = WorldClock::starting_now();
    let log = Arc::new(Mutex::new(Log::default()));
    let server = Server::new(scenario.server.clone(), given.latency.0, Arc::clone(&clock), Arc::clone(&log));
    let deaths = deaths_of(scenario);
    let stage =
        Arc::new(Stage { clock, log: Arc::clone(&log), server, deaths, last_error: Mutex::default() });
    let vault = Vault(Arc::new(Mutex::new(FIRST_SECRET.to_owned())));
    let begun = Instant::now();
    let store = match given.store {
        Sharing::None => None,
        Sharing::Shared => Some(SharedModel::new(Arc::clone(&stage.clock))),
    };
    let gates: Vec<Arc<Gate>> = (0..given.managers).map(|_| Arc::default()).collect();
    let managers = managers(given, &stage, &vault, &gates, store.as_ref())?;
    let managers = managers.into_iter().map(Some).collect();
    let stage_of_cast = Arc::clone(&stage);
    let mut cast = Cast { stage: stage_of_cast, vault, managers, gates, store, begun, callers: Vec::new() };
    for Timed { at, action } in &scenario.steps {
        sleep_until(begun + *at).await;
        let now_ms = stage.now_ms();
        stage.log().notes.push((now_ms, timeline::note(action)));
        cast.act(action)?;
    }
    sleep_until(begun + given.lasts.0).await;
    cast.leave().await;
    let log = stage.log().clone();
    Ok(log)
}

/// Whether a dead token can be held against the client: only where it could know.
fn deaths_of(scenario: &Scenario) -> Deaths {
    let told_otherwise = |behaviour: &Behaviour| {
        let odd = matches!(&behaviour.does, Does::Grant { expires_in: Some(_), .. });
        odd || behaviour.headers.contains_key("age")
    };
    let steps = || scenario.steps.iter().map(|step| &step.action);
    let lies = told_otherwise(&scenario.server)
        || steps().any(|action| matches!(action, Action::Server(behaviour) if told_otherwise(behaviour)));
    let steps_back = steps().any(|action| matches!(action, Action::Clock(step) if step.0 < 0));
    let blind = scenario.given.boot_clock == BootClock::Absent && steps_back;
    if lies || blind { Deaths::Unknowable } else { Deaths::Judged }
}

fn managers(
    given: &Given,
    stage: &Arc<Stage>,
    vault: &Vault,
    gates: &[Arc<Gate>],
    store: Option<&Arc<SharedModel>>,
) -> Result<Vec<TokenManager>, String> {
    let clock: Arc<dyn Clock> = Arc::new(ClientClock::new(Arc::clone(&stage.clock), given.boot_clock));
    let mut managers: Vec<TokenManager> = Vec::new();
    for (number, gate) in (1..).zip(gates) {
        let route = Route { server: Arc::clone(&stage.server), manager: number, gate: Arc::clone(gate) };
        let mut builder = settings(given, vault)?
            .exchange(Arc::new(route))
            .clock(Arc::clone(&clock))
            .jitter_seed(given.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number)));
        if let Some(model) = store {
            let ring = StoreKey::from_bytes(&[7; 32]);
            let ring = KeyRing::new(&ring).map_err(|error| error.to_string())?;
            let face = Face { model: Arc::clone(model), gate: Arc::clone(gate) };
            builder = builder.shared_store(Arc::new(face), ring);
        }
        if let (Breaker::Shared, Some(first)) = (given.breaker, managers.first()) {
            builder = builder.beside(first);
        }
        managers.push(builder.build().map_err(|error| error.to_string())?);
    }
    Ok(managers)
}

fn settings(given: &Given, vault: &Vault) -> Result<TokenManagerBuilder, String> {
    let mut builder = TokenManager::builder(TOKEN_URL, CLIENT_ID)
        .refresh_ahead(match given.renew {
            Renew::WhileUsed => RefreshAhead::WhileUsed,
            Renew::OnDemand => RefreshAhead::OnDemand,
        })
        .granted_scope(match given.narrower_scope {
            Narrower::Given => GrantedScope::MayBeNarrower,
            Narrower::Refused => GrantedScope::MustBeComplete,
        });
    builder = match given.secret_from {
        SecretFrom::Settings => builder.client_secret(Secret::from(FIRST_SECRET)),
        SecretFrom::Source => builder.client_secret_source(Arc::new(vault.clone())),
    };
    if let Some(timeout) = given.request_timeout {
        builder = builder.request_timeout(timeout.0);
    }
    if let Some(timeout) = given.total_timeout {
        builder = builder.total_timeout(timeout.0);
    }
    if let Some(quota) = given.quota {
        let policy = QuotaPolicy::new(quota.at_once, quota.then_every.0);
        builder = builder.request_quota(policy.map_err(|error| error.to_string())?);
    }
    for scope in &given.prefetch {
        builder = builder.prefetch(key(scope).map_err(|error| error.to_string())?);
    }
    Ok(builder)
}

fn key(scope: &str) -> Result<TokenKey, InvalidScope> {
    TokenKey::scope(scope)
}

impl Cast {
    fn act(&mut self, action: &Action) -> Result<(), String> {
        let stage = &self.stage;
        match action {
            Action::Server(behaviour) => stage.server.behave(behaviour.clone()),
            Action::Latency(latency) => stage.server.answer_after(*latency),
            Action::ServerSecret(secret) => stage.server.take_secret(secret.clone()),
            Action::ClientSecret(secret) => {
                for manager in self.managers.iter().flatten() {
                    let replaced = manager.replace_credential(Secret::new(secret.clone()));
                    debug_assert!(replaced.is_ok(), "the secret of a scenario is not empty");
                }
            }
            Action::SourceSecret(secret) => {
                self.vault.0.lock().unwrap_or_else(PoisonError::into_inner).clone_from(secret);
            }
            Action::Clock(step) => stage.clock.step(step.0),
            Action::Suspend(span) => stage.clock.suspend(crate::clock::millis(*span)),
            Action::Call(call) => self.begin(call)?,
            Action::Cancel(name) => {
                let named = self.callers.iter().filter(|calling| calling.name == *name);
                named.for_each(|calling| calling.task.abort());
            }
            Action::Reject(judged) => {
                let id = TokenId::of(&token_text(judged.token));
                self.for_handles(judged, |handle| handle.reject(id))?;
            }
            Action::Accept(judged) => {
                let id = TokenId::of(&token_text(judged.token));
                self.for_handles(judged, |handle| handle.accept(id))?;
            }
            Action::Prefetch(scope) => {
                self.for_each_handle(Some(scope), None, jeton::TokenHandle::prefetch)?;
            }
            Action::Close(within) => self.close(*within),
            Action::Store(is) => self.store.iter().for_each(|store| store.set(*is)),
            Action::StoreLatency(latency) => {
                self.store.iter().for_each(|store| store.answer_after(*latency));
            }
            Action::StoreLoses(loss) => self.store.iter().for_each(|store| store.lose(*loss)),
            Action::Hold(hold) => self.gate(hold.manager).for_each(|gate| gate.hold(hold.span.0)),
            Action::Kill(manager) => self.kill(*manager),
        }
        Ok(())
    }

    fn gate(&self, manager: u32) -> impl Iterator<Item = &Arc<Gate>> {
        (1..).zip(&self.gates).filter(move |(number, _)| *number == manager).map(|(_, gate)| gate)
    }

    /// Nothing of it is heard any more, and nobody asks it.
    fn kill(&mut self, manager: u32) {
        self.gate(manager).for_each(|gate| gate.close());
        for calling in self.callers.iter().filter(|calling| calling.manager == manager) {
            calling.task.abort();
        }
        for (_, there) in (1..).zip(&mut self.managers).filter(|(number, _)| *number == manager) {
            *there = None;
        }
    }

    fn for_handles(&self, judged: &Judged, does: impl Fn(&jeton::TokenHandle)) -> Result<(), String> {
        self.for_each_handle(judged.scope.as_deref(), judged.manager, does)
    }

    /// The managers that live, by their numbers; one alone where that is asked for.
    fn living(&self, only: Option<u32>) -> impl Iterator<Item = (u32, &TokenManager)> {
        let numbered = (1..).zip(&self.managers);
        numbered
            .filter(move |(number, _)| only.is_none_or(|only| only == *number))
            .filter_map(|(number, manager)| Some((number, manager.as_ref()?)))
    }

    fn for_each_handle(
        &self,
        scope: Option<&str>,
        only: Option<u32>,
        does: impl Fn(&jeton::TokenHandle),
    ) -> Result<(), String> {
        let key = key(scope.unwrap_or(USUAL_SCOPE)).map_err(|error| error.to_string())?;
        for (_, manager) in self.living(only) {
            does(&manager.handle(&key).map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    fn begin(&mut self, call: &CallForm) -> Result<(), String> {
        let scopes: Vec<String> = match call.scopes {
            Some(count) => (1..=count).map(|number| format!("scope:{number}")).collect(),
            None => vec![call.scope.clone().unwrap_or_else(|| USUAL_SCOPE.to_owned())],
        };
        let until = call.until.map_or(self.begun, |until| self.begun + until.0);
        let form = Arc::new(call.clone());
        let mut callers = Vec::new();
        for scope in scopes {
            let key = key(&scope).map_err(|error| error.to_string())?;
            for (number, manager) in self.living(call.manager) {
                let handle = manager.handle(&key).map_err(|error| error.to_string())?;
                for _ in 0..call.callers {
                    let asks = caller(Arc::clone(&self.stage), handle.clone(), Arc::clone(&form), until);
                    let (name, task) = (call.name.clone(), tokio::spawn(asks));
                    callers.push(Calling { name, manager: number, task });
                }
            }
        }
        self.callers.extend(callers);
        Ok(())
    }

    fn close(&mut self, within: Duration) {
        let managers: Vec<(u32, TokenManager)> =
            self.living(None).map(|(number, manager)| (number, manager.clone())).collect();
        for (number, manager) in managers {
            let stage = Arc::clone(&self.stage);
            let closes = async move {
                let begun_ms = stage.now_ms();
                let drained = manager.close(within).await;
                let given_up = match drained {
                    Drained::All => 0,
                    Drained::GivenUp { requests } => requests,
                };
                let ended_ms = stage.now_ms();
                stage.log().closings.push(Closing { begun_ms, ended_ms, given_up });
            };
            let task = tokio::spawn(closes);
            self.callers.push(Calling { name: String::new(), manager: number, task });
        }
    }

    /// Waits for the callers, lets the client go, and looks what is left of it.
    async fn leave(self) {
        let Self { stage, managers, store, callers, .. } = self;
        for Calling { name, task, .. } in callers {
            if task.await.is_err_and(|error| error.is_panic()) {
                stage.broken(format!("the client panicked in a call of \"{name}\""));
            }
        }
        if let Some(leaked) = store.and_then(|store| store.leaked()) {
            stage.broken(format!("the store was shown {leaked}"));
        }
        let now_ms = stage.now_ms();
        stage.log().notes.push((now_ms, "the last handle is dropped".to_owned()));
        drop(managers);
        sleep(Duration::from_millis(1)).await;
        let tasks = Handle::current().metrics().num_alive_tasks();
        if tasks != 0 {
            stage.broken(format!("{tasks} tasks outlive the last handle"));
        }
        let requests = stage.log().requests.len();
        sleep(AFTERMATH).await;
        let late = stage.log().requests.len() - requests;
        if late != 0 {
            stage.broken(format!("{late} requests after the last handle was dropped"));
        }
    }
}

impl fmt::Debug for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cast").field("managers", &self.managers.len()).finish_non_exhaustive()
    }
}
