//! A server, from its settings to its end.

use crate::admin::{Administration, Unopened};
use crate::audit::{Audit, JournalError};
use crate::authentication::{AssertionAuthenticator, Authenticator};
use crate::config::{Config, InvalidConfig, Listen, token_endpoint};
use crate::counters::{CounterValues, Counters};
use crate::data_dir::{PrivateFileError, create_private_dir};
use crate::declared::{Adoption, ClientsDirectory, PlanTerms};
use crate::endpoint::TokenEndpoint as _;
use crate::http::{Documents, Face, MutualTls, PublishedKeys};
use crate::inquiry::Desk;
use crate::inquiry_counters::InquiryCounters;
use crate::issuer::{ClockHandle, Issuer};
use crate::jwt_ids::JwtIds;
use crate::keyring::{Keyring, KeyringError, Scheduler};
use crate::listen::{self, ListenError};
use crate::metrics::{self, Exporter, Families, Gauges};
use crate::registry::{Clients, Registry, RegistryError, SecretUses, UseFlusher};
use crate::remote_keys::{InvalidKeyAuthorities, RemoteKeys};
use crate::revocations::Revocations;
use crate::server_key::{SealError, ServerKey, ServerKeyError, StoreKeys};
use crate::spent_assertions::SpentAssertions;
use crate::store::{StoreLocation, StoreWatch, WatchError, Writability};
use crate::throttle::Throttle;
use crate::tls::{Tls, TlsError};
use crate::workers::{Worker, Workers};
use jeton_proto::issuance::IssuancePolicy;
use jeton_proto::time::Timestamp;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How long the end waits for what writes to the registry, which may hang.
const WORKERS_END_TIMEOUT: Duration = Duration::from_secs(5);

/// An authorization server whose sockets are open and whose keys and clients are loaded.
///
/// Callers that connect between [`Server::bind`] and [`Server::serve`] wait and are answered then.
#[derive(Debug)]
pub struct Server {
    issuer: String,
    local_addrs: Vec<SocketAddr>,
    listeners: Vec<TcpListener>,
    face: Arc<Face<Issuer>>,
    audit: Option<Audit>,
    flusher: UseFlusher,
    clients_dir: Option<ClientsDirectory>,
    tls: Option<Arc<Tls>>,
    metrics_listeners: Vec<TcpListener>,
    exporter: Option<Exporter>,
    administration: Option<Administration>,
    started_at: Timestamp,
    workers: Ended,
}

/// Sockets that are open before the server is, as systemd passes them (`sd_listen_fds(3)`).
#[derive(Debug, Default)]
pub struct Sockets {
    /// Those of the token endpoint. When there are any, [`Config::listen`] is not looked at.
    pub listen: Vec<TcpListener>,
    /// Those at which the metrics are had. When there are any, [`Config::metrics_listen`] is not looked at.
    pub metrics: Vec<TcpListener>,
}

