//! What a command that asks for tokens has: a manager with the cache of this user, and an end that leaves it in order.

use crate::cache::{self, CommandStore, Renewal};
use crate::failure::Failure;
use crate::settings::{ClientSettings, Layers, ReadAhead};
use jeton::http::HttpExchange;
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
    store: Option<Arc<CommandStore>>,
}

impl Session {
    /// Reads the secrets, opens the cache and builds the manager. Sends nothing.
    pub(crate) async fn begin(
        settings: &ClientSettings,
        layers: &Layers,
        plan: Plan,
    ) -> Result<Self, Failure> {
        let secrets = settings.secrets(layers);
        let source = secrets.open(&settings.credential.client_secret)?;
        let reading = secrets.read_from(&settings.credential.client_secret, source.as_ref()).await?;
        let opened = cache::open(&settings.cache, &settings.network.tls_roots, &secrets).await?;
        let secret = reading.current.clone();
        let mut builder = settings.manager(Arc::new(ReadAhead::new(reading, source)));
        let mut store = None;
        if let Some(opened) = opened {
            // Whoever gives a wrong secret is to learn it, and not to get what the right one brought.
            let ring = opened.ring.clone().bound_to(&secret);
            let kept = Arc::new(CommandStore::new(opened, plan.renewal));
            let shared: Arc<dyn SharedStore> = Arc::<CommandStore>::clone(&kept);
            builder = builder.shared_store(shared, ring);
            store = Some(kept);
        }
        if let Some(exchange) = plan.exchange {
            builder = builder.exchange(exchange);
        }
        let manager = builder.build().map_err(|error| settings.build_failure(&error))?;
        Ok(Self { manager, store })
    }

    /// A token.
    pub(crate) async fn token(&self, settings: &ClientSettings) -> Result<Arc<CachedToken>, Failure> {
        let begun = Instant::now();
        let ask = |wait| self.manager.token_within(settings.key(), wait);
        let found = ask(settings.timeout).await.map_err(|error| Failure::from(&error))?;
        // What another process left is taken as it is; only who asks again is given one that is not about to expire,
        // and sees to it that it is renewed ahead.
        let again = ask(settings.timeout.saturating_sub(begun.elapsed())).await;
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
