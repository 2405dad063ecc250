//! What the sandbox runs: the authorization server with a temporary data directory and one client, and the API.

use super::api::{self, ApiState, READ_SCOPE, WRITE_SCOPE};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use crate::settings::ListenAddress;
use jeton::{Secret, TokenManager};
use jeton_guard::Guard;
use jeton_proto::issuance::ClientSettings;
use jeton_server::{Config, Counters, Listen, Registry, Server, StartError};
use std::error::Error;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};

/// The client that the person may use.
const CLIENT_ID: &str = "sandbox";
/// The client of the proof whose tokens live for a few seconds; it is gone when the proof is done.
const SHORT_LIVED_CLIENT_ID: &str = "sandbox-short-lived";
/// Where the API listens if nobody else does.
const API_PORT: u16 = 8081;
/// How long open requests may take to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The running parts. They end with [`Stage::close`].
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) issuer: String,
    pub(super) token_url: String,
    /// The resource that the API guards.
    pub(super) orders_url: String,
    pub(super) client_id: &'static str,
    pub(super) client_secret: Secret<String>,
    pub(super) scope: String,
    /// The server's own count of token requests.
    pub(super) counters: Arc<Counters>,
    pub(super) api: Arc<ApiState>,
    registry: Registry,
    audience: String,
    end: watch::Sender<bool>,
    tasks: JoinSet<Result<(), Failure>>,
    data_dir: TempDir,
}

impl Stage {
    /// Starts everything. `listen` is where the server listens; without it on port 8080, or a free one.
    pub(super) async fn open(listen: Option<&str>) -> Result<Self, Failure> {
        let listen = listen.map(loopback).transpose()?;
        let opened = tokio::task::spawn_blocking(|| Opened::open(listen));
        let opened = opened.await.unwrap_or_else(|error| Err(failure("the sandbox was cut off", &error)))?;
        let (end, ended) = watch::channel(false);
        let mut stage = Self {
            issuer: opened.server.issuer().to_owned(),
            token_url: opened.server.token_endpoint(),
            orders_url: format!("{}/orders", opened.audience),
            client_id: CLIENT_ID,
            client_secret: opened.client_secret,
            scope: format!("{READ_SCOPE} {WRITE_SCOPE}"),
            counters: opened.server.counters(),
            api: Arc::default(),
            registry: opened.registry,
            audience: opened.audience,
            end,
            tasks: JoinSet::new(),
            data_dir: opened.data_dir,
        };
        let server = opened.server.serve(until(ended.clone()));
        stage.tasks.spawn(async { server.await.map_err(|error| failure("the server failed", &error)) });
        stage.serve_api(opened.api_listener, ended).await?;
        Ok(stage)
    }

    async fn serve_api(
        &mut self,
        listener: TcpListener,
        ended: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let broken = |error: &dyn Error| failure("the api cannot be started", error);
        let guard = Guard::builder(&self.issuer, &self.audience).realm("orders").build();
        let guard = guard.map_err(|error| broken(&error))?;
        guard.prefetch().await.map_err(|error| broken(&error))?;
        let router = api::router(&guard, Arc::clone(&self.api)).map_err(|error| broken(&error))?;
        listener.set_nonblocking(true).map_err(|error| broken(&error))?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| broken(&error))?;
        self.tasks.spawn(async {
            let serving = axum::serve(listener, router).with_graceful_shutdown(until(ended));
            serving.await.map_err(|error| failure("the api failed", &error))
        });
        Ok(())
    }

    /// A manager for the client, with nothing in its cache.
    pub(super) fn manager(&self) -> Result<TokenManager, Failure> {
        self.manager_of(self.client_id, self.client_secret.clone())
    }

    /// A manager for another client, whose tokens live for `lifetime`.
    pub(super) fn short_lived_manager(&self, lifetime: Duration) -> Result<TokenManager, Failure> {
        let mut settings = settings(SHORT_LIVED_CLIENT_ID, &self.audience)?;
        settings.token_lifetime = lifetime;
        let secret = block_in_place(|| self.registry.add(settings))
            .map_err(|error| failure("no client can be added", &error))?;
        self.manager_of(SHORT_LIVED_CLIENT_ID, secret)
    }

    /// Removes the client of [`Stage::short_lived_manager`].
    pub(super) fn remove_short_lived_client(&self) -> Result<(), Failure> {
        let removed = block_in_place(|| self.registry.remove(SHORT_LIVED_CLIENT_ID));
        removed.map_err(|error| failure("the client cannot be removed", &error))
    }

    fn manager_of(&self, client_id: &str, secret: Secret<String>) -> Result<TokenManager, Failure> {
        let manager = TokenManager::builder(&self.token_url, client_id).client_secret(secret).build();
        manager.map_err(|error| Failure::from(&error))
    }

    /// Where the command may keep tokens: a directory that ends with the sandbox.
    pub(super) fn cache_dir(&self) -> PathBuf {
        self.data_dir.path().join("cache")
    }

    /// Ends server and API, and removes the data directory.
    pub(super) async fn close(mut self) -> Result<(), Failure> {
        self.end.send_replace(true);
        let mut first_failure = None;
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                let ended =
                    ended.unwrap_or_else(|error| Err(failure("a part of the sandbox was cut off", &error)));
                first_failure = first_failure.take().or(ended.err());
            }
        };
        // Connections that are kept alive by others end with the process.
        let _in_time = tokio::time::timeout(DRAIN_TIMEOUT + Duration::from_secs(1), all).await;
        self.tasks.shutdown().await;
        drop(self.registry);
        let removed = self.data_dir.close().map_err(|error| failure("the temporary directory stays", &error));
        first_failure.map_or(removed, Err)
    }
}

