//! `jeton call`: a request to an API, with the token, and once more with a new one when the API refuses it.

mod answer;
mod request;

use crate::args::CallArgs;
use crate::exchange;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::lifespan::Lifespan;
use crate::session::{Plan, Session};
use crate::settings::{ClientSettings, Layers};
use bytes::Bytes;
use http::{Request, Response};
use jeton::bearer::{BearerError, BearerLayer};
use jeton::http::{EndpointUrl, ExchangeError, ExchangeLimits, InvalidUrl};
use std::time::Duration;
use tower::{Layer as _, ServiceExt as _};

/// Calls the API and shows its answer.
pub(crate) async fn run(args: &CallArgs, layers: &Layers) -> Result<(), Failure> {
    let settings = layers.client(&args.client)?;
    let url = url(&args.url, &settings)?;
    let max_time = max_time(&args.max_time)?;
    let mut request = request::build(args, &url, &settings)?;
    let session = Session::begin(&settings, layers, Plan::default()).await?;
    // A token may be bound to the certificate (RFC 8705 §3). It is shown to the host that was named and to no other, as redirects are
    // not followed.
    if let Some(identity) = session.identity.clone().filter(|_| url.as_str().starts_with("https:")) {
        request.extensions_mut().insert(identity);
    }
    let call = send(request, &settings, &session, &url, args, max_time);
    let answer = tokio::time::timeout(max_time, call).await.unwrap_or_else(|_elapsed| {
        let message = format!("{}: no answer within {}", url.authority(), Lifespan(max_time));
        Err(Failure::new(ExitCode::ServerUnreachable, message).hint("give it more time by --max-time"))
    });
    session.end(answer.and_then(|answer| answer::show(&answer, args))).await
}

async fn send(
    request: Request<Bytes>,
    settings: &ClientSettings,
    session: &Session,
    url: &EndpointUrl,
    args: &CallArgs,
    max_time: Duration,
) -> Result<Response<Bytes>, Failure> {
    // Without a token the request is not sent; and one that is there already is taken by the layer as it should be.
    let _there = session.token(settings).await?;
    let handle = session.manager.handle(settings.key()).map_err(|error| Failure::from(&error))?;
    let limits =
        ExchangeLimits { time: max_time, body_bytes: usize::from(args.max_answer_mib) * 1024 * 1024 };
    let service = exchange::service(exchange::exchange(&settings.network.tls_roots)?, limits);
    let layer = BearerLayer::new(handle).plain_http(settings.network.plain_http.clone());
    layer.layer(service).oneshot(request).await.map_err(|error| match &error {
        BearerError::Token(error) => Failure::from(error),
        BearerError::PlainHttp { .. } => Failure::new(ExitCode::Configuration, error.to_string()),
        BearerError::Inner(fault @ ExchangeError::BodyTooLarge { .. }) => {
            exchange::failure(url.authority(), fault).hint("take a longer answer by --max-answer-mib")
        }
        BearerError::Inner(fault) => exchange::failure(url.authority(), fault),
    })
}

fn url(text: &str, settings: &ClientSettings) -> Result<EndpointUrl, Failure> {
    EndpointUrl::parse(text, &settings.network.plain_http).map_err(|error| match error {
        InvalidUrl::PlainHttp { .. } => Failure::new(ExitCode::Configuration, error.to_string())
            .hint("allow it by --plain-http-host HOST"),
        InvalidUrl::Syntax(_) | InvalidUrl::Scheme | InvalidUrl::UserInformation | InvalidUrl::Fragment => {
            Failure::new(ExitCode::Usage, error.to_string())
        }
    })
}

fn max_time(text: &str) -> Result<Duration, Failure> {
    let fault = |what: &dyn std::fmt::Display| Failure::new(ExitCode::Usage, format!("--max-time: {what}"));
    let Lifespan(max_time) = text.parse().map_err(|error| fault(&error))?;
    let bounds = Duration::from_millis(1)..=Duration::from_secs(3600);
    if bounds.contains(&max_time) { Ok(max_time) } else { Err(fault(&"it must be from 1ms to 1h")) }
}