impl Server {
    /// Opens the sockets, the keys and the registry. Keys and registry are made where they are missing.
    ///
    /// It reads and writes files, and an RSA key may take a second to make: not for a thread that must not block.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        Self::bind_on(Sockets::default(), config)
    }

    /// The same on sockets that are open already.
    pub fn bind_on(sockets: Sockets, mut config: Config) -> Result<Self, StartError> {
        let Open { tls, listeners, local_addrs, metrics_listeners } = open(sockets, &mut config)?;
        let issuer = config.issuer_for(&local_addrs)?;
        let policy = config.policy(&issuer)?;
        create_private_dir(&config.data_dir)?;
        let published = Arc::new(PublishedKeys::new(Vec::new(), config.rotation()?.jwks_max_age()));
        let (mutual_tls, algorithms) = (mutual_tls(&config), [config.default_algorithm()?]);
        let documents = Documents::with_inquiries(&issuer, Arc::clone(&published), mutual_tls, &algorithms);
        let documents = documents.map_err(StartError::Metadata)?;
        let key = ServerKey::of(config.key.as_ref(), &config.storage, &config.data_dir)?;
        let location = StoreLocation::of(&config.storage, &config.data_dir).map_err(RegistryError::from)?;
        let registry = Registry::over(&location, &key, Arc::clone(&config.clock))?;
        let admin = Unopened::bind(config.admin_listen.as_ref(), &location, &key)?;
        let workers = Ended(Workers::default());
        let audit = audit(&config, &workers.0)?;
        let keys = registry.keys().clone();
        let clients_dir = follow_clients(&config, registry, audit.clone(), &workers.0)?;
        let started_at = config.clock.now();
        let clock = Arc::clone(&config.clock);
        let exporter = config.exporting()?.map(|to| Exporter::new(to, clock, started_at));
        let (endpoint, flusher) =
            Self::issuing(&config, &issuer, policy, location, &keys, published, &workers.0)?;
        let counters = Arc::clone(&endpoint.counters);
        let face = Face::new(endpoint, documents, config.limits).counting_in(counters);
        let face = Arc::new(face.with_audit(audit.clone()));
        let administration = admin.map(|admin| admin.before(&face, audit.clone())).transpose()?;
        Ok(Self {
            issuer,
            local_addrs,
            listeners,
            face,
            audit,
            flusher,
            clients_dir,
            tls,
            metrics_listeners,
            exporter,
            administration,
            started_at,
            workers,
        })
    }

    /// What issues, with the clients, the keys and all else of the store in memory, and what writes when secrets were used.
    fn issuing(
        config: &Config,
        issuer: &str,
        policy: IssuancePolicy,
        location: StoreLocation,
        keys: &StoreKeys,
        published: Arc<PublishedKeys>,
        workers: &Workers,
    ) -> Result<(Issuer, UseFlusher), StartError> {
        let clients = Arc::<Clients>::default();
        let uses = Arc::<SecretUses>::default();
        let revocations = Arc::new(Revocations::new(Arc::clone(&config.clock)));
        let throttle = Arc::new(Throttle::new(&config.throttling));
        let (keyring, nudged) = Keyring::new(Arc::clone(keys.sealer()), published);
        let watch = StoreWatch::start(
            location.open().map_err(RegistryError::from)?,
            vec![
                Arc::<Clients>::clone(&clients),
                // After the clients: whoever asks from then on is judged by what is new.
                Arc::<Throttle>::clone(&throttle),
                Arc::<SecretUses>::clone(&uses),
                Arc::<Keyring>::clone(&keyring),
                Arc::<Revocations>::clone(&revocations),
            ],
            Arc::clone(&config.clock),
            workers,
        )?;
        let writability = Writability::default();
        let flusher = flusher(&writability, &location, &uses, config, workers)?;
        let desk = Desk::open(&location, revocations, Arc::clone(&config.clock), workers, writability)?;
        let default_algorithm = config.default_algorithm()?;
        let spending = location.spending(&config.clock, workers).map_err(RegistryError::from)?;
        let scheduler = Scheduler {
            location,
            keyring: Arc::clone(&keyring),
            in_use: config.signing_algorithms.clone(),
            policy: config.rotation()?,
            clock: Arc::clone(&config.clock),
            workers: workers.clone(),
        };
        let key_schedule = scheduler.start(&config.data_dir, &watch, nudged)?;
        let authenticator = Authenticator {
            hasher: keys.hasher(),
            clients,
            watch,
            assertions: assertions(config, issuer, keys)?,
            spent: SpentAssertions::open(&config.data_dir, spending, config.clock.now()),
        };
        let endpoint = Issuer {
            url: issuer.to_owned(),
            keyring,
            default_algorithm,
            _key_schedule: key_schedule,
            authenticator,
            uses,
            policy,
            desk,
            clock: ClockHandle(Arc::clone(&config.clock)),
            throttle,
            counters: Arc::default(),
            jwt_ids: JwtIds::default(),
            workers: workers.clone(),
        };
        Ok((endpoint, flusher))
    }

    /// The addresses at which the administrative API is had.
    pub fn admin_addrs(&self) -> Vec<SocketAddr> {
        self.administration.as_ref().map(Administration::addresses).unwrap_or_default()
    }

    /// The issuer identifier, as it stands in tokens and metadata.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The addresses it listens on, at least one.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// How many clients there are now.
    pub fn client_count(&self) -> usize {
        self.face.endpoint().authenticator.clients.snapshot().len()
    }

    /// What answers, for tests that bring requests without a connection.
    #[cfg(test)]
    pub(crate) fn face(&self) -> &Face<Issuer> {
        &self.face
    }

    /// The URL of the token endpoint, as the metadata has it.
    pub fn token_endpoint(&self) -> String {
        token_endpoint(&self.issuer)
    }

    /// The counters, which stay readable after [`Server::serve`] took the server.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(self.face.counters())
    }

    /// The counters of requests about tokens, which stay readable too.
    pub fn inquiry_counters(&self) -> Arc<InquiryCounters> {
        Arc::clone(self.face.inquiry_counters())
    }

    /// The addresses at which the metrics are had.
    pub fn metrics_addrs(&self) -> Vec<SocketAddr> {
        self.metrics_listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// The audit log, unless there is none.
    pub const fn audit(&self) -> Option<&Audit> {
        self.audit.as_ref()
    }

    /// Serves until `shutdown` is done, then drains; see [`listen::serve`].
    ///
    /// It must run on a tokio runtime with I/O and time enabled.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let (counters, workers) = (self.counters(), self.workers.0.clone());
        tracing::info!(issuer = self.issuer, addresses = ?self.local_addrs, "server started");
        let metrics = self.metrics_listeners.iter().map(|listener| listen::into_async(listener.try_clone()?));
        let metrics = metrics.collect::<io::Result<Vec<_>>>().map_err(ServeError)?;
        let source = self.metrics();
        let telling = tokio::spawn(metrics::serve(metrics, Arc::clone(&source)));
        let (end_exports, exports_end) = oneshot::channel();
        let exporting =
            self.exporter.map(|exporter| tokio::spawn(exporter.run(source, workers.clone(), exports_end)));
        let watching = self.tls.clone().map(|tls| tokio::spawn(tls.watch(workers.clone())));
        let (tell_end, ending) = watch::channel(false);
        let administering =
            self.administration.map(|administration| administration.serve(self.tls.clone(), ending));
        let administering = administering.transpose().map_err(ServeError)?;
        let shutdown = async {
            shutdown.await;
            tell_end.send_replace(true);
        };
        let served = listen::serve_over(self.tls, self.listeners, self.face, shutdown).await;
        drop(tell_end);
        if let Some(administering) = administering {
            let _panicked = administering.await;
        }
        telling.abort();
        // The last export is under way while all else ends.
        drop(end_exports);
        if let Some(watching) = watching {
            watching.abort();
        }
        // Nobody waits for what they do any more: all requests are answered or cut off. Those that the store holds are left to the end
        // of the process, and what they were about is as if it had been killed.
        drop((self.clients_dir, self.flusher, self.workers));
        let awaited = tokio::task::spawn_blocking(move || {
            workers.await_end(|worker| worker != Worker::Audit, WORKERS_END_TIMEOUT)
        });
        let left = awaited.await.unwrap_or_default();
        if !left.is_empty() {
            let workers = left.into_iter().map(Worker::name).collect::<Vec<_>>().join(", ");
            tracing::warn!(workers, "the registry did not let them end in time; they are cut off");
        }
        if let Some(audit) = self.audit {
            // Its thread may have to wait for the disk.
            let closed = tokio::task::spawn_blocking(move || audit.close());
            let _panicked = closed.await;
        }
        if let Some(exporting) = exporting {
            let _panicked = exporting.await;
        }
        served.map_err(ServeError)?;
        let CounterValues { granted, .. } = counters.values();
        tracing::info!(granted, refused = counters.values().refused(), "server ended");
        Ok(())
    }

    /// What the metrics are, whenever they are asked for.
    fn metrics(&self) -> Arc<dyn Fn() -> Families + Send + Sync> {
        let (face, audit, tls) = (Arc::clone(&self.face), self.audit.clone(), self.tls.clone());
        let started_at_unix_seconds = self.started_at.as_unix_seconds();
        let exports_failed = self.exporter.as_ref().map(Exporter::failed);
        Arc::new(move || {
            let issuer = face.endpoint();
            face.metrics().families(&Gauges {
                counts: face.counters().values(),
                requests: face.counters().requests(),
                inquiries: face.inquiry_counters().values(),
                registry_readable: issuer.authenticator.is_ready(),
                registry_writable: issuer.desk.writability.is_writable(),
                clients: issuer.clients(),
                spent_assertions: issuer.authenticator.spent.remembered(),
                assertions_spent_alone: issuer.authenticator.spent.spent_alone(),
                signing_keys: issuer.keyring.counts(issuer.clock.now()),
                audit: audit.as_ref().map(Audit::counts),
                certificate_refused: tls.as_ref().map(|tls| tls.is_refused()),
                worker_panics: issuer.workers.panics(),
                otlp_exports_failed: exports_failed.as_ref().map(|failed| failed.load(Ordering::Relaxed)),
                started_at_unix_seconds,
            })
        })
    }
}

