//! Tower layers: the guard before a service, and a scope before a route.

use crate::guard::Guard;
use crate::principal::Principal;
use crate::refusal::Refusal;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use jeton::{InvalidScope, Scope};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Lets requests with a good token through, with a [`Principal`] in their extensions, and answers all others as RFC
/// 6750 says. See [`Guard::layer`].
#[derive(Clone, Debug)]
pub struct GuardLayer {
    guard: Guard,
}

impl GuardLayer {
    pub(crate) fn new(guard: Guard) -> Self {
        Self { guard }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = GuardService<S>;

    fn layer(&self, inner: S) -> GuardService<S> {
        GuardService { guard: self.guard.clone(), inner }
    }
}

/// A service behind a [`Guard`].
#[derive(Clone, Debug)]
pub struct GuardService<S> {
    guard: Guard,
    inner: S,
}

type Answer<B, E> = Pin<Box<dyn Future<Output = Result<Response<B>, E>> + Send>>;

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for GuardService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    ReqBody: Send + 'static,
    ResBody: Default,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = Answer<ResBody, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        // The service that was polled ready is the one that must be called.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let guard = self.guard.clone();
        Box::pin(async move {
            if let Some(field) = request.headers_mut().get_mut(AUTHORIZATION) {
                // Whatever prints the headers further on leaves it out.
                field.set_sensitive(true);
            }
            match guard.check_headers(request.headers()).await {
                Ok(principal) => {
                    request.extensions_mut().insert(principal);
                    inner.call(request).await
                }
                Err(refusal) => {
                    tracing::debug!(status = refusal.status().as_u16(), reason = %refusal, "refused a request");
                    Ok(refusal.to_response(guard.realm()))
                }
            }
        })
    }
}

/// Asks for scope tokens, separated by spaces, on a route; all of them are needed. It goes inside the guard's layer:
/// with axum `.route_layer(require_scope("orders:read")?)` on the route and `.layer(guard.layer())` on the router.
///
/// # Errors
/// [`InvalidScope`] when `scope` is none (RFC 6749 §3.3).
pub fn require_scope(scope: &str) -> Result<RequireScopeLayer, InvalidScope> {
    Ok(RequireScopeLayer { needed: scope.parse()? })
}

/// See [`require_scope`].
#[derive(Clone, Debug)]
pub struct RequireScopeLayer {
    needed: Scope,
}

impl<S> Layer<S> for RequireScopeLayer {
    type Service = RequireScope<S>;

    fn layer(&self, inner: S) -> RequireScope<S> {
        RequireScope { needed: self.needed.clone(), inner }
    }
}

/// A service that asks for a scope. Without the guard's layer around it every request is answered with 500 and an error
/// is logged.
#[derive(Clone, Debug)]
pub struct RequireScope<S> {
    needed: Scope,
    inner: S,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireScope<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ResBody: Default + Send + 'static,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = Answer<ResBody, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let Some(principal) = request.extensions().get::<Principal>() else {
            tracing::error!(
                path = request.uri().path(),
                "a scope is required on a route without the guard's layer"
            );
            let mut response = Response::new(ResBody::default());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return Box::pin(std::future::ready(Ok(response)));
        };
        if self.needed.is_subset_of(principal.scope()) {
            return Box::pin(self.inner.call(request));
        }
        let refusal = Refusal::InsufficientScope { needed: self.needed.clone() };
        tracing::debug!(client_id = principal.client_id(), reason = %refusal, "refused a request");
        Box::pin(std::future::ready(Ok(refusal.to_response(principal.realm()))))
    }
}
