//! `jeton login`: a token in the cache, and what was done for it.

use crate::args::LoginArgs;
use crate::cache::Renewal;
use crate::exchange;
use crate::failure::Failure;
use crate::moment;
use crate::output::{self, Format, harmless, labelled};
use crate::session::{Plan, Session};
use crate::settings::{ClientSettings, Kept, Layers};
use bytes::Bytes;
use http::Request;
use jeton::http::{ExchangeFuture, ExchangeLimits, HttpExchange};
use jeton::{CachedToken, Clock as _, SystemClock, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sees to it that a good token is kept, and tells of it.
pub(crate) async fn run(args: &LoginArgs, layers: &Layers) -> Result<(), Failure> {
    let settings = layers.client(&args.client)?;
    let announced = Arc::new(Announced {
        inner: exchange::exchange(&settings.network.tls_roots)?,
        line: format!("Authenticating... as {} at {}", client_id(&settings), server(&settings)),
        is_due: AtomicBool::new(true),
        asked: AtomicBool::new(false),
    });
    let renewal = if args.renew { Renewal::Now } else { Renewal::WhenNeeded };
    let asking: Arc<dyn HttpExchange> = Arc::<Announced>::clone(&announced);
    let session = Session::begin(&settings, layers, Plan { renewal, exchange: Some(asking) }).await?;
    let begun = SystemClock.now();
    let token = session.token(&settings).await;
    // What is renewed in the background from here on is not what this command says.
    announced.is_due.store(false, Ordering::Relaxed);
    let token = session.end(token).await?;
    let asked = announced.asked.load(Ordering::Relaxed) && token.obtained_at() >= begun;
    let login = Login {
        source: if asked { Source::Server } else { Source::Cache },
        kept_in: session.kept_in(),
        token_endpoint: &session.token_endpoint,
        token: &token,
        settings: &settings,
    };
    if matches!(settings.cache.kept, Kept::Nowhere) {
        output::note("the token is not kept: the cache is turned off");
    }
    match args.output.output {
        Format::Text => output::result(login.text(SystemClock.now())),
        Format::Json => output::json(&login.document(SystemClock.now())),
    }
}

fn client_id(settings: &ClientSettings) -> String {
    harmless(&settings.identity.client_id)
}

fn server(settings: &ClientSettings) -> String {
    harmless(settings.identity.server.url())
}

/// Where the token is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Server,
    Cache,
}

/// What was done.
struct Login<'a> {
    source: Source,
    kept_in: Option<String>,
    token_endpoint: &'a str,
    token: &'a CachedToken,
    settings: &'a ClientSettings,
}

impl Login<'_> {
    /// What was granted, or asked for where the server does not tell (RFC 6749 §5.1).
    fn scope(&self) -> Option<String> {
        let granted = self.token.granted_scope().or(self.settings.scope.as_ref());
        granted.map(ToString::to_string)
    }

    fn text(&self, now: Timestamp) -> String {
        let source = match self.source {
            Source::Server => "the server, just now",
            Source::Cache => "the cache; no server was asked",
        };
        let expires_at = self.token.expires_at();
        let expires = format!("{} ({})", moment::second(expires_at), moment::distance(expires_at, now));
        let lines = [
            ("client", self.settings.identity.client_id.clone()),
            ("server", self.token_endpoint.to_owned()),
            ("scope", self.scope().unwrap_or_else(|| "- (what the server gives)".to_owned())),
            ("expires", expires),
            ("fingerprint", self.token.id().to_string()),
            ("from", source.to_owned()),
            ("kept in", self.kept_in.clone().unwrap_or_else(|| "- (not kept)".to_owned())),
        ];
        labelled(&lines)
    }

    fn document(&self, now: Timestamp) -> Value {
        let expires_at = self.token.expires_at();
        json!({
            "client_id": self.settings.identity.client_id,
            "token_endpoint": self.token_endpoint,
            "scope": self.scope(),
            "fingerprint": self.token.id().to_string(),
            "expires_in": expires_at.saturating_since(now).as_secs(),
            "expires_at": expires_at.as_unix_seconds(),
            "source": match self.source { Source::Server => "server", Source::Cache => "cache" },
            "kept_in": self.kept_in,
        })
    }
}

/// An exchange that says so before it asks a server, once.
struct Announced {
    inner: Arc<dyn HttpExchange>,
    line: String,
    is_due: AtomicBool,
    asked: AtomicBool,
}

impl HttpExchange for Announced {
    fn exchange(&self, request: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        if self.is_due.swap(false, Ordering::Relaxed) {
            self.asked.store(true, Ordering::Relaxed);
            output::note(&self.line);
        }
        self.inner.exchange(request, limits)
    }
}
