//! Clients that are broken towards the server.

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use jeton::http::{ExchangeError, ExchangeFuture, ExchangeLimits, HttpExchange};
use sim::door::Workshop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

macro_rules! workshop {
    ($(#[$doc:meta])* $workshop:ident => $exchange:expr) => {
        $(#[$doc])*
        pub(crate) struct $workshop;

        impl Workshop for $workshop {
            fn exchange(&self, route: Arc<dyn HttpExchange>) -> Arc<dyn HttpExchange> {
                Arc::new($exchange(route))
            }
        }
    };
}

workshop!(
    /// Sends each request a second time.
    AsksTwice => Twice
);
workshop!(
    /// Goes on with a connection that has broken a few times.
    KeepsADeadConnection => |route| Pooled(route, AtomicU32::new(0))
);
workshop!(
    /// Logs the headers of its requests.
    LogsItsHeaders => Logged
);
workshop!(
    /// Loses `Retry-After` on the way.
    DropsRetryAfter => WithoutRetryAfter
);
workshop!(
    /// Takes no answer, and a 5xx, for an answer like others.
    HidesFaults => Polite
);
workshop!(
    /// Gives a request up that takes more than a second.
    GivesUpEarly => Impatient
);

struct Twice(Arc<dyn HttpExchange>);

impl HttpExchange for Twice {
    fn exchange(&self, request: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        let (first, second) = (self.0.exchange(request.clone(), limits), self.0.exchange(request, limits));
        Box::pin(async move {
            let outcome = first.await;
            drop(second);
            outcome
        })
    }
}

struct Pooled(Arc<dyn HttpExchange>, AtomicU32);

impl HttpExchange for Pooled {
    fn exchange(&self, request: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        Box::pin(async move {
            if self.1.load(Ordering::Relaxed) >= 10 {
                return Err(ExchangeError::Interrupted("broken pipe".to_owned()));
            }
            let outcome = self.0.exchange(request, limits).await;
            self.1.fetch_add(u32::from(outcome.is_err()), Ordering::Relaxed);
            outcome
        })
    }
}

struct Logged(Arc<dyn HttpExchange>);

impl HttpExchange for Logged {
    fn exchange(&self, request: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        tracing::trace!(target: "jeton::http", authorization, "sending");
        self.0.exchange(request, limits)
    }
}

struct WithoutRetryAfter(Arc<dyn HttpExchange>);

impl HttpExchange for WithoutRetryAfter {
    fn exchange(&self, request: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        Box::pin(async move {
            let mut answer = self.0.exchange(request, limits).await?;
            answer.headers_mut().remove(RETRY_AFTER);
            Ok(answer)
        })
    }
}

struct Polite(Arc<dyn HttpExchange>);

impl HttpExchange for Polite {
    fn exchange(&self, request: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        Box::pin(async move {
            let mut answer =
                self.0.exchange(request, limits).await.unwrap_or_else(|_| Response::new(Bytes::new()));
            if answer.status().is_server_error() {
                *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            }
            Ok(answer)
        })
    }
}

struct Impatient(Arc<dyn HttpExchange>);

impl HttpExchange for Impatient {
    fn exchange(&self, request: Request<Bytes>, limits: ExchangeLimits) -> ExchangeFuture<'_> {
        Box::pin(async move {
            let outcome = tokio::time::timeout(Duration::from_secs(1), self.0.exchange(request, limits));
            outcome.await.unwrap_or(Err(ExchangeError::TimedOut))
        })
    }
}