/// The workers of a server that is dropped are called no more.
#[derive(Debug)]
struct Ended(Workers);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.begin_end();
    }
}

/// What a server is reached at.
struct Open {
    tls: Option<Arc<Tls>>,
    listeners: Vec<TcpListener>,
    local_addrs: Vec<SocketAddr>,
    metrics_listeners: Vec<TcpListener>,
}

/// Checks the settings, and opens the sockets that are not open yet.
fn open(sockets: Sockets, config: &mut Config) -> Result<Open, StartError> {
    if !sockets.listen.is_empty() {
        config.listen = Listen::Addresses(addresses_of(&sockets.listen)?);
    }
    config.check()?;
    let clock = Arc::clone(&config.clock);
    let tls = config.tls.clone().map(|files| Tls::load(files, clock)).transpose()?.map(Arc::new);
    let listeners = match sockets.listen {
        none if none.is_empty() => listen::bind(&config.listen)?,
        open => open,
    };
    let local_addrs = addresses_of(&listeners)?;
    let metrics_listeners = match (sockets.metrics, &config.metrics_listen) {
        (none, Some(listen)) if none.is_empty() => listen::bind(listen)?,
        (open, _) => open,
    };
    Ok(Open { tls, listeners, local_addrs, metrics_listeners })
}

