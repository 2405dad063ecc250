//! What a command that asks for tokens has: a manager with the cache of this user, and an end that leaves it in order.

use crate::cache::{self, CommandStore, Renewal};
use crate::discovery::{Finder, Server};
use crate::failure::Failure;
use crate::settings::{ClientSettings, Layers, Material, Proof, ReadAhead};
use jeton::http::{ClientIdentity, HttpExchange};
use jeton::store::SharedStore;
use jeton::{CachedToken, TokenManager};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the end of a command waits for its manager, once the result is told.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
/// How much of that a request under way has to come to its end; the rest is for giving back its lease.
const LANDED_WITHIN: Duration = Duration::from_millis(800);

/// What is particular to a command.
#[derive(Default)]
pub(crate) struct Plan {
    /// Whether a token that is kept will do.
    pub(crate) renewal: Renewal,
    /// How servers are asked, if not as usual.
    pub(crate) exchange: Option<Arc<dyn HttpExchange>>,
}

/// A manager for one command.
pub(crate) struct Session {
    pub(crate) manager: TokenManager,
    /// The endpoint that is asked.
    pub(crate) token_endpoint: String,
    /// What is shown to servers in the handshake, with mutual TLS.
    pub(crate) identity: Option<ClientIdentity>,
    /// How long it took to find the server.
    spent: Duration,
    store: Option<Arc<CommandStore>>,
}

impl Session {
    /// Reads the secrets, finds the server, opens the cache and builds the manager. Asks nobody for a token.
    pub(crate) async fn begin(
        settings: &ClientSettings,
        layers: &Layers,
        plan: Plan,
    ) -> Result<Self, Failure> {
        let secrets = settings.secrets(layers);
        let material = &settings.credential.material;
        let source = secrets.open_material(material)?;
        let reading = secrets.read_material(material, source.as_ref()).await?;
        let begun = Instant::now();
        let server = Self::server(settings, plan.renewal).await?;
        let spent = begun.elapsed();
        let opened = cache::open(&settings.cache, &settings.network.tls_roots, &secrets).await?;
        let text = reading.current.clone();
        let proof = Proof::Source(Arc::new(ReadAhead::new(reading, source)));
        let mut builder = settings.manager(&server, proof);
        let mut store = None;
        if let Some(opened) = opened {
            let ring = opened.ring.clone().bound_to(&material.binding(&text));
            let kept = Arc::new(CommandStore::new(opened, plan.renewal));
            let shared: Arc<dyn SharedStore> = Arc::<CommandStore>::clone(&kept);
            builder = builder.shared_store(shared, ring);
            store = Some(kept);
        }
        if let Some(exchange) = plan.exchange {
            builder = builder.exchange(exchange);
        }
        let manager = builder.build().map_err(|error| settings.build_failure(&error))?;
        let identity = match material {
            Material::Certificate { .. } => Some(ClientIdentity::new(text)),
            Material::Secret { .. } | Material::PrivateKey(_) | Material::Assertion(_) => None,
        };
        let token_endpoint = server.endpoint_for(material).to_owned();
        Ok(Self { manager, token_endpoint, identity, spent, store })
    }

    async fn server(settings: &ClientSettings, renewal: Renewal) -> Result<Server, Failure> {
        let finder = Finder::new(&settings.network, settings.timeout).keeping_with(&settings.cache);
        finder.find(&settings.identity.server, renewal).await
    }

    /// A token.
    pub(crate) async fn token(&self, settings: &ClientSettings) -> Result<Arc<CachedToken>, Failure> {
        let begun = Instant::now();
        let ask = |wait| self.manager.token_within(settings.key(), wait);
        let timeout = settings.timeout.saturating_sub(self.spent);
        let found = ask(timeout).await.map_err(|error| Failure::from(&error))?;
        // What another process left is taken as it is; only who asks again is given one that is not about to expire,
        // and sees to it that it is renewed ahead.
        let again = ask(timeout.saturating_sub(begun.elapsed())).await;
        Ok(again.unwrap_or(found))
    }

    /// Where the tokens of this command are kept; `None` when they are not, as far as is known.
    pub(crate) fn kept_in(&self) -> Option<String> {
        let store = self.store.as_ref().filter(|store| store.works());
        store.map(|store| store.place().to_owned())
    }

    /// Ends the command with `ended`, whose result is told before. What was fetched is in the cache afterwards, and a
    /// lease is given back, unless that takes long.
    pub(crate) async fn end<T>(&self, ended: Result<T, Failure>) -> Result<T, Failure> {
        let ended = ended.map_err(Failure::told);
        let closing = self.manager.close(LANDED_WITHIN);
        let _elapsed = tokio::time::timeout(CLOSED_WITHIN, closing).await;
        ended
    }
}