/// What is opened by blocking calls.
struct Opened {
    server: Server,
    api_listener: TcpListener,
    registry: Registry,
    client_secret: Secret<String>,
    audience: String,
    data_dir: TempDir,
}

impl Opened {
    fn open(listen: Option<Listen>) -> Result<Self, Failure> {
        let data_dir = tempfile::Builder::new()
            .prefix("jeton-sandbox-")
            .tempdir()
            .map_err(|error| failure("no temporary directory can be made", &error))?;
        let api_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, API_PORT))
            .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .map_err(|error| failure("the api has no port", &error))?;
        let address = api_listener.local_addr().map_err(|error| failure("the api has no port", &error))?;
        let audience = format!("http://{address}");
        let registry =
            Registry::open(data_dir.path()).map_err(|error| failure("no registry can be made", &error))?;
        let client_secret = registry
            .add(settings(CLIENT_ID, &audience)?)
            .map_err(|error| failure("no client can be added", &error))?;
        let server = bind(listen, &data_dir)?;
        Ok(Self { server, api_listener, registry, client_secret, audience, data_dir })
    }
}

fn bind(listen: Option<Listen>, data_dir: &TempDir) -> Result<Server, Failure> {
    let mut config = Config::new(data_dir.path());
    config.limits.drain_timeout = DRAIN_TIMEOUT;
    let chosen = listen.is_some();
    config.listen = listen.unwrap_or_default();
    let bound = match Server::bind(config.clone()) {
        Err(StartError::Listen(error)) if !chosen && error.source.kind() == ErrorKind::AddrInUse => {
            output::note("port 8080 is taken, so the server has a free one; choose one by --listen");
            config.listen = Listen::Localhost { port: 0 };
            Server::bind(config)
        }
        bound => bound,
    };
    bound.map_err(|error| failure("the server cannot be started", &error))
}

fn settings(client_id: &str, audience: &str) -> Result<ClientSettings, Failure> {
    let scope = format!("{READ_SCOPE} {WRITE_SCOPE}").parse();
    Ok(ClientSettings {
        allowed_scope: scope.map_err(|error| failure("the scope is malformed", &error))?,
        audiences: vec![audience.to_owned()],
        ..ClientSettings::new(client_id)
    })
}

/// The sandbox gives its secret to whoever reads its output, so nobody else may reach it.
fn loopback(text: &str) -> Result<Listen, Failure> {
    let address = ListenAddress::from_flag(text)?;
    if address.is_loopback() {
        return Ok(address.0);
    }
    Err(Failure::new(ExitCode::Usage, "--listen: the sandbox listens on loopback addresses alone")
        .hint("run a server for others by: jeton serve"))
}

async fn until(mut ended: watch::Receiver<bool>) {
    // The sender that is gone means the end too.
    let _gone = ended.wait_for(|ended| *ended).await;
}

fn failure(what: &str, error: &dyn Error) -> Failure {
    Failure::new(ExitCode::Other, format!("{what}: {}", crate::failure::described(error)))
}
