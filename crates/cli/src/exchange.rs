//! The HTTP exchange of the client as a tower service, so that layers can be put around it.

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use bytes::Bytes;
use http::{Request, Response};
use jeton::http::{ExchangeError, ExchangeLimits, HttpExchange, ReqwestExchange, TlsRoots};
use std::sync::Arc;
use std::time::Duration;
use tower::Service;

/// The longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The exchange that trusts `roots`. It never follows a redirect.
pub(crate) fn exchange(roots: &TlsRoots) -> Result<Arc<dyn HttpExchange>, Failure> {
    let exchange = ReqwestExchange::new(roots, CONNECT_TIMEOUT);
    Ok(Arc::new(exchange.map_err(|error| Failure::of(ExitCode::Configuration, &error))?))
}

/// A service that sends by `exchange`, each request within `limits`.
pub(crate) fn service(
    exchange: Arc<dyn HttpExchange>,
    limits: ExchangeLimits,
) -> impl Service<Request<Bytes>, Response = Response<Bytes>, Error = ExchangeError, Future: Send>
+ Clone
+ Send
+ 'static {
    tower::service_fn(move |request| {
        let exchange = Arc::clone(&exchange);
        async move { exchange.exchange(request, limits).await }
    })
}

/// The failure of an exchange with the server `authority`.
pub(crate) fn failure(authority: &str, error: &ExchangeError) -> Failure {
    let code = match error {
        ExchangeError::Connect(_) | ExchangeError::Interrupted(_) | ExchangeError::TimedOut => {
            ExitCode::ServerUnreachable
        }
        ExchangeError::BodyTooLarge { .. } | ExchangeError::Request(_) => ExitCode::Other,
    };
    Failure::new(code, format!("{authority}: {error}"))
}