fn mutual_tls(config: &Config) -> MutualTls {
    if config.tls.is_some() { MutualTls::Offered } else { MutualTls::NotOffered }
}

fn audit(config: &Config, workers: &Workers) -> Result<Option<Audit>, JournalError> {
    let path = config.audit_log.path(&config.data_dir);
    let start = |path| Audit::start_among(workers, path, config.audit_limits, Arc::clone(&config.clock));
    path.map(start).transpose()
}

fn flusher(
    writability: &Writability,
    location: &StoreLocation,
    uses: &Arc<SecretUses>,
    config: &Config,
    workers: &Workers,
) -> Result<UseFlusher, StartError> {
    let store = writability.noting(location.open().map_err(RegistryError::from)?);
    let flusher = UseFlusher::start(store, Arc::clone(uses), Arc::clone(&config.clock), workers);
    Ok(flusher.map_err(WatchError::from)?)
}

fn assertions(config: &Config, issuer: &str, keys: &StoreKeys) -> Result<AssertionAuthenticator, StartError> {
    let remote = RemoteKeys::new(config.key_authorities.as_deref(), Arc::clone(&config.clock))?;
    Ok(AssertionAuthenticator::new(config.assertion_audiences(issuer), Arc::clone(keys.sealer()), remote))
}

fn addresses_of(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, StartError> {
    let addresses = listeners.iter().map(TcpListener::local_addr);
    addresses.collect::<io::Result<Vec<_>>>().map_err(StartError::LocalAddress)
}

/// Applies the files of clients, if there are any to be followed. The manager is that of `jeton apply` without `--manager`.
fn follow_clients(
    config: &Config,
    registry: Registry,
    audit: Option<Audit>,
    workers: &Workers,
) -> Result<Option<ClientsDirectory>, WatchError> {
    let Some(dir) = config.clients_dir.clone() else { return Ok(None) };
    let terms = PlanTerms {
        manager: "files".to_owned(),
        adoption: Adoption::Refused,
        unnamed: config.unnamed_clients,
    };
    Ok(Some(ClientsDirectory::start(dir, terms, registry, audit, workers)?))
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings do not hold together.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system does not tell the address of a socket.
    #[error("the system does not tell the address of a listening socket")]
    LocalAddress(#[source] io::Error),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] PrivateFileError),
    /// A signing key cannot be used.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The metadata cannot be written.
    #[error("the metadata cannot be written")]
    Metadata(#[source] serde_json::Error),
    /// The registry cannot be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The authorities for fetching keys cannot be read.
    #[error(transparent)]
    KeyAuthorities(#[from] InvalidKeyAuthorities),
    /// Nothing can be sealed or opened with the server key.
    #[error("nothing can be sealed or opened with the server key")]
    Seal(#[from] SealError),
    /// There is no server key.
    #[error(transparent)]
    Key(#[from] ServerKeyError),
    /// The registry cannot be read, or not be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The audit log cannot be written where it is to be.
    #[error(transparent)]
    Audit(#[from] JournalError),
}

/// A listening socket cannot be used on this runtime.
#[derive(Debug, thiserror::Error)]
#[error("a listening socket cannot be used on this runtime")]
pub struct ServeError(#[source] io::Error);
