//! A tower layer that puts the token on every request, and handles a 401 (RFC 6750 §3.1).
//!
//! A response 401 with `Bearer error="invalid_token"` rejects the token it was sent with; one mint replaces it for all
//! callers, and the request is sent once more if its body was kept. Any other 401, a 403, and a second 401 are handed
//! back unchanged. Where no token is to be had the request is not sent.
//!
//! It works on `http::Request` with any body that says how it is replayed ([`ReplayBody`]), as hyper's client takes
//! them, and with the feature `reqwest` on `reqwest::Request`. There is an example of each in `examples/`.

mod body;
mod outgoing;

pub use body::{MAX_COPIED_BYTES, OneShot, ReplayBody};
pub use outgoing::{Answer, OutgoingRequest};

use crate::error::TokenError;
use crate::handle::TokenHandle;
use crate::http::PlainHttp;
use http::HeaderValue;
use jeton_proto::lifecycle::TokenId;
use jeton_proto::replay::{BareUnauthorized, Judgement, Replay, Replayability, decide, judge};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// The layer; see the [module](self).
#[derive(Clone, Debug)]
pub struct BearerLayer {
    handle: TokenHandle,
    rules: Arc<Rules>,
}

#[derive(Clone, Debug)]
struct Rules {
    bare_unauthorized: BareUnauthorized,
    plain_http: PlainHttp,
}

impl BearerLayer {
    /// A layer that sends the tokens of `handle`.
    pub fn new(handle: TokenHandle) -> Self {
        let rules =
            Rules { bare_unauthorized: BareUnauthorized::default(), plain_http: PlainHttp::to_loopback() };
        Self { handle, rules: Arc::new(rules) }
    }

    /// What a 401 without `error="invalid_token"` means. Default [`BareUnauthorized::HandBack`].
    #[must_use]
    pub fn bare_unauthorized(mut self, meaning: BareUnauthorized) -> Self {
        Arc::make_mut(&mut self.rules).bare_unauthorized = meaning;
        self
    }

    /// The hosts that tokens may be sent to over plain http (RFC 6750 §5.3). Default: this machine alone.
    #[must_use]
    pub fn plain_http(mut self, plain_http: PlainHttp) -> Self {
        Arc::make_mut(&mut self.rules).plain_http = plain_http;
        self
    }
}

impl<S> Layer<S> for BearerLayer {
    type Service = BearerService<S>;

    fn layer(&self, inner: S) -> BearerService<S> {
        BearerService { inner, handle: self.handle.clone(), rules: Arc::clone(&self.rules) }
    }
}

/// A service whose requests carry the token; see the [module](self).
#[derive(Clone, Debug)]
pub struct BearerService<S> {
    inner: S,
    handle: TokenHandle,
    rules: Arc<Rules>,
}

/// Why a call has no response.
#[derive(Debug, thiserror::Error)]
pub enum BearerError<E> {
    /// There is no token; the request was not sent.
    #[error("the request was not sent, because there is no token: {0}")]
    Token(#[source] TokenError),
    /// The request would have carried the token over plain http to another machine; it was not sent.
    #[error(
        "the request was not sent: plain http to {host} would show the token on the network; use https, or allow plain http to this host by name"
    )]
    PlainHttp {
        /// The host.
        host: String,
    },
    /// The inner service failed.
    #[error(transparent)]
    Inner(E),
}

impl<S, R> Service<R> for BearerService<S>
where
    S: Service<R> + Clone + Send + 'static,
    S::Response: Answer + Send,
    S::Error: Send,
    S::Future: Send,
    R: OutgoingRequest + Send + 'static,
{
    type Response = S::Response;
    type Error = BearerError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BearerError<S::Error>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(BearerError::Inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // The service that was polled ready makes the call; the clone waits for the next.
        let clone = self.inner.clone();
        let call = Call {
            inner: std::mem::replace(&mut self.inner, clone),
            handle: self.handle.clone(),
            rules: Arc::clone(&self.rules),
        };
        Box::pin(call.run(request))
    }
}

struct Call<S> {
    inner: S,
    handle: TokenHandle,
    rules: Arc<Rules>,
}

impl<S> Call<S> {
    async fn run<R>(mut self, mut request: R) -> Result<S::Response, BearerError<S::Error>>
    where
        S: Service<R>,
        S::Response: Answer,
        R: OutgoingRequest,
    {
        if let Some((scheme, host)) = request.target()
            && !self.rules.plain_http.allows(scheme, host)
        {
            return Err(BearerError::PlainHttp { host: host.to_owned() });
        }
        let (authorization, sent) = ready_token(&self.handle).await.map_err(BearerError::Token)?;
        let copy = request.try_clone();
        request.set_authorization(authorization);
        let response = self.inner.call(request).await.map_err(BearerError::Inner)?;
        match self.judge(&response) {
            Judgement::TokenAccepted => {
                self.handle.accept(sent);
                Ok(response)
            }
            Judgement::NotAboutTheToken => Ok(response),
            Judgement::TokenRefused => self.replay(response, copy, sent).await,
        }
    }

    /// Renews the token, and sends the request once more where that is possible.
    async fn replay<R>(
        mut self,
        response: S::Response,
        copy: Option<R>,
        refused: TokenId,
    ) -> Result<S::Response, BearerError<S::Error>>
    where
        S: Service<R>,
        S::Response: Answer,
        R: OutgoingRequest,
    {
        self.handle.reject(refused);
        let Some(mut copy) = copy else {
            // The body is gone; the token is renewed all the same, for the next request.
            self.handle.prefetch();
            return Ok(response);
        };
        let renewed = match ready_token(&self.handle).await {
            Ok(renewed) => renewed,
            Err(error) => {
                tracing::warn!(%error, "an API refused the token, and there is no new one");
                return Ok(response);
            }
        };
        match decide(&refused, Some(&renewed.1), Replayability::Replayable) {
            Replay::HandBack => Ok(response),
            Replay::Once => {
                drop(response);
                copy.set_authorization(renewed.0);
                poll_fn(|context| self.inner.poll_ready(context)).await.map_err(BearerError::Inner)?;
                let second = self.inner.call(copy).await.map_err(BearerError::Inner)?;
                if self.judge(&second) == Judgement::TokenAccepted {
                    self.handle.accept(renewed.1);
                }
                Ok(second)
            }
        }
    }

    fn judge(&self, response: &impl Answer) -> Judgement {
        let fields = response.headers().get_all(http::header::WWW_AUTHENTICATE);
        judge(
            response.status().as_u16(),
            fields.iter().map(HeaderValue::as_bytes),
            self.rules.bare_unauthorized,
        )
    }
}

async fn ready_token(handle: &TokenHandle) -> Result<(HeaderValue, TokenId), TokenError> {
    if let Some(ready) = handle.get_with(|token| (token.authorization().clone(), token.id())) {
        return Ok(ready);
    }
    let token = handle.token().await?;
    Ok((token.authorization().clone(), token.id()))
}
