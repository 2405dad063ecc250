//! The SDK's requests over this crate's own exchange: the same trust in certificates, the same rule for plain http, no redirect.

use crate::http::{EndpointUrl, ExchangeError, ExchangeLimits, HttpExchange, InvalidUrl, PlainHttp};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A secret has 64 KiB at most, and JSON may write each byte as six.
const MAX_ANSWER_BYTES: usize = 512 * 1024;

/// What the SDK asks AWS through.
#[derive(Clone)]
pub(super) struct Connections {
    exchange: Arc<dyn HttpExchange>,
    plain_http: PlainHttp,
    /// For a request with its answer.
    time: Duration,
}

impl Connections {
    /// Requests go over `exchange`, by plain http only to the hosts of `plain_http`.
    pub(super) fn new(exchange: Arc<dyn HttpExchange>, plain_http: PlainHttp) -> Self {
        // They give a machine or a container its own credentials, over a link that ends in the host.
        let plain_http = METADATA_HOSTS.iter().fold(plain_http, |allowed, host| allowed.and_to(*host));
        Self { exchange, plain_http, time: super::ATTEMPT_TIMEOUT }
    }

    async fn exchanged(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        EndpointUrl::parse(request.uri(), &self.plain_http)
            .map_err(|refused| ConnectorError::user(Refused(refused).into()))?;
        let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        let (head, body) = request.into_parts();
        let Some(body) = body.bytes().map(Bytes::copy_from_slice) else {
            return Err(ConnectorError::user("the request has no body in memory".into()));
        };
        let limits = ExchangeLimits { time: self.time, body_bytes: MAX_ANSWER_BYTES };
        let answer = self.exchange.exchange(http::Request::from_parts(head, body), limits).await;
        let answer = answer.map_err(connector_error)?.map(Into::into);
        HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
    }
}

/// EC2 by either protocol, ECS, EKS pod identity by either protocol.
const METADATA_HOSTS: [&str; 5] =
    ["169.254.169.254", "fd00:ec2::254", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// The URL is none to which a secret may be sent.
#[derive(Debug, thiserror::Error)]
#[error("AWS is not asked: {0}")]
pub(super) struct Refused(pub(super) InvalidUrl);

impl HttpConnector for Connections {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connections = self.clone();
        HttpConnectorFuture::new(async move { connections.exchanged(request).await })
    }
}

impl HttpClient for Connections {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        // What gives credentials is given less time than AWS.
        let time = settings.read_timeout().map_or(self.time, |read| {
            read.saturating_add(settings.connect_timeout().unwrap_or_default()).min(self.time)
        });
        SharedHttpConnector::new(Self { time, ..self.clone() })
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

fn connector_error(error: ExchangeError) -> ConnectorError {
    match error {
        ExchangeError::TimedOut => ConnectorError::timeout(error.into()),
        ExchangeError::Connect(_) => ConnectorError::io(error.into()).never_connected(),
        ExchangeError::Interrupted(_) => ConnectorError::io(error.into()),
        ExchangeError::BodyTooLarge { .. } | ExchangeError::Request(_) => {
            ConnectorError::other(error.into(), None)
        }
    }
}
